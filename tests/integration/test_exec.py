"""`exec`: a further process in a container, as engines and users ask for it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from tests.support.bundle import Bundle
from tests.support.runtime import Container, Result, Runtime

SLEEP = ("sleep", "1000")


@pytest.fixture
def box(runtime: Runtime, bundle: Bundle) -> Container:
    """A running container."""
    return runtime.started(bundle.args(*SLEEP))


def exec_in(container: Container, *words: str | Path, **more: Any) -> Result:
    """`exec` with the words that follow its name: options, then the program. The id is put where COLON stands."""
    before, program = words[: words.index("::")], words[words.index("::") + 1 :]
    return container.runtime("exec", *before, container.id, *program, **more)


def inside(container: Container, *words: str | Path, **more: Any) -> str:
    """What an `exec` that works prints."""
    result = exec_in(container, *words, **more)
    assert result.code == 0, result
    return result.out


def fails(container: Container, *words: str | Path, **more: Any) -> str:
    """The last line of an `exec` that can't start its process: it exits with 255 and leaves nothing."""
    before = container.runtime.left_over()
    result = exec_in(container, *words, **more)
    assert result.code == 255, result
    assert result.out == ""
    container.runtime.assert_nothing_left(before)
    return result.last_line


@pytest.mark.purev2
def test_it_is_in_the_container(box: Container, bundle: Bundle) -> None:
    script = "cat /etc/os-release; echo $PATH; pwd; for f in /proc/self/ns/*; do readlink $f; done"
    for kind in ("pid", "ipc", "uts", "mnt"):
        assert os.readlink(f"/proc/{box.pid}/ns/{kind}") in inside(box, "::", "sh", "-c", script)
    assert inside(box, "::", "sh", "-c", script).startswith("ID=busybox\n/bin\n/\n")


@pytest.mark.purev2
@pytest.mark.parametrize(
    ("script", "code"),
    [("true", 0), ("exit 42", 42), ("kill -TERM $$", 143), ("kill -KILL $$", 137), ("exit 255", 255)],
)
def test_the_exit_code_is_the_process_s(box: Container, script: str, code: int) -> None:
    assert exec_in(box, "::", "sh", "-c", script).code == code


def test_words_behind_the_id_are_the_program_s(box: Container) -> None:
    assert inside(box, "::", "echo", "--tty", "-d", "--", "-e") == "--tty -d -- -e\n"
