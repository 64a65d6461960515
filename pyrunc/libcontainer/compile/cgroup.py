"""The container's cgroup: where it lies, its device rules, and the cgroup mount inside the container."""

from __future__ import annotations

from ...report import PyruncError
from ..cgroup.devices import rules_for
from ..cgroup.files import path_for

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .context import Context

def compile_cgroup(context: Context) -> None:
    """Make the container's cgroup and attach its device rules.

    A rootless container whose config names no cgroup gets none where the runtime may not make one, as with runc.
    Raises PyruncError for the systemd manager and where there is no cgroup2 hierarchy.
    """
    manager = context.options.cgroup_manager
    if manager == "systemd":
        raise PyruncError(
            "the systemd cgroup manager is not yet supported",
            hint="use --cgroup-manager cgroupfs, or disabled",
        )
    spec_path = context.linux.get("cgroupsPath") or ""
    if manager == "disabled" or (_rootless(context) and not spec_path and not context.facts.cgroup_writable):
        return
    context.cgroup = path_for(spec_path, context.options.id, context.facts)
    at = "/linux/cgroupsPath" if spec_path else ""
    context.before("cgroup_create", context.cgroup, pointer=at)
    # Device programs need CAP_SYS_ADMIN in the initial user namespace. Who lacks it can't make device nodes either.
    if context.facts.euid == 0 and not context.facts.in_userns:
        rules = (context.linux.get("resources") or {}).get("devices") or ()
        paths = [device["path"] for device in context.linux.get("devices") or ()]
        at = "/linux/resources/devices" if rules else ""
        context.before("cgroup_devices", context.cgroup, rules_for(rules, paths), pointer=at)


def _rootless(context: Context) -> bool:
    """Whether the cgroup is made as far as the runtime's rights go: `--rootless`, or by the runtime's user."""
    if context.options.rootless is not None:
        return context.options.rootless
    return context.facts.euid != 0 or context.facts.in_userns


def bind_source(context: Context) -> str:
    """What stands in for a cgroup2 mount that the kernel refuses; "" where there is no hierarchy.

    With a cgroup namespace it is the namespace's root, the container's own cgroup; without one the whole
    hierarchy is what a cgroup2 mount would show.
    """
    facts = context.facts
    if not facts.cgroup_mount or not context.has("cgroup"):
        return facts.cgroup_mount
    return context.cgroup or facts.cgroup_mount + facts.cgroup_self.rstrip("/")
