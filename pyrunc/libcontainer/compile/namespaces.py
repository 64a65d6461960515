"""The namespaces phase: user namespace maps, the namespaces that init itself enters, and their settings."""

from __future__ import annotations

import errno

from ..._generated import steps
from ...errors import PyruncError, pointer
from ..kernel.constants import CLONE_FLAGS
from ..kernel.fileio import sysctl_path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..._generated.spec_types import IDMapping
    from ..plan.host import IdMap
    from .context import Context

# The init makes these after the clone: the root of a new cgroup namespace is the cgroup of the process at that moment,
# and a time namespace accepts offsets only while it has no process (time_namespaces(7)).
_NOT_BY_CLONE = ("cgroup", "time")


def clone_flags(context: Context) -> int:
    """CLONE_NEW* of the namespaces that clone3 makes."""
    flags = 0
    for namespace in context.namespaces.values():
        if not namespace.path and namespace.type not in _NOT_BY_CLONE:
            flags |= CLONE_FLAGS[namespace.type]
    return flags


def open_joined(context: Context) -> tuple[str, ...]:
    """Open each namespace with a path. Returns the `type=slot` list for the clone, in listed order."""
    join = []
    for namespace in context.namespaces.values():
        if namespace.path:
            slot = "namespace:" + namespace.type
            context.runtime_step(
                steps.open_namespace(slot=slot, type=namespace.type, path=namespace.path),
                pointer=namespace.pointer + "/path",
            )
            if namespace.type == "user":
                _check_maps(context, slot)
            join.append(f"{namespace.type}={slot}")
    return tuple(join)


def _check_maps(context: Context, slot: str) -> None:
    """Refuse mappings that differ from those of a user namespace to join: the plan relies on them."""
    uids, gids = map_lines(context.mappings("uid")), map_lines(context.mappings("gid"))
    if uids or gids:
        context.runtime_step(
            steps.check_maps(slot=slot, uids=uids, gids=gids),
            pointer="/linux/uidMappings" if uids else "/linux/gidMappings",
        )


def compile_namespaces(context: Context) -> None:
    """The steps from the clone to the rootfs phase."""
    if context.userns:
        _user_namespace(context)
    if context.new("cgroup"):
        context.init_step(steps.unshare(flags=CLONE_FLAGS["cgroup"]), pointer=context.namespaces["cgroup"].pointer)
    if context.new("time"):
        _time_namespace(context)
    if not context.options.no_new_keyring:
        compile_keyring(context)
    if context.linux.get("netDevices"):
        _net_devices(context)
    # After every step for which the runtime or the kernel reads /proc/PID of the init.
    context.init_step(steps.set_nondumpable())
    if context.new("network"):
        context.init_step(steps.loopback_up(), pointer=context.namespaces["network"].pointer)
    if context.spec.get("hostname"):
        context.init_step(steps.hostname(name=context.spec["hostname"]), pointer="/hostname")
    if context.spec.get("domainname"):
        context.init_step(steps.domainname(name=context.spec["domainname"]), pointer="/domainname")


def _net_devices(context: Context) -> None:
    """Have the network devices moved before the first hook, which may need them.

    Raises PyruncError for a rootless container, in runc's words.
    """
    if context.facts.euid != 0 or context.rootless:
        raise PyruncError(
            "network devices are not supported for rootless containers",
            pointer="/linux/netDevices",
            hint="leave them out, or run as root",
        )
    for name, device in context.linux["netDevices"].items():
        context.on_request(
            "net_devices",
            steps.net_device(name=name, new_name=device.get("name") or name, path=context.namespaces["network"].path),
            pointer=pointer("linux", "netDevices", name),
        )
    context.request("net_devices", pointer="/linux/netDevices")


def compile_keyring(context: Context) -> None:
    """Join a new session keyring, named after the container as with runc, instead of the caller's."""
    if not context.process.get("selinuxLabel"):
        context.init_step(steps.session_keyring(name="_ses." + context.options.id))
        return
    from .labels import label_keys

    label_keys(context, True)
    context.init_step(steps.session_keyring(name="_ses." + context.options.id))
    label_keys(context, False)


def _user_namespace(context: Context) -> None:
    """Have the runtime write the maps of a new user namespace, and become its root."""
    namespace = context.namespaces["user"]
    if not namespace.path:
        _serve_maps(context)
    if context.process.get("oomScoreAdj") is not None:
        # From outside: inside of the user namespace it could not be lowered. Early, while init is still dumpable
        # and its files in /proc belong to its user.
        what = "oom_score_adj" if namespace.path else "maps"
        context.on_request(
            what, steps.write_oom_score_adj(value=context.process["oomScoreAdj"]), pointer="/process/oomScoreAdj"
        )
        if namespace.path:
            context.request(what, pointer="/process/oomScoreAdj")
    context.request("maps", pointer=namespace.pointer)
    context.init_step(steps.become_root(), pointer=namespace.pointer)


