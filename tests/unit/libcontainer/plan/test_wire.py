"""The wire: what the init reads and what it sends."""

from __future__ import annotations

import errno
import struct
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyrunc import _wire
from pyrunc._generated.steps import FIELDS
from pyrunc.errors import PyruncError
from pyrunc.libcontainer.plan import wire
from pyrunc.libcontainer.plan.kinds import NUMBERS
from pyrunc.libcontainer.plan.model import LaunchPlan, Step
from tests.support.plans import CASES
from tests.support.wire import Source, encoded, outcome


def plan(*steps: Step) -> LaunchPlan:
    return LaunchPlan((), steps, {})


def tokens(blob: bytes) -> list[str]:
    assert blob.endswith(b"\0")
    return blob[:-1].decode().split("\0")


def test_a_plan_is_tokens() -> None:
    steps = (
        Step("rootfs", "rootfs", ("/r", "source:0"), on_errno=(1, 13)),
        Step("rootfs", "rootfs", ("/r", None), fallback_level=1),
        Step("start", "execute", (("sh", "-c", "ä"), ())),
    )
    assert tokens(wire.encode(plan(*steps), {"source:0": 7}, timeline=True, fault=(2, wire.FAULT_STOP))) == [
        "pyrunc-plan-1", "3", "5", "1", "2", "1",
        str(NUMBERS["rootfs"]), "0", "2", "1", "13", "/r", "7",
        str(NUMBERS["rootfs"]), "1", "0", "/r", "-1",
        str(NUMBERS["execute"]), "0", "0", "3", "sh", "-c", "ä", "0",
    ]  # fmt: skip


def test_no_timeline_and_no_fault_are_the_default() -> None:
    assert tokens(wire.encode(plan(), {})) == ["pyrunc-plan-1", "0", "0", "0", "-1", "0"]


@pytest.mark.parametrize(
    ("step", "words"),
    [
        (Step("process", "chdir", ("/a\0b",), pointer="/process/cwd"), "path: a NUL"),
        (Step("start", "execute", (("a", "b\0"), ())), "args: a NUL"),
        (Step("process", "umask", (-1,)), "mask: -1 is no u32"),
        (Step("process", "umask", (1 << 32,)), "mask: 4294967296 is no u32"),
        (Step("process", "oom_score_adj", (1 << 63,)), "is no i64"),
        (Step("process", "umask", ("7",)), "mask: '7' is no u32"),
        (Step("process", "chdir", (7,)), "path: 7 is no str"),
        (Step("process", "chdir", (None,)), "path: None is no str"),
        (Step("rootfs", "mknod", ("/dev/x", 0o600, 1, 1 << 32, 0, 0)), "minor: 4294967296 is no u32"),
        (Step("rootfs", "seal_mount", (1, 1 << 64)), "attr_set: 18446744073709551616 is no u64"),
        (Step("rootfs", "bind", ("/a", None, 7, 0, 0, 0, 0, 0, 0, 0, 0)), "target: 7 is no str"),
        (Step("rootfs", "bind", ("/a", None, "/b", -1, 0, 0, 0, 0, 0, 0, 0)), "recursive: -1 is no u32"),
        (Step("rootfs", "bind", ("/a", 3, "/b", 0, 0, 0, 0, 0, 0, 0, 0)), "source_fd: 3 is no fd"),
        (Step("start", "execute", ("sh", ())), "args: 'sh' is no strv"),
        (Step("start", "await_start", ("start",)), "nothing fills the slot start"),
        (Step("process", "umask", (0,), fallback_level=8), "too many alternatives"),
        (Step("process", "umask", (0,), on_errno=tuple(range(9))), "too many alternatives"),
        (Step("process", "chdir", ("/\ud800",), pointer="/process/cwd"), "path: '/\\ud800' is not Unicode"),
        (Step("start", "execute", (("a", "\udfff"), ())), "args: '\\udfff' is not Unicode"),
        (Step("start", "execute", (("a", 1), ())), "args: ('a', 1) is no strv"),  # type: ignore[arg-type]
        (Step("process", "umask", (0,), fallback_level=-1), "too many alternatives"),
    ],
)
def test_what_cannot_travel_is_refused(step: Step, words: str) -> None:
    with pytest.raises(PyruncError) as caught:
        wire.encode(plan(step), {})
    assert words in caught.value.message
    if step.pointer:
        assert (caught.value.step, caught.value.pointer) == (step.kind, step.pointer)


