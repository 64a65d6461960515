"""The parent's system calls that Python's builtins lack: typed wrappers of csrc/native.

Every function raises OSError(errno, text) on failure. New descriptors are close-on-exec and belong to the caller.
"""

from __future__ import annotations

import errno
import posix
import sys

from ... import paths
from ..._core import ffi as _ffi
from ..._core import lib as _lib

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Any

    from ..._core import Characters

# clone(2), setns(2): the namespace types
CLONE_NEWTIME = 0x00000080
CLONE_NEWNS = 0x00020000
CLONE_NEWCGROUP = 0x02000000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

# open_tree(2)
OPEN_TREE_CLONE = 1
AT_SYMLINK_NOFOLLOW = 0x100
AT_EMPTY_PATH = 0x1000
AT_RECURSIVE = 0x8000
AT_FDCWD = -100

# openat2(2)
RESOLVE_NO_XDEV = 0x01
RESOLVE_NO_MAGICLINKS = 0x02
RESOLVE_NO_SYMLINKS = 0x04
RESOLVE_BENEATH = 0x08
RESOLVE_IN_ROOT = 0x10

# statfs(2): f_type
NSFS_MAGIC = 0x6E736673
PROC_SUPER_MAGIC = 0x9FA0
CGROUP2_SUPER_MAGIC = 0x63677270
SELINUX_MAGIC = 0xF97CFF8C
RDTGROUP_SUPER_MAGIC = 0x07655821

# struct sched_attr with the utilization clamps, as sched_setattr(2) has it since Linux 5.3
_SCHED_ATTR_SIZE = 56
# linux/ioprio.h
_IOPRIO_CLASS_SHIFT = 13
_IOPRIO_PRIORITY = 0x1FFF

# Python ignores these two, and an ignored signal stays ignored through an exec. signal(7)
_SIGPIPE = 13
_SIGXFSZ = 25

# A signal interrupted the call. Python runs its handlers when C returns, and the call is repeated unless one raises
# (PEP 475).
_EINTR = 4

# How long, in milliseconds, another program may take to accept a connection, or to read a message.
PATIENCE_MS = 5000

# `poll`: the signal mask is not changed.
AS_NOW = 2**64 - 1

# epoll_ctl(2)
EPOLLIN = 0x001
EPOLLOUT = 0x004
EPOLLET = 0x80000000

# How much `read_record` and `read_own` read.
_RECORD = 1 << 12
_OWN = 1 << 13

# How many descriptors one `epoll_wait` returns at most (csrc/native/events.c, MAX_READY).
_MAX_READY = 8

# The `call` of an init that was killed before its first instruction.
KILLED = "the init was killed by signal 9 when it was cloned"

_CALLS = (
    "", "clone3", "setns", "close_range", "fcntl", "execveat", "capset", "prctl", "writing cgroup.procs", KILLED,
)  # fmt: skip


def fs_bytes(path: str) -> bytes:
    """A path or another command-line argument as bytes. Surrogates in the text stand for bytes that are not UTF-8
    (PEP 383)."""
    return path.encode("utf-8", "surrogateescape")


def _check(value: int) -> int:
    """Return a C function's result. Raises OSError for a negative errno."""
    if value < 0:
        raise OSError(-value, posix.strerror(-value))
    return value


def begin_network() -> None:
    """Begin to make a network namespace for the next `clone_init`, on another processor, while this command goes on.

    It belongs to the runtime's user namespace. If it can't be made, that clone makes it, and has the error. unshare(2).
    """
    _lib.pyrunc_begin_network()


class CloneError(OSError):
    """The clone of the init failed. call: the system call, or KILLED. index: which of the joined or inherited
    descriptors."""

    call: str
    index: int


