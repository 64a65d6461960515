"""`python -m pyrunc.shim`, the ordinary build of containerd-shim-pyrunc-v2."""

from __future__ import annotations

from ..startup import quietly

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


def run() -> None:
    """The process's own command line; the installed script calls it too."""

    def load() -> Callable[[], object]:
        from .main import run as program

        return program

    quietly(load)


if __name__ == "__main__":
    run()
