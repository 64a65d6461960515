"""`seccomp record` and `seccomp explain` on real containers."""

from __future__ import annotations

import errno
import json
import os
import platform
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import pytest

from pyrunc.libcontainer.seccomp import recorded
from tests.support.agent import Agent
from tests.support.bundle import Bundle
from tests.support.programs import static_program
from tests.support.runtime import Runtime
from tests.support.seccomp import allowing

pytestmark = [
    pytest.mark.own("runc records no system calls"),
    pytest.mark.skipif(platform.machine() != "x86_64", reason="the numbers of system calls are those of x86-64"),
]

CHDIR = 80
PROGRAM = "mkdir /tmp/a && cd /tmp/a && echo text > file && cat file && rm file && kill -0 $$; exit 7"


@pytest.fixture
def tmp(bundle: Bundle) -> Bundle:
    return bundle.mount("/tmp", "tmpfs", "tmpfs").sh(PROGRAM)


def record(runtime: Runtime, bundle: Bundle, *flags: str) -> Any:
    bundle.write()
    target = runtime.work / "profile.json"
    done = runtime("seccomp", "record", bundle.path, "-o", target, *flags)
    assert (done.code, done.out) == (7, "text\n"), done
    runtime.assert_nothing_left()
    return json.loads(target.read_text())


def names(profile: Any) -> set[str]:
    return {name for rule in profile["syscalls"] for name in rule["names"]}


def test_a_container_runs_with_its_profile_and_fails_without_one_call(runtime: Runtime, tmp: Bundle) -> None:
    profile = record(runtime, tmp)
    tmp.linux["seccomp"] = profile
    tmp.write()
    good = runtime.run(tmp, ok=False)
    assert (good.code, good.out) == (7, "text\n")
    explained = runtime("seccomp", "explain", tmp.path)
    assert "the filter refused nothing\n" in explained.out
    # The profile's largest number stays, since a call above it gets ENOSYS.
    for rule in profile["syscalls"]:
        rule["names"].remove("mkdir")
    tmp.write()
    bad = runtime("seccomp", "explain", tmp.path, "--format", "json")
    assert bad.code == 7
    assert json.loads(bad.out)["refused"] == [
        {"call": "mkdir", "count": 1, "errno": "EPERM", "pointer": "/linux/seccomp/defaultAction"}
    ]
    runtime.assert_nothing_left()


def test_conditions_on_arguments_are_enough_too(runtime: Runtime, tmp: Bundle) -> None:
    profile = record(runtime, tmp, "--arguments")
    assert any(rule.get("args") for rule in profile["syscalls"])
    tmp.linux["seccomp"] = profile
    tmp.write()
    assert runtime.run(tmp, ok=False).out == "text\n"


@pytest.mark.parametrize("since", ["load", "start"])
def test_a_filter_that_asks_an_agent(runtime: Runtime, tmp: Bundle, since: str) -> None:
    """It is loaded before the start: what the init calls until then is added. The refusals are the agent's."""
    agent = Agent(str(runtime.work / "agent.sock"), lambda number, args: -errno.ENOMEDIUM if number == CHDIR else None)
    try:
        tmp.linux["seccomp"] = {
            **allowing("SCMP_ACT_NOTIFY", "chdir", "mkdir"), "listenerPath": str(runtime.work / "agent.sock"),
        }  # fmt: skip
        tmp.sh("mkdir /tmp/a; cd /tmp/a; exit 7").write()
        target = runtime.work / "profile.json"
        done = runtime("seccomp", "record", tmp.path, "-o", target, "--since", since)
        assert done.code == 7, done
        calls = names(json.loads(target.read_text()))
        assert {"execve", "mkdir", "exit_group"} <= calls
        assert ("capset" in calls) == (since == "load")
        explained = runtime("seccomp", "explain", tmp.path)
        assert "chdir refused 1 time by /linux/seccomp/syscalls/0 (errno ENOMEDIUM)" in explained.out
    finally:
        agent.close()


GETPPID_X86, MKDIR_X86, SOCKET_X86 = 64, 39, 359


