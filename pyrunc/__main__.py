"""`python -m pyrunc`, and `python -I -S PATH/pyrunc/__main__.py` for a start without the site module."""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn


def run() -> NoReturn:
    """The process's own command line; the installed `pyrunc` script calls it too."""
    if not __package__:
        # Started by path: the directory that holds the package is not on the module path then.
        sys.path.insert(0, __file__.rpartition("/pyrunc/")[0] or "..")
    from pyrunc.main import entry

    entry()


if __name__ == "__main__":
    run()
