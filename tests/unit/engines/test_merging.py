"""pyrunc's lines in the files that Debian and the engines ship: written, written again, removed."""

from __future__ import annotations

import json
import os
import re
import tomllib
from pathlib import Path

import pytest

from pyrunc.engines import files, lines, merging
from pyrunc.engines.lines import ENGINES, Wish
from pyrunc.errors import PyruncError

WISH = Wish("/usr/bin/pyrunc", default=True)

# Debian 12's file of containerd, the output of `containerd config default` of 1.6 and 2.x (in part), kubeadm's file,
# that of Docker's package.
CONTAINERD_DEBIAN = """\
version = 2

[plugins]
  [plugins."io.containerd.grpc.v1.cri"]
    [plugins."io.containerd.grpc.v1.cri".cni]
      bin_dir = "/usr/lib/cni"
      conf_dir = "/etc/cni/net.d"
  [plugins."io.containerd.internal.v1.opt"]
    path = "/var/lib/containerd"
"""
CONTAINERD_16 = """\
disabled_plugins = []
imports = []
oom_score = 0
version = 2

[grpc]
  address = "/run/containerd/containerd.sock"

[plugins]

  [plugins."io.containerd.grpc.v1.cri"]
    sandbox_image = "registry.k8s.io/pause:3.6"

    [plugins."io.containerd.grpc.v1.cri".containerd]
      default_runtime_name = "runc"
      snapshotter = "overlayfs"

      [plugins."io.containerd.grpc.v1.cri".containerd.default_runtime]
        runtime_type = ""

        [plugins."io.containerd.grpc.v1.cri".containerd.default_runtime.options]

      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes]

        [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
          runtime_type = "io.containerd.runc.v2"

          [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
            BinaryName = ""
            SystemdCgroup = true

    [plugins."io.containerd.grpc.v1.cri".registry]
      config_path = "/etc/containerd/certs.d"

  [plugins."io.containerd.runtime.v1.linux"]
    no_shim = false

[timeouts]
  "io.containerd.timeout.task.state" = "2s"
"""
CONTAINERD_2 = """\
version = 3
root = '/var/lib/containerd'
imports = ['/etc/containerd/conf.d/*.toml']

[plugins]
  [plugins.'io.containerd.cri.v1.images']
    snapshotter = 'overlayfs'

  [plugins.'io.containerd.cri.v1.runtime']
    enable_selinux = false

    [plugins.'io.containerd.cri.v1.runtime'.containerd]
      default_runtime_name = 'runc'

      [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes]
        [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
          runtime_type = 'io.containerd.runc.v2'

          [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
            SystemdCgroup = false
"""
CONTAINERS_CONF = """\
# The containers configuration file specifies all of the available configuration
# options and command-line flags for container engine tools like Podman & Buildah
#
[containers]

# List of annotation. Specified as
# "key = value"
#annotations = []

[network]
#network_backend = ""

[engine]
# Index to the active service
#active_service = production

# Default OCI runtime
#
runtime = "crun"

# List of the OCI runtimes that supports running containers without cgroups.
#
#runtime_supports_nocgroups = ["crun", "krun"]

[engine.runtimes]
#crun = [
#            "/usr/bin/crun",
#            "/usr/local/bin/crun",
#]

# The [engine.volume_plugins] table MUST be the last entry in this file.
[engine.volume_plugins]
#testplugin = "/run/podman/plugins/test.sock"
"""
DAEMON_JSON = """\
{
  "exec-opts": ["native.cgroupdriver=systemd"],
  "log-driver": "json-file",
  "log-opts": {
    "max-size": "100m"
  },
  "default-runtime": "runc",
  "storage-driver": "overlay2"
}
"""
CRIO = """\
[crio.image]
signature_policy = "/etc/crio/policy.json"

[crio.runtime]
default_runtime = "crun"

[crio.runtime.runtimes.crun]
runtime_path = "/usr/libexec/crio/crun"
runtime_root = "/run/crun"
monitor_path = "/usr/libexec/crio/conmon"
"""
SHIPPED = [
    ("containerd", CONTAINERD_DEBIAN), ("containerd", CONTAINERD_16), ("containerd", CONTAINERD_2),
    ("podman", CONTAINERS_CONF), ("docker", DAEMON_JSON), ("crio", CRIO), ("docker", "{}\n"), ("podman", "# mine\n"),
    ("containerd", "# mine\n"), ("containerd", ""), ("docker", ""),
]  # fmt: skip


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("KUBELET", "CRIO", "PODMAN_SHARED"):
        monkeypatch.setattr(lines, name, tmp_path / "absent")


@pytest.mark.parametrize(("engine", "text"), SHIPPED)
def test_written_and_restored(tmp_path: Path, engine: str, text: str) -> None:
    path = tmp_path / "f"
    path.write_text(text)
    assert merging.merge(ENGINES[engine], WISH, path) == (True, True)
    written = path.read_text()
    assert "pyrunc" in written
    # Each line of before, except the default's, is there, in the same order.
    changed = re.compile(r"\s*(|default_runtime_name .*|default_runtime =.*|runtime =.*)")
    kept = [line.strip() for line in text.splitlines() if not changed.fullmatch(line)]
    now = iter([line.strip() for line in written.splitlines()])
    if engine != "docker":
        assert all(line in now for line in kept)
    assert merging.merge(ENGINES[engine], WISH, path) == (False, False)
    assert path.read_text() == written
    assert merging.undo(ENGINES[engine], path) == "restored as it was"
    assert path.read_text() == text
    assert os.listdir(tmp_path) == ["f"]
    assert merging.undo(ENGINES[engine], path) == ""


