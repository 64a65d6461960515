"""foreign: files that users give in place of a runtime's config.json (N6)."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from pyrunc.errors import PyruncError
from pyrunc.libcontainer.spec.foreign import missing_config, refuse_foreign
from tests.support.plans import minimal


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ({"architecture": "amd64", "config": {}, "rootfs": {"type": "layers"}}, "an image's configuration"),
        ({"schemaVersion": 2, "layers": []}, "an image's manifest"),
        ({"schemaVersion": 2, "manifests": []}, "an image's manifest"),
        ([{"Config": "a.json", "Layers": []}], "an image's manifest"),
        ([{"Id": "a", "Config": {}}], "the output of an engine's inspect"),
        ({"apiVersion": "v1", "kind": "Pod"}, "a file for an engine or a cluster"),
        ({"args": ["sh"], "cwd": "/"}, "a process, such as exec --process takes"),
        ({"ociVersion": "1.0.2", "id": "a", "status": "running", "bundle": "/b"}, "the output of state"),
    ],
)
def test_what_else_it_is(value: Any, kind: str) -> None:
    with pytest.raises(PyruncError) as caught:
        refuse_foreign(value)
    assert caught.value.message == f"this is {kind}, not a runtime's configuration"
    assert caught.value.hint


@pytest.mark.parametrize("value", [{}, [], "x", 1, None, [1], minimal()])
def test_what_is_only_broken_is_left_to_the_schema(value: Any) -> None:
    refuse_foreign(value)


def test_the_directory_and_the_cure_are_named(tmp_path: Path) -> None:
    error = missing_config(str(tmp_path), "config.json")
    assert error.message == f"JSON specification file config.json not found in {tmp_path}"
    assert error.hint == "`pyrunc spec` writes one to start from"


CONFIGURATION = '{"ociVersion": "1.2.0", "root": {"path": "rootfs"}}'


@pytest.mark.parametrize(
    ("files", "named"),
    [
        ({"spec.json": CONFIGURATION}, "spec.json"),
        ({"spec.json": CONFIGURATION, "broker.json": '{"policies": {}}', "cut.json": "{"}, "spec.json"),
        ({"profile.json": '{"defaultAction": "SCMP_ACT_ERRNO"}'}, ""),
        ({"state.json": '{"ociVersion": "1.2.0", "id": "box", "root": "/"}'}, ""),
        ({"list.json": "[]"}, ""),
        ({"bytes.json": "\udcff"}, ""),
        ({"deep.json": "[" * 100000}, ""),
        ({"large.json": CONFIGURATION + " " * (1 << 20)}, ""),
        ({"a.json": CONFIGURATION, "b.json": CONFIGURATION}, ""),
    ],
)
def test_a_file_that_looks_like_a_configuration_is_named(files: dict[str, str], named: str, tmp_path: Path) -> None:
    for name, text in files.items():
        (tmp_path / name).write_bytes(text.encode("utf-8", "surrogateescape"))
    os.mkfifo(tmp_path / "fifo.json")  # nobody writes to it
    (tmp_path / "directory.json").mkdir()
    begin = f"--config {named} takes the file that is there; " if named else ""
    assert missing_config(str(tmp_path), "config.json").hint == begin + "`pyrunc spec` writes one to start from"


def test_a_directory_that_does_not_exist_is_no_place_for_spec(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for name in ("missing", "file"):
        error = missing_config(f"{tmp_path}/{name}", "config.json")
        assert error.hint == f"there is no directory {tmp_path}/{name}"


@pytest.mark.parametrize(
    ("made", "hint"),
    [
        ("oci-layout", "this is an image, not a bundle"),
        ("../config.json bin", "this is a root file system: the bundle is the directory above"),
        ("spec.json", "`pyrunc spec` writes one to start from"),
    ],
)
def test_why_it_is_missing(made: str, hint: str, tmp_path: Path) -> None:
    (tmp_path / "it").mkdir()
    for name in made.split():
        (tmp_path / "it" / name).write_text("")
    assert missing_config(str(tmp_path / "it"), "config.json").hint.startswith(hint)
