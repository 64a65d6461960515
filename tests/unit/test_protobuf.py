"""The codec: the encoding's own examples, a round trip, and bytes that are not a message."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyrunc.protobuf import (
    BOOL,
    BYTES,
    DOUBLE,
    INT32,
    INT64,
    MAP,
    MESSAGE,
    STRING,
    TEXT,
    UINT32,
    UINT64,
    MalformedError,
    decode,
    encode,
    field,
)

if TYPE_CHECKING:
    from pyrunc.protobuf import Table

INNER: Table = {1: field("key", TEXT, required=True), 2: field("fd", INT32)}
TABLE: Table = {
    1: field("number", INT32),
    2: field("text", TEXT),
    3: field("inner", MESSAGE, message=INNER),
    4: field("flag", BOOL),
    5: field("size", UINT32),
    6: field("texts", TEXT, repeated=True),
    7: field("inners", MESSAGE, repeated=True, message=INNER),
    300: field("far", BOOL),
}


@pytest.mark.parametrize(
    ("values", "data"),
    [
        ({}, b""),
        ({"number": 150}, b"\x08\x96\x01"),  # of the encoding's description
        ({"text": "testing"}, b"\x12\x07testing"),  # of the encoding's description
        ({"number": 0}, b"\x08\x00"),
        ({"number": -1}, b"\x08" + b"\xff" * 9 + b"\x01"),  # a negative int32 has 64 bits
        ({"number": -(2**31)}, b"\x08\x80\x80\x80\x80\xf8\xff\xff\xff\xff\x01"),
        ({"size": 2**32 - 1}, b"\x28\xff\xff\xff\xff\x0f"),
        ({"flag": True}, b"\x20\x01"),
        ({"flag": False}, b"\x20\x00"),
        ({"text": "\udcff"}, b"\x12\x01\xff"),  # a path is bytes
        ({"inner": {"key": "k", "fd": 4}}, b"\x1a\x05\x0a\x01k\x10\x04"),
        ({"texts": ["a", ""]}, b"\x32\x01a\x32\x00"),
        ({"inners": [{"key": "a"}, {"key": "b"}]}, b"\x3a\x03\x0a\x01a\x3a\x03\x0a\x01b"),
        ({"far": True}, b"\xe0\x12\x01"),
    ],
)
def test_a_message_and_its_bytes(values: dict[str, object], data: bytes) -> None:
    assert encode(TABLE, values) == data
    assert decode(TABLE, data) == values


def test_none_is_a_field_that_is_not_there() -> None:
    assert encode(TABLE, {"number": None, "text": "x"}) == encode(TABLE, {"text": "x"})


def test_a_long_text_has_a_length_of_several_bytes() -> None:
    data = encode(TABLE, {"text": "x" * 300})
    assert data[:3] == b"\x12\xac\x02"
    assert decode(TABLE, data) == {"text": "x" * 300}


@pytest.mark.parametrize(
    ("values", "error"),
    [
        ({"unknown": 1}, KeyError),
        ({"number": 2**31}, ValueError),
        ({"number": -(2**31) - 1}, ValueError),
        ({"size": -1}, ValueError),
        ({"size": 2**32}, ValueError),
        ({"inner": {}}, ValueError),
    ],
)
def test_what_can_not_be_encoded(values: dict[str, object], error: type[Exception]) -> None:
    with pytest.raises(error):
        encode(TABLE, values)


def test_unknown_fields_are_left_out_whatever_their_wire_type() -> None:
    unknown = b"\x78\x96\x01" + b"\x79" + b"8 bytes." + b"\x7a\x03abc" + b"\x7d" + b"4by."
    assert decode(TABLE, unknown + b"\x08\x01" + unknown) == {"number": 1}


def test_of_a_field_that_stands_twice_the_last_counts() -> None:
    assert decode(TABLE, b"\x08\x01\x08\x02") == {"number": 2}


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"\x08", "a number is cut off"),
        (b"\x80", "a number is cut off"),
        (b"\x08\x80", "a number is cut off"),
        (b"\x08" + b"\x80" * 10, "more than 64 bits"),
        (b"\x08" + b"\xff" * 9 + b"\x02", "more than 64 bits"),
        (b"\x08\xff\xff\xff\xff\x0f", "number is no int32"),  # 2**32 - 1
        (b"\x08\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01", "number is no int32"),  # -(2**63)
        (b"\x28\xff\xff\xff\xff\x1f", "size is no uint32"),
        (b"\x12\x05abc", "field 2 has 5 bytes, and 3 are left"),
        (b"\x12\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "are left"),
        (b"\x1a\x02\x10\x04", "key is missing"),
        (b"\x1a\x03\x0a\x09k", "field 1 has 9 bytes, and 1 are left"),  # not beyond the inner message
        (b"\x0a\x01x", "number has the wire type 2"),
        (b"\x10\x01", "text has the wire type 0"),
        (b"\x18\x01", "inner has the wire type 0"),
        (b"\x22\x00", "flag has the wire type 2"),
        (b"\x0d\x01\x00\x00\x00", "number has the wire type 5"),
        (b"\x00\x01", "there is no field 0"),
        (b"\x0b\x0c", "field 1 has the wire type 3"),  # a group
        (b"\x7b\x7c", "field 15 has the wire type 3"),  # one of an unknown field
        (b"\x0e", "field 1 has the wire type 6"),
        (b"\x0f", "field 1 has the wire type 7"),
        (b"\x79short", "field 15 has 8 bytes, and 5 are left"),
        (b"\x7d\x01", "field 15 has 4 bytes, and 1 are left"),
        (b"\x88\x80\x80\x80\x80\x01\x01", "there is no field"),  # a tag of more than 32 bits
    ],
)
def test_bytes_that_are_no_message(data: bytes, why: str) -> None:
    with pytest.raises(MalformedError, match=why.replace("(", r"\(").replace(")", r"\)")):
        decode(TABLE, data)


@given(st.binary(max_size=64))
def test_any_bytes_are_a_message_or_malformed(data: bytes) -> None:
    try:
        values = decode(TABLE, data)
    except MalformedError:
        return
    assert decode(TABLE, encode(TABLE, values)) == values


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "number": st.integers(-(2**31), 2**31 - 1),
            "text": st.text(st.characters(codec="utf-8")),
            "size": st.integers(0, 2**32 - 1),
            "far": st.booleans(),
            "texts": st.lists(st.text(st.characters(codec="utf-8")), min_size=1, max_size=4),
        },
    )
)
def test_what_was_encoded_is_decoded(values: dict[str, object]) -> None:
    assert decode(TABLE, encode(TABLE, values)) == values


NUMBERS: Table = {
    1: field("wide", INT64), 2: field("large", UINT64), 3: field("share", DOUBLE), 4: field("name", STRING),
    5: field("data", BYTES), 6: field("labels", MAP),
}  # fmt: skip


@given(st.integers(-(2**63), 2**63 - 1), st.integers(0, 2**64 - 1), st.binary(), st.dictionaries(st.text(), st.text()))
def test_a_round_trip_of_wide_numbers_bytes_and_maps(
    wide: int, large: int, data: bytes, labels: dict[str, str]
) -> None:
    values = {"wide": wide, "large": large, "data": data, **({"labels": labels} if labels else {})}
    try:
        encoded = encode(NUMBERS, values)
        assert decode(NUMBERS, encoded) == values
    except UnicodeEncodeError:
        pytest.fail("text")


@given(st.floats(min_value=0, allow_subnormal=False, allow_infinity=False, allow_nan=False))
def test_a_double_has_the_bits_of_ieee_754(share: float) -> None:
    data = encode(NUMBERS, {"share": share})
    assert data == b"\x19" + struct.pack("<d", share)
    assert decode(NUMBERS, data) == {"share": share}


@given(st.floats(allow_nan=False))
def test_any_double_is_read(share: float) -> None:
    assert decode(NUMBERS, b"\x19" + struct.pack("<d", share)) == {"share": share}


def test_a_string_is_utf_8() -> None:
    with pytest.raises(MalformedError, match="name is not UTF-8"):
        decode(NUMBERS, b"\x22\x01\xff")
