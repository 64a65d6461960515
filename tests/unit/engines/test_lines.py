"""The lines that each engine needs, by the version of its file, and the path of the file."""

from __future__ import annotations

import json
import os
import tomllib
from pathlib import Path
from typing import Any

import pytest

from pyrunc.engines import lines
from pyrunc.engines.changes import Entry, at
from pyrunc.engines.lines import CRI_PLUGINS, ENGINES, Wish
from pyrunc.errors import PyruncError

WISH = Wish("/usr/bin/pyrunc")


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine without a kubelet, CRI-O and the distribution's containers.conf, with this directory first in PATH."""
    monkeypatch.setattr(lines, "KUBELET", tmp_path / "kubelet.yaml")
    monkeypatch.setattr(lines, "CRIO", tmp_path / "crio")
    monkeypatch.setattr(lines, "PODMAN_SHARED", tmp_path / "shared.conf")
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    return tmp_path


def containerd(folder: Path, version: str) -> None:
    program = folder / "containerd"
    program.write_text(f"#!/bin/sh\necho 'containerd github.com/containerd/containerd{version} 0cae528dd6cb557f7'\n")
    program.chmod(0o755)


@pytest.mark.parametrize(
    ("printed", "version"),
    [(" 1.6.20~ds1", 2), (" v1.7.27", 2), ("/v2 2.1.4", 3), ("/v2 v2.0.0", 3), (" unknown", 2)],
)
def test_a_new_file_of_containerd_has_its_version(machine: Path, printed: str, version: int) -> None:
    containerd(machine, printed)
    tree = tomllib.loads(lines.lines(ENGINES["containerd"], WISH, {}))
    shim = {"runtime_type": "io.containerd.runc.v2"}
    pyrunc = {**shim, "options": {"BinaryName": "/usr/bin/pyrunc", "SystemdCgroup": False}}
    runtimes = {"pyrunc": pyrunc, "runc": shim} if version == 2 else {"pyrunc": pyrunc}
    assert tree == {"version": version, "plugins": {CRI_PLUGINS[version]: {"containerd": {"runtimes": runtimes}}}}


@pytest.mark.parametrize(
    ("version", "names", "added"),
    [(2, (), True), (2, ("pyrunc",), True), (2, ("runc",), False), (2, ("crun", "pyrunc"), False), (3, (), False)],
)
def test_runc_stays_a_runtime_of_containerd_1(version: int, names: tuple[str, ...], added: bool) -> None:
    """The file's table of runtimes replaces the one that containerd 1.x has by itself, which has runc."""
    runtimes: dict[str, Any] = {name: {"runtime_type": "x"} for name in names}
    tree: dict[str, Any] = {
        "version": version,
        "plugins": {CRI_PLUGINS[version]: {"containerd": {"runtimes": runtimes}}},
    }
    paths = [change.path[-1] for change in lines.containerd_changes(WISH, tree)]
    assert paths == ["pyrunc", *(["runc"] if added else [])]


def test_without_containerd_the_file_is_of_the_version_that_all_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert lines.containerd_version() == 2


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("systemd", [True, False])
def test_the_cgroups_are_made_as_for_runc(version: int, systemd: bool) -> None:
    runtimes = {"runc": {"options": {"SystemdCgroup": systemd}}, "other": {"options": {"SystemdCgroup": not systemd}}}
    tree = {"version": version, "plugins": {CRI_PLUGINS[version]: {"containerd": {"runtimes": runtimes}}}}
    assert entry(tree)["options"]["SystemdCgroup"] is systemd
    assert entry(tree, Wish("/p", systemd=True))["options"]["SystemdCgroup"] is True


def test_the_cgroups_are_made_as_the_kubelet_says(machine: Path) -> None:
    (machine / "kubelet.yaml").write_text("apiVersion: kubelet.config.k8s.io/v1beta1\ncgroupDriver: systemd\nkind: x\n")
    assert entry({"version": 2})["options"]["SystemdCgroup"] is True
    (machine / "kubelet.yaml").write_text("cgroupDriver: cgroupfs\n")
    assert entry({"version": 2})["options"]["SystemdCgroup"] is False


def entry(tree: dict[str, Any], wish: Wish = WISH) -> dict[str, Any]:
    change = lines.containerd_changes(wish, tree)[0]
    assert isinstance(change, Entry)
    assert isinstance(change.value, dict)
    return change.value


