from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from pyrunc.libcontainer.plan.host import HostFacts, SystemdFacts
from pyrunc.libcontainer.spec import features
from pyrunc.libcontainer.spec.checks import check
from pyrunc.libcontainer.spec.example import example
from pyrunc.libcontainer.spec.explain import problems
from pyrunc.libcontainer.spec.load import validate
from pyrunc.libcontainer.spec.mount_options import parse
from tests.support.plans import compiled, find, kinds, values

SCHEMA = Path(__file__).resolve().parents[4] / "spec-schemas" / "features.json"


def built() -> Any:
    """The structure, whose members are optional by the schema: Any, so that a test can look at those that are there."""
    return features.features()


def test_the_structure_is_the_specifications() -> None:
    schema = json.loads(next(SCHEMA.parent.glob("features*.json")).read_text())
    jsonschema.Draft202012Validator(schema).validate(built())


def test_nothing_is_null() -> None:
    """Null would mean that nothing is known about a feature."""

    def values(value: Any) -> list[Any]:
        members = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
        return [value, *(inner for member in members for inner in values(member))]

    assert None not in values(built())


def test_the_versions_are_accepted_and_in_their_order() -> None:
    structure = built()
    oldest, newest = structure["ociVersionMin"], structure["ociVersionMax"]
    for version in (oldest, newest):
        validate({**example(), "ociVersion": version})
    assert [int(part) for part in oldest.split(".")] <= [int(part) for part in newest.split(".")]


def test_annotations_are_texts_by_name() -> None:
    annotations = built()["annotations"]
    assert all(key and isinstance(value, str) for key, value in annotations.items())


def test_every_mount_option_is_recognised() -> None:
    """And none of them is passed to the file system."""
    for word in built()["mountOptions"]:
        assert parse([word]).data == [], word


def test_every_capability_is_recognised() -> None:
    config: Any = example()
    names = built()["linux"]["capabilities"]
    sets = ("bounding", "effective", "permitted", "inheritable", "ambient")
    config["process"]["capabilities"] = {name: [*names, "CAP_MADE_UP"] for name in sets}
    assert {problem.value for problem in check(config, lint=True)} == {"CAP_MADE_UP"}


@pytest.mark.parametrize(("claim", "user"), [("systemd", False), ("systemdUser", True)])
def test_the_managers_that_are_claimed_make_a_plan(claim: str, user: bool) -> None:
    assert built()["linux"]["cgroup"][claim] is True
    facts = HostFacts(systemd=SystemdFacts(user=user), controllers=("cpu", "io", "memory", "pids"))
    (scope,) = find(compiled(example(), facts, cgroup_manager="systemd"), "systemd_scope")
    assert values(scope, "manager") == ("user" if user else "system",)


def test_the_annotations_that_change_what_is_done_are_listed() -> None:
    """A name that ends with a dot stands for all names that begin with it."""
    prefix, cruns, criu, *own = built()["potentiallyUnsafeConfigAnnotations"]
    facts = HostFacts(systemd=SystemdFacts(), controllers=("cpu", "io", "memory", "pids"))
    made = [
        values(find(compiled(config, facts, cgroup_manager="systemd"), "systemd_scope")[0], "properties")
        for config in (example(), {**example(), "annotations": {prefix + "CollectMode": "'inactive'"}})
    ]
    assert prefix[-1] == "."
    # criu/test_checkpoint.py, compile/test_landlock.py, tests/shim/test_broker.py
    assert (cruns, criu, own) == ("run.oci.", "org.criu.config", ["org.pyrunc.landlock", "org.pyrunc.broker"])
    assert made[0] != made[1]


