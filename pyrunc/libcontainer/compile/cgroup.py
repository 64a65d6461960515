"""The container's cgroup: its path, its limits and device rules, and the cgroup mount in the container."""

from __future__ import annotations

from ..._generated import steps
from ...errors import PyruncError
from ...paths import clean
from ..cgroup.devices import rules_for
from ..cgroup.files import path_for
from .mount import WITHOUT_DEVICE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..._generated.spec_types import MountEntry, Resources
    from ..cgroup.resources import Limits, Write
    from .context import AddStep, Context

RESOURCES = "/linux/resources"


def compile_cgroup(context: Context) -> None:
    """Make the container's cgroup, set its limits, give it to its owner and attach its device rules.

    As with runc, a rootless container whose configuration names no cgroup stays in the runtime's cgroup if the runtime
    may not make one. Raises PyruncError, also if there is no cgroup2 hierarchy.
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
    # Loading the program takes the kernel a tenth of a millisecond or two. The init works meanwhile.
    compile_rules(context, context.step_beside if _rules_can_wait(context) else context.runtime_step)


def _rules_can_wait(context: Context) -> bool:
    """Whether the device rules need not apply before the init has begun: it opens no device that they could deny.

    The rules always allow the init to make nodes, and to open the default devices unless linux.devices replaces them.
    The runtime attaches them before it lets the init execute the program. A hook may rely on them, or change them.
    """
    return (
        context.options.command in ("create", "run")
        and not context.spec.get("hooks")
        and not context.linux.get("devices")
        and all([_opens_no_device(mount) for mount in context.spec.get("mounts") or ()])
    )


def _opens_no_device(mount: MountEntry) -> bool:
    """Whether the kernel opens no block device for a mount: a bind mount, or a file system without one."""
    kind = mount.get("type") or ""
    if kind in WITHOUT_DEVICE or kind == "bind":
        return True
    options = mount.get("options") or ()
    return "bind" in options or "rbind" in options


def is_limited(resources: Resources) -> bool:
    """Whether `resources` has anything besides device rules."""
    return any(value for name, value in resources.items() if name != "devices")


def compile_limits(
    context: Context, put: AddStep, made: Limits, writes: Sequence[Write], wanted: tuple[str, ...]
) -> None:
    """Add the steps that set the container's limits and enable the controllers that they need.

    put: adds a step, such as Context.runtime_step. writes: made.writes, perhaps changed by the caller.
    wanted: more controllers to enable if that is possible.
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
    """Give the cgroup to its owner and attach the device rules. put: adds a step."""
    uid = _owner(context)
    if uid != context.facts.euid:
        put(steps.cgroup_owner(path=context.cgroup, uid=uid), pointer="/process/user/uid")
    # Device programs need CAP_SYS_ADMIN in the initial user namespace. A runtime without it can't make device nodes
    # either.
    if context.facts.euid == 0 and not context.facts.in_userns:
        rules = (context.linux.get("resources") or {}).get("devices") or ()
        paths = [device["path"] for device in context.linux.get("devices") or ()]
        at = "/linux/resources/devices" if rules else ""
        put(steps.cgroup_devices(path=context.cgroup, rules=rules_for(rules, paths)), pointer=at)


def _refuse_limits(context: Context, resources: Resources) -> None:
    """Refuse limits of a container without a cgroup: no limit may be ignored silently."""
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
        # Nothing then groups its processes.
        context.warnings.append("without a cgroup and without a pid namespace not all processes can be killed")


def _owner(context: Context) -> int:
    """The owner of the container's cgroup, a uid in the runtime's user namespace (config-linux.md, "Cgroup ownership").

    It is the user of the process if the container has a cgroup namespace of its own and a writable cgroup mount.

    Only root can change the owner. The mappings of a joined user namespace are not known here.
    """
    own = context.facts.euid
    if own != 0 or not context.new("cgroup") or not _has_writable_cgroup(context):
        return own
    uid = (context.process.get("user") or {}).get("uid", 0)
    if not context.userns:
        return uid
    for entry in (context.linux.get("uidMappings") or ()) if context.new("user") else ():
        if entry["containerID"] <= uid < entry["containerID"] + entry["size"]:
            return entry["hostID"] + uid - entry["containerID"]
    return own


def _has_writable_cgroup(context: Context) -> bool:
    for mount in context.spec.get("mounts") or ():
        if mount.get("source") == "cgroup" and clean(mount["destination"]) == "/sys/fs/cgroup":
            return "ro" not in mount.get("options", ())
    return False


def shows_the_hosts(context: Context) -> bool:
    """Whether a cgroup mount in a rootless container shows cgroups outside of the container, some of which its user may
    write to: all of them without a cgroup namespace, the runtime's without a cgroup of its own."""
    return context.rootless and (not context.has("cgroup") or not context.cgroup)


def bind_source(context: Context) -> str:
    """The directory to bind if the kernel refuses a cgroup2 mount; "" without a hierarchy, or if the runtime's own
    cgroup is above the part that it can see (cgroup_namespaces(7)).

    With a cgroup namespace it is the container's own cgroup, otherwise the whole hierarchy.
    """
    facts = context.facts
    if not facts.cgroup_mount or not context.has("cgroup"):
        return facts.cgroup_mount
    if not context.cgroup and facts.cgroup_self.startswith("/.."):
        return ""
    return context.cgroup or facts.cgroup_mount + facts.cgroup_self.rstrip("/")
