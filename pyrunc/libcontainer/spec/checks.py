"""Checks of a config.json that a schema can't express: contradictions, and values that the kernel would refuse.

Each check is a function that reads a spec of valid shape from a `CheckContext` and reports problems to it. CHECKS lists
the pointers that each check reads: `pyrunc validate` skips a check if the schema refused one of them.
"""

from __future__ import annotations

import posix

from ...errors import pointer
from ..kernel.constants import CAPABILITIES, NS_FILES
from ..kernel.fileio import sysctl_path
from .problems import WARNING, CheckContext, Problem, as_object, check_ranges, label, shorten
from .zeros import missing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import Literal

    from ..._generated.spec_types import DeviceEntry, IDMapping, Spec

    # The members of process.capabilities.
    SetName = Literal["bounding", "effective", "inheritable", "permitted", "ambient"]

SPEC_MAJOR = 1
SPEC_MINOR = 3

# The sysctls of an ipc namespace (ipc_namespaces(7), kernel: ipc/ipc_sysctl.c), besides /proc/sys/fs/mqueue.
_IPC_SYSCTLS = frozenset(
    (
        "kernel/auto_msgmni",
        "kernel/msg_next_id",
        "kernel/msgmax",
        "kernel/msgmnb",
        "kernel/msgmni",
        "kernel/sem",
        "kernel/sem_next_id",
        "kernel/shm_next_id",
        "kernel/shm_rmid_forced",
        "kernel/shmall",
        "kernel/shmmax",
        "kernel/shmmni",
    )
)

# The sets of which each capability set must be a subset (capset(2), prctl(2)).
_SET_NEEDS: dict[str, tuple[SetName, ...]] = {
    "effective": ("permitted", "bounding"),
    "inheritable": ("bounding",),
    "permitted": ("bounding",),
    "ambient": ("permitted", "inheritable"),
}

# The members for other platforms, by pointer.
_PLATFORMS: tuple[tuple[str, Literal["windows", "solaris", "vm", "zos", "freebsd"]], ...] = (
    ("/windows", "windows"),
    ("/solaris", "solaris"),
    ("/vm", "vm"),
    ("/zos", "zos"),
    ("/freebsd", "freebsd"),
)

_SIDES: tuple[Literal["height", "width"], ...] = ("height", "width")
_RESTRICTED: tuple[Literal["maskedPaths", "readonlyPaths"], ...] = ("maskedPaths", "readonlyPaths")
_UTS_NAME_BYTES = 64  # __NEW_UTS_LEN of linux/utsname.h
_WINDOW = 65535  # struct winsize has 16 bits for each side
_MEMORY_POLICY = "/linux/memoryPolicy"
_ADD_MOUNT = "add a namespace of type mount to linux.namespaces"


def check(spec: Spec, refused: Iterable[str] = (), lint: bool = False, added: Iterable[str] = ()) -> list[Problem]:
    """Check a spec that the schema accepts. Returns errors and warnings in the order of CHECKS.

    refused: pointers at which the schema refused the spec. Checks that read one of them are skipped.
    lint: report also what the compiler reports by itself.
    added: the types of the namespaces that the container gets anew besides those of the spec.
    The result depends on the spec alone, except that `linux.sysctl` reads the namespaces to join.
    """
    look = CheckContext(spec, added)
    pointers = tuple(refused)
    checks = CHECKS + LINTS if lint else CHECKS
    if pointers:
        checks = tuple(row for row in checks if not any(_touches(at, place) for at in pointers for place in row[1]))
    for function, _ in checks:
        function(look)
    return look.found


def check_platforms(spec: Spec) -> list[Problem]:
    """The warning of the members that are for other platforms; [] where there are none."""
    look = CheckContext(spec)
    _platforms(look)
    return look.found


def check_process(spec: Spec) -> list[Problem]:
    """Check the `process`, of valid shape, that is to be started in the container of this spec."""
    look = CheckContext(spec)
    for function in _OF_PROCESS:
        function(look)
    return look.found