def clone_init(
    flags: int,
    cgroup_fd: int,
    joins: Sequence[tuple[int, int]],
    image_fd: int,
    inherit: Sequence[int],
    args: Sequence[str],
    preserve_fds: int,
) -> tuple[int, int]:
    """Clone the init and execute its program. Returns (pid, pidfd) when the program runs.

    flags: CLONE_NEW* of the new namespaces, without CLONE_NEWTIME and CLONE_NEWCGROUP (the init unshares these).
    cgroup_fd: directory of the cgroup to clone into, or -1. If the kernel kills processes that are cloned into it
        (clone.c), the init is cloned into the runtime's cgroup and moves.
    joins: (descriptor, CLONE_NEW* type) of the namespaces to join first.
    image_fd: the program (`init_image`). It joins the namespaces itself (csrc/init/join.c), so the runtime is never in
    them.
    inherit: descriptors that stay open in the init; all others from 3 + preserve_fds on are closed by the exec.
    args: the argv, 16 at most. The environment is empty.
    All signals are blocked in the new process. Signals that the runtime ignores stay ignored.
    Raises CloneError. clone(2), setns(2), execveat(2).
    """
    spawn = _ffi.new("struct pyrunc_clone *")
    join_fds = _ffi.new("int[]", [fd for fd, _ in joins])
    join_types = _ffi.new("int[]", [kind for _, kind in joins])
    inherit_fds = _ffi.new("int[]", inherit)
    argv = _ffi.new("char[]", b"".join([fs_bytes(arg) + b"\0" for arg in args]))
    spawn.flags = flags
    spawn.cgroup_fd = cgroup_fd
    spawn.image_fd = image_fd
    spawn.preserve_fds = preserve_fds
    spawn.join_count = len(joins)
    spawn.join_fds = join_fds
    spawn.join_types = join_types
    spawn.inherit_count = len(inherit)
    spawn.inherit_fds = inherit_fds
    spawn.args = argv
    spawn.arg_count = len(args)
    value = _lib.pyrunc_clone_init(spawn)
    if value < 0:
        error = CloneError(-value, posix.strerror(-value))
        error.call = _CALLS[spawn.failed_call]
        error.index = spawn.failed_index
        raise error
    return spawn.pid, spawn.pidfd


def init_image() -> int:
    """The init's program in a file that nobody can write to (CVE-2019-5736): a sealed memfd, or if the sysctl
    vm.memfd_noexec forbids that (EACCES), a file on a read-only tmpfs that is mounted nowhere.

    Raises the OSError of memfd_create, with the cause of the tmpfs's failure in its text. memfd_create(2), fsmount(2).
    """
    image = _lib.pyrunc_init_image()
    if image != -errno.EACCES:
        return _check(image)
    image = _lib.pyrunc_init_image_on_tmpfs()
    if image < 0:
        raise OSError(errno.EACCES, posix.strerror(errno.EACCES)) from OSError(-image, posix.strerror(-image), "tmpfs")
    return image


def memfd(name: str, data: bytes, size: int = 0) -> int:
    """A sealed memfd that holds `data`, then zeros up to `size` bytes; its position is 0. memfd_create(2).

    The size is sealed, and without zeros also the content.
    """
    return _check(_lib.pyrunc_memfd(name.encode(), data, len(data), size))


def checksum(data: bytes) -> int:
    """A checksum against damage, not against attacks: 0 to 2**63 - 1."""
    return _lib.pyrunc_checksum(data, len(data))


def hold_fds() -> None:
    """Take the numbers of closed standard streams, so that no other descriptor gets one. Writes to them still fail
    (EBADF). To be called before any other descriptor is opened. Raises OSError."""
    _closed_streams[0] = _check(_lib.pyrunc_hold_fds())


def was_closed(fd: int) -> bool:
    """Whether a descriptor is a standard stream that was closed when `hold_fds` was called. A read of it would find the
    end of a file. fd: any number, as that of `paths.descriptor`."""
    return fd >= 0 and bool(_closed_streams[0] >> fd & 1)


def refuse_closed(path: str) -> None:
    """Refuse a file for output that is a closed standard stream, such as /dev/stdout: /dev/null has its number.

    Raises OSError (EBADF). To be called after `hold_fds`.
    """
    if was_closed(paths.descriptor(path)):
        raise OSError(errno.EBADF, posix.strerror(errno.EBADF), path)


# The standard streams that the caller had closed, as bits.
_closed_streams = [0]


def prepare_fds(preserve_fds: int) -> int:
    """Open /dev/null for each closed standard stream. Returns the first preserved descriptor that is not open, or 0.

    To be called before any other descriptor is opened, or after `hold_fds`.
    """
    return _check(_lib.pyrunc_prepare_fds(preserve_fds))


def openat2(dirfd: int, path: str, flags: int, mode: int = 0, resolve: int = 0) -> int:
    """Open a path with resolution rules (RESOLVE_*). openat2(2)."""
    return _check(_lib.pyrunc_openat2(dirfd, fs_bytes(path), flags, mode, resolve))


