"""The first moments of the ordinary build: SIGINT ends it as it ends any program, without a traceback.

Python installs its handler before it reads a line of ours, and KeyboardInterrupt may come in the middle of any import.
Not in the launcher, whose interpreter has no such handler.
"""

from __future__ import annotations

import _signal
import posix

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


def quietly(load: Callable[[], Callable[[], object]], held: bool = False) -> None:
    """Run a program: `load` imports it and returns it. While it is loaded SIGINT ends the process at once; later the
    program's `finally` clauses run first.

    held: the launcher has blocked SIGINT for the start of this interpreter (launcher.c, hand_over).
    """
    is_installed = _signal.getsignal(_signal.SIGINT) is _signal.default_int_handler
    if is_installed:
        _signal.signal(_signal.SIGINT, _signal.SIG_DFL)
    if held:
        _signal.pthread_sigmask(_signal.SIG_UNBLOCK, (_signal.SIGINT,))
    program = load()
    try:
        if is_installed:
            _signal.signal(_signal.SIGINT, _signal.default_int_handler)
        program()
    except KeyboardInterrupt:
        _signal.signal(_signal.SIGINT, _signal.SIG_DFL)
        posix.kill(posix.getpid(), _signal.SIGINT)
