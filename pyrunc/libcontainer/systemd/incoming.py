"""The messages of a D-Bus peer: split from the stream, bounded, decoded only if they are expected. Cold.

On a bus any local user can send a message to any connection. So a malformed header, an unexpected body, and a message
that is longer than any answer of systemd are ignored, and the connection goes on.
Facts: the D-Bus Specification, "Message Format".
"""

from __future__ import annotations

import errno
import struct
from typing import Any

from jeepney import HeaderFields, Message
from jeepney.low_level import Header

# How much of a message is kept; the answers and signals for pyrunc have some hundred bytes.
LONGEST = 1 << 20
# The longest message that the specification allows.
_LONGEST_LEGAL = 1 << 27
_FIXED = 16  # the fixed part of a header, with the length of the fields
_ORDERS = {b"l": "<", b"B": ">"}

# The exceptions of jeepney for bytes that are no message, with its asserts.
_MALFORMED = (ArithmeticError, AssertionError, AttributeError, LookupError, RecursionError, TypeError, ValueError)


class Malformed(Exception):
    """The body does not match its signature."""


class Incoming:
    """The received bytes that have not been returned yet."""

    def __init__(self) -> None:
        self._data = bytearray()
        self._to_skip = 0

    def add(self, data: bytes) -> None:
        """Add received bytes."""
        skipped = min(self._to_skip, len(data))
        self._to_skip -= skipped
        self._data += data[skipped:]

    def next(self) -> tuple[Header, bytes] | None:
        """The next message: its header and all its bytes; None if it is not complete yet.

        Messages that are too long or have a malformed header are skipped. Raises OSError (EBADMSG) if the bytes are no
        D-Bus, because no further message can be found then.
        """
        while len(self._data) >= _FIXED:
            size = self._size()
            if size > LONGEST:
                self._to_skip = max(0, size - len(self._data))
                del self._data[:size]
                continue
            if len(self._data) < size:
                return None
            raw = bytes(self._data[:size])
            del self._data[:size]
            try:
                header, _ = Header.from_buffer(raw)
            except (*_MALFORMED, struct.error):
                continue
            return header, raw
        return None

    def _size(self) -> int:
        order = _ORDERS.get(bytes(self._data[:1]))
        if order is None:
            raise OSError(errno.EBADMSG, "what came is no D-Bus message")
        body, fields = struct.unpack(order + "4xI4xI", self._data[:_FIXED])
        size = (_FIXED + fields + 7 & ~7) + body
        if size > _LONGEST_LEGAL:
            raise OSError(errno.EBADMSG, f"a D-Bus message of {size} bytes")
        return int(size)


def body(header: Header, raw: bytes, signature: str | None) -> tuple[Any, ...]:
    """The values of a message. signature: the required one; None for any. Raises Malformed."""
    if signature is not None and header.fields.get(HeaderFields.signature, "") != signature:
        raise Malformed
    try:
        values: tuple[Any, ...] = Message.from_buffer(raw).body
    except (*_MALFORMED, struct.error) as error:
        raise Malformed from error
    return values
