"""Protocol Buffers by tables of fields. The decoder does not trust the sender. Hot.

A message is a dict by the names of its fields. It has the part of proto2 and proto3 that the messages of CRIU and of
containerd need. Source: the encoding's description (https://protobuf.dev/programming-guides/encoding).
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    # One field of a message: name, kind, required, repeated, and the fields of its value where the kind is MESSAGE.
    Field = tuple[str, int, bool, bool, "Table | None"]
    # The fields of a message, by number.
    Table = dict[int, Field]
    Message = dict[str, Any]

# The kinds of fields. Enumerations are INT32. TEXT is any bytes (surrogateescape), STRING only UTF-8. MAP has texts as
# keys and values, and is a dict.
INT32, UINT32, BOOL, TEXT, MESSAGE, INT64, UINT64, DOUBLE, STRING, BYTES, MAP = range(11)

_VARINT, _I64, _LEN, _I32 = 0, 1, 2, 5
_VARINT_BYTES = 10
_LARGEST_TAG = 1 << 32
_WIRES = (
    _VARINT, _VARINT, _VARINT, _LEN, _LEN, _VARINT, _VARINT, _I64, _LEN, _LEN, _LEN,
)  # fmt: skip
# The range of each kind of number.
_LIMITS = {
    INT32: (-(1 << 31), 1 << 31),
    UINT32: (0, 1 << 32),
    BOOL: (0, 1 << 32),
    INT64: (-(1 << 63), 1 << 63),
    UINT64: (0, 1 << 64),
}
_NAMES = {INT32: "int32", UINT32: "uint32", INT64: "int64"}
# A double's bits (IEEE 754): exponent and mantissa.
_BIAS, _MANTISSA, _EXPONENTS = 1023, 52, 0x7FF


class MalformedError(ValueError):
    """The bytes are no message of the expected kind; the text has the reason."""


def field(name: str, kind: int, required: bool = False, repeated: bool = False, message: Table | None = None) -> Field:
    """A field of a table."""
    return name, kind, required, repeated, message


# A map's entries.
_ENTRY: Table = {1: field("key", STRING), 2: field("value", STRING)}


def encode(table: Table, values: Message) -> bytes:
    """Encode a message, fields in the order of their numbers. None stands for an absent field.

    Raises KeyError for an unknown name, ValueError for a missing required field and for a number that does not fit.
    """
    known = {entry[0] for entry in table.values()}
    for name in values:
        if name not in known:
            raise KeyError(name)
    parts = []
    for number, entry in sorted(table.items()):
        name, kind, required, repeated, _ = entry
        value = values.get(name)
        if value is None:
            if required:
                raise ValueError(f"{name} is missing")
            continue
        if kind == MAP:
            for item in value.items():
                parts.append(_encode_field(number, entry, {"key": item[0], "value": item[1]}))
            continue
        for item in value if repeated else (value,):
            parts.append(_encode_field(number, entry, item))
    return b"".join(parts)


def _encode_field(number: int, entry: Field, value: Any) -> bytes:
    name, kind, _, _, message = entry
    wire = _WIRES[kind]
    tag = encode_varint(number << 3 | wire)
    if wire == _VARINT:
        return tag + encode_varint(_to_unsigned(name, kind, value))
    if kind == DOUBLE:
        return tag + _double_bits(value).to_bytes(8, "little")
    data: bytes
    if kind == TEXT:
        data = value.encode("utf-8", "surrogateescape")
    elif kind == STRING:
        data = value.encode("utf-8", "replace")
    elif kind == BYTES:
        data = value
    else:
        data = encode(_ENTRY if kind == MAP else message or {}, value)
    return tag + encode_varint(len(data)) + data


def _to_unsigned(name: str, kind: int, value: int) -> int:
    number = int(value)
    low, high = _LIMITS[kind]
    if not low <= number < high:
        raise ValueError(f"{name} can't be {number}")
    return number & ((1 << 64) - 1)  # a negative int32 is written with 64 bits


def encode_varint(value: int) -> bytes:
    """The number, not negative, in groups of seven bits (protobuf's encoding, Base 128 Varints)."""
    data = bytearray()
    while value > 0x7F:
        data.append(value & 0x7F | 0x80)
        value >>= 7
    data.append(value)
    return bytes(data)


def _double_bits(value: float) -> int:
    """The 64 bits of a finite number that is not negative, as percentages and times are."""
    number = float(value)
    if number == 0:
        return 0
    # hex() is 0x1.MMMMMMMMMMMMMp+E, exact; smaller numbers than 2**-1022 are taken as 0.
    mantissa, _, exponent = number.hex().removeprefix("0x1.").partition("p")
    if not exponent or number < 0:
        return 0
    return int(exponent) + _BIAS << _MANTISSA | int(mantissa.ljust(13, "0"), 16)


def _bits_double(bits: int) -> float:
    sign = -1.0 if bits >> 63 else 1.0
    exponent = bits >> _MANTISSA & _EXPONENTS
    fraction = bits & (1 << _MANTISSA) - 1
    if exponent == _EXPONENTS:
        return sign * float("nan" if fraction else "inf")
    if exponent:
        fraction |= 1 << _MANTISSA
    return float(sign * fraction * 2.0 ** (max(exponent, 1) - _BIAS - _MANTISSA))


def decode(table: Table, data: bytes) -> Message:
    """Decode a message. Unknown fields are ignored; of a field that is not repeated the last value counts.

    Raises MalformedError if the bytes end too early, a value has another wire type than its field, a number does not
    fit, a STRING is not UTF-8, or a required field is missing.
    """
    values: Message = {}
    for number, wire, value in _fields(data):
        entry = table.get(number)
        if entry is None:
            continue
        name, kind, _, repeated, _ = entry
        if wire != _WIRES[kind]:
            raise MalformedError(f"{name} has the wire type {wire}")
        decoded = _decode_value(entry, value)
        if kind == MAP:
            values.setdefault(name, {})[decoded.get("key", "")] = decoded.get("value", "")
        elif repeated:
            values.setdefault(name, []).append(decoded)
        else:
            values[name] = decoded
    for name, _, required, _, _ in table.values():
        if required and name not in values:
            raise MalformedError(f"{name} is missing")
    return values


def _decode_value(entry: Field, value: int | bytes) -> Any:
    name, kind, _, _, message = entry
    if isinstance(value, bytes):
        if kind == BYTES:
            return value
        if kind == STRING:
            try:
                return value.decode()
            except UnicodeDecodeError as error:
                raise MalformedError(f"{name} is not UTF-8") from error
        if kind == TEXT:
            return value.decode("utf-8", "surrogateescape")
        if kind == DOUBLE:
            return _bits_double(int.from_bytes(value, "little"))
        return decode(_ENTRY if kind == MAP else message or {}, value)
    if kind == BOOL:
        return bool(value)
    if kind in (INT32, INT64) and value >= 1 << 63:
        value -= 1 << 64
    low, high = _LIMITS[kind]
    if not low <= value < high:
        raise MalformedError(f"{name} is no {_NAMES[kind]}")
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
    value = shift = 0
    while shift < 7 * _VARINT_BYTES:
        if at >= len(data):
            raise MalformedError("a number is cut off")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            if value >= 1 << 64:
                break
            return value, at
        shift += 7
    raise MalformedError("a number has more than 64 bits")
