"""Do a check with an engine, and say what came of it."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from typing import Any, NamedTuple

from tests.engines.engine import Engine, Lacks


class Outcome(NamedTuple):
    """The result of a check: passed, failed, lacks, or empty if it did not run; and the message."""

    word: str
    text: str = ""

    @property
    def short(self) -> str:
        """The last line with content, without those that only say where to find help."""
        lines = [line.strip() for line in self.text.splitlines() if line.strip() and not line.startswith("See ")]
        return lines[-1] if lines else ""


def attempt(engine: Engine, check: Callable[[Any], None]) -> Outcome:
    """Run a check with an engine, and remove what the check has left."""
    try:
        check(engine)
        return Outcome("passed")
    except Lacks as error:
        return Outcome("lacks", str(error))
    except (AssertionError, ValueError, KeyError, OSError, IndexError) as error:
        frames = traceback.extract_tb(error.__traceback__)
        where = next((frame for frame in frames if frame.name == check.__name__), frames[-1])
        return Outcome("failed", f"{where.line}: {type(error).__name__}: {error}")
    finally:
        engine.clean()
