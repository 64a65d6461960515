"""scheduling: lists of CPUs and nodes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyrunc.libcontainer.kernel.scheduling import indices


@pytest.mark.parametrize(
    ("text", "numbers"),
    [("", []), ("0", [0]), ("0-3,7", [0, 1, 2, 3, 7]), ("7,1-2,2", [1, 2, 7]), ("65535", [65535])],
)
def test_indices(text: str, numbers: list[int]) -> None:
    assert indices(text) == numbers


@pytest.mark.parametrize("text", ["3-1", "65536", "0-65536", "0," + "9" * 5000, "1-" + "9" * 5000])
def test_what_is_no_list_of_indices(text: str) -> None:
    with pytest.raises(ValueError, match=r"out of range|ends before it begins"):
        indices(text)


@given(st.sets(st.integers(0, 65535), max_size=50))
def test_indices_are_those_that_are_listed(numbers: set[int]) -> None:
    assert indices(",".join(map(str, numbers))) == sorted(numbers)
