"""The engines' sets have what the table says about them."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests import purev2
from tests.bench import engine_bundles


@pytest.mark.skipif(os.geteuid() != 0, reason="makes namespaces")
def test_a_container_of_a_pod_joins_the_namespaces_of_the_pod(tmp_path: Path) -> None:
    def made() -> None:
        bundle = engine_bundles.kubernetes(tmp_path, "/pod")
        spec = json.loads((bundle.short / "config.json").read_text())
        paths = {item["type"]: item.get("path") for item in spec["linux"]["namespaces"]}
        assert {type for type, path in paths.items() if path} == {"network", "ipc", "uts"}
        for type, name in (("network", "net"), ("ipc", "ipc"), ("uts", "uts")):
            assert os.stat(paths[type]).st_ino != os.stat(f"/proc/self/ns/{name}").st_ino
        assert len(spec["mounts"]) == 19
        assert any("thermal_throttle" in path for path in spec["linux"]["maskedPaths"])
        assert len(spec["linux"]["seccomp"]["syscalls"][0]["names"]) > 250

    purev2.run(made)


def test_a_container_of_docker_has_its_own_namespaces(tmp_path: Path) -> None:
    bundle = engine_bundles.docker(tmp_path, "/parent")
    short, long = (json.loads((path / "config.json").read_text()) for path in bundle)
    assert all("path" not in item for item in short["linux"]["namespaces"])
    assert short["linux"]["cgroupsPath"] == "/parent/docker"
    assert short["process"].pop("args") == ["/bin/true"]
    assert long["process"].pop("args") == ["/bin/sleep", "1000"]
    assert short == long
    for mount in short["mounts"]:
        if mount["type"] == "bind":
            assert Path(mount["source"]).exists()
