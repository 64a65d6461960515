"""The hot commands, with a replacement for the library behind them."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

import pytest

from pyrunc._generated.argv import COMMANDS
from pyrunc.commands import dispatch, lifecycle
from pyrunc.commands.settings import Settings
from pyrunc.errors import PyruncError
from pyrunc.libcontainer import deletion
from pyrunc.libcontainer import lifecycle as operations

STATE = {
    "ociVersion": "1.3.0", "id": "c1", "pid": 7, "status": "running", "bundle": "/b", "rootfs": "/b/rootfs",
    "created": "2026-01-02T03:04:05.123456789Z", "annotations": {"a": "b"}, "owner": "root",
}  # fmt: skip


def settings(**changes: Any) -> Settings:
    values: dict[str, Any] = {
        "name": "runc", "root": "/r", "root_given": False, "cgroup_manager": "cgroupfs", "rootless": None,
    }  # fmt: skip
    return Settings(**{**values, **changes})


def params(command: str, **changes: Any) -> dict[str, Any]:
    return {**COMMANDS[command][1], "id": "c1", **changes}


def test_create_hands_its_options_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "b").mkdir()
    seen: list[Any] = []
    monkeypatch.setattr(operations, "create", seen.append)
    given = params(
        "create",
        bundle="b",
        pid_file="pid",
        timeline="t",
        console_socket="s",
        preserve_fds=2,
        no_pivot=True,
        config="c",
    )
    assert lifecycle.create(settings(rootless=True), **given) == 0
    options = seen[0]
    here = os.path.realpath(tmp_path)
    assert (options.id, options.root, options.bundle, options.config) == ("c1", "/r", f"{here}/b", "c")
    assert (options.pid_file, options.timeline, options.console_socket) == (f"{here}/pid", f"{here}/t", f"{here}/s")
    assert (options.preserve_fds, options.no_pivot, options.no_new_keyring, options.rootless) == (2, True, False, True)
    assert (options.command, options.cgroup_manager, options.detach) == ("create", "cgroupfs", False)
    assert os.getcwd() == f"{here}/b"


def test_run_has_flags_of_its_own_and_the_processs_exit_code(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def run(options: Any) -> int:
        seen.append(options)
        return 42

    monkeypatch.setattr(operations, "run", run)
    assert lifecycle.run(settings(), **params("run", detach=True, keep=True, no_subreaper=True)) == 42
    options = seen[0]
    assert (options.command, options.detach, options.keep, options.no_subreaper) == ("run", True, True, True)


@pytest.mark.parametrize(("command", "work"), [("create", lifecycle.create), ("run", lifecycle.run)])
def test_a_failure_says_what_failed_in_the_name_of_the_binary(
    command: str, work: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: Any) -> int:
        raise PyruncError("broken", pointer="/root", hint="mend it")

    monkeypatch.setattr(operations, command, fail)
    with pytest.raises(PyruncError) as caught:
        work(settings(), **params(command))
    assert caught.value.line() == f"runc {command} failed: broken (at /root; mend it)"


def test_a_pointer_into_the_profile_of_an_option_names_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bundle is the working directory by then, and the profile's path is relative to the caller's."""
    bundle = tmp_path / "bundle"
    bundle.mkdir()
    monkeypatch.chdir(tmp_path)

    def fail(_: Any) -> int:
        raise PyruncError("broken", pointer="/linux/seccomp/defaultAction")

    monkeypatch.setattr(operations, "run", fail)
    for profile, document, pointer in (
        ("p.json", (f"{tmp_path}/p.json",) * 2, "/defaultAction"),
        ("", ("config.json", f"{bundle}/config.json"), "/linux/seccomp/defaultAction"),
    ):
        monkeypatch.chdir(tmp_path)
        with pytest.raises(PyruncError) as caught:
            lifecycle.run(settings(), **params("run", bundle="bundle", seccomp_profile=profile))
        assert (caught.value.document, caught.value.pointer) == (document, pointer)


def test_a_missing_bundle_is_named_as_runc_names_it(tmp_path: Path) -> None:
    with pytest.raises(PyruncError) as caught:
        lifecycle.create(settings(), **params("create", bundle=f"{tmp_path}/no"))
    assert caught.value.reason() == f"runc create failed: chdir {tmp_path}/no: no such file or directory"


def test_what_a_launch_refuses() -> None:
    with pytest.raises(PyruncError, match="must not be negative, not -1"):
        lifecycle.create(settings(), **params("create", preserve_fds=-1))


