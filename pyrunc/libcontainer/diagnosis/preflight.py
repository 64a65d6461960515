"""What would make `run` fail on this host: checks of the rootfs, the host's files and its kernel. Cold.

Each check looks at one part of a valid configuration and yields problems. It skips what it can't know without the
runtime's rights, or without starting something: without a problem here, `run` may still fail.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ...errors import PyruncError, pointer
from ..kernel import lsm, native
from ..kernel.constants import CLONE_FLAGS, NS_FILES, RLIMITS
from ..kernel.fileio import sysctl_path
from ..launch import scene
from ..launch.inside import FOUND, LOOP, NOT_DIRECTORY, Inside
from ..launch.programs import trouble
from ..plan.host import HostFacts
from ..seccomp import classic
from ..seccomp.checks import refuses
from ..seccomp.compiler import unknown_syscalls
from ..spec import mount_options
from ..spec.annotations import BPF_DATA, decode
from ..spec.nearest import SYNONYMS
from ..spec.problems import ERROR, WARNING, Problem, shorten

if TYPE_CHECKING:
    from typing import Literal

    from ..._generated.spec_types import Hooks, Linux, MountEntry, Spec

    HookKind = Literal["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"]

# In the order of a start (config.md, POSIX-platform Hooks).
_HOOKS: tuple[HookKind, ...] = (
    "prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop",
)  # fmt: skip
_MODULES = "/lib/modules"
# The options of the kernel's own file systems (Documentation/filesystems, fs_parameter_spec of each).
_LABELS = ("context", "defcontext", "fscontext", "rootcontext")
_OPTIONS = {
    "tmpfs": (
        "casefold", "gid", "grpquota", "grpquota_block_hardlimit", "grpquota_inode_hardlimit", "huge", "inode32",
        "inode64", "mode", "mpol", "nr_blocks", "nr_inodes", "noswap", "quota", "size", "strict_encoding", "uid",
        "usrquota", "usrquota_block_hardlimit", "usrquota_inode_hardlimit",
    ),
    "proc": ("gid", "hidepid", "pidns", "subset"),
    "devpts": ("gid", "max", "mode", "newinstance", "ptmxmode", "uid"),
    "sysfs": (),
    "mqueue": (),
}  # fmt: skip
_SIZES = "kmgtpe%"


class Look:
    """The input of the checks: the configuration, its bundle, the facts of the host, and the container's files before
    each mount (`before`) and at the end (`inside`)."""

    def __init__(self, spec: Spec, bundle: str, facts: HostFacts) -> None:
        self.spec = spec
        self.bundle = bundle
        self.facts = facts
        self.process = spec["process"]
        self.linux: Linux = spec.get("linux") or {}
        self.inside = Inside(self.absolute(spec["root"]["path"]))

    def absolute(self, path: str) -> str:
        """A host path of the configuration."""
        return path if path.startswith("/") else self.bundle.rstrip("/") + "/" + path


def problems(spec: Spec, bundle: str, facts: HostFacts) -> list[Problem]:
    """The problems of a valid configuration on this host.

    bundle: its directory, absolute. If one check may not look at something, the others go on.
    """
    look = Look(spec, bundle, facts)
    if not os.path.isdir(look.inside.rootfs):
        return []  # validate and run report that themselves
    found: list[Problem] = []
    for check in CHECKS:
        try:
            found.extend(check(look))
        except (OSError, ValueError):  # a name with NUL, or one that can't be encoded, is a ValueError
            continue
    return found


def _error(at: str, message: str, hint: str) -> Problem:
    return Problem(ERROR, at, message, hint=hint)


def _mounts(look: Look) -> Iterator[Problem]:
    """It also fills in look.inside: a mount is checked on top of the mounts before it."""
    known = _file_systems()
    for index, mount in enumerate(look.spec.get("mounts") or ()):
        at = f"/mounts/{index}"
        options = mount_options.parse(mount.get("options") or ())
        if options.remount:
            continue
        target = "/" + mount["destination"].lstrip("/")
        if options.bind or mount.get("type") == "bind":
            if not _is_made_later(look, mount, options, index):
                yield from _bind(look, mount, at, target)
            look.inside.mount(target, look.absolute(mount.get("source") or ""))
            continue
        kind = mount.get("type", "").partition(".")[0]
        if known and kind not in known and kind != "cgroup" and not _has_module(kind):
            message = f"{shorten(mount['destination'])}: the kernel knows no file system {shorten(kind)}"
            hint = "/proc/filesystems lists those that it knows"
            yield Problem(ERROR, at + "/type", message, value=kind, words=tuple(sorted(known)), hint=hint)
        elif kind in _OPTIONS:
            yield from _data(mount, at, kind, options.data)
        yield from _destination(look, at, target)
        look.inside.mount(target, None)


def _is_made_later(look: Look, mount: MountEntry, options: mount_options.MountOptions, index: int) -> bool:
    """Whether a bind mount's source can't be checked here: it is in the rootfs, where earlier mounts may make it, or it
    is a symlink that is bound or copied itself."""
    source = look.absolute(mount.get("source") or "")
    if options.links & mount_options.SOURCE_ITSELF and os.path.islink(source):
        return True
    rootfs = os.path.normpath(look.inside.rootfs) + "/"
    return index > 0 and (os.path.normpath(source) + "/").startswith(rootfs)


def _bind(look: Look, mount: MountEntry, at: str, target: str) -> Iterator[Problem]:
    source = look.absolute(mount.get("source") or "")
    found = scene.of_bind(source, look.inside, target)
    if found is not None:
        at += "/source" if scene.missing_part(source) else ""
        yield _error(at, f"{shorten(mount['destination'])} can't be mounted: {found.hint}", "")
    else:
        yield from _destination(look, at, target, directory=False)


def _destination(look: Look, at: str, target: str, directory: bool = True) -> Iterator[Problem]:
    found = look.inside.find(target)
    message = ""
    if found.state == LOOP:
        message = f"{found.link} is a loop of symbolic links"
    elif found.state == NOT_DIRECTORY:
        message = f"{found.path} is a file"
    elif directory and found.state == FOUND and not found.is_directory:
        message = f"{found.path} in the container is a file, and a file system is mounted on a directory"
    if message:
        yield _error(at + "/destination", f"{shorten(target)} can't be a mount point: {message}", "")


def _file_systems() -> set[str]:
    """The file systems that the kernel has now; empty if they are unknown."""
    try:
        return {line.split("\t")[1] for line in Path("/proc/filesystems").read_text().splitlines()}
    except OSError:
        return set()


def _has_module(kind: str) -> bool:
    """Whether a module may have a file system: the kernel requests `fs-TYPE` (get_fs_type())."""
    alias = f"alias fs-{kind} "
    try:
        with Path(_MODULES, os.uname().release, "modules.alias").open(encoding="utf-8") as file:
            return any(line.startswith(alias) for line in file)
    except OSError:
        return False


def _data(mount: MountEntry, at: str, kind: str, data: list[tuple[int, str]]) -> Iterator[Problem]:
    """The options that are the file system's own."""
    for index, word in data:
        name, _, value = word.partition("=")
        place = f"{at}/options/{index}"
        if name not in (*_OPTIONS[kind], *_LABELS, "source"):
            message = f"{shorten(mount['destination'])}: {kind} has no option {shorten(word)}"
            words = (*_OPTIONS[kind], *mount_options.KNOWN_OPTIONS)
            meant = SYNONYMS.get(name, name)
            yield Problem(ERROR, place, message, value=meant, words=words, hint="leave it out")
        elif kind == "tmpfs" and name == "size" and not _is_size(value):
            yield _error(place, f"{shorten(word)}: no size", "a number, with k, m, g or % behind it")
        elif name in ("mode", "ptmxmode") and not (value.isdigit() and set(value) <= set("01234567")):
            yield _error(place, f"{shorten(word)}: no file mode", "an octal number such as 755")
        elif name in ("uid", "gid") and not value.isdigit():
            yield _error(place, f"{shorten(word)}: no id", "a number: names are not looked up")


