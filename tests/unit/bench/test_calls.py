"""The tables of `make bench-calls`."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.bench import calls
from tests.support.bundle import BUSYBOX

pytestmark = pytest.mark.skipif(not Path(BUSYBOX).exists(), reason="needs busybox")


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> calls.Bench:
    monkeypatch.setattr("subprocess.run", lambda *_, **more: None)
    return calls.Bench(tmp_path, ["pyrunc"], "/x/runsc", 100)


def test_the_tables(bench: calls.Bench) -> None:
    for form, times in ((calls.PLAIN, [100.0, 300.0, 120.0]), (calls.GVISOR, [13_000.0])):
        for call in calls.CALLS:
            bench.times[form, call] = times
    bench.starts = {calls.PLAIN: [10.0], calls.GVISOR: [250.0]}
    bench.memory = {calls.PLAIN: 1.0, calls.GVISOR: 42.0}
    bench.agent = 17.5
    bench.landlock = [25.0, 29.0, 22.0]
    lines = bench.text().splitlines()
    assert lines[0] == "| ns a call: median (minimum) | plain | gVisor |"
    assert lines[2] == "| getppid | 120 (100) | 13000 (13000) |"
    assert "| run /bin/true, ms | 10 (10) | 250 (250) |" in lines
    assert "| PSS of a sleeping container with its runtime, MB | 1.0 | 42.0 |" in lines
    assert lines[-1].endswith("17.5 µs.")
    assert lines[-3].endswith("a port: 25 (22) µs.")


def test_the_time_of_a_ruleset() -> None:
    times = {"landlock_path": 3.5, "landlock_restrict": 8, "user": 9}
    events = [{"name": name, "dur": time} for name, time in times.items()]
    assert calls.ruleset_time({"traceEvents": events}) == 11.5


def test_the_commands(bench: calls.Bench) -> None:
    path = bench.bundle({"defaultAction": "SCMP_ACT_ALLOW"}, "true")
    assert (path / "config.json").exists()
    assert bench.command(calls.RECORDED, path)[3:5] == ["seccomp", "record"]
    assert bench.command(calls.GVISOR, path)[0] == "/x/runsc"
    assert bench.command(calls.PLAIN, path)[3] == "run"
    assert bench.command(calls.SANDBOX, path)[4:6] == ["--isolation", "sandbox"]


def test_processes() -> None:
    assert calls._below(os.getpid())[0] == os.getpid()
    assert calls._pss(os.getpid()) > 0
    assert calls._processor_time(os.getpid()) > 0
