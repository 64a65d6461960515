"""The wire between the runtime and the init: a plan as bytes, and the init's messages.

docs/architecture.md ("The wire") has both forms. csrc/init/decode.c and csrc/init/protocol.c are the other side.
"""

from __future__ import annotations

import sys

from ..._generated.steps import FIELDS, NUMBERS
from ...errors import PyruncError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .model import Arg, LaunchPlan, Step

MAGIC = "pyrunc-plan-1"

# types of message
REQUEST = 1
READY = 2
ERROR = 3
LISTENER = 4
_TYPES = (REQUEST, READY, ERROR, LISTENER)

# answers: to the init, which then goes on, and by `start`
GO_ON = b"A"
START = b"S"

# the step number of an error that belongs to no step: the plan itself was refused
NO_STEP = 0xFFFFFFFF

# kinds of fault, for an init built with -DPYRUNC_FAULTS
FAULT_NONE = 0
FAULT_STOP = 1
FAULT_FAIL = 2

HEADER_SIZE = 16
# bytes of the longest message: the header and csrc/init/common.h's DETAIL_SIZE
MESSAGE_SIZE = HEADER_SIZE + 4096

# the limits of csrc/init/decode.c
MAX_FALLBACK_LEVEL = 7
MAX_ERRNOS = 8
MAX_SIZE = 16 << 20
_DIGITS = 9  # of a descriptor's number

_RANGES = {
    "u32": (0, 0xFFFFFFFF),
    "u64": (0, 0xFFFFFFFFFFFFFFFF),
    "i64": (-0x8000000000000000, 0x7FFFFFFFFFFFFFFF),
}

# Of each kind of the init: its number, no fallback level and no errnos, on the wire.
_HEADS = {kind: f"{number}\x000\x000" for kind, number in NUMBERS.items()}
_CLASSES: dict[str, type] = {"str": str, "strv": tuple, "fd": type(None), "u32": int, "u64": int}


def _shape(types: list[str]) -> tuple[list[type], int, list[int], bool] | None:
    """What a step with fields of these types needs to be encoded at once: their classes, an `fd` being empty; how many
    stand before the numbers; the highest value of each number; and whether those before are all texts. None if it has
    other fields, or another order."""
    first = len([type_ for type_ in types if type_ not in ("u32", "u64")])
    if not {*types} <= _CLASSES.keys() or not {*types[first:]} <= {"u32", "u64"}:
        return None
    limits = [_RANGES[type_][1] for type_ in types[first:]]
    return [_CLASSES[type_] for type_ in types], first, limits, {*types[:first]} <= {"str"}


_SHAPES = {kind: _shape([type_ for _, type_ in FIELDS[kind]]) for kind in NUMBERS}
_at_most = int.__le__
_U64 = _RANGES["u64"][1]


class Message:
    """A message of the init.

    type: REQUEST, READY, ERROR or LISTENER; step: index in the plan's init steps, or NO_STEP; error: an errno or 0;
    detail: the name of the request, the path or reason of the failure, or the listener's number.
    """

    __slots__ = ("detail", "error", "step", "type")

    def __init__(self, type: int, step: int, error: int, detail: str) -> None:
        self.type = type
        self.step = step
        self.error = error
        self.detail = detail


def encode(
    plan: LaunchPlan,
    slots: dict[str, int],
    *,
    timeline: bool = False,
    fault: tuple[int, int] = (-1, FAULT_NONE),
) -> bytes:
    """Encode the init's steps as the blob that the init reads.

    slots: the descriptor of each slot that an `fd` field names. timeline: whether the init stores times, at
    `times_offset` of the blob's length. fault: step index and FAULT_ kind.
    Raises PyruncError, with the step's name and pointer, if a value can't be encoded: a NUL in a text, a number out of
    its type's range, an empty slot; and if the plan is over 16 MiB.
    """
    pointers, alternatives, body = _tokens(plan, slots)
    separators = 2 * (len(plan.init) - alternatives)  # within the texts of `body`
    tokens = [MAGIC, str(len(plan.init)), str(pointers), str(int(timeline)), str(fault[0]), str(fault[1]), *body, ""]
    text = "\0".join(tokens)
    if text.count("\0") != len(tokens) - 1 + separators:
        _refuse_nul(plan)
    try:
        blob = text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError as error:
        raise PyruncError(f"a text of the configuration is not Unicode: {error.object[error.start]!r}") from error
    if len(blob) > MAX_SIZE:
        raise PyruncError(f"the launch plan has {len(blob)} bytes", hint=f"at most {MAX_SIZE} are allowed")
    return blob


