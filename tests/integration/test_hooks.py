"""The six hook kinds: order, arguments, environment, namespaces, the state on stdin, timeouts, effects of a failure."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.support import host
from tests.support.bundle import Bundle
from tests.support.runtime import Container, Runtime

CREATE_HOOKS = ["prestart", "createRuntime", "createContainer"]
RUNTIME_HOOKS = ["prestart", "createRuntime", "poststart", "poststop"]
KINDS = [*CREATE_HOOKS, "startContainer", "poststart", "poststop"]
STATUS = {
    "prestart": "creating", "createRuntime": "creating", "createContainer": "creating", "startContainer": "created",
    "poststart": "running", "poststop": "stopped",
}  # fmt: skip

POSTSTART = pytest.mark.own("1.1 runs poststart hooks when it creates")
WORDS = pytest.mark.own("1.1 does not name the kind")


def shell_hook(bundle: Bundle, kind: str, script: str, **more: Any) -> None:
    """A hook of a shell script, also for startContainer and poststart: the shell is found on both sides."""
    bundle.hook(kind, "/bin/sh", "sh", "-c", script, **more)


def read_state(path: Path) -> dict[str, Any]:
    """The state that a hook has recorded."""
    value: dict[str, Any] = json.loads(path.read_text())
    return value


@POSTSTART
@pytest.mark.purev2
def test_order(runtime: Runtime, bundle: Bundle, record: Path) -> None:
    log = record / "log"
    for kind in KINDS:
        for number in (1, 2):
            shell_hook(bundle, kind, f"echo {kind}{number} >> {log}")
    bundle.sh(f"echo process >> {log}; while :; do sleep 0.02; done")
    container = runtime.container(bundle)
    created = [f"{kind}{number}" for kind in CREATE_HOOKS for number in (1, 2)]
    assert log.read_text().split() == created
    container.start()
    host.wait_for("the process", lambda: "process" in log.read_text())
    words = log.read_text().split()
    assert words[: len(created) + 2] == [*created, "startContainer1", "startContainer2"]
    assert sorted(words[len(created) + 2 :]) == ["poststart1", "poststart2", "process"]
    assert words.index("poststart1") < words.index("poststart2")
    container.delete("--force")
    assert log.read_text().split()[-2:] == ["poststop1", "poststop2"]
    assert len(log.read_text().split()) == 13


@pytest.mark.parametrize("kind", [pytest.param(kind, marks=POSTSTART if kind == "poststart" else ()) for kind in KINDS])
def test_state_on_stdin(runtime: Runtime, bundle: Bundle, record: Path, kind: str) -> None:
    bundle.config["annotations"] = {"org.example": 'quote " and \\ and ü'}
    shell_hook(bundle, kind, f"cat > {record}/state")
    container = runtime.started(bundle.args("sleep", "1000"))
    container.delete("--force")
    state = read_state(record / "state")
    assert state["ociVersion"]
    assert state["id"] == container.id
    assert state["status"] == STATUS[kind]
    assert state["bundle"] == str(bundle.path)
    assert state["annotations"] == {"org.example": 'quote " and \\ and ü'}
    if kind == "poststop":
        assert state.get("pid", 0) == 0
    elif kind in ("createContainer", "startContainer") and runtime.is_own:
        # runtime.md, State: the pid in the container's view. runc 1.1 gives the host's pid.
        assert state["pid"] == 1
    elif kind not in ("createContainer", "startContainer"):
        assert state["pid"] == container.pid


@pytest.mark.parametrize("kind", KINDS)
def test_args_and_env(runtime: Runtime, bundle: Bundle, record: Path, kind: str) -> None:
    script = f'cat > /dev/null; printf "%s|" "$0" "$@" > {record}/args; env > {record}/env'
    bundle.hook(kind, "/bin/sh", "sh", "-c", script, "zero", "one two", "", env=["A=1", "PATH=/bin:/usr/bin", "E="])
    runtime.started(bundle.args("sleep", "1000")).delete("--force")
    assert (record / "args").read_text() == "zero|one two||"
    found = set((record / "env").read_text().split()) - {"PWD=/", "SHLVL=0", "_=/usr/bin/env"}
    assert {"A=1", "PATH=/bin:/usr/bin", "E="} <= found
    assert not any(word.startswith(("PYTHON", "HOME=")) for word in found)


@pytest.mark.parametrize("kind", RUNTIME_HOOKS)
def test_hook_without_args_has_its_path(runtime: Runtime, bundle: Bundle, record: Path, kind: str) -> None:
    script = bundle.script("hook", f'echo "$0 $#" > {record}/args')
    bundle.hook(kind, script)
    runtime.started(bundle.args("sleep", "1000")).delete("--force")
    assert (record / "args").read_text() == f"{script} 0\n"


@pytest.mark.purev2
@pytest.mark.parametrize("kind", KINDS)
def test_namespaces(runtime: Runtime, bundle: Bundle, record: Path, kind: str) -> None:
    bundle.namespace("network")
    shell_hook(
        bundle,
        kind,
        f"for n in ns/mnt ns/pid ns/net ns/uts ns/ipc root; do readlink /proc/self/$n; done > {record}/ns",
    )
    container = runtime.started(bundle.args("sleep", "1000"))
    owner = "self" if kind in RUNTIME_HOOKS else container.pid
    names = [host.namespace(owner, name) for name in ("mnt", "net", "uts", "ipc")]
    container.delete("--force")
    lines = (record / "ns").read_text().split()
    assert [lines[0], *lines[2:5]] == names
    assert lines[5] == "/"


def test_create_container_hook_sees_the_host_s_tree_and_the_container_s_mounts(
    runtime: Runtime, bundle: Bundle, record: Path
) -> None:
    """It runs in the container's namespaces before pivot_root: its path is the host's."""
    script = bundle.script("hook", f"cat /proc/self/mountinfo > {record}/mounts; hostname > {record}/name")
    bundle.config["hostname"] = "the-container"
    bundle.mount("/mnt", "tmpfs", "only-in-the-container")
    bundle.hook("createContainer", script)
    container = runtime.container(bundle)
    mounts = (record / "mounts").read_text()
    assert host.mount_at(mounts, f"{bundle.rootfs}/mnt").source == "only-in-the-container"
    assert host.mount_at(mounts, "/")
    assert "only-in-the-container" not in Path("/proc/self/mountinfo").read_text()
    assert host.is_alive(container.pid)


@pytest.mark.parametrize("namespaces", [["mount"], ["mount", "user"], []])
def test_b3_the_working_directory_of_create_container_hooks(
    runtime: Runtime, bundle: Bundle, namespaces: list[str]
) -> None:
    """The working directory is the rootfs, in which vendors' hooks touch ./lib; the hooks see the mounts in it."""
    bundle.linux["namespaces"] = [{"type": "pid"}, *({"type": name} for name in namespaces)]
    if "user" in namespaces:
        for name in ("uidMappings", "gidMappings"):
            bundle.linux[name] = [{"containerID": 0, "hostID": 0, "size": 1000}]
    bundle.config["mounts"] = []
    if namespaces:
        bundle.mount("/mnt", "tmpfs", "tmpfs")
        shell_hook(bundle, "createContainer", "touch ./mnt/on-the-mount")
    bundle.mounts.insert(0, {"destination": "/proc", "type": "proc", "source": "proc"})
    shell_hook(bundle, "createContainer", "test ./srv/file -ef rootfs/srv/file || pwd > ./tmp/pwd")
    out = runtime.inside(bundle, "cat /tmp/pwd; ls /mnt")
    assert out == f"{bundle.rootfs}\n" + ("on-the-mount\n" if namespaces else "")


