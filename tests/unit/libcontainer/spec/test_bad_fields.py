"""Every field of the specification, wrong in each way that its configuration alone can show: `create` and `validate`
report the pointer, the reason and the hint."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from pyrunc._generated import schemas
from pyrunc.errors import PyruncError, pointer
from pyrunc.libcontainer.spec import explain, load
from pyrunc.libcontainer.spec.checks import check
from pyrunc.libcontainer.spec.problems import ERROR
from tests.support.full_config import full_config, runnable_config
from tests.support.mutations import Place, places, schema_at, value_at

WRONG = {"object": [], "array": {}, "string": 5, "boolean": "true", "integer": "1"}


def fields() -> list[Place]:
    """A place of every property of the schema: the first place in the full configuration, which has all properties
    (test_schemas.py)."""
    first: dict[Place, Place] = {}
    for place in places(full_config()):
        name = tuple("*" if isinstance(part, int) else part for part in place)
        if schema_at(place) is not None:
            first.setdefault(name, place)
    return list(first.values())


FIELDS = fields()


def kind(place: Place) -> Any:
    schema = schema_at(place)
    assert schema is not None
    return schema


def refused(place: Place, value: Any) -> PyruncError:
    """The refusal of the full configuration with another value at a place; `validate` finds the mistake too."""
    config = full_config()
    value_at(config, place[:-1])[place[-1]] = value
    with pytest.raises(PyruncError) as caught:
        load.validate(copy.deepcopy(config))
    assert caught.value.pointer in [problem.pointer for problem in explain.problems(config)]
    return caught.value


@pytest.mark.parametrize("place", FIELDS, ids=lambda place: pointer(*place))
def test_wrong_type(place: Place) -> None:
    error = refused(place, WRONG[kind(place).get("type", "object")])
    assert error.pointer == pointer(*place)
    assert " must be " in error.message


@pytest.mark.parametrize("place", [at for at in FIELDS if "minimum" in kind(at)], ids=lambda place: pointer(*place))
def test_out_of_range(place: Place) -> None:
    schema = kind(place)
    for value in (schema["minimum"] - 1, schema["maximum"] + 1, 2**70, -(2**70), 1.0):
        error = refused(place, value)
        assert error.pointer == pointer(*place)
        assert f"not {value}" in error.message
        assert str(schema["maximum"]) in error.message or "description" in schema


@pytest.mark.parametrize(
    "place",
    [at for at in FIELDS if "enum" in kind(at) or "pattern" in kind(at)],
    ids=lambda place: pointer(*place),
)
def test_no_such_word(place: Place) -> None:
    error = refused(place, "\0")
    assert error.pointer == pointer(*place)
    assert " must be " in error.message


@pytest.mark.parametrize(
    "place",
    [at for at in FIELDS if at[-1] in kind(at[:-1]).get("required", ())],
    ids=lambda place: pointer(*place),
)
def test_missing(place: Place) -> None:
    config = full_config()
    del value_at(config, place[:-1])[place[-1]]
    with pytest.raises(PyruncError) as caught:
        load.validate(config)
    assert caught.value.pointer == pointer(*place)
    assert caught.value.hint


_MAP = {"containerID": 0, "hostID": 5, "size": 2}
_NAMESPACES: list[dict[str, str]] = runnable_config()["linux"]["namespaces"]


def without(*kinds: str) -> list[dict[str, str]]:
    return [entry for entry in _NAMESPACES if entry["type"] not in kinds]


def joined(kind: str) -> list[dict[str, str]]:
    return [*without(kind), {"type": kind, "path": f"/proc/1/ns/{kind}"}]


SECCOMP = "SCMP_ACT_ERRNO"
# A change of the runnable configuration, and the place of the contradiction that it causes.
CONTRADICTIONS: list[tuple[dict[str, Any], str]] = [
    ({"ociVersion": "2.0.0"}, "/ociVersion"),
    ({"process": None}, "/process"),
    ({"process.args": None}, "/process/args"),
    ({"process.consoleSize": {"height": 70000, "width": 1}}, "/process/consoleSize/height"),
    ({"process.rlimits": [{"type": "RLIMIT_CORE", "soft": 2, "hard": 1}]}, "/process/rlimits/0"),
    ({"process.rlimits": [{"type": "RLIMIT_CORE", "soft": 0, "hard": 1}] * 2}, "/process/rlimits/1"),
    ({"process.scheduler": {"policy": "SCHED_OTHER", "priority": 1}}, "/process/scheduler/priority"),
    ({"process.scheduler": {"policy": "SCHED_FIFO"}}, "/process/scheduler/priority"),
    ({"process.scheduler": {"policy": "SCHED_OTHER", "runtime": 1}}, "/process/scheduler/runtime"),
    ({"process.scheduler": {"policy": "SCHED_DEADLINE"}}, "/process/scheduler"),
    ({"process.execCPUAffinity": {"final": "3-1"}}, "/process/execCPUAffinity/final"),
    ({"process.user": {"uid": 99999, "gid": 0}}, "/process/user/uid"),
    ({"process.user": {"uid": 0, "gid": 99999}}, "/process/user/gid"),
    ({"process.user": {"uid": 0, "gid": 0, "additionalGids": [99999]}}, "/process/user/additionalGids/0"),
    ({"linux.namespaces": without("uts")}, "/hostname"),
    ({"hostname": None, "linux.namespaces": without("uts")}, "/domainname"),
    ({"hostname": "x" * 65}, "/hostname"),
    ({"domainname": "x" * 65}, "/domainname"),
    ({"linux.namespaces": [*_NAMESPACES, {"type": "pid"}]}, f"/linux/namespaces/{len(_NAMESPACES)}"),
    ({"linux.namespaces": without("mount")}, "/linux/maskedPaths"),
    ({"linux.namespaces": without("mount"), "linux.maskedPaths": None}, "/linux/readonlyPaths"),
    ({"linux.namespaces": without("user")}, "/linux/uidMappings"),
    ({"linux.gidMappings": [_MAP, _MAP]}, "/linux/gidMappings/1"),
    ({"linux.uidMappings": [{**_MAP, "containerID": 1}]}, "/linux/uidMappings"),
    ({"linux.uidMappings": [{**_MAP, "size": 4294967295}]}, "/linux/uidMappings/0"),
    ({"linux.uidMappings": [_MAP] * 341}, "/linux/uidMappings"),
    ({"linux.namespaces": without("time")}, "/linux/timeOffsets"),
    ({"linux.namespaces": joined("time")}, "/linux/timeOffsets"),
    ({"linux.sysctl": {"vm.swappiness": "1"}}, "/linux/sysctl/vm.swappiness"),
    ({"linux.sysctl": {"net/../x": "1"}}, "/linux/sysctl/net~1..~1x"),
    ({"linux.sysctl": {"kernel.hostname": "x"}}, "/linux/sysctl/kernel.hostname"),
    ({"linux.namespaces": without("ipc")}, "/linux/sysctl/kernel.msgmax"),
    ({"mounts": [{"destination": "/m"}]}, "/mounts/0"),
    ({"mounts": [{"destination": "/m", "type": "tmpfs", "options": ["idmap"]}]}, "/mounts/0"),
    ({"linux.devices": [{"type": "p", "path": "/x"}, {"type": "c", "path": "/x", "major": 1, "minor": 1}]},
     "/linux/devices/1/path"),
    ({"linux.intelRdt": {"closID": "a/b"}}, "/linux/intelRdt/closID"),
    ({"linux.memoryPolicy": {"mode": "MPOL_LOCAL", "nodes": "1"}}, "/linux/memoryPolicy/nodes"),
    ({"linux.memoryPolicy": {"mode": "MPOL_BIND"}}, "/linux/memoryPolicy/nodes"),
    ({"linux.memoryPolicy": {"mode": "MPOL_BIND", "nodes": "2000"}}, "/linux/memoryPolicy/nodes"),
    ({"linux.netDevices": {"a": {"name": "x"}, "b": {"name": "x"}}}, "/linux/netDevices/b"),
    ({"linux.netDevices": {"a/b": {}}}, "/linux/netDevices/a~1b"),
    ({"linux.netDevices": {"a": {"name": "x" * 16}}}, "/linux/netDevices/a/name"),
    ({"linux.namespaces": without("network"), "linux.sysctl": None}, "/linux/netDevices"),
    ({"linux.personality": {"domain": "LINUX", "flags": ["x"]}}, "/linux/personality/flags/0"),
    ({"linux.seccomp": {"defaultAction": "SCMP_ACT_NOTIFY"}}, "/linux/seccomp/defaultAction"),
    ({"linux.seccomp": {"defaultAction": "SCMP_ACT_ALLOW", "defaultErrnoRet": 1}}, "/linux/seccomp/defaultErrnoRet"),
    ({"linux.seccomp": {"defaultAction": SECCOMP, "defaultErrnoRet": 5000}}, "/linux/seccomp/defaultErrnoRet"),
    ({"linux.seccomp": {"defaultAction": SECCOMP, "syscalls": [{"names": ["x"], "action": "SCMP_ACT_NOTIFY"}]}},
     "/linux/seccomp/listenerPath"),
    ({"linux.resources": {"memory": {"swap": 5}}}, "/linux/resources/memory/swap"),
    ({"linux.resources": {"memory": {"limit": 9, "swap": 5}}}, "/linux/resources/memory/swap"),
    ({"linux.resources": {"memory": {"disableOOMKiller": True}}}, "/linux/resources/memory/disableOOMKiller"),
    ({"linux.resources": {"memory": {"swappiness": 1}}}, "/linux/resources/memory/swappiness"),
    ({"linux.resources": {"memory": {"useHierarchy": False}}}, "/linux/resources/memory/useHierarchy"),
    ({"linux.resources": {"cpu": {"realtimePeriod": 1}}}, "/linux/resources/cpu/realtimePeriod"),
    ({"linux.resources": {"cpu": {"realtimeRuntime": 1}}}, "/linux/resources/cpu/realtimeRuntime"),
    ({"linux.resources": {"cpu": {"idle": 1, "shares": 2}}}, "/linux/resources/cpu/idle"),
    ({"linux.resources": {"cpu": {"quota": 1, "burst": 2}}}, "/linux/resources/cpu/burst"),
    ({"linux.resources": {"blockIO": {"weight": 5}}}, "/linux/resources/blockIO/weight"),
    ({"linux.resources": {"blockIO": {"leafWeight": 5}}}, "/linux/resources/blockIO/leafWeight"),
    ({"linux.resources": {"network": {"classID": 5}}}, "/linux/resources/network/classID"),
    ({"linux.resources": {"unified": {"cgroup.procs": "1"}}}, "/linux/resources/unified/cgroup.procs"),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "at"), CONTRADICTIONS, ids=[case[1] for case in CONTRADICTIONS])
def test_contradiction(changes: Any, at: str) -> None:
    """The checks that `create` and `validate` share report it, with the hint."""
    config = runnable_config()
    for name, value in changes.items():
        *above, last = name.split(".")
        holder = value_at(config, tuple(above))
        if value is None:
            del holder[last]
        else:
            holder[last] = copy.deepcopy(value)
    assert explain.problems(config) == []
    found = [problem for problem in check(config, lint=True) if problem.severity == ERROR]
    assert at in [problem.pointer for problem in found]
    for problem in found:
        assert problem.hint_text() or " must be " in problem.message, problem.line()


def test_every_property_of_the_schema_has_its_cases() -> None:
    """FIELDS has all of them, also when the specification grows."""
    found = {tuple("*" if isinstance(part, int) else part for part in place) for place in FIELDS}
    missing = []

    def walk(schema: Any, at: Place) -> None:
        while "$ref" in schema:
            schema = schemas.CONFIG["$defs"][schema["$ref"].removeprefix("#/$defs/")]
        for name, member in schema.get("properties", {}).items():
            if (*at, name) not in found:
                missing.append(pointer(*at, name))
            walk(member, (*at, name))
        if "items" in schema:
            walk(schema["items"], (*at, "*"))

    walk(schemas.CONFIG, ())
    assert missing == []
