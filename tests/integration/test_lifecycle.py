"""create, start, state, kill, delete and list, each on its own process, as engines call them."""

from __future__ import annotations

import json
import os
import re
import signal
import stat
import subprocess
import time
from pathlib import Path

import jsonschema
import pytest

from tests.support import host
from tests.support.bundle import Bundle
from tests.support.runtime import Runtime

STATE_SCHEMA = Path(__file__).resolve().parents[2] / "spec-schemas/state.schema.json"
TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?Z")


@pytest.mark.purev2
def test_a_whole_life(runtime: Runtime, bundle: Bundle) -> None:
    bundle.sh("echo started; trap 'exit 4' TERM; while :; do sleep 0.02; done")
    container = runtime.container(bundle)
    assert container.status == "created"
    assert container.output == ""
    container.start()
    assert container.status == "running"
    host.wait_for("its output", lambda: container.output == "started\n")
    container.kill("TERM")
    container.wait()
    state = container.state()
    assert (state["status"], state["pid"]) == ("stopped", 0)
    container.delete()
    result = runtime("state", container.id)
    assert result.code == 1
    assert "container does not exist" in result.last_line
    runtime.assert_nothing_left()


def test_create_runs_nothing_of_the_image(runtime: Runtime, bundle: Bundle) -> None:
    container = runtime.container(bundle.sh("echo x > /tmp/ran"))
    assert not (bundle.rootfs / "tmp/ran").exists()
    assert os.readlink(f"/proc/{container.pid}/root") == "/"
    container.finish()
    assert (bundle.rootfs / "tmp/ran").exists()


def test_what_create_makes_is_there_before_the_start(runtime: Runtime, bundle: Bundle) -> None:
    """runtime.md, Create: everything but the process, as the host sees it in the waiting container."""
    bundle.config["hostname"] = "waiting"
    bundle.linux["sysctl"] = {"kernel.msgmax": "4321"}
    bundle.linux["devices"] = [{"path": "/dev/mine", "type": "c", "major": 1, "minor": 7}]
    bundle.linux["maskedPaths"] = ["/srv/file"]
    bundle.mount("/mnt", "tmpfs", "of-the-config", "nosuid")
    container = runtime.container(bundle)
    here = Path(f"/proc/{container.pid}")
    mounts = (here / "mountinfo").read_text()
    assert host.mount_at(mounts, "/mnt").source == "of-the-config"
    assert host.mount_at(mounts, "/srv/file")
    assert stat.S_ISCHR((here / "root/dev/mine").stat().st_mode)
    command = f"nsenter --uts={here}/ns/uts --ipc={here}/ns/ipc cat /proc/sys/kernel/hostname /proc/sys/kernel/msgmax"
    names = subprocess.run(command.split(), capture_output=True, text=True, check=True)
    assert names.stdout.split() == ["waiting", "4321"]
    if host.cgroup2_mount() and runtime.is_own:
        assert host.cgroup_of(container.pid).endswith(container.id)


def test_changes_of_the_config_after_create_have_no_effect(runtime: Runtime, bundle: Bundle) -> None:
    container = runtime.container(bundle.args("echo", "as created"))
    bundle.args("echo", "changed").write()
    assert container.finish() == "as created\n"


def test_state_has_runc_s_fields_in_runc_s_order(runtime: Runtime, bundle: Bundle) -> None:
    bundle.config["annotations"] = {"org.example.key": "value", "other": ""}
    container = runtime.container(bundle)
    text = runtime("state", container.id).out
    state = json.loads(text)
    assert list(state) == [
        "ociVersion", "id", "pid", "status", "bundle", "rootfs", "created", "annotations", "owner",
    ]  # fmt: skip
    assert state["id"] == container.id
    assert host.is_alive(state["pid"])
    assert state["status"] == "created"
    assert state["bundle"] == str(bundle.path)
    assert state["rootfs"] == str(bundle.rootfs)
    assert TIMESTAMP.fullmatch(state["created"])
    assert state["annotations"] == {"org.example.key": "value", "other": ""}
    # runc leaves it empty here and sets it in `list`.
    assert state["owner"] == ""
    assert text.startswith('{\n  "ociVersion": "')


