"""field_checks: what a schema can't say of the fields that few configurations have."""

from __future__ import annotations

from typing import Any

import pytest

from pyrunc.errors import PyruncError
from pyrunc.libcontainer.spec.checks import check
from pyrunc.libcontainer.spec.field_checks import FIELD_CHECKS
from pyrunc.libcontainer.spec.load import validate
from tests.support.full_config import runnable_config


def problems(parent: str, field: str, value: Any) -> list[tuple[str, str]]:
    """Pointer below the field, and message, of each problem of one field."""
    spec = runnable_config()
    spec[parent][field] = value
    return [(problem.pointer.removeprefix(f"/{parent}/{field}"), problem.message) for problem in check(spec)]


def refusal(parent: str, field: str, value: Any) -> PyruncError:
    """The refusal of the field's value by the whole validation."""
    spec = runnable_config()
    spec[parent][field] = value
    with pytest.raises(PyruncError) as raised:
        validate(spec)
    return raised.value


def test_each_field_is_in_a_configuration_without_a_problem() -> None:
    spec = runnable_config()
    assert {*spec["process"], *spec["linux"]} >= set(FIELD_CHECKS)
    assert check(spec) == []


@pytest.mark.parametrize(
    "scheduler",
    [
        {"policy": "SCHED_OTHER", "nice": -20},
        {"policy": "SCHED_FIFO", "priority": 1},
        {"policy": "SCHED_RR", "priority": 99},
        {"policy": "SCHED_DEADLINE", "runtime": 1, "deadline": 1},
        {"policy": "SCHED_DEADLINE", "runtime": 1, "deadline": 2, "period": 3},
    ],
)
def test_good_scheduler(scheduler: Any) -> None:
    assert problems("process", "scheduler", scheduler) == []


@pytest.mark.parametrize(
    ("scheduler", "places"),
    [
        ({"policy": "SCHED_OTHER", "priority": 1}, ["/priority"]),
        ({"policy": "SCHED_BATCH", "priority": -1}, ["/priority"]),
        ({"policy": "SCHED_FIFO"}, ["/priority"]),
        ({"policy": "SCHED_RR", "priority": 100}, ["/priority"]),
        ({"policy": "SCHED_IDLE", "runtime": 1, "period": 1}, ["/runtime", "/period"]),
        ({"policy": "SCHED_DEADLINE"}, [""]),
        ({"policy": "SCHED_DEADLINE", "runtime": 2, "deadline": 1}, [""]),
        ({"policy": "SCHED_DEADLINE", "runtime": 1, "deadline": 3, "period": 2}, [""]),
        ({"policy": "SCHED_DEADLINE", "runtime": 1, "deadline": 3, "priority": 5}, ["/priority"]),
    ],
)
def test_scheduler_that_contradicts_itself(scheduler: Any, places: list[str]) -> None:
    assert [place for place, _ in problems("process", "scheduler", scheduler)] == places


def test_cpu_affinity() -> None:
    assert problems("process", "execCPUAffinity", {"initial": "0-3,7", "final": ""}) == []
    assert problems("process", "execCPUAffinity", {"initial": "3-1", "final": "70000", "other": 1}) == [
        ("/initial", 'bad CPUAffinity.Initial "3-1": 3-1 ends before it begins'),
        ("/final", 'bad CPUAffinity.Final "70000": 70000 is out of range'),
    ]


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        ({"mode": "MPOL_DEFAULT", "nodes": "0-7"}, "MPOL_DEFAULT mode requires 0 nodes but got 8"),
        ({"mode": "MPOL_LOCAL", "nodes": "0"}, "MPOL_LOCAL mode requires 0 nodes but got 1"),
        ({"mode": "MPOL_BIND"}, "MPOL_BIND mode requires at least one node but got 0"),
        ({"mode": "MPOL_INTERLEAVE", "nodes": ""}, "at least one node"),
        ({"mode": "MPOL_BIND", "nodes": "2-1"}, "ends before it begins"),
        ({"mode": "MPOL_BIND", "nodes": "1024"}, "1024 is above 1023"),
    ],
)
def test_memory_policy_that_contradicts_itself(policy: Any, message: str) -> None:
    [(place, text)] = problems("linux", "memoryPolicy", policy)
    assert place == "/nodes"
    assert text.startswith("invalid memory policy")
    assert message in text


@pytest.mark.parametrize("policy", [{"mode": "MPOL_PREFERRED"}, {"mode": "MPOL_PREFERRED", "nodes": "1023"}])
def test_good_memory_policy(policy: Any) -> None:
    assert problems("linux", "memoryPolicy", policy) == []


