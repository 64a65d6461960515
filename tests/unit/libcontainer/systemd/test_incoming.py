"""Messages are cut out of a stream of any bytes."""

from __future__ import annotations

import contextlib
import errno

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jeepney import HeaderFields, new_signal

from pyrunc.libcontainer.systemd import incoming
from pyrunc.libcontainer.systemd.incoming import LONGEST, Incoming, Malformed
from tests.support.systemd import MANAGER


def message(signature: str, *values: object) -> bytes:
    return bytes(new_signal(MANAGER, "JobRemoved", signature, values).serialise(serial=5))


def all_of(stream: Incoming) -> list[tuple[object, ...]]:
    found = []
    while (taken := stream.next()) is not None:
        found.append(incoming.body(*taken, None))
    return found


@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=300)), st.integers(1, 500))
def test_messages_come_out_however_they_came_in(texts: list[str], step: int) -> None:
    data = b"".join(message("s", text) for text in texts)
    stream = Incoming()
    found = []
    for at in range(0, len(data), step):
        stream.add(data[at : at + step])
        found += all_of(stream)
    assert found == [(text,) for text in texts]


@given(st.binary(max_size=200), st.booleans())
def test_a8_no_bytes_break_the_reader(data: bytes, begins_well: bool) -> None:
    """A8: bytes that are not a message are skipped, or end the conversation."""
    stream = Incoming()
    stream.add((b"l\4\0\1" if begins_well else b"") + data)
    with contextlib.suppress(OSError):
        while (taken := stream.next()) is not None:
            with contextlib.suppress(Malformed):
                incoming.body(*taken, None)


@given(st.binary(max_size=80))
def test_a8_no_body_breaks_the_reader(data: bytes) -> None:
    """A8: a body that does not have the form of its signature."""
    whole = bytearray(message("a{sv}asuov", {}, [], 1, "/a", ("s", "")))
    stream = Incoming()
    whole[-len(data) :] = data[-40:].ljust(len(data), b"\1")
    stream.add(bytes(whole))
    taken = stream.next()
    if taken is not None:
        try:
            assert isinstance(incoming.body(*taken, None), tuple)
        except Malformed:
            return


@pytest.mark.parametrize("step", [1 << 12, 1 << 22])
def test_a8_a_long_message_is_passed_over_and_not_kept(step: int) -> None:
    """A8: a message that nobody waits for takes no memory."""
    long = message("s", "x" * (LONGEST + 1000))
    data = message("s", "before") + long + message("s", "after")
    stream = Incoming()
    found = []
    for at in range(0, len(data), step):
        stream.add(data[at : at + step])
        found += all_of(stream)
        assert len(stream._data) <= step + 100
    assert found == [("before",), ("after",)]


def test_a8_a_length_that_no_message_has() -> None:
    """A8: longer than D-Bus allows."""
    stream = Incoming()
    stream.add(b"l\1\0\1" + b"\xff\xff\xff\xff" * 3)
    with pytest.raises(OSError, match="a D-Bus message of") as caught:
        stream.next()
    assert caught.value.errno == errno.EBADMSG


def test_the_signature_is_looked_at() -> None:
    stream = Incoming()
    stream.add(message("us", 1, "a"))
    taken = stream.next()
    assert taken is not None
    assert taken[0].fields[HeaderFields.member] == "JobRemoved"
    assert incoming.body(*taken, "us") == (1, "a")
    for other in ("", "s", "su"):
        with pytest.raises(Malformed):
            incoming.body(*taken, other)
