"""SIGINT at any moment of the start of the ordinary build."""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pyrunc import startup
from tests.support import effort

ROOT = Path(__file__).resolve().parents[2]
# How long a start takes at most, in seconds; after it the signal finds no process, and the test nothing.
SECONDS = 0.3
# What runs before SIGINT is the default's.
BEGINNING = (b"__init__.py", b"__main__.py", b"startup.py")
# A program that says where it is, and waits.
WAITS = """
import os, sys, time
from pyrunc.startup import quietly

def load():
    if sys.argv[1] == "load":
        wait()
    return wait if sys.argv[1] == "run" else tidy

def tidy():
    try:
        wait()
    finally:
        os.write(1, b"tidied")

def wait():
    os.write(1, b"here")
    time.sleep(1000)

quietly(load)
"""


@pytest.mark.parametrize(
    "words", [["-m", "pyrunc", "--version"], ["-m", "pyrunc.shim", "-v"], ["-m", "pyrunc", "spec"]]
)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT])
def test_a_signal_at_any_moment(tmp_path: Path, words: list[str], number: int) -> None:
    """There is no traceback of ours. Before our first line the interpreter may print one of its own."""
    for _ in range(effort.times(5, 50)):
        process = subprocess.Popen(
            [sys.executable, *words], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
            cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)},
        )  # fmt: skip
        time.sleep(random.random() * SECONDS)
        process.send_signal(number)
        said = process.communicate(timeout=60)[1]
        # The environment's own files may be below a directory of this name.
        places = set(re.findall(rb'/pyrunc/[^"]*', said.replace(os.fsencode(sys.prefix), b"")))
        assert all(place.endswith(BEGINNING) for place in places), said
        (tmp_path / "config.json").unlink(missing_ok=True)


@pytest.mark.parametrize(("where", "left"), [("load", b""), ("run", b""), ("tidy", b"tidied")])
def test_it_ends_by_the_signal(where: str, left: bytes) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", WAITS, where], stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT
    )
    assert process.stdout is not None
    assert process.stdout.read(4) == b"here"
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (-signal.SIGINT, left, b"")


def test_what_the_launcher_has_blocked_comes_when_it_can_end_the_process() -> None:
    script = (
        "import os, signal, time\nsignal.pthread_sigmask(signal.SIG_BLOCK, (2,))\nos.kill(os.getpid(), 2)\n"
        "from pyrunc.startup import quietly\nquietly(lambda: lambda: print('runs'), held=True)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, cwd=ROOT, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGINT, b"", b"")


def test_an_ignored_signal_stays_ignored() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        seen: list[object] = []
        startup.quietly(lambda: lambda: seen.append(signal.getsignal(signal.SIGINT)))
        assert seen == [signal.SIG_IGN]
    finally:
        signal.signal(signal.SIGINT, before)
