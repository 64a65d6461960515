"""`hooks run`: tries a bundle's hooks in containers that are made for them; and the hooks in a timeline."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.integration.test_hooks import KINDS, RUNTIME_HOOKS, STATUS, read_state, shell_hook
from tests.support import host
from tests.support.bundle import Bundle
from tests.support.runtime import Runtime

pytestmark = pytest.mark.own("runc can't try hooks")

FAILED = "echo to-stdout; echo the reason >&2; exit 3"


def tried(runtime: Runtime, bundle: Bundle, *args: str, code: int = 0) -> list[dict[str, Any]]:
    """The output of `hooks run --format json`; it leaves nothing."""
    bundle.write()
    result = runtime("hooks", "run", bundle.path, "--format", "json", *args)
    assert result.code == code, result
    runtime.assert_nothing_left()
    value: list[dict[str, Any]] = json.loads(result.out)["hooks"]
    return value


@pytest.mark.parametrize("kind", KINDS)
def test_a_hook_gets_the_state_of_its_kind(runtime: Runtime, bundle: Bundle, record: Path, kind: str) -> None:
    bundle.config["annotations"] = {"org.example": "value"}
    shell_hook(bundle, kind, f"cat > {record}/state; readlink /proc/self/ns/mnt > {record}/ns; pwd > {record}/pwd")
    (outcome,) = tried(runtime, bundle, "--kind", kind)
    assert outcome["kind"] == kind
    assert (outcome["index"], outcome["path"], outcome["end"], outcome["error"]) == (
        0,
        "/bin/sh",
        "exit status 0",
        None,
    )
    state = read_state(record / "state")
    assert state["status"] == STATUS[kind]
    assert state["bundle"] == str(bundle.path)
    assert state["annotations"] == {"org.example": "value"}
    assert state["id"].startswith("hooks-")
    if kind == "poststop":
        assert "pid" not in state
    elif kind in RUNTIME_HOOKS:
        assert state["pid"] > 1
    else:
        assert state["pid"] == 1
    is_runtime_s = kind in RUNTIME_HOOKS
    assert ((record / "ns").read_text().strip() == host.namespace("self", "mnt")) == is_runtime_s
    assert (record / "pwd").read_text().strip() == {
        "createContainer": str(bundle.rootfs), "startContainer": "/",
    }.get(kind, str(bundle.path))  # fmt: skip


@pytest.mark.parametrize("kind", ["prestart", "createRuntime", "poststart"])
def test_the_pid_of_the_state_is_a_process_in_the_container_s_namespaces(
    runtime: Runtime, bundle: Bundle, record: Path, kind: str
) -> None:
    bundle.namespace("network").mount("/mnt", "tmpfs", "of-the-config")
    script = "pid=$(sed 's/.*\"pid\": *\\([0-9]*\\).*/\\1/')"
    shell_hook(
        bundle, kind, f"{script}; readlink /proc/$pid/ns/net > {record}/ns; cat /proc/$pid/mountinfo > {record}/m"
    )
    tried(runtime, bundle)
    assert (record / "ns").read_text().strip() != host.namespace("self", "net")
    where = "/mnt" if kind == "poststart" else f"{bundle.rootfs}/mnt"
    assert host.mount_at((record / "m").read_text(), where).source == "of-the-config"


@pytest.mark.parametrize("kind", KINDS)
def test_each_hook_is_tried_whatever_the_others_do(runtime: Runtime, bundle: Bundle, record: Path, kind: str) -> None:
    log = record / "log"
    for number, script in enumerate((FAILED, "sleep 0.2", "kill -9 $$", "exit 0")):
        shell_hook(bundle, kind, f"echo {number} >> {log}; {script}")
    bundle.hook(kind, "/no/such/hook")
    shell_hook(bundle, kind, f"echo waiting >&2; touch {record}/said; exec sleep 1000", timeout=1)
    found = tried(runtime, bundle, code=1)
    while not (record / "said").exists():  # a busy machine has not come to the words in its second
        log.unlink()
        found = tried(runtime, bundle, code=1)
    assert [outcome["end"] for outcome in found] == [
        "exit status 3", "exit status 0", "signal: killed", "exit status 0", "not started: no such file or directory",
        "hook ran past specified timeout of 1.0s",
    ]  # fmt: skip
    assert [outcome["index"] for outcome in found] == list(range(6))
    assert log.read_text().split() == ["0", "1", "2", "3"]
    assert f"error running {kind} hook #0: exit status 3 after " in found[0]["error"]
    assert "stdout: to-stdout, stderr: the reason (" in found[0]["error"]
    assert f"at /hooks/{kind}/0" in found[0]["error"]
    assert found[1]["seconds"] >= 0.2
    assert "stderr: waiting (" in found[5]["error"]
    assert (found[1]["error"], found[3]["error"]) == (None, None)


def test_table_kind_and_index(runtime: Runtime, bundle: Bundle, record: Path) -> None:
    for kind in KINDS:
        shell_hook(bundle, kind, f"echo {kind}0 >> {record}/log")
        shell_hook(bundle, kind, f"echo {kind}1 >> {record}/log; {FAILED}")
    bundle.write()
    result = runtime("hooks", "run", bundle.path)
    assert result.code == 1
    rows = [line.split() for line in result.out.splitlines()]
    assert rows[0] == ["KIND", "INDEX", "TIME", "END", "PATH"]
    assert [row[:2] for row in rows[1:]] == [[kind, index] for kind in KINDS for index in ("0", "1")]
    assert len(re.findall("error running .* hook #1: exit status 3", result.err)) == len(KINDS)
    (record / "log").unlink()
    result = runtime("hooks", "run", "--kind", "createContainer", "--index", "0", cwd=bundle.path)
    assert result.code == 0, result
    assert (record / "log").read_text() == "createContainer0\n"
    result = runtime("hooks", "run", bundle.path, "--kind", "createContainer", "--index", "2")
    assert result.code == 1
    assert "there is no createContainer hook #2" in result.last_line


def test_the_program_is_not_run_and_needs_no_terminal(runtime: Runtime, bundle: Bundle, record: Path) -> None:
    bundle.sh(f"echo ran > {record}/ran")
    bundle.process["terminal"] = True
    bundle.linux["resources"] = {"pids": {"limit": 7}}
    for kind in KINDS:
        shell_hook(bundle, kind, "true")
    assert len(tried(runtime, bundle)) == len(KINDS)
    assert not (record / "ran").exists()


def test_a_bundle_that_can_t_be_started_is_an_error_that_says_so(runtime: Runtime, bundle: Bundle) -> None:
    bundle.mount("/mnt", "bind", "/no/such/source", "bind")
    shell_hook(bundle, "createContainer", "true")
    bundle.write()
    result = runtime("hooks", "run", bundle.path)
    assert result.code == 1
    assert "hooks run failed" in result.last_line
    assert "/no/such/source" in result.last_line
    assert "/mounts/" in result.last_line
    assert result.out == ""
    runtime.assert_nothing_left()


@pytest.mark.parametrize("kind", KINDS)
def test_hooks_in_the_timeline_of_a_run(runtime: Runtime, bundle: Bundle, record: Path, kind: str) -> None:
    shell_hook(bundle, kind, "sleep 0.1")
    shell_hook(bundle, kind, "true")
    trace = record / "trace"
    runtime.run(bundle.args("true"), "--timeline", str(trace))
    events = [event for event in json.loads(trace.read_text())["traceEvents"] if "hook" in event.get("args", {})]
    assert [(event["args"]["pointer"], event["args"]["end"]) for event in events] == [
        (f"/hooks/{kind}/0", "exit status 0"), (f"/hooks/{kind}/1", "exit status 0"),
    ]  # fmt: skip
    assert events[0]["args"] | {"level": 0} == {
        "pointer": f"/hooks/{kind}/0", "level": 0, "hook": kind, "index": 0, "path": "/bin/sh", "end": "exit status 0",
    }  # fmt: skip
    assert events[0]["dur"] >= 100_000
    assert events[0]["ts"] + events[0]["dur"] <= events[1]["ts"]
    assert f"/hooks/{kind}/0" in runtime("plan", "--timeline", trace).out


@pytest.mark.parametrize("fails", [False, True], ids=["", "fails"])
def test_hooks_in_the_timeline_of_a_start(runtime: Runtime, bundle: Bundle, record: Path, fails: bool) -> None:
    shell_hook(bundle, "startContainer", "sleep 0.1")
    shell_hook(bundle, "poststart", "sleep 0.2")
    shell_hook(bundle, "poststart", FAILED if fails else "true")
    trace = record / "trace"
    container = runtime.container(bundle.args("sleep", "99"))
    started = runtime("start", "--timeline", trace, container.id)
    assert started.code == int(fails), started
    events = [event for event in json.loads(trace.read_text())["traceEvents"] if event["ph"] == "X"]
    assert [(event["name"], event["args"]["pointer"]) for event in events] == [
        ("start", "/process"), ("runtime_hook", "/hooks/poststart/0"), ("runtime_hook", "/hooks/poststart/1"),
    ]  # fmt: skip
    assert events[0]["dur"] >= 100_000
    assert events[1]["dur"] >= 200_000
    assert events[2]["args"]["end"] == ("exit status 3" if fails else "exit status 0")
    drawn = runtime("plan", "--timeline", trace).out
    assert "start (waits)" in drawn
    assert "/hooks/poststart/1" in drawn


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "poststop"])
def test_a_hook_that_failed_in_the_timeline(runtime: Runtime, bundle: Bundle, record: Path, kind: str) -> None:
    shell_hook(bundle, kind, FAILED)
    shell_hook(bundle, "poststop", "kill -9 $$")
    trace = record / "trace"
    assert runtime.run(bundle.args("true"), "--timeline", str(trace), ok=False).code == 1
    events = [event for event in json.loads(trace.read_text())["traceEvents"] if "hook" in event.get("args", {})]
    assert [(event["args"]["pointer"], event["args"]["end"]) for event in events] == [
        (f"/hooks/{kind}/0", "exit status 3"), ("/hooks/poststop/0", "signal: killed"),
    ]  # fmt: skip
    runtime.assert_nothing_left()
