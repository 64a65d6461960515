"""`--isolation sandbox`: how a configuration is tightened, or refused. Pure.

A field that a configuration sets explicitly and a sandbox can't grant is refused with its pointer: the program would
miss it. The defaults that engines give to every container are tightened, and the plan's notes list that.
"""

from __future__ import annotations

from ... import jsonio
from ...errors import PyruncError, pointer
from ...paths import clean
from ..compile.devices import DEFAULT_DEVICES
from ..kernel import landlock
from ..plan.host import LANDLOCK
from ..spec import annotations as known
from ..spec.landlock import AT as LANDLOCK_AT
from ..spec.landlock import read
from . import calls

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any, Literal

    from ..._generated.spec_types import Capabilities, DeviceRule, Linux, MountEntry, Process, Seccomp, Spec

    Set = Literal["ambient", "bounding", "effective", "inheritable", "permitted"]
    Resolve = Callable[[str], str]
    Ranges = Sequence[tuple[int, int, int]]

SANDBOX = "sandbox"
# The values of --network: a new network namespace with only lo, the host's, or what the configuration says.
NETWORKS = ("none", "host", "config")

# The namespaces that the container gets anew.
NAMESPACES = ("user", "mount", "pid", "ipc", "uts", "cgroup")

# The capabilities of the container's root for its own ids, files and ports. They count in its user namespace only.
CAPABILITIES = (
    "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_NET_BIND_SERVICE", "CAP_SETGID",
    "CAP_SETUID",
)  # fmt: skip
_SETS: tuple[Set, ...] = ("ambient", "bounding", "effective", "inheritable", "permitted")

MASKED = (
    "/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
    "/proc/sched_debug", "/proc/scsi", "/proc/timer_list", "/proc/timer_stats", "/sys/devices/virtual/powercap",
    "/sys/firmware",
)  # fmt: skip
READ_ONLY = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")

# The options that each file system gets in any case. The nodes of /dev are mounts of their own.
_FILE_SYSTEMS: dict[str, tuple[str, ...]] = {
    "proc": ("nosuid", "nodev", "noexec"),
    "sysfs": ("nosuid", "nodev", "noexec", "ro"),
    "cgroup": ("nosuid", "nodev", "noexec", "ro"),
    "cgroup2": ("nosuid", "nodev", "noexec", "ro"),
    "devpts": ("nosuid", "noexec"),
    "mqueue": ("nosuid", "nodev", "noexec"),
    "tmpfs": ("nosuid",),
}
_OF_BINDS = ("nosuid", "nodev")
_OF_TREES = ("rnosuid", "rnodev")  # of a bind mount with those below it
# The options that would undo these, also for a whole tree.
_OPPOSITES = {
    word: (opposite, "r" + opposite)
    for plain, opposite in (("nosuid", "suid"), ("nodev", "dev"), ("noexec", "exec"), ("ro", "rw"))
    for word in (plain, "r" + plain)
}
_BINDS = ("bind", "rbind")
# Host directories that no bind mount may bring: they show or change the host.
_OF_THE_HOST = ("/proc", "/sys", "/dev")
_SHARED = ("shared", "rshared")

# (major, minor) of the devices that every container has, by their paths.
_PATHS = {path: (major, minor) for path, major, minor in DEFAULT_DEVICES}
# Those and the terminals; None is any minor number.
_DEVICES = (*_PATHS.values(), (5, 1), (5, 2), (136, None))

# Rights that Landlock refuses in the sandbox, also beneath its root; ioctl_dev is allowed beneath /dev.
_NOT_GIVEN = ("make_char", "make_block", "ioctl_dev")

# Annotations that would undo the sandbox.
_ANNOTATIONS = {
    known.BPF_DATA: "a raw filter replaces the profile; give a profile by --seccomp-profile",
    known.KEEP_GROUPS: "the groups of the runtime's caller are the host's",
}


class Ids:
    """The host's ids that the container's user namespace maps: (first inside, first of the host, count) of the uids and
    of the gids. has_root: the host's id 0 may be among them, as it is the id 0 of another user namespace only, and an
    ordinary user's outside."""

    __slots__ = ("gids", "has_root", "uids")

    def __init__(self, uids: Ranges, gids: Ranges, has_root: bool = False) -> None:
        self.uids = uids
        self.gids = gids
        self.has_root = has_root


def _refuse(at: str, message: str, hint: str) -> PyruncError:
    return PyruncError(f"{message} in a sandbox", pointer=at, hint=hint)