def _serve_maps(context: Context) -> None:
    if setgroups_allowed(context) == DENIED:
        # Before the gid map: the kernel lets an unprivileged process write it only so, because dropping a
        # supplementary group could open what is forbidden to that group (CVE-2014-8989).
        context.on_request("maps", steps.write_setgroups(value="deny"), pointer="/linux/gidMappings")
    facts = context.facts
    for kind, outer, tool in (("uid", facts.uid_map, facts.newuidmap), ("gid", facts.gid_map, facts.newgidmap)):
        entries = context.mappings(kind)
        at = f"/linux/{kind}Mappings"
        if facts.in_userns:
            _check_outer(kind, entries, outer)
        # The kernel lets CAP_SETUID or CAP_SETGID write any map, and others one of their own id.
        by_tool = bool(tool) and not _is_own_id(context, kind)
        lines = map_lines(entries)
        context.on_request(
            "maps",
            steps.write_map(file=kind + "_map", lines=lines),
            pointer=at,
            on_errno=(errno.EPERM,) if by_tool else (),
        )
        if by_tool:
            context.on_request(
                "maps", steps.map_by_tool(path=tool, file=kind + "_map", lines=lines), pointer=at, fallback_level=1
            )


def _check_outer(kind: str, entries: Sequence[IDMapping], outer: IdMap) -> None:
    """Refuse a range of host ids that is not in one range of the runtime's own user namespace.

    Raises PyruncError; the kernel's EPERM would say less (user_namespaces(7)).
    """
    for index, entry in enumerate(entries):
        first, size = entry["hostID"], entry["size"]
        if not any(start <= first and first + size <= start + count for start, _, count in outer):
            has = ", ".join([f"{start}-{start + count - 1}" for start, _, count in outer])
            raise PyruncError(
                f"host {kind}s {first}-{first + size - 1} are not mapped in the user namespace that the runtime is in",
                pointer=f"/linux/{kind}Mappings/{index}",
                hint=f"it has the {kind}s {has}",
            )


def _is_own_id(context: Context, kind: str) -> bool:
    """Whether the mappings are the runtime's own id alone, which it may map without privileges."""
    entries = context.mappings(kind)
    own = context.facts.euid if kind == "uid" else context.facts.egid
    return len(entries) == 1 and entries[0]["size"] == 1 and entries[0]["hostID"] == own


def map_lines(entries: Sequence[IDMapping]) -> tuple[str, ...]:
    """The lines of a uid_map or gid_map (user_namespaces(7))."""
    return tuple([f"{entry['containerID']} {entry['hostID']} {entry['size']}" for entry in entries])


DENIED = 0
ALLOWED = 1
UNKNOWN = 2


def setgroups_allowed(context: Context) -> int:
    """Whether the container's process may call setgroups.

    DENIED with the single-id map that an unprivileged runtime may write itself (CVE-2014-8989), and if the runtime's
    own user namespace denies it. UNKNOWN in a joined user namespace: the init looks. Otherwise ALLOWED, also with the
    maps of newgidmap.
    """
    if not context.facts.setgroups:
        return DENIED
    if not context.userns or context.is_exec:
        return ALLOWED  # the facts for `exec` are those of the container's user namespace
    if not context.new("user"):
        return UNKNOWN
    return ALLOWED if context.facts.euid == 0 or not _is_own_id(context, "gid") else DENIED


def _time_namespace(context: Context) -> None:
    at = context.namespaces["time"].pointer
    context.init_step(steps.unshare(flags=CLONE_FLAGS["time"]), pointer=at)
    for clock, offset in (context.linux.get("timeOffsets") or {}).items():
        context.init_step(
            steps.time_offset(clock=clock, secs=offset.get("secs", 0), nanosecs=offset.get("nanosecs", 0)),
            pointer=pointer("linux", "timeOffsets", clock),
        )
    context.init_step(steps.enter_time(), pointer=at)


def compile_sysctl(context: Context) -> None:
    """Add linux.sysctl, in listed order.

    After the runtime's hooks: these may bring the network device NAME of `net.ipv4.conf.NAME`.
    """
    for key, value in (context.linux.get("sysctl") or {}).items():
        context.init_step(steps.sysctl(path=sysctl_path(key), value=value), pointer=pointer("linux", "sysctl", key))