def _touches(at: str, place: str) -> bool:
    """Whether one pointer equals the other or is a prefix of it."""
    return (at + "/").startswith(place + "/") or (place + "/").startswith(at + "/")


def _version(look: CheckContext) -> None:
    version = look.spec["ociVersion"]
    major, minor, _ = version.split(".", 2)
    if major != str(SPEC_MAJOR):
        look.error(
            "/ociVersion",
            f"version {version} of the specification is not supported: only {SPEC_MAJOR}.x is",
            f"write the configuration for {SPEC_MAJOR}.{SPEC_MINOR}, or an earlier {SPEC_MAJOR}.x",
        )
    elif int(minor[:9]) > SPEC_MINOR:
        look.warning("/ociVersion", f"version {version} of the specification is newer than {SPEC_MAJOR}.{SPEC_MINOR}")


def _process(look: CheckContext) -> None:
    # Wording of runc, for both.
    if "process" not in look.spec:
        look.error("/process", "process property must not be empty", "say what is to run: process.args and process.cwd")
    elif "args" not in look.process:
        look.error("/process/args", "args must not be empty", "the program and its arguments")


def _platforms(look: CheckContext) -> None:
    """Warn once of all members that the specification has for other platforms, or for virtual machines."""
    spec = look.spec
    found = [at for at, name in _PLATFORMS if spec.get(name)]
    if look.process.get("commandLine"):
        found.insert(0, "/process/commandLine")
    hint = ""
    if as_object(look.process.get("user")).get("username"):
        found.insert(0, "/process/user/username")
        hint = "process.user.uid and process.user.gid are the user"
    if found:
        others = f" (nor have {', '.join(found[1:])})" if found[1:] else ""
        message = f"it is for another platform and has no effect on Linux{others}"
        look.found.append(Problem(WARNING, found[0], message, hint=hint))


def _console_size(look: CheckContext) -> None:
    size = look.process.get("consoleSize")
    if size is None or not look.process.get("terminal"):
        return
    for side in _SIDES:
        if size.get(side, 0) > _WINDOW:
            look.error(
                "/process/consoleSize/" + side,
                f"{side} must be at most {_WINDOW}, not {size[side]}",
                "the kernel has 16 bits for each side",
            )


def _rlimits(look: CheckContext) -> None:
    seen = set()
    for index, limit in enumerate(look.process.get("rlimits", ())):
        name = limit["type"]
        if name in seen:
            look.error(f"/process/rlimits/{index}", f"{name} is listed twice", "drop one of them")
        seen.add(name)
        if limit["soft"] > limit["hard"]:
            look.error(
                f"/process/rlimits/{index}",
                f"{name}: soft limit {limit['soft']} is above hard limit {limit['hard']}",
                "lower the soft limit, or raise the hard one",
            )


def _capabilities(look: CheckContext) -> None:
    """Warn of capabilities that the compiler leaves out: unknown names, and members that capset(2) refuses."""
    sets = look.process.get("capabilities", {})
    name: SetName
    for name in ("bounding", "effective", "inheritable", "permitted", "ambient"):
        for index, word in enumerate(sets.get(name, ())):
            at = f"/process/capabilities/{name}/{index}"
            if word not in CAPABILITIES:
                message = f"unknown capability {shorten(word)} is ignored"
                look.found.append(Problem(WARNING, at, message, value=word, words=CAPABILITIES))
                continue
            for need in _SET_NEEDS.get(name, ()):
                if word not in sets.get(need, ()):
                    # A runtime should not fail for a capability that it can't grant (config.md, "Linux Process").
                    message = f"{name} capability {word} is not in the {need} set: it is left out"
                    look.found.append(Problem(WARNING, at, message, hint=f"add it to capabilities.{need}"))
                    break