def tighten(
    spec: Spec,
    *,
    network: str,
    profile: Seccomp | None,
    ids: Ids | None,
    rules: bool,
    bundle: str = "/",
    resolve: Resolve = str,
) -> list[str]:
    """Change a valid configuration to that of a sandbox. Returns what was changed, each as `POINTER: what`.

    network: one of NETWORKS. profile: the filter of --seccomp-profile; None for the configuration's or the
    sandbox's own.
    ids: the ids for a new user namespace; None if it gets others later (newidmap.fill_mappings).
    rules: whether the runtime may attach device rules to a cgroup. bundle: where relative paths begin.
    resolve: a path of the host without symlinks; the path itself if there is nothing.
    Raises PyruncError with the pointer of what a sandbox can't have.
    """
    changes: list[str] = []
    linux: Linux = spec.setdefault("linux", {})
    _annotations(spec)
    _root(spec["root"]["path"], bundle, resolve)
    changes.append("/root: nosuid, nodev")
    _namespaces(linux, network, ids, changes)
    _process(spec["process"], changes)
    _seccomp(linux, profile, changes)
    _landlock(spec, changes)
    _mounts(spec.get("mounts") or [], bundle, resolve, changes)
    _devices(linux, changes)
    if rules:
        _device_rules(linux, changes)
    _paths(linux, changes)
    word = linux.get("rootfsPropagation") or ""
    if word in _SHARED:
        raise _refuse("/linux/rootfsPropagation", f"{word} is refused", "leave it out, or take rslave or rprivate")
    return changes


def _annotations(spec: Spec) -> None:
    for name, why in _ANNOTATIONS.items():
        if known.is_set(spec.get("annotations") or {}, name):
            raise _refuse(pointer("annotations", name), "this annotation is refused", why)


def _absolute(path: str, bundle: str) -> str:
    return clean(path if path.startswith("/") else f"{bundle}/{path}")


def _is_of_the_host(path: str) -> bool:
    """Whether a path of the host is its root, or shows or changes the host."""
    return path == "/" or any([path == other or path.startswith(other + "/") for other in _OF_THE_HOST])


def _root(path: str, bundle: str, resolve: Resolve) -> None:
    root = _absolute(path, bundle)
    for found in (root, resolve(root)):
        if _is_of_the_host(found):
            hint = "give it a directory with the container's files: they belong to the container's root"
            raise _refuse("/root/path", f"the host's {found} is refused", hint)


def _namespaces(linux: Linux, network: str, ids: Ids | None, changes: list[str]) -> None:
    entries = linux.setdefault("namespaces", [])
    at = "/linux/namespaces"
    found: dict[str, int] = {}
    for index, entry in enumerate(entries):
        found[entry["type"]] = index
        if entry.get("path") and not (entry["type"] == "network" and network != "none"):
            hint = "leave the path out: it gets a new one"
            if entry["type"] == "network":
                hint = "--network config keeps it"
            raise _refuse(f"{at}/{index}/path", f"a {entry['type']} namespace of others is refused", hint)
    had_user = "user" in found
    wanted = [*NAMESPACES, *(["network"] if network == "none" else [])]
    for type in wanted:
        if type not in found:
            member: Any = {"type": type}
            entries.append(member)
            changes.append(f"{at}: a new {type} namespace")
    if network == "host" and "network" in found:
        linux["namespaces"] = [entry for entry in entries if entry["type"] != "network"]
        changes.append(f"{at}/{found['network']}: the host's network")
    if network == "host":
        _sysctls(linux)
    if network != "config" and linux.get("netDevices"):
        raise _refuse("/linux/netDevices", "network devices of the host are refused", "--network config keeps them")
    if not had_user:
        _mappings(linux, ids, changes)
    if ids is not None and ids.has_root:
        return
    for name, entries_of in (("uid", linux.get("uidMappings")), ("gid", linux.get("gidMappings"))):
        for index, entry_of in enumerate(entries_of or ()):
            if entry_of["hostID"] == 0:
                raise _refuse(
                    f"/linux/{name}Mappings/{index}/hostID",
                    f"the host's {name} 0 is refused",
                    "map ids that /etc/subuid and /etc/subgid give",
                )


def _sysctls(linux: Linux) -> None:
    for name in linux.get("sysctl") or ():
        if name.replace("/", ".").startswith("net."):
            hint = "take another network, or leave it out"
            raise _refuse(pointer("linux", "sysctl", name), f"{name} of the host's network is refused", hint)


def _mappings(linux: Linux, ids: Ids | None, changes: list[str]) -> None:
    for name in ("uidMappings", "gidMappings"):
        linux.pop(name, None)  # type: ignore[misc]
    if ids is None:
        return
    for kind, ranges in (("uid", ids.uids), ("gid", ids.gids)):
        rows = [{"containerID": inside, "hostID": first, "size": count} for inside, first, count in ranges]
        linux[f"{kind}Mappings"] = rows  # type: ignore[literal-required]
        shown = [
            f"{_range(inside, count)} {'are' if count > 1 else 'is'} the host's {_range(first, count)}"
            for inside, first, count in ranges
        ]
        changes.append(f"/linux/{kind}Mappings: {', '.join(shown)}")


