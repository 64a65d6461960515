"""The broker's socket: runtimes send the listeners of containers there (config-linux.md, Container Process State).

For each connection a process is forked, which becomes the container's agent. So neither a container's calls nor a
runtime that sends slowly delays another container, and an agent that fails ends no other agent.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import gc
import os
import resource
import select
import signal
import socket
import stat
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ... import jsonio, log
from ...errors import PyruncError, join
from ..kernel.fileio import read_file
from ..plan.host import own_cgroup
from . import listener
from .agent import Agent
from .config import DEFAULT
from .containers import Container, namespace, root_directory, user_namespace
from .memory import Limits, boot_offset

if TYPE_CHECKING:
    from .config import Policy

# Containers at a time. Each has an agent of some MB.
MAX_AGENTS = 1024
_STATE_BYTES = 4 << 20
_STATE_SECONDS = 10.0
_MAX_FDS = 16
_PATH_BYTES = 107  # sun_path, with a NUL (unix(7))
_OPEN_PROC = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_STDOUT = 1
# The lock of a path has the name of the path with this behind it.
LOCK = ".lock"


@dataclass(frozen=True)
class State:
    """A container process state. fd: the listener."""

    id: str
    pid: int
    metadata: str
    fd: int


def parse(data: bytes, fds: list[int]) -> State:
    """The container process state that a runtime has sent, with its descriptors in order. Raises PyruncError."""
    try:
        value: Any = jsonio.loads(data.decode())
        names, pid, state = value["fds"], value["pid"], value["state"]
        id, metadata = state["id"], value.get("metadata", "")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise PyruncError("what was sent is no container process state") from error
    is_valid = type(names) is list and type(pid) is int and type(id) is str and type(metadata) is str
    if not is_valid or "seccompFd" not in names or names.index("seccompFd") >= len(fds):
        raise PyruncError("the container process state has no seccompFd")
    fd = fds[names.index("seccompFd")]
    if not listener.is_listener(fd):
        raise PyruncError("seccompFd is no seccomp listener")
    return State(id, pid, metadata, fd)


class Server:
    """The broker. Use it as a context: the end removes the socket and ends the agents."""

    def __init__(self, path: str, policies: dict[str, Policy], cgroup_mount: str) -> None:
        """Listen at a path; only root may connect. Raises PyruncError if another program listens there."""
        self._path = path
        self._policies = policies
        self._mount = cgroup_mount
        self._agents: dict[int, int] = {}  # pid by pidfd
        self._proc = os.open("/proc", _OPEN_PROC)
        _raise_limit()
        self._spare = os.dup(self._proc)  # reserved for a connection when no other is left
        self._socket, self._lock = _listen(path)
        self._own = _identity(path)
        self._ended, self._end = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._parent = -1

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        if _identity(self._path) == self._own:  # otherwise another broker listens there by now
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._path)
            _unlock(self._path, self._lock)
        self._socket.close()
        for pid in self._agents.values():
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)

    def serve(self, parent: int = 0) -> None:
        """Take listeners until SIGTERM or SIGINT.

        parent: the pid of the parent process, at whose end this ends too, and to which a line on standard output tells
        that the broker listens; 0 for none. Raises PyruncError if it is not the parent.
        """
        for number in _SIGNALS:
            signal.signal(number, lambda *_: os.write(self._end, b"\0"))
        if parent:
            self._parent = _open_parent(parent)
            _tell_parent()
        log.info(f"the broker listens at {self._path}")  # from here on a signal ends it in order
        gc.freeze()
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        poll.register(self._ended, select.POLLIN)
        if parent:
            poll.register(self._parent, select.POLLIN)
        while True:
            ready = dict(poll.poll())
            for fd in ready:
                if fd in self._agents:
                    poll.unregister(fd)
                    self._reap(fd)
            if self._ended in ready or self._parent in ready:
                return
            if self._socket.fileno() in ready:
                pidfd = self._accept()
                if pidfd >= 0:
                    poll.register(pidfd, select.POLLIN)

    def _accept(self) -> int:
        """Start an agent for a connection. Returns its pidfd; -1 without one."""
        try:
            connection, _ = self._socket.accept()
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE):
                self._refuse_one(error)
            return -1
        with connection:
            if len(self._agents) >= MAX_AGENTS:
                log.error(f"a container is refused: the broker has {MAX_AGENTS} already")
                return -1
            try:
                pid = os.fork()
            except OSError as error:
                log.error(f"a container is refused: fork: {error.strerror}")
                return -1
            if not pid:
                self._become_agent(connection)
        try:
            pidfd = os.pidfd_open(pid)
        except OSError as error:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            log.error(f"a container is refused: pidfd_open: {error.strerror}")
            return -1
        self._agents[pidfd] = pid
        return pidfd

    def _refuse_one(self, error: OSError) -> None:
        """End a connection that there is no descriptor for: it would wait, and keep the broker busy, until an agent
        ends. The agents that are there go on."""
        log.error(f"a container is refused: accept: {error.strerror}")
        os.close(self._spare)
        with contextlib.suppress(OSError):
            self._socket.accept()[0].close()
        self._spare = os.dup(self._proc)

    def _reap(self, pidfd: int) -> None:
        pid = self._agents.pop(pidfd)
        os.close(pidfd)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        if code < 0:
            log.error(
                f"the agent {pid} was ended by signal {-code}: the calls of its container fail with ENOSYS from now on"
            )

    def _become_agent(self, connection: socket.socket) -> None:
        """In the forked process: become the agent of the container whose state is sent."""
        code = 1
        try:
            for number in _SIGNALS:
                signal.signal(number, signal.SIG_DFL)
            self._socket.close()
            # The lock is the broker's: an agent that lives on after it keeps no other broker away.
            for fd in (self._lock, *self._agents, *([self._parent] if self._parent >= 0 else [])):
                os.close(fd)
            state = _receive(connection)
            if state is not None:
                _serve(state, self._policies, self._mount, self._proc)
            code = 0
        except PyruncError as error:
            log.error(f"a container is refused: {error}")
        except OSError as error:
            log.error(f"the agent {os.getpid()} ends: {error}")
        except Exception as error:
            log.error(join([f"the agent {os.getpid()}: internal error: {type(error).__name__}: {error}"]))
        finally:
            os._exit(code)


def _raise_limit() -> None:
    """Raise the soft limit of open files to the hard one: each agent needs a descriptor."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _identity(path: str) -> tuple[int, int]:
    """The device and inode of a file; (0, 0) without one."""
    try:
        st = os.lstat(path)
    except FileNotFoundError:
        return 0, 0
    return st.st_dev, st.st_ino


