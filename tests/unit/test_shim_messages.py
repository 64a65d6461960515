"""generate/shim_messages.py: the tables of containerd's messages, and mistakes in the text that they are made from."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from generate import shim_messages


def test_a_line_is_a_message() -> None:
    found = shim_messages.parse("a.b.C: x string 1\na.D: c C[] 2, n int32 3\na.E:\n")
    assert found == {
        "a.b.C": {1: ("x", "string", False)},
        "a.D": {2: ("c", "C", True), 3: ("n", "int32", False)},
        "a.E": {},
    }
    assert '2: ("c", MESSAGE, False, True, C)' in shim_messages.module(found)


@pytest.mark.parametrize(
    "text",
    [
        "a.B",
        "a.B: x string 1, y string 1",
        "a.B: x string 1, x bool 2",
        "a.B: x C 1",
        "a.B: x string 1 2",
        "a.B:\na.B:",
    ],
)
def test_a_mistake_is_found(text: str) -> None:
    with pytest.raises(ValueError):
        shim_messages.parse(text)


def test_the_table_is_right_as_a_whole() -> None:
    assert len(shim_messages.parse(shim_messages.MESSAGES)) > 80
