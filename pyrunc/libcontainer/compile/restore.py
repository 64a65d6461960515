"""The plan of a restore: what the runtime does before CRIU makes the container's processes, and while it does. Cold.

There is no init: CRIU makes the namespaces, mounts and processes from the checkpoint. The runtime's part has the same
steps as a launch. They answer CRIU's stages instead of an init's requests: "cgroup" when CRIU's process is there, the
first one in the container's cgroup; "namespaces" when the container's namespaces are there; "send_console" when CRIU
has sent the terminal's master; "ready" when all is restored and nothing runs yet.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..._generated import steps
from ...errors import pointer
from ..plan.model import LaunchPlan
from .cgroup import compile_cgroup
from .console import check_console
from .context import Context
from .hooks import runtime_hooks

if TYPE_CHECKING:
    from ..._generated.spec_types import Spec
    from ..plan.host import HostFacts
    from ..plan.options import LaunchOptions

# The namespaces that CRIU gets as descriptors. It joins others by their paths.
BY_DESCRIPTOR = ("network", "pid")


def compile_restore(spec: Spec, options: LaunchOptions, facts: HostFacts) -> LaunchPlan:
    """The plan that restores the container of a validated spec (spec.load).

    Raises PyruncError with the JSON pointer of what can't be carried out.
    """
    context = Context(spec, options, facts)
    terminal = check_console(context)
    if options.no_pivot:
        context.warnings.append("--no-pivot is without effect: CRIU restores the root of the mount namespace itself")
    context.runtime_step(steps.state_dir(path=options.state_dir))
    if options.cgroup_manager == "systemd":
        from .systemd import compile_scope

        compile_scope(context)
    else:
        compile_cgroup(context)
    if "intelRdt" in context.linux:
        from . import rdt

        rdt.compile_rdt(context)
        rdt.assign(context, "cgroup")
    for namespace in context.namespaces.values():
        if namespace.path and namespace.type in BY_DESCRIPTOR:
            slot = "namespace:" + namespace.type
            context.runtime_step(
                steps.open_namespace(slot=slot, type=namespace.type, path=namespace.path),
                pointer=namespace.pointer + "/path",
            )
    if options.console_socket:
        context.runtime_step(steps.console_socket(path=options.console_socket), pointer="/process/terminal")
    for name, device in (context.linux.get("netDevices") or {}).items():
        context.on_request(
            "namespaces",
            steps.net_device(name=name, new_name=device.get("name") or name, path=context.namespaces["network"].path),
            pointer=pointer("linux", "netDevices", name),
        )
    runtime_hooks(context)
    for step in context.served.pop("create_runtime", ()):
        context.served.setdefault("namespaces", []).append(step)
    if terminal:
        context.on_request(
            "send_console", steps.receive_console(relay=not options.console_socket), pointer="/process/terminal"
        )
    context.phase = "ready"
    context.on_request("ready", steps.save_state(path=options.state_dir + "/state.json"))
    if options.pid_file:
        context.on_request("ready", steps.write_pid_file(path=options.pid_file))
    context.init.clear()  # the requests, which no init makes
    return context.plan()