@pytest.mark.parametrize("kind", RUNTIME_HOOKS)
def test_b3_the_working_directory_of_the_runtime_s_hooks(
    runtime: Runtime, bundle: Bundle, record: Path, kind: str
) -> None:
    """The working directory is the bundle while a container is made or run, as with runc."""
    shell_hook(bundle, kind, f"pwd >> {record}/pwd")
    runtime.run(bundle.args("true"))
    assert (record / "pwd").read_text() == f"{bundle.path}\n"


@pytest.mark.parametrize(
    ("env", "uid", "expected"),
    [
        ([], 0, {"HOME=/root"}),
        (["A=1"], 1000, {"A=1", "HOME=/home/tester"}),
        (["A=1", "HOME=/there"], 1000, {"A=1", "HOME=/there"}),
        (["A=1", "HOME="], 4711, {"A=1", "HOME=/"}),
    ],
)
def test_b3_start_container_hooks_have_the_environment_of_the_process(
    runtime: Runtime, bundle: Bundle, record: Path, env: list[str], uid: int, expected: set[str]
) -> None:
    record.chmod(0o777)
    bundle.process["env"] = ["PATH=/bin", *env]
    bundle.process["user"] = {"uid": uid, "gid": 0}
    bundle.process["cwd"] = "/srv"
    kinds: tuple[tuple[str, dict[str, Any]], ...] = (("inherited", {}), ("none", {"env": []}))
    for name, more in kinds:
        shell_hook(bundle, "startContainer", f"/bin/env > {record}/{name}; pwd > {record}/pwd", **more)
    runtime.run(bundle.args("true"))
    shells = {"PWD=/srv", "SHLVL=1"}
    assert {*(record / "inherited").read_text().split()} - shells == {"PATH=/bin", *expected}
    assert not any(line.startswith("HOME=") for line in (record / "none").read_text().split())
    assert (record / "pwd").read_text() == "/srv\n"


