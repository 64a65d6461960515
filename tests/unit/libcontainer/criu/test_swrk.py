"""The conversation with CRIU: its arguments and requests, and all ways in which CRIU may fail or lie."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from pyrunc.errors import PyruncError
from pyrunc.libcontainer.criu import rpc, swrk
from tests.support import criu as support
from tests.support.host import open_descriptors

NOTICE = {"type": rpc.NOTIFY, "success": True, "notify": {"script": "post-dump"}}
DONE = {"type": rpc.DUMP, "success": True}
OPTS = {"images_dir_fd": 0}


def start(tmp_path: Path, *actions: list[Any], **more: Any) -> swrk.Criu:
    return swrk.Criu(str(support.fake(tmp_path / "bin", list(actions))), **more)


def failure(criu: swrk.Criu, notified: swrk.Notified | None = None) -> PyruncError:
    with pytest.raises(PyruncError) as caught:
        criu.perform(rpc.DUMP, notified, opts=OPTS)
    criu.close()
    assert_no_child()
    return caught.value


def assert_no_child() -> None:
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


def test_a_request_and_its_stages(tmp_path: Path) -> None:
    criu = start(
        tmp_path, ["recv"], ["send", NOTICE], ["recv"],
        ["send_fd", {"type": rpc.NOTIFY, "success": True, "notify": {"script": "orphan-pts-master", "pid": 7}}],
        ["recv"], ["send", DONE],
    )  # fmt: skip
    seen = []

    def notified(stage: str, pid: int, fds: list[int]) -> None:
        seen.append((stage, pid, [os.readlink(f"/proc/self/fd/{fd}") for fd in fds]))

    assert criu.perform(rpc.DUMP, notified, opts={**OPTS, "root": "/r"}) == DONE
    assert criu.end() == 0
    criu.close()
    assert seen == [("post-dump", 0, []), ("orphan-pts-master", 7, ["/dev/null"])]
    answer = {"type": rpc.NOTIFY, "notify_success": True}
    assert support.requests(tmp_path / "bin") == [{"type": rpc.DUMP, "opts": {**OPTS, "root": "/r"}}, answer, answer]
    assert_no_child()


def test_no_descriptor_is_left_open(tmp_path: Path) -> None:
    before = open_descriptors()
    scenarios: list[list[list[Any]]] = [
        [["recv"], ["send_fd", NOTICE], ["recv"], ["send", DONE]],
        [["recv"], ["send_fd", DONE]],
        [["recv"], ["send_fd", NOTICE, 2], ["recv"]],
        [["recv"], ["raw", "ff"]],
        [["exit", 1]],
    ]
    for actions in scenarios:
        criu = swrk.Criu(str(support.fake(tmp_path / f"bin{len(actions)}{actions[-1][0]}", actions)))
        try:
            criu.perform(rpc.DUMP, opts=OPTS)
        except PyruncError:
            pass
        criu.close()
    assert open_descriptors() == before


def test_what_it_is_started_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "given").touch()
    given = os.open(tmp_path / "given", os.O_RDONLY)
    other = os.open(tmp_path / "given", os.O_RDONLY)
    os.set_inheritable(other, True)
    signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGUSR1,))
    try:
        criu = start(tmp_path, ["note", "seen"], ["recv"], ["send", DONE], fds=[given], keys=False)
        criu.perform(rpc.DUMP, opts=OPTS)
        criu.close()
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGUSR1,))
        os.close(given)
        os.close(other)
    seen = json.loads((tmp_path / "bin/seen").read_text())
    # The fake's interpreter keeps nothing open but the directory that it lists.
    assert seen["fds"]["4"] == str(tmp_path / "given")
    assert (seen["fds"]["0"], seen["fds"]["1"]) == ("/dev/null", "/dev/null")
    assert not [fd for fd, path in seen["fds"].items() if int(fd) > 4 and "/proc/" not in path]
    assert int(seen["blocked"], 16) == 0
    terminal = sum(1 << (number - 1) for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT))
    assert int(seen["ignored"], 16) & terminal == terminal


def test_a_cleared_environment_has_a_path_for_what_criu_calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = support.fake(tmp_path / "bin", [["note", "seen"], ["recv"], ["send", DONE]])
    monkeypatch.delenv("PATH")
    criu = swrk.Criu(str(program))
    criu.perform(rpc.DUMP, opts=OPTS)
    criu.close()
    assert "/usr/sbin" in json.loads((tmp_path / "bin/seen").read_text())["path"]


def test_a_program_that_can_not_be_executed(tmp_path: Path) -> None:
    with pytest.raises(PyruncError, match=r"fork/exec .*: no such file or directory"):
        swrk.Criu(str(tmp_path / "criu"))
    assert_no_child()


def test_what_is_prepared_in_the_child_may_fail(tmp_path: Path) -> None:
    def prepare() -> None:
        raise PyruncError("mounting /x", errno=1, pointer="/mounts/1", hint="try another")

    with pytest.raises(PyruncError) as caught:
        start(tmp_path, ["recv"], prepare=prepare)
    assert caught.value.line() == "mounting /x: operation not permitted (at /mounts/1; try another)"

    def broken() -> None:
        raise FileNotFoundError(2, "No such file or directory", "/y")

    with pytest.raises(PyruncError, match="/y: no such file or directory"):
        start(tmp_path, ["recv"], prepare=broken)
    assert_no_child()


def test_criu_s_own_cause_stands_in_the_error(tmp_path: Path) -> None:
    log = "(00.1) Error (criu/mount.c:1): mnt: it is gone\n(00.2) Error (criu/cr-dump.c:2): Dumping FAILED.\n"
    failed = {"type": rpc.DUMP, "success": False, "cr_errno": 2, "cr_errmsg": "Error (criu/x.c:1): the first"}
    criu = start(tmp_path, ["recv"], ["log", str(tmp_path), "dump.log", log], ["send", failed])
    criu.log = str(tmp_path / "dump.log")
    error = failure(criu)
    assert error.line() == f"criu failed: mnt: it is gone (criu/mount.c:1) (its log is {tmp_path}/dump.log)"


@pytest.mark.parametrize(
    ("actions", "told"),
    [
        # Without a log, the first of these: the message in the answer, the text on stderr, the errno.
        ([["recv"], ["send", {"type": 0, "success": False, "cr_errmsg": "no images"}]], "criu failed: no images"),
        (
            [["recv"], ["stderr", "Error (criu/a.c:1): bad option\n"], ["send", {"type": 0, "success": False}]],
            "criu failed: bad option (criu/a.c:1)",
        ),
        (
            [["recv"], ["send", {"type": 1, "success": False, "cr_errno": 3}]],
            "criu failed: no such process",
        ),
        ([["recv"], ["send", {"type": 6, "success": False}]], "criu failed: NOTIFY without a reason"),
        ([["recv"], ["exit", 3]], "criu failed: it exited with 3 before it had answered DUMP"),
        ([["recv"], ["kill", "SIGKILL"]], "criu failed: it was killed by signal 9 before it had answered DUMP"),
        (
            [["recv"], ["stderr", "Error (criu/a.c:1): oom\n"], ["exit", 1]],
            "criu failed: it exited with 1 before it had answered DUMP: oom (criu/a.c:1)",
        ),
        ([["recv"], ["send", {"type": rpc.RESTORE, "success": True}]], "CRIU has answered RESTORE to DUMP"),
        ([["recv"], ["raw", "0801"]], "CRIU's answer to DUMP can't be understood: success is missing"),
        ([["recv"], ["raw", "08"]], "CRIU's answer to DUMP can't be understood: a number is cut off"),
        ([["recv"], ["raw", "00" * (1 << 17)]], "reading CRIU's answer to DUMP: message too long"),
        ([["recv"], ["send_fd", NOTICE, 2]], "reading CRIU's answer to DUMP: message too long"),
    ],
)
def test_answers_that_are_failures(tmp_path: Path, actions: list[list[Any]], told: str) -> None:
    assert failure(start(tmp_path, *actions)).line() == told


def test_a_stage_that_fails_here_makes_criu_give_up(tmp_path: Path) -> None:
    undone = {"type": rpc.DUMP, "success": False}
    criu = start(tmp_path, ["recv"], ["send", NOTICE], ["recv"], ["send", NOTICE], ["recv"], ["send", undone])

    def notified(stage: str, pid: int, fds: list[int]) -> None:
        raise PyruncError("error running createRuntime hook #0")

    assert failure(criu, notified).line() == "error running createRuntime hook #0"
    refusal = {"type": rpc.NOTIFY, "notify_success": False}
    assert support.requests(tmp_path / "bin")[1:] == [refusal, refusal]


def test_one_that_does_not_end_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    criu = start(tmp_path, ["recv"], ["send", DONE], ["hang"])
    criu.perform(rpc.DUMP, opts=OPTS)
    assert os.waitstatus_to_exitcode(criu.end(300)) == -9
    criu.close()
    assert_no_child()


def test_where_criu_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = support.fake(tmp_path / "bin", [])
    monkeypatch.setenv("PATH", f"{tmp_path}/bin")
    assert swrk.find() == str(program)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(swrk, "_PATH", str(tmp_path))
    with pytest.raises(PyruncError) as caught:
        swrk.find()
    assert caught.value.line() == 'exec: "criu": executable file not found in $PATH (install criu, 3.17 or later)'
    monkeypatch.setattr(swrk, "_PATH", f"{tmp_path}/bin")
    with pytest.raises(PyruncError, match="which \\$PATH does not reach"):
        swrk.find()


@pytest.mark.parametrize(
    ("version", "told"),
    [
        ({"major_number": 4, "minor_number": 2, "sublevel": 1}, ""),
        ({"major_number": 3, "minor_number": 17}, ""),
        ({"major_number": 3, "minor_number": 16, "sublevel": 1}, "CRIU version 3.16.1 must be 3.17.0 or higher"),
        ({"major_number": 2, "minor_number": 99}, "CRIU version 2.99.0 must be 3.17.0 or higher"),
        (None, "CRIU version check failed: it tells no version"),
    ],
)
def test_the_version(tmp_path: Path, version: dict[str, int] | None, told: str) -> None:
    answer = {"type": rpc.VERSION, "success": True, "version": version}
    program = str(support.fake(tmp_path / "bin", [["recv"], ["send", answer]]))
    if told:
        with pytest.raises(PyruncError, match=told):
            swrk.require_version(program)
    else:
        assert swrk.require_version(program) >= swrk.OLDEST
    assert support.requests(tmp_path / "bin") == [{"type": rpc.VERSION}]


def test_features(tmp_path: Path) -> None:
    answer = {"type": rpc.FEATURE_CHECK, "success": True, "features": {"mem_track": True, "lazy_pages": False}}
    program = str(support.fake(tmp_path / "bin", [["recv"], ["send", answer]]))
    swrk.require_feature(program, "mem_track")
    with pytest.raises(PyruncError, match=r"criu is missing features: \[LazyPages\]"):
        swrk.require_feature(program, "lazy_pages")
    assert support.requests(tmp_path / "bin")[0] == {"type": rpc.FEATURE_CHECK, "features": {"mem_track": True}}
