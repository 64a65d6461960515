from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from pyrunc.libcontainer.spec import example
from pyrunc.libcontainer.spec.checks import check
from pyrunc.libcontainer.spec.explain import problems


def test_both_examples_are_valid() -> None:
    for spec in (example.example(), example.rootless_example()):
        assert [problem.line() for problem in problems(spec) + check(spec)] == []


def test_each_call_makes_a_new_one() -> None:
    example.example()["process"]["capabilities"]["bounding"].append("CAP_BPF")
    assert "CAP_BPF" not in example.example()["process"]["capabilities"]["bounding"]


def test_the_rootless_one_needs_no_privilege() -> None:
    spec = example.rootless_example()
    assert [item["type"] for item in spec["linux"]["namespaces"]] == ["pid", "ipc", "uts", "mount", "cgroup", "user"]
    assert spec["linux"]["uidMappings"] == [{"containerID": 0, "hostID": os.geteuid(), "size": 1}]
    assert spec["linux"]["gidMappings"] == [{"containerID": 0, "hostID": os.getegid(), "size": 1}]
    assert "resources" not in spec["linux"]
    mounts = {mount["destination"]: mount for mount in spec["mounts"]}
    assert mounts["/sys"]["options"] == ["rbind", "nosuid", "noexec", "nodev", "ro"]
    assert "gid=5" not in mounts["/dev/pts"]["options"]
    assert "gid=5" in str(example.example())


@pytest.mark.skipif(not shutil.which("runc"), reason="needs runc")
@pytest.mark.parametrize("rootless", [False, True])
def test_as_runc_writes_it(tmp_path: Path, rootless: bool) -> None:
    """The differences from runc: the names, the cgroup namespace (runc leaves it out on hybrid hosts), and ambient
    capabilities, which runc wrote before 1.2."""
    subprocess.run(["runc", "spec", "--bundle", str(tmp_path), *(["--rootless"] if rootless else [])], check=True)
    theirs = json.loads((tmp_path / "config.json").read_text())
    ours: Any = example.rootless_example() if rootless else example.example()
    for spec in (theirs, ours):
        spec["process"]["capabilities"].pop("ambient", None)
        del spec["ociVersion"], spec["hostname"]
        spec["linux"]["namespaces"] = _without_cgroup(spec["linux"]["namespaces"])
    assert ours == theirs


def _without_cgroup(namespaces: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [item for item in namespaces if item["type"] != "cgroup"]