def _range(first: int, count: int) -> str:
    return f"{first} to {first + count - 1}" if count > 1 else str(first)


def _process(process: Process, changes: list[str]) -> None:
    for change in bound_process(process):
        changes.append(f"/process{change}")


def bound_process(process: Process) -> list[str]:
    """Tighten a process, also one of `exec`: no_new_privs, and only CAPABILITIES. Returns what was changed, with
    pointers into the process."""
    changes = []
    if not process.get("noNewPrivileges"):
        process["noNewPrivileges"] = True
        changes.append("/noNewPrivileges: true")
    given: Capabilities = process.get("capabilities") or {}
    sets: Capabilities = {}
    dropped: dict[str, None] = {}
    for name in _SETS:
        words = given.get(name)
        if words is None:
            continue
        sets[name] = [word for word in words if word in CAPABILITIES]
        dropped.update(dict.fromkeys([word for word in words if word not in CAPABILITIES]))
    if process.get("capabilities") is None:
        changes.append("/capabilities: none")
    elif dropped:
        changes.append(f"/capabilities: without {' '.join(dropped)}")
    process["capabilities"] = sets
    return changes


# Of SCMP_ACT_TRACE a process of the sandbox decides that traces another one (PTRACE_O_TRACESECCOMP, ptrace(2)).
_OPEN = ("SCMP_ACT_ALLOW", "SCMP_ACT_LOG", "SCMP_ACT_TRACE")


def _seccomp(linux: Linux, profile: Seccomp | None, changes: list[str]) -> None:
    own = linux.get("seccomp")
    chosen = profile or own
    if not chosen:
        linux["seccomp"] = calls.profile()
        changes.append("/linux/seccomp: the sandbox's own profile, which allows a list of calls")
        return
    if chosen["defaultAction"] in _OPEN:
        raise _refuse(
            "/linux/seccomp/defaultAction",
            f"a profile with the default {chosen['defaultAction']} is refused",
            "leave linux.seccomp out for the sandbox's own, or write one by pyrunc seccomp record",
        )
    if profile is not None:
        linux["seccomp"] = profile


def _landlock(spec: Spec, changes: list[str]) -> None:
    """Add the rights that the configuration's own ruleset does not handle: they are refused except beneath the root."""
    annotations = spec.setdefault("annotations", {})
    own = annotations.get(LANDLOCK)
    value: Any = {}
    handled: set[str] = set()
    if own:
        ruleset, complaints = read(own)
        for at, message, hint in complaints:
            raise PyruncError(message, pointer=at, hint=hint)
        handled = {one.word for one in ruleset.fs}
        value = jsonio.loads(own)
    added = [name for name, _ in landlock.FS if name not in handled]
    target = value.setdefault("ruleset", {})
    target["handledAccessFS"] = [*target.get("handledAccessFS", ()), *added]
    target["scoped"] = list(dict.fromkeys([*target.get("scoped", ()), "abstract_unix_socket"]))
    rules = value.setdefault("rules", {}).setdefault("pathBeneath", [])
    everywhere = [name for name in added if name not in _NOT_GIVEN]
    if everywhere:
        _allow(rules, "/", everywhere)
    if "ioctl_dev" in added:
        _allow(rules, "/dev", ["ioctl_dev"])
    annotations[LANDLOCK] = jsonio.dumps(value)
    if added:
        changes.append(f"{LANDLOCK_AT}: no file outside of the root, no devices")


def _allow(rules: list[Any], path: str, access: Sequence[str]) -> None:
    """Allow rights beneath a path, which may have a rule already."""
    for rule in rules:
        for index, other in enumerate(rule["paths"]):
            if (other.rstrip("/") or "/") != path:
                continue
            if len(rule["paths"]) == 1:
                rule["allowedAccess"] = [*rule["allowedAccess"], *access]
                return
            del rule["paths"][index]
            rules.append({"allowedAccess": [*rule["allowedAccess"], *access], "paths": [path]})
            return
    rules.append({"allowedAccess": list(access), "paths": [path]})


