"""Members that are taken as 0 if they are missing."""

from __future__ import annotations

from typing import Any

import pytest

from pyrunc.libcontainer.spec import zeros


def test_b5_what_is_missing_is_filled() -> None:
    spec: Any = {
        "process": {"user": {"umask": 1}, "consoleSize": {"width": 5}, "ioPriority": {"class": "IOPRIO_CLASS_BE"}},
        "linux": {"uidMappings": [{"size": 1}, {"hostID": 7, "size": 1}]},
        "mounts": [{"destination": "/m", "gidMappings": [{"containerID": 3, "size": 1}]}],
    }
    assert list(zeros.missing(spec)) == [
        "/process/user/uid", "/process/user/gid", "/process/consoleSize/height", "/process/ioPriority/priority",
        "/linux/uidMappings/0/containerID", "/linux/uidMappings/0/hostID", "/linux/uidMappings/1/containerID",
        "/mounts/0/gidMappings/0/hostID",
    ]  # fmt: skip
    zeros.fill(spec)
    assert spec["process"]["user"] == {"umask": 1, "uid": 0, "gid": 0}
    assert spec["process"]["consoleSize"] == {"width": 5, "height": 0}
    assert spec["linux"]["uidMappings"][1] == {"containerID": 0, "hostID": 7, "size": 1}
    assert spec["mounts"][0]["gidMappings"] == [{"containerID": 3, "hostID": 0, "size": 1}]
    assert list(zeros.missing(spec)) == ["/process/ioPriority/priority"]


@pytest.mark.parametrize("value", [None, 5, [], {}, [5], {"user": 5}, [None], [{}]])
def test_any_shape_is_looked_at(value: Any) -> None:
    list(zeros.missing({"process": value, "linux": value, "mounts": value}))
    list(zeros.missing({"process": {"user": value}, "linux": {"uidMappings": value}, "mounts": [value]}))


def test_without_a_user_nothing_is_missing() -> None:
    spec: Any = {"process": {}, "linux": {}}
    assert not list(zeros.missing(spec))
    zeros.fill(spec)
    assert spec == {"process": {}, "linux": {}}
