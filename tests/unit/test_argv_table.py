"""generate/argv.py: the table and the facts of the build."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from generate import argv  # noqa: E402


def test_the_table_in_use_is_that_of_the_commands() -> None:
    namespace: dict[str, object] = {}
    exec(argv.table(), namespace)
    from pyrunc._generated import argv as used

    for name in ("GLOBAL_FLAGS", "SHARED_FLAGS", "GLOBAL_DEFAULTS", "COMMANDS"):
        assert namespace[name] == getattr(used, name)


def test_there_is_no_commit_outside_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(argv, "ROOT", tmp_path)
    assert argv.commit() == "unknown"


def test_the_commit_of_a_tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(argv, "ROOT", tmp_path)

    def git(*words: str) -> str:
        identity = ["-c", "user.name=n", "-c", "user.email=e@example.org"]
        done = subprocess.run(["git", *identity, *words], cwd=tmp_path, check=True, capture_output=True, text=True)
        return done.stdout.strip()

    git("init", "-q")
    (tmp_path / "file").write_text("1")
    git("add", "file")
    git("commit", "-qm", "one")
    assert argv.commit() == git("rev-parse", "HEAD")
    (tmp_path / "file").write_text("2")
    assert argv.commit() == git("rev-parse", "HEAD") + "-dirty"


def test_filters_are_of_the_modules_that_make_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(argv, "ROOT", tmp_path)
    room = tmp_path / "pyrunc/libcontainer/seccomp"
    room.mkdir(parents=True)
    (room / "compiler.py").write_text("1")
    before = argv.filters()
    (tmp_path / "pyrunc/main.py").write_text("1")
    assert argv.filters() == before
    (room / "compiler.py").write_text("2")
    changed = argv.filters()
    (room / "more.py").write_text("")
    assert len({before, changed, argv.filters()}) == 3


def test_the_commands_can_be_read_before_the_table_is_made() -> None:
    """A clean clone has no pyrunc/_generated/argv.py when generate/argv.py reads the click commands."""
    code = "import sys; sys.modules['pyrunc._generated.argv'] = None; import pyrunc.cli.goflags, pyrunc.cli.program"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
