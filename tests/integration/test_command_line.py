"""What the commands print where it can't be written, or nobody reads it (N7): no traceback, ever."""

from __future__ import annotations

import os
import subprocess
from typing import Any

import pytest

from tests.support.runtime import Runtime

PRINTING: tuple[list[str], ...] = (
    ["--help"], ["--version"], [], ["help"], ["help", "run"], ["run", "--help"], ["list"],
    ["list", "-f", "json"], ["features"], ["exec", "-h"], ["plan", "--help"], ["validate", "/nowhere"],
    ["run", "--bogus", "x"], ["stop", "x"], ["state", "x"],
)  # fmt: skip


def ended(runtime: Runtime, words: list[str], **streams: Any) -> tuple[int, str]:
    """The exit code and stderr of a command whose stdout is what a test makes it."""
    result = subprocess.run(
        [*runtime.command, *words],
        check=False,
        stdin=subprocess.DEVNULL,
        env=runtime.environment(),
        text=True,
        **streams,
    )
    return result.returncode, result.stderr or ""


@pytest.mark.own("runc prints nothing of it")
@pytest.mark.parametrize("words", PRINTING, ids=lambda words: " ".join(words) or "nothing")
def test_n7_a_full_disk(runtime: Runtime, words: list[str]) -> None:
    with open("/dev/full", "w") as full:
        code, err = ended(runtime, words, stdout=full, stderr=subprocess.PIPE)
        assert "Traceback" not in err
        assert "most recent" not in err
        assert len(err.splitlines()) == 1, err
        assert code != 0
        assert ended(runtime, words, stdout=full, stderr=full)[0] == code


@pytest.mark.own("runc prints nothing of it")
@pytest.mark.parametrize("words", PRINTING, ids=lambda words: " ".join(words) or "nothing")
def test_n7_a_reader_who_is_gone(runtime: Runtime, words: list[str]) -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    try:
        code, err = ended(runtime, words, stdout=write_end, stderr=subprocess.PIPE)
        assert "Traceback" not in err
        assert "Exception" not in err
        assert code in (0, 1, 3)
        ended(runtime, words, stdout=write_end, stderr=write_end)
    finally:
        os.close(write_end)
