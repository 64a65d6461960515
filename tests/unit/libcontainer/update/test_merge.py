"""A container's resources after changes, and the writes that they need."""

from __future__ import annotations

from typing import Any

import pytest

from pyrunc.libcontainer.update.merge import is_named, merge, named_places, without_unset

# Docker's request for `docker update --memory 256m`: every field; those that stay the same are zeros.
DOCKER: Any = {
    "memory": {"limit": 268435456, "reservation": 0, "swap": 0},
    "cpu": {"shares": 0, "quota": 0, "period": 0, "cpus": "", "mems": ""},
    "blockIO": {"weight": 0},
}


def test_zeros_of_an_engine_ask_for_nothing() -> None:
    assert without_unset(DOCKER) == {"memory": {"limit": 268435456}}


def test_zeros_that_mean_something_stay() -> None:
    changes: Any = {"cpu": {"idle": 0, "burst": 0}, "hugepageLimits": [{"pageSize": "2MB", "limit": 0}]}
    assert without_unset(changes) == changes


def test_an_empty_list_of_devices_is_a_change() -> None:
    assert without_unset({"devices": [], "unified": {}}) == {"devices": []}


def test_unlimited_memory_takes_swap_with_it() -> None:
    assert without_unset({"memory": {"limit": -1}}) == {"memory": {"limit": -1, "swap": -1}}
    assert without_unset({"memory": {"limit": -1, "swap": 9}}) == {"memory": {"limit": -1, "swap": 9}}


def test_neither_object_is_altered() -> None:
    old: Any = {"cpu": {"shares": 5}, "unified": {"a.b": "1"}}
    changes: Any = {"cpu": {"idle": 1}, "unified": {"c.d": "2"}}
    assert merge(old, changes) == {"cpu": {"idle": 1}, "unified": {"a.b": "1", "c.d": "2"}}
    assert old == {"cpu": {"shares": 5}, "unified": {"a.b": "1"}}
    assert changes == {"cpu": {"idle": 1}, "unified": {"c.d": "2"}}


def test_shares_end_the_idling() -> None:
    old: Any = {"cpu": {"idle": 1}}
    changes: Any = {"cpu": {"shares": 512}}
    merged = merge(old, changes)
    assert merged == {"cpu": {"idle": 0, "shares": 512}}
    assert named_places(old, merged, changes) == {"/cpu/shares", "/cpu/idle"}


def test_an_entry_of_a_list_replaces_that_of_the_same_device() -> None:
    def throttled(*entries: tuple[int, int, int]) -> Any:
        rates = [{"major": major, "minor": minor, "rate": rate} for major, minor, rate in entries]
        return {"blockIO": {"throttleReadBpsDevice": rates}}

    old = throttled((8, 0, 1), (8, 1, 2))
    changes = throttled((8, 1, 3), (9, 0, 4))
    merged = merge(old, changes)
    assert [entry["rate"] for entry in merged["blockIO"]["throttleReadBpsDevice"]] == [1, 3, 4]
    places = named_places(old, merged, changes)
    assert places == {"/blockIO/throttleReadBpsDevice/1", "/blockIO/throttleReadBpsDevice/2"}


def test_an_entry_of_a_list_at_the_top() -> None:
    old: Any = {"hugepageLimits": [{"pageSize": "2MB", "limit": 1}, {"pageSize": "1GB", "limit": 2}]}
    changes: Any = {"hugepageLimits": [{"pageSize": "1GB", "limit": 3}]}
    merged = merge(old, changes)
    assert merged["hugepageLimits"] == [{"pageSize": "2MB", "limit": 1}, {"pageSize": "1GB", "limit": 3}]
    places = named_places(old, merged, changes)
    assert is_named("/hugepageLimits/1/limit", places)
    assert not is_named("/hugepageLimits/0/limit", places)


@pytest.mark.parametrize(
    ("changes", "named", "others"),
    [
        ({"memory": {"limit": 1}}, ["/memory/limit", "/memory/swap"], ["/memory/reservation", "/cpu/quota"]),
        ({"memory": {"reservation": 1}}, ["/memory/reservation"], ["/memory/limit"]),
        ({"cpu": {"period": 1}}, ["/cpu/quota", "/cpu/period", "/cpu/burst"], ["/cpu/shares", "/cpu/cpus"]),
        ({"unified": {"a.b/c": "1"}}, ["/unified/a.b~1c"], ["/unified/a.b"]),
        ({"rdma": {"mlx": {"hcaHandles": 1}}}, ["/rdma/mlx"], ["/rdma/other"]),
    ],
)
def test_what_depends_on_each_other_is_written_together(changes: Any, named: list[str], others: list[str]) -> None:
    places = named_places({}, merge({}, changes), changes)
    assert [is_named(place, places) for place in named] == [True] * len(named)
    assert [is_named(place, places) for place in others] == [False] * len(others)
