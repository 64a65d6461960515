"""The command line, what containerd says on standard input, and what it reads. The whole is in tests/shim."""

from __future__ import annotations

import json
import os
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from socket import AF_UNIX, socket
from typing import Any

import pytest

from pyrunc.errors import PyruncError
from pyrunc.protobuf import MalformedError
from pyrunc.shim import bootstrap, messages


def flags(*words: str) -> bootstrap.Flags:
    return bootstrap.parse(list(words))


def test_the_command_line_is_gos() -> None:
    found = flags("-namespace", "n", "--id=i", "-address", "/a", "-publish-binary", "/c", "-debug", "start", "more")
    assert (found.namespace, found.id, found.address, found.publish_binary) == ("n", "i", "/a", "/c")
    assert (found.debug, found.info, found.action) == (True, False, "start")
    assert flags("-debug=false").debug is False
    assert flags("-v").version
    assert flags().action == ""


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["-other"], "flag provided but not defined: -other"),
        (["-id"], "flag needs an argument: -id"),
        (["-socket", "/s"], "-socket is not supported"),
    ],
)
def test_mistakes_on_the_command_line(words: list[str], text: str) -> None:
    with pytest.raises(PyruncError, match=text):
        bootstrap.parse(words)


OPTIONS = messages.pack("Options", {"root": "/r"})


def test_parameters_of_a_newer_containerd() -> None:
    other = messages.pack("TaskStart", {})
    values = {
        "instance_id": "i",
        "namespace": "n",
        "socket_dir": "/s",
        "extensions": [{"value": other}, {"value": OPTIONS}],
    }
    params, box = bootstrap._parameters(
        flags("-id", "i", "-namespace", "n"), messages.encode("BootstrapParams", values)
    )
    assert params is not None
    assert params["socket_dir"] == "/s"
    assert box == OPTIONS


def test_the_options_of_an_older_one() -> None:
    params, box = bootstrap._parameters(flags("-id", "i", "-namespace", "n"), messages.encode("Any", OPTIONS))
    assert params is None
    assert box == OPTIONS
    assert bootstrap._parameters(flags(), b"") == (None, None)
    with pytest.raises(MalformedError):
        bootstrap._parameters(flags("-id", "i"), b"\xff")


@pytest.mark.parametrize(
    ("annotations", "group"),
    [
        (None, "own"),
        ({"other": "x"}, "own"),
        ({"io.kubernetes.cri.sandbox-id": "pod"}, "pod"),
        ({"io.kubernetes.cri.sandbox-id": "pod", "io.containerd.runc.v2.group": "g"}, "g"),
        ({"io.kubernetes.cri.sandbox-id": 3}, "own"),
        ([], "own"),
    ],
)
def test_the_group_of_a_container(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, annotations: object, group: str
) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"annotations": annotations} if annotations is not None else {}))
    monkeypatch.chdir(tmp_path)
    assert bootstrap._group("own") == group


def test_a_bundle_without_a_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is a sandbox's. One that can't be read is an error."""
    monkeypatch.chdir(tmp_path)
    assert bootstrap._group("own") == "own"
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(PyruncError, match=r"config\.json of the bundle: "):
        bootstrap._group("own")


def test_what_each_containerd_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("posix.environ", {})
    assert bootstrap._answer("unix:///s", False) == b"unix:///s"
    monkeypatch.setattr("posix.environ", {b"MAX_SHIM_VERSION": b"2"})
    wanted = {"version": 2, "address": "unix:///s", "protocol": "ttrpc"}
    assert json.loads(bootstrap._answer("unix:///s", False)) == wanted
    assert messages.decode("BootstrapResult", bootstrap._answer("unix:///s", True)) == {**wanted, "version": 3}


def test_a_socket_is_found_replaced_or_made(tmp_path: Path) -> None:
    path = f"{tmp_path}/a/b/s"
    first = bootstrap._listen(path)
    assert first is not None
    assert Path(path).stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o700
    assert bootstrap._listen(path) is None
    assert bootstrap.is_served(path)
    first.close()
    assert not bootstrap.is_served(path)
    second = bootstrap._listen(path)
    assert second is not None
    second.close()
    assert not bootstrap.is_served(f"{tmp_path}/absent")


def test_one_of_many_at_the_same_time_makes_the_socket(tmp_path: Path) -> None:
    """Two containers of a pod: between bind and listen a socket looks like that of a shim that was killed."""
    for number in range(20):
        path = f"{tmp_path}/s{number}"
        with ThreadPoolExecutor(8) as pool:
            made = [listener for listener in pool.map(bootstrap._listen, [path] * 8) if listener is not None]
        assert len(made) == 1
        assert bootstrap.is_served(path)
        made[0].close()


@pytest.mark.parametrize("end", ["listen", "remove"])
def test_nobody_takes_the_place_of_a_socket_meanwhile(tmp_path: Path, end: str) -> None:
    """A `start`, or a `delete` of a shim that was killed, waits for another one that is at work on a socket."""
    path = f"{tmp_path}/s"
    (tmp_path / bootstrap.ADDRESS).write_text("unix://" + path)
    lock = bootstrap._lock(str(tmp_path))
    with socket(AF_UNIX) as bound, ThreadPoolExecutor(1) as pool:
        bound.bind(path)
        if end == "listen":
            waiting: Any = pool.submit(bootstrap._listen, path)
        else:
            waiting = pool.submit(bootstrap._remove_socket, str(tmp_path))
        with pytest.raises(TimeoutError):
            waiting.result(0.1)
        bound.listen()
        os.close(lock)
        assert waiting.result(30) is None
        assert bootstrap.is_served(path)


def test_commands_that_a_killed_shim_has_left(tmp_path: Path) -> None:
    """Those end that make the container of this bundle, by whatever name of it; others go on."""
    (tmp_path / "box").mkdir()
    (tmp_path / "other").mkdir()
    (tmp_path / "link").symlink_to("box")

    def command(*words: str) -> subprocess.Popen[bytes]:
        made = subprocess.Popen(["sh", "-c", "read x", *words], stdin=subprocess.PIPE)
        while b"read" not in Path(f"/proc/{made.pid}/cmdline").read_bytes():
            time.sleep(0.001)
        return made

    box = f"{tmp_path}/box"
    json = ("--log-format", "json")
    log = f"{box}/log-1.json"
    ours = [
        command("--log", log, *json, "create", "id"),
        command("--log", f"{tmp_path}/link/log-20.json", *json, "--systemd-cgroup", "restore", "id"),
    ]
    others = [
        command("--log", log, *json, "delete", "create"),
        command("--log", f"{tmp_path}/other/log-1.json", *json, "create"),
        command("--log", f"{box}/runtime.log", *json, "create"),
        command("--log", "/log-1.json", *json, "create"),
        command("--log", log, *json),
        command("--log"),
        command(log, *json, "create"),
    ]
    try:
        bootstrap._end_commands(box)
        assert [one.wait(60) for one in ours] == [-9, -9]
        assert [one.poll() for one in others] == [None] * len(others)
    finally:
        for one in (*ours, *others):
            one.kill()
            one.communicate()


def test_the_sockets_of_a_shim_that_was_killed(tmp_path: Path) -> None:
    path = tmp_path / "address"
    for name in ("shim", "shim.5.1", "shim.5.2", "shim2", "shim2.5.1"):
        (tmp_path / name).touch()
    path.write_text(f"unix://{tmp_path}/shim")
    bootstrap._remove_socket(str(tmp_path))
    assert sorted(os.listdir(tmp_path)) == ["address", "shim2", "shim2.5.1"]
    bootstrap._remove_socket(str(tmp_path / "absent"))
