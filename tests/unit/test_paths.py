"""Paths as text."""

from __future__ import annotations

import errno
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


@pytest.mark.parametrize(
    ("path", "number"),
    [("/dev/stdin", 0), ("/dev/stderr", 2), ("/dev/fd/63", 63), ("/proc/self/fd/1", 1), ("/proc/thread-self/fd/7", 7)]
    + [(path, -1) for path in ("", "/dev/fd/", "/dev/fd/x", "/dev/fd/1/x", "/dev/fd/-1", "/dev/null", "1", "dev/fd/1")],
)
def test_names_of_descriptors(path: str, number: int) -> None:
    assert paths.descriptor(path) == number


def test_the_hint_for_a_closed_stream() -> None:
    assert paths.closed_hint(OSError(errno.EBADF, "x", "/dev/fd/1")) == "standard output is closed: name a file"
    assert paths.closed_hint(OSError(errno.EBADF, "x", "/dev/fd/3")) == ""
    assert paths.closed_hint(OSError(errno.EBADF, "x")) == ""
    assert paths.closed_hint(OSError(errno.EIO, "x", "/dev/stdout")) == ""
