"""The standard streams of a container's process, between its pipes or pty and the files that containerd names. Hot.

No call here waits: a reader that stalls delays its own stream only. Output without room stays in the container's pipe,
and its writer waits. A FIFO is held open at both ends, so it outlives containerd and its writers get no EPIPE.
docs/shim.md, Standard streams, has all rules.
"""

from __future__ import annotations

import _socket
import errno
import fcntl
import posix
import sys

from .. import log
from ..errors import PyruncError, errno_text
from ..libcontainer.kernel import native
from . import logs, pumps

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from .loop import Loop, Timer

    Ready = Callable[[PyruncError | None], None]
    Done = Callable[[], None]

_TIOCSWINSZ = 0x5414
_S_IFMT, _S_IFIFO = 0o170000, 0o010000

# How long, in seconds, the report of an exit waits for a reader that does not read the last output.
EXIT_SECONDS = 2.0
# How long, in seconds, a deletion waits for the end of the output: other processes may still write.
CLOSE_SECONDS = 10.0
# The waits, in seconds, between checks whether readers have read the last output: each is twice the one before.
_FIRST_WAIT, _LAST_WAIT = 0.001, 0.064


class Stdio:
    """The streams of one process. At its end it must have no reference cycle: the shim runs without a garbage
    collector.

    given: the descriptors for the runtime's standard input, output and error, until `launched`.
    console_socket: the path for --console-socket; "" without a terminal.
    """

    __slots__ = (
        "_close_done", "_close_timer", "_ends_early", "_exit_done", "_exit_timer", "_fifo", "_hanging_up", "_input",
        "_input_later", "_is_launched", "_listener", "_logger", "_loop", "_master", "_names", "_outputs", "_owner",
        "_paths", "_taken_timer", "_target", "_terminal", "_writer", "console_socket", "given",
    )  # fmt: skip

    def __init__(
        self,
        loop: Loop,
        paths: tuple[str, str, str],
        terminal: bool,
        names: tuple[str, str],
        owner: tuple[int, int] = (0, 0),
    ) -> None:
        """paths: stdin, stdout and stderr of a request. names: the container's id and namespace. owner: the uid and gid
        of the pipes (IoUid, IoGid of runc's options)."""
        self._loop = loop
        self._paths = paths
        self._terminal = terminal
        self._names = names
        self._owner = owner
        self._outputs: list[pumps.Output] = []
        self._input: pumps.Input | None = None
        self._logger: logs.Logger | None = None
        self._listener: _socket.socket | None = None
        self._master = -1
        self._exit_timer: Timer | None = None
        self._taken_timer: Timer | None = None
        self._close_timer: Timer | None = None
        self._hanging_up = False
        self._exit_done: Done | None = None
        self._close_done: Done | None = None
        self._target: pumps.Target | None = None  # of a terminal, until its master has arrived
        self._fifo = -1  # the FIFO of standard input, until an Input has it
        self._writer = -1  # the pipe's write end for it, until an Input has it
        self._input_later = self._is_launched = False
        self._ends_early = False  # CloseIO came before the Input was made
        self.console_socket = ""
        self.given = (-1, -1, -1)

    def open(self, directory: str, ready: Ready, input_later: bool = False) -> None:
        """Open the files that containerd names, and start its logger. `ready` is called once, here or later, with None
        or with the failure, after which all is closed.

        directory: where the console socket is made; only root may reach it.
        input_later: leave standard input to `open_input`. A client with finite input begins to write when the FIFO has
            a reader, and calls CloseIO right after it: before the end of Create, containerd would not know the task.
        """
        self._input_later = input_later
        try:
            kind, path, args = logs.parse(self._paths[1])
            if self._terminal:
                self._listen(directory)
            if kind in (logs.LOGGER, logs.STRICT_LOGGER):
                self._start_logger(kind, path, args, ready)
                return
            self._give(kind, path)
        except (OSError, ValueError, PyruncError) as error:
            self.abort()
            ready(_failure(error))
        else:
            ready(None)

    def _listen(self, directory: str) -> None:
        """Listen on the console socket. The path may be longer than an address: its directory is named by its
        descriptor. Raises OSError."""
        fd = posix.open(directory, posix.O_PATH | posix.O_DIRECTORY | posix.O_CLOEXEC)
        try:
            listener = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
            self._listener = listener
            listener.setblocking(False)
            name = f"pty{listener.fileno()}.sock"
            _unlink(f"{directory}/{name}")  # of a killed shim
            posix.fchmod(listener.fileno(), 0o600)  # the mode of the file that bind makes: no other user may connect
            listener.bind(f"/proc/self/fd/{fd}/{name}")
            self.console_socket = f"{directory}/{name}"
            listener.listen(1)
        finally:
            posix.close(fd)

    def _start_logger(self, kind: str, path: str, args: list[str], ready: Ready) -> None:
        """Raises PyruncError and OSError."""
        self._logger = logs.Logger(self._loop)

        def on_ready(failure: PyruncError | None) -> None:
            if failure is None:
                try:
                    self._give(kind, path)
                except (OSError, ValueError, PyruncError) as error:
                    failure = _failure(error)
            if failure is not None:
                self.abort()
            ready(failure)

        self._logger.start(path, args, self._names, self._owner, kind == logs.STRICT_LOGGER, on_ready)

    def _give(self, kind: str, path: str) -> None:
        """Open both sides: the files that containerd names, and the descriptors for the runtime. Raises OSError and
        PyruncError."""
        null = posix.open("/dev/null", posix.O_RDWR | posix.O_CLOEXEC)
        self.given = (null, null, null)
        stdin, _, stderr = self._paths
        has_input = bool(stdin) and (self._terminal or self._logger is None)
        self._input_later = self._input_later and has_input
        fifo = _open_fifo(stdin) if has_input and not self._input_later else -1
        self._fifo = fifo
        if self._terminal:
            self._target = self._terminal_target(kind, path)  # the runtime gets no streams, and sends the pty's master
            return
        if self._logger is not None:
            self.given = (null, self._logger.stdout, self._logger.stderr)
            return
        out = err = null
        if kind != logs.NULL:
            out = self._output("stdout", _open_file(path) if kind == logs.FILE else _open_path(path))
            self.given = (null, out, null)
        if kind == logs.FILE:
            # One file for both, as with containerd's own shim.
            err = self._output("stderr", pumps.Target(_copy(self._outputs[0].target.fd), path, never_waits=True))
        elif stderr:
            err = self._output("stderr", _open_path(logs.parse(stderr)[1]))
        self.given = (null, out, err)
        if has_input:
            reader, writer = logs.open_pipe("write", self._owner)
            if self._input_later:
                self._writer = writer
            else:
                self._fifo = -1
                self._connect_input(fifo, writer)
            if null not in (out, err):
                posix.close(null)
            self.given = (reader, out, err)

    def _terminal_target(self, kind: str, path: str) -> pumps.Target:
        """The target of the terminal's output. Raises OSError and PyruncError."""
        if self._logger is not None:
            writer = _copy(self._logger.stdout)
            posix.set_blocking(writer, False)
            return pumps.Target(writer, path)
        if kind == logs.NULL:
            return _open_path("/dev/null")
        return _open_file(path) if kind == logs.FILE else _open_path(path)

    def _output(self, name: str, target: pumps.Target) -> int:
        """Add an output through a pipe. Returns the pipe's end for the container. Raises OSError."""
        try:
            reader, writer = logs.open_pipe("read", self._owner)
        except OSError:
            target.close()
            raise
        self._outputs.append(pumps.Output(self._loop, reader, target, name, terminal=False))
        return writer

    def launched(self) -> None:
        """Begin to move bytes, because the runtime has made the process. Close the descriptors that it got.

        Raises PyruncError if it has not sent the pty's master.
        """
        if self._terminal:
            self._receive_master()
        self._is_launched = True
        self._close_given()
        for output in self._outputs:
            output.start()
        if self._input is not None:
            self._input.start()

    def open_input(self) -> None:
        """Open standard input, if `open` has left it, before the process is started. Raises PyruncError."""
        if not self._input_later:
            return
        self._input_later = False
        try:
            self._fifo = _open_fifo(self._paths[0])
        except ValueError as error:
            raise _failure(error) from error
        if self._terminal and self._master < 0:  # a restore sends it
            return
        try:
            target = _copy(self._master) if self._terminal else self._writer
            self._writer = -1
            fifo, self._fifo = self._fifo, -1
            self._connect_input(fifo, target)
        except OSError as error:
            raise PyruncError("connecting standard input", errno=error.errno or 0) from error
        if self._is_launched and self._input is not None:
            self._input.start()

    def _receive_master(self) -> None:
        """Receive the master that the runtime has sent before its end, and connect it. Raises PyruncError."""
        try:
            assert self._listener is not None
            fd, _ = self._listener._accept()  # type: ignore[attr-defined]
            try:
                posix.set_blocking(fd, False)
                _, fds = native.recv(fd, 4096, 1)
            finally:
                posix.close(fd)
        except OSError as error:
            raise PyruncError("receiving the pty's master from the runtime", errno=error.errno or 0) from error
        if not fds:
            raise PyruncError("the runtime has not sent the pty's master")
        self._master = fds[0]
        self._close_listener()
        assert self._target is not None
        try:
            posix.set_blocking(self._master, False)
            source = _copy(self._master)
            self._outputs.append(pumps.Output(self._loop, source, self._target, "stdout", terminal=True))
            self._target = None
            if self._fifo >= 0:
                self._connect_input(self._fifo, _copy(self._master))
                self._fifo = -1
        except OSError as error:
            raise PyruncError("connecting the terminal", errno=error.errno or 0) from error

    def _connect_input(self, fifo: int, target: int) -> None:
        """Move standard input from a FIFO to a target, both of which are the input's from now on. Raises OSError."""
        self._input = pumps.Input(self._loop, fifo, self._names[0], target, self._terminal)
        if self._terminal:
            self._input.on_end = self._hang_up
        if self._ends_early:
            self._input.let_end()

    def _hang_up(self) -> None:
        """End a terminal's input after a CloseIO: as with containerd's shim, the terminal hangs up, after its pending
        output."""
        self._hanging_up = True
        for output in self._outputs:
            output.settle(self._look)
        self._look()

    def _close_master(self) -> None:
        if self._input is not None:
            self._input.close()
        for output in self._outputs:
            output.finish()
        if self._master >= 0:
            posix.close(self._master)
            self._master = -1

    def resize(self, width: int, height: int) -> None:
        """Set the terminal's window size, in characters. Does nothing without a terminal. Raises PyruncError."""
        if self._master < 0:
            return
        size = b"".join([min(value, 0xFFFF).to_bytes(2, sys.byteorder) for value in (height, width, 0, 0)])
        try:
            fcntl.ioctl(self._master, _TIOCSWINSZ, size)
        except OSError as error:
            raise PyruncError("resizing the terminal", errno=error.errno or 0) from error

    def close_stdin(self) -> None:
        """End standard input once containerd's side has closed it and all of it has been read (CloseIO)."""
        self._ends_early = True
        if self._input is not None:
            self._input.let_end()

    def exited(self, done: Done) -> None:
        """Call `done` once the last output of the ended process is on containerd's side, or EXIT_SECONDS later.

        Readers then have 0.13 s to empty their FIFOs: ctr closes a FIFO at the exit, even if it has not begun to read,
        and the output would be lost.

        Other processes may write until `close`. A terminal hangs up.
        """
        self._end_exit_timers()
        self._exit_done = done
        self._hanging_up = self._terminal
        self._exit_timer = self._loop.after(EXIT_SECONDS, self._exit_late)
        for output in self._outputs:
            output.settle(self._look)
        self._look()

    def close(self, done: Done) -> None:
        """Close all for the deletion of the process: wait CLOSE_SECONDS at most for the end of its output, then for the
        logger's end. `done` is called when all is closed."""
        self._close_done = done
        self._hanging_up = self._terminal
        if self._input is not None:
            self._input.close()
        self._close_timer = self._loop.after(CLOSE_SECONDS, self._close_late)
        for output in self._outputs:
            output.settle(self._look)
        self._look()

    def _look(self) -> None:
        """Go on with the exit or the close that waits for the outputs."""
        if all([output.settled for output in self._outputs]):
            if self._hanging_up:
                self._hanging_up = False
                self._close_master()
            if self._exit_done is not None and self._taken_timer is None:
                self._await_readers(_FIRST_WAIT)
        if all([output.ended for output in self._outputs]):
            self._end_close()

    def _await_readers(self, wait: float) -> None:
        """Report the exit once readers have emptied the FIFOs. A pipe does not report that it is empty, so this checks
        from time to time. wait: the seconds until the next check."""
        self._taken_timer = None
        if wait > _LAST_WAIT or all([output.target.is_taken() for output in self._outputs]):
            self._end_exit()
        else:
            self._taken_timer = self._loop.after(wait, lambda: self._await_readers(wait * 2))

    def _exit_late(self) -> None:
        names = " and ".join([output.name for output in self._outputs if not output.settled])
        log.warning(f"{self._names[0]}: nobody takes the last output of {names}; the exit is reported before it")
        self._end_exit()

    def _end_exit(self) -> None:
        done, self._exit_done = self._exit_done, None
        if done is not None:
            self._end_exit_timers()
            for output in self._outputs:
                output.target.forget_unread()
            done()

    def _close_late(self) -> None:
        names = " and ".join([output.name for output in self._outputs if not output.ended])
        log.warning(
            f"{self._names[0]}: {names} did not end {CLOSE_SECONDS:.0f} s after the process: the rest is dropped"
        )
        self._end_close()

    def _end_close(self) -> None:
        done, self._close_done = self._close_done, None
        if done is None:
            return
        self._end_exit()
        self._close_given()  # streams of a process that was never made
        logger, self._logger = self._logger, None
        self.abort()
        if logger is None:
            done()
        else:
            logger.close(done)

    def _end_exit_timers(self) -> None:
        for timer in (self._exit_timer, self._taken_timer):
            if timer is not None:
                self._loop.cancel(timer)
        self._exit_timer = self._taken_timer = None

    def abort(self) -> None:
        """Close all at once, after a failure; a logger reads what is left and ends. A second call does nothing."""
        self._end_exit_timers()
        if self._close_timer is not None:
            self._loop.cancel(self._close_timer)
            self._close_timer = None
        self._close_listener()
        self._close_master()
        for output in self._outputs:
            output.close()
        self._close_given()
        if self._target is not None:
            self._target.close()
            self._target = None
        for fd in (self._fifo, self._writer):
            if fd >= 0:
                posix.close(fd)
        self._fifo = self._writer = -1
        logger, self._logger = self._logger, None
        if logger is not None:
            logger.close(lambda: None)

    def _close_given(self) -> None:
        kept = (self._logger.stdout, self._logger.stderr) if self._logger is not None else ()
        for fd in {fd for fd in self.given if fd >= 0 and fd not in kept}:
            posix.close(fd)
        self.given = (-1, -1, -1)

    def _close_listener(self) -> None:
        if self._listener is not None:
            self._listener.close()
            self._listener = None
            _unlink(self.console_socket)


