"""What tests/conftest.py sets for all tests, and how it distributes them to workers (N2).

`nohup make test` hung, since the processes to which tests sent SIGHUP ignored it. A background shell, a service that
blocks signals and a umask of 077 cause faults of the same kind.
"""

from __future__ import annotations

import ast
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

ROOT = Path(__file__).resolve().parents[2]

# Apply the settings as pytest does, have SIGHUP sent to this process, and show the state of a child.
CODE = """
import os, signal, subprocess
from tests.conftest import set_right
set_right()
os.kill(os.getpid(), signal.SIGHUP)
print(oct(os.umask(0)))
print(subprocess.run(["cat", "/proc/self/status"], capture_output=True, text=True).stdout)
"""


@pytest.fixture(scope="module")
def seen() -> tuple[str, dict[str, int]]:
    """The umask and the signal masks of a child of a pytest that starts with unusual values of all of them."""

    def unusual() -> None:
        for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGQUIT, signal.SIGCHLD):
            signal.signal(number, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD, signal.SIGUSR1, signal.SIGTERM})
        os.umask(0o077)

    done = subprocess.run(
        [sys.executable, "-c", CODE], cwd=ROOT, preexec_fn=unusual, capture_output=True, text=True, check=True
    )
    umask, *lines = done.stdout.splitlines()
    masks = dict(line.split(":\t") for line in lines if line.startswith(("SigIgn", "SigBlk")))
    return umask, {name: int(value, 16) for name, value in masks.items()}


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGCHLD])
def test_what_tests_start_ignores_no_signal(seen: tuple[str, dict[str, int]], number: signal.Signals) -> None:
    assert not seen[1]["SigIgn"] & 1 << (number - 1)


def test_what_tests_start_blocks_no_signal(seen: tuple[str, dict[str, int]]) -> None:
    assert seen[1]["SigBlk"] == 0


def test_what_tests_make_can_be_read_by_others(seen: tuple[str, dict[str, int]]) -> None:
    assert seen[0] == "0o22"


@pytest.mark.parametrize("name", ["MAKEFLAGS", "MAKELEVEL", "MAKEOVERRIDES", "MFLAGS"])
def test_a_make_that_tests_start_is_the_first(name: str) -> None:
    """Otherwise `make test LONG=1` would pass LONG and "Entering directory" on to it."""
    program = "from tests.conftest import set_right; import os; set_right(); print(sorted(os.environ))"
    environment = {**os.environ, name: "1"}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    assert repr(name) not in done.stdout


def test_tests_that_build_in_one_directory_are_run_by_one_worker() -> None:
    """The tests of a unit-test file stay together; an integration test may run on any worker."""
    program = """
from tests import conftest
files = ("integration/test_launcher_install.py", "integration/test_launcher_dist.py", "unit/test_log.py")
print(*(conftest.group(f"tests/{file}::{test}") for file in files for test in ("test_a[a/b::c]", "test_b")))
print(conftest.group("tests/integration/test_run.py::test_a"))
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [
        *["building"] * 4, *["tests/unit/test_log.py"] * 2, "tests/integration/test_run.py::test_a"
    ]  # fmt: skip


def test_one_worker_gets_a_whole_group(tmp_path: Path) -> None:
    """pytest-xdist forms the groups that `group` returns."""
    pytest.importorskip("xdist")
    words = ["-n", "2", "-v", "-p", "no:cacheprovider", "tests/unit/test_effort.py", "tests/unit/test_output.py"]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST_")}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *words], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    ran = set(re.findall(r"^\[(gw\d)\].*PASSED (tests/\S+\.py)::", done.stdout, re.MULTILINE))
    assert len(ran) == len({file for _, file in ran}) == 2, ran


def test_what_a_test_ignores_the_next_one_does_not(tmp_path: Path) -> None:
    """After a launch, this process has the signals that end commands blocked."""
    (tmp_path / "conftest.py").write_text("from tests.conftest import signals_as_before as signals_as_before\n")
    (tmp_path / "test_two.py").write_text(
        "import signal\n\n\n"
        "def test_first() -> None:\n    signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])\n\n\n"
        "def test_second() -> None:\n    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL\n"
        "    assert signal.SIGTERM not in signal.pthread_sigmask(signal.SIG_BLOCK, ())\n"
    )
    words = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path), "--rootdir", str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert "2 passed" in done.stdout, done.stdout + done.stderr


def test_the_profile_of_hypothesis_is_loaded() -> None:
    """A test whose examples took 1.01 s to draw failed on a busy machine."""
    profile = settings.default
    assert profile is not None
    assert profile.deadline is None
    assert HealthCheck.too_slow in profile.suppress_health_check
    assert profile.print_blob
    assert profile.derandomize == (settings.get_current_profile_name() == "pyrunc")


SLOW_TEST = """
import time
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

def slowly(value):
    time.sleep(0.4)
    return value

@settings(max_examples=4, phases=[Phase.generate])
@given(st.integers().map(slowly), st.text())
def test_slow(number, text):
    time.sleep(0.3)
    print("example", number, ascii(text))
"""


def test_slow_examples_pass_and_are_the_same_each_time(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text("from tests.conftest import pytest_configure as pytest_configure\n")
    (tmp_path / "test_slow.py").write_text(SLOW_TEST)
    place = str(tmp_path)
    words = [sys.executable, "-m", "pytest", "-q", "-s", "-p", "no:cacheprovider", "--rootdir", place, place]
    seen = []
    for seed in ("1", "2"):
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": seed}
        done = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert "1 passed" in done.stdout, done.stdout + done.stderr
        seen.append([line for line in done.stdout.splitlines() if "example" in line])
    assert len(seen[0]) == 4
    assert seen[0] == seen[1]


def test_no_test_replaces_what_the_profile_says_of_time() -> None:
    """These arguments replace those of the profile: a list that lacks `too_slow` brings that check back."""
    own = []
    for path in sorted((ROOT / "tests").rglob("*.py")):
        if "hypothesis" not in (text := path.read_text()) or path.name == "conftest.py":
            continue
        for call in ast.walk(ast.parse(text)):
            if isinstance(call, ast.Call) and ast.unparse(call.func).rpartition(".")[2] == "settings":
                names = {str(keyword.arg) for keyword in call.keywords}
                own += [f"{path}:{call.lineno}: {name}" for name in names & {"deadline", "suppress_health_check"}]
    assert not own
