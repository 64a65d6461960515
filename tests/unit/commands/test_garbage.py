"""`gc`: its lines, its exit code, and a root that does not exist."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from pyrunc import output
from pyrunc.commands import garbage
from pyrunc.commands.settings import Settings
from pyrunc.errors import PyruncError
from pyrunc.libcontainer import garbage as libcontainer_garbage


def settings(root: Path, given: bool = True) -> Settings:
    return Settings(name="pyrunc", root=str(root), root_given=given, cgroup_manager="cgroupfs", rootless=None)


def test_without_a_root_there_is_nothing_to_do(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert garbage.gc(settings(tmp_path / "none", given=False), dry_run=False) == 0
    assert capfd.readouterr().out == ""
    assert garbage.gc(settings(tmp_path / "none"), dry_run=False) == 0
    assert capfd.readouterr().out == f"nothing to do: there is no {tmp_path}/none\n"
    (tmp_path / "file").touch()
    with pytest.raises(PyruncError, match=r"open .*/file/none: not a directory"):
        garbage.gc(settings(tmp_path / "file/none"), dry_run=False)


def test_what_is_undone_is_printed_and_what_is_not_is_the_exit_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def collect(root: str, dry_run: bool, tell: object) -> list[PyruncError]:
        tell("box: undone: pid file /x\x1b[1m")  # type: ignore[operator]
        return [] if dry_run else [PyruncError("bad: stuck")]

    monkeypatch.setattr(libcontainer_garbage, "collect", collect)
    assert garbage.gc(settings(tmp_path), dry_run=True) == 0
    assert garbage.gc(settings(tmp_path), dry_run=False) == 1
    out, err = capfd.readouterr()
    assert out == "box: undone: pid file /x\\x1b[1m\n" * 2
    assert "bad: stuck" in err


@pytest.mark.parametrize("error", [PyruncError("write /dev/stdout", errno=28), output.ReaderGone()])
def test_a_line_that_can_t_be_written_keeps_nothing_from_being_undone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], error: Exception
) -> None:
    """As with `gc | head -1`."""
    done: list[str] = []

    def collect(root: str, dry_run: bool, tell: Callable[[str], None]) -> list[PyruncError]:
        for name in ("one", "two"):
            tell(name)
            done.append(name)
        return [PyruncError("bad: stuck")]

    def write(fd: int, text: str) -> None:
        assert text == "one\n", "nothing is written behind what was lost"
        raise error

    monkeypatch.setattr(libcontainer_garbage, "collect", collect)
    monkeypatch.setattr(output, "write", write)
    with pytest.raises(type(error)):
        garbage.gc(settings(tmp_path), dry_run=False)
    assert done == ["one", "two"]
    assert "bad: stuck" in capfd.readouterr().err
