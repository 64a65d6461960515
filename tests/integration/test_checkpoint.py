"""checkpoint and restore by a real CRIU: the tests look at the restored processes from inside and on the host."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest

from tests.support import host
from tests.support.bundle import Bundle
from tests.support.checkpoints import (
    COUNTER,
    Checkpoints,
    assert_counts,
    count,
    counting,
    wait_until_running,
)
from tests.support.runtime import Runtime
from tests.support.terminals import ConsoleSocket, Session, read_until

pytestmark = pytest.mark.own("runc wants another CRIU set-up: iptables for each dump")


@pytest.fixture
def console(runtime: Runtime) -> Iterator[ConsoleSocket]:
    """A console socket."""
    value = ConsoleSocket(runtime.work / "console.sock")
    yield value
    value.listener.close()


@pytest.mark.purev2
def test_a_container_goes_on_where_it_was(runtime: Runtime, bundle: Bundle, criu: Checkpoints) -> None:
    container = counting(runtime, bundle)
    criu.dump(container)
    assert "container does not exist" in runtime("state", container.id).last_line
    stopped = count(bundle)
    time.sleep(0.2)
    assert count(bundle) == stopped
    pid_file = runtime.work / "pid"
    restored = criu.restore(bundle, "--pid-file", str(pid_file))
    assert_counts(bundle)
    state = restored.state()
    assert (state["status"], state["bundle"], state["id"]) == ("running", str(bundle.path), restored.id)
    assert pid_file.read_text() == str(state["pid"])
    assert state["created"] > container.bundle.config.get("created", "")
    assert host.cgroups_of(runtime.token) == list(host.cgroups_of(restored.id))


@pytest.mark.purev2
def test_a_restored_container_is_like_one_that_was_run(runtime: Runtime, bundle: Bundle, criu: Checkpoints) -> None:
    bundle.namespace("cgroup").namespace("network")
    criu.dump(counting(runtime, bundle))
    container = criu.restore(bundle)
    pids = json.loads(runtime("ps", "--format", "json", container.id).out)
    assert container.pid in pids
    script = "for link in pid time; do readlink /proc/1/ns/$link; readlink /proc/self/ns/$link; done; cat /proc/1/comm"
    done = runtime("exec", container.id, "sh", "-c", script)
    lines = done.out.split()
    assert len(lines) > 2, done
    assert lines[0] == lines[1]
    assert len(lines) == 3 or lines[2] == lines[3]  # a kernel without time namespaces
    assert lines[-1] == "sh"
    assert runtime("pause", container.id).code == 0
    assert container.status == "paused"
    stopped = count(bundle)
    time.sleep(0.2)
    assert count(bundle) == stopped
    assert runtime("resume", container.id).code == 0
    assert_counts(bundle)
    again = criu.dump(container)
    assert again.code == 0
    container = criu.restore(bundle)
    assert_counts(bundle)
    assert runtime("events", "--stats", container.id).code == 0
    container.kill()
    container.wait()
    assert container.status == "stopped"
    container.delete()
    runtime.assert_nothing_left()


@pytest.mark.purev2
def test_it_runs_on_where_that_is_asked_for(runtime: Runtime, bundle: Bundle, criu: Checkpoints) -> None:
    container = counting(runtime, bundle)
    criu.dump(container, "--leave-running")
    assert container.status == "running"
    assert_counts(bundle)
    assert container.state()["pid"] == container.pid


@pytest.mark.purev2
def test_a_paused_container_stays_paused(runtime: Runtime, bundle: Bundle, criu: Checkpoints) -> None:
    container = counting(runtime, bundle)
    assert runtime("pause", container.id).code == 0
    criu.dump(container, "--leave-running")
    assert container.status == "paused"
    stopped = count(bundle)
    assert runtime("resume", container.id).code == 0
    host.wait_for("the counter to go on", lambda: count(bundle) > stopped)
    runtime("pause", container.id)
    criu.dump(container)
    restored = criu.restore(bundle)
    assert restored.status == "running"
    assert_counts(bundle)


def test_states_that_have_nothing_to_be_dumped(runtime: Runtime, bundle: Bundle, criu: Checkpoints) -> None:
    container = runtime.container(bundle.sh(COUNTER))
    refused = criu.dump(container, ok=False)
    assert (refused.code, "Container cannot be checkpointed in created state" in refused.last_line) == (1, True)
    container.start()
    container.kill()
    container.wait()
    assert "Container cannot be checkpointed in stopped state" in criu.dump(container, ok=False).last_line
    assert not criu.images.exists()
    container.delete()
    assert "container does not exist" in criu.dump(container, ok=False).last_line


def test_memory_and_processes_are_there_again(runtime: Runtime, bundle: Bundle, criu: Checkpoints) -> None:
    """A variable of 256 KiB, a child, a pipe between them, a file in a tmpfs, one that is deleted and open."""
    script = (
        "x=$(head -c 196608 /dev/urandom | base64 -w0); echo $x | md5sum > /before; echo kept > /dev/shm-file; "
        "exec 6>/gone; rm /gone; mkfifo /fifo; (read line </fifo; echo got $line >/child) & "
        "while [ ! -e /go ]; do sleep 0.05; done; "
        "echo $x | md5sum > /after; cat /dev/shm-file > /shm; echo word >/fifo; wait; echo still >&6; echo done >/done"
    )
    container = runtime.started(bundle.sh(script))
    before = bundle.rootfs / "before"
    host.wait_for("the memory to be filled", (bundle.rootfs / "fifo").exists)
    criu.dump(container)
    (bundle.rootfs / "go").touch()
    restored = criu.restore(bundle)
    host.wait_for("its end", (bundle.rootfs / "done").exists)
    restored.wait()
    assert before.read_text() == (bundle.rootfs / "after").read_text()
    assert (bundle.rootfs / "shm").read_text() == "kept\n"
    assert (bundle.rootfs / "child").read_text() == "got word\n"


def test_in_the_foreground_the_exit_code_is_the_process_s(runtime: Runtime, bundle: Bundle, criu: Checkpoints) -> None:
    criu.dump(runtime.started(bundle.sh("trap 'exit 7' TERM; while :; do sleep 0.05; done"), stdin=subprocess.DEVNULL))
    id = runtime.new_id()
    process = runtime.background("restore", "--image-path", criu.images, "--bundle", bundle.path, id)
    wait_until_running(runtime, id)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 7
    assert "container does not exist" in runtime("state", id).last_line
    runtime.assert_nothing_left()


def test_standard_streams_that_are_pipes_are_the_restore_s(runtime: Runtime, bundle: Bundle, criu: Checkpoints) -> None:
    bundle.sh("i=0; while :; do i=$((i+1)); echo $i; echo e$i >&2; sleep 0.05; done")
    bundle.write()
    id = runtime.new_id()

    readers: list[threading.Thread] = []

    def start(*words: str | Path) -> tuple[subprocess.Popen[str], list[list[str]]]:
        process = subprocess.Popen(
            runtime.argv(*words), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env=runtime.environment(),
        )  # fmt: skip
        found: list[list[str]] = [[], []]

        def read(stream: IO[str], lines: list[str]) -> None:
            for line in stream:
                lines.append(line.strip())

        for stream, lines in ((process.stdout, found[0]), (process.stderr, found[1])):
            readers.append(threading.Thread(target=read, args=(stream, lines), daemon=True))
            readers[-1].start()
        return process, found

    first, output = start("run", "--bundle", bundle.path, id)
    host.wait_for("its output", lambda: len(output[0]) > 3)
    result = runtime("checkpoint", "--image-path", criu.images, id)
    assert result.code == 0, result
    assert first.wait(60) == 128 + 9
    names = json.loads((criu.images / "descriptors.json").read_text())
    assert all(name.startswith("pipe:[") for name in names)
    for reader in readers:
        reader.join(host.SECONDS)
    id = runtime.new_id()
    second, more = start("restore", "--image-path", criu.images, "--bundle", bundle.path, id)
    host.wait_for("its output", lambda: len(more[0]) > 3 and len(more[1]) > 3)
    runtime("kill", id, "KILL")
    assert second.wait(60) == 128 + 9
    numbers = [int(line) for line in output[0] + more[0]]
    assert numbers == list(range(1, len(numbers) + 1))
    errors = [line for line in output[1] + more[1] if line.startswith("e")]
    assert errors == [f"e{number}" for number in range(1, len(errors) + 1)]


def test_a_log_file_is_written_on(runtime: Runtime, bundle: Bundle, criu: Checkpoints) -> None:
    """A file on the host is not in the container: restore opens its own, and CRIU requires its old state."""
    bundle.sh("i=0; while :; do i=$((i+1)); echo $i; sleep 0.05; done").write()
    log = runtime.work / "log"

    def call(*words: str | Path) -> None:
        with open(log, "ab") as out:
            done = subprocess.run(
                runtime.argv(*words), stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.PIPE, check=False,
                env=runtime.environment(), timeout=60,
            ) if words[0] == "checkpoint" else subprocess.run(
                runtime.argv(*words), stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.DEVNULL, check=False,
                env=runtime.environment(), timeout=60,
            )  # fmt: skip
        assert done.returncode == 0, done

    id = runtime.new_id()
    call("run", "--detach", "--bundle", bundle.path, id)
    host.wait_for("its output", lambda: log.read_text().count("\n") > 3)
    call("checkpoint", "--image-path", criu.images, id)
    before = log.read_text().count("\n")
    call("restore", "--detach", "--image-path", criu.images, "--bundle", bundle.path, id)
    host.wait_for("more output", lambda: log.read_text().count("\n") > before + 3)
    numbers = [int(line) for line in log.read_text().split()]
    assert numbers == list(range(1, len(numbers) + 1))


def test_a_stream_that_the_process_has_elsewhere_at_the_moment(
    runtime: Runtime, bundle: Bundle, criu: Checkpoints
) -> None:
    """A shell moves its output to another descriptor while it writes to a file: that is the host's file, too."""
    script = "{ echo here; until test -e /go; do sleep 0.05; done; } > /said; echo there"
    container = runtime.started(bundle.sh(script))
    host.wait_for("the redirection", (bundle.rootfs / "said").exists)
    assert os.path.samefile(f"/proc/{container.pid}/fd/1", bundle.rootfs / "said")
    criu.dump(container)
    names = json.loads((criu.images / "descriptors.json").read_text())
    assert [name.partition("[")[0] for name in names] == ["file"] * 3
    restored = criu.restore(bundle)
    assert restored.output == ""
    (bundle.rootfs / "go").touch()
    restored.wait()
    assert (restored.output, (bundle.rootfs / "said").read_text()) == ("there\n", "here\n")