VALUES = st.sampled_from(Source.VALUES) | st.text() | st.integers(-(1 << 65), 1 << 65) | st.booleans()
FITTING: dict[str, st.SearchStrategy[Any]] = {
    "u32": st.integers(0, (1 << 32) - 1) | st.booleans(),
    "u64": st.integers(0, (1 << 64) - 1),
    "i64": st.integers(-(1 << 63), (1 << 63) - 1),
    "str": st.text(st.characters(exclude_characters="\0")),
    "strv": st.lists(st.text(st.characters(exclude_characters="\0"))).map(tuple),
    "fd": st.sampled_from(["source:0", "start", None]),
}
SLOTS = {"source:0": 7, "start": 2147483647}


@st.composite
def made(draw: st.DrawFn) -> Step:
    """A step of any kind, some with a value that does not fit."""
    kind = draw(st.sampled_from(sorted(NUMBERS)))
    args = [draw(FITTING[type_]) for _, type_ in FIELDS[kind]]
    if args and draw(st.integers(0, 9)) == 0:
        args[draw(st.integers(0, len(args) - 1))] = draw(VALUES)
    errnos = draw(st.just([]) | st.lists(st.integers(1, 4095), max_size=9))
    return Step(
        "rootfs", kind, tuple(args), fallback_level=draw(st.just(0) | st.integers(-1, 8)), on_errno=tuple(errnos)
    )


@given(st.lists(made(), max_size=6).map(tuple))
def test_steps_are_encoded_and_refused_as_by_the_reference(steps: tuple[Step, ...]) -> None:
    assert outcome(_wire.encode, steps, NUMBERS, SLOTS) == outcome(encoded, steps, SLOTS)


@given(st.lists(made(), min_size=1, max_size=6).map(tuple))
def test_a_refusal_names_the_step_and_the_field(steps: tuple[Step, ...]) -> None:
    try:
        encoded(steps, SLOTS)
    except ValueError as error:
        number, field = error.args
    else:
        return
    with pytest.raises(PyruncError) as caught:
        wire.encode(plan(*steps), SLOTS)
    assert caught.value.step == steps[number].kind
    start = FIELDS[steps[number].kind][field][0] + ": " if field >= 0 else "too many alternatives"
    assert caught.value.message.startswith(start)


@given(st.binary())
def test_the_steps_of_the_fuzzer_too(data: bytes) -> None:
    steps = Source(data).steps()
    assert outcome(_wire.encode, steps, NUMBERS, SLOTS) == outcome(encoded, steps, SLOTS)


@pytest.mark.parametrize("name", CASES)
def test_golden_plans_are_encoded_as_by_the_reference(name: str) -> None:
    steps = CASES[name]().init
    named = {
        str(value)
        for step in steps
        for (_, type_), value in zip(FIELDS[step.kind], step.args, strict=True)
        if type_ == "fd"
    }
    slots = {slot: number for number, slot in enumerate(sorted(named))}
    pointers, tokens = encoded(steps, slots)
    assert (
        wire.encode(plan(*steps), slots)
        == b"%s\0%d\0%d\x000\0-1\x000\0" % (wire.MAGIC.encode(), len(steps), pointers) + tokens
    )


class Text(str):
    """A text that is no str itself: an attribute or an override of it must not count."""


STEP: Any = Step


@pytest.mark.parametrize("name", ["phase", "kind", "args", "pointer", "fallback_level", "on_errno"])
def test_a_step_that_lacks_an_attribute(name: str) -> None:
    step = Step("process", "chdir", ("/",), "/process/cwd", 1, (2,))
    delattr(step, name)
    with pytest.raises(AttributeError):
        getattr(step, name)
    if name not in ("phase", "pointer"):
        with pytest.raises(TypeError):
            _wire.encode((step,), NUMBERS, {})


@pytest.mark.parametrize(
    ("steps", "numbers", "error"),
    [
        ((STEP("process", "chdir", ("/",)),), {}, KeyError),
        ((STEP("process", "chdir", ("/",)),), {"chdir": 1000}, TypeError),
        ((STEP("process", "chdir", ("/",)),), {"chdir": -1}, OverflowError),
        ((STEP("process", "chdir", ()),), NUMBERS, TypeError),
        ((STEP("process", "chdir", ("/", "/")),), NUMBERS, TypeError),
        ((STEP("process", "chdir", ["/"]),), NUMBERS, TypeError),
        ((STEP("process", "chdir", ("/",), fallback_level="1"),), NUMBERS, TypeError),
        ((STEP("process", "chdir", ("/",), on_errno=("1",)),), NUMBERS, TypeError),
        ((STEP("process", "chdir", ("/",), on_errno=[1]),), NUMBERS, TypeError),
        ((STEP("process", "chdir", (Text("/"),)),), NUMBERS, ValueError),
        ((7,), NUMBERS, TypeError),
        ([], NUMBERS, TypeError),
    ],
)
def test_what_is_no_plan_is_an_error_of_the_program(
    steps: Any, numbers: dict[str, int], error: type[Exception]
) -> None:
    with pytest.raises(error):
        _wire.encode(steps, numbers, {})