def room() -> Characters:
    """Memory for any number of calls of `read_own`."""
    return _ffi.new("char[]", _OWN)


def read_record(path: str) -> str:
    """The content of a file that one read returns whole, because it has less than 4 KiB and the kernel makes it in one
    piece: /proc/PID/stat. Bytes that are not UTF-8 become surrogates (surrogateescape)."""
    data = _ffi.new("char[]", _RECORD)
    length = _check(_lib.pyrunc_read_record(fs_bytes(path), data, _RECORD))
    return str(_ffi.buffer(data, length), "utf-8", "surrogateescape")


def is_frozen(cgroup: str, dirfd: int = AT_FDCWD) -> bool:
    """Whether cgroup.events in a cgroup's directory says `frozen 1`. Raises OSError.

    cgroup: the directory's path, relative to `dirfd` if it does not begin with a slash. In the file's place may be a
        FIFO: nothing waits for it.
    """
    return _check(_lib.pyrunc_is_frozen(dirfd, fs_bytes(cgroup))) == 1


def read_own(dirfd: int, id: str, name: str, room: Characters | None = None) -> str:
    """The file `id`/`name` below a directory, if both belong to the effective user, nobody else may write to them,
    neither is a symbolic link, and the file has no other name and less than 8 KiB.

    Raises OSError if not, and if the file changes meanwhile. openat2(2).
    """
    data = room if room is not None else _ffi.new("char[]", _OWN)
    length = _lib.pyrunc_read_own(dirfd, id.encode(), name.encode(), data, _OWN)
    if length < 0:
        _check(length)
    return str(_ffi.buffer(data, length), "utf-8", "surrogateescape")


def open_tree(dirfd: int, path: str, flags: int) -> int:
    """A descriptor of a mount, or with OPEN_TREE_CLONE of a detached copy of it. open_tree(2)."""
    return _check(_lib.pyrunc_open_tree(dirfd, fs_bytes(path), flags))


def mount_id(fd: int) -> tuple[int, int, bool]:
    """The mount of a descriptor: its id in /proc/PID/mountinfo; its unique id, which no later mount gets, 0 before
    Linux 6.8; and whether the descriptor is the mount's root. statx(2)."""
    found = _ffi.new("char[]", 24)
    _check(_lib.pyrunc_mount_id(fd, found, 24))
    data = bytes(_ffi.buffer(found, 24))
    id, unique, is_root = [int.from_bytes(data[at : at + 8], sys.byteorder) for at in (0, 8, 16)]
    return id, unique, bool(is_root)


def move_mount(fd: int, dirfd: int, path: str) -> None:
    """Attach a detached mount at a path relative to `dirfd`; "" is `dirfd` itself. move_mount(2)."""
    _check(_lib.pyrunc_move_mount(fd, dirfd, fs_bytes(path)))


def mount(source: str, target: str, type: str, flags: int, data: str) -> None:
    """Mount a file system, or change a mount. flags: MS_*. data: the file system's options. mount(2)."""
    _check(_lib.pyrunc_mount(fs_bytes(source), fs_bytes(target), fs_bytes(type), flags, fs_bytes(data)))


def private_mounts() -> None:
    """Enter a new mount namespace. Mounts propagate into it, but not out of it. unshare(2)."""
    _check(_lib.pyrunc_private_mounts())


def umount(path: str) -> None:
    """Unmount the topmost mount on a path, also if it is in use; links are not followed. umount2(2)."""
    _check(_lib.pyrunc_umount(fs_bytes(path)))


def detach_tree(path: str) -> None:
    """Unmount the topmost mount on a path and all mounts below it, also if they are in use. umount2(2)."""
    _check(_lib.pyrunc_detach_tree(fs_bytes(path)))


def idmap_mount(fd: int, namespace: int, recursive: bool) -> None:
    """Map the ids of a detached mount and of the mounts below it by a user namespace. mount_setattr(2)."""
    _check(_lib.pyrunc_idmap_mount(fd, namespace, recursive))


def fork_user_namespace(join: int = -1) -> int:
    """Start a child in a new user namespace, or in that of the descriptor `join`. It waits to be killed. Returns its
    pid. clone(2), setns(2)."""
    return _check(_lib.pyrunc_fork_user_namespace(join))