def test_a_terminal_by_the_console_socket(
    runtime: Runtime, bundle: Bundle, criu: Checkpoints, console: ConsoleSocket
) -> None:
    bundle.process["terminal"] = True
    script = "echo ready; while read line; do echo got $line; done"
    container = runtime.container(bundle.sh(script), "--console-socket", str(console.path))
    master = console.receive()
    container.start()
    read_until(master, lambda text: b"ready" in text)
    criu.dump(container)
    os.close(master)
    restored = criu.restore(bundle, "--console-socket", str(console.path))
    master = console.receive()
    os.write(master, b"some words\n")
    read_until(master, lambda text: b"got some words" in text)
    tty = runtime("exec", restored.id, "sh", "-c", "readlink /proc/1/fd/0; ls -l /dev/console").out
    assert tty.startswith("/dev/pts/0\n")
    os.close(master)


def test_a_terminal_in_the_foreground(runtime: Runtime, bundle: Bundle, criu: Checkpoints) -> None:
    bundle.process["terminal"] = True
    bundle.sh("echo ready; while read line; do echo got $line; [ $line = end ] && exit 5; done").write()
    id = runtime.new_id()
    first = Session(runtime.argv("run", "--bundle", bundle.path, id), runtime.environment())
    read_until(first.master, lambda text: b"ready" in text)
    result = runtime("checkpoint", "--image-path", criu.images, id)
    assert result.code == 0, result
    assert first.finish() == 128 + 9
    words = runtime.argv("restore", "--image-path", criu.images, "--bundle", bundle.path, runtime.new_id())
    second = Session(words, runtime.environment())
    host.wait_for("the terminal to be raw", second.is_raw)
    os.write(second.master, b"word\n")
    read_until(second.master, lambda text: b"got word" in text)
    os.write(second.master, b"end\n")
    assert second.finish() == 5
    runtime.assert_nothing_left()