def test_create_container_hook_may_mount_for_the_container(runtime: Runtime, bundle: Bundle, record: Path) -> None:
    shell_hook(bundle, "createContainer", f"mount -t tmpfs by-hook {bundle.rootfs}/mnt")
    assert "by-hook" in runtime.inside(bundle, "cat /proc/self/mountinfo")
    runtime.assert_nothing_left()


def test_start_container_hook_runs_in_the_container(runtime: Runtime, bundle: Bundle, record: Path) -> None:
    """Its path is the container's, after pivot_root and before the process."""
    program = bundle.rootfs / "bin/hook"
    program.write_text(f"#!/bin/sh\nls / > {record}/ls; id -u > {record}/uid\n")
    program.chmod(0o755)
    bundle.hook("startContainer", "/bin/hook")
    container = runtime.container(bundle.args("sleep", "1000"))
    assert not (record / "ls").exists()
    container.start()
    assert "srv" in (record / "ls").read_text().split()
    assert "boot" not in (record / "ls").read_text().split()


def test_prestart_hook_can_set_up_the_network(runtime: Runtime, bundle: Bundle, record: Path) -> None:
    """As CNI and docker do: the namespaces exist before the hook, and the state's pid leads to them."""
    bundle.namespace("network")
    script = bundle.script(
        "hook", "pid=$(sed 's/.*\"pid\": *\\([0-9]*\\).*/\\1/'); nsenter -t $pid -n ip link add dummy7 type dummy || "
        f"nsenter -t $pid -n readlink /proc/self/ns/net > {record}/net"
    )  # fmt: skip
    bundle.hook("prestart", script)
    out = runtime.inside(bundle, "ls /proc/sys/net/ipv4/conf; readlink /proc/self/ns/net")
    if (record / "net").exists():
        assert (record / "net").read_text() in out
    else:
        assert "dummy7" in out


ZOMBIE = "grep -q '^State:.Z' /proc/$pid/status"
PID = "pid=$(sed 's/.*\"pid\": *\\([0-9]*\\).*/\\1/')"


@pytest.mark.parametrize("kind", ["prestart", "createRuntime"])
def test_the_mounts_are_made_and_the_root_is_not_yet_changed(
    runtime: Runtime, bundle: Bundle, record: Path, kind: str
) -> None:
    """config.md, Prestart and CreateRuntime Hooks: after the environment is made, before pivot_root."""
    bundle.mount("/mnt", "tmpfs", "of-the-config")
    shell_hook(bundle, kind, f"{PID}; cat /proc/$pid/mountinfo > {record}/mounts")
    out = runtime.inside(bundle, "cat /proc/self/mountinfo")
    then = (record / "mounts").read_text()
    assert host.mount_at(then, f"{bundle.rootfs}/mnt").source == "of-the-config"
    assert host.mount_at(then, "/").root != host.mount_at(out, "/").root
    assert host.mount_at(out, "/mnt").source == "of-the-config"