def test_state_without_annotations(runtime: Runtime, bundle: Bundle) -> None:
    assert "annotations" not in runtime.container(bundle).state()


def test_relative_bundle_is_made_absolute(runtime: Runtime, bundle: Bundle) -> None:
    bundle.write()
    id = runtime.new_id()
    assert runtime("create", "--bundle", "bundle", id).code == 0
    assert runtime.state(id)["bundle"] == str(bundle.path)


def test_absolute_root_path(runtime: Runtime, bundle: Bundle) -> None:
    bundle.config["root"]["path"] = str(bundle.rootfs)
    assert runtime.container(bundle).state()["rootfs"] == str(bundle.rootfs)


def test_a_second_container_of_the_same_id_is_refused(runtime: Runtime, bundle: Bundle) -> None:
    container = runtime.container(bundle)
    for verb in ("create", "run"):
        result = runtime(verb, "--bundle", bundle.path, container.id)
        assert result.code == 1
        assert "container with given ID already exists" in result.last_line
    assert container.status == "created"


def test_an_id_is_free_after_delete(runtime: Runtime, bundle: Bundle) -> None:
    container = runtime.container(bundle)
    container.delete()
    runtime.run(bundle.args("true"), id=container.id)


@pytest.mark.parametrize("id", ["..", ".", "a/b", "../x", "/", "a b", "a\nb", "é", "a:b", "a" * 1025])
def test_ids_that_are_refused(runtime: Runtime, bundle: Bundle, id: str) -> None:
    result = runtime.refuse(bundle, id=id)
    if id != "." and len(id) < 1000:  # runc fails on these two later, with other messages
        assert "invalid container ID format" in result.last_line


def test_empty_id_is_refused(runtime: Runtime, bundle: Bundle) -> None:
    bundle.write()
    result = runtime("create", "--bundle", bundle.path, "")
    assert result.code == 1
    assert "container id cannot be empty" in result.last_line


@pytest.mark.parametrize("verb", ["state", "start", "kill", "delete"])
@pytest.mark.parametrize("id", ["..", "a/b", "../../etc"])
def test_ids_that_lead_out_of_the_root_are_refused_everywhere(runtime: Runtime, verb: str, id: str) -> None:
    victim = runtime.work / "etc"
    victim.mkdir()
    result = runtime(verb, id)
    assert result.code == 1
    assert "invalid container ID format" in result.last_line
    assert victim.exists()


@pytest.mark.parametrize("suffix", ["_", "+", "-", ".", "A.b_c+d-0", "..", "x" * 200])
def test_ids_that_are_legal(runtime: Runtime, bundle: Bundle, suffix: str) -> None:
    id = runtime.token + suffix
    runtime.ids.append(id)
    runtime.run(bundle.args("sleep", "100"), "--detach", id=id)
    assert runtime.state(id)["id"] == id


def test_start_of_a_running_container(runtime: Runtime, bundle: Bundle) -> None:
    container = runtime.started(bundle.args("sleep", "1000"))
    result = runtime("start", container.id)
    assert result.code == 1
    assert "cannot start an already running container" in result.last_line


def test_what_is_refused_of_a_running_container_leaves_it_alone(runtime: Runtime, bundle: Bundle) -> None:
    """runtime.md, Start and Delete: no effect on the container."""
    bundle.mount("/mnt", "tmpfs", "tmpfs").sh("echo once >> /tmp/log; while :; do sleep 0.02; done")
    container = runtime.started(bundle)
    log = bundle.rootfs / "tmp/log"
    host.wait_for("the program", log.exists)
    before = container.state(), Path(f"/proc/{container.pid}/mountinfo").read_text(), host.cgroups_of(runtime.token)
    assert runtime("start", container.id).code == 1
    assert runtime("delete", container.id).code == 1
    after = container.state(), Path(f"/proc/{container.pid}/mountinfo").read_text(), host.cgroups_of(runtime.token)
    assert after == before
    assert log.read_text() == "once\n"


