"""jsonio: JSON without the json package; reads and writes as that package does."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyrunc import jsonio

SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=10)


@given(VALUES)
def test_writes_as_json_does_and_reads_it_back(value: Any) -> None:
    text = jsonio.dumps(value)
    assert text == json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    assert jsonio.loads(text) == value
    assert jsonio.loads(json.dumps(value, indent=2)) == value


@given(st.text('{}[]",:0123456789.eE+-truefalsn\\ud8 \n', max_size=12))
def test_accepts_what_json_accepts(text: str) -> None:
    try:
        expected = json.loads(text, parse_constant=lambda word: json.loads(""))
        json.dumps(expected, ensure_ascii=False, allow_nan=False).encode()
    except ValueError:
        with pytest.raises(ValueError):
            jsonio.loads(text)
    else:
        assert jsonio.loads(text) == expected


def test_text_is_kept_as_it_is() -> None:
    assert jsonio.dumps({"é": ["☃", '"\\\n\x01']}) == '{"é":["☃","\\"\\\\\\n\\u0001"]}'


def test_tuples_are_arrays() -> None:
    assert jsonio.dumps(("a", 1)) == '["a",1]'


def test_refuses_what_json_can_not_say() -> None:
    with pytest.raises(TypeError, match="set has no form in JSON"):
        jsonio.dumps({"a": {1}})


def test_last_of_two_members_wins() -> None:
    assert jsonio.loads('{"a": 1, "b": 2, "a": 3}') == {"a": 3, "b": 2}


def test_white_space_around_is_ignored() -> None:
    assert jsonio.loads(" \t\r\n[1]\n\n") == [1]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1, column 1: the file is empty"),
        ('{\n  "a": 1,\n}', "line 2, column 9: a comma behind the last member"),
        ('{"a" 1}', 'line 1, column 6: ":" is missing behind the name "a"'),
        ('["\n"]', "line 1, column 2: this text has no closing double quote on its line"),
        ("[1]\n ]", "line 2, column 2: unexpected text behind the value"),
        ("[NaN]", "line 1, column 2: NaN is no JSON value"),
        ("[-Infinity]", "line 1, column 2: -Infinity is no JSON value"),
        ('[1,\n "\\ud83d"]', "line 2, column 3: \\ud83d is half of a surrogate pair"),
        ("[0,\n -1e999]", "line 2, column 2: the number -1e999 is too large"),
        ("1" * 400 + ".0", "line 1, column 1: the number " + "1" * 37 + "... is too large"),
        ("[" * 100000, "line 1, column 1: nested too deeply"),
    ],
)
def test_says_where_and_what(text: str, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        jsonio.loads(text)
    assert str(caught.value) == message


def test_whole_surrogate_pair_is_text() -> None:
    assert jsonio.loads('"\\ud83d\\ude00"') == "\U0001f600"


def hot(code: str) -> str:
    """The output of a piece of code in a fresh interpreter without site."""
    path = [entry for entry in sys.path if entry]
    command = [sys.executable, "-I", "-S", "-c", f"import sys; sys.path[:0] = {path!r}\n" + code]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def test_the_json_package_is_never_imported() -> None:
    code = (
        "from pyrunc import jsonio\n"
        "jsonio.loads('[1]'); jsonio.dumps([1])\n"
        "print('pyrunc.jsontext' in sys.modules)\n"
        "try: jsonio.loads('[1,')\n"
        "except ValueError as error: print(error)\n"
        "print('json' in sys.modules, 're' in sys.modules)\n"
    )
    said = 'line 1, column 4: the file ends inside an array: the "]" for line 1 is missing'
    assert hot(code) == f"False\n{said}\nFalse False\n"


@pytest.mark.parametrize(("value", "levels"), [(5, 0), ([], 0), ([[]], 1), ({"a": [1, {}]}, 2)])
def test_levels_are_counted(value: Any, levels: int) -> None:
    assert not jsonio.is_deeper(value, levels)
    assert levels == 0 or jsonio.is_deeper(value, levels - 1)
