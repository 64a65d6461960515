"""The manifests for Kubernetes: valid YAML, and a script of the DaemonSet that installs pyrunc."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from pyrunc.engines import manifests


@pytest.fixture
def documents() -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(manifests.manifests("registry.example/pyrunc:1")))


def test_the_runtime_class_names_the_handler(documents: list[dict[str, Any]]) -> None:
    runtime, daemons = documents
    assert (runtime["kind"], runtime["handler"], runtime["metadata"]["name"]) == ("RuntimeClass", "pyrunc", "pyrunc")
    pod = daemons["spec"]["template"]["spec"]
    assert daemons["spec"]["selector"]["matchLabels"] == daemons["spec"]["template"]["metadata"]["labels"]
    assert {one["image"] for one in pod["containers"] + pod["initContainers"]} == {"registry.example/pyrunc:1"}
    assert pod["volumes"] == [{"name": "host", "hostPath": {"path": "/"}}]


def script(documents: list[dict[str, Any]], place: Path) -> str:
    """The script, for a host at place/host and an image at place/image."""
    (container,) = documents[1]["spec"]["template"]["spec"]["initContainers"]
    text: str = container["args"][0]
    return text.replace("/host", f"{place}/host").replace(" /opt/pyrunc ", f" {place}/image ").replace(
        "$(/opt/pyrunc", f"$({place}/image"
    )  # fmt: skip


def test_the_script_installs_and_restarts_only_after_a_change(documents: list[dict[str, Any]], tmp_path: Path) -> None:
    """Programs that record their arguments replace chroot and nsenter."""
    program = tmp_path / "image/bin/pyrunc"
    tools = tmp_path / "tools"
    for folder in (program.parent, tools, tmp_path / "host/opt", tmp_path / "host/etc/containerd"):
        folder.mkdir(parents=True)
    config = tmp_path / "host/etc/containerd/config.toml"
    program.write_text('#!/bin/sh\necho "pyrunc version $(cat "$0.version")"\n')
    program.chmod(0o755)
    (tools / "chroot").write_text(f'#!/bin/sh\necho "chroot $*" >> {tmp_path}/called\necho lines > {config}\n')
    (tools / "nsenter").write_text(f'#!/bin/sh\necho "nsenter $*" >> {tmp_path}/called\n')
    for tool in tools.iterdir():
        tool.chmod(0o755)
    text = script(documents, tmp_path)
    calls = []
    for version in ("1.0", "1.0", "2.0"):
        Path(f"{program}.version").write_text(version)
        subprocess.run(["sh", "-c", text], check=True, env={"PATH": f"{tools}:{os.environ['PATH']}"})
        calls.append((tmp_path / "called").read_text().splitlines())
        (tmp_path / "called").unlink()
        assert os.readlink(tmp_path / "host/opt/pyrunc") == f"pyrunc-{version}"
    changed = (
        f"chroot {tmp_path}/host /opt/pyrunc/bin/pyrunc integrate containerd --write --path /opt/pyrunc/bin/pyrunc"
    )
    assert calls == [[changed, "nsenter --target 1 --mount -- systemctl restart containerd"], [changed], [changed]]
    assert sorted(os.listdir(tmp_path / "host/opt")) == ["pyrunc", "pyrunc-1.0", "pyrunc-2.0"]