def _namespaces(look: CheckContext) -> None:
    seen = set()
    for index, entry in enumerate(look.linux.get("namespaces", ())):
        if entry["type"] in seen:
            # Wording of runc.
            look.error(
                f"/linux/namespaces/{index}",
                f'malformed spec file: duplicated ns "{entry["type"]}"',
                "keep one entry of each type",
            )
        seen.add(entry["type"])


def _names(look: CheckContext) -> None:
    for name, value in (("hostname", look.spec.get("hostname")), ("domainname", look.spec.get("domainname"))):
        if not value:
            continue
        if "uts" not in look.namespaces:
            look.error(
                "/" + name,
                f"unable to set {name} without a private UTS namespace",
                "add a namespace of type uts to linux.namespaces",
            )
        if len(value.encode("utf-8", "surrogateescape")) > _UTS_NAME_BYTES:
            look.error(
                "/" + name,
                f"{name} is longer than {_UTS_NAME_BYTES} bytes",
                "shorten it; a longer name can be in /etc/hosts",
            )


def _mount_namespace(look: CheckContext) -> None:
    """Without a mount namespace of its own, these fields would change the host's mounts."""
    if "mount" in look.namespaces:
        return
    for name, paths in (
        ("maskedPaths", look.linux.get("maskedPaths")),
        ("readonlyPaths", look.linux.get("readonlyPaths")),
    ):
        if paths:
            look.error("/linux/" + name, "unable to restrict sys entries without a private MNT namespace", _ADD_MOUNT)
    if look.spec.get("mounts") and "user" in look.namespaces:
        look.error("/mounts", "unable to mount without a private MNT namespace in a user namespace", _ADD_MOUNT)
    if as_object(look.spec.get("root")).get("readonly") and "user" in look.namespaces:
        look.error(
            "/root/readonly",
            "unable to make the root read-only without a private MNT namespace in a user namespace",
            _ADD_MOUNT,
        )
    if look.linux.get("rootfsPropagation"):
        look.error("/linux/rootfsPropagation", "unable to set propagation without a private MNT namespace", _ADD_MOUNT)


def _mappings(look: CheckContext) -> None:
    joined = look.namespaces.get("user")
    kind: Literal["uid", "gid"]
    for kind, entries in (("uid", look.linux.get("uidMappings")), ("gid", look.linux.get("gidMappings"))):
        field = f"{kind}Mappings"
        at = "/linux/" + field
        if joined is None:
            if entries:
                look.error(
                    at,
                    "user namespace mappings specified, but user namespace isn't enabled in the config",
                    "add a namespace of type user to linux.namespaces, or leave the mappings out",
                )
        elif joined:
            if entries:
                # Engines give both. userns.check compares them when the namespace is open.
                look.warning(at, "both a user namespace to join and mappings are specified: they must be its own")
        elif not entries:
            which = f"the runtime's own {kind} and those of /etc/sub{kind} are mapped"
            look.warning(at, f"the user namespace has no {field}: {which}")
        else:
            check_ranges(look, entries, at)
            _mapped(look, kind, entries, at)


def _mapped(look: CheckContext, kind: Literal["uid", "gid"], entries: Sequence[IDMapping], at: str) -> None:
    """The ids that the container needs must be mapped: its root, and those of its process."""

    def has(number: int) -> bool:
        return any(0 <= number - entry.get("containerID", 0) < entry["size"] for entry in entries)

    if not has(0):
        look.error(at, f"container {kind} 0 is not mapped", f"add a mapping with containerID 0 to linux.{kind}Mappings")
    user = look.process.get("user")
    if not user:
        return
    own = user.get(kind, 0)
    if own and not has(own):
        look.error(
            "/process/user/" + kind,
            f"{kind} {own} is not mapped in the container's user namespace",
            f"add it to linux.{kind}Mappings, or take another {kind}",
        )
    if kind == "gid":
        for index, number in enumerate(user.get("additionalGids", ())):
            if not has(number):
                look.error(
                    f"/process/user/additionalGids/{index}",
                    f"gid {number} is not mapped in the container's user namespace",
                    "add it to linux.gidMappings, or leave it out",
                )