@pytest.mark.purev2
def test_mounts_devices_and_masks(runtime: Runtime, bundle: Bundle, criu: Checkpoints) -> None:
    """Bind mounts of a directory, a file, one behind a link, one in another; masked and read-only paths; devices."""
    for name in ("directory/inner", "other"):
        (runtime.work / name).mkdir(parents=True)
    (runtime.work / "directory/text").write_text("of the directory")
    (runtime.work / "other/text").write_text("of the other")
    (runtime.work / "file").write_text("of the file")
    (bundle.rootfs / "link").symlink_to("/srv")
    bundle.mount("/data", "bind", str(runtime.work / "directory"), "rbind", "ro")
    bundle.mount("/data/inner", "none", str(runtime.work / "other"), "bind")
    bundle.mount("/etc/file", "bind", str(runtime.work / "file"), "bind", "ro")
    bundle.mount("/link/below", "bind", str(runtime.work / "other"), "bind")
    bundle.mount("/tmp", "tmpfs", "tmpfs", "nosuid", "size=1m")
    bundle.mount("/sys", "sysfs", "sysfs", "ro")
    bundle.mount("/dev/shm", "tmpfs", "shm", "size=64k")
    bundle.mount("/dev/mqueue", "mqueue", "mqueue")
    bundle.linux["maskedPaths"] = ["/proc/kcore", "/proc/acpi", "/etc/passwd", "/nowhere"]
    bundle.linux["readonlyPaths"] = ["/proc/sys", "/proc/irq"]
    bundle.linux["devices"] = [{"path": "/dev/fuse", "type": "c", "major": 10, "minor": 229, "fileMode": 0o666}]
    script = "echo in tmpfs > /tmp/file; touch /ready; while :; do sleep 1; done"
    container = runtime.started(bundle.sh(script))
    host.wait_for("it to be ready", (bundle.rootfs / "ready").exists)
    look = (
        "cat /data/text /data/inner/text /etc/file /srv/below/text /tmp/file; wc -c < /etc/passwd; "
        "stat -c '%n %F %t:%T %a' /dev/fuse /dev/null /dev/tty; "
        "touch /data/x /etc/file 2>&1; echo 0 2>&1 >/proc/sys/kernel/sysrq; ls /proc/acpi; "
        "awk '{ print $5, $6 }' /proc/self/mountinfo | sort"
    )
    before = runtime("exec", container.id, "sh", "-c", look).out
    assert "of the directory" in before
    assert before.count("Read-only file system") == 2
    criu.dump(container)
    assert host.mounts_of(runtime.token) == []
    restored = criu.restore(bundle)
    assert runtime("exec", restored.id, "sh", "-c", look).out == before
    assert host.mounts_of(runtime.token) == []


