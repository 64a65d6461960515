"""Hooks that are steps of the plan, and the state that the container's hooks read on stdin."""

from __future__ import annotations

from ..._generated import steps
from ...errors import pointer
from ...jsonio import dumps
from .. import SPEC_VERSION

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal

    from ..._generated.spec_types import HookEntry
    from .context import Context

    # The hooks that are steps of a plan.
    HookName = Literal["prestart", "createRuntime", "createContainer", "startContainer"]

# The hooks in the runtime namespace before pivot_root, in the order of the specification (config.md, "Summary"). The
# poststart and poststop hooks run after the plan.
_RUNTIME_HOOKS: tuple[HookName, ...] = ("prestart", "createRuntime")


def runtime_hooks(context: Context) -> None:
    """The prestart and createRuntime hooks: init asks, the runtime runs them."""
    at = ""
    for name in _RUNTIME_HOOKS:
        for index, hook in enumerate(_hooks(context, name)):
            env = hook.get("env")
            at = at or f"/hooks/{name}"
            context.on_request(
                "create_runtime",
                steps.runtime_hook(
                    hook=name,
                    index=index,
                    path=hook["path"],
                    args=_args(hook),
                    env=None if env is None else tuple(env),  # None: the runtime's own, as with runc
                    timeout=hook.get("timeout") or 0,
                ),
                pointer=f"/hooks/{name}/{index}",
            )
    context.request("create_runtime", pointer=at)


def container_hooks(
    context: Context, name: HookName, status: str, env: tuple[str, ...] = (), add_home: bool = False
) -> None:
    """Add the hooks called `name` (createContainer, startContainer), which read the state with this status.

    env: the environment of hooks without one. add_home: the init adds the HOME that it has found for the process.
    The working directory of createContainer hooks is the rootfs, which is not the root yet. The specification does not
    say so, but hooks that were written for runc rely on it.
    """
    hooks = _hooks(context, name)
    if not hooks:
        return
    head, tail = state_around_pid(context, status)
    output, errors = _output(context, "stdout"), _output(context, "stderr")
    for index, hook in enumerate(hooks):
        own = hook.get("env")
        context.init_step(
            steps.container_hook(
                hook=name,
                index=index,
                path=hook["path"],
                args=_args(hook),
                env=env if own is None else tuple(own),
                timeout=hook.get("timeout") or 0,
                state_head=head,
                state_tail=tail,
                output=output,
                errors=errors,
                cwd=context.rootfs if name == "createContainer" else "",
                home=add_home and own is None,
            ),
            pointer=f"/hooks/{name}/{index}",
        )


def _output(context: Context, stream: str) -> str | None:
    """The slot of the file that gets a stream of the hooks by an annotation; None if errors quote the stream."""
    name = "run.oci.hooks." + stream
    if not context.annotated(name):
        return None
    slot = "hooks:" + stream
    if not any([step.kind == "open_hook_output" and step.args[0] == slot for step in context.prepare]):
        context.runtime_step(
            steps.open_hook_output(slot=slot, path=context.annotated(name)), pointer=pointer("annotations", name)
        )
    return slot


def _hooks(context: Context, name: HookName) -> list[HookEntry]:
    return (context.spec.get("hooks") or {}).get(name) or []


def _args(hook: HookEntry) -> tuple[str, ...]:
    """The arguments of a hook; by default argv[0] is the path."""
    return tuple(hook.get("args") or (hook["path"],))


def state_around_pid(context: Context, status: str) -> tuple[str, str]:
    """The container's state as JSON, in two pieces: the process id belongs between them.

    The pid is that in the container's pid namespace (runtime.md, "State"), so only the init can fill it in.
    """
    head = f'{{"ociVersion":{dumps(SPEC_VERSION)},"id":{dumps(context.options.id)},"status":{dumps(status)},"pid":'
    tail = f',"bundle":{dumps(context.options.bundle)}'
    annotations = context.spec.get("annotations")
    if annotations:
        tail += f',"annotations":{dumps(annotations)}'
    return head, tail + "}"
