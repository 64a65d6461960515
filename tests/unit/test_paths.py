"""Paths as text."""

from __future__ import annotations

import os
import posixpath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyrunc import paths


@pytest.mark.parametrize(
    ("path", "wanted"),
    [("/a/./b//c/", "/a/b/c"), ("/a/../../b", "/b"), ("x", "{cwd}/x"), ("", "{cwd}"), (".", "{cwd}"), ("/", "/")],
)
def test_absolute_paths(path: str, wanted: str) -> None:
    assert paths.absolute(path) == wanted.format(cwd=os.getcwd())


@given(st.lists(st.sampled_from(["", ".", "..", "a", "..b", "é"])).map("/".join))
def test_a_clean_path_is_what_normpath_makes_of_it_below_the_root(path: str) -> None:
    assert paths.clean(path) == posixpath.normpath("///" + path)
