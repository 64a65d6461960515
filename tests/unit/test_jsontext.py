"""jsontext: where a text stops being JSON, and on which line a value is (N6)."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyrunc import jsontext

LOOSE = st.text("{}[]\",:0123456789.eE+-truefalsn\\uabc/#' \n", max_size=14)


@given(LOOSE)
def test_it_finds_a_fault_where_json_does_and_nowhere_else(text: str) -> None:
    try:
        json.loads(text, parse_constant=lambda word: json.loads(""))
    except ValueError:
        assert jsontext.fault(text) is not None
    else:
        assert jsontext.fault(text) is None


@given(st.text(max_size=30))
def test_any_text_is_judged(text: str) -> None:
    found = jsontext.fault(text)
    if found is not None:
        excerpt, index = found.place.excerpt()
        assert 0 <= index <= len(excerpt)


@pytest.mark.parametrize(
    ("text", "at", "what"),
    [
        ("", (1, 1), "the file is empty"),
        (" \n\n", (1, 1), "the file has nothing but white space"),
        ("\ufeff{}", (1, 1), "the file begins with a byte order mark"),
        ('{\n "a": "b\n}', (2, 7), "this text has no closing double quote on its line"),
        ('{\n // why\n "a": 1}', (2, 2), "comments are no JSON"),
        ('{"a": 1 /* b */}', (1, 9), "comments are no JSON"),
        ('{"a": 1} # b', (1, 10), "comments are no JSON"),
        ('{"a": 1,\n}', (1, 8), "a comma behind the last member"),
        ("[1, 2,]", (1, 6), "a comma behind the last item"),
        ('{"a": 1\n "b": 2}', (1, 8), "a comma is missing here"),
        ("{'a': 1}", (1, 2), "single quotes"),
        ("{a: 1}", (1, 2), "the name of a member must stand here, in double quotes"),
        ('{"a": True}', (1, 7), "True is no JSON value"),
        ('{"a": 0755}', (1, 7), "the number 0755 begins with 0"),
        ('{"a": 0x1f}', (1, 7), "0x1f is no number of JSON"),
        ('["\t"]', (1, 3), "a tab in a text"),
        ('["C:\\d"]', (1, 5), "\\d is no escape of JSON"),
        ('{"a": [1}', (1, 9), '"}" where the "[" of line 1 wants "]"'),
        ('{\n"a": {\n"b": 1\n}\n', (4, 2), 'the file ends inside an object: the "}" for line 1 is missing'),
        ('{"a": 1}\n{"b": 2}', (2, 1), "unexpected text behind the value"),
    ],
)
def test_what_is_wrong_is_named(text: str, at: Any, what: str) -> None:
    found = jsontext.fault(text)
    assert found is not None
    assert ((found.place.line, found.place.column), found.what) == (at, what)


def test_a_word_of_another_language_has_its_counterpart() -> None:
    fault = jsontext.fault('{"a": None}')
    assert fault is not None
    assert fault.hint == "did you mean null?"


def test_depth_is_no_limit() -> None:
    assert jsontext.fault("[" * 100_000 + "]" * 100_000) is None


def test_places_of_values() -> None:
    text = '{\n "a": {\n  "b": [1,\n   2, {"c/d": 3}]}}'
    found = jsontext.places(text, ("/a/b/1", "/a/b/2/c~1d", "/a/x/y", "", "/a"))
    lines = {pointer: (place.line, place.column) for pointer, place in found.items()}
    assert lines == {"/a/b/1": (4, 4), "/a/b/2/c~1d": (4, 8), "/a/x/y": (2, 2), "": (1, 1), "/a": (2, 2)}


def test_the_last_of_two_members_counts() -> None:
    assert jsontext.places('{"a": 1,\n"a": 2}', ("/a",))["/a"].line == 2


def test_a_text_that_is_no_json_has_no_places() -> None:
    assert jsontext.places("{", ("/a",)) == {}


def test_a_long_line_is_cut_around_the_place() -> None:
    place = jsontext.places(json.dumps({"x" * 300: 1, "here": 2, "y" * 300: 3}), ("/here",))["/here"]
    text, index = place.excerpt()
    assert len(text) == 100
    assert text[index:].startswith('"here"')


def test_a6_a_large_damaged_file_is_told_at_once() -> None:
    """A6: with a file of zeros `list` took twelve seconds. Now only the first characters of a word are read."""
    text = "\0" * (1 << 20)
    reader = jsontext._Reader(text, set())
    assert len(reader.bare(jsontext._LONGEST_WORD)) == jsontext._LONGEST_WORD
    fault = jsontext.fault(text)
    assert fault is not None
    assert "the control character 0x00 is no JSON value" in str(fault)