def test_what_is_refused_of_a_stopped_container_leaves_it_alone(runtime: Runtime, bundle: Bundle) -> None:
    """runtime.md, Start and Kill: no effect on the container."""
    container = runtime.container(bundle.sh("echo once >> /tmp/log"))
    container.finish()
    before = container.state()
    assert runtime("start", container.id).code == 1
    assert runtime("kill", container.id, "KILL").code == 1
    assert container.state() == before
    assert (bundle.rootfs / "tmp/log").read_text() == "once\n"


def test_without_a_process_there_is_nothing_to_start(runtime: Runtime, bundle: Bundle) -> None:
    """The specification refuses it at start; runc, and so pyrunc, at create."""
    del bundle.config["process"]
    assert "process" in runtime.refuse(bundle).last_line


@pytest.mark.own("its state has no schema of ours")
def test_every_state_is_as_the_schema_wants_it(runtime: Runtime, bundle: Bundle) -> None:
    """Each state is valid by spec-schemas/state.schema.json, which is stricter than the specification's."""
    validator = jsonschema.Draft202012Validator(json.loads(STATE_SCHEMA.read_text()))
    record = runtime.work / "creating"
    bundle.config["annotations"] = {"org.example.key": "value"}
    bundle.hook("createRuntime", "/bin/sh", "sh", "-c", f"cat > {record}")
    container = runtime.container(bundle.sh("sleep 1000"))
    states = [json.loads(record.read_text()), container.state()]
    container.start()
    states.append(container.state())
    container.kill()
    container.wait()
    states.append(container.state())
    assert [state["status"] for state in states] == ["creating", "created", "running", "stopped"]
    for state in states:
        validator.validate(state)


def test_start_of_a_stopped_container(runtime: Runtime, bundle: Bundle) -> None:
    container = runtime.container(bundle)
    container.finish()
    result = runtime("start", container.id)
    assert result.code == 1
    assert "cannot start a container that has stopped" in result.last_line


@pytest.mark.parametrize("verb", ["start", "state", "kill", "delete"])
def test_unknown_container(runtime: Runtime, verb: str) -> None:
    result = runtime(verb, "nobody")
    assert result.code == 1
    assert "container does not exist" in result.last_line


def test_forced_delete_of_an_unknown_container(runtime: Runtime) -> None:
    result = runtime("delete", "--force", "nobody")
    assert (result.code, result.out, result.err) == (0, "", "")


def test_delete_of_a_running_container_is_refused(runtime: Runtime, bundle: Bundle) -> None:
    container = runtime.started(bundle.args("sleep", "1000"))
    result = runtime("delete", container.id)
    assert result.code == 1
    assert f"cannot delete container {container.id} that is not stopped: running" in result.last_line
    assert container.status == "running"


def test_delete_of_a_created_container(runtime: Runtime, bundle: Bundle) -> None:
    container = runtime.container(bundle.sh("echo > /tmp/ran"))
    container.delete()
    runtime.assert_nothing_left()
    assert not (bundle.rootfs / "tmp/ran").exists()


@pytest.mark.parametrize("flag", ["--force", "-f"])
def test_forced_delete_of_a_running_container(runtime: Runtime, bundle: Bundle, flag: str) -> None:
    container = runtime.started(bundle.sh("sleep 1000 & sleep 1000"))
    container.delete(flag)
    host.wait_for("the end", lambda: not host.is_alive(container.pid))
    runtime.assert_nothing_left()


