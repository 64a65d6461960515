"""The whole comparison, without a living container. Living ones: tests/integration/test_verify.py."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from pyrunc.errors import PyruncError
from pyrunc.libcontainer import statedir
from pyrunc.libcontainer.verify import compare, processfiles
from tests.support.host import open_descriptors
from tests.support.records import record, record_of, saved


def _root(tmp_path: Path) -> Path:
    (tmp_path / "box").mkdir(mode=0o700)
    (tmp_path / "box").chmod(statedir.MODE)
    return tmp_path


def test_a_container_that_is_not_there_or_has_stopped(tmp_path: Path) -> None:
    with pytest.raises(PyruncError, match="container does not exist"):
        compare.verify(str(tmp_path), "box")
    saved(_root(tmp_path) / "box", record(pid=2**30, start_time=5))
    with pytest.raises(PyruncError, match="container not running"):
        compare.verify(str(tmp_path), "box")


def test_a_process_that_ends_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sleeper = subprocess.Popen(["sleep", "60"])

    def end(*_: object) -> object:
        sleeper.kill()
        sleeper.wait()
        raise FileNotFoundError(2, "gone")

    try:
        saved(_root(tmp_path) / "box", record_of(sleeper.pid))
        before = open_descriptors()
        monkeypatch.setattr("pyrunc.libcontainer.verify.expected.of", lambda *_: None)
        monkeypatch.setattr(compare, "_to_enter", end)
        with pytest.raises(PyruncError, match="container not running"):
            compare.verify(str(tmp_path), "box")
        assert open_descriptors() == before
    finally:
        sleeper.kill()
        sleeper.wait()


def test_which_namespaces_are_entered(monkeypatch: pytest.MonkeyPatch) -> None:
    other = {"mount", "uts", "user", "pid"}
    monkeypatch.setattr(processfiles, "namespace", lambda pid, type: (4, int(pid != "self" and type in other)))
    monkeypatch.setattr("os.geteuid", lambda: 0)
    assert compare._to_enter(7) == ["mnt", "uts"]
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert compare._to_enter(7) == ["user", "mnt", "uts"]
