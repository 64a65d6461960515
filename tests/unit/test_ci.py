"""CI's closing lines: which suites failed, and how many tests there were."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "scripts"))
import ci  # noqa: E402

PLAIN = re.compile(r"\d+ passed, \d+ failed, \d+ skipped")


@pytest.fixture(autouse=True)
def logs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setattr(ci, "LOGS", tmp_path / "logs")
    return tmp_path / "logs"


def shell(script: str) -> tuple[str, ...]:
    return ("sh", "-c", script)


def gone(group: int) -> bool:
    """Whether no process of this group is left, not even a killed one that its parent has not reaped."""
    for _ in range(1200):
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.05)
    return False


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("==== 85 passed, 10 skipped in 178.88s (0:02:58) ====", (85, 0, 10)),
        ("5 passed in 0.01s", (5, 0, 0)),
        ("== 2 failed, 5 passed, 3 deselected, 1 xfailed, 1 xpassed, 4 warnings, 2 errors in 3.00s ==", (6, 4, 1)),
        ("==== 1 error in 0.10s ====", (0, 1, 0)),
        ("==== 0 passed, 12 xfailed in 35.10s ====", (0, 0, 12)),
        ("\x1b[32m==== \x1b[32m\x1b[1m7 passed\x1b[0m\x1b[32m in 0.50s\x1b[0m\x1b[32m ====\x1b[0m", (7, 0, 0)),
        ("no tests ran in 0.01s", (0, 0, 0)),
        ("the tests took 3 passed in 0.1s", (0, 0, 0)),
        ("85 passed", (0, 0, 0)),
    ],
)
def test_a_closing_line(line: str, expected: tuple[int, int, int]) -> None:
    counts = ci.count(f"before\n{line}\nafter\n")
    assert (counts["passed"], counts["failed"], counts["skipped"]) == expected


def test_each_of_a_suite_s_closing_lines_counts() -> None:
    assert ci.count("== 1 passed in 0.1s ==\n== 2 passed, 1 skipped in 0.1s ==\n") == Counter(passed=3, skipped=1)


@pytest.mark.parametrize(
    ("code", "output", "problem", "failed"),
    [
        (0, "3 passed in 0.1s", None, 0),
        (1, "1 failed, 3 passed in 0.1s", "exit code 1", 1),
        # A guest that does not boot, a build that fails: no test failed, and yet the sum must not say so.
        (2, "make: *** [guest.mk:17: test-guest] Error 125", "exit code 2", 1),
        (0, "1 failed, 3 passed in 0.1s", "failed tests, but exit code 0", 1),
        (0, "", "no test passed", 1),
        (0, "2 skipped in 0.1s", "no test passed", 1),
        (-9, "3 passed in 0.1s", "killed by SIGKILL", 1),
        (None, "", "not finished after 7 s", 1),
    ],
)
def test_what_is_wrong_with_a_suite(code: int | None, output: str, problem: str | None, failed: int) -> None:
    outcome = ci.judge("make test", 7.2, code, output)
    assert outcome.problem == problem
    assert outcome.counts["failed"] == failed


def test_all_pass(capsys: pytest.CaptureFixture[str]) -> None:
    assert ci.main((shell("echo '3 passed in 0.1s'"), shell("echo '4 passed, 2 skipped in 0.1s'"))) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == "7 passed, 0 failed, 2 skipped"
    assert not any("FAILED" in line for line in lines)


def test_the_others_run_where_one_fails(capsys: pytest.CaptureFixture[str]) -> None:
    first = shell("echo 'FAILED tests/a.py::b - no'; echo '1 failed, 3 passed in 0.1s'; exit 1")
    assert ci.main((first, shell("exit 3"), shell("echo '4 passed in 0.1s'"))) == 1
    lines = capsys.readouterr().out.splitlines()
    assert "4 passed in 0.1s" in lines
    assert lines[-1] == "7 passed, 2 failed, 0 skipped"
    assert lines[-2].startswith("ci: failed: sh -c ")
    assert lines[-2].endswith("'exit 3'")
    assert any(line.endswith("3 passed, 1 failed, 0 skipped  FAILED: exit code 1") for line in lines)
    assert any(line.startswith("ci: ") and line.endswith("FAILED tests/a.py::b - no") for line in lines)


def test_a_suite_that_hangs_is_ended_and_those_after_it_fail(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    hangs = shell(f"echo $$ > {tmp_path}/pid; echo '3 passed in 0.1s'; sleep 1000")
    assert ci.main((hangs, shell(f"touch {tmp_path}/ran")), 1) == 1
    assert gone(int((tmp_path / "pid").read_text()))
    assert not (tmp_path / "ran").exists()
    lines = capsys.readouterr().out.splitlines()
    assert any(line.endswith("FAILED: not run: no time is left") for line in lines)
    assert lines[-1] == "3 passed, 2 failed, 0 skipped"


def test_a_process_that_is_left_behind_is_not_waited_for(tmp_path: Path) -> None:
    # The process has the suite's stdout, and a session of its own as the programs of containers have.
    behind = f"setsid sh -c 'echo $$ > {tmp_path}/pid; exec sleep 1000' & while ! [ -s {tmp_path}/pid ]; do :; done"
    try:
        assert ci.main((shell(f"{behind}; echo '3 passed in 0.1s'"),)) == 0
    finally:
        os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)


def test_each_suite_s_time_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert ci.main((shell("echo '1 passed in 0.1s'"), shell("sleep 1; echo '2 passed in 0.1s'"))) == 0
    lines = capsys.readouterr().out.splitlines()
    assert re.search(r" s \(processor: +\d+ s\)  1 passed, 0 failed, 0 skipped$", lines[-4])
    assert re.search(r" [1-9]\d* s \(processor: +\d+ s\)  2 passed, 0 failed, 0 skipped$", lines[-3])
    assert re.fullmatch(r"ci: \d+ minutes", lines[-2])


def test_a_suite_has_no_input(capsys: pytest.CaptureFixture[str]) -> None:
    assert ci.main((shell("cat; echo '1 passed in 0.1s'"),)) == 0


def test_a_signal_ends_the_suite_too(tmp_path: Path) -> None:
    program = f"""
import sys
sys.path.append({str(ROOT / "scripts")!r})
import ci, pathlib, signal
ci.LOGS = pathlib.Path({str(tmp_path)!r})
signal.signal(signal.SIGTERM, ci.leave)
ci.main((("sh", "-c", "echo $$; exec sleep 1000"),))
"""
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        child.stdout.readline()
        group = int(child.stdout.readline())
        child.terminate()
        assert child.wait(60) == 128 + signal.SIGTERM
    assert gone(group)


def test_the_script_that_ci_calls_runs_these_suites() -> None:
    assert (ROOT / ".ci/run").read_text().rstrip().endswith("\nexec python3 scripts/ci.py")
    names = [" ".join(command[2:]) for command in ci.SUITES]
    assert names == [
        "test", "test-launcher LONG=1", "test-pythons PYTHON_RELEASES=trixie", "test-guest", "conformance", "test-shim",
        "test-engines ENGINES=docker podman containerd ENGINES_DEBIAN=bookworm QUICK=1 PYTEST=-k test_checks",
    ]  # fmt: skip
    rules = "".join(path.read_text() for path in [ROOT / "Makefile", *ROOT.glob("*.mk")])
    for name in names:
        assert re.search(rf"^{re.escape(name.split(' ')[0])}:", rules, re.MULTILINE), name