def setns(fd: int, nstype: int) -> None:
    """Enter a namespace; `nstype` is its CLONE_NEW* type or 0. setns(2)."""
    _check(_lib.pyrunc_setns(fd, nstype))


def fs_magic(fd: int) -> int:
    """The type of the file system that a descriptor is on (`f_type` of fstatfs(2))."""
    return _check(_lib.pyrunc_fs_magic(fd))


def namespace_type(fd: int) -> int:
    """The CLONE_NEW* type of the namespace of an open nsfs file. ioctl_ns(2)."""
    return _check(_lib.pyrunc_namespace_type(fd))


def flock(fd: int, exclusive: bool, wait: bool) -> None:
    """Lock an open file. Raises BlockingIOError if it is locked and `wait` is false. flock(2)."""
    _check(_lib.pyrunc_flock(fd, exclusive, wait))


def unlock(fd: int) -> None:
    """Unlock a file. flock(2)."""
    _check(_lib.pyrunc_unlock(fd))


def prlimit(pid: int, resource: int, soft: int, hard: int) -> None:
    """Set a resource limit of a process; 2**64 - 1 means no limit. prlimit(2)."""
    _check(_lib.pyrunc_prlimit(pid, resource, soft, hard))


def open_files() -> tuple[int, int]:
    """This process's soft and hard limit of open files; 2**64 - 1 means no limit. getrlimit(2)."""
    limits = _ffi.new("char[]", 16)
    _check(_lib.pyrunc_open_files(limits, 16))
    data = bytes(_ffi.buffer(limits, 16))
    return int.from_bytes(data[:8], sys.byteorder), int.from_bytes(data[8:], sys.byteorder)


def raise_open_files(soft: int) -> None:
    """Raise this process's soft limit of open files. Programs of `spawn` get the former limit. setrlimit(2)."""
    _check(_lib.pyrunc_raise_open_files(soft))


def subreaper() -> None:
    """Have processes whose parents have ended become children of this process, its nearest ancestor that does so.
    prctl(2), PR_SET_CHILD_SUBREAPER."""
    _check(_lib.pyrunc_subreaper())


def spawn(path: str | bytes, args: list[bytes] | list[str], env: Mapping[bytes, bytes], actions: Sequence[Any]) -> int:
    """Start a program other than the init, such as a hook. Returns its pid. posix_spawn(3).

    actions: posix.posix_spawn's file_actions, for the standard streams. The program inherits no other descriptor, not
    of the runtime's caller either: all become close-on-exec. It has the caller's limit of open files, no blocked
    signals, and the default action for signals that Python ignores. Raises OSError, and ValueError for a NUL.
    """
    _check(_lib.pyrunc_begin_spawn())
    try:
        return posix.posix_spawn(path, args, env, file_actions=actions, setsigmask=(), setsigdef=(_SIGPIPE, _SIGXFSZ))
    finally:
        _check(_lib.pyrunc_end_spawn())


def sched_setattr(
    pid: int, policy: int, flags: int, nice: int, priority: int, runtime: int, deadline: int, period: int
) -> None:
    """Set a process's scheduling policy (SCHED_*), SCHED_FLAG_* and parameters; times in ns. sched_setattr(2)."""
    sizes = (4, 4, 8, 4, 4, 8, 8, 8)
    fields = (_SCHED_ATTR_SIZE, policy, flags, nice, priority, runtime, deadline, period)
    parts = [value.to_bytes(size, sys.byteorder, signed=value < 0) for size, value in zip(sizes, fields, strict=True)]
    _check(_lib.pyrunc_sched_setattr(pid, b"".join(parts).ljust(_SCHED_ATTR_SIZE, b"\0")))


def ioprio_set(group: int, level: int, priority: int) -> None:
    """Set the I/O class (IOPRIO_CLASS_*) and priority of a process group. ioprio_set(2)."""
    _check(_lib.pyrunc_ioprio_set(group, level, priority))


def ioprio_get(pid: int) -> tuple[int, int]:
    """The I/O class (IOPRIO_CLASS_*) and priority of a process. ioprio_set(2)."""
    value = _check(_lib.pyrunc_ioprio_get(pid))
    return value >> _IOPRIO_CLASS_SHIFT, value & _IOPRIO_PRIORITY


