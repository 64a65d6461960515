"""What tests/conftest.py sets right for all tests (N2): `nohup make test` hung, since what was sent SIGHUP ignored it.

A background shell, a service that blocks signals and a umask of 077 are of the same kind.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# Set it up as pytest does, have SIGHUP sent to us, and show what a child sees.
CODE = """
import os, signal, subprocess
from tests.conftest import pytest_configure
pytest_configure()
os.kill(os.getpid(), signal.SIGHUP)
print(oct(os.umask(0)))
print(subprocess.run(["cat", "/proc/self/status"], capture_output=True, text=True).stdout)
"""


@pytest.fixture(scope="module")
def seen() -> tuple[str, dict[str, int]]:
    """The umask and the signal masks of a child of a pytest that is started with everything unusual."""

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
