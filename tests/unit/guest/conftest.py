"""Tests of scripts/guest: its modules import each other by their plain names."""

from __future__ import annotations

import sys
from pathlib import Path

SCRIPTS = Path(__file__).resolve().parents[3] / "scripts/guest"

sys.path.append(str(SCRIPTS))