@POSTSTART
def test_poststart_hooks_find_the_program_and_start_waits_for_them(
    runtime: Runtime, bundle: Bundle, record: Path
) -> None:
    shell_hook(bundle, "poststart", f"{PID}; tr '\\0' ' ' < /proc/$pid/cmdline > {record}/line; sleep 0.2")
    shell_hook(bundle, "poststart", f"echo last >> {record}/line")
    runtime.started(bundle.args("sleep", "1000"))
    assert (record / "line").read_text() == "sleep 1000 last\n"


def test_poststop_hooks_find_nothing_of_the_container_and_delete_waits_for_them(
    runtime: Runtime, bundle: Bundle, record: Path
) -> None:
    container = runtime.container(bundle.args("sleep", "1000"))
    container.kill()
    container.wait()
    places = [f"{runtime.root}/{container.id}/state.json"]
    if host.cgroup2_mount() and runtime.is_own:
        places += host.cgroups_of(runtime.token)
        assert len(places) == 2
    container.delete()
    for place in places:
        shell_hook(bundle, "poststop", f"test -e {place}; echo $? >> {record}/found")
    shell_hook(bundle, "poststop", f"sleep 0.2; echo last >> {record}/found")
    runtime.run(bundle.args("true"), "--keep", id=container.id)
    assert not (record / "found").exists()
    container.delete()
    assert (record / "found").read_text().split() == ["1"] * len(places) + ["last"]


@WORDS
@pytest.mark.parametrize("kind", CREATE_HOOKS)
def test_failing_hook_of_create(runtime: Runtime, bundle: Bundle, record: Path, kind: str) -> None:
    shell_hook(bundle, kind, f"echo first >> {record}/log; echo the reason >&2; exit 3")
    shell_hook(bundle, kind, f"echo second >> {record}/log")
    shell_hook(bundle, "poststop", f"echo poststop >> {record}/log")
    result = runtime.refuse(bundle)
    # COMPAT: `error running HOOK hook #N: …`
    assert f"error running {kind} hook #0" in result.last_line
    assert "exit status 3" in result.last_line
    assert "the reason" in result.last_line
    words = (record / "log").read_text().split()
    assert words[0] == "first"
    assert "second" not in words
    # runtime.md, Lifecycle: after a failure comes step 12, and step 13 is the poststop hooks.
    assert words == ["first", "poststop"]


def test_the_init_s_end_is_told_before_the_failure_of_a_hook_beside_it(runtime: Runtime, bundle: Bundle) -> None:
    """A step of the runtime for an init that has died meanwhile: its failure is no cause."""
    shell_hook(bundle, "createRuntime", f"{PID}; kill -KILL $pid; until {ZOMBIE}; do sleep 0.01; done; exit 3")
    line = runtime.refuse(bundle).last_line
    at = line.index("the init was killed by signal 9; step runtime_hook failed too: ")
    assert line.index("error running createRuntime hook #0: exit status 3") > at


HOSTILE = {
    "megabytes": "yes 0123456789 | head -c 3300000 >&2; echo the end >&2; exit 3",
    "escapes": "printf 'x\\033[2J\\033]0;t\\007\\n\\342\\200\\256y\\000\\377\\n' >&2; exit 3",
    "closed": "echo before >&2; exec 2>&- >&-; sleep 0.1; exit 3",
    "held": "sleep 1000 & echo $! > RECORD/pid; echo held >&2; exit 3",
    "written": "yes | head -c 5000 >&2; yes >&2 & echo $! > RECORD/pid; exit 3",
    "killed": "echo last words >&2; kill -9 $$",
    "time": "echo last words >&2; touch RECORD/said; exec sleep 1000",
}
TOLD = {
    "megabytes": "0123456789 0123456789",
    "escapes": "x\\x1b[2J\\x1b]0;t\\x07 \\u202ey \ufffd",
    "closed": "before",
    "held": "held",
    "written": "y y y",
    "killed": "last words",
    "time": "last words",
}


