"""Configurations that are refused before anything is made, each with its JSON pointer: unsupported features, limits
without their controller, and invalid values."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from tests.support import host
from tests.support.bundle import Bundle
from tests.support.runtime import Runtime

pytestmark = pytest.mark.own("it words it otherwise")

# the controller that it needs, pointer, value
LIMITS: list[tuple[str, str, Any]] = [
    ("memory", "/linux/resources/memory", {"limit": 100000000}),
    ("cpu", "/linux/resources/cpu", {"shares": 512}),
    ("pids", "/linux/resources/pids", {"limit": 100}),
    ("io", "/linux/resources/blockIO", {"weight": 100}),
    ("hugetlb", "/linux/resources/hugepageLimits", [{"pageSize": "2MB", "limit": 0}]),
    ("rdma", "/linux/resources/rdma", {"mlx5_1": {"hcaHandles": 1}}),
    ("pids", "/linux/resources/unified", {"pids.max": "10"}),
]


def put(config: dict[str, Any], pointer: str, value: Any) -> None:
    """Set the field at a pointer, with the objects above it."""
    *above, name = pointer[1:].split("/")
    for part in above:
        config = config.setdefault(part, {})
    config[name] = value


@pytest.mark.parametrize(("controller", "pointer", "value"), LIMITS, ids=[case[1] for case in LIMITS])
def test_limit_without_its_controller(
    runtime: Runtime, bundle: Bundle, controller: str, pointer: str, value: Any
) -> None:
    """Never ignored: an error names the field and the controller, before anything is made."""
    if controller in Path(host.cgroup2_mount(), "cgroup.controllers").read_text().split():
        pytest.skip(f"needs a cgroup2 hierarchy without the controller {controller}")
    put(bundle.config, pointer, value)
    line = runtime.refuse(bundle).last_line
    assert pointer in line
    assert controller in line


# pointer of the mistake, and the texts that the message must have
INVALID: list[tuple[str, Any, tuple[str, ...]]] = [
    ("/process/terminal", "yes", ("true or false", '"yes"')),
    ("/process/user/uid", -1, ("-1",)),
    ("/process/user/uid", "root", ('"root"',)),
    ("/process/args", "sh", ("array",)),
    ("/process/rlimits/0/type", "RLIMIT_NOFLE", ("RLIMIT_NOFILE",)),
    ("/linux/namespaces/0/type", "netwrok", ("network",)),
    ("/linux/rootfsPropagation", "rsharde", ("rshared",)),
    ("/mounts/0/destination", 7, ("text",)),
    ("/root", [], ("object",)),
    ("/hooks/prestart/0/timeout", 0, ("0",)),
    ("/ociVersion", "one", ()),
]


@pytest.mark.parametrize(("pointer", "value", "pieces"), INVALID, ids=[f"{case[0]}={case[1]}" for case in INVALID])
def test_invalid_value(runtime: Runtime, bundle: Bundle, pointer: str, value: Any, pieces: tuple[str, ...]) -> None:
    bundle.process["rlimits"] = [{"type": "RLIMIT_NOFILE", "soft": 10, "hard": 10}]
    bundle.config["hooks"] = {"prestart": [{"path": "/bin/true", "timeout": 1}]}
    config: Any = bundle.config
    *above, name = pointer[1:].split("/")
    for part in above:
        config = config[int(part)] if isinstance(config, list) else config[part]
    config[name] = value
    line = runtime.refuse(bundle).last_line.replace("\\", "")
    assert pointer in line
    for piece in pieces:
        assert piece in line


@pytest.mark.parametrize("pointer", ["/ociVersion", "/root", "/root/path", "/process/cwd"])
def test_missing_value(runtime: Runtime, bundle: Bundle, pointer: str) -> None:
    config = bundle.config
    *above, name = pointer[1:].split("/")
    for part in above:
        config = config[part]
    del config[name]
    line = runtime.refuse(bundle).last_line
    assert name in line


@pytest.mark.parametrize("missing", [("gid",), ("uid",), ("uid", "gid")], ids="-".join)
def test_b5_a_user_without_ids_is_0(runtime: Runtime, bundle: Bundle, missing: tuple[str, ...]) -> None:
    """B5: runc takes missing ids as 0; `validate` warns."""
    bundle.process["user"] = {name: 7 for name in ("uid", "gid") if name not in missing}
    bundle.process["ioPriority"] = {"class": "IOPRIO_CLASS_BE"}
    bundle.user_namespace()
    for kind in ("uid", "gid"):
        bundle.linux[kind + "Mappings"] = [{"hostID": 100000, "size": 65536}]
    expected = [str(bundle.process["user"].get(name, 0)) for name in ("uid", "gid")]
    assert runtime.inside(bundle, "id -u; id -g").split() == expected
    found = runtime("validate", bundle.path, with_root=False)
    assert found.code == 0
    for at in (*(f"/process/user/{name}" for name in missing), "/process/ioPriority/priority", "/linux/uidMappings/0"):
        assert at in found.out + found.err


def test_n5_a_near_miss_is_told(runtime: Runtime, bundle: Bundle) -> None:
    """N5: a misspelt member is ignored, as the specification asks, with a warning."""
    bundle.config["root"]["readOnly"] = True
    result = runtime.run(bundle.args("touch", "/file"))
    assert "/root/readOnly" in result.err
    assert "readonly" in result.err
    bundle.config["proces"] = bundle.config.pop("process")
    bundle.write()
    result = runtime("run", "--bundle", bundle.path, runtime.new_id())
    assert result.code == 1
    assert "proces" in result.last_line
    assert "rename it to process" in result.last_line


def test_n5_the_number_of_other_problems_is_told(runtime: Runtime, bundle: Bundle) -> None:
    bundle.process["terminal"] = "yes"
    bundle.linux["namespaces"].append({"type": "netwrok"})
    bundle.process["cwd"] = "relative"
    assert f"(2 more: {runtime.name} validate {bundle.path})" in runtime.refuse(bundle).last_line


def test_every_problem_is_listed_by_validate(runtime: Runtime, bundle: Bundle) -> None:
    """`pyrunc validate` prints all problems; `create` stops at the first one."""
    bundle.process["terminal"] = "yes"
    bundle.linux["namespaces"].append({"type": "netwrok"})
    bundle.process["cwd"] = "relative"
    bundle.write()
    result = runtime("validate", bundle.path, with_root=False)
    assert result.code == 1
    for pointer in ("/process/terminal", "/linux/namespaces/4/type", "/process/cwd"):
        assert pointer in result.out + result.err
    result = runtime("validate", "--format", "json", bundle.path, with_root=False)
    assert result.code == 1
    found = json.dumps(json.loads(result.out))
    for pointer in ("/process/terminal", "/linux/namespaces/4/type", "/process/cwd"):
        assert pointer in found


def test_valid_bundle_is_valid(runtime: Runtime, bundle: Bundle) -> None:
    bundle.write()
    result = runtime("validate", bundle.path, with_root=False)
    assert result.code == 0, result


def test_resources_devices_and_empty_objects_are_supported(runtime: Runtime, bundle: Bundle) -> None:
    bundle.linux["resources"] = {"devices": [{"allow": False, "access": "rwm"}]}
    base = copy.deepcopy(bundle.config)
    assert runtime.run(bundle.args("echo", "ran")).out == "ran\n"
    bundle.config = base
    bundle.linux["resources"] = {}
    assert runtime.run(bundle.args("echo", "ran")).out == "ran\n"


def test_default_config_runs(runtime: Runtime, bundle: Bundle) -> None:
    """Everybody starts from the output of `spec`."""
    result = runtime("spec", "--bundle", bundle.path, with_root=False)
    assert result.code == 0, result
    bundle.config = json.loads((bundle.path / "config.json").read_text())
    bundle.process["terminal"] = False
    out = runtime.inside(bundle, "echo $PATH; hostname; cat /proc/self/mountinfo; touch /x 2>&1; true")
    assert out.startswith("/usr/local/sbin:")
    assert "Read-only file system" in out
    for point in ("/proc", "/dev", "/dev/pts", "/dev/shm", "/dev/mqueue", "/sys"):
        assert f" {point} " in out


def test_spec_does_not_overwrite(runtime: Runtime, bundle: Bundle) -> None:
    bundle.write()
    before = (bundle.path / "config.json").read_text()
    assert runtime("spec", "--bundle", bundle.path, with_root=False).code == 1
    assert (bundle.path / "config.json").read_text() == before