def test_a_plan_has_a_largest_size() -> None:
    with pytest.raises(PyruncError, match="the launch plan has"):
        wire.encode(plan(Step("process", "chdir", ("x" * wire.MAX_SIZE,))), {})


def test_bytes_of_the_command_line_that_are_no_utf8_travel_as_they_are() -> None:
    assert b"/\xff\0" in wire.encode(plan(Step("process", "chdir", ("/\udcff",))), {})


def message(type: int, step: int, error: int, detail: bytes, length: int | None = None) -> bytes:
    return struct.pack("=IIiI", type, step, error, len(detail) if length is None else length) + detail


@given(
    st.sampled_from((wire.REQUEST, wire.READY, wire.ERROR)),
    st.integers(0, 0xFFFFFFFF),
    st.integers(-(1 << 31), (1 << 31) - 1),
    st.text(max_size=50).map(lambda text: text.encode(errors="ignore")),
)
def test_messages(type: int, step: int, error: int, detail: bytes) -> None:
    got = wire.decode_message(message(type, step, error, detail))
    assert (got.type, got.step, got.error, got.detail) == (type, step, error, detail.decode())


def test_a_detail_of_foreign_bytes_is_shown_as_far_as_it_goes() -> None:
    assert wire.decode_message(message(3, 0, 2, b"/a\xff")).detail == "/a\ufffd"


@pytest.mark.parametrize(
    "data",
    [b"", message(1, 0, 0, b"")[:-1], message(1, 0, 0, b"ab", 3), message(0, 0, 0, b""), message(5, 0, 0, b"")],
    ids=["empty", "short", "length", "type-0", "type-5"],
)
def test_malformed_messages(data: bytes) -> None:
    with pytest.raises(PyruncError, match="malformed"):
        wire.decode_message(data)


def test_times_stand_behind_the_blob_and_are_pairs() -> None:
    assert [wire.times_offset(length) for length in (0, 1, 8, 9)] == [0, 8, 8, 16]
    data = b"".join(number.to_bytes(8, sys.byteorder) for number in (1, 2, 0, 0, 3, 1 << 63)) + b"more"
    assert wire.decode_times(data, 3) == [(1, 2), (0, 0), (3, 1 << 63)]


@pytest.mark.parametrize("detail", ["", "-1", "x", "1 ", "\u0663", "9" * 5000])
def test_a8_the_number_of_a_listener(detail: str) -> None:
    """A8: a value that is not a number gives the usual error, no ValueError."""
    assert wire.listener(wire.Message(wire.LISTENER, 0, 0, "17")) == 17
    with pytest.raises(PyruncError, match="malformed number"):
        wire.listener(wire.Message(wire.LISTENER, 0, 0, detail))


@pytest.mark.parametrize(
    ("steps", "pointer"),
    [
        ((Step("process", "chdir", ("x" * wire.MAX_SIZE,), "/process/cwd"),), "/process/cwd"),
        ((Step("start", "execute", (("/a",), ("x" * wire.MAX_SIZE,)), "/process/args"),), "/process/env"),
        ((Step("start", "execute", (("x" * wire.MAX_SIZE,), ("A=",)), "/process/args"),), "/process/args"),
        (
            (
                Step("start", "execute", (("x" * 400_000,), ()), "/process/args"),
                *[Step("rootfs", "mask_path", ("x" * 200_000,), f"/linux/maskedPaths/{n}") for n in range(90)],
            ),
            "/linux/maskedPaths",
        ),
    ],
)
def test_the_part_that_makes_a_plan_too_large_is_named(steps: tuple[Step, ...], pointer: str) -> None:
    with pytest.raises(PyruncError, match="the launch plan has") as caught:
        wire.encode(plan(*steps), {})
    assert (caught.value.pointer, caught.value.errno) == (pointer, errno.E2BIG)
