"""A plan as a table (N8)."""

from __future__ import annotations

import os

import pytest

from pyrunc.libcontainer.plan.kinds import KINDS
from pyrunc.libcontainer.show import table as show_table
from pyrunc.libcontainer.spec.problems import Problem
from tests.support.plans import CASES, VARIED, compiled, with_linux


def test_one_line_each() -> None:
    lines = show_table.table(VARIED).splitlines()
    assert lines[0].split() == ["PHASE", "#", "ACTOR", "STEP", "CALL", "FIELD", "ARGUMENTS", "#", "WHAT", "IT", "DOES"]
    assert lines[1].split()[:7] == ["prepare", "1", "runtime", "state_dir", "mkdir", "-", "path=/run/x"]
    assert lines[3].split()[:4] == ["namespaces", "3", "init", "request"]
    assert lines[4].split()[:3] == ["4", "runtime", "write_map"]
    assert lines[6].split()[1:6] == ["init", "or", "bind_device", "open_tree+move_mount", "-"]
    assert "(on EPERM) source=/dev/null" in lines[6]
    assert lines[7].split()[1:5] == ["init", "or", "or", "symlink"]
    assert lines[-1] == "warning: mind this"


@pytest.mark.parametrize("name", CASES)
def test_the_columns_are_aligned(name: str) -> None:
    text = show_table.table(CASES[name]())
    lines = [line for line in text.splitlines() if not line.startswith(("note: ", "warning: "))]
    starts = [lines[0].index(heading) for heading in ("ACTOR", "STEP", "CALL", "FIELD")]
    for line in lines[1:]:
        for start in starts:
            assert line[start - 2 : start] == "  "
            assert line[start] != " "


@pytest.mark.parametrize("name", CASES)
def test_n8_nothing_is_cut_where_the_width_is_unlimited(name: str) -> None:
    assert "…" not in show_table.table(CASES[name]())


@pytest.mark.parametrize("width", [1, 30, 40, 60, 80, 100, 132, 200])
@pytest.mark.parametrize("name", CASES)
def test_n8_no_line_is_wider_than_the_width(name: str, width: int) -> None:
    lines = show_table.table(CASES[name](), width=width).splitlines()
    assert max(len(line) for line in lines) <= max(width, 36)


@pytest.mark.parametrize("width", [0, 40, 80, 200])
@pytest.mark.parametrize("name", CASES)
def test_n8_each_kind_is_explained(name: str, width: int) -> None:
    plan = CASES[name]()
    text = " ".join(show_table.table(plan, width=width).split())
    for step in plan.steps():
        assert " ".join(KINDS[step.kind].doc.split()) in text


@pytest.mark.parametrize("width", [0, 80])
def test_n8_equal_steps_are_one_row_with_a_count(width: int) -> None:
    paths = [f"/proc/m{number}" for number in range(12)]
    text = show_table.table(compiled(with_linux(maskedPaths=paths)), width=width)
    (row,) = [line for line in text.splitlines() if "  mask_path" in line]
    assert " mask_path ×12 " in row
    assert "/linux/maskedPaths/0-11" in text
    if not width:
        assert f"path={' '.join(paths)}  # " in row
    assert text.count(" mknod ×") == text.count(" or bind_device ×") == 1
    assert "mknod ×6" in text
    assert "or bind_device ×6" in text


def test_n8_steps_that_differ_in_more_are_not_one_row() -> None:
    spec = with_linux(devices=[{"path": "/dev/a", "type": "c", "major": 1, "minor": 2, "fileMode": 0o600}])
    rows = [line for line in show_table.table(compiled(spec)).splitlines() if " init     mknod" in line]
    assert len(rows) == 2


@pytest.mark.parametrize("width", [0, 80])
def test_n8_a_step_that_will_fail_stands_alone(width: int) -> None:
    plan = compiled(with_linux(maskedPaths=["/a", "/b", "/c", "/d"]))
    problem = Problem("error", "/linux/maskedPaths/2", "is odd")
    lines = show_table.table(plan, [problem], width).splitlines()
    names = [line for line in lines if " mask_path" in line]
    assert len(names) == 3
    assert "mask_path ×2" in names[0]
    at = next(number for number, line in enumerate(lines) if "^ fails:" in line)
    assert lines.index(names[1]) < at < lines.index(names[2])


def test_n8_the_width_is_columns_or_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "70")
    assert show_table.columns() == 70
    monkeypatch.setattr(os, "get_terminal_size", lambda fd: os.terminal_size((91, 20)))
    for text in ("", "0", "-1", "x"):
        monkeypatch.setenv("COLUMNS", text)
        assert show_table.columns() == 91

    def no_terminal(fd: int) -> os.terminal_size:
        raise OSError

    monkeypatch.setattr(os, "get_terminal_size", no_terminal)
    assert show_table.columns() == 0