def _time_offsets(look: CheckContext) -> None:
    # Wording of runc.
    if not look.linux.get("timeOffsets"):
        return
    path = look.namespaces.get("time")
    if path is None:
        look.error(
            "/linux/timeOffsets",
            "time namespace offsets specified, but time namespace isn't enabled in the config",
            "add a namespace of type time to linux.namespaces",
        )
    elif path:
        look.error(
            "/linux/timeOffsets",
            "time namespace enabled, but both namespace path and time offsets specified -- you may only provide one",
            "the offsets of a namespace that is joined can't be changed",
        )


def _sysctl(look: CheckContext) -> None:
    """A sysctl must belong to a namespace of the container: any other would change the host."""
    for name in look.linux.get("sysctl", ()):
        at = pointer("linux", "sysctl", name)
        path = sysctl_path(name)
        # "net/ipv4/../../kernel/core_pattern" must not pass as one of net's.
        if any(part in ("", ".", "..") for part in path.split("/")):
            look.error(
                at,
                f"sysctl {shorten(name)} is no name of a kernel parameter",
                "names are as sysctl(8) takes them, such as net.ipv4.ip_forward",
            )
            continue
        if path == "kernel/hostname" and "uts" in look.namespaces:
            look.error(
                at,
                'sysctl "kernel.hostname" is not allowed as it conflicts with the OCI "hostname" field',
                "set hostname instead",
            )
            continue
        kind = _sysctl_namespace(path)
        if not kind:
            look.error(
                at,
                f"sysctl {shorten(name)} is not in a separate kernel namespace",
                "set it on the host: it has one value for the whole host",
            )
        elif kind not in look.namespaces or _is_own(look.namespaces[kind], kind):
            look.error(
                at,
                f"sysctl {shorten(name)} is not allowed in the host's {kind} namespace",
                f"give the container a {kind} namespace of its own",
            )


def _sysctl_namespace(path: str) -> str:
    """The type of namespace that a file under /proc/sys belongs to; "" if it belongs to the whole host."""
    if path in _IPC_SYSCTLS or path.startswith("fs/mqueue/"):
        return "ipc"
    if path.startswith("net/"):
        return "network"
    if path.startswith("user/"):
        return "user"
    if path in ("kernel/domainname", "kernel/hostname"):
        return "uts"
    return ""


def _is_own(path: str, kind: str) -> bool:
    """Whether the namespace to join is the runtime's own. False if it can't be read: joining it will fail."""
    if not path:
        return False
    try:
        joined = posix.stat(path)
        own = posix.stat("/proc/self/ns/" + NS_FILES[kind])
    except OSError:
        return False
    return (joined.st_dev, joined.st_ino) == (own.st_dev, own.st_ino)


def _mounts(look: CheckContext) -> None:
    for index, mount in enumerate(look.spec.get("mounts", ())):
        options = mount.get("options", ())
        if mount["destination"][0] != "/":
            at = f"/mounts/{index}/destination"
            look.warning(at, "relative destination path is deprecated, using it as relative to /")
        if not mount.get("type") and not any(word in options for word in ("bind", "rbind", "remount")):
            look.error(
                f"/mounts/{index}",
                f"{shorten(mount['destination'])} has no type and is no bind mount",
                "set type, or have bind or rbind among the options",
            )
        if "uidMappings" in mount or ("idmap" in " ".join(options) and _has_id_map(options)):
            from .field_checks import id_mapped_mount

            id_mapped_mount(look, mount, f"/mounts/{index}")


def _has_id_map(options: Sequence[str]) -> bool:
    return any(word.startswith(("idmap", "ridmap")) for word in options)


def _annotations(look: CheckContext) -> None:
    """crun's annotations, of which some are refused, and pyrunc's own."""
    annotations = look.spec.get("annotations") or {}
    if any([name.startswith(("run.oci.", "module.wasm.", "org.pyrunc.")) for name in annotations]):
        from .annotations import check as check_annotations

        seccomp = look.linux.get("seccomp")
        check_annotations(annotations, look.error, look.warning, bool(seccomp and seccomp.get("listenerPath")))


