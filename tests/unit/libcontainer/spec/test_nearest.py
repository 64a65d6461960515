"""Unknown members that are near misses of known ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pyrunc._generated import schemas, validators
from pyrunc.errors import PyruncError
from pyrunc.libcontainer.spec import load, nearest
from tests.support.full_config import full_config
from tests.support.plans import minimal


@pytest.mark.parametrize(
    ("name", "known", "meant"),
    [
        ("readOnly", ("path", "readonly"), "readonly"),
        ("proces", ("process", "root"), "process"),
        ("PROCESS", ("process",), "process"),
        ("process_", ("process",), "process"),
        ("mount", ("mounts",), "mounts"),
        ("additional_gids", ("additionalGids",), "additionalGids"),
        ("additonalGids", ("additionalGids",), "additionalGids"),
        ("noNewPriviledges", ("noNewPrivileges",), "noNewPrivileges"),
        ("arsg", ("args",), "args"),
        ("gdi", ("uid", "gid"), ""),
        ("label", ("mounts", "linux"), ""),
        ("swapp", ("swap",), "swap"),
        ("vendor.example/thing", ("thing",), ""),
        ("", ("uid",), ""),
    ],
)
def test_the_nearest_name(name: str, known: tuple[str, ...], meant: str) -> None:
    assert nearest.nearest(name, known) == meant


def test_edits() -> None:
    assert nearest.edits("kitten", "sitting", 5) == 3
    assert nearest.edits("abcd", "abdc", 2) == 1
    assert nearest.edits("abc", "abcdefgh", 2) > 2


def test_no_name_of_the_specification_is_a_near_miss_of_its_neighbours() -> None:
    """Otherwise, of two correct names, a new one that we do not know would be reported as a misspelt other one."""
    validators.unknown.clear()
    assert validators.config(full_config()) is None
    assert validators.unknown == []
    assert "rootfsPropagation" in schemas.CONFIG["$defs"]["linux"]["properties"]


def _loaded(directory: Path, config: Any) -> None:
    (directory / "config.json").write_text(json.dumps(config))
    load.load(str(directory))


@pytest.mark.parametrize(
    ("place", "wrong", "right"),
    [
        ((), "hostName", "hostname"),
        (("root",), "readOnly", "readonly"),
        (("process",), "noNewPriviledges", "noNewPrivileges"),
        (("process", "user"), "additionalGIDs", "additionalGids"),
        (("linux",), "maskedPath", "maskedPaths"),
        (("linux", "namespaces", 0), "Path", "path"),
    ],
)
def test_n5_a_near_miss_is_a_warning_in_run(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], place: tuple[Any, ...], wrong: str, right: str
) -> None:
    """N5: with `readOnly` the container ran writable without a warning."""
    config = minimal()
    holder: Any = config
    for part in place:
        holder = holder[part]
    holder[wrong] = "x"
    _loaded(tmp_path, config)
    err = capfd.readouterr().err
    at = "".join(f"/{part}" for part in (*place, wrong))
    assert at in err
    assert right in err
    assert "is unknown and ignored" in err


def test_n5_what_is_like_nothing_is_ignored_as_the_specification_asks(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    _loaded(tmp_path, minimal(vendorExtension={"process": 1, "readOnly": True}))
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(("right", "wrong", "at"), [("process", "proces", "/process"), ("root", "roots", "/root")])
def test_n5_the_error_that_follows_names_it(tmp_path: Path, right: str, wrong: str, at: str) -> None:
    """N5: the error for `proces` was "process must not be empty"."""
    config = minimal()
    config[wrong] = config.pop(right)
    with pytest.raises(PyruncError) as caught:
        _loaded(tmp_path, config)
    assert caught.value.pointer == at
    assert f'"{wrong}" is unknown' in caught.value.line()
    assert f"rename it to {right}" in caught.value.line()


def test_n5_how_many_more_there_are(tmp_path: Path) -> None:
    config = minimal()
    config["process"]["args"] = 5
    config["process"]["cwd"] = "here"
    config["hostname"] = "x"  # without a uts namespace
    with pytest.raises(PyruncError) as caught:
        _loaded(tmp_path, config)
    assert f"(2 more: pyrunc validate {tmp_path})" in caught.value.line()
    config["process"].update(args=["true"], cwd="/")
    with pytest.raises(PyruncError) as caught:
        _loaded(tmp_path, config)
    assert "more:" not in caught.value.line()
    config["domainname"] = "y"
    with pytest.raises(PyruncError) as caught:
        _loaded(tmp_path, config)
    assert f"(1 more: pyrunc validate {tmp_path})" in caught.value.line()
