"""The table of the load test, and which locks count as waited for."""

from __future__ import annotations

import argparse
from pathlib import Path

from tests.bench import load
from tests.bench.load import Load, Lock
from tests.bench.runtimes import Runtime

LOCKS = """\
1: FLOCK  ADVISORY  WRITE 812 00:1b:5091 0 EOF
1: -> FLOCK  ADVISORY  WRITE 815 00:1b:5091 0 EOF
1: -> FLOCK  ADVISORY  WRITE 816 00:1b:5091 0 EOF
2: POSIX  ADVISORY  WRITE 644 fe:00:1323 0 EOF
2: -> POSIX  ADVISORY  WRITE 645 fe:00:1323 0 EOF
3: FLOCK  ADVISORY  READ 817 00:1b:5095 0 EOF
"""


def test_locks_that_others_wait_for() -> None:
    assert load.contended(LOCKS) == {Lock("812", "00:1b:5091")}
    assert load.contended("") == set()


def test_the_table(tmp_path: Path) -> None:
    runtimes = [Runtime(name, [name], tmp_path) for name in ("pyrunc", "runc")]
    options = argparse.Namespace(containers=200, clients=16, rounds=3)
    made = Load(runtimes, tmp_path, "x", options)
    for name in load.COMMANDS:
        made.rates[name] = {"pyrunc": [200.0, 100.0, 300.0], "runc": [50.0]}
    del made.rates["list"]["runc"]
    made.failed["list"] = {"runc"}
    made.longest, made.waits = 0.0123, 3
    text = made.text("versions")
    assert "| create | 200 | 50 | 4.0 |" in text
    assert "| list | 200 | fails |  |" in text
    assert "`list` failed in at least one round with runc." in text
    assert "for 12 ms at most" in text
