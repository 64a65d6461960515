"""The hooks of the container's life after its creation, poststart and poststop (config.md, POSIX-platform Hooks)."""

from __future__ import annotations

from ... import log
from ...errors import PyruncError, pointer
from ..plan.model import Step

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..._generated.spec_types import HookEntry
    from ..state import Record
    from .timeline import Timeline

# The phases of the timeline that they are in.
_PHASES = {"poststart": "start", "poststop": "stop"}


def poststart(record: Record, timeline: Timeline | None = None) -> None:
    """Run the poststart hooks. Raises PyruncError for the first that fails; the caller stops the container.

    timeline: records when and how each began and ended.
    """
    for index, hook in enumerate(record.hooks.get("poststart", ())):
        run(record, "poststart", index, hook, "running", timeline)


def poststop(record: Record, timeline: Timeline | None = None) -> None:
    """Run all poststop hooks. A failure is logged as a warning, because the container is deleted all the same.

    timeline: as for `poststart`.
    """
    for index, hook in enumerate(record.hooks.get("poststop", ())):
        try:
            run(record, "poststop", index, hook, "stopped", timeline)
        except PyruncError as error:
            log.warning(error.line())


def run(record: Record, name: str, index: int, hook: HookEntry, status: str, timeline: Timeline | None) -> None:
    """Run one hook. name, index: its kind and its place among those; status: the container's, as its state tells it.

    Raises PyruncError as `hooks.run_hook` does.
    """
    from . import hooks

    state, files = record.hook_state(status), hooks.outputs(record.annotations)
    if timeline is None:
        hooks.run_hook(hook, name, index, state, files)
        return
    timeout = hook.get("timeout") or 0
    command = (hook["path"], tuple(hook.get("args") or (hook["path"],)), None, timeout)
    step = Step(_PHASES[name], "runtime_hook", (name, index, *command), pointer("hooks", name, index))
    timeline.run_step(step, hooks.run_hook, hook, name, index, state, files)
