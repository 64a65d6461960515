"""The container's cgroup: where it lies, its device rules, and the cgroup mount inside the container."""

from __future__ import annotations

from ..._generated import steps
from ...errors import PyruncError
from ...paths import clean
from ..cgroup.devices import rules_for
from ..cgroup.files import path_for

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from ..cgroup.resources import Limits, Write
    from .context import AddStep, Context

RESOURCES = "/linux/resources"


def compile_cgroup(context: Context) -> None:
    """Make the container's cgroup, set its limits, give it to its owner and attach its device rules.

    A rootless container whose config names no cgroup gets none where the runtime may not make one, as with runc: it
    stays in the runtime's own. Raises PyruncError, where there is no cgroup2 hierarchy too.
    """
    manager = context.options.cgroup_manager
    spec_path = context.linux.get("cgroupsPath") or ""
    resources = context.linux.get("resources") or {}
    if manager == "disabled" or (context.rootless and not spec_path and not context.facts.cgroup_writable):
        if is_limited(resources):
            _refuse_limits(context, resources)
        _note_none(context)
        return
    context.cgroup = path_for(spec_path, context.options.id, context.facts)
    context.runtime_step(steps.cgroup_create(path=context.cgroup), pointer="/linux/cgroupsPath" if spec_path else "")
    if is_limited(resources):
        from ..cgroup.resources import limits

        made = limits(resources, context.facts)
        compile_limits(context, context.runtime_step, made, made.writes, context.facts.controllers)
    compile_rules(context, context.runtime_step)


def is_limited(resources: dict[str, Any]) -> bool:
    """Whether `resources` has more than device rules."""
    return any(value for name, value in resources.items() if name != "devices")


def compile_limits(
    context: Context, put: AddStep, made: Limits, writes: Sequence[Write], wanted: tuple[str, ...]
) -> None:
    """The writes that limit the container, each a step, and the controllers that they need. Nothing where the
    resources ask for nothing.

    put: where the steps go, such as Context.runtime_step. writes: made.writes, or what has become of them.
    wanted: the controllers to be enabled where that is possible, besides those that are needed.
    """
    context.warnings.extend(made.warnings)
    if made.controllers:
        put(steps.cgroup_controllers(path=context.cgroup, needed=made.controllers, wanted=wanted), pointer=RESOURCES)
    if made.memory_check:
        limit, swap = made.memory_check
        put(steps.cgroup_check_memory(limit=limit, swap=swap), pointer=RESOURCES + "/memory/checkBeforeUpdate")
    for write in writes:
        context.limit_pointers.setdefault(write.file, write.pointer)
        put(
            steps.cgroup_limit(file=write.file, value=write.value, optional=write.optional),
            pointer=write.pointer,
            fallback_level=write.fallback_level,
            on_errno=write.on_errno,
        )


def compile_rules(context: Context, put: AddStep) -> None:
    """Give the cgroup to its owner and attach the device rules. put: where the steps go."""
    uid = _owner(context)
    if uid != context.facts.euid:
        put(steps.cgroup_owner(path=context.cgroup, uid=uid), pointer="/process/user/uid")
    # Device programs need CAP_SYS_ADMIN in the initial user namespace. Who lacks it can't make device nodes either.
    if context.facts.euid == 0 and not context.facts.in_userns:
        rules = (context.linux.get("resources") or {}).get("devices") or ()
        paths = [device["path"] for device in context.linux.get("devices") or ()]
        at = "/linux/resources/devices" if rules else ""
        put(steps.cgroup_devices(path=context.cgroup, rules=rules_for(rules, paths)), pointer=at)


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


def _note_none(context: Context) -> None:
    reason = "the cgroup manager is disabled"
    if context.options.cgroup_manager != "disabled":
        reason = "this user may not make one beside the runtime's"
    context.notes.append(f"no cgroup: {reason}")
    if not context.new("pid"):
        # Nothing then holds all of its processes together.
        context.warnings.append("without a cgroup and without a pid namespace not all processes can be killed")


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


def shows_the_hosts(context: Context) -> bool:
    """Whether a cgroup mount in a rootless container shows cgroups that are the host's, or its user's: without a cgroup
    namespace all of them, without a cgroup of its own the runtime's. Some of them that user may write to."""
    return context.rootless and (not context.has("cgroup") or not context.cgroup)


def bind_source(context: Context) -> str:
    """What stands in for a cgroup2 mount that the kernel refuses; "" where there is no hierarchy, or the runtime's own
    cgroup is above what it can see of it (cgroup_namespaces(7)).

    With a cgroup namespace it is the namespace's root, the container's own cgroup; without one the whole
    hierarchy is what a cgroup2 mount would show.
    """
    facts = context.facts
    if not facts.cgroup_mount or not context.has("cgroup"):
        return facts.cgroup_mount
    if not context.cgroup and facts.cgroup_self.startswith("/.."):
        return ""
    return context.cgroup or facts.cgroup_mount + facts.cgroup_self.rstrip("/")
