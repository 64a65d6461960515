"""The listener of SCMP_ACT_NOTIFY: taken out of the init and sent to the agent (config-linux.md, Seccomp). Hot.

The init can't send it: when the listener exists, each system call of the init may wait for the agent. So before the
init loads the filter, it sends the number that the listener will have, and the runtime takes a copy.
"""

from __future__ import annotations

import errno
import posix

from ... import jsonio
from ...errors import PyruncError
from .. import SPEC_VERSION
from ..kernel import interrupts, native

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# How long to wait between two tries, in milliseconds. Loading a filter takes a fraction of one.
_PAUSE = 1


def take(sync: int, pidfd: int, number: int) -> int:
    """A copy of the listener at descriptor `number` of the init; -1 if the init failed to get it, which its next
    message reports. sync: the socket to the init. Raises OSError. pidfd_getfd(2)."""
    told = False
    while True:
        try:
            return native.pidfd_getfd(pidfd, number)
        except OSError as error:
            if error.errno == errno.ESRCH:
                return -1
            if error.errno != errno.EBADF:
                raise
        if told:
            return -1
        # A message may report the failure, or come after the filter is loaded: then the second try finds the listener.
        told = bool(interrupts.poll([sync, pidfd], _PAUSE))


def send(path: str, listener: int, pid: int, state: str, metadata: str) -> None:
    """Send the container process state with the listener to the agent at `path`, an abstract name if it begins with @.

    pid: the process that the filter is on. state: the container's, as JSON. One connection for one state. Raises
    PyruncError in runc's words.
    """
    message: dict[str, Any] = {"ociVersion": SPEC_VERSION, "fds": ["seccompFd"], "pid": pid}
    if metadata:
        message["metadata"] = metadata
    message["state"] = jsonio.loads(state)
    connection = interrupts.connect(
        path,
        f"failed to connect with seccomp agent specified in the seccomp profile: dial unix {path}: connect",
        no_listener="does the agent listen there?",
    )
    try:
        data = jsonio.dumps(message).encode("utf-8", "surrogateescape")
        sent = interrupts.during(native.send, connection, data, [listener])
        while sent < len(data):  # descriptors go with the first part only
            sent += interrupts.during(native.send, connection, data[sent:])
    except OSError as error:
        hint = ""
        if error.errno == errno.EAGAIN:
            hint = f"the agent has read nothing for {native.PATIENCE_MS // 1000} s"
        raise PyruncError(f"cannot send seccomp fd to {path}", errno=error.errno or 0, hint=hint) from error
    finally:
        posix.close(connection)
