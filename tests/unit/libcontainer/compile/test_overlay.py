"""overlay's long lists of layers."""

from __future__ import annotations

import pytest

from pyrunc.libcontainer.compile.overlay import split_layers

NEW = (6, 8)
LONG = "/" + "l" * 200


@pytest.mark.parametrize(
    ("lowerdir", "options"),
    [
        (f"{LONG}:/b:{LONG}", [f"lowerdir+={LONG}", "lowerdir+=/b", f"lowerdir+={LONG}"]),
        (f"{LONG}\\:x:{LONG}\\\\y", [f"lowerdir+={LONG}:x", f"lowerdir+={LONG}\\y"]),
        (f"{LONG}:/b::{LONG}::/d", [f"lowerdir+={LONG}", "lowerdir+=/b", f"datadir+={LONG}", "datadir+=/d"]),
        ("é" * 127 + ":/b", ["lowerdir+=" + "é" * 127, "lowerdir+=/b"]),
    ],
)
def test_a_list_of_layers_that_is_too_long_is_given_one_by_one(lowerdir: str, options: list[str]) -> None:
    assert split_layers(["ro", "lowerdir=" + lowerdir, "upperdir=/u"], NEW) == ["ro", *options, "upperdir=/u"]


def test_what_fits_stays_whole() -> None:
    words = ["lowerdir=" + "/a" * 127 + ":", "upperdir=/" + "u" * 300]
    assert split_layers(words, NEW) == words


def test_an_older_kernel_gets_it_whole() -> None:
    words = [f"lowerdir={LONG}:{LONG}"]
    assert split_layers(words, (6, 7)) == words
