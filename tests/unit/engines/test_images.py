"""The images of the engines' tests."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from pathlib import Path

from tests.engines.images import Image, archive, layer, publish

IMAGE = Image("localhost/box:1", {"bin/sh": b"#!", "bin/ls@": b"sh"}, ("sh",), user="1000")


def test_a_layer_has_files_links_and_directories() -> None:
    with tarfile.open(fileobj=io.BytesIO(layer(IMAGE))) as tar:
        found = {entry.name: entry for entry in tar}
    assert found["bin/ls"].linkname == "sh"
    assert found["bin/sh"].size == 2
    assert found["tmp"].mode == 0o1777
    assert found["bin"].isdir()


def test_an_archive_names_its_parts(tmp_path: Path) -> None:
    archive(IMAGE, tmp_path / "box.tar")
    with tarfile.open(tmp_path / "box.tar") as tar:
        parts = {entry.name: (tar.extractfile(entry) or io.BytesIO()).read() for entry in tar}
    (manifest,) = json.loads(parts["manifest.json"])
    config = json.loads(parts[manifest["Config"]])
    assert manifest["RepoTags"] == ["localhost/box:1"]
    assert config["config"]["User"] == "1000"
    digest = hashlib.sha256(parts[manifest["Layers"][0]]).hexdigest()
    assert config["rootfs"]["diff_ids"] == [f"sha256:{digest}"]


def test_a_registry_finds_manifest_and_blobs(tmp_path: Path) -> None:
    publish(IMAGE._replace(name="example.org/some/box:2"), tmp_path)
    manifest = json.loads((tmp_path / "manifests/some/box/2").read_bytes())
    for part in (manifest["config"], *manifest["layers"]):
        blob = (tmp_path / "blobs" / part["digest"]).read_bytes()
        assert len(blob) == part["size"]
        assert part["digest"] == "sha256:" + hashlib.sha256(blob).hexdigest()