@pytest.mark.parametrize(
    ("tree", "said"),
    [
        ({"disabled_plugins": ["cri"]}, "has no `version`, so it is of version 1"),
        ({"version": 1}, "is of version 1"),
        ({"version": 4}, "is of version 4"),
        ({"version": "2"}, "is of version 2"),
    ],
)
def test_other_versions_are_refused(tree: dict[str, Any], said: str) -> None:
    with pytest.raises(PyruncError) as caught:
        lines.containerd_changes(WISH, tree)
    assert caught.value.message == f"containerd's configuration {said}"


@pytest.mark.parametrize(("plugin", "told"), [("cri", True), ("io.containerd.grpc.v1.cri", True), ("x", False)])
def test_a_disabled_cri_plugin_is_told(plugin: str, told: bool) -> None:
    assert bool(lines.remark(ENGINES["containerd"], {"disabled_plugins": [plugin]})) is told
    assert lines.remark(ENGINES["docker"], {"disabled_plugins": [plugin]}) == ""


def test_docker() -> None:
    assert json.loads(lines.lines(ENGINES["docker"], Wish("/p", default=True), {})) == {
        "runtimes": {"pyrunc": {"path": "/p"}}, "default-runtime": "pyrunc",
    }  # fmt: skip


def test_podman_is_told_what_it_decides_by_the_name() -> None:
    """Podman reads the option without the s; its manual page has it with the s."""
    engine = tomllib.loads(lines.lines(ENGINES["podman"], Wish("/p", default=True), {}))["engine"]
    assert (engine["runtimes"], engine["runtime"]) == ({"pyrunc": ["/p"]}, "pyrunc")
    assert engine["runtime_supports_json"][-1] == "pyrunc"
    assert {"crun", "runc"} < set(engine["runtime_supports_json"])
    assert engine["runtime_supports_nocgroup"] == ["crun", "krun", "pyrunc"]
    assert engine["runtime_supports_nocgroups"] == ["crun", "krun", "pyrunc"]


def test_what_the_distributions_file_lists_is_in_ours(machine: Path) -> None:
    (machine / "shared.conf").write_text('[engine]\nruntime_supports_json = ["mine"]\n')
    engine = tomllib.loads(lines.lines(ENGINES["podman"], WISH, {}))["engine"]
    assert engine["runtime_supports_json"] == ["mine", "pyrunc"]


def test_crio_gets_the_monitor_of_the_other_handlers(machine: Path) -> None:
    handler = ("crio", "runtime", "runtimes", "pyrunc")
    tree = tomllib.loads(lines.lines(ENGINES["crio"], WISH, {}))
    value = {"runtime_path": "/usr/bin/pyrunc", "runtime_type": "oci", "runtime_root": "/run/pyrunc"}
    assert at(tree, handler) == value
    (machine / "crio/crio.conf.d").mkdir(parents=True)
    (machine / "crio/crio.conf.d/10-crio.conf").write_text(
        '[crio.runtime]\ndefault_runtime = "crun"\n[crio.runtime.runtimes.crun]\n'
        'runtime_path = "/usr/libexec/crio/crun"\nmonitor_path = "/usr/libexec/crio/conmon"\n'
    )
    tree = tomllib.loads(lines.lines(ENGINES["crio"], Wish("/usr/bin/pyrunc", default=True), {}))
    assert at(tree, handler) == {**value, "monitor_path": "/usr/libexec/crio/conmon"}
    assert at(tree, ("crio", "runtime", "default_runtime")) == "pyrunc"


def test_the_places(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert lines.places(ENGINES["docker"]) == [Path("/etc/docker/daemon.json")]
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert lines.place(ENGINES["podman"]) == tmp_path / "containers/containers.conf.d/pyrunc.conf"
    (tmp_path / "containers").mkdir()
    (tmp_path / "containers/containers.conf").touch()
    assert lines.place(ENGINES["podman"]) == tmp_path / "containers/containers.conf"
    with pytest.raises(PyruncError, match="crio runs as root only"):
        lines.places(ENGINES["crio"])


def test_all_that_may_have_been_changed() -> None:
    paths = {change.path for change in lines.everything(ENGINES["containerd"], {})}
    for plugin in CRI_PLUGINS.values():
        assert ("plugins", plugin, "containerd", "runtimes", "pyrunc") in paths
        assert ("plugins", plugin, "containerd", "default_runtime_name") in paths
