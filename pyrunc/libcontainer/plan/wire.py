"""The wire between the runtime and the init: a plan as bytes, and the init's messages.

docs/architecture.md ("The wire") has both forms. csrc/wire/encode.c encodes the steps; csrc/init/decode.c and
csrc/init/protocol.c are the other side.
"""

from __future__ import annotations

import errno
import sys

from ..._generated.steps import FIELDS, NUMBERS
from ..._wire import encode as encode_steps
from ...errors import PyruncError, cut

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from .model import LaunchPlan, Step

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

MAX_SIZE = 16 << 20  # that of csrc/init/decode.h
_DIGITS = 9  # of a descriptor's number


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
    try:
        pointers, tokens = encode_steps(plan.init, NUMBERS, slots)
    except ValueError as error:
        number, field = error.args
        raise _refusal(plan.init[number], field) from error
    head = f"{MAGIC}\0{len(plan.init)}\0{pointers}\0{int(timeline)}\0{fault[0]}\0{fault[1]}\0"
    blob = head.encode() + tokens
    if len(blob) > MAX_SIZE:
        hint = f"at most {MAX_SIZE} are allowed, and this part of the configuration has most of them"
        message = f"the launch plan has {len(blob)} bytes"
        raise PyruncError(message, pointer=_largest(plan.init), errno=errno.E2BIG, hint=hint)
    return blob


def _largest(steps: Iterable[Step]) -> str:
    """The pointer of the part of the configuration that needs most of a plan: a member, or a whole array."""
    sizes: dict[str, int] = {}
    for step in steps:
        array = step.pointer
        for part in step.pointer.split("/"):
            if part.isdigit():
                array = step.pointer.partition(f"/{part}")[0]
                break
        for (name, _), value in zip(FIELDS[step.kind], step.args, strict=True):
            at = "/process/env" if step.kind == "execute" and name == "env" else array
            texts = value if isinstance(value, tuple) else (str(value),)
            sizes[at] = sizes.get(at, 0) + sum([len(str(text)) + 1 for text in texts])
    return max(sizes, key=sizes.__getitem__)


def _refusal(step: Step, field: int) -> PyruncError:
    """Why a step is refused: for the value of the field with this number, or with -1 for its alternatives."""
    if field < 0:
        return PyruncError("too many alternatives", step=step.kind, pointer=step.pointer)
    name, type_ = FIELDS[step.kind][field]
    value = step.args[field]
    why = f"{cut(repr(value))} is no {type_}"
    if type_ == "fd" and isinstance(value, str):
        why = f"nothing fills the slot {value}"
    elif type_ in ("str", "strv"):
        for text in value if isinstance(value, tuple) else (value,):
            if isinstance(text, str) and "\0" in text:
                why = f"a NUL in {cut(repr(text))}"
            elif isinstance(text, str) and not _is_unicode(text):
                why = f"{cut(repr(text))} is not Unicode"
    return PyruncError(f"{name}: {why}", step=step.kind, pointer=step.pointer)


def _is_unicode(text: str) -> bool:
    """Whether it has no surrogate but those for bytes that are not UTF-8 (PEP 383)."""
    return not any("\ud800" <= character < "\udc80" or "\udcff" < character <= "\udfff" for character in text)


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
    head = memoryview(data)[:HEADER_SIZE]
    kind, step, error, length = head.cast("i") if len(head) == HEADER_SIZE else (0, 0, 0, 0)
    if kind not in _TYPES or len(data) != HEADER_SIZE + length:
        raise PyruncError(f"a malformed message of {len(data)} bytes came from the container's init")
    return Message(kind, step & 0xFFFFFFFF, error, data[HEADER_SIZE:].decode("utf-8", "replace"))


def listener(message: Message) -> int:
    """The listener's descriptor in a LISTENER message. Raises PyruncError if the message has none."""
    digits = message.detail
    if not (digits.isascii() and digits.isdigit() and len(digits) <= _DIGITS):
        raise PyruncError("a malformed number of a seccomp listener came from the container's init")
    return int(digits)