def test_mount_points_that_are_missing_are_made(runtime: Runtime, bundle: Bundle, criu: Checkpoints) -> None:
    """As for a start: links that lead out of the root file system are not followed."""
    (runtime.work / "source").mkdir()
    bundle.mount("/new/place", "bind", str(runtime.work / "source"), "bind")
    bundle.mount("/new/place/file", "bind", "/etc/hostname", "bind")
    criu.dump(counting(runtime, bundle))
    (bundle.rootfs / "new/place").rmdir()
    (bundle.rootfs / "new").rmdir()
    (runtime.work / "source/file").unlink()
    container = criu.restore(bundle)
    assert_counts(bundle)
    assert (bundle.rootfs / "new/place").is_dir()
    assert (runtime.work / "source/file").is_file()
    text = runtime("exec", container.id, "cat", "/new/place/file").out
    assert text == Path("/etc/hostname").read_text()
    container.kill()
    container.wait()
    container.delete()
    # Now the mount point is a link that leads out.
    (bundle.rootfs / "new/place").rmdir()
    (bundle.rootfs / "new").rmdir()
    (runtime.work / "outside").mkdir()
    (bundle.rootfs / "new").symlink_to(f"../../../../../../../..{runtime.work}/outside")
    criu.refuse(bundle)
    assert list((runtime.work / "outside").iterdir()) == []


