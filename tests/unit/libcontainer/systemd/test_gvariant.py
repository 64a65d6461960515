"""GVariant text: the forms that runc reads, and those that it does not."""

from __future__ import annotations

from typing import Any

import pytest

from pyrunc.libcontainer.systemd import gvariant


@pytest.mark.parametrize(
    ("text", "signature", "value"),
    [
        ("5", "i", 5),
        ("-5", "i", -5),
        ("+5", "i", 5),
        ("0", "i", 0),
        ("0x1F", "i", 31),
        ("017", "i", 15),
        ("1.5", "d", 1.5),
        ("1e3", "d", 1000.0),
        ("uint64 123456789", "t", 123456789),
        ("  uint64   7 ", "t", 7),
        ("byte 255", "y", 255),
        ("int16 -3", "n", -3),
        ("uint16 3", "q", 3),
        ("uint32 3", "u", 3),
        ("int64 3", "x", 3),
        ("double 3", "d", 3.0),
        ("true", "b", True),
        ("false", "b", False),
        ("boolean true", "b", True),
        ("'a b'", "s", "a b"),
        ('"a\'b"', "s", "a'b"),
        (r"'\n\t\\\'é\u00e9\U0001F600'", "s", "\n\t\\'éé😀"),
        ("objectpath '/a'", "o", "/a"),
        ("signature 'as'", "g", "as"),
        ("@t 5", "t", 5),
        ("[1, 2]", "ai", [1, 2]),
        ("[1, uint64 2]", "at", [1, 2]),
        ("@as []", "as", []),
        ("@ay [1, 2]", "ay", [1, 2]),
        ("['a', 'b']", "as", ["a", "b"]),
        ("[[1], [2]]", "aai", [[1], [2]]),
        ("{'a': 1, 'b': 2}", "a{si}", {"a": 1, "b": 2}),
        ("@a{su} {}", "a{su}", {}),
        ("{'a': uint64 1, 'b': 2}", "a{st}", {"a": 1, "b": 2}),
        ("<5>", "v", ("i", 5)),
        ("{'a': <'x'>, 'b': <2>}", "a{sv}", {"a": ("s", "x"), "b": ("i", 2)}),
        ("b'ab'", "ay", b"ab\0"),
        ("('a', uint32 1)", "(su)", ("a", 1)),
        ("@a(st) [('/dev/sda', 5)]", "a(st)", [("/dev/sda", 5)]),
        ("[('a', 1), ('b', 2)]", "a(si)", [("a", 1), ("b", 2)]),
        ("@a(ss) []", "a(ss)", []),
    ],
)
def test_values(text: str, signature: str, value: Any) -> None:
    assert gvariant.parse(text) == (signature, value)


@pytest.mark.parametrize(
    "text",
    [
        "", "invalid-value", "word", "'open", "5 6", "uint64", "uint64 -1", "uint64 1.5", "byte 256", "int16 40000",
        "uint64 'x'", "string 5", "boolean 1", "int32 true", "[1", "[1,", "[1 2]", "[]", "{}", "{1}", "{1: 2", "<1",
        "@", "@zz 1", "@a 1", "@si 1", "@a{vs} {}", "@a{ss 1", "@() ()", "['a', 1]", "@as [1]", "@as 5", "@t [1]",
        "@(ss) ('a',)", "@(ss) ('a', 1)", "@a{ss} [1]", "@s {1: 2}", "099", "12abc", "b'x", "]", ",", "@s b'x'",
        "uint64 uint64 5", "@v 5", "@s <5>", "objectpath 'x'", "objectpath '/a/'", "signature 'zz'", r"'\000'",
        r"'\ud800'", "'\udcff'", "'\0'", "[" * 5000, "<" * 5000, "@" + "a" * 5000 + "y []", "9" * 5000,
    ],
)  # fmt: skip
def test_what_is_no_value(text: str) -> None:
    with pytest.raises(ValueError):
        gvariant.parse(text)


def test_what_d_bus_takes_is_not_too_deep() -> None:
    assert gvariant.parse("[" * 32 + "1" + "]" * 32)[0] == "a" * 32 + "i"
    assert gvariant.parse(str([[1]] * 500))[0] == "aai"


@pytest.mark.parametrize("text", ["", "a", "it's", "a\\b", "two\nlines\t", "é"])
def test_a_quoted_string_is_read_as_it_was(text: str) -> None:
    assert gvariant.parse(gvariant.quote(text)) == ("s", text)
