from __future__ import annotations

import errno
import os

import pytest

from pyrunc.errors import PyruncError, cut, errno_text, from_os_error, history, join, pointer, prefixed
from pyrunc.libcontainer.kernel import native


def test_a_line_holds_the_whole_cause() -> None:
    error = PyruncError("error mounting proc", step="mount", pointer="/mounts/0", errno=errno.EPERM, hint="be root")
    assert error.line() == "error mounting proc: operation not permitted (step mount, at /mounts/0; be root)"
    assert str(error) == error.line()


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (PyruncError("broken"), "broken"),
        (PyruncError("broken", hint="mend it"), "broken (mend it)"),
        (PyruncError("broken", pointer="/a"), "broken (at /a)"),
    ],
)
def test_only_what_is_known_is_said(error: PyruncError, line: str) -> None:
    assert error.line() == line


def test_reasons_are_in_lower_case() -> None:
    assert errno_text(errno.ENOENT) == "no such file or directory"


def test_pointers_are_escaped() -> None:
    assert pointer("mounts", 3, "a/b~c") == "/mounts/3/a~1b~0c"


def test_joined_parts_are_one_line() -> None:
    assert join(["a\n b", "", "c\td"]) == "a b c d"
    assert join(["a\u2028b\x85c"]) == "a b c"


def test_characters_that_turn_the_direction_or_are_not_seen_are_shown() -> None:
    assert join(["\u202eab\u2066\u200b\xad\U000e0001é中"]) == "\\u202eab\\u2066\\u200b\\xad\\U000e0001é中"


def test_of_a_long_line_the_beginning_and_the_end_are_kept() -> None:
    assert join(["x" * 6000]) == "x" * 6000
    long = join(["begun: " + "x" * 1_000_000 + ": no such file"])
    assert len(long) < 6100
    assert (long[:8], long[-14:]) == ("begun: x", ": no such file")
    assert " ... (994021 characters) ... " in long


def test_of_a_long_value_the_beginning_is_shown() -> None:
    assert cut("x" * 200) == "x" * 200
    assert cut("x" * 1000) == "x" * 200 + "... (1000 characters)"


def test_a_line_does_not_steer_the_terminal() -> None:
    assert join(["/linux/\x1b]0;x\x07", "\x7f\x9b2J", "ü\udcff"]) == "/linux/\\x1b]0;x\\x07 \\x7f\\x9b2J ü\udcff"


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (FileNotFoundError(errno.ENOENT, "x", "/f"), "/f: no such file or directory"),
        (OSError(errno.EXDEV, "x", "/f", None, b"/g"), "/f /g: invalid cross-device link"),
        (OSError(errno.EIO, "x"), "system call failed: input/output error"),
        (OSError("no number"), "no number"),
    ],
)
def test_an_os_error_as_a_line(error: OSError, line: str) -> None:
    assert from_os_error(error).line() == line


def test_an_os_error_that_names_no_file_names_the_call() -> None:
    class Reader:
        def read(self) -> None:
            os.read(-1, 1)

        def lock(self) -> None:
            native.flock(-1, True, False)

    for call, line in ((Reader().read, "system call failed in {}read"), (Reader().lock, "flock failed in {}lock")):
        with pytest.raises(OSError) as caught:
            call()
        where = "test_an_os_error_that_names_no_file_names_the_call.<locals>.Reader."
        assert from_os_error(caught.value).line() == line.format(where) + ": bad file descriptor"


def test_a_prefix_keeps_the_rest() -> None:
    error = PyruncError("broken", step="s", pointer="/p", errno=errno.EPERM, hint="h", exit_code=3)
    assert prefixed("run failed", error).line() == "run failed: broken: operation not permitted (step s, at /p; h)"
    assert prefixed("run failed", error).exit_code == 3
    assert prefixed("run failed", FileNotFoundError(errno.ENOENT, "x", "/f")).line() == (
        "run failed: /f: no such file or directory"
    )


def test_the_history_names_every_cause_and_where_it_was_raised() -> None:
    def fail() -> None:
        raise FileNotFoundError(errno.ENOENT, "x", "/f")

    try:
        try:
            fail()
        except OSError as error:
            raise PyruncError("no start") from error
    except PyruncError as error:
        lines = history(error)
    assert lines[0] == "FileNotFoundError: [Errno 2] x: '/f'"
    assert lines[2].startswith("  " + __file__)
    assert lines[2].endswith(" in fail")
    assert lines[3] == "PyruncError: no start"
