"""`run` in the foreground and detached: output, exit codes, signals, and that nothing is left."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.support import host
from tests.support.bundle import Bundle
from tests.support.runtime import Runtime


@pytest.mark.purev2
def test_output_of_both_streams(runtime: Runtime, bundle: Bundle) -> None:
    result = runtime.run(bundle.sh("echo to stdout; echo to stderr >&2"))
    assert (result.out, result.err) == ("to stdout\n", "to stderr\n")
    runtime.assert_nothing_left()


def test_stdin_reaches_the_container(runtime: Runtime, bundle: Bundle) -> None:
    assert runtime.run(bundle.args("cat"), stdin="some input\n").out == "some input\n"


@pytest.mark.parametrize("code", [0, 1, 7, 255])
def test_exit_code_is_the_process_s(runtime: Runtime, bundle: Bundle, code: int) -> None:
    assert runtime.run(bundle.sh(f"exit {code}"), ok=False).code == code
    runtime.assert_nothing_left()


@pytest.mark.parametrize("name", ["KILL", "TERM", "SEGV"])
def test_death_by_a_signal_is_128_and_its_number(runtime: Runtime, bundle: Bundle, name: str) -> None:
    # The process is the container's init, which the kernel shields from its own signals: kill it from outside.
    bundle.without_namespace("pid").sh(f"kill -{name} $$; sleep 10")
    assert runtime.run(bundle, ok=False).code == 128 + signal.Signals["SIG" + name].value


@pytest.mark.purev2
@pytest.mark.parametrize("name", ["TERM", "HUP", "INT", "QUIT", "USR1", "USR2", "CONT"])
def test_signals_are_forwarded(runtime: Runtime, bundle: Bundle, name: str) -> None:
    bundle.sh(f"trap 'echo got {name}; exit 9' {name}; echo ready; while :; do sleep 0.02; done").write()
    process = runtime.background("run", "--bundle", bundle.path, runtime.new_id())
    out = runtime.work / "background.out"
    host.wait_for("the container to be ready", lambda: "ready" in out.read_text())
    process.send_signal(signal.Signals["SIG" + name])
    assert process.wait(60) == 9, (runtime.work / "background.err").read_text()
    assert f"got {name}" in out.read_text()
    runtime.assert_nothing_left()


def test_children_that_are_left_end_with_the_container(runtime: Runtime, bundle: Bundle) -> None:
    runtime.run(bundle.sh("sleep 1000 >/dev/null 2>&1 & exit 0"))
    runtime.assert_nothing_left()


@pytest.mark.own("it leaves the cgroup where the container has no pid namespace")
def test_children_that_are_left_end_without_a_pid_namespace_too(runtime: Runtime, bundle: Bundle) -> None:
    if not host.cgroup2_mount():
        pytest.skip("needs a cgroup2 hierarchy to find the processes by")
    runtime.run(bundle.without_namespace("pid").sh("sleep 1000 >/dev/null 2>&1 & exit 0"))
    runtime.assert_nothing_left()


def test_detach(runtime: Runtime, bundle: Bundle) -> None:
    id = runtime.new_id()
    runtime.run(bundle.args("sleep", "1000"), "--detach", id=id)
    state = runtime.state(id)
    assert state["status"] == "running"
    assert host.is_alive(state["pid"])
    assert runtime("delete", "--force", id).code == 0
    runtime.assert_nothing_left()


def test_detached_process_outlives_and_stops(runtime: Runtime, bundle: Bundle) -> None:
    id = runtime.new_id()
    runtime.run(bundle.sh("echo done > /tmp/done"), "-d", id=id)
    host.wait_for("the container to stop", lambda: runtime.state(id)["status"] == "stopped")
    assert (bundle.rootfs / "tmp/done").read_text() == "done\n"


def test_keep(runtime: Runtime, bundle: Bundle) -> None:
    id = runtime.new_id()
    assert runtime.run(bundle.sh("exit 3"), "--keep", id=id, ok=False).code == 3
    assert runtime.state(id)["status"] == "stopped"
    assert runtime("delete", id).code == 0
    runtime.assert_nothing_left()


def test_another_container_that_took_its_name_is_not_deleted(runtime: Runtime, bundle: Bundle) -> None:
    id = runtime.new_id()
    bundle.args("sleep", "1000").write()
    process = runtime.background("run", "--bundle", bundle.path, id)
    host.wait_for("the container to run", lambda: '"running"' in runtime("state", id).out)
    process.send_signal(signal.SIGSTOP)
    assert runtime("delete", "--force", id).code == 0
    assert runtime("create", "--bundle", bundle.path, id).code == 0
    process.send_signal(signal.SIGCONT)
    assert process.wait(60) == 128 + signal.SIGKILL
    assert runtime.state(id)["status"] == "created"


def test_pid_file(runtime: Runtime, bundle: Bundle) -> None:
    id = runtime.new_id()
    pid_file = runtime.work / "pid"
    runtime.run(bundle.args("sleep", "1000"), "--detach", "--pid-file", str(pid_file), id=id)
    assert pid_file.read_text() == str(runtime.state(id)["pid"])


def test_pid_file_relative_to_the_caller(runtime: Runtime, bundle: Bundle) -> None:
    id = runtime.new_id()
    runtime.run(bundle.args("sleep", "1000"), "--detach", "--pid-file", "here.pid", id=id, cwd=bundle.path)
    assert (bundle.path / "here.pid").read_text() == str(runtime.state(id)["pid"])


def test_pid_file_that_can_t_be_written_fails_and_leaves_nothing(runtime: Runtime, bundle: Bundle) -> None:
    bundle.args("sleep", "1000")
    result = runtime.run(bundle, "--detach", "--pid-file", str(runtime.work / "no/such/pid"), ok=False)
    assert result.code != 0
    assert "no such file or directory" in result.last_line
    runtime.assert_nothing_left()


def test_bundle_is_the_working_directory_by_default(runtime: Runtime, bundle: Bundle) -> None:
    bundle.args("echo", "here").write()
    assert runtime("run", runtime.new_id(), cwd=bundle.path).out == "here\n"


@pytest.mark.own("--config came with runc 1.2")
@pytest.mark.parametrize("flag", ["-f", "--config"])
def test_config_of_another_name(runtime: Runtime, bundle: Bundle, flag: str) -> None:
    bundle.args("echo", "other").write("other.json")
    bundle.args("echo", "usual")
    bundle.write()
    assert runtime("run", "-b", bundle.path, flag, "other.json", runtime.new_id()).out == "other\n"


def test_no_pivot(runtime: Runtime, bundle: Bundle) -> None:
    out = runtime.inside(bundle, "cat /proc/self/mountinfo; ls /", "--no-pivot")
    # MS_MOVE and chroot: the rootfs is the root, and no mount of the host is under it.
    assert host.mount_at(out, "/").root.endswith("/bundle/rootfs")
    assert "etc\nhome\n" in out
    runtime.assert_nothing_left()


def _with_open(file: Path, *numbers: int) -> list[str]:
    """A command prefix that opens a file on descriptors of these numbers (one digit each)."""
    redirections = " ".join(f'{number}<"$0"' for number in numbers)
    return ["/bin/sh", "-c", f'LISTEN_PID=$$ exec "$@" {redirections}', str(file)]


def test_preserved_descriptors_reach_the_process(runtime: Runtime, bundle: Bundle, tmp_path: Path) -> None:
    file = tmp_path / "preserved"
    file.write_text("through the fd\n")
    bundle.sh("cat <&4; ls /proc/self/fd")
    result = runtime.run(bundle, "--preserve-fds", "2", prefix=_with_open(file, 3, 4, 7))
    # 5 belongs to `ls` itself; 7 was not to be preserved.
    assert result.out.split() == ["through", "the", "fd", "0", "1", "2", "3", "4", "5"]


def test_descriptors_are_not_preserved_unasked(runtime: Runtime, bundle: Bundle, tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("secret\n")
    result = runtime.run(bundle.sh("ls /proc/self/fd"), prefix=_with_open(file, 3, 9))
    assert result.out.split() == ["0", "1", "2", "3"]


@pytest.mark.own("the Go runtime's descriptors take the missing numbers")
def test_preserving_descriptors_that_are_not_open_is_refused(runtime: Runtime, bundle: Bundle) -> None:
    result = runtime.run(bundle.sh("echo ran"), "--preserve-fds", "3", ok=False)
    assert result.code != 0
    assert "ran" not in result.out
    runtime.assert_nothing_left()


def test_listen_fds_are_preserved(runtime: Runtime, bundle: Bundle, tmp_path: Path) -> None:
    """sd_listen_fds(3): LISTEN_FDS descriptors from 3 on reach the process, and the variables with them."""
    file = tmp_path / "socket"
    file.write_text("listening\n")
    bundle.sh("echo $LISTEN_FDS $LISTEN_PID; cat <&3; ls /proc/self/fd")
    result = runtime.run(bundle, env={"LISTEN_FDS": "1"}, prefix=_with_open(file, 3))
    assert result.out.split() == ["1", "1", "listening", "0", "1", "2", "3", "4"]


def test_session_keyring(runtime: Runtime, bundle: Bundle) -> None:
    """A new session keyring, named after the container, unless --no-new-keyring."""
    first, second = "0", "0"
    if not os.path.exists("/proc/keys"):
        pytest.skip("needs /proc/keys (CONFIG_KEYS)")
    with_one, without = runtime.new_id(), runtime.new_id()
    first = runtime.run(bundle.sh("cat /proc/keys"), id=with_one).out
    second = runtime.run(bundle, "--no-new-keyring", id=without).out
    assert f"_ses.{with_one}" in first
    assert f"_ses.{without}" not in second  # the first container's may still exist: the kernel collects keyrings later


def test_subreaper_flag_is_accepted(runtime: Runtime, bundle: Bundle) -> None:
    # Docker passes it with one dash.
    for flag in ("--no-subreaper", "-no-subreaper"):
        assert runtime.run(bundle.args("echo", "ran"), flag).out == "ran\n"


def test_orphans_are_reaped(runtime: Runtime, bundle: Bundle) -> None:
    """Without a pid namespace, `run` is the subreaper: it reaps a daemon that the container leaves."""
    script = "( ( sleep 0.05; cat /proc/self/stat > /tmp/stat ) & ); until [ -s /tmp/stat ]; do sleep 0.02; done"
    runtime.run(bundle.without_namespace("pid").sh(script))
    parent = (bundle.rootfs / "tmp/stat").read_text().rpartition(")")[2].split()[1]
    assert parent != "1"