def _is_size(value: str) -> bool:
    digits = value[:-1] if value[-1:].lower() in tuple(_SIZES) else value
    return digits.isascii() and (digits.isdigit() or digits.startswith("0x"))


def _program(look: Look) -> Iterator[Problem]:
    cwd = look.process["cwd"]
    found = scene.of_directory(look.inside, cwd)
    if found is not None:
        yield _error("/process/cwd", f"the working directory {shorten(cwd)} can't be entered", found.hint)
    path = ""
    for entry in look.process.get("env") or ():
        if entry.startswith("PATH="):
            path = entry[5:]
    what = trouble(look.inside, look.process["args"][0], path, cwd)
    if what is not None:
        yield _error("/process/args" if what.late else "/process/args/0", what.message, what.hint)


def _hooks(look: Look) -> Iterator[Problem]:
    hooks: Hooks = look.spec.get("hooks") or {}
    for name in _HOOKS:
        for index, hook in enumerate(hooks.get(name) or ()):
            at = pointer("hooks", name, index, "path")
            if name == "startContainer":
                what = trouble(look.inside, hook["path"], "")
                if what is not None:
                    yield _error(at, f"startContainer hook #{index}: {what.message}", what.hint)
            else:
                reason = _not_executable(hook["path"])
                if reason:
                    # The container starts without a poststart or poststop hook's success too, but says so.
                    severity = WARNING if name == "poststop" else ERROR
                    yield Problem(severity, at, f"{name} hook #{index} can't be executed", hint=reason)


def _not_executable(path: str) -> str:
    reason = scene.missing_part(path)
    if reason:
        return reason
    mode = os.stat(path).st_mode
    if stat.S_ISDIR(mode):
        return f"{path} is a directory"
    if not mode & 0o111:
        return f"{path} is not executable: chmod a+x"
    what = trouble(Inside("/"), path, "")
    return what.hint if what is not None else ""


