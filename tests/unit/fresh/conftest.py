"""Tests of scripts/fresh: its modules, and those of scripts/guest, import each other by their plain names."""

from __future__ import annotations

import sys
from pathlib import Path

SCRIPTS = Path(__file__).resolve().parents[3] / "scripts"

# Unit tests of both have a `run`, so these are imported by name of the file only where they are unlike all others.
sys.path.extend([str(SCRIPTS / "fresh"), str(SCRIPTS / "guest")])