def _open_parent(pid: int) -> int:
    """A pidfd of the parent process. Raises PyruncError."""
    try:
        found = os.pidfd_open(pid)
    except OSError as error:
        raise PyruncError(f"the parent process {pid}", errno=error.errno or 0, origin="--parent") from error
    if os.getppid() != pid:  # else it is no later process with this pid
        os.close(found)
        raise PyruncError(f"process {pid} is not the broker's parent", origin="--parent")
    return found


def _tell_parent() -> None:
    """Write the line on standard output, which is /dev/null from then on: no agent keeps the parent's pipe."""
    try:
        os.write(_STDOUT, b"listening\n")
        null = os.open("/dev/null", os.O_WRONLY | os.O_CLOEXEC)
    except OSError as error:
        raise PyruncError("telling the parent that the broker listens", errno=error.errno or 0) from error
    os.dup2(null, _STDOUT)
    os.close(null)


def _listen(path: str) -> tuple[socket.socket, int]:
    """The socket at a path, and the lock of the path. Raises PyruncError if another program has the path."""
    if len(os.fsencode(path)) > _PATH_BYTES:
        raise PyruncError(f"listening at {path}", errno=errno.ENAMETOOLONG, hint=f"at most {_PATH_BYTES} bytes")
    found = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    held = -1
    try:
        held = _lock(path)
        _remove_stale(path)
        mask = os.umask(0o177)
        try:
            found.bind(path)
        finally:
            os.umask(mask)
        found.listen(128)
    except OSError as error:
        found.close()
        if held >= 0:
            _unlock(path, held)
        hint = ""
        if error.errno == errno.EADDRINUSE:
            hint = "a program listens there, or a file that is no socket is there: --socket names another path"
        raise PyruncError(f"listening at {path}", errno=error.errno or 0, hint=hint) from error
    return found, held