@pytest.mark.parametrize("kind", ["network", "pid"])
def test_a_namespace_of_another_stays_another_s(runtime: Runtime, bundle: Bundle, criu: Checkpoints, kind: str) -> None:
    file = {"network": "net", "pid": "pid"}[kind]
    keeper = runtime.started(runtime.bundle("keeper").namespace("network").sh("sleep 1000; true"))
    path = f"/proc/{keeper.pid}/ns/{file}"
    bundle.namespace(kind, path)
    container = counting(runtime, bundle)
    criu.dump(container)
    # The container's pids are free when its processes are reaped.
    there = Path(f"/proc/{container.pid}")
    host.wait_for("the pids to be free", lambda: not there.exists() and len(host.children(keeper.pid)) == 1)
    restored = criu.restore(bundle)
    assert_counts(bundle)
    assert os.readlink(f"/proc/{restored.pid}/ns/{file}") == os.readlink(path)


def test_a_joined_namespace_of_another_kind(runtime: Runtime, bundle: Bundle, criu: Checkpoints) -> None:
    keeper = runtime.started(runtime.bundle("keeper").args("sleep", "1000"))
    criu.dump(counting(runtime, bundle))
    bundle.namespace("uts", f"/proc/{keeper.pid}/ns/uts").write()
    restored = criu.restore(bundle)
    assert_counts(bundle)
    assert os.readlink(f"/proc/{restored.pid}/ns/uts") == os.readlink(f"/proc/{keeper.pid}/ns/uts")
    restored.delete("--force")
    bundle.namespace("cgroup", f"/proc/{keeper.pid}/ns/cgroup").write()
    assert "Do not know how to handle namespace cgroup" in criu.refuse(bundle).last_line


def test_hooks(runtime: Runtime, bundle: Bundle, criu: Checkpoints) -> None:
    """As with runc: createRuntime and prestart run when the namespaces exist, poststop runs after the dump and after
    the end; the others do not run."""
    script = bundle.script(
        "hook", f"echo $1 $(cat) >> {runtime.work}/hooks; readlink /proc/self/ns/mnt >> {runtime.work}/ns\n"
    )
    for kind in ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"):
        if kind not in ("createContainer", "startContainer"):  # those run in the container, which does not exist yet
            bundle.hook(kind, script, "hook", kind)
    log = runtime.work / "hooks"

    def ran() -> list[tuple[str, str, bool]]:
        found = []
        for line in log.read_text().splitlines() if log.exists() else []:
            kind, _, text = line.partition(" ")
            state = json.loads(text)
            found.append((kind, state["status"], bool(state.get("pid"))))
        log.unlink(missing_ok=True)
        return found

    container = counting(runtime, bundle)
    ran()
    criu.dump(container, "--leave-running")
    assert ran() == []
    criu.dump(container)
    assert ran() == [("poststop", "stopped", False)]
    restored = criu.restore(bundle)
    assert ran() == [("prestart", "creating", True), ("createRuntime", "creating", True)]
    assert set((runtime.work / "ns").read_text().split()) == {os.readlink("/proc/self/ns/mnt")}
    restored.kill()
    restored.wait()
    restored.delete()
    assert ran() == [("poststop", "stopped", False)]


def test_a_hook_that_fails_leaves_nothing(runtime: Runtime, bundle: Bundle, criu: Checkpoints) -> None:
    criu.dump(counting(runtime, bundle))
    bundle.hook("createRuntime", bundle.script("hook", "echo no good >&2; exit 3\n")).write()
    stopped = count(bundle)
    refused = criu.refuse(bundle)
    assert "error running createRuntime hook #0: exit status 3" in refused.last_line
    assert "no good" in refused.last_line
    assert count(bundle) == stopped
    del bundle.config["hooks"]
    bundle.write()
    criu.restore(bundle)
    assert_counts(bundle)