@pytest.mark.own("it takes one id only")
def test_delete_of_many(runtime: Runtime, bundle: Bundle) -> None:
    first, second = runtime.container(bundle), runtime.container(bundle)
    result = runtime("delete", first.id, second.id)
    assert result.code == 0, result
    runtime.assert_nothing_left()


@pytest.mark.own("it takes one id only")
def test_delete_of_many_goes_on_after_a_failure(runtime: Runtime, bundle: Bundle) -> None:
    container = runtime.container(bundle)
    result = runtime("delete", "nobody", container.id)
    assert result.code == 1
    assert "container does not exist" in result.err
    runtime.assert_nothing_left()


TRAPS = "; ".join(f"trap 'echo {name} >> /tmp/got' {name}" for name in ("TERM", "USR1", "HUP", "INT"))


@pytest.mark.parametrize(
    ("word", "name"),
    [(None, "TERM"), ("USR1", "USR1"), ("SIGUSR1", "USR1"), ("10", "USR1"), ("usr1", "USR1"), ("sighup", "HUP")],
)
def test_kill_by_name_and_number(runtime: Runtime, bundle: Bundle, word: str | None, name: str) -> None:
    container = runtime.started(bundle.sh(TRAPS + "; echo ready; while :; do sleep 0.02; done"))
    host.wait_for("its traps", lambda: "ready" in container.output)
    result = runtime("kill", container.id, *([word] if word else []))
    assert (result.code, result.out, result.err) == (0, "", "")
    got = bundle.rootfs / "tmp/got"
    assert host.wait_for("the signal", lambda: got.exists() and got.read_text()) == name + "\n"


def test_kill_with_a_word_that_is_no_signal(runtime: Runtime, bundle: Bundle) -> None:
    container = runtime.container(bundle)
    result = runtime("kill", container.id, "FOO")
    assert result.code == 1
    # In the log the quotes may be escaped.
    assert 'unknown signal "FOO"' in result.last_line.replace("\\", "")
    assert runtime("kill", container.id, "999").code == 1
    assert container.status == "created"


def test_kill_of_a_created_container(runtime: Runtime, bundle: Bundle) -> None:
    container = runtime.container(bundle)
    container.kill("KILL")
    container.wait()
    assert container.status == "stopped"
    container.delete()


def test_kill_of_a_stopped_container(runtime: Runtime, bundle: Bundle) -> None:
    container = runtime.container(bundle)
    container.finish()
    result = runtime("kill", container.id, "KILL")
    assert result.code == 1
    assert "container not running" in result.last_line
    # Engines kill processes that may be left in it.
    assert runtime("kill", "--all", container.id, "KILL").code == 0


@pytest.mark.parametrize("arguments", [("--all", "{id}", "9"), ("-a", "{id}", "KILL")])
def test_kill_all(runtime: Runtime, bundle: Bundle, arguments: tuple[str, ...]) -> None:
    if not host.cgroup2_mount():
        pytest.skip("needs a cgroup2 hierarchy to find the processes by")
    # Without a pid namespace the children survive the container's process, unless `kill --all` ends them too.
    bundle.without_namespace("pid").sh("sleep 1000 & sleep 1000 & echo $$ $! > /tmp/pids; wait")
    container = runtime.started(bundle)
    pids = host.wait_for("its children", lambda: _read(bundle.rootfs / "tmp/pids").split())
    result = runtime("kill", *(word.format(id=container.id) for word in arguments))
    assert result.code == 0, result
    host.wait_for("all to be gone", lambda: not any(host.is_alive(int(pid)) for pid in pids))


def _read(path: Path) -> str:
    return path.read_text() if path.exists() else ""


@pytest.mark.own("1.1 has it the other way round; 1.5 does this")
def test_list_of_a_root_that_is_not_there(runtime: Runtime) -> None:
    result = runtime("list")
    assert result.code == 1
    assert "no such file or directory" in result.last_line


