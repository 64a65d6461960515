"""What the launcher (docs/launcher.md) lacks: a command that needs it says so before its first effect. Hot."""

from __future__ import annotations

try:
    from _launcher import hand_over  # type: ignore[import-not-found]
except ImportError:
    hand_over = None

# The parts of pyrunc that only the ordinary build has, among those that a command may turn out to need: the module of
# each, which launcher/freeze.py has in COLD.
LACKING = {
    "notify": "pyrunc.libcontainer.launch.notify",
    "systemd": "pyrunc.libcontainer.systemd",
}


def require(part: str) -> None:
    """Say that this command is going to need a part of LACKING.

    In the launcher this replaces the process by the ordinary build, which reads the same command line and input again.
    In the ordinary build it does nothing. Call it before the command has had an effect. KeyError for another name.
    """
    LACKING[part]
    if hand_over is not None:
        hand_over()
