"""The wire between the runtime and the init: a plan as bytes, and the init's messages.

docs/architecture.md ("The wire") has both forms. csrc/init/decode.c and csrc/init/protocol.c are the other side.
"""

from __future__ import annotations

import sys

from ..._generated.steps import FIELDS, NUMBERS
from ...errors import PyruncError

TYPE_CHECKING = False
if TYPE_CHECKING:
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
# bytes of the longest message: the header and csrc/init/init.h's DETAIL_SIZE
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
    pointers = 0
    separators = 0  # within the texts of `body`
    body: list[str] = []
    put = body.append
    for step in plan.init:
        kind = step.kind
        if step.fallback_level or step.on_errno:
            if step.fallback_level > MAX_FALLBACK_LEVEL or len(step.on_errno) > MAX_ERRNOS:
                raise PyruncError("too many alternatives", step=step.kind, pointer=step.pointer)
            body += (str(NUMBERS[kind]), str(step.fallback_level), str(len(step.on_errno)))
            body += map(str, step.on_errno)
        else:
            put(_HEADS[kind])
            separators += 2
        for (name, type_), value in zip(FIELDS[kind], step.args, strict=True):
            if type_ == "str" and value.__class__ is str:
                put(value)
            elif type_ == "u32" and value.__class__ is int and 0 <= value <= 0xFFFFFFFF:
                put(str(value))
            elif type_ == "strv" and value.__class__ is tuple:
                pointers += len(value) + 1
                put(str(len(value)))
                body += value
            else:
                put(_token(step, name, type_, value, slots))
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
