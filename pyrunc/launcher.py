"""What a command tells the launcher (docs/launcher.md): that it needs what the launcher lacks, and what it is. Hot."""

from __future__ import annotations

try:
    from _launcher import copy_pages, hand_over  # type: ignore[import-not-found]
except ImportError:
    copy_pages = hand_over = None

# The cold parts that a command may find out to need, each with its module in COLD of launcher/freeze.py.
LACKING = {
    "notify": "pyrunc.libcontainer.launch.notify",
    "systemd": "pyrunc.libcontainer.systemd",
}

# The sets of pages that a command writes to, of launcher/pages.py; one that is not here acts on a container.
_CONTAINER, _LAUNCH = 1, 2
EXPECTED = {"create": (_LAUNCH,), "run": (_LAUNCH,), "exec": (_CONTAINER, _LAUNCH), "list": (), "version": ()}


def expect(command: str) -> None:
    """Say which command this is. The launcher copies the pages that it writes to at once, which takes less time than
    page by page. In the ordinary build it does nothing."""
    if copy_pages is not None:
        for number in EXPECTED.get(command, (_CONTAINER,)):
            copy_pages(number)


def require(part: str) -> None:
    """Declare that this command will need a part of LACKING.

    In the launcher this replaces the process by the ordinary build, which reads the same command line and input again.
    In the ordinary build it does nothing. Call it before the first effect of the command. Raises KeyError for another
    name.
    """
    LACKING[part]
    if hand_over is not None:
        hand_over()