def _tokens(plan: LaunchPlan, slots: dict[str, int]) -> tuple[int, int, list[str]]:
    """The tokens of the steps, with the number of pointers and the number of steps that have a level or errnos; a step
    without has one token in place of three. Raises PyruncError.

    A plan has hundreds of fields. So most steps are encoded without a look at each field, and what they should hold is
    compared at the end, for all of them at once.
    """
    pointers = alternatives = 0
    body: list[str] = []
    given: list[Arg] = []  # the fields of steps that were encoded at once
    classes: list[type] = []  # and their classes
    numbers: list[Any] = []  # the numbers among them
    limits: list[int] = []  # and the highest values
    for step in plan.init:
        kind = step.kind
        args: tuple[Any, ...] = step.args
        if step.fallback_level or step.on_errno:
            alternatives += 1
            _put_alternative(step, body)
        else:
            body.append(_HEADS[kind])
        shape = _SHAPES[kind]
        if shape is None or not (shape[3] or shape[0] == [*map(type, args)]):
            pointers += _put_fields(step, body, slots)
            continue
        if shape[3]:
            body += map(str, args)
        else:
            for value in args[: shape[1]]:
                if value.__class__ is tuple:
                    pointers += len(value) + 1
                    body.append(str(len(value)))
                    body += value
                else:
                    body.append("-1" if value is None else value)
            body += map(str, args[shape[1] :])
        given += args
        classes += shape[0]
        if shape[2]:
            numbers += args[shape[1] :]
            limits += shape[2]
    if [*map(type, given)] != classes or (numbers and min(numbers) < 0) or not all(map(_at_most, numbers, limits)):
        for step in plan.init:
            _put_fields(step, [], slots)  # raises for the first field that has no such value
        raise PyruncError("the launch plan has a value of another type than its field")
    return pointers, alternatives, body


def _put_alternative(step: Step, body: list[str]) -> None:
    """Add the kind, level and errnos of a step. Raises PyruncError."""
    if step.fallback_level > MAX_FALLBACK_LEVEL or len(step.on_errno) > MAX_ERRNOS:
        raise PyruncError("too many alternatives", step=step.kind, pointer=step.pointer)
    body += (str(NUMBERS[step.kind]), str(step.fallback_level), str(len(step.on_errno)))
    body += map(str, step.on_errno)


def _put_fields(step: Step, body: list[str], slots: dict[str, int]) -> int:
    """Add the fields of a step, one after the other. Returns the number of its pointers. Raises PyruncError."""
    pointers = 0
    for (name, type_), value in zip(FIELDS[step.kind], step.args, strict=True):
        if type_ == "str" and value.__class__ is str:
            body.append(value)
        elif type_ == "u64" and value.__class__ is int and 0 <= value <= _U64:
            body.append(str(value))
        elif type_ == "strv" and value.__class__ is tuple:
            pointers += len(value) + 1
            body.append(str(len(value)))
            body += value
        else:
            body.append(_token(step, name, type_, value, slots))
    return pointers


def _token(step: Step, name: str, type_: str, value: Arg, slots: dict[str, int]) -> str:
    """Encode a field that is a single token and no text. Raises PyruncError."""
    if type_ == "fd" and value is None:
        return "-1"
    if type_ == "fd" and isinstance(value, str):
        if value in slots:
            return str(slots[value])
        why = f"nothing fills the slot {value}"
    elif type_ in _RANGES and isinstance(value, int):
        low, high = _RANGES[type_]
        if low <= value <= high:
            return str(int(value))
        why = f"{value} is no {type_}"
    else:
        why = f"{value!r} is no {type_}"
    raise PyruncError(f"{name}: {why}", step=step.kind, pointer=step.pointer)


def _refuse_nul(plan: LaunchPlan) -> None:
    """Raise PyruncError for the first text with a NUL."""
    for step in plan.init:
        for (name, _), value in zip(FIELDS[step.kind], step.args, strict=True):
            for text in value if isinstance(value, tuple) else (value,):
                if isinstance(text, str) and "\0" in text:
                    raise PyruncError(f"{name}: a NUL in {text!r}", step=step.kind, pointer=step.pointer)


def times_offset(length: int) -> int:
    """The offset of the times in the memfd of a blob of `length` bytes: 16 bytes for each step, start and end."""
    return (length + 7) & ~7


def decode_times(data: bytes, steps: int) -> list[tuple[int, int]]:
    """Decode the times that the init stored at `times_offset`: start and end of each step in nanoseconds of
    CLOCK_MONOTONIC; 0 for a step that was skipped, and for the end of one that did not finish."""
    numbers = [int.from_bytes(data[at : at + 8], sys.byteorder) for at in range(0, 16 * steps, 8)]
    return list(zip(numbers[::2], numbers[1::2], strict=True))


def decode_message(data: bytes) -> Message:
    """Decode a message of the init. Raises PyruncError for bytes that no init sends."""
    order = sys.byteorder
    length = int.from_bytes(data[12:16], order)
    kind = int.from_bytes(data[0:4], order)
    if len(data) < HEADER_SIZE or len(data) != HEADER_SIZE + length or kind not in _TYPES:
        raise PyruncError(f"a malformed message of {len(data)} bytes came from the container's init")
    return Message(
        kind,
        int.from_bytes(data[4:8], order),
        int.from_bytes(data[8:12], order, signed=True),
        data[HEADER_SIZE:].decode("utf-8", "replace"),
    )


def listener(message: Message) -> int:
    """The listener's descriptor in a LISTENER message. Raises PyruncError if the message has none."""
    digits = message.detail
    if not (digits.isascii() and digits.isdigit() and len(digits) <= _DIGITS):
        raise PyruncError("a malformed number of a seccomp listener came from the container's init")
    return int(digits)