def test_calls_of_32_bit_programs(runtime: Runtime, bundle: Bundle, session_directory: Path) -> None:
    """They run while they are recorded, have their own names, and run with the profile."""
    shutil.copy(static_program(session_directory, "syscalls"), bundle.rootfs / "bin/syscalls")
    calls = (f"x86:{GETPPID_X86}", f"x86:{SOCKET_X86}:1:1:0", f"x86:{MKDIR_X86}:0:0")
    bundle.args("syscalls", *calls).write()
    target = runtime.work / "profile.json"
    done = runtime("seccomp", "record", bundle.path, "-o", target, "--since", "start", "--arguments")
    out = "0\n3\n-14\n"
    assert (done.code, done.out) == (0, out), done
    profile = json.loads(target.read_text())
    assert profile["architectures"] == ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"]
    assert {"getppid", "mkdir", "socket"} <= names(profile)
    assert not {"sched_rr_get_interval", "sendmsg", "lgetxattr"} & names(profile)  # what the numbers are on x86-64
    [socket] = [rule for rule in profile["syscalls"] if rule["names"] == ["socket"]]
    assert [each["valueTwo"] for each in socket["args"]] == [1]
    profile["syscalls"][0]["names"].extend(recorded.RUNTIME_CALLS)
    target.write_text(json.dumps(profile))
    assert runtime.run(bundle, "--seccomp-profile", str(target)).out == out
    bundle.args("syscalls", *calls, f"x86:{SOCKET_X86}:2:1:0")
    for rule in profile["syscalls"]:
        rule["names"] = [name for name in rule["names"] if name != "mkdir"]
    bundle.linux["seccomp"] = profile
    bundle.write()
    explained = runtime("seccomp", "explain", bundle.path)
    assert explained.out == (
        "0\n3\n-1\n-1\nmkdir refused 1 time by /linux/seccomp/defaultAction (errno EPERM)\n"
        "socket refused 1 time by /linux/seccomp/defaultAction (errno EPERM)\n"
    )


def test_a_call_of_an_architecture_that_the_profile_has_not(
    runtime: Runtime, bundle: Bundle, session_directory: Path
) -> None:
    shutil.copy(static_program(session_directory, "syscalls"), bundle.rootfs / "bin/syscalls")
    bundle.linux["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW"}
    bundle.args("syscalls", f"x86:{GETPPID_X86}").write()
    explained = runtime("seccomp", "explain", bundle.path)
    assert explained.out == "getppid refused 1 time by /linux/seccomp/architectures (errno none)\n"


def test_since_start_leaves_out_the_init(runtime: Runtime, tmp: Bundle) -> None:
    tmp.process["noNewPrivileges"] = False  # so that the init drops a capability after the load
    whole, own = names(record(runtime, tmp)), names(record(runtime, tmp, "--since", "start"))
    assert own < whole
    assert whole - own <= set(recorded.RUNTIME_CALLS)
    assert {"execve", "mkdir"} <= own
    assert "capset" in whole - own


def test_since_start_leaves_out_hooks(runtime: Runtime, tmp: Bundle) -> None:
    hook = {"path": "/bin/sh", "args": ["sh", "-c", "ln -s /nowhere /tmp/link"]}
    tmp.config["hooks"] = {"startContainer": [hook]}
    whole, own = names(record(runtime, tmp)), names(record(runtime, tmp, "--since", "start"))
    assert "symlink" in whole
    assert "symlink" not in own
    assert {"execve", "mkdir"} <= own


def test_an_old_profile_is_compared(runtime: Runtime, tmp: Bundle) -> None:
    old = record(runtime, tmp)
    old["syscalls"][0]["names"].remove("mkdir")
    old["syscalls"][0]["names"].append("mount")
    (runtime.work / "old.json").write_text(json.dumps(old))
    tmp.write()
    done = runtime("seccomp", "record", tmp.path, "-o", "/dev/null", "--diff", runtime.work / "old.json")
    assert done.err.splitlines()[-2:] == ["+ mkdir", "- mount"]