def _failure(error: OSError | ValueError | PyruncError) -> PyruncError:
    """The error of streams that can't be prepared. A path with a NUL, which protobuf allows, is a ValueError."""
    if isinstance(error, PyruncError):
        return error
    number = error.errno or 0 if isinstance(error, OSError) else errno.EINVAL
    return PyruncError("preparing the standard streams", errno=number)


def _open_path(path: str) -> pumps.Target:
    """A FIFO, open at both ends, or a file to append to. Raises PyruncError."""
    try:
        if posix.stat(path).st_mode & _S_IFMT == _S_IFIFO:
            return pumps.Target(_open_fifo(path), path, is_fifo=True)
        fd = posix.open(path, posix.O_WRONLY | posix.O_APPEND | posix.O_CLOEXEC | posix.O_NOCTTY)
    except OSError as error:
        raise PyruncError(f"opening {path}", errno=error.errno or 0) from error
    return pumps.Target(fd, path, never_waits=True)


def _open_file(path: str) -> pumps.Target:
    """Raises PyruncError."""
    return pumps.Target(logs.open_file(path), path, never_waits=True)


def _open_fifo(path: str) -> int:
    """A FIFO, open at both ends. Raises PyruncError, also for a file that is no FIFO."""
    try:
        fd = posix.open(path, posix.O_RDWR | posix.O_NONBLOCK | posix.O_CLOEXEC | posix.O_NOCTTY)
    except OSError as error:
        raise PyruncError(f"opening {path}", errno=error.errno or 0) from error
    if posix.fstat(fd).st_mode & _S_IFMT != _S_IFIFO:
        posix.close(fd)
        raise PyruncError(f"opening {path}: it is no FIFO")
    return fd


def _copy(fd: int) -> int:
    """A copy of a descriptor: the loop watches each for one thing."""
    return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 3)


def _unlink(path: str) -> None:
    try:
        posix.unlink(path)
    except FileNotFoundError:
        pass
    except OSError as error:
        if error.errno != errno.ENOENT:
            log.warning(f"removing {path}: {errno_text(error.errno or 0)}")