def sched_getattr(pid: int) -> tuple[int, int, int, int, int, int, int]:
    """A process's scheduling policy, SCHED_FLAG_*, nice value, priority, runtime, deadline and period (ns), as
    `sched_setattr` takes them. sched_setattr(2)."""
    buffer = bytearray(_SCHED_ATTR_SIZE)
    _check(_lib.pyrunc_sched_getattr(pid, _ffi.from_buffer(buffer, require_writable=True), len(buffer)))
    values: list[int] = []
    at = 0
    for size in (4, 4, 8, 4, 4, 8, 8, 8):
        values.append(int.from_bytes(buffer[at : at + size], sys.byteorder, signed=len(values) == 3))
        at += size
    _, policy, flags, nice, priority, runtime, deadline, period = values
    return policy, flags, nice, priority, runtime, deadline, period


def bpf(command: int, attributes: bytearray, buffers: Sequence[tuple[int, bytes | bytearray]] = ()) -> int:
    """bpf(2). The kernel may write to `attributes`. Returns a descriptor or a number, depending on the command.

    buffers: (offset, buffer) pairs: the buffer's address is stored at that offset of the attributes, as 64 bits.
    """
    pointed = [_ffi.from_buffer(buffer) for _, buffer in buffers]
    for (offset, _), pointer in zip(buffers, pointed, strict=True):
        attributes[offset : offset + 8] = int(_ffi.cast("uintptr_t", pointer)).to_bytes(8, sys.byteorder)
    buffer = _ffi.from_buffer(attributes, require_writable=True)
    return _check(_lib.pyrunc_bpf(command, buffer, len(attributes)))


def pidfd_getfd(pidfd: int, fd: int) -> int:
    """A copy of another process's descriptor. pidfd_getfd(2)."""
    return _check(_lib.pyrunc_pidfd_getfd(pidfd, fd))


def capabilities() -> int:
    """The permitted capabilities of this process, as a bit set. capget(2)."""
    return _check(_lib.pyrunc_capabilities())


def procfs() -> int:
    """A detached procfs of this pid namespace, without hidepid. Needs CAP_SYS_ADMIN. fsopen(2)."""
    return _check(_lib.pyrunc_procfs())


def last_capability() -> int:
    """The number of the last capability that the kernel knows. prctl(2), PR_CAPBSET_READ."""
    return _check(_lib.pyrunc_last_capability())


def landlock_abi() -> int:
    """The ABI of the kernel's Landlock. landlock_create_ruleset(2); ENOSYS: the kernel has none, EOPNOTSUPP: it is not
    enabled."""
    return _check(_lib.pyrunc_landlock_abi())


def socketpair() -> tuple[int, int]:
    """Two connected SOCK_SEQPACKET sockets. socketpair(2)."""
    pair = _ffi.new("int[2]")
    _check(_lib.pyrunc_socketpair(pair))
    return pair[0], pair[1]


def listen(path: str) -> int:
    """A listening SOCK_SEQPACKET socket at a path of any length, or at an abstract name (@NAME). unix(7)."""
    return _check(_lib.pyrunc_listen(fs_bytes(path)))


def netlink(namespace: int = -1) -> int:
    """An rtnetlink socket in the network namespace of a descriptor, or in this process's. netlink(7)."""
    return _check(_lib.pyrunc_netlink(namespace))


def datagram_socket() -> int:
    """A socket for any number of calls of `ask_socket`. unix(7)."""
    return _check(_lib.pyrunc_datagram_socket())


def ask_socket(fd: int, path: str) -> int:
    """The errno of a datagram socket's connect(2) to a path: EPROTOTYPE if a process has a socket of another type open
    there, ECONNREFUSED if no process has one. It does not wait, and the other socket does not notice it."""
    return -_lib.pyrunc_ask_socket(fd, fs_bytes(path))


def connect(path: str, stream: bool = False, timeout_ms: int = 0) -> int:
    """A socket connected to a path of any length, or to an abstract name (@NAME); SOCK_STREAM if `stream`, else
    SOCK_SEQPACKET.

    With a timeout it raises BlockingIOError if the listener's queue stays full for so long; `send` on the socket does
    the same for the peer's buffer. Signal handlers run meanwhile. unix(7), socket(7) SO_SNDTIMEO.
    """
    name = fs_bytes(path)
    while True:
        value = _lib.pyrunc_connect(name, stream, timeout_ms)
        if value != -_EINTR:
            return _check(value)


