"""How the host interprets the guest's output."""

from __future__ import annotations

import fcntl
import os
import termios
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import run
from machines import PANIC


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reader, writer = os.pipe()
    yield reader, writer
    os.close(reader)


def follow(pipe: tuple[int, int], *parts: bytes, results: list[bytes] | None = None) -> int:
    """The exit code for this output, which arrives in parts. results: the list for the tests' results."""
    reader, writer = pipe
    ended = threading.Event()

    def say() -> None:
        for part in parts:
            os.write(writer, part)
            # The other side must have read it: wait until the pipe is empty again, or nobody reads any more.
            while ioctl_unread(reader) != b"\0\0\0\0" and not ended.wait(0.0005):
                pass
        os.close(writer)

    thread = threading.Thread(target=say)
    thread.start()
    try:
        return run.follow(reader, [], 30, results if results is not None else [])
    finally:
        ended.set()
        thread.join()


def ioctl_unread(descriptor: int) -> bytes:
    """How many bytes are unread in a pipe (FIONREAD), as the kernel writes it."""
    return bytes(fcntl.ioctl(descriptor, termios.FIONREAD, b"\0" * 4))


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
@pytest.mark.parametrize("code", [0, 5])
def test_the_exit_code_is_pytest_s(
    pipe: tuple[int, int], code: int, end: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    assert follow(pipe, b"tests" + end, b"1 passed" + end, b"pyrunc-guest: exit %d" % code + end) == code
    assert capfd.readouterr().out == "tests\n1 passed\n"


def test_a_line_that_comes_in_pieces_is_printed_once(pipe: tuple[int, int], capfd: pytest.CaptureFixture[str]) -> None:
    parts = [b"tests/a.py ", b".", b".", b" [100%]\r", b"\nlast\npyrunc-", b"guest: ", b"exit 1", b"\n"]
    assert follow(pipe, *parts) == 1
    assert capfd.readouterr().out == "tests/a.py .. [100%]\nlast\n"


def test_results_are_kept_and_not_printed(pipe: tuple[int, int], capfd: pytest.CaptureFixture[str]) -> None:
    results: list[bytes] = []
    parts = [b"1 passed\npyrunc-guest: res", b'ult {"a": 1}\r\npyrunc-guest: result {}\npyrunc-guest: exit 0\n']
    assert follow(pipe, *parts, results=results) == 0
    assert results == [b'{"a": 1}\n', b"{}\n"]
    assert capfd.readouterr().out == "1 passed\n"


def test_a_guest_that_ends_before_its_tests(pipe: tuple[int, int], capfd: pytest.CaptureFixture[str]) -> None:
    assert follow(pipe, b"tests/a.py .", b".") == run.NO_RESULT
    assert capfd.readouterr().out == "tests/a.py .."


def test_the_beginning_of_a_line_is_printed_at_once(pipe: tuple[int, int], capfd: pytest.CaptureFixture[str]) -> None:
    reader, writer = pipe
    os.write(writer, b"tests/a.py .")
    assert run.follow(reader, [], 0.1, []) == run.TIMED_OUT
    assert capfd.readouterr().out == "tests/a.py ."
    os.close(writer)


def test_a_panic_on_the_console_ends_it(pipe: tuple[int, int], tmp_path: Path) -> None:
    console = tmp_path / "console"
    console.write_bytes(b"before\n" + PANIC + b": why\n")
    assert run.follow(pipe[0], [tmp_path / "none", console], 30, []) == run.NO_RESULT
    os.close(pipe[1])


def test_what_is_shown_of_a_console() -> None:
    lines = "".join(f"{number}\n" for number in range(1000)).encode()
    assert run.tail(lines).splitlines() == [str(number) for number in range(960, 1000)]
    shown = run.tail(lines + PANIC + b": why\n" + lines).splitlines()
    assert shown[: run.SHOWN] == [str(number) for number in range(960, 1000)]
    assert shown[run.SHOWN] == "Kernel panic - not syncing: why"
    assert len(shown) == 2 * run.SHOWN