def _lock(path: str) -> int:
    """The lock of a path, a file beside it, which a broker holds as long as it runs: of two that start at once, neither
    removes the socket of the other. Raises OSError (EADDRINUSE) if another broker has it."""
    name = path + LOCK
    while True:
        fd = os.open(name, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(fd)
            raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE)) from error
        st = os.fstat(fd)
        if _identity(name) == (st.st_dev, st.st_ino):
            return fd
        os.close(fd)  # its holder has just removed it


def _unlock(path: str, fd: int) -> None:
    """Remove the lock of a path, and end it."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path + LOCK)
    os.close(fd)


def _remove_stale(path: str) -> None:
    """Remove the socket of a broker that was killed. Raises OSError (EADDRINUSE) if there is anything else.

    Whether a program listens is asked by a socket of another type: the kernel refuses it, and the program, which may be
    an agent of another kind, does not notice (unix_find_bsd() of the kernel).
    """
    try:
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            return
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
        except OSError as error:
            if error.errno != errno.EPROTOTYPE:
                raise


def _receive(connection: socket.socket) -> State | None:
    """Read a state: until it is whole, since runc keeps the connection open. None if nothing was sent, as by a program
    that looks whether one listens here. Raises PyruncError and OSError.
    """
    (uid,) = struct.unpack_from("=i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12), 4)
    if uid not in (0, os.geteuid()):
        raise PyruncError(f"user {uid} may not send listeners")
    connection.settimeout(_STATE_SECONDS)
    data, fds = b"", []
    while len(data) <= _STATE_BYTES:
        part, more, _, _ = socket.recv_fds(connection, 1 << 16, _MAX_FDS)
        fds += more
        data += part
        if not part and not data:
            return None
        if not part or _is_whole(data):
            return parse(data, fds)
    raise PyruncError(f"the container process state has more than {_STATE_BYTES} bytes")


def _is_whole(data: bytes) -> bool:
    if not data.rstrip().endswith(b"}"):
        return False
    try:
        jsonio.loads(data.decode())
    except ValueError:
        return False
    return True


def _serve(state: State, policies: dict[str, Policy], mount: str, proc: int) -> None:
    name = state.metadata or DEFAULT
    if name not in policies:
        raise PyruncError(f"container {state.id} wants policy {name}", hint="the configuration does not have it")
    try:
        of_container = user_namespace(state.pid)
        root = root_directory(state.pid)
        cgroup = _cgroup(state.pid, mount)
        ahead = boot_offset(state.pid) - boot_offset("self")
    except (FileNotFoundError, ProcessLookupError):
        log.debug(f"container {state.id} has ended before its agent began")
        return
    container = Container(
        id=join([state.id]),
        pid=state.pid,
        policy=policies[name],
        user_namespace=of_container,
        is_of_host=of_container == namespace("self", "user"),
        root=root,
        proc=proc,
        limits=Limits(cgroup, mount),
        ahead=ahead,
    )
    log.info(f"container {container.id}: {', '.join(container.policy.calls())} by policy {name}")
    Agent(state.fd, container).serve()
    log.debug(f"container {container.id} has ended")


def _cgroup(pid: int, mount: str) -> str:
    """The directory of a process's cgroup; "" without a hierarchy."""
    own = own_cgroup(read_file(f"/proc/{pid}/cgroup"))
    return mount + own.rstrip("/") if own and mount else ""
