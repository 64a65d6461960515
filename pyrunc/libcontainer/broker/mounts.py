"""mount(2) of tmpfs, proc and overlay in the mount namespace of a thread of a container.

The new mount is made by descriptors (fsopen(2), fsmount(2)) and attached to the directory that was found: no path of
the container is looked up twice. A container with a user namespace of its own gets a file system of that namespace, for
which the kernel's own rules hold.
"""

from __future__ import annotations

import contextlib
import errno
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..kernel import brokering, mounttable, native
from ..kernel.constants import (
    MOUNT_ATTR_NOATIME,
    MOUNT_ATTR_NODEV,
    MOUNT_ATTR_NODIRATIME,
    MOUNT_ATTR_NOEXEC,
    MOUNT_ATTR_NOSUID,
    MOUNT_ATTR_NOSYMFOLLOW,
    MOUNT_ATTR_RDONLY,
    MOUNT_ATTR_STRICTATIME,
)
from . import acting
from .acting import ALL_CAPABILITIES, bits
from .caller import PATH_MAX
from .containers import OPEN_ROOT, namespace
from .model import Refusal
from .mountoptions import Options, parse

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..kernel.mounttable import Entry
    from .caller import Caller, Credentials
    from .config import Mount
    from .containers import Container

# mount(2): the flags that a caller may give, with the attribute of the mount. The others change mounts that are there.
_ATTRIBUTES = {
    1: MOUNT_ATTR_RDONLY, 2: MOUNT_ATTR_NOSUID, 4: MOUNT_ATTR_NODEV, 8: MOUNT_ATTR_NOEXEC, 256: MOUNT_ATTR_NOSYMFOLLOW,
    1024: MOUNT_ATTR_NOATIME, 2048: MOUNT_ATTR_NODIRATIME, 1 << 15: 0, 1 << 21: 0, 1 << 24: MOUNT_ATTR_STRICTATIME,
}  # fmt: skip
_MAGIC, _MAGIC_MASK = 0xC0ED0000, 0xFFFF0000
_TYPE_BYTES = 32
_SOURCE_BYTES = 256
_SYSFS_MAGIC = 0x62656572
# Runtimes and engines write to these, and trust what they find (CVE-2019-16884, CVE-2019-19921).
_TRUSTED = (native.PROC_SUPER_MAGIC, _SYSFS_MAGIC, native.CGROUP2_SUPER_MAGIC)


@dataclass(frozen=True)
class _Request:
    """A mount that a thread asks for: its own copies of the arguments."""

    source: str
    target: str
    type: str
    attributes: int
    options: Options


def attributes(flags: int) -> int:
    """The MOUNT_ATTR_* of mount(2)'s flags, always with nosuid and nodev. Raises Refusal (EPERM) for other flags."""
    if flags & _MAGIC_MASK == _MAGIC:
        flags &= ~_MAGIC_MASK
    found = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV
    for flag, attribute in _ATTRIBUTES.items():
        if flags & flag:
            found |= attribute
            flags &= ~flag
    if flags:
        raise Refusal(errno.EPERM, f"mount with the flags {flags:#x}")
    if found & MOUNT_ATTR_NOATIME:
        found &= ~MOUNT_ATTR_STRICTATIME
    return found


def mount(caller: Caller, container: Container, policy: Mount) -> Callable[[], None]:
    """The job of a mount. Raises Refusal."""
    source, target, type, flags, data = caller.notification.arguments[:5]
    found = attributes(flags)
    credentials = container.require(caller, policy.capability)
    name = caller.text(type, _TYPE_BYTES, errno.ENODEV) if type else ""
    if name not in policy.types:
        raise Refusal(errno.EPERM, f"mount of {name}")
    if name == "proc" and container.is_of_host:
        # The kernel does not ask whether the container's own proc is masked, as in user namespaces.
        raise Refusal(errno.EPERM, "mount of proc for a container without a user namespace")
    request = _Request(
        source=caller.text(source, _SOURCE_BYTES) if source else "none",
        target=caller.text(target, PATH_MAX),
        type=name,
        attributes=found,
        options=parse(name, caller.text(data, PATH_MAX, errno.EINVAL) if data else "", policy.max_bytes),
    )
    st = os.stat("ns/mnt", dir_fd=caller.proc())
    if (st.st_dev, st.st_ino) in _host_namespaces():
        raise Refusal(errno.EPERM, "mount in the host's mount namespace")
    where = container.place(caller, native.AT_FDCWD, request.target)
    pidfd = caller.pidfd()
    return lambda: _work(container, policy, credentials, request, where, pidfd)


def _host_namespaces() -> list[tuple[int, int]]:
    """The mount namespaces of the broker and of the host's first process, which may be two (systemd's PrivateTmp)."""
    found = [namespace("self", "mnt")]
    with contextlib.suppress(PermissionError):  # a security module may forbid to look at that process
        found.append(namespace(1, "mnt"))
    return found