def _namespaces(look: Look) -> Iterator[Problem]:
    for index, entry in enumerate(look.linux.get("namespaces") or ()):
        path = entry.get("path") or ""
        if not path:
            if entry["type"] == "time" and not os.path.exists("/proc/self/ns/time"):
                yield _error(f"/linux/namespaces/{index}", "this kernel has no time namespaces", "leave it out")
            continue
        at = f"/linux/namespaces/{index}/path"
        reason = scene.missing_part(path)
        if reason:
            yield _error(at, f"the {entry['type']} namespace can't be joined", reason)
            continue
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            is_one = (
                native.fs_magic(fd) == native.NSFS_MAGIC and native.namespace_type(fd) == CLONE_FLAGS[entry["type"]]
            )
        finally:
            os.close(fd)
        if not is_one:
            message = f"{shorten(path)} is not a namespace of type {entry['type']}"
            yield _error(at, message, f"such as /proc/PID/ns/{NS_FILES[entry['type']]}")


def _raw_filter(look: Look) -> Iterator[Problem]:
    """A filter that is given as it is: the kernel's EINVAL would not say what is wrong with it."""
    data = (look.spec.get("annotations") or {}).get(BPF_DATA)
    wrong = classic.fault(classic.unpacked(decode(data))) if data else ""
    if wrong:
        at = pointer("annotations", BPF_DATA)
        yield _error(at, f"the kernel takes no such seccomp filter: {wrong}", "it is an array of struct sock_filter")


def _seccomp(look: Look) -> Iterator[Problem]:
    profile = look.linux.get("seccomp")
    if not profile:
        return
    action = refuses(profile, "execve")
    if action:
        message = f"linux.seccomp refuses execve ({action}): no program can be started"
        yield _error("/linux/seccomp", message, "allow execve, and what the program's start takes")
    for at, name, meant in unknown_syscalls(profile):
        message = f"libseccomp knows no system call {shorten(name)}: the rule is without effect for it"
        yield Problem(WARNING, "/linux/seccomp" + at, message, nearest=meant[0] if meant else "")
    socket = profile.get("listenerPath")
    if socket and scene.missing_part(socket):
        yield _error("/linux/seccomp/listenerPath", "the seccomp agent can't be reached", scene.missing_part(socket))


def _limits(look: Look) -> Iterator[Problem]:
    for index, limit in enumerate(look.process.get("rlimits") or ()):
        reason = scene.limit_refused(RLIMITS[limit["type"]], limit["hard"])
        if reason:
            # The caller may have other limits than the runtime: only root's are the same.
            severity = ERROR if os.geteuid() == 0 or "kernel" in reason else WARNING
            message = f"{limit['type']}: the hard limit {limit['hard']} can't be set"
            yield Problem(severity, f"/process/rlimits/{index}", message, hint=reason)


def _modules(look: Look) -> Iterator[Problem]:
    asked = (
        ("/process/apparmorProfile", look.process.get("apparmorProfile"), lsm.APPARMOR),
        ("/process/selinuxLabel", look.process.get("selinuxLabel"), lsm.SELINUX),
        ("/linux/mountLabel", look.linux.get("mountLabel"), lsm.SELINUX),
    )
    for at, value, module in asked:
        if value and value != "unconfined":
            try:
                lsm.require(module)
            except PyruncError as error:
                yield _error(at, error.message, error.hint)


def _sysctl(look: Look) -> Iterator[Problem]:
    if not os.path.isdir("/proc/sys"):
        return  # this /proc has only processes (subset=pid), the container's has sysctls too
    for name in look.linux.get("sysctl") or {}:
        path = "/proc/sys/" + sysctl_path(name)
        if not os.path.exists(path):
            at = pointer("linux", "sysctl", name)
            yield _error(at, f"this kernel has no sysctl {shorten(name)}", f"there is no {path}")


def _devices(look: Look) -> Iterator[Problem]:
    for name in look.linux.get("netDevices") or {}:
        if not os.path.exists("/sys/class/net/" + name):
            at = pointer("linux", "netDevices", name)
            yield _error(at, f"there is no network device {shorten(name)}", "ip link shows those that are there")
    for index, device in enumerate(look.linux.get("devices") or ()):
        found = look.inside.find(device["path"])
        if found.state == NOT_DIRECTORY:
            at = f"/linux/devices/{index}/path"
            yield _error(at, f"{shorten(device['path'])} can't be made", f"{found.path} is a file")


def _resctrl(look: Look) -> Iterator[Problem]:
    if look.linux.get("intelRdt") and not os.path.exists("/sys/fs/resctrl/schemata"):
        yield _error("/linux/intelRdt", "resctrl is not mounted", "on a machine that has it: mount -t resctrl")


CHECKS: tuple[Callable[[Look], Iterator[Problem]], ...] = (
    _mounts, _program, _hooks, _namespaces, _raw_filter, _seccomp, _limits, _modules, _sysctl, _devices, _resctrl,
)  # fmt: skip
