"""commands/matching.py: which containers a regular expression matches, and how their failures are reported."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from pyrunc.commands import matching
from pyrunc.errors import PyruncError

NAMES = ("web-1", "web-2", "db", "web+x", "UP9")


@pytest.fixture
def root(tmp_path: Path) -> str:
    for name in (*NAMES, ":seccomp"):
        (tmp_path / name).mkdir()
    return str(tmp_path)


@pytest.mark.parametrize(
    ("patterns", "expected"),
    [
        (["web"], ["web+x", "web-1", "web-2"]),
        (["^web-[0-9]$"], ["web-1", "web-2"]),
        (["b"], ["db", "web+x", "web-1", "web-2"]),
        (["^[[:upper:]]+[[:digit:]]$"], ["UP9"]),
        (["^(db|web-2)$"], ["db", "web-2"]),
        (["^db$", "1"], ["db", "web-1"]),
        (["nothing"], []),
        (["seccomp"], []),
        ([""], sorted(NAMES)),
    ],
)
def test_it_is_found_anywhere_in_an_id(root: str, patterns: list[str], expected: list[str]) -> None:
    seen: list[str] = []
    assert matching.each(root, patterns, seen.append) == 0
    assert seen == expected


@pytest.mark.parametrize("pattern", ["(", "[", "*", "a{9999999999}"])
def test_what_is_no_expression_is_told_before_any_work(root: str, pattern: str) -> None:
    seen: list[str] = []
    with pytest.raises(PyruncError, match="invalid regular expression "):
        matching.each(root, ["db", pattern], seen.append)
    assert seen == []


def test_a_failure_is_a_warning_and_the_others_have_their_turn(root: str, capfd: pytest.CaptureFixture[str]) -> None:
    seen: list[str] = []

    def work(name: str) -> None:
        seen.append(name)
        if name == "web-1":
            raise PyruncError("container not running")
        if name == "web+x":
            raise PermissionError(errno.EPERM, "x", "/f")
        if name == "web-2":
            raise PyruncError("container does not exist")

    assert matching.each(root, ["web"], work) == 0
    assert seen == ["web+x", "web-1", "web-2"]
    said = capfd.readouterr().err
    assert said.count("level=warning") == 2
    assert "container web-1: container not running" in said
    assert "container web+x: /f: operation not permitted" in said


def test_a_root_that_is_not_there_has_no_containers(tmp_path: Path) -> None:
    assert matching.each(str(tmp_path / "no"), ["."], lambda name: None) == 0


def test_a_root_that_can_not_be_read(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(PyruncError, match=r"can't list the containers in .*: not a directory"):
        matching.each(str(tmp_path / "file"), ["."], lambda name: None)
