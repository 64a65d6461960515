"""The files of `mounts`."""

from __future__ import annotations

from pathlib import Path

import pytest

from pyrunc.commands import mounts
from pyrunc.errors import PyruncError


def test_an_array_of_mounts(tmp_path: Path) -> None:
    path = tmp_path / "mounts.json"
    path.write_text('[{"destination": "/x", "type": "tmpfs", "options": null}]')
    assert mounts.read(str(path)) == [{"destination": "/x", "type": "tmpfs"}]


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("", "line 1"),
        ("{}", "must be an array"),
        ("[5]", "/mounts/0"),
        ("[{}]", "destination"),
        ('[{"destination": "/x", "options": "ro"}]', "/mounts/0/options"),
        ("\udcff", "utf-8"),
        ("[" * 800 + "]" * 800, "nested too deeply (100 levels are allowed)"),
    ],
)
def test_what_is_no_array_of_mounts(text: str, part: str, tmp_path: Path) -> None:
    path = tmp_path / "mounts.json"
    path.write_text(text, errors="surrogateescape")
    with pytest.raises(PyruncError) as caught:
        mounts.read(str(path))
    assert part in caught.value.line()


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(PyruncError, match="none: no such file or directory"):
        mounts.read(str(tmp_path / "none"))