@pytest.mark.parametrize("engine", sorted(ENGINES))
def test_a_file_that_was_not_there(tmp_path: Path, engine: str) -> None:
    path = tmp_path / "sub/f"
    assert merging.undo(ENGINES[engine], path) == ""
    assert merging.merge(ENGINES[engine], WISH, path) == (True, False)
    assert merging.merge(ENGINES[engine], WISH, path) == (False, False)
    assert merging.undo(ENGINES[engine], path) == "removed, since nothing else was in it"
    assert not path.exists()


def test_the_options_that_a_node_of_kubernetes_needs(tmp_path: Path) -> None:
    path = tmp_path / "f"
    for text, plugin, systemd in (
        (CONTAINERD_16, "io.containerd.grpc.v1.cri", True), (CONTAINERD_2, "io.containerd.cri.v1.runtime", False),
    ):  # fmt: skip
        path.write_text(text)
        merging.merge(ENGINES["containerd"], Wish("/opt/pyrunc"), path)
        runtimes = tomllib.loads(path.read_text())["plugins"][plugin]["containerd"]["runtimes"]
        assert runtimes["pyrunc"]["options"] == {"BinaryName": "/opt/pyrunc", "SystemdCgroup": systemd}
        assert "runc" in runtimes
        files.backup_of(path).unlink()


def test_another_path_is_written_over_and_the_first_file_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_text(DAEMON_JSON)
    merging.merge(ENGINES["docker"], Wish("/old"), path)
    assert merging.merge(ENGINES["docker"], Wish("/new"), path) == (True, False)
    assert json.loads(path.read_text())["runtimes"]["pyrunc"] == {"path": "/new"}
    assert merging.undo(ENGINES["docker"], path) == "restored as it was"
    assert path.read_text() == DAEMON_JSON


@pytest.mark.parametrize(
    ("engine", "text", "change"),
    [
        ("containerd", CONTAINERD_16, ('config_path = "/etc/containerd/certs.d"', 'config_path = "/elsewhere"')),
        ("containerd", CONTAINERD_2, ("enable_selinux = false", "enable_selinux = true")),
        ("podman", CONTAINERS_CONF, ('#network_backend = ""', 'network_backend = "cni"')),
        ("docker", DAEMON_JSON, ("overlay2", "vfs")),
        ("crio", CRIO, ("# none", "# none")),
    ],
)
def test_what_was_changed_since_stays(tmp_path: Path, engine: str, text: str, change: tuple[str, str]) -> None:
    path = tmp_path / "f"
    path.write_text(text)
    merging.merge(ENGINES[engine], WISH, path)
    path.write_text(path.read_text().replace(*change) + ("" if engine == "docker" else "# by hand\n"))
    assert merging.undo(ENGINES[engine], path).startswith("pyrunc's lines taken out")
    left = path.read_text()
    assert "pyrunc" not in left
    wanted = text.replace(*change)
    if engine == "docker":
        assert json.loads(left) == json.loads(wanted)
    else:
        assert tomllib.loads(left) == tomllib.loads(wanted)
        assert left.endswith("# by hand\n")
    assert os.listdir(tmp_path) == ["f"]


def test_without_the_kept_file_the_lines_are_taken_out_too(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_text(CONTAINERD_DEBIAN)
    merging.merge(ENGINES["containerd"], WISH, path)
    files.backup_of(path).unlink()
    assert merging.undo(ENGINES["containerd"], path).startswith("pyrunc's lines taken out")
    assert tomllib.loads(path.read_text()) == tomllib.loads(CONTAINERD_DEBIAN)


@pytest.mark.parametrize("options", ["", "  privileged_without_host_devices = true\n"])
def test_runc_stays_if_it_was_changed_or_is_not_alone(tmp_path: Path, options: str) -> None:
    path = tmp_path / "f"
    path.write_text(CONTAINERD_DEBIAN)
    merging.merge(ENGINES["containerd"], WISH, path)
    table = '[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.'
    runc = f"{table}runc]\n"
    runtimes = tomllib.loads(path.read_text())["plugins"]["io.containerd.grpc.v1.cri"]["containerd"]["runtimes"]
    assert runtimes["runc"] == {"runtime_type": "io.containerd.runc.v2"}
    text = path.read_text()
    assert runc in text
    path.write_text(text.replace(runc, runc + options) if options else f'{text}\n{table}crun]\nruntime_type = "x"\n')
    merging.undo(ENGINES["containerd"], path)
    runtimes = tomllib.loads(path.read_text())["plugins"]["io.containerd.grpc.v1.cri"]["containerd"]["runtimes"]
    assert runtimes["runc"]["runtime_type"] == "io.containerd.runc.v2"
    assert "pyrunc" not in runtimes


@pytest.mark.parametrize(
    ("engine", "text", "said"),
    [
        ("podman", "[engine\n", "no valid TOML"),
        ("docker", "{,}", "no valid JSON"),
        ("containerd", 'disabled_plugins = ["cri"]\n', "containerd's configuration has no `version`"),
        ("podman", "engine = 1\n", "engine is no table"),
    ],
)
def test_what_is_refused_stays_as_it_is(tmp_path: Path, engine: str, text: str, said: str) -> None:
    path = tmp_path / "f"
    path.write_text(text)
    with pytest.raises(PyruncError) as caught:
        merging.merge(ENGINES[engine], WISH, path)
    assert caught.value.message.startswith(str(path))
    assert said in caught.value.message
    assert path.read_text() == text
    assert os.listdir(tmp_path) == ["f"]
