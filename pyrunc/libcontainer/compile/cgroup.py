"""The container's cgroup: where it lies, its device rules, and the cgroup mount inside the container."""

from __future__ import annotations

from ...report import PyruncError
from ..cgroup.devices import rules_for
from ..cgroup.files import clean, path_for
from ..plan import Step

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .context import Context

RESOURCES = "/linux/resources"


def compile_cgroup(context: Context) -> None:
    """Make the container's cgroup, set its limits, give it to its owner and attach its device rules.

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
    resources = context.linux.get("resources") or {}
    limited = any(value for name, value in resources.items() if name != "devices")
    if manager == "disabled" or (_rootless(context) and not spec_path and not context.facts.cgroup_writable):
        if limited:
            _refuse_limits(context, resources)
        return
    context.cgroup = path_for(spec_path, context.options.id, context.facts)
    at = "/linux/cgroupsPath" if spec_path else ""
    context.before("cgroup_create", context.cgroup, pointer=at)
    if limited:
        _limits(context, resources)
    uid = _owner(context)
    if uid != context.facts.euid:
        context.before("cgroup_owner", context.cgroup, uid, pointer="/process/user/uid")
    # Device programs need CAP_SYS_ADMIN in the initial user namespace. Who lacks it can't make device nodes either.
    if context.facts.euid == 0 and not context.facts.in_userns:
        rules = resources.get("devices") or ()
        paths = [device["path"] for device in context.linux.get("devices") or ()]
        at = "/linux/resources/devices" if rules else ""
        context.before("cgroup_devices", context.cgroup, rules_for(rules, paths), pointer=at)


def _limits(context: Context, resources: dict[str, Any]) -> None:
    """The writes that limit the container, each a step, and the controllers that they need. Nothing where the
    resources ask for nothing."""
    from ..cgroup.resources import limits

    made = limits(resources, context.facts)
    context.warnings.extend(made.warnings)
    if made.controllers:
        context.before(
            "cgroup_controllers", context.cgroup, made.controllers, context.facts.controllers, pointer=RESOURCES
        )
    if made.memory_check:
        context.before("cgroup_check_memory", *made.memory_check, pointer=RESOURCES + "/memory/checkBeforeUpdate")
    for write in made.writes:
        context.prepare.append(
            Step(
                "prepare",
                "cgroup_limit",
                (write.file, write.value, int(write.optional)),
                write.pointer,
                write.level,
                write.on_errno,
            )
        )


def _refuse_limits(context: Context, resources: dict[str, Any]) -> None:
    """Without a cgroup nothing can be limited, and no limit is left out silently."""
    from ..cgroup.resources import limits

    for write in limits(resources, context.facts).writes:
        if context.options.cgroup_manager == "disabled":
            raise PyruncError(
                "resource limits need a cgroup, and the cgroup manager is disabled",
                pointer=write.pointer,
                hint="run without --cgroup-manager disabled",
            )
        # Wording of runc.
        raise PyruncError(
            "rootless needs no limits + no cgrouppath when no permission is granted for cgroups",
            pointer=write.pointer,
            hint="have a cgroup delegated to this user",
        )


def _owner(context: Context) -> int:
    """The user, as the runtime numbers it, that the container's cgroup is to belong to (config-linux.md, "Cgroup
    ownership"): the process's, where it has a cgroup namespace of its own and a cgroup mount to write to.

    Only root can give a cgroup away; a joined user namespace does not tell here whom it maps.
    """
    own = context.facts.euid
    if own != 0 or not context.new("cgroup") or not _has_writable_cgroup(context):
        return own
    uid: int = (context.process.get("user") or {}).get("uid", 0)
    if not context.userns:
        return uid
    for entry in (context.linux.get("uidMappings") or ()) if context.new("user") else ():
        if entry["containerID"] <= uid < entry["containerID"] + entry["size"]:
            mapped: int = entry["hostID"] + uid - entry["containerID"]
            return mapped
    return own


def _has_writable_cgroup(context: Context) -> bool:
    for mount in context.spec.get("mounts") or ():
        if mount.get("source") == "cgroup" and clean(mount["destination"]) == "/sys/fs/cgroup":
            return "ro" not in mount.get("options", ())
    return False


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