def test_state_prints_indented_json_without_a_newline(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(operations, "state", lambda root, id: {**STATE, "id": f"{root} {id}"})
    assert lifecycle.state(settings(), id="c1") == 0
    assert capfd.readouterr().out == json.dumps({**STATE, "id": "/r c1"}, indent=2)


def test_start_and_kill(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    monkeypatch.setattr(operations, "start", lambda *args: seen.append(args))
    monkeypatch.setattr(operations, "kill", lambda *args: seen.append(args))
    assert dispatch.execute("start", settings(), {"id": "c1", "timeline": ""}) == 0
    assert dispatch.execute("start", settings(), {"id": "c1", "timeline": "/t/../x"}) == 0
    kill = {"id": "c1", "signal": "KILL", "all": True, "regex": False}
    assert dispatch.execute("kill", settings(), kill) == 0
    assert seen == [("/r", "c1", "", ""), ("/r", "c1", "", "/x"), ("/r", "c1", 9, True)]


def test_delete_tries_every_id(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    seen = []

    def delete(root: str, id: str, force: bool) -> None:
        seen.append((root, id, force))
        if id == "bad":
            raise PyruncError("container does not exist")
        if id == "worse":
            raise PermissionError(errno.EPERM, "x", "/f")

    monkeypatch.setattr(deletion, "delete", delete)
    with pytest.raises(PyruncError, match="/f: operation not permitted"):
        lifecycle.delete(settings(), ids=("bad", "good", "worse", "last"), force=True, regex=False)
    assert seen == [("/r", id, True) for id in ("bad", "good", "worse", "last")]
    assert "container does not exist" in capfd.readouterr().err
    assert lifecycle.delete(settings(), ids=("good",), force=False, regex=False) == 0


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (
            {"quiet": False, "format": "table"},
            "ID          PID         STATUS      BUNDLE      CREATED                          OWNER\n"
            "c1          7           running     /b          2026-01-02T03:04:05.123456789Z   root\n",
        ),
        ({"quiet": True, "format": "table"}, "c1\n"),
        ({"quiet": False, "format": "json"}, json.dumps([STATE], separators=(",", ":")) + "\n"),
    ],
)
def test_list(
    options: dict[str, Any], text: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(operations, "list_states", lambda root: [STATE])
    assert lifecycle.list_containers(settings(), **options) == 0
    assert capfd.readouterr().out == text


def test_what_is_listed_does_not_steer_the_terminal(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Another user's record may contain any text; a row without control characters is printed as it is."""
    hostile = {**STATE, "bundle": "/a\x1b[2J\n b", "created": "\x9b1m", "owner": "\u2028x\u00a0y"}
    wide = {**STATE, "bundle": "/\u00e9  \u4e16"}
    monkeypatch.setattr(operations, "list_states", lambda root: [STATE, hostile, wide])
    assert lifecycle.list_containers(settings(), quiet=False, format="table") == 0
    lines = capfd.readouterr().out.split("\n")
    assert [line.split("running", 1)[1].split() for line in lines[1:4]] == [
        ["/b", STATE["created"], "root"],
        ["/a\\x1b[2J", "b", "\\x9b1m", "x", "y"],
        ["/\u00e9", "\u4e16", STATE["created"], "root"],
    ]


def test_list_of_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    root = f"{tmp_path}/no"
    assert lifecycle.list_containers(settings(root=root), quiet=False, format="json") == 0
    assert lifecycle.list_containers(settings(root=root), quiet=False, format="table") == 0
    assert capfd.readouterr().out == "null\nID          PID         STATUS      BUNDLE      CREATED     OWNER\n"
    with pytest.raises(PyruncError, match=f"^open {root}: no such file or directory "):
        lifecycle.list_containers(settings(root=root, root_given=True), quiet=False, format="json")
    with pytest.raises(PyruncError, match="invalid format option"):
        lifecycle.list_containers(settings(root=root), quiet=True, format="yaml")


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("TERM", 15), ("SIGTERM", 15), ("sigterm", 15), ("15", 15), ("", 15), ("0", 0), ("-9", -9), ("+9", 9),
        ("KILL", 9), ("99", 99), ("RTMIN", 34), ("SIGRTMIN+3", 37), ("rtmin+30", 64), ("RTMAX-1", 63), ("SIGRTMAX", 64),
        ("CHLD", 17), ("STKFLT", 16), ("IO", 29), ("SYS", 31), ("IOT", 6),
    ],
)  # fmt: skip
def test_signals(text: str, number: int) -> None:
    assert lifecycle.parse_signal(text) == number


@pytest.mark.parametrize(
    "text", ["FOO", "SIG", "SIGSIGTERM", "_DFL", "_BLOCK", "RTMIN-1", "RTMIN+31", "RTMIN+", "1.5", "--9",
        "9" * 10, "99999999999999999999", "-99999999999999999999", "9" * 5000, "RTMIN+" + "1" * 5000, "1e3", "0x9", "٩",
        " 9", "9 "],
)  # fmt: skip
def test_unknown_signals_are_named_in_runcs_words(text: str) -> None:
    """A11: also numbers of any length."""
    with pytest.raises(PyruncError) as caught:
        lifecycle.parse_signal(text)
    assert caught.value.message == f'unknown signal "{text}"'