def test_names_of_files_are_the_callers(runtime: Runtime, tmp: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command enters the bundle, and its paths are those from where it was called."""
    tmp.write()
    monkeypatch.chdir(runtime.work)
    bundle = os.path.relpath(tmp.path, runtime.work)
    assert runtime("seccomp", "record", f"./{bundle}", "-o", "here.json").code == 7
    profile = json.loads((runtime.work / "here.json").read_text())
    assert not (tmp.path / "here.json").exists()
    again = runtime("seccomp", "record", f"./{bundle}", "-o", "-", "--diff", "here.json")
    assert json.loads(again.out.removeprefix("text\n")) == profile
    explained = runtime("seccomp", "explain", f"./{bundle}")
    assert (explained.code, explained.out) == (7, "text\nthe filter refused nothing\n")


def test_a_place_that_cannot_be_written_is_known_before_the_run(runtime: Runtime, tmp: Bundle) -> None:
    tmp.write()
    done = runtime("seccomp", "record", tmp.path, "-o", "/nowhere/profile.json")
    assert (done.code, done.out) == (1, "")
    assert "writing the profile to /nowhere/profile.json: no such file or directory" in done.last_line


@pytest.mark.parametrize("linux", [5, [1], {"seccomp": 7}, {"namespaces": [{"type": "moon"}]}])
@pytest.mark.parametrize("action", ["record", "explain"])
def test_a_bad_configuration_is_named(runtime: Runtime, bundle: Bundle, linux: Any, action: str) -> None:
    """The error has the bundle's file and line, not those of a copy, and no copy is left."""
    bundle.config["linux"] = linux
    bundle.write()
    before = set(os.listdir(tempfile.gettempdir()))
    done = runtime("seccomp", action, bundle.path, *(("-o", "-") if action == "record" else ()))
    assert done.code == 1
    assert re.search(r"\(config\.json:\d+ at /linux", done.last_line), done
    assert not {name for name in set(os.listdir(tempfile.gettempdir())) - before if name.startswith("config-")}


def test_the_counts_are_those_of_strace(runtime: Runtime, bundle: Bundle) -> None:
    if shutil.which("strace") is None:
        pytest.skip("needs strace")
    bundle.args("cat", "/bin/cat")
    profile = names(record_output(runtime, bundle))
    traced = runtime.work / "traced"
    rootfs = bundle.path / "rootfs"
    subprocess.run(
        ["strace", "-f", "-o", traced, "chroot", str(rootfs), "/bin/cat", "/bin/cat"], check=False, capture_output=True
    )
    lines = traced.read_text().rpartition("execve(")[2].splitlines()[1:]
    calls = {line.split("(")[0].split()[-1] for line in lines if "(" in line}
    assert calls - {"exit_group"} == profile - {"execve", "exit_group"}


def record_output(runtime: Runtime, bundle: Bundle) -> Any:
    bundle.write()
    target = runtime.work / "profile.json"
    assert runtime("seccomp", "record", bundle.path, "-o", target, "--since", "start").code == 0
    return json.loads(target.read_text())


def test_a_running_container_until_the_time(runtime: Runtime, bundle: Bundle) -> None:
    bundle.sh("while :; do mkdir /x; (chroot /); done 2>/dev/null")
    bundle.linux["seccomp"] = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["chroot"], "action": "SCMP_ACT_ERRNO", "errnoRet": 13}],
    }
    container = runtime.started(bundle)
    explained = runtime("seccomp", "explain", container.id, "--seconds", "1", "--format", "json")
    found = json.loads(explained.out)
    assert [(item["call"], item["errno"], item["pointer"]) for item in found["refused"]] == [
        ("chroot", "EACCES", "/linux/seccomp/syscalls/0")
    ]
    recording = runtime("seccomp", "record", container.id, "-o", "-", "--seconds", "1")
    calls = names(json.loads(recording.out))
    assert "mkdir" in calls
    assert "chroot" not in calls
    assert set(recorded.RUNTIME_CALLS) <= calls


def test_a_container_that_has_stopped(runtime: Runtime, bundle: Bundle) -> None:
    container = runtime.started(bundle.args("true"))
    container.wait()
    done = runtime("seccomp", "record", container.id, "-o", "-")
    assert done.code == 1
    assert f"container {container.id} is stopped" in done.last_line


def test_a_bundle_that_does_not_start_leaves_no_profile(runtime: Runtime, bundle: Bundle) -> None:
    bundle.args("/nowhere").write()
    target = runtime.work / "profile.json"
    done = runtime("seccomp", "record", bundle.path, "-o", target)
    assert done.code != 0
    assert "/nowhere" in done.last_line
    assert not target.exists()
    runtime.assert_nothing_left()


def test_relative_paths_are_those_of_the_callers_directory(runtime: Runtime, tmp: Bundle) -> None:
    tmp.write()
    above, name = tmp.path.parent, tmp.path.name
    done = runtime("seccomp", "record", name, "-o", "profile.json", cwd=above)
    assert (done.code, done.out) == (7, "text\n"), done
    assert "mkdir" in names(json.loads((above / "profile.json").read_text()))
    assert not (tmp.path / "profile.json").exists()
    explained = runtime("seccomp", "explain", name, cwd=above)
    assert explained.code == 7
    assert "the filter refused nothing\n" in explained.out


def test_a_profile_that_can_have_no_place_is_refused_before_the_run(runtime: Runtime, tmp: Bundle) -> None:
    tmp.write()
    done = runtime("seccomp", "record", tmp.path, "-o", "nowhere/profile.json")
    assert (done.code, done.out) == (1, "")
    assert f"writing the profile to {runtime.work}/nowhere/profile.json: no such file or directory" in done.last_line
    runtime.assert_nothing_left()


def test_a_decision_runs_nothing(runtime: Runtime, tmp_path: Path) -> None:
    path = tmp_path / "p.json"
    path.write_text(
        '{"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{"names": ["read"], "action": "SCMP_ACT_ALLOW"}]}'
    )
    done = runtime("seccomp", "explain", "--profile", path, "read", "3", "0", "0x10")
    assert done.out == "read 3 0 0x10: SCMP_ACT_ALLOW by /linux/seccomp/syscalls/0\n"
