"""CHANGELOG.md has the form of Keep a Changelog, and the version in pyproject.toml follows the last release."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "CHANGELOG.md").read_text()
SECTIONS = ["Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"]


def test_the_headings() -> None:
    releases = re.findall(r"^## (.*)$", TEXT, re.MULTILINE)
    assert releases[0] == "[Unreleased]"
    dates = [re.fullmatch(r"\[\d+\.\d+\.\d+\] - (\d{4}-\d\d-\d\d)", line) for line in releases[1:]]
    found = [match[1] for match in dates if match]
    assert len(found) == len(releases) - 1
    assert found == sorted(found, reverse=True)


def test_the_sections_of_each_release() -> None:
    for part in re.split(r"^## ", TEXT, flags=re.MULTILINE)[1:]:
        names = re.findall(r"^### (.*)$", part, re.MULTILINE)
        assert names == [name for name in SECTIONS if name in names], part[:40]
        assert names


def test_the_version_is_that_of_the_next_release_or_of_the_last() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    last = re.findall(r"^## \[(\d+\.\d+\.\d+)\]", TEXT, re.MULTILINE)[0]
    number, _, development = version.partition("-")
    order = [tuple(map(int, text.split("."))) for text in (number, last)]
    assert order[0] > order[1] if development else order[0] == order[1]