def _mounts(mounts: list[MountEntry], bundle: str, resolve: Resolve, changes: list[str]) -> None:
    wanted: dict[str, tuple[str, ...]] = {}  # by destination: a remount does not undo what the mount got
    for index, mount in enumerate(mounts):
        options = mount.get("options") or []
        at = f"/mounts/{index}"
        destination = clean(mount["destination"])
        if (
            destination == "/sys"
            and mount.get("source") == "/sys"
            and _is_bind(mount, options)
            and "remount" not in options
        ):
            # the entry that `spec --rootless` and engines write if a user may not mount sysfs
            mount["type"] = mount["source"] = "sysfs"
            options = mount["options"] = []
            changes.append(f"{at}: a sysfs in the place of the host's")
        words = _wanted(mount, options, at, bundle, resolve)
        if "remount" in options:
            words = tuple(dict.fromkeys([*wanted.get(destination, ()), *words]))
        wanted[destination] = words
        opposites = {opposite for word in words for opposite in _OPPOSITES[word]}
        kept = [word for word in options if word not in opposites]
        missing = [word for word in words if word not in kept]
        if missing or kept != options:
            mount["options"] = kept + missing
            changes.append(f"{at}/options: {' '.join(missing or words)}")


def _is_bind(mount: MountEntry, options: list[str]) -> bool:
    return mount.get("type") in _BINDS or any([word in _BINDS for word in options])


def _wanted(mount: MountEntry, options: list[str], at: str, bundle: str, resolve: Resolve) -> tuple[str, ...]:
    """The options that a mount has to have. Raises PyruncError if a sandbox can't have the mount."""
    for place, word in enumerate(options):
        if word in _SHARED:
            raise _refuse(f"{at}/options/{place}", f"{word} is refused", "mounts of the container stay in it: rslave")
    type = mount.get("type") or ""
    if _is_bind(mount, options):
        source = _absolute(mount.get("source") or "", bundle)
        if "remount" not in options:
            for path in (source, resolve(source)):
                if _is_of_the_host(path):
                    hint = "mount what is needed of it"
                    raise _refuse(f"{at}/source", f"a bind mount of the host's {path} is refused", hint)
        return _OF_TREES if type == "rbind" or "rbind" in options else _OF_BINDS
    if type not in _FILE_SYSTEMS:
        hint = "bind mounts, and " + ", ".join(_FILE_SYSTEMS)
        raise _refuse(f"{at}/type", f"the file system {type} is refused", hint)
    if type == "tmpfs" and clean(mount["destination"]) != "/dev":
        return (*_FILE_SYSTEMS[type], "nodev")
    return _FILE_SYSTEMS[type]


def _devices(linux: Linux, changes: list[str]) -> None:
    for index, device in enumerate(linux.get("devices") or ()):
        numbers = (device.get("major"), device.get("minor"))
        is_default = device["type"] in ("c", "u") and _PATHS.get(clean(device["path"])) == numbers
        if device["type"] != "p" and not is_default:
            hint = "a sandbox has /dev/null, zero, full, random, urandom and tty"
            raise _refuse(f"/linux/devices/{index}", f"the device {device['path']} is refused", hint)


def _device_rules(linux: Linux, changes: list[str]) -> None:
    """Allow only the devices that every container has by rules of the cgroup: an image may have nodes of others."""
    resources = linux.setdefault("resources", {})
    rules = resources.get("devices") or []
    deny: DeviceRule = {"allow": False, "access": "rwm"}
    kept = [] if rules and not rules[0]["allow"] and rules[0].get("type", "a") == "a" else [deny]
    for rule in rules:
        if not rule["allow"] or _is_harmless(rule):
            kept.append(rule)
        else:
            numbers_text = f"{rule.get('type', 'a')} {rule.get('major', '*')}:{rule.get('minor', '*')}"
            changes.append(f"/linux/resources/devices: without {numbers_text} {rule.get('access', 'rwm')}")
    if not rules:
        changes.append("/linux/resources/devices: all others are refused")
    resources["devices"] = kept


def _is_harmless(rule: DeviceRule) -> bool:
    """Whether a rule allows a device that every container has, or only mknod, which a user namespace forbids."""
    if rule.get("access") == "m":
        return True
    major, minor = rule.get("major"), rule.get("minor")
    return rule.get("type") == "c" and any(
        [major == of_major and of_minor in (None, minor) for of_major, of_minor in _DEVICES]
    )


def _paths(linux: Linux, changes: list[str]) -> None:
    masked, read_only = linux.get("maskedPaths") or [], linux.get("readonlyPaths") or []
    more = [path for path in MASKED if path not in masked]
    if more:
        linux["maskedPaths"] = [*masked, *more]
        changes.append(f"/linux/maskedPaths: also {' '.join(more)}")
    more = [path for path in READ_ONLY if path not in read_only and path not in masked]
    if more:
        linux["readonlyPaths"] = [*read_only, *more]
        changes.append(f"/linux/readonlyPaths: also {' '.join(more)}")