def _work(
    container: Container,
    policy: Mount,
    credentials: Credentials,
    request: _Request,
    where: acting.Place,
    pidfd: int,
) -> None:
    """Enter the container's namespaces, and mount there."""
    acting.become(credentials, ALL_CAPABILITIES)
    kinds = native.CLONE_NEWNS
    if not container.is_of_host:
        kinds |= native.CLONE_NEWUSER
    if request.type == "proc":
        kinds |= native.CLONE_NEWPID
    native.setns(pidfd, kinds)
    root = os.open("/", OPEN_ROOT)  # setns(2) has made the mount namespace's root this process's
    where.enter()
    capabilities = credentials.capabilities | bits("CAP_SYS_ADMIN")
    brokering.set_effective(capabilities)
    brokering.protect_worker()
    if request.type != "proc":
        _mount(container, policy, request, root, capabilities)
        return
    # Only children are in the pid namespace. The container can kill this one, but not look into it: its memory belongs
    # to the host's user namespace, and it is not dumpable.
    code, reason = acting.Worker(lambda: _mount(container, policy, request, root, capabilities)).result()
    if code:
        raise Refusal(code if code < acting.CRASHED else errno.EPERM, reason or "mount of proc")


def _mount(container: Container, policy: Mount, request: _Request, root: int, capabilities: int) -> None:
    """Make the file system and attach it, as a process of the container's namespaces with these capabilities. root: the
    root directory of the mount namespace."""
    descriptors = acting.own_descriptors(container.proc)
    target = acting.open_path(request.target)
    layers = [(key, [_open_layer(path) for path in paths]) for key, paths in request.options.layers]
    name = acting.seen_from(root, descriptors, target, capabilities)
    table = mountinfo(container.proc)  # it lists what is beneath this process's root
    _check_target(table, name, policy, target)
    attributes = request.attributes
    if request.type == "proc":
        attributes |= _proc_attributes(table)
    os.fchdir(descriptors)  # overlay looks its layers up by name: the name of a descriptor here
    context = brokering.fsopen(request.type)
    try:
        brokering.fs_set(context, "source", request.source)
        for key, value in request.options.values:
            brokering.fs_set(context, key, value)
        for key in request.options.words:
            brokering.fs_set_flag(context, key)
        for key, fds in layers:
            brokering.fs_set(context, key, ":".join(map(str, fds)))
        brokering.fs_create(context)
    except OSError as error:
        raise Refusal(error.errno or errno.EINVAL, _message(context, request.type)) from error
    native.move_mount(brokering.fsmount(context, attributes), target, "")


def _open_layer(path: str) -> int:
    """A directory for overlay. Raises Refusal (EPERM) on a file system whose masked files it would show: it uses a
    layer without the mounts on it."""
    fd = acting.open_path(path)
    if native.fs_magic(fd) in _TRUSTED:
        raise Refusal(errno.EPERM, f"the layer {path}, which is in proc, sysfs or the cgroups")
    return fd


def _message(context: int, type: str) -> str:
    """The kernel's message about a failure to make a file system (fsopen(2)), on one line."""
    try:
        return f"mount of {type}: " + os.read(context, 1024).decode("utf-8", "replace").rstrip()
    except OSError:  # ENODATA: there is no message
        return f"mount of {type}"


def _check_target(table: list[Entry], name: str, policy: Mount, target: int) -> None:
    """Raises Refusal (EPERM) for a directory on which the policy permits no mount. name: its path."""
    if not any([name == allowed or name.startswith(allowed.rstrip("/") + "/") for allowed in policy.targets]):
        raise Refusal(errno.EPERM, f"mount on {name}")
    if native.fs_magic(target) in _TRUSTED:
        raise Refusal(errno.EPERM, f"mount on {name}, which is in proc, sysfs or the cgroups")
    id = native.mount_id(target)[0]
    found = [entry for entry in table if entry.id == id]
    if not found or any(["shared" in entry.propagation for entry in found]):
        raise Refusal(errno.EPERM, f"mount on {name}, from where it would propagate")


def mountinfo(proc: int) -> list[Entry]:
    """The mounts of this process's mount namespace. proc: /proc of the broker. Raises OSError."""
    fd = os.open("self/mountinfo", os.O_RDONLY | os.O_CLOEXEC, dir_fd=proc)
    with os.fdopen(fd, encoding="utf-8", errors="surrogateescape") as file:
        return mounttable.parse(file.read())


def _proc_attributes(table: list[Entry]) -> int:
    """The attributes that a new proc must have. Raises Refusal (EPERM) if the container sees no proc without mounts in
    it, which mask parts or make them read-only. The kernel asks this too, but only of mounts that the container could
    not unmount, if it might call umount2(2)."""
    covered = {entry.parent for entry in table}
    whole = [entry for entry in table if entry.fstype == "proc" and entry.root == "/" and entry.id not in covered]
    if not whole:
        raise Refusal(errno.EPERM, "mount of proc: the container's own is masked")
    return MOUNT_ATTR_RDONLY if all([entry.attributes & MOUNT_ATTR_RDONLY for entry in whole]) else 0
