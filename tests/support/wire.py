"""The tokens of a plan's steps, plainly as docs/architecture.md has them: what csrc/wire/encode.c is compared with."""

from __future__ import annotations

from typing import Any

from pyrunc._generated.steps import FIELDS, NUMBERS
from pyrunc.libcontainer.plan.model import Step

_RANGES = {"u32": (0, (1 << 32) - 1), "u64": (0, (1 << 64) - 1), "i64": (-(1 << 63), (1 << 63) - 1)}


def encoded(steps: tuple[Step, ...], slots: dict[str, int]) -> tuple[int, bytes]:
    """The same as `pyrunc._wire.encode`, which raises ValueError for the same steps and fields."""
    pointers = 0
    tokens: list[bytes] = []
    for number, step in enumerate(steps):
        if step.fallback_level not in range(8) or len(step.on_errno) > 8:
            raise ValueError(number, -1)
        tokens += [b"%d" % word for word in (NUMBERS[step.kind], step.fallback_level, len(step.on_errno))]
        tokens += [b"%d" % word for word in step.on_errno]
        for field, ((_, type_), value) in enumerate(zip(FIELDS[step.kind], step.args, strict=True)):
            words = _words(type_, value, slots)
            if words is None or any(b"\0" in word for word in words):
                raise ValueError(number, field)
            tokens += words
            pointers += len(words) if type_ == "strv" else 0
    return pointers, b"".join(token + b"\0" for token in tokens)


def _words(type_: str, value: Any, slots: dict[str, int]) -> list[bytes] | None:
    """The tokens of a field; None if the value is none of the type."""
    try:
        if type_ == "str":
            return [value.encode("utf-8", "surrogateescape")] if type(value) is str else None
        if type_ == "strv":
            if type(value) is not tuple or not all(type(word) is str for word in value):
                return None
            return [b"%d" % len(value), *(word.encode("utf-8", "surrogateescape") for word in value)]
    except UnicodeEncodeError:
        return None
    if type_ == "fd":
        number = -1 if value is None else slots.get(value) if isinstance(value, str) else None
        return None if number is None else [b"%d" % number]
    low, high = _RANGES[type_]
    return [b"%d" % value] if isinstance(value, int) and low <= value <= high else None


class Source:
    """Steps made of bytes, for the fuzzer: every sequence of bytes makes some."""

    VALUES: tuple[Any, ...] = (
        None, "", "/dev/null", "source:0", "a\0b", "é☃😀", "\udcff", "\ud800", "x" * 5000, 0, 1, -1, True,
        (1 << 32) - 1, 1 << 32, (1 << 63) - 1, -(1 << 63), (1 << 64) - 1, 1 << 64, -(1 << 64), (), ("a", "b"),
        ("ä\udc80",), ("a\0",), ("a", 1), ("\udfff",), 1.5, b"x", ["a"], ("y" * 300,) * 40,
    )  # fmt: skip

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def number(self) -> int:
        """The next byte; 0 at the end."""
        self.at += 1
        return self.data[self.at - 1] if self.at <= len(self.data) else 0

    def value(self, type_: str) -> Any:
        """A value of the type, or any other."""
        number = self.number()
        if number >= 128:
            return self.VALUES[number % len(self.VALUES)]
        if type_ in _RANGES:
            return int.from_bytes(bytes(self.number() for _ in range(number % 9)), signed=type_ == "i64") % (1 << 32)
        if type_ == "fd":
            return "source:0" if number % 2 else None
        texts = tuple(
            bytes(self.number() for _ in range(number % 5)).decode("utf-8", "surrogateescape").replace("\0", "")
            for _ in range(number % 4 if type_ == "strv" else 1)
        )
        return texts if type_ == "strv" else texts[0]

    def steps(self) -> tuple[Step, ...]:
        """All the steps."""
        kinds = sorted(NUMBERS)
        steps = []
        while self.at < len(self.data):
            kind = kinds[self.number() % len(kinds)]
            args = tuple(self.value(type_) for _, type_ in FIELDS[kind])
            level = self.number()
            errnos = tuple(self.number() for _ in range(level >> 4)) if level >= 128 else ()
            steps.append(Step("rootfs", kind, args, fallback_level=level % 16 if level >= 64 else 0, on_errno=errnos))
        return tuple(steps)


def difference(encode: Any, data: bytes) -> str:
    """How `encode` and `encoded` differ for steps made of the data, "" if they don't."""
    steps, slots = Source(data).steps(), {"source:0": 7}
    found, wanted = outcome(encode, steps, NUMBERS, slots), outcome(encoded, steps, slots)
    return "" if found == wanted else f"{found!r} is not {wanted!r}"


def outcome(encode: Any, *arguments: Any) -> object:
    """The result, or the place of the value that is refused."""
    try:
        return encode(*arguments)
    except ValueError as error:
        return error.args
