"""How much the tests do: the short form is for people (`make test`), the long one for CI (`make test-launcher
LONG=1`)."""

from __future__ import annotations

import os

# The long form. Every test runs in both forms; in the long one loops are longer and sweeps leave nothing out.
LONG = os.environ.get("PYRUNC_TEST_LONG", "") not in ("", "0")


def times(short: int, long: int, variable: str = "") -> int:
    """How often a loop runs. variable: the environment variable that may give another number."""
    given = os.environ.get(variable, "") if variable else ""
    return int(given) if given else long if LONG else short
