"""`pyrunc plan` at a terminal, in a pipe, and its exit codes (N8)."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import struct
import subprocess
import termios
from pathlib import Path

import pytest

from tests.support.runtime import Runtime
from tests.support.terminals import read_until


def at_terminal(runtime: Runtime, columns: int, *words: str | Path) -> list[str]:
    """A command's output on a terminal of this width."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    environment = {name: value for name, value in runtime.environment().items() if name != "COLUMNS"}
    with subprocess.Popen(runtime.argv(*words), stdin=slave, stdout=slave, stderr=slave, env=environment):
        os.close(slave)
        text = read_until(master, lambda _: False)
    os.close(master)
    return text.decode().replace("\r\n", "\n").splitlines()


@pytest.mark.parametrize("columns", [60, 80, 132])
def test_n8_the_table_fits_the_terminal(runtime: Runtime, columns: int) -> None:
    bundle = runtime.bundle()
    bundle.write()
    lines = at_terminal(runtime, columns, "plan", "--bundle", bundle.path)
    assert columns - 25 < max(len(line) for line in lines) <= columns
    assert any("pivot_root" in line for line in lines)


def test_n8_in_a_pipe_each_row_is_one_whole_line(runtime: Runtime) -> None:
    bundle = runtime.bundle()
    bundle.config["process"]["env"] = ["LONG=" + "x" * 500]
    bundle.write()
    result = runtime("plan", "--bundle", bundle.path)
    (row,) = [line for line in result.out.splitlines() if "  execute " in line]
    assert "LONG=" + "x" * 500 in row
    assert row.endswith("# become the container's process")


def test_n8_plan_diff_exits_as_diff_does(runtime: Runtime) -> None:
    one, other = runtime.bundle("one"), runtime.bundle("other")
    one.write()
    other.write()
    same = runtime("plan", "--bundle", one.path, "--diff", other.path)
    assert (same.code, same.out) == (0, "")
    other.config["hostname"] = "another"
    other.write()
    differing = runtime("plan", "--bundle", one.path, "--diff", other.path)
    assert differing.code == 1
    assert "hostname name=another" in differing.out
    missing = runtime("plan", "--bundle", one.path, "--diff", "/nowhere")
    assert missing.code == 2
    assert "/nowhere/config.json" in missing.last_line


def test_n8_the_timeline_of_a_run_has_totals_and_waits(runtime: Runtime, tmp_path: Path) -> None:
    bundle = runtime.bundle()
    trace = tmp_path / "trace.json"
    runtime.run(bundle, "--timeline", str(trace))
    lines = runtime("plan", "--timeline", trace).out.splitlines()
    (ready,) = [line for line in lines if line.startswith("init     ready")]
    assert "(waits)" in ready
    assert "░" in ready
    value = json.loads(runtime("plan", "--timeline", trace, "--format", "json").out)
    assert [total["phase"] for total in value["phases"]][:2] == ["prepare", "clone"]
    assert value["whole"]["waiting"] > 0
    for total in value["phases"]:
        assert total["span"] <= value["whole"]["span"]