def test_list_is_empty_at_first(runtime: Runtime) -> None:
    runtime.root.mkdir()
    result = runtime("list")
    assert result.code == 0
    assert result.out.split() == ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"]
    assert runtime("list", "--format", "json").out.strip() == "null"
    assert runtime("list", "-q").out == ""


def test_list(runtime: Runtime, bundle: Bundle) -> None:
    created = runtime.container(bundle)
    running = runtime.started(bundle.args("sleep", "1000"))
    stopped = runtime.container(bundle.args("true"))
    stopped.finish()
    ids = [created.id, running.id, stopped.id]
    lines = runtime("list").out.splitlines()
    assert lines[0].split() == ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"]
    rows = {line.split()[0]: line.split() for line in lines[1:]}
    assert sorted(rows) == sorted(ids)
    assert rows[running.id][1:4] == [str(running.pid), "running", str(bundle.path)]
    assert rows[stopped.id][1:3] == ["0", "stopped"]
    assert TIMESTAMP.fullmatch(rows[created.id][4])
    assert rows[created.id][5] == "root"
    # The columns are aligned with their headers.
    assert {line.index(line.split()[2]) for line in lines} == {lines[0].index("STATUS")}
    for flag in ("-q", "--quiet"):
        assert sorted(runtime("list", flag).out.split()) == sorted(ids)
    for flags in (("--format", "json"), ("-f", "json"), ("--format=json",)):
        listed = json.loads(runtime("list", *flags).out)
        assert {item["id"]: item["status"] for item in listed} == {
            created.id: "created", running.id: "running", stopped.id: "stopped",
        }  # fmt: skip
        assert list(listed[0]) == ["ociVersion", "id", "pid", "status", "bundle", "rootfs", "created", "owner"]
        assert {item["owner"] for item in listed} == {"root"}


def test_list_of_an_unknown_format(runtime: Runtime) -> None:
    assert runtime("list", "--format", "xml").code != 0


def test_list_skips_what_is_no_container(runtime: Runtime, bundle: Bundle) -> None:
    container = runtime.container(bundle)
    (runtime.root / "not-a-container").mkdir()
    try:
        assert runtime("list", "-q").out.split() == [container.id]
    finally:
        if (runtime.root / "not-a-container").exists():
            (runtime.root / "not-a-container").rmdir()


def test_paused_status(runtime: Runtime, bundle: Bundle) -> None:
    mount = host.cgroup2_mount()
    if not mount:
        pytest.skip("needs a cgroup2 hierarchy to freeze in")
    container = runtime.started(bundle.args("sleep", "1000"))
    freezer = Path(mount + host.cgroup_of(container.pid)) / "cgroup.freeze"
    freezer.write_text("1")
    try:
        host.wait_for("the freezer", lambda: "frozen 1" in (freezer.parent / "cgroup.events").read_text())
        assert container.status == "paused"
        assert runtime("delete", container.id).code == 1
    finally:
        freezer.write_text("0")
    assert container.status == "running"


def test_forced_delete_of_a_paused_container(runtime: Runtime, bundle: Bundle) -> None:
    mount = host.cgroup2_mount()
    if not mount:
        pytest.skip("needs a cgroup2 hierarchy to freeze in")
    container = runtime.started(bundle.args("sleep", "1000"))
    Path(mount + host.cgroup_of(container.pid), "cgroup.freeze").write_text("1")
    container.delete("--force")
    host.wait_for("the end", lambda: not host.is_alive(container.pid))


def test_a_pid_that_was_given_to_another_process_is_not_the_container(runtime: Runtime, bundle: Bundle) -> None:
    """The pid in the state now belongs to another process: the start time tells them apart."""
    container = runtime.container(bundle)
    container.finish()
    time.sleep(0.03)  # a start time has ticks of 10 ms
    other = subprocess.Popen(["sleep", "1000"])
    try:
        state_file = runtime.root / container.id / "state.json"
        text = state_file.read_text()
        assert str(container.pid) in text
        state_file.write_text(re.sub(rf"\b{container.pid}\b", str(other.pid), text))
        assert container.status == "stopped"
        result = runtime("kill", container.id, "KILL")
        assert "container not running" in result.last_line
        container.delete("--force")
        assert other.poll() is None
    finally:
        other.kill()
        assert other.wait() == -signal.SIGKILL


