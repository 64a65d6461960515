"""The specification's demands on single members of config.json: docs/conformance.md names these tests by pointer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pyrunc.errors import PyruncError
from pyrunc.libcontainer.diagnosis import bundle_check
from pyrunc.libcontainer.spec import load
from pyrunc.libcontainer.spec.problems import WARNING
from tests.support.full_config import full_config

# Every member that the specification calls REQUIRED, at its place in tests/support/full_config.py.
REQUIRED = """
    /ociVersion /root /root/path /process/cwd /process/args /process/rlimits/0/type /process/rlimits/0/soft
    /process/rlimits/0/hard /process/scheduler/policy /process/ioPriority/class /mounts/0/destination
    /hooks/prestart/0/path /hooks/createRuntime/0/path /hooks/createContainer/0/path /hooks/startContainer/0/path
    /hooks/poststart/0/path /hooks/poststop/0/path /linux/namespaces/0/type /linux/uidMappings/0/size
    /linux/gidMappings/0/size /mounts/1/uidMappings/0/size /linux/devices/0/type /linux/devices/0/path
    /linux/devices/0/major /linux/devices/0/minor /linux/resources/devices/0/allow
    /linux/resources/blockIO/weightDevice/0/major /linux/resources/blockIO/weightDevice/0/minor
    /linux/resources/blockIO/throttleReadBpsDevice/0/major /linux/resources/blockIO/throttleReadBpsDevice/0/minor
    /linux/resources/blockIO/throttleReadBpsDevice/0/rate /linux/resources/blockIO/throttleWriteBpsDevice/0/rate
    /linux/resources/blockIO/throttleReadIOPSDevice/0/major /linux/resources/blockIO/throttleReadIOPSDevice/0/minor
    /linux/resources/blockIO/throttleReadIOPSDevice/0/rate /linux/resources/blockIO/throttleWriteIOPSDevice/0/rate
    /linux/resources/hugepageLimits/0/pageSize /linux/resources/hugepageLimits/0/limit
    /linux/resources/network/priorities/0/name /linux/resources/network/priorities/0/priority /linux/memoryPolicy/mode
    /linux/seccomp/defaultAction /linux/seccomp/syscalls/0/names /linux/seccomp/syscalls/0/action
    /linux/seccomp/syscalls/0/args/0/index /linux/seccomp/syscalls/0/args/0/value /linux/seccomp/syscalls/0/args/0/op
    /linux/personality/domain
""".split()

# The members that runc takes as 0 if they are missing, and the effect.
ZERO = """
    /process/consoleSize/height /process/consoleSize/width /process/ioPriority/priority /process/user/uid
    /process/user/gid /linux/uidMappings/0/containerID /linux/uidMappings/0/hostID /linux/gidMappings/0/containerID
    /linux/gidMappings/0/hostID /mounts/1/uidMappings/0/containerID /mounts/1/uidMappings/0/hostID
""".split()

KINDS = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")

# Values that the specification rules out.
WRONG: list[tuple[str, Any]] = [
    ("/ociVersion", "1.0"),
    ("/process/cwd", "relative"),
    ("/process/args", []),
    *((f"/hooks/{kind}/0/path", "relative") for kind in KINDS),
    *((f"/hooks/{kind}/0/timeout", 0) for kind in KINDS),
    *((f"/hooks/{kind}/0/timeout", -1) for kind in KINDS),
    ("/annotations", ["key", "value"]),
    ("/annotations/", "the empty key"),
    ("/annotations/com.example.key", 1),
    ("/linux/namespaces/0/path", "proc/self/ns/pid"),
    ("/linux/devices/0/path", "dev/fuse"),
    ("/linux/resources/blockIO/weightDevice/0", {"major": 8, "minor": 0}),
    ("/linux/resources/rdma/mlx5_1", {}),
    ("/linux/intelRdt/memBwSchema", "L3:0=f"),
    ("/linux/intelRdt/memBwSchema", "MB:0=20\nL3:0=f"),
    ("/linux/intelRdt/schemata/0", "L2:0=f\nL3:0=f"),
    ("/linux/seccomp/syscalls/0/names", []),
    ("/linux/maskedPaths/0", "proc/kcore"),
    ("/linux/readonlyPaths/0", "proc/sys"),
]


def place(config: Any, pointer: str) -> tuple[Any, Any]:
    """The value that contains the member of a pointer, and the member's key there."""
    *above, name = pointer[1:].split("/")
    for part in above:
        config = config[int(part)] if isinstance(config, list) else config[part]
    return config, int(name) if isinstance(config, list) else name


def refusal(directory: Path, config: Any) -> PyruncError:
    (directory / "config.json").write_text(json.dumps(config))
    with pytest.raises(PyruncError) as caught:
        load.load(str(directory))
    return caught.value


@pytest.fixture
def config() -> Any:
    return full_config()


@pytest.mark.parametrize("pointer", ZERO)
def test_b5_member_taken_as_zero(tmp_path: Path, config: dict[str, Any], pointer: str) -> None:
    """B5: the specification demands these members, and runc takes 0: `create` does too, and `validate` warns."""
    holder, name = place(config, pointer)
    del holder[name]
    (tmp_path / "config.json").write_text(json.dumps(config))
    warned = [problem for problem in bundle_check.validate_bundle(str(tmp_path)) if problem.pointer == pointer]
    assert [(problem.severity, "taken as 0" in problem.message) for problem in warned] == [(WARNING, True)]
    loaded: Any = load.load(str(tmp_path))
    holder, name = place(loaded, pointer)
    assert holder.get(name, 0) == 0
    assert name in holder or name == "priority"


@pytest.mark.parametrize("pointer", REQUIRED)
def test_required_member(tmp_path: Path, config: dict[str, Any], pointer: str) -> None:
    above, name = place(config, pointer)
    del above[name]
    error = refusal(tmp_path, config)
    assert error.pointer == pointer
    assert "is missing" in error.line() or "must not be empty" in error.line()


@pytest.mark.parametrize("kind", ["c", "b", "u"])
def test_numbers_of_a_device_that_is_no_fifo(tmp_path: Path, config: dict[str, Any], kind: str) -> None:
    config["linux"]["devices"] = [{"type": "p", "path": "/dev/fifo"}, {"type": kind, "path": "/dev/x", "major": 1}]
    assert refusal(tmp_path, config).pointer == "/linux/devices/1/minor"


WRONG_IDS = [f"{pointer}={value!r}".replace("\\n", " ") for pointer, value in WRONG]


@pytest.mark.parametrize(("pointer", "value"), WRONG, ids=WRONG_IDS)
def test_value_that_is_refused(tmp_path: Path, config: dict[str, Any], pointer: str, value: Any) -> None:
    above, name = place(config, pointer)
    above[name] = value
    assert refusal(tmp_path, config).pointer == pointer


def test_the_configuration_is_good_otherwise(tmp_path: Path, config: dict[str, Any]) -> None:
    """Otherwise the tests above would prove nothing. Values that the schemas accept and the checks refuse are not
    tested here.
    """
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert load.load(str(tmp_path)) == config