def _devices(look: CheckContext) -> None:
    first: dict[str, DeviceEntry] = {}
    for index, device in enumerate(look.linux.get("devices", ())):
        other = first.setdefault(device["path"], device)
        if other is device:
            continue
        at = f"/linux/devices/{index}/path"
        if all(device.get(field) == other.get(field) for field in ("type", "major", "minor")):
            look.warning(at, f"{shorten(device['path'])} is listed twice")
        else:
            look.error(
                at, f"{shorten(device['path'])} is listed twice, as different devices", "keep the one that is meant"
            )


def _taken_as_zero(look: CheckContext) -> None:
    """Members that the specification requires, and that runc and `create` take as 0 if they are missing."""
    for at in missing(look.spec):
        look.warning(at, f"{label(at)} is missing, which the specification demands: it is taken as 0")


def _resources(look: CheckContext) -> None:
    """Report limits that the compiler refuses too: fields of cgroup v1, and contradictions."""
    from ..cgroup.resources import violations

    for at, message, hint in violations(look.linux.get("resources") or {}):
        look.error(at, message, hint)


def _seccomp(look: CheckContext) -> None:
    if "seccomp" in look.linux:
        from ..seccomp.checks import check_seccomp  # engines configure it, so the snapshot has it, unlike field_checks

        check_seccomp(look.linux["seccomp"], look.error)


def _rare(parent: str, field: str, *more: str) -> tuple[Callable[[CheckContext], None], tuple[str, ...]]:
    """The row of CHECKS for a check in field_checks.py, which is imported only if a configuration has the field.

    more: the pointers that it reads besides the field.
    """

    def function(look: CheckContext) -> None:
        if field in (look.process if parent == "process" else look.linux):
            from .field_checks import FIELD_CHECKS

            FIELD_CHECKS[field](look)

    return function, (f"/{parent}/{field}", *more)


_NAMESPACES = "/linux/namespaces"

# Each check with the pointers that it reads.
CHECKS: tuple[tuple[Callable[[CheckContext], None], tuple[str, ...]], ...] = (
    (_version, ("/ociVersion",)),
    (_process, ("/process/args",)),
    (_console_size, ("/process/consoleSize", "/process/terminal")),
    (_rlimits, ("/process/rlimits",)),
    (_namespaces, (_NAMESPACES,)),
    (_names, (_NAMESPACES, "/hostname", "/domainname")),
    (_mount_namespace, (_NAMESPACES, "/mounts", "/root", "/linux")),
    (_mappings, (_NAMESPACES, "/linux/uidMappings", "/linux/gidMappings", "/process/user")),
    (_time_offsets, (_NAMESPACES, "/linux/timeOffsets")),
    (_sysctl, (_NAMESPACES, "/linux/sysctl")),
    (_mounts, ("/mounts",)),
    (_devices, ("/linux/devices",)),
    (_annotations, ("/annotations",)),
    (_platforms, ("/process/user", "/process/commandLine", *[at for at, _ in _PLATFORMS])),
    _rare("process", "scheduler"),
    _rare("process", "execCPUAffinity"),
    _rare("linux", "intelRdt"),
    _rare("linux", "memoryPolicy"),
    _rare("linux", "netDevices", _NAMESPACES),
    _rare("linux", "personality"),
    (_seccomp, ("/linux/seccomp",)),
)
_OF_PROCESS = [function for function, places in CHECKS if any(place.startswith("/process/") for place in places)]
LINTS: tuple[tuple[Callable[[CheckContext], None], tuple[str, ...]], ...] = (
    (_capabilities, ("/process/capabilities",)),
    (_taken_as_zero, ("/process/user", "/process/consoleSize", "/process/ioPriority", "/linux/uidMappings")),
    (_resources, ("/linux/resources",)),
)
