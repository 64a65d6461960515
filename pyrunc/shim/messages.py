"""The messages between containerd and the shim: dicts by the names of the fields of containerd's API. Hot.

The tables are made by generate/shim_messages.py. A decoded message has all its fields: a field that the sender left out
has its default (proto3), a missing message is None.
"""

from __future__ import annotations

import time

from .. import protobuf
from .._generated.shim_messages import FULL, TABLES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..protobuf import Message, Table

_DEFAULTS: dict[int, Any] = {
    protobuf.BOOL: False,
    protobuf.STRING: "",
    protobuf.BYTES: b"",
    protobuf.DOUBLE: 0.0,
    protobuf.MESSAGE: None,
}
_NANOSECONDS = 1_000_000_000


def encode(name: str, values: Message) -> bytes:
    """The bytes of a message by its short name. Raises KeyError for an unknown field, ValueError for a number that does
    not fit."""
    return protobuf.encode(TABLES[name], values)


def decode(name: str, data: bytes) -> Message:
    """The message by its short name. Raises protobuf.MalformedError."""
    return _complete(TABLES[name], protobuf.decode(TABLES[name], data))


def _complete(table: Table, values: Message) -> Message:
    """Add missing fields, also in the messages within a message."""
    for name, kind, _, repeated, message in table.values():
        value = values.get(name)
        if value is None:
            if repeated:
                values[name] = []
            elif kind == protobuf.MAP:
                values[name] = {}
            else:
                values[name] = _DEFAULTS.get(kind, 0)
        elif message is not None:
            for item in value if repeated else (value,):
                _complete(message, item)
    return values


def pack(name: str, values: Message) -> Message:
    """A message as google.protobuf.Any, with its full name as the type's URL, as in containerd's typeurl."""
    return {"type_url": FULL[name], "value": encode(name, values)}


def unpack(name: str, box: Message | None) -> Message:
    """The message in a google.protobuf.Any; all defaults without one.

    Raises protobuf.MalformedError if it has another type.
    """
    if box is None or not (box["type_url"] or box["value"]):
        return decode(name, b"")
    if type_of(box) != FULL[name]:
        raise protobuf.MalformedError(f"{box['type_url']} where {FULL[name]} is expected")
    return decode(name, box["value"])


def type_of(box: Message) -> str:
    """The full name of the message in a google.protobuf.Any, without the host of its URL."""
    name: str = box["type_url"].rpartition("/")[2]
    return name


def timestamp(nanoseconds: int) -> Message | None:
    """A google.protobuf.Timestamp of the nanoseconds since 1970; None for 0, which stands for no time."""
    if not nanoseconds:
        return None
    return {"seconds": nanoseconds // _NANOSECONDS, "nanos": nanoseconds % _NANOSECONDS}


def now() -> int:
    """The time, in nanoseconds since 1970."""
    return time.time_ns()