def test_a_damaged_state_is_told(runtime: Runtime, bundle: Bundle) -> None:
    container = runtime.started(bundle.args("sleep", "1000"))
    state_file = runtime.root / container.id / "state.json"
    saved = state_file.read_text()
    state_file.write_text('{"id": ')
    result = runtime("state", container.id)
    assert result.code == 1
    assert result.last_line
    state_file.write_text(saved)
    assert container.status == "running"


def test_default_root_of_a_user_is_in_xdg_runtime_dir(runtime: Runtime, bundle: Bundle) -> None:
    """Without --root, a user other than root has $XDG_RUNTIME_DIR/NAME. A user namespace without mappings makes root
    such a user.
    """
    runtime.root = runtime.work / runtime.name
    container = runtime.container(bundle)
    directory = {"XDG_RUNTIME_DIR": str(runtime.work)}
    nobody = ["unshare", "--user"]
    assert runtime("list", "-q", with_root=False, env=directory, prefix=nobody).out.split() == [container.id]
    assert container.id not in runtime("list", "-q", with_root=False, env=directory).out


def test_missing_config_and_bundle(runtime: Runtime, bundle: Bundle) -> None:
    result = runtime("create", "--bundle", bundle.path, runtime.new_id())
    assert result.code == 1
    assert "config.json" in result.last_line
    result = runtime("create", "--bundle", runtime.work / "nowhere", runtime.new_id())
    assert result.code == 1
    assert "no such file or directory" in result.last_line
    runtime.assert_nothing_left()


@pytest.mark.parametrize(
    "arguments",
    [("create",), ("start",), ("state",), ("kill",), ("delete",), ("run",), ("state", "a", "b"), ("nonsense",)],
)
def test_wrong_arguments(runtime: Runtime, arguments: tuple[str, ...]) -> None:
    result = runtime(*arguments)
    assert result.code != 0
    assert result.out + result.err


@pytest.mark.own("two of its creates may both succeed")
def test_concurrent_creates_of_one_id(runtime: Runtime, bundle: Bundle) -> None:
    """One create wins; the others fail with a message and change nothing of the winner."""
    bundle.write()
    id = runtime.new_id()
    command = runtime.argv("create", "--bundle", bundle.path, id)
    processes = [
        subprocess.Popen(
            command,
            env=runtime.environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for _ in range(6)
    ]
    codes = sorted(process.wait(60) for process in processes)
    assert codes[0] == 0
    assert 0 not in codes[1:]
    assert runtime.state(id)["status"] == "created"
    assert runtime("delete", id).code == 0
    runtime.assert_nothing_left()


@pytest.mark.parametrize("frozen", [False, True], ids=["", "frozen"])
def test_what_came_into_the_cgroup_after_the_end_goes_with_it(runtime: Runtime, bundle: Bundle, frozen: bool) -> None:
    """Such as the process of an `exec` that is cloned into the cgroup just after the container was killed."""
    mount = host.cgroup2_mount()
    if not mount:
        pytest.skip("needs a cgroup2 hierarchy")
    container = runtime.started(bundle.args("sleep", "1000"))
    directory = Path(mount + host.cgroup_of(container.pid))
    container.kill("KILL")
    container.wait()
    late = subprocess.Popen(["sleep", "1000"])
    try:
        (directory / "cgroup.procs").write_text(str(late.pid))
        if frozen:
            (directory / "cgroup.freeze").write_text("1")
        container.delete()
        assert late.wait(60) == -9
        assert not directory.exists()
    finally:
        late.kill()
        late.wait()
