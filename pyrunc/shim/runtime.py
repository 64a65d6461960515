"""The runtime's commands, each as a separate process: a command may wait or run hooks, and must not block the shim.

The program is the launcher itself, beside the shim's, so containers and the shim are always of one version. Hot.
"""

from __future__ import annotations

import posix
import sys

from .. import jsonio, launcher, log
from ..errors import PyruncError, join
from ..libcontainer.kernel import fileio, native

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from .loop import Loop

    # Called at the end of a command: with its failure, or None.
    Done = Callable[[PyruncError | None], None]

SHIM = "containerd-shim-pyrunc-v2"
RUNTIME = "pyrunc"
# The parent of the state roots, one for each of containerd's namespaces. containerd's own shim has the same path when
# it runs pyrunc.
DEFAULT_ROOT = "/run/containerd/runc"

# Variables by which the service manager talks to containerd; no container gets them.
_NOT_INHERITED = (b"NOTIFY_SOCKET", b"LISTEN_FDS", b"LISTEN_PID", b"LISTEN_FDNAMES")
# The server's socket.
LISTENER = 3
_SIGKILL = 9
# A state directory, a file in it, and one more.
_RESERVED = 3
_DELETED = " (deleted)"


def own_program(name: str) -> tuple[str, list[str]]:
    """The path and the first words of the command line that start this program as SHIM or as RUNTIME.

    In the launcher argv[0] decides; the ordinary build has a module for each. Raises OSError.
    """
    if launcher.is_launcher():
        # After an upgrade the path has the new program, as for a shim that searches its runtime in PATH.
        return posix.readlink("/proc/self/exe").removesuffix(_DELETED), [name]
    module = "pyrunc.shim" if name == SHIM else "pyrunc"
    return sys.executable, [sys.executable, "-P", "-m", module]  # -P: nothing is imported from the bundle


def environment() -> dict[bytes, bytes]:
    """The environment of the runtime's commands."""
    return {name: value for name, value in posix.environ.items() if name not in _NOT_INHERITED}


def spawn(
    words: list[str],
    stdio: tuple[int, int, int] = (-1, -1, -1),
    *,
    path: str,
    env: dict[bytes, bytes] | None = None,
    listener: int = -1,
) -> int:
    """Start a program with standard streams; -1 stands for /dev/null. Returns its pid. Raises OSError.

    env: `environment()` if None. listener: becomes the program's descriptor 3; -1 for none.
    """
    actions: list[tuple[int, ...] | tuple[int, int, bytes, int, int]] = []
    # The shim has no descriptor below 3 besides the standard streams: main() opens those that the caller has closed.
    for number, fd in enumerate(stdio):
        if fd < 0:
            actions.append((posix.POSIX_SPAWN_OPEN, number, b"/dev/null", posix.O_RDWR, 0))
        else:
            actions.append((posix.POSIX_SPAWN_DUP2, fd, number))
    if listener >= 0:
        actions.append((posix.POSIX_SPAWN_DUP2, listener, LISTENER))
    return native.spawn(path, [native.fs_bytes(word) for word in words], env or environment(), actions)


class Reserve:
    """Reserved descriptors, which `close` frees: as many as the shim needs to read the files of a command that has
    ended.

    Other calls may use up all descriptors while a command runs, and without the pid file the shim could not watch the
    process.
    """

    __slots__ = ("_fds",)

    def __init__(self) -> None:
        """Raises OSError."""
        self._fds: list[int] = []
        try:
            for _ in range(_RESERVED):
                self._fds.append(posix.open("/", posix.O_PATH | posix.O_CLOEXEC))
        except OSError:
            self.close()
            raise

    def close(self) -> None:
        """Free them."""
        while self._fds:
            posix.close(self._fds.pop())


class Command:
    """A command of the runtime that runs."""

    __slots__ = ("_done", "_log", "_loop", "_name", "pid", "reserve")

    def __init__(self, loop: Loop, name: str, path: str, done: Done) -> None:
        """Raises OSError."""
        self.reserve = Reserve()
        self._loop = loop
        self._name = name
        self._log = path
        self._done: Done | None = done
        self.pid = 0

    def kill(self) -> None:
        """Kill the command and its hooks. `delete` undoes what it has made so far."""
        if self.pid and self._name != "checkpoint":  # CRIU restores the container when its caller has ended
            from ..libcontainer import holder

            try:
                holder.kill_tree(self.pid)
            except OSError as error:
                log.error(f"ending what pyrunc {self._name} has started: {error}")
        if self.pid:
            posix.kill(self.pid, _SIGKILL)

    def on_end(self, code: int) -> None:
        """The command has ended: call `done`."""
        self.pid = 0
        self.reserve.close()
        failure = None
        try:
            text = last_error(self._log) if code else ""
            posix.unlink(self._log)
        except OSError as error:
            text = f"its log can't be read: {error}" if code else ""
        if code:
            failure = PyruncError(text or f"pyrunc {self._name} ended with exit status {code}")
        done, self._done = self._done, None  # leave no reference cycle
        assert done is not None
        try:
            done(failure)
        finally:
            self._loop.end_launch()


class Runtime:
    """The runtime for the containers below one state root.

    root: the directory of the state directories. systemd: whether systemd makes the cgroups.
    """

    __slots__ = ("_loop", "root", "systemd")

    _count = 0

    def __init__(self, loop: Loop, root: str, systemd: bool) -> None:
        self._loop = loop
        self.root = root
        self.systemd = systemd

    def run(
        self, command: str, words: list[str], directory: str, done: Done, stdio: tuple[int, int, int] = (-1, -1, -1)
    ) -> Command:
        """Start `pyrunc COMMAND WORDS…`. `done` is called at its end, never before this returns.

        directory: that of the command's log. stdio: its standard streams. Raises OSError.
        """
        Runtime._count += 1
        # A container whose bundle is gone can still be deleted.
        place = directory if _is_there(directory) else "/run"
        messages = f"{place}/log-{posix.getpid()}-{Runtime._count}.json"
        path, first = own_program(RUNTIME)
        options = ["--root", self.root, "--log", messages, "--log-format", "json"]
        if self.systemd:
            options.append("--systemd-cgroup")
        running = Command(self._loop, command, messages, done)
        self._loop.begin_launch()
        try:
            running.pid = spawn([*first, *options, command, *words], stdio, path=path)
        except BaseException:
            self._loop.end_launch()
            running.reserve.close()
            raise
        self._loop.process(running.pid, running.on_end)
        return running


def _is_there(path: str) -> bool:
    try:
        posix.stat(path)
    except OSError:
        return False
    return True


def last_error(path: str) -> str:
    """The message of the last entry of level error in a log of JSON objects; "" if there is none. Raises OSError."""
    text = ""
    for line in fileio.read_file(path).splitlines():
        try:
            entry = jsonio.loads(line)
        except ValueError:
            continue  # written by a program that the runtime has started
        if type(entry) is dict and entry.get("level") == "error" and type(entry.get("msg")) is str:
            text = join([entry["msg"]])
    return text


def kill_child(pid: int, signal: int) -> bool:
    """Send a signal to a child. Returns False if it is reaped: its number may be another process's. Raises OSError."""
    try:
        posix.waitid(posix.P_PID, pid, posix.WEXITED | posix.WNOHANG | posix.WNOWAIT)
    except ChildProcessError:
        return False
    posix.kill(pid, signal)
    return True


def read_pid(path: str) -> int:
    """The pid in a pid file. Raises OSError and ValueError."""
    return int(fileio.read_file(path))
