"""docs/security.md names every test of tests/integration/cve, and none that does not exist."""

from __future__ import annotations

import re
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]


def test_every_test_of_an_attack_is_on_the_page() -> None:
    page = (REPOSITORY / "docs/security.md").read_text()
    tests = {path.stem for path in (REPOSITORY / "tests/integration/cve").glob("test_*.py")}
    named = set(re.findall(r"`(test_\w+)`", page))
    assert tests
    assert sorted(tests - named) == []
    there = {path.stem for path in (REPOSITORY / "tests").rglob("test_*.py")}
    assert sorted(named - there) == []
