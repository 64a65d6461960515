"""idmap_option: crun's syntax of an id map."""

from __future__ import annotations

from typing import Any

import pytest

from pyrunc.libcontainer.spec.idmap_option import parse_ranges


@pytest.mark.parametrize(
    "text",
    [
        "",
        "uids=0-1-100",
        "gids=0-1-100",
        "uids=0-1-100;gids=",
        "uids=0-1-100;gids=0-1",
        "uids=0-1-100;gids=0-1-2-3",
        "uids=0-1-100;gids=0-1-0",
        "uids=0-1-100;gids=-1-1-1",
        "uids=0-1-100;gids=x-1-1",
        "uids=0-1-100;gids=0-4294967295-1",
        "uids=0-1-100;uids=0-1-100;gids=0-1-1",
        "uids=0-1-100;gids=0-1-1;pids=1-1-1",
        "uids=0-1-100,gids=0-1-100",
        "UIDS=0-1-100;gids=0-1-100",
        "uids=@0-1-100;gids=0-1-100",
        "uids=0-1-100;gids=0-1-100;",
    ],
)
def test_s2_what_is_no_id_map_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="mapping"):
        parse_ranges(text, {})


def test_s2_a_relative_map_must_lie_in_one_range() -> None:
    linux: Any = {
        "uidMappings": [{"containerID": 0, "hostID": 5, "size": 2}, {"containerID": 2, "hostID": 90, "size": 2}]
    }
    assert parse_ranges("uids=@0-0-2#@2-2-2;gids=0-0-1", linux)[0][1]["hostID"] == 90
    with pytest.raises(ValueError, match="relative mapping"):
        parse_ranges("uids=@0-0-4;gids=0-0-1", linux)
