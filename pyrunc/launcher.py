"""What the launcher (docs/launcher.md) lacks: a command that needs it says so before its first effect. Hot."""

from __future__ import annotations

try:
    import _launcher  # type: ignore[import-not-found]
except ImportError:
    _launcher = None

# The cold parts that a command may find out to need, each with its module in COLD of launcher/freeze.py.
LACKING = {
    "notify": "pyrunc.libcontainer.launch.notify",
    "systemd": "pyrunc.libcontainer.systemd",
}


def is_launcher() -> bool:
    """Whether this is the launcher, and not the ordinary build."""
    return _launcher is not None


def require(part: str) -> None:
    """Declare that this command will need a part of LACKING.

    In the launcher this replaces the process by the ordinary build, which reads the same command line and input again.
    In the ordinary build it does nothing. Call it before the first effect of the command. Raises KeyError for another
    name.
    """
    LACKING[part]
    if _launcher is not None:
        _launcher.hand_over()


def rest() -> None:
    """Give back memory that is not needed for now. In the ordinary build this does nothing.

    The process must have one thread.
    """
    if _launcher is not None:
        _launcher.rest()
