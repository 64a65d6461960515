"""commands/seccomp.py: what a profile decides, profiles from files, and refused command lines. Nothing is run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
import pytest

from pyrunc.cli import seccomp as cli
from pyrunc.commands import seccomp
from pyrunc.commands.settings import Settings
from pyrunc.errors import PyruncError
from pyrunc.libcontainer.seccomp import compiler
from pyrunc.libcontainer.seccomp.recorded import Refusal
from tests.support.plans import minimal
from tests.support.seccomp import default_profile

OPTIONS = seccomp._DEFAULTS


@pytest.fixture
def settings() -> Settings:
    return Settings("pyrunc", "/nowhere", False, "cgroupfs", None)


@pytest.fixture
def profile(tmp_path: Path) -> Path:
    path = tmp_path / "profile.json"
    path.write_text(json.dumps(default_profile()))
    return path


def call(settings: Settings, action: str, *words: str, **options: Any) -> int:
    return seccomp.seccomp(settings, action, words, **{**OPTIONS, **options})


def test_a_decision_is_a_sentence(settings: Settings, profile: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert call(settings, "explain", "mount", profile=str(profile)) == 0
    assert capfd.readouterr().out == "mount: SCMP_ACT_ERRNO (EPERM) by /linux/seccomp/defaultAction\n"
    assert call(settings, "explain", "clone", "0x11", profile=str(profile)) == 0
    assert capfd.readouterr().out == (
        "clone 0x11: SCMP_ACT_ALLOW by /linux/seccomp/syscalls/7, if argument 0 & 0x7e020000 == 0x0\n"
    )


def test_without_arguments_the_conditions_are_listed(
    settings: Settings, profile: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    call(settings, "explain", "socket", profile=str(profile))
    first, second = capfd.readouterr().out.splitlines()
    assert first.endswith("(with all arguments 0)")
    assert second == "socket: SCMP_ACT_ALLOW by /linux/seccomp/syscalls/6, if argument 0 != 0x28"


def test_a_decision_as_json(settings: Settings, profile: Path, capfd: pytest.CaptureFixture[str]) -> None:
    call(settings, "explain", "socket", profile=str(profile), format="json")
    value = json.loads(capfd.readouterr().out)
    assert (value["action"], value["pointer"]) == ("SCMP_ACT_ALLOW", "/linux/seccomp/syscalls/6")
    assert value["withArguments"][0]["conditions"] == ["argument 0 != 0x28"]
    call(settings, "explain", "1000", profile=str(profile), format="json")
    assert "newer" in json.loads(capfd.readouterr().out)["reason"]


def test_a_config_has_a_profile(tmp_path: Path) -> None:
    config = minimal()
    config.setdefault("linux", {})["seccomp"] = default_profile()
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert seccomp.read_profile(str(tmp_path / "config.json")) == default_profile()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", "is no seccomp profile"),
        ("{}", "is no seccomp profile"),
        ('{"ociVersion": "1.0.0"}', "has no linux.seccomp"),
        ('{"ociVersion": "1.0.0", "linux": 5}', "has no linux.seccomp"),
        ('{"ociVersion": "1.0.0", "linux": [1]}', "has no linux.seccomp"),
        ('{"ociVersion": "1.0.0", "linux": {"seccomp": 7}}', "is no seccomp profile"),
        ('{"defaultAction": "SCMP_ACT_LOG", "syscalls": 5}', "syscalls must be an array"),
        ('{"defaultAction": "SCMP_ACT_NONE"}', "defaultAction must be one of"),
        ('{"defaultAction": "SCMP_ACT_LOG", "syscalls": [{"names": []}]}', "syscalls"),
        (
            '{"defaultAction": "SCMP_ACT_LOG", "syscalls": [{"names": ["a"], "includes": {"caps": ["X"]}}]}',
            "depends on",
        ),
        ("nonsense", "no JSON"),
    ],
)
def test_what_is_no_profile(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "profile.json"
    path.write_text(text)
    with pytest.raises(PyruncError, match=message):
        seccomp.read_profile(str(path))


@pytest.mark.parametrize(
    ("action", "words", "options", "message"),
    [
        ("look", (), {}, 'unknown action "look"'),
        ("record", ("x",), {}, "--output is missing"),
        ("record", (), {"output": "-"}, "name one container or bundle"),
        ("record", ("x",), {"output": "-", "since": "now"}, '--since is load or start, not "now"'),
        ("record", ("x",), {"output": "-", "diff": "/nowhere/p"}, "/nowhere/p: no such file or directory"),
        ("explain", ("a", "b"), {}, "name one container or bundle"),
        ("explain", ("nothing",), {}, "container does not exist"),
        ("record", ("x",), {"output": "-", "since": "start"}, "--since has no effect on `seccomp record ID`"),
        ("record", ("x",), {"output": "-", "config": "c"}, "--config has no effect on `seccomp record ID`"),
        ("record", ("./x",), {"output": "-", "seconds": 1}, "--seconds has no effect on `seccomp record BUNDLE`"),
        ("record", ("x",), {"output": "-", "format": "json"}, "--format has no effect on `seccomp record ID`"),
        ("record", ("x",), {"output": "-", "seconds": -1}, "--seconds is a number of seconds, not -1"),
        ("explain", ("./x",), {"output": "-"}, "--output has no effect on `seccomp explain BUNDLE`"),
        ("explain", ("x",), {"arch": "SCMP_ARCH_X86"}, "--arch has no effect on `seccomp explain ID`"),
        (
            "explain",
            ("read",),
            {"profile": "P", "arguments": True},
            "--arguments has no effect on `seccomp explain --p",
        ),
        ("explain", ("x",), {"format": "xml"}, "invalid format option"),
        ("explain", (), {"profile": "P"}, "no system call is named"),
        ("explain", ("write", "one"), {"profile": "P"}, "one is no number"),
        ("explain", ("write", *"1234567"), {"profile": "P"}, "at most 6 arguments, not 7"),
        ("explain", ("write", "0x10000000000000000"), {"profile": "P"}, "has more than 64 bits"),
        ("explain", ("write", "-9223372036854775809"), {"profile": "P"}, "has more than 64 bits"),
        ("explain", ("mk\udcff",), {"profile": "P"}, "does not know the system call mk"),
        ("explain", ("mkdir\0",), {"profile": "P"}, "does not know the system call mkdir"),
        ("explain", ("write",), {"profile": "P", "arch": "SCMP_ARCH_\udcff"}, "does not know the architecture"),
        ("explain", ("writx",), {"profile": "P"}, "does not know the system call writx"),
    ],
)
def test_what_is_refused(
    settings: Settings, profile: Path, action: str, words: tuple[str, ...], options: dict[str, Any], message: str
) -> None:
    if options.get("profile"):
        options = {**options, "profile": str(profile)}
    with pytest.raises(PyruncError, match=message):
        call(settings, action, *words, **options)


def test_the_hint_of_an_option_names_where_it_belongs(settings: Settings) -> None:
    with pytest.raises(PyruncError) as caught:
        call(settings, "explain", "x", diff="p")
    assert caught.value.hint == "it is for `seccomp record BUNDLE` and `seccomp record ID`"


def test_a_word_that_is_neither(settings: Settings) -> None:
    with pytest.raises(PyruncError) as caught:
        call(settings, "record", "nothing", output="-")
    assert caught.value.hint == "there is no directory nothing either, so it is not a bundle"


def test_each_option_has_its_default_and_a_form() -> None:
    (command,) = cli.COMMANDS
    options = {param.name: param.default for param in command.params if isinstance(param, click.Option)}
    assert options == seccomp._DEFAULTS
    assert {name for names in seccomp._FORMS.values() for name in names} == set(options)


def test_sentences_about_refusals() -> None:
    assert seccomp._sentence(Refusal("chroot", 1, 1, "/x/0")) == "chroot refused 1 time by /x/0 (errno EPERM)"
    assert seccomp._sentence(Refusal("chroot", 2, 0, "")) == (
        "chroot refused 2 times by a filter or tracer that is not the configuration's (errno none)"
    )
    assert seccomp._members(Refusal("chroot", 2, 13, "")) == {"call": "chroot", "count": 2, "errno": "EACCES"}


def test_the_option_of_a_file_that_is_not_there(settings: Settings) -> None:
    with pytest.raises(PyruncError) as caught:
        call(settings, "record", "./x", output="-", diff="/nowhere/p")
    assert caught.value.hint == "--diff names a file"


@pytest.mark.parametrize(
    ("word", "bundle"),
    [("x", False), ("./x", True), (".", True), ("/a/b", True), ("there", True)],
)
def test_bundles_and_ids(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, word: str, bundle: bool) -> None:
    (tmp_path / "there").mkdir()
    monkeypatch.chdir(tmp_path)
    assert seccomp._is_bundle(word) == bundle


def test_a_configuration_without_a_filter_gets_one_that_allows_all() -> None:
    spec: Any = minimal()
    spec.pop("linux", None)
    assert seccomp._filter_of(spec) is None
    assert spec["linux"]["seccomp"] == {
        "defaultAction": "SCMP_ACT_ALLOW",
        "architectures": compiler.machine_architectures(),
    }
    spec["linux"]["seccomp"] = default_profile()
    assert seccomp._filter_of(spec) == spec["linux"]["seccomp"] == default_profile()


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("none/p.json", "none/p.json: no such file or directory"),
        ("file/p.json", "file/p.json: not a directory"),
        ("new/", "new/: no such file or directory"),
        (".", "is a directory"),
    ],
)
def test_a_place_where_no_profile_can_be_written(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str, message: str
) -> None:
    """It is refused before the bundle is read."""
    (tmp_path / "file").write_text("")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(PyruncError, match=message):
        call(settings, "record", "/nowhere", output=place)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("place", ["file", "new", "/dev/null", "dangling"])
def test_a_place_for_a_profile(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("old")
    (tmp_path / "dangling").symlink_to("later")
    assert seccomp._place(str(tmp_path / place)) == str(tmp_path / place)
    assert (tmp_path / "file").read_text() == "old"
    assert not (tmp_path / "new").exists()
