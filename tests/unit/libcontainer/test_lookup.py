"""Finding a container: it exists, is trusted and is locked."""

from __future__ import annotations

from pathlib import Path

import pytest

from pyrunc.errors import PyruncError
from pyrunc.libcontainer import lookup
from tests.support.records import opened, record, saved


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "box"
    path.mkdir(mode=0o700)
    return path


def test_what_is_there(path: Path) -> None:
    with pytest.raises(PyruncError, match=r"^container does not exist$"):
        lookup.existing(str(path))
    with pytest.raises(PyruncError, match=r"^container does not exist$"):
        lookup.locked(str(path))
    with pytest.raises(PyruncError, match=r"^container does not exist$"):
        lookup.existing(str(path) + "/none")
    saved(path, record(17, 4711))
    assert lookup.existing(str(path)).pid == 17
    place, found = lookup.locked(str(path))
    assert found.pid == 17
    assert opened(path).is_locked()
    place.close()


@pytest.mark.parametrize("find", [lookup.existing, lookup.locked])
def test_a1_what_is_not_trusted_is_not_acted_upon(path: Path, find: object) -> None:
    saved(path, record(17, 4711))
    path.chmod(0o777)
    with pytest.raises(PyruncError, match="is not trusted: others may write to it"):
        find(str(path))  # type: ignore[operator]
    assert not opened(path).is_locked()
