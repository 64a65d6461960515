"""diagnosis: the lines of a failure for a person at a terminal (N6)."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from pyrunc.errors import PyruncError, prefixed
from pyrunc.jsontext import fault
from pyrunc.libcontainer.diagnosis import terminal

CONFIG = '{\n "process": {\n  "cwd": "/no"\n }\n}\n'


def broken(path: Path, text: str = CONFIG) -> PyruncError:
    (path / "config.json").write_text(text)
    error = PyruncError("chdir", step="chdir", pointer="/process/cwd", errno=errno.ENOENT, hint="make it")
    failure = prefixed("pyrunc run failed", error)
    failure.document = ("config.json", str(path / "config.json"))
    return failure


def test_three_lines_the_cause_first(tmp_path: Path) -> None:
    error = broken(tmp_path)
    terminal.locate(error)
    assert terminal.on_terminal(error).splitlines() == [
        "error: chdir: no such file or directory",
        'where: config.json:3  /process/cwd  "cwd": "/no"  (step chdir)',
        " hint: make it",
    ]


def test_the_one_line_has_the_place_beside_the_pointer(tmp_path: Path) -> None:
    error = broken(tmp_path)
    terminal.locate(error)
    assert error.line() == (
        "pyrunc run failed: chdir: no such file or directory (step chdir, config.json:3 at /process/cwd; make it)"
    )


def test_a_file_that_is_gone_or_another_is_passed_over(tmp_path: Path) -> None:
    error = broken(tmp_path, "{")
    terminal.locate(error)
    assert error.place is None
    (tmp_path / "config.json").unlink()
    terminal.locate(error)
    assert error.place is None
    (tmp_path / "config.json").mkdir()
    terminal.locate(error)
    assert terminal.on_terminal(error).splitlines()[1] == "where: /process/cwd  (step chdir)"


def test_wrong_syntax_has_a_caret() -> None:
    found = fault('{\n  "a": nope\n}')
    assert found is not None
    error = PyruncError("config.json:2:8: " + found.what, lead=17, hint=found.hint, document=("config.json", "/c"))
    error.place = found.place
    assert terminal.on_terminal(error).splitlines() == [
        "error: nope is no JSON value",
        "where: config.json:2:8",
        '     2 |   "a": nope',
        "       |        ^",
        " hint: text stands in double quotes",
    ]


def test_what_is_unknown_is_left_out() -> None:
    assert terminal.on_terminal(PyruncError("container does not exist")) == "error: container does not exist\n"


def test_the_terminal_is_not_steered() -> None:
    text = terminal.on_terminal(PyruncError("\x1b[2J", hint="\x1b]0;x\x07"))
    assert "\x1b" not in text


def test_colours_are_for_the_labels() -> None:
    assert terminal.on_terminal(PyruncError("broken"), True) == "\x1b[31merror:\x1b[0m broken\n"


CGROUPS = "#subsys_name\thierarchy\tnum_cgroups\tenabled\nmemory\t{}\t5\t{}\nblkio\t7\t1\t1\n"


@pytest.mark.parametrize(
    ("name", "hierarchy", "enabled", "reason"),
    [
        ("memory", 5, 1, "the controller memory is mounted on cgroup v1"),
        ("io", 0, 1, "the controller io is mounted on cgroup v1"),
        ("memory", 0, 0, "the kernel has the memory controller switched off"),
        ("memory", 0, 1, "the kernel has the memory controller, and the cgroup v2 hierarchy"),
        ("misc", 0, 1, "the kernel has no misc controller"),
    ],
)
def test_n6_why_a_controller_is_missing(
    name: str, hierarchy: int, enabled: int, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pyrunc.libcontainer.kernel import fileio, mountinfo

    monkeypatch.setattr(fileio, "read_file", lambda path: CGROUPS.format(hierarchy, enabled))
    monkeypatch.setattr(mountinfo, "v1_mounts", lambda controller: [])
    assert terminal.controller(name)[0].startswith(reason)
    error = PyruncError(f'memory.limit can\'t be set: controller "{name}" not available', hint="guess")
    terminal.locate(error)
    assert error.hint.startswith(reason)


def test_an_unknown_id_tells_which_there_are(tmp_path: Path) -> None:
    assert "it has no containers" in terminal.missing_id_hint(str(tmp_path), "x")
    for name in (":seccomp", "web-1", "web-2", "db"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "state.json").touch()
    (tmp_path / "lost+found").mkdir()
    (tmp_path / "file").touch()
    assert terminal.missing_id_hint(str(tmp_path), "d") == "an id can't be shortened: did you mean db?"
    # Another command has just made it.
    assert terminal.missing_id_hint(str(tmp_path), "db") == "there are: db, web-1, web-2"
    assert terminal.missing_id_hint(str(tmp_path), "web") == "there are: db, web-1, web-2"
    assert "the directory does not exist" in terminal.missing_id_hint(f"{tmp_path}/none", "x")
