"""Tests of scripts/fresh: its modules, and those of scripts/guest, import each other by their plain names."""

from __future__ import annotations

import sys
from pathlib import Path

SCRIPTS = Path(__file__).resolve().parents[3] / "scripts"

# The unit tests of both have a `run`, so modules are imported by the name of their file only if that name is unique.
sys.path.extend([str(SCRIPTS / "fresh"), str(SCRIPTS / "guest")])