# A claim of the structure, and the field that it is about with a value that uses it.
CLAIMS: list[tuple[str, str, Any]] = [
    ("apparmor/enabled", "process/apparmorProfile", "profile"),
    ("selinux/enabled", "process/selinuxLabel", "system_u:system_r:svirt_lxc_net_t:s0"),
    ("cgroup/v2", "linux/resources/unified", {"cgroup.max.depth": "3"}),
    ("cgroup/rdma", "linux/resources/rdma", {"mlx5_1": {"hcaHandles": 3, "hcaObjects": 10000}}),
    ("intelRdt/enabled", "linux/intelRdt", {"closID": "group", "l3CacheSchema": "L3:0=f"}),
    ("intelRdt/schemata", "linux/intelRdt", {"schemata": ["L2:0=f"]}),
    ("intelRdt/monitoring", "linux/intelRdt", {"enableMonitoring": True}),
    ("netDevices/enabled", "linux/netDevices", {"eth0": {"name": "eth1"}}),
    ("mountExtensions/idmap/enabled", "mounts/0", {
        "destination": "/mnt", "source": "/srv", "options": ["rbind", "ridmap"],
        **{key: [{"containerID": 0, "hostID": 1000, "size": 1}] for key in ("uidMappings", "gidMappings")},
    }),
]  # fmt: skip


@pytest.mark.parametrize(("claim", "field", "value"), CLAIMS, ids=[claim for claim, _, _ in CLAIMS])
def test_what_is_claimed_is_compiled(claim: str, field: str, value: Any) -> None:
    """Each claim is true: the field changes the plan."""
    claimed: Any = built()["linux"]
    for name in claim.split("/"):
        claimed = claimed[name]
    assert claimed is True
    facts = HostFacts(controllers=("rdma",))
    config: Any = example()
    before = kinds(compiled(config, facts))
    *above, name = field.split("/")
    holder = config
    for part in above:
        holder = holder.setdefault(part, {})
    if isinstance(holder, list):
        holder.append(value)
    else:
        holder[name] = value
    validate(config)
    assert kinds(compiled(config, facts)) != before


def test_what_is_listed_is_accepted() -> None:
    structure = built()
    hooks = {name: [{"path": "/bin/true"}] for name in structure["hooks"]}
    assert problems({**example(), "hooks": hooks}) == []
    linux = {**example()["linux"], "namespaces": [{"type": name} for name in structure["linux"]["namespaces"]]}
    assert problems({**example(), "linux": linux}) == []


def test_every_memory_policy_that_is_listed_is_accepted() -> None:
    listed = built()["linux"]["memoryPolicy"]
    for mode in listed["modes"]:
        linux = {**example()["linux"], "memoryPolicy": {"mode": mode, "flags": listed["flags"]}}
        assert problems({**example(), "linux": linux}) == []


def test_the_options_that_the_specification_asks_for_are_listed() -> None:
    options = built()["mountOptions"]
    assert options == sorted(set(options))
    for word in ("bind", "rbind", "ro", "rro", "rnosuid", "nosymfollow", "tmpcopyup", "shared", "runbindable"):
        assert word in options


def test_seccomp_is_what_is_built_in_and_what_the_kernel_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    structure = built()
    seccomp = structure["linux"]["seccomp"]
    assert seccomp["enabled"] is True
    assert {"SCMP_ACT_NOTIFY", "SCMP_ACT_KILL_PROCESS"} <= set(seccomp["actions"])
    assert "SCMP_CMP_MASKED_EQ" in seccomp["operators"]
    assert set(seccomp["supportedFlags"]) <= set(seccomp["knownFlags"])
    assert structure["annotations"]["io.github.seccomp.libseccomp.version"].startswith("2.")
    profile: Any = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "architectures": seccomp["archs"],
        "flags": [name for name in seccomp["knownFlags"] if "KILLABLE" not in name],
        "syscalls": [{"names": ["mkdir"], "action": name} for name in seccomp["actions"] if "NOTIFY" not in name],
    }
    config = example()
    config["linux"]["seccomp"] = profile
    assert problems(config) == []
    monkeypatch.setitem(sys.modules, "pyrunc._seccomp", None)
    monkeypatch.delattr("pyrunc._seccomp", raising=False)
    structure = built()
    assert structure["linux"]["seccomp"] == {"enabled": False}
    assert "io.github.seccomp.libseccomp.version" not in structure["annotations"]