def peer(fd: int) -> int:
    """The pid of the process that last called listen(2) on the socket at the other end, 0 if this process's pid
    namespace does not have it. It may have ended. unix(7), SO_PEERCRED."""
    return _check(_lib.pyrunc_peer(fd))


def recv_netlink(fd: int, size: int) -> bytes:
    """The kernel's next datagram on a netlink socket. Datagrams of other processes are ignored.

    Raises EMSGSIZE if it is longer than `size`. netlink(7).
    """
    data = _ffi.new("char[]", size)
    while True:
        value = _lib.pyrunc_recv_netlink(fd, data, size)
        if value != -_EINTR:
            return bytes(_ffi.buffer(data, _check(value)))


def send(fd: int, data: bytes, fds: Sequence[int] = ()) -> int:
    """Send data and descriptors (SCM_RIGHTS) without SIGPIPE. Returns the number of bytes sent. sendmsg(2)."""
    while True:
        value = _lib.pyrunc_send(fd, data, len(data), fds, len(fds))
        if value != -_EINTR:
            return _check(value)


def send_now(fd: int, data: bytes) -> int:
    """Send as much as fits without a wait. Raises BlockingIOError if nothing fits. send(2)."""
    return _check(_lib.pyrunc_send_now(fd, data, len(data)))


def recv_now(fd: int, size: int) -> bytes:
    """Receive at most `size` bytes without a wait. Raises BlockingIOError if there are none. recv(2)."""
    data = _ffi.new("char[]", size)
    return bytes(_ffi.buffer(data, _check(_lib.pyrunc_recv_now(fd, data, size))))


def recv(fd: int, size: int, maxfds: int = 0) -> tuple[bytes, list[int]]:
    """Receive a message of at most `size` bytes with at most `maxfds` descriptors; b"" at the end of file.

    Raises EMSGSIZE for a larger message, and closes its descriptors. recvmsg(2).
    """
    data = _ffi.new("char[]", size)
    fds = _ffi.new("int[]", maxfds)
    count = _ffi.new("int *")
    while True:
        value = _lib.pyrunc_recv(fd, data, size, fds, maxfds, count)
        if value != -_EINTR:
            length = _check(value)
            return bytes(_ffi.buffer(data, length)), [fds[i] for i in range(count[0])]


def poll(fds: Sequence[int], timeout_ms: int = -1, blocked: int = AS_NOW) -> list[int]:
    """The descriptors of `fds` that can be read or have hung up; none after the timeout or a signal.

    blocked: the signal mask during the wait, as bits (bit N - 1 is signal N). A signal that is not in it ends the
        wait, also if it was pending before, unless a descriptor is ready at once. ppoll(2).
    """
    entries = [*fds]
    ready = _ffi.new("char[]", len(entries))
    value = _lib.pyrunc_poll(entries, len(entries), len(entries), timeout_ms, blocked, ready)
    if value == -_EINTR:  # the caller looks again
        return []
    if _check(value) == len(entries):
        return entries
    return [fd for fd, flag in zip(entries, ready, strict=True) if flag != b"\0"] if value else []


def poll_both(
    readers: Sequence[int], writers: Sequence[int], timeout_ms: int = -1, blocked: int = AS_NOW
) -> tuple[list[int], list[int]]:
    """The descriptors that can be read, and those that can be written; both include hang-ups. blocked: as for
    `poll`."""
    fds = [*readers, *writers]
    ready = _ffi.new("char[]", len(fds))
    value = _lib.pyrunc_poll(fds, len(fds), len(readers), timeout_ms, blocked, ready)
    if value == -_EINTR:  # the caller looks again
        return [], []
    _check(value)
    flags = [flag != b"\0" for flag in ready]
    split = len(readers)
    return (
        [fd for fd, flag in zip(readers, flags[:split], strict=True) if flag],
        [fd for fd, flag in zip(writers, flags[split:], strict=True) if flag],
    )


