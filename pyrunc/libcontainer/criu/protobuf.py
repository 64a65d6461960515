"""Protocol Buffers by tables of fields. The decoder does not trust the sender.

A message is a dict by the names of its fields. It has only the part of proto2 that CRIU's messages need: varints, texts
and messages. Source: the encoding's description (https://protobuf.dev/programming-guides/encoding).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

# The kinds of fields. Enumerations are int32.
INT32, UINT32, BOOL, TEXT, MESSAGE = range(5)

_VARINT, _I64, _LEN, _I32 = 0, 1, 2, 5
_VARINT_BYTES = 10
_LARGEST_TAG = 1 << 32
_SCALARS = (INT32, UINT32, BOOL)

Message = dict[str, Any]


class MalformedError(ValueError):
    """The bytes are no message of the expected kind; the text has the reason."""


class Field(NamedTuple):
    """One field of a message. message: the fields of its value, by number, where the kind is MESSAGE."""

    name: str
    kind: int
    required: bool = False
    repeated: bool = False
    message: Table | None = None


# The fields of a message, by number.
Table = dict[int, Field]


def encode(table: Table, values: Message) -> bytes:
    """Encode a message, fields in the order of their numbers. None stands for an absent field.

    Raises KeyError for an unknown name, ValueError for a missing required field and for a number that does not fit.
    """
    known = {field.name for field in table.values()}
    for name in values:
        if name not in known:
            raise KeyError(name)
    parts = []
    for number, field in sorted(table.items()):
        value = values.get(field.name)
        if value is None:
            if field.required:
                raise ValueError(f"{field.name} is missing")
            continue
        for item in value if field.repeated else (value,):
            parts.append(_encode_field(number, field, item))
    return b"".join(parts)


def _encode_field(number: int, field: Field, value: Any) -> bytes:
    if field.kind in _SCALARS:
        return _encode_varint(number << 3 | _VARINT) + _encode_varint(_to_unsigned(field, value))
    if field.kind == TEXT:
        data: bytes = value.encode("utf-8", "surrogateescape")
    else:
        assert field.message is not None
        data = encode(field.message, value)
    return _encode_varint(number << 3 | _LEN) + _encode_varint(len(data)) + data


def _to_unsigned(field: Field, value: int) -> int:
    number = int(value)
    low, high = (-(1 << 31), 1 << 31) if field.kind == INT32 else (0, 1 << 32)
    if not low <= number < high:
        raise ValueError(f"{field.name} can't be {number}")
    return number & ((1 << 64) - 1)  # a negative int32 is written with 64 bits


def _encode_varint(value: int) -> bytes:
    data = bytearray()
    while value > 0x7F:
        data.append(value & 0x7F | 0x80)
        value >>= 7
    data.append(value)
    return bytes(data)


def decode(table: Table, data: bytes) -> Message:
    """Decode a message. Unknown fields are ignored; of a field that is not repeated the last value counts.

    Raises MalformedError if the bytes end too early, a value has another wire type than its field, a number does not
    fit, or a required field is missing.
    """
    values: Message = {}
    for number, wire, value in _fields(data):
        field = table.get(number)
        if field is None:
            continue
        if wire != (_VARINT if field.kind in _SCALARS else _LEN):
            raise MalformedError(f"{field.name} has the wire type {wire}")
        decoded = _decode_value(field, value)
        if field.repeated:
            values.setdefault(field.name, []).append(decoded)
        else:
            values[field.name] = decoded
    for field in table.values():
        if field.required and field.name not in values:
            raise MalformedError(f"{field.name} is missing")
    return values


def _decode_value(field: Field, value: int | bytes) -> Any:
    if isinstance(value, bytes):
        if field.kind == TEXT:
            return value.decode("utf-8", "surrogateescape")
        assert field.message is not None
        return decode(field.message, value)
    if field.kind == BOOL:
        return bool(value)
    if field.kind == INT32:
        if value >= 1 << 63:
            value -= 1 << 64
        if not -(1 << 31) <= value < 1 << 31:
            raise MalformedError(f"{field.name} is no int32")
    elif value >= 1 << 32:
        raise MalformedError(f"{field.name} is no uint32")
    return value


def _fields(data: bytes) -> Iterator[tuple[int, int, int | bytes]]:
    """Each field as (number, wire type, value): an int for a varint, else its bytes."""
    at = 0
    while at < len(data):
        tag, at = _decode_varint(data, at)
        number, wire = tag >> 3, tag & 7
        if number == 0 or tag >= _LARGEST_TAG:
            raise MalformedError(f"there is no field {number}")
        if wire == _VARINT:
            value, at = _decode_varint(data, at)
            yield number, wire, value
            continue
        if wire == _LEN:
            size, at = _decode_varint(data, at)
        elif wire in (_I64, _I32):
            size = 8 if wire == _I64 else 4
        else:
            raise MalformedError(f"field {number} has the wire type {wire}")
        if size > len(data) - at:
            raise MalformedError(f"field {number} has {size} bytes, and {len(data) - at} are left")
        yield number, wire, data[at : at + size]
        at += size


def _decode_varint(data: bytes, at: int) -> tuple[int, int]:
    """The number that begins at `at`, and its end."""
    value = 0
    for index, byte in enumerate(data[at : at + _VARINT_BYTES]):
        value |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            if value >= 1 << 64:
                raise MalformedError("a number has more than 64 bits")
            return value, at + index + 1
    raise MalformedError("a number is cut off" if len(data) - at < _VARINT_BYTES else "a number has more than 64 bits")
