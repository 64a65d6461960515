"""The commands' output if it can't be written, or nobody reads it (N7): never a traceback."""

from __future__ import annotations

import os
import subprocess
from typing import Any

import pytest

from tests.support.bundle import Bundle
from tests.support.runtime import Runtime

PRINTING: tuple[list[str], ...] = (
    ["--help"], ["--version"], [], ["help"], ["help", "run"], ["run", "--help"], ["list"],
    ["list", "-f", "json"], ["features"], ["exec", "-h"], ["plan", "--help"], ["validate", "/nowhere"],
    ["run", "--bogus", "x"], ["stop", "x"], ["state", "x"],
)  # fmt: skip


def ended(runtime: Runtime, words: list[str], **streams: Any) -> tuple[int, str]:
    """The exit code and stderr of a command with the stdout that a test gives it."""
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


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--version"], 0),
        (["--help"], 0),
        (["list", "--help"], 0),
        (["list", "--quiet"], 0),  # prints nothing
        (["list"], 1),
        (["features"], 1),
    ],
    ids=["version", "help", "help of list", "quiet list", "list", "features"],
)
def test_a_closed_standard_output(runtime: Runtime, words: list[str], expected: int) -> None:
    """Who asks whether the program is there succeeds; a command whose result is lost fails."""
    runtime.root.mkdir(exist_ok=True)
    closed = ["/bin/sh", "-c", 'exec "$@" >&-', "sh"]
    result = subprocess.run(
        [*closed, *runtime.argv(*words)], stderr=subprocess.PIPE, env=runtime.environment(), text=True, check=False
    )
    assert result.returncode == expected, result.stderr
    assert ("write /dev/stdout: bad file descriptor" in result.stderr) == bool(expected)


@pytest.mark.own("runc's state and ps tell nothing of it")
def test_the_result_of_a_container_is_lost_too(runtime: Runtime, bundle: Bundle) -> None:
    id = runtime.started(bundle.args("sleep", "99")).id
    for words in (("state", id), ("ps", id), ("list",)):
        words_closed = ["/bin/sh", "-c", 'exec "$@" >&-', "sh", *runtime.argv(*words)]
        assert subprocess.run(
            words_closed, stderr=subprocess.DEVNULL, env=runtime.environment(), check=False
        ).returncode


def test_a_message_names_the_option_that_it_is_about(runtime: Runtime, bundle: Bundle) -> None:
    """The message names neither config.json, nor an option of another command."""
    id = runtime.started(bundle.args("sleep", "99")).id
    for words, texts in (
        (("exec", "--process", "none", id), ("none: no such file or directory", "(--process names a file)")),
        (("exec", "--process", "-", id), ("/-: no such file or directory", "(--process names a file)")),
        (("exec", "--process", "/", id), ("read /: is a directory", "(--process names a file)")),
        (("exec", "--cgroup", "none", id, "true"), ("can't open cgroup", "none: no such file", "from --cgroup")),
        (("exec", id, ""), ("executable file not found in $PATH", "the name of the program is empty")),
        (("exec", "--pidfd-socket", "none", id, "true"), ("connecting to the pidfd socket", "from --pidfd-socket")),
        (("run", "-b", str(bundle.path), "--pidfd-socket", "none", "x"), ("the pidfd socket", "from --pidfd-socket")),
        (("update", "--cpu-idle", "7", id), ("idle must be an integer from 0 to 1, not 7", "from --cpu-idle")),
        (("update", "--cpuset-cpus", "a", id), ("must be a list such as 0-3,7", "from --cpuset-cpus")),
        (("update", "--blkio-weight", "5", id), ("blockIO.weight must be", "from --blkio-weight")),
    ):
        result = runtime(*words)
        assert result.code in (1, 255), result
        assert all(text in result.last_line for text in texts), result
        assert "--config" not in result.last_line
        assert " at /" not in result.last_line
    runtime("delete", "--force", id)


def test_help_has_runc_s_short_name(runtime: Runtime) -> None:
    assert runtime("h", with_root=False).out == runtime("help", with_root=False).out != ""
    assert runtime("h", "state", with_root=False).out == runtime("help", "state", with_root=False).out != ""
