"""`python -m pyrunc`, and `python -I -S PATH/pyrunc/__main__.py` for a start without the site module."""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

# In front of what the launcher hands over, if it has blocked SIGINT (launcher.c).
HELD = "+"


def run(given: str = "") -> None:
    """The process's own command line; the installed `pyrunc` script calls it too.

    given: what the launcher that hands this command over has read (inputs.hand_over), with HELD in front or without.
    """
    if not __package__:
        # Started by path: the directory that holds the package is not on the module path then.
        sys.path.insert(0, __file__.rpartition("/pyrunc/")[0] or "..")
    from pyrunc.startup import quietly

    def load() -> Callable[[], object]:
        from pyrunc.main import entry

        return lambda: entry(given.removeprefix(HELD))

    quietly(load, given.startswith(HELD))


if __name__ == "__main__":
    run()