@pytest.mark.own("1.1 does not name the kind, and waits for who holds the pipes")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("what", HOSTILE)
def test_what_is_said_of_a_hook_that_fails_badly(
    runtime: Runtime, bundle: Bundle, record: Path, kind: str, what: str
) -> None:
    """containerd #11210: the one line has the kind, the index, the end, the time and the last lines of stderr."""
    shell_hook(bundle, kind, "true")
    shell_hook(bundle, kind, HOSTILE[what].replace("RECORD", str(record)), **({"timeout": 1} if what == "time" else {}))
    result = runtime.run(bundle.args("true"), ok=False)
    while what == "time" and not (record / "said").exists():  # a busy machine has not come to the words in its second
        result = runtime.run(bundle, ok=False)
    assert result.code == (0 if kind == "poststop" else 1)
    if what in ("held", "written") and kind != "startContainer":
        # A hook in a container has ended with the pid namespace; a createContainer hook is in it too.
        pid = int((record / "pid").read_text())
        if kind in RUNTIME_HOOKS:
            with contextlib.suppress(ProcessLookupError):  # what writes has had SIGPIPE, for nobody reads it any more
                os.kill(pid, signal.SIGKILL)
    end = {"killed": "signal: killed after ", "time": "hook ran past specified timeout of 1.0s"}.get(
        what, "exit status 3 after "
    )
    line = json.loads(result.last_line.partition("msg=")[2]) if "msg=" in result.last_line else result.last_line
    assert f"error running {kind} hook #1: {end}" in line
    assert what == "time" or re.search(r" after \d+\.\d{3} s, stdout: , stderr: ", line)
    assert TOLD[what] in line
    assert f"/hooks/{kind}/1" in line
    assert line.isprintable()
    assert len(line) < 3000
    runtime.assert_nothing_left()


def assert_ended(runtime: Runtime, container: Container, record: Path) -> None:
    """runtime.md, Lifecycle: after the failure come the container's destruction and the poststop hooks."""
    host.wait_for("the end", lambda: not host.is_alive(container.pid))
    assert "container does not exist" in runtime("state", container.id).last_line
    runtime.assert_nothing_left()
    assert (record / "log").read_text() == "poststop\n"


@pytest.mark.parametrize("flags", [(), ("--detach",)])
@pytest.mark.parametrize("kind", ["startContainer", "poststart"])
@pytest.mark.own("it runs no poststop hooks then")
def test_failing_hook_of_run(runtime: Runtime, bundle: Bundle, record: Path, kind: str, flags: tuple[str, ...]) -> None:
    shell_hook(bundle, kind, "exit 5")
    shell_hook(bundle, "poststop", f"echo poststop >> {record}/log")
    result = runtime.run(bundle.args("sleep", "1000"), *flags, ok=False)
    assert f"error running {kind} hook #0" in result.last_line
    runtime.assert_nothing_left()
    assert (record / "log").read_text() == "poststop\n"


@pytest.mark.own("start does not tell it")
def test_failing_start_container_hook(runtime: Runtime, bundle: Bundle, record: Path) -> None:
    shell_hook(bundle, "startContainer", "exit 4")
    shell_hook(bundle, "poststop", f"echo poststop >> {record}/log")
    container = runtime.container(bundle.sh(f"touch {record}/ran"))
    result = runtime("start", container.id)
    assert result.code != 0
    assert "error running startContainer hook #0" in result.last_line
    assert "exit status 4" in result.last_line
    assert not (record / "ran").exists()
    assert_ended(runtime, container, record)


@pytest.mark.own("1.1 runs poststart hooks when it creates, and leaves the container")
def test_failing_poststart_hook(runtime: Runtime, bundle: Bundle, record: Path) -> None:
    shell_hook(bundle, "poststart", "exit 5")
    shell_hook(bundle, "poststop", f"echo poststop >> {record}/log")
    container = runtime.container(bundle.args("sleep", "1000"))
    result = runtime("start", container.id)
    assert result.code != 0
    assert "error running poststart hook #0" in result.last_line
    assert_ended(runtime, container, record)