@pytest.mark.parametrize(
    ("policy", "message", "place"),
    [
        ({}, "invalid memory policy mode: ", "/mode"),
        ({"mode": "INTERLEAVE", "nodes": "0"}, "invalid memory policy mode: ", "/mode"),
        ({"mode": "MPOL_BIND", "nodes": "a"}, "invalid memory policy nodes: ", "/nodes"),
        ({"mode": "MPOL_BIND", "nodes": "0", "flags": ["bad"]}, "invalid memory policy flags[0]: ", "/flags/0"),
    ],
)
def test_the_words_about_a_memory_policy_that_the_schema_refuses(policy: Any, message: str, place: str) -> None:
    error = refusal("linux", "memoryPolicy", policy)
    assert error.message.startswith(message)
    assert error.pointer == "/linux/memoryPolicy" + place


def test_a_personality_has_no_flags() -> None:
    assert problems("linux", "personality", {"domain": "LINUX32", "flags": []}) == []
    assert problems("linux", "personality", {"domain": "LINUX", "flags": ["ADDR_NO_RANDOMIZE"]}) == [
        ("/flags/0", 'personality flag "ADDR_NO_RANDOMIZE" is not supported')
    ]


@pytest.mark.parametrize("name", ["", "/", "gold", "a.b"])
def test_class_of_service(name: str) -> None:
    assert problems("linux", "intelRdt", {"closID": name}) == []


@pytest.mark.parametrize("name", [".", "..", "a/b", "/a", "info", "mon_groups", "mon_data"])
def test_what_is_no_name_of_a_class_of_service(name: str) -> None:
    assert problems("linux", "intelRdt", {"closID": name}) == [("/closID", f'invalid intelRdt.ClosID "{name}"')]


@pytest.mark.parametrize(
    "devices",
    [
        {},
        {"eth0": {}},
        {"eth0": {"name": "container0"}, "eth1": {"name": "eth0"}},
        {"a": {"name": "net%d"}, "b": {"name": "net%d"}},
        {"fifteen-bytes--": {"name": "%d"}},
    ],
)
def test_good_net_devices(devices: Any) -> None:
    assert problems("linux", "netDevices", devices) == []


@pytest.mark.parametrize(
    ("devices", "place"),
    [
        ({"sixteen--bytes--": {}}, "/sixteen--bytes--"),
        ({"..": {}}, "/.."),
        ({"a/b": {}}, "/a~1b"),
        ({"a:b": {}}, "/a:b"),
        ({"a b": {}}, "/a b"),
        ({"eth%d": {}}, "/eth%d"),
        ({"eth0": {"name": "a\tb"}}, "/eth0/name"),
        ({"eth0": {"name": "%s"}}, "/eth0/name"),
        ({"eth0": {"name": "%d%d"}}, "/eth0/name"),
        ({"eth0": {"name": "x"}, "eth1": {"name": "x"}}, "/eth1"),
        ({"eth0": {"name": "eth1"}, "eth1": {}}, "/eth1"),
    ],
)
def test_bad_net_devices(devices: Any, place: str) -> None:
    assert [at for at, _ in problems("linux", "netDevices", devices)] == [place]


def test_net_devices_need_a_namespace() -> None:
    spec = runnable_config()
    spec["linux"]["namespaces"] = [entry for entry in spec["linux"]["namespaces"] if entry["type"] != "network"]
    spec["linux"].pop("sysctl")
    assert [problem.message for problem in check(spec)] == ["unable to move network devices without a NET namespace"]


_MAPS = [{"containerID": 0, "hostID": 5, "size": 2}]


def mount_problems(*options: str, userns: bool = True, type: str = "none", **more: Any) -> list[tuple[str, str]]:
    """Pointer below the mount, and message, of each problem of one mount."""
    spec = runnable_config()
    spec["mounts"] = [{"destination": "/m", "type": type, "source": "/s", "options": list(options), **more}]
    if not userns:
        spec["linux"]["namespaces"] = [entry for entry in spec["linux"]["namespaces"] if entry["type"] != "user"]
        for name in ("uidMappings", "gidMappings"):
            spec["linux"].pop(name)
    return [(problem.pointer.removeprefix("/mounts/0"), problem.message) for problem in check(spec)]


def test_good_id_mapped_mounts() -> None:
    assert mount_problems("bind", "idmap") == []
    assert mount_problems("rbind", "ridmap") == []
    assert mount_problems(type="bind", uidMappings=_MAPS, gidMappings=_MAPS) == []
    assert mount_problems("rbind", userns=False, uidMappings=_MAPS, gidMappings=_MAPS) == []


def test_bad_id_mapped_mounts() -> None:
    assert mount_problems("idmap", type="tmpfs") == [("", "id-mapped mounts are only supported for bind-mounts")]
    [(place, message)] = mount_problems("bind", "idmap", userns=False)
    assert place == ""
    assert message.startswith("id-mapped mounts must have both uid and gid mappings specified")
    assert [at for at, _ in mount_problems("bind", "remount", "idmap")] == ["/options"]
    assert [at for at, _ in mount_problems("bind", uidMappings=[], gidMappings=_MAPS)] == ["/uidMappings"]
    twice = [*_MAPS, {"containerID": 1, "hostID": 50, "size": 1}]
    assert [at for at, _ in mount_problems("bind", uidMappings=_MAPS, gidMappings=twice)] == ["/gidMappings/1"]
