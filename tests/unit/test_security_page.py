"""docs/security.md names every test of tests/integration/cve."""

from __future__ import annotations

from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]


def test_every_test_of_an_attack_is_on_the_page() -> None:
    page = (REPOSITORY / "docs/security.md").read_text()
    tests = {path.stem for path in (REPOSITORY / "tests/integration/cve").glob("test_*.py")}
    assert tests
    assert [name for name in sorted(tests) if f"`{name}`" not in page] == []