def await_execve(sync: int, pid: int, name: str, blocked: int = AS_NOW) -> bool:
    """Wait until an init's socket ends or has a message. True if it has ended, and the process has another name than
    the init's, so that it has executed its program. False if that is not sure, or after a signal.

    sync: the other end of the init's socket. name: the init's, of 15 bytes at most. blocked: as for `poll`. Raises
        OSError.
    """
    value = _lib.pyrunc_await_execve(sync, pid, name.encode(), blocked)
    if value == -_EINTR:
        return False
    return _check(value) == 1


def epoll() -> int:
    """A descriptor to watch others with. epoll_create1(2)."""
    return _check(_lib.pyrunc_epoll())


def epoll_watch(epoll: int, fd: int, events: int) -> None:
    """Watch a descriptor for events (EPOLL*), or stop watching it if `events` is 0.

    Raises PermissionError for a file that is always ready, such as a regular file. epoll_ctl(2).
    """
    _check(_lib.pyrunc_epoll_watch(epoll, fd, events))


def epoll_wait(epoll: int, timeout_ms: int) -> list[int]:
    """The watched descriptors that have one of their events, an error or a hang-up; none after the timeout or a signal.
    A timeout of -1 is none. epoll_wait(2)."""
    ready = _ffi.new("int[]", _MAX_READY)
    value = _lib.pyrunc_epoll_wait(epoll, timeout_ms, ready, _MAX_READY)
    if value == -_EINTR:  # the caller looks again
        return []
    return [ready[i] for i in range(_check(value))]


class Copier:
    """Copies output, with memory for `room` bytes.

    edges: an epoll descriptor that watches nothing but the source, a pty's master, for EPOLLIN | EPOLLET; -1 for none.
    With it, a copy polls after each read, once one was full, for 40 us at most: until the kernel has filled the pty
    again.
    """

    __slots__ = ("_data", "_edges", "_end", "_pace", "_room")

    def __init__(self, room: int, edges: int = -1) -> None:
        self._room = room
        self._edges = edges
        self._data = _ffi.new("char[]", room)
        self._end = _ffi.new("int[]", 4)
        self._pace = _ffi.new("int[]", 2)

    def copy(self, source: int, target: int, chunk: int, turns: int) -> tuple[bytes, int, int]:
        """Copy at most `turns` chunks of at most `chunk` bytes between two descriptors that do not block. As many
        chunks as there are, and as there is room for, are written together.

        Returns the bytes that were read but not written, the errno of the last read, and that of the last write; 0 if
        that call did not fail. An end of file is EAGAIN.
        """
        end = self._end
        _check(_lib.pyrunc_copy(source, target, self._data, self._room, chunk, turns, self._edges, self._pace, end))
        rest = bytes(_ffi.buffer(self._data, self._room))[end[0] : end[0] + end[1]] if end[1] else b""
        return rest, end[2], end[3]


def signal_bits(signals: Iterable[int]) -> int:
    """A set of signals as bits: bit N - 1 is signal N."""
    return sum([1 << (number - 1) for number in signals])


def signalfd(bits: int) -> int:
    """A descriptor from which blocked signals are read: 128 bytes each, the number first (u32). signalfd(2)."""
    return _check(_lib.pyrunc_signalfd(bits))


def signal_ignored(number: int) -> bool:
    """Whether this process ignores a signal, according to the kernel. `_signal` has only the dispositions at its
    import, which in the launcher happened at build time. sigaction(2)."""
    return bool(_check(_lib.pyrunc_signal_ignored(number)))


def tty_raw(fd: int) -> bytes:
    """Put the input of a terminal in raw mode. Returns its settings for `tty_restore`. termios(3)."""
    size = _lib.pyrunc_tty_size()
    saved = _ffi.new("char[]", size)
    _check(_lib.pyrunc_tty_raw(fd, saved, size))
    return bytes(_ffi.buffer(saved, size))


def tty_no_onlcr(fd: int) -> None:
    """Stop a pty from adding carriage returns to its output. termios(3)."""
    _check(_lib.pyrunc_tty_no_onlcr(fd))


def tty_restore(fd: int, saved: bytes) -> None:
    """Restore the terminal settings that `tty_raw` returned. termios(3)."""
    _check(_lib.pyrunc_tty_restore(fd, saved, len(saved)))


def copy_winsize(source: int, target: int) -> None:
    """Give a pty the window size of another terminal, unless that has none (0 by 0). ioctl_tty(2)."""
    _check(_lib.pyrunc_copy_winsize(source, target))
