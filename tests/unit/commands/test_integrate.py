"""commands/integrate.py: the output, and which words exclude each other."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest

from pyrunc.cli.integrate import ENGINES
from pyrunc.commands import integrate
from pyrunc.commands.settings import Settings
from pyrunc.engines import trial
from pyrunc.errors import PyruncError

SETTINGS = Settings("pyrunc", "/r", False, "cgroupfs", None)
SYSTEMD = Settings("pyrunc", "/r", False, "systemd", None)


def call(engine: str, settings: Settings = SETTINGS, **changes: Any) -> int:
    params: dict[str, Any] = {
        "write": False, "undo": False, "check": False, "file": "", "path": "", "default": False, "image": "",
    }  # fmt: skip
    return integrate.integrate(settings, engine, **{**params, **changes})


def test_completion_offers_every_engine() -> None:
    assert integrate.NAMES == ENGINES


def test_the_lines_are_printed(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "daemon.json"
    assert call("docker", file=str(file), path="/bin/true") == 0
    assert json.loads(capfd.readouterr().out) == {"runtimes": {"pyrunc": {"path": "/bin/true"}}}
    assert not file.exists()


def test_the_lines_suit_the_version_of_the_file(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "config.toml"
    file.write_text("version = 3\n")
    assert call("containerd", SYSTEMD, file=str(file), path="/bin/true") == 0
    (plugin,) = tomllib.loads(capfd.readouterr().out)["plugins"].items()
    assert plugin[0] == "io.containerd.cri.v1.runtime"
    assert plugin[1]["containerd"]["runtimes"]["pyrunc"]["options"]["SystemdCgroup"] is True


def test_written_and_undone(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "daemon.json"
    file.write_text("{}")
    assert call("docker", write=True, file=str(file), path="/bin/true") == 0
    assert capfd.readouterr().out.splitlines() == [
        f"{file}: written", f"{file}.before-pyrunc: the file as it was", "then: systemctl reload docker",
    ]  # fmt: skip
    assert call("docker", write=True, file=str(file), path="/bin/true") == 0
    assert capfd.readouterr().out == f"{file}: has the lines already\n"
    assert call("docker", undo=True, file=str(file)) == 0
    assert capfd.readouterr().out == f"{file}: restored as it was\nthen: systemctl reload docker\n"
    assert call("docker", undo=True, file=str(file)) == 0
    assert capfd.readouterr().out == f"{file}: nothing of pyrunc is in it\n"


def test_a_disabled_cri_plugin_is_told(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "config.toml"
    file.write_text('version = 2\ndisabled_plugins = ["cri"]\n')
    call("containerd", write=True, file=str(file), path="/bin/true")
    assert "disabled_plugins has the CRI plugin" in capfd.readouterr().out


def test_kubernetes(capfd: pytest.CaptureFixture[str]) -> None:
    assert call("kubernetes", image="registry.example/pyrunc:1") == 0
    assert "image: registry.example/pyrunc:1\n" in capfd.readouterr().out


def test_a_check_is_told_in_a_line(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    asked: list[object] = []

    def check(*words: object) -> str:
        asked.append(words)
        return "it ran"

    monkeypatch.setattr(trial, "check", check)
    assert call("docker", check=True, path="/bin/true", image="x") == 0
    assert capfd.readouterr().out == "it ran\n"
    assert asked == [("docker", "/bin/true", False, "x")]


@pytest.mark.parametrize(
    ("engine", "words", "said"),
    [
        ("lxc", {}, 'unknown engine "lxc"'),
        ("docker", {"write": True, "undo": True}, "--write, --undo and --check exclude each other"),
        ("docker", {"undo": True, "path": "/p"}, "--undo takes neither --path nor --default"),
        ("docker", {"image": "x"}, "--image is for kubernetes, and for docker with --check"),
        ("podman", {"check": True, "image": "x"}, "--image is for kubernetes, and for docker with --check"),
        ("kubernetes", {"write": True}, "kubernetes has no file here"),
        ("docker", {"path": "/nowhere"}, "/nowhere is no program that an engine can start"),
        ("docker", {"path": "/etc"}, "/etc is no program that an engine can start"),
    ],
)
def test_what_makes_no_sense(engine: str, words: dict[str, Any], said: str) -> None:
    with pytest.raises(PyruncError) as caught:
        call(engine, **words)
    assert caught.value.message == said


def test_the_program_is_the_one_that_was_called(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    program = tmp_path / "pyrunc"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    for called in (str(program), "pyrunc"):
        monkeypatch.setattr("sys.argv", [called])
        call("docker", file=str(tmp_path / "f"))
        assert json.loads(capfd.readouterr().out)["runtimes"]["pyrunc"]["path"] == str(program)
    monkeypatch.setattr("sys.argv", [str(tmp_path / "pyrunc/__main__.py")])
    with pytest.raises(PyruncError, match="is no program") as caught:
        call("docker", file=str(tmp_path / "f"))
    assert caught.value.hint == "name pyrunc by --path"
