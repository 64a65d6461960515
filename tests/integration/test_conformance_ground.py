"""The machine of the conformance suite's programs: they see nothing of the host's, and leave nothing there."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conformance.ground import Ended, Ground
from tests.support import host

pytestmark = pytest.mark.own("it drives no runtime")

LOOK = """
cat /proc/self/cgroup
awk '$5 ~ "^/sys/fs/cgroup" {print $5, $9}' /proc/self/mountinfo
echo $$ of $PPID in $PWD; stat -c %t:%T /dev/null; stat -f -c %T /run; echo > /run/left
mkdir /sys/fs/cgroup/box/ /sys/fs/cgroup/box/below; sleep 1000 & echo $! > /sys/fs/cgroup/box/below/cgroup.procs
exit 3
"""


@pytest.fixture
def ground() -> Iterator[Ground]:
    with Ground(host.cgroup2_mount()) as ground:
        yield ground
    assert not ground.cgroup.exists()


def run(ground: Ground, path: Path, script: str, seconds: float = 60) -> Ended:
    program = path / "program"
    program.write_text("#!/bin/sh\n" + script)
    program.chmod(0o755)
    return ground.run("test", program, {"PATH": os.environ["PATH"]}, seconds)


def test_a_program_is_by_itself(ground: Ground, tmp_path: Path) -> None:
    null = os.stat("/dev/null")
    ended = run(ground, tmp_path, LOOK)
    assert ended.code == 3, ended
    lines = ended.out.splitlines()
    assert "0::/suite" in lines
    assert [line for line in lines if line.startswith("/sys")] == ["/sys/fs/cgroup cgroup2"]
    assert f"2 of 1 in {tmp_path}" in lines
    assert lines[-2:] == ["1:3", "tmpfs"]
    assert os.stat("/dev/null") == null
    assert not Path("/run/left").exists()


def test_a_program_that_takes_too_long_is_ended(ground: Ground, tmp_path: Path) -> None:
    ended = run(ground, tmp_path, "echo begun; sleep 1000 & sleep 1000\n", 5)
    assert (ended.code, ended.out) == (None, "begun\n")


def test_orphans_are_waited_for(ground: Ground, tmp_path: Path) -> None:
    script = "pid=$(sh -c 'sleep 0.1 >&- & echo $!'); while kill -0 $pid 2>/dev/null; do sleep 0.05; done; echo gone\n"
    assert run(ground, tmp_path, script).out == "gone\n"