@WORDS
def test_failing_poststop_hook_is_a_warning(runtime: Runtime, bundle: Bundle, record: Path) -> None:
    shell_hook(bundle, "poststop", f"echo first >> {record}/log; exit 6")
    shell_hook(bundle, "poststop", f"echo second >> {record}/log")
    container = runtime.container(bundle)
    result = container.delete()
    assert "poststop" in result.err
    assert (record / "log").read_text().split() == ["first", "second"]
    runtime.assert_nothing_left()


@WORDS
@pytest.mark.parametrize("kind", CREATE_HOOKS)
def test_timeout(runtime: Runtime, bundle: Bundle, record: Path, kind: str) -> None:
    shell_hook(bundle, kind, "exec sleep 1000", timeout=1)
    result = runtime.refuse(bundle)
    assert f"{kind} hook #0" in result.last_line
    assert "1s" in result.last_line or "time" in result.last_line
    runtime.assert_nothing_left()


def test_hook_that_ends_in_time(runtime: Runtime, bundle: Bundle, record: Path) -> None:
    shell_hook(bundle, "prestart", "sleep 0.1", timeout=30)
    runtime.container(bundle)


@pytest.mark.parametrize("kind", CREATE_HOOKS)
def test_missing_hook(runtime: Runtime, bundle: Bundle, kind: str) -> None:
    bundle.hook(kind, "/no/such/hook")
    result = runtime.refuse(bundle)
    assert "/no/such/hook" in result.last_line
    assert "no such file or directory" in result.last_line


def test_relative_hook_path_is_refused(runtime: Runtime, bundle: Bundle) -> None:
    bundle.hook("prestart", "hook.sh")
    runtime.refuse(bundle)


def test_hook_that_does_not_read_the_state(runtime: Runtime, bundle: Bundle, record: Path) -> None:
    """A state that is larger than a pipe, and a hook that closes its stdin."""
    bundle.config["annotations"] = {f"key{number}": "x" * 1000 for number in range(200)}
    for kind in ("prestart", "createContainer", "startContainer", "poststop"):
        shell_hook(bundle, kind, f"exec <&-; echo {kind} >> {record}/log")
    runtime.run(bundle.args("true"))
    assert (record / "log").read_text().split() == ["prestart", "createContainer", "startContainer", "poststop"]


def test_large_state_arrives_whole(runtime: Runtime, bundle: Bundle, record: Path) -> None:
    bundle.config["annotations"] = {f"key{number}": "x" * 1000 for number in range(200)}
    for kind in ("prestart", "createContainer", "startContainer"):
        shell_hook(bundle, kind, f"sleep 0.1; cat > {record}/{kind}")
    runtime.run(bundle.args("true"))
    for kind in ("prestart", "createContainer", "startContainer"):
        assert len(read_state(record / kind)["annotations"]) == 200


def test_output_of_hooks_is_not_the_container_s(runtime: Runtime, bundle: Bundle) -> None:
    for kind in KINDS:
        shell_hook(bundle, kind, "echo noise; echo noise >&2")
    result = runtime.run(bundle.args("echo", "signal"))
    assert result.out == "signal\n"


@pytest.mark.own("container hooks have some of its own")
def test_foreign_descriptors_do_not_reach_hooks(runtime: Runtime, bundle: Bundle, record: Path) -> None:
    for kind in KINDS:
        shell_hook(bundle, kind, f"ls /proc/self/fd > {record}/{kind}")
    runtime.started(bundle.args("sleep", "1000")).delete("--force")
    for kind in KINDS:
        numbers = (record / kind).read_text().split()
        assert set(numbers) <= {"0", "1", "2", "3"}, f"{kind}: {numbers}"


@POSTSTART
def test_hooks_with_run(runtime: Runtime, bundle: Bundle, record: Path) -> None:
    for kind in KINDS:
        shell_hook(bundle, kind, f"echo {kind} >> {record}/log")
    runtime.run(bundle.sh("sleep 0.2"))
    assert (record / "log").read_text().split() == KINDS
    assert os.path.exists(record)
