"""Every flag of checkpoint and restore by its effect: mostly, CRIU refuses without the flag and works with it."""

from __future__ import annotations

import fcntl
import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from pyrunc.errors import PyruncError
from pyrunc.libcontainer.criu import swrk
from tests.support import host
from tests.support.bundle import Bundle
from tests.support.checkpoints import (
    LOCAL,
    Checkpoints,
    assert_counts,
    count,
    counting,
    criu_command,
    find,
    free_port,
    is_listened_to,
)
from tests.support.runtime import Container, Runtime
from tests.support.terminals import Session

pytestmark = pytest.mark.own("runc wants another CRIU set-up: iptables for each dump")

LOCKING = """
#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>
int main(void)
{
    if (flock(open("/lock", O_RDWR | O_CREAT, 0644), LOCK_EX) == 0)
        open("/go", O_CREAT, 0644);
    return pause();
}
"""


def has(name: str) -> bool:
    """Whether CRIU and the kernel have a feature, as CRIU itself says."""
    try:
        swrk.require_feature(find()[0] + "/criu", name)
    except PyruncError:
        return False
    return True


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """A TCP socket of the host that listens."""
    with socket.socket() as value:
        value.bind((LOCAL, 0))
        value.listen(1)
        value.settimeout(60)
        yield value


def test_the_log_is_in_the_work_directory(runtime: Runtime, bundle: Bundle, criu: Checkpoints) -> None:
    work = runtime.work / "criu-work"
    criu.dump(counting(runtime, bundle), "--work-path", str(work))
    assert (work / "dump.log").exists()
    assert not (criu.images / "dump.log").exists()
    criu.restore(bundle, "--work-path", str(work))
    assert_counts(bundle)
    assert (work / "restore.log").exists()
    assert not (criu.images / "restore.log").exists()


def test_without_a_path_the_images_are_in_the_working_directory(
    runtime: Runtime, bundle: Bundle, criu: Checkpoints
) -> None:
    container = counting(runtime, bundle)
    assert runtime("checkpoint", container.id, cwd=runtime.work).code == 0
    assert (runtime.work / "checkpoint/inventory.img").exists()
    result = runtime("restore", "-d", "-b", bundle.path, runtime.new_id(), cwd=runtime.work)
    assert result.code == 0, result
    assert_counts(bundle)


def test_a_file_where_the_images_should_be(runtime: Runtime, bundle: Bundle, criu: Checkpoints) -> None:
    container = counting(runtime, bundle)
    criu.images.touch()
    assert f"{criu.images}: not a directory" in criu.dump(container, ok=False).last_line
    assert_counts(bundle)


@pytest.mark.parametrize("dedup", [False, True], ids=["", "auto-dedup"])
def test_a_pre_dump_and_the_dump_that_builds_on_it(
    runtime: Runtime, bundle: Bundle, criu: Checkpoints, dedup: bool
) -> None:
    if not has("mem_track"):
        container = counting(runtime, bundle)
        assert "criu is missing features: [MemTrack]" in criu.dump(container, "--pre-dump", ok=False).last_line
        assert_counts(bundle)
        pytest.skip("needs a kernel that tracks changed memory (CONFIG_MEM_SOFT_DIRTY)")
    criu.images.mkdir()
    # 400 KiB that do not change, besides the counter.
    bundle.sh("x=$(head -c 300000 /dev/urandom | base64 -w0); " + "exec 5>>/count; i=0; "
              "while :; do i=$((i+1)); echo $i >&5; sleep 0.05; done; echo $x")  # fmt: skip
    container = runtime.started(bundle)
    host.wait_for("the counter to begin", lambda: count(bundle) > 1)
    first, second = criu.images / "first", criu.images / "second"
    result = runtime("checkpoint", "--pre-dump", "--image-path", first, container.id)
    assert result.code == 0, result
    assert container.status == "running"
    assert_counts(bundle)
    held = sum(path.stat().st_blocks for path in first.glob("pages-*.img"))
    flags = ["--auto-dedup"] if dedup else []
    result = runtime("checkpoint", "--image-path", second, "--parent-path", "../first", *flags, container.id)
    assert result.code == 0, result
    assert os.readlink(second / "parent") == "../first"
    sizes = [sum(path.stat().st_size for path in where.glob("pages-*.img")) for where in (first, second)]
    assert sizes[1] < sizes[0] // 2, "only what has changed since is in it"
    left = sum(path.stat().st_blocks for path in first.glob("pages-*.img"))
    assert left < held if dedup else left == held
    result = runtime("restore", "--detach", "--image-path", second, "--bundle", bundle.path, runtime.new_id())
    assert result.code == 0, result
    assert_counts(bundle)


def test_a_parent_that_is_none(runtime: Runtime, bundle: Bundle, criu: Checkpoints) -> None:
    container = counting(runtime, bundle)
    for parent, why in (("/abs", "--parent-path must be relative"), ("../none", "invalid --parent-path")):
        assert why in criu.dump(container, "--parent-path", parent, ok=False).last_line
    assert not criu.images.exists()
    assert_counts(bundle)


def connected(runtime: Runtime, bundle: Bundle, listener: socket.socket) -> tuple[Container, socket.socket]:
    """A container that sends lines over a connection to the host, and the host's end."""
    port = listener.getsockname()[1]
    script = f"i=0; while :; do i=$((i+1)); echo $i; sleep 0.05; done | exec busybox nc {LOCAL} {port}"
    container = runtime.started(bundle.sh(script))
    connection, _ = listener.accept()
    connection.settimeout(60)
    return container, connection


def lines_of(connection: socket.socket, count: int) -> list[int]:
    """The next lines."""
    data = b""
    while data.count(b"\n") < count:
        part = connection.recv(4096)
        assert part, "the connection has ended"
        data += part
    while not data.endswith(b"\n"):
        data += connection.recv(1)
    return [int(line) for line in data.split()]


def test_tcp_established(runtime: Runtime, bundle: Bundle, criu: Checkpoints, listener: socket.socket) -> None:
    container, connection = connected(runtime, bundle, listener)
    with connection:
        numbers = lines_of(connection, 3)
        assert "--tcp-established" in criu.dump(container, ok=False).last_line
        numbers += lines_of(connection, 3)
        criu.dump(container, "--tcp-established")
        assert "Connected TCP socket in image" in criu.refuse(bundle).last_line
        criu.restore(bundle, "--tcp-established")
        numbers += lines_of(connection, 20)
    assert numbers == list(range(1, len(numbers) + 1))


def test_tcp_close(runtime: Runtime, bundle: Bundle, criu: Checkpoints, listener: socket.socket) -> None:
    container, connection = connected(runtime, bundle, listener)
    with connection:
        lines_of(connection, 3)
        criu.dump(container, "--tcp-established")
        restored = criu.restore(bundle, "--tcp-close")
        host.wait_for("the program to find it closed", lambda: restored.status == "stopped")


def test_tcp_skip_in_flight(runtime: Runtime, bundle: Bundle, criu: Checkpoints) -> None:
    """A connection that the container has not accepted yet."""
    port = free_port()
    waits = "until test -e /listens; do sleep 0.05; done"
    script = f"busybox nc -l -p {port} & {waits}; kill -STOP $!; touch /go; while :; do sleep 1000; done"
    container = runtime.started(bundle.sh(script))
    host.wait_for("it to listen", lambda: is_listened_to(port))
    (bundle.rootfs / "listens").touch()
    host.wait_for("it to stand still", (bundle.rootfs / "go").exists)
    with socket.create_connection((LOCAL, port), host.SECONDS):
        refused = criu.dump(container, "--leave-running", ok=False)
        assert "n-flight" in refused.last_line, refused
        criu.dump(container, "--leave-running", "--tcp-skip-in-flight")


def test_file_locks(runtime: Runtime, bundle: Bundle, criu: Checkpoints) -> None:
    source = runtime.work / "lock.c"
    source.write_text(LOCKING)
    words = ["musl-gcc", "-static", "-o", str(bundle.rootfs / "bin/locking"), str(source)]
    subprocess.run(words, check=True)
    container = runtime.started(bundle.args("/bin/locking"))
    host.wait_for("the lock", (bundle.rootfs / "go").exists)
    assert "--file-locks" in criu.dump(container, ok=False).last_line
    criu.dump(container, "--file-locks")

    def is_locked() -> bool:
        with open(bundle.rootfs / "lock", "w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
        return False

    assert not is_locked()
    criu.restore(bundle, "--file-locks")
    assert is_locked()


def test_link_remap(runtime: Runtime, bundle: Bundle, criu: Checkpoints) -> None:
    """A file that is open by a removed name, and that has another name."""
    script = (
        "echo first > /a; ln /a /b; exec 7>>/a; rm /a; touch /go; while [ ! -e /on ]; do sleep 0.05; done; "
        "echo second >&7; touch /done"
    )
    container = runtime.started(bundle.sh(script))
    host.wait_for("the file", (bundle.rootfs / "go").exists)
    assert "link-remap" in criu.dump(container, ok=False).last_line
    criu.dump(container, "--link-remap")
    criu.restore(bundle)
    (bundle.rootfs / "on").touch()
    host.wait_for("its word", (bundle.rootfs / "done").exists)
    assert (bundle.rootfs / "b").read_text() == "first\nsecond\n"
    assert not (bundle.rootfs / "a").exists()


def test_the_annotation_names_options_of_criu_s(runtime: Runtime, bundle: Bundle, criu: Checkpoints) -> None:
    options = runtime.work / "criu.conf"
    bundle.config["annotations"] = {"org.criu.config": str(options)}
    script = "echo first > /a; ln /a /b; exec 7>>/a; rm /a; touch /go; while :; do sleep 1000; done"
    container = runtime.started(bundle.sh(script))
    host.wait_for("the file", (bundle.rootfs / "go").exists)
    assert "link-remap" in criu.dump(container, ok=False).last_line
    options.write_text("link-remap\n")
    criu.dump(container)


def test_ext_unix_sk(runtime: Runtime, bundle: Bundle, criu: Checkpoints) -> None:
    """A socket that is connected to one of the host."""
    path = runtime.work / "log.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(str(path))
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as client:
            client.connect(str(path))
            bundle.sh("exec >&0; i=0; while :; do i=$((i+1)); echo $i; sleep 0.05; done")
            container = runtime.started(bundle, stdin=client.fileno())
        server.settimeout(60)
        server.recv(100)
        assert "--ext-unix-sk" in criu.dump(container, ok=False).last_line
        before = int(server.recv(100))
        criu.dump(container, "--leave-running", "--ext-unix-sk")
        assert int(server.recv(100)) > before


def test_shell_job(runtime: Runtime, bundle: Bundle, criu: Checkpoints) -> None:
    """A terminal that is not the container's own."""
    bundle.sh("exec 5>>/count; i=0; while :; do i=$((i+1)); echo $i >&5; sleep 0.05; done").write()
    id = runtime.new_id()
    first = Session(runtime.argv("run", "--detach", "--bundle", bundle.path, id), runtime.environment())
    host.wait_for("the counter to begin", lambda: count(bundle) > 1)
    refused = runtime("checkpoint", "--image-path", criu.images, id)
    assert "path=/dev/pts/" in refused.last_line, refused
    result = runtime("checkpoint", "--image-path", criu.images, "--shell-job", id)
    assert result.code == 0, result
    assert first.finish() == 0
    id = runtime.new_id()
    words = runtime.argv("restore", "--detach", "--shell-job", "--image-path", criu.images, "--bundle", bundle.path, id)
    second = Session(words, runtime.environment())
    assert second.finish() == 0
    assert_counts(bundle)


def test_page_server(runtime: Runtime, bundle: Bundle, criu: Checkpoints) -> None:
    pages = runtime.work / "pages"
    pages.mkdir()
    port = free_port()
    container = counting(runtime, bundle)
    server = criu_command(runtime, "page-server", "-D", pages, "--address", LOCAL, "--port", str(port))
    try:
        host.wait_for("the page server", lambda: is_listened_to(port))
        criu.dump(container, "--page-server", f"{LOCAL}:{port}")
        assert server.wait(60) == 0
    finally:
        server.kill()
        server.wait()
    assert list(pages.glob("pages-*.img"))
    assert not list(criu.images.glob("pages-*.img"))
    for path in pages.iterdir():
        path.rename(criu.images / path.name)
    criu.restore(bundle)
    assert_counts(bundle)


def test_lazy_pages_and_the_status_descriptor(runtime: Runtime, bundle: Bundle, criu: Checkpoints) -> None:
    container = counting(runtime, bundle)
    if not has("lazy_pages"):
        refused = criu.dump(container, "--lazy-pages", "--leave-running", ok=False)
        assert "criu is missing features: [LazyPages]" in refused.last_line
        pytest.skip("needs a kernel with userfaultfd for all that CRIU wants of it")
    port = free_port()
    reader, writer = os.pipe()
    words = ("checkpoint", "--lazy-pages", "--page-server", f"{LOCAL}:{port}", "--status-fd", str(writer))
    dump = runtime.background(*words, "--image-path", criu.images, container.id, pass_fds=(writer,))
    os.close(writer)
    assert os.read(reader, 10) == b"\0", (runtime.work / "background.err").read_text()
    os.close(reader)
    assert is_listened_to(port)
    # No client fetches the pages: the dump is ended, and the container is as before.
    dump.terminate()
    assert dump.wait(60) == 128 + signal.SIGTERM
    assert container.status == "running"
    assert_counts(bundle)
    criu.dump(container)
    # Without CRIU's server of lazy pages the restore gets none.
    refused = criu.refuse(bundle, "--lazy-pages")
    assert "lazy-pages" in refused.last_line, refused


@pytest.mark.purev2
@pytest.mark.parametrize("mode", ["soft", "full", "ignore"])
def test_manage_cgroups_mode(runtime: Runtime, bundle: Bundle, criu: Checkpoints, mode: str) -> None:
    """However CRIU treats cgroups, the container is in its own one."""
    if mode == "full" and len(Path("/proc/self/cgroup").read_text().splitlines()) > 1:
        pytest.skip("CRIU would write to the roots of this host's cgroup v1 hierarchies")
    criu.dump(counting(runtime, bundle), "--manage-cgroups-mode", mode)
    container = criu.restore(bundle, "--manage-cgroups-mode", mode)
    assert_counts(bundle)
    assert host.cgroup_of(container.pid).rpartition("/")[2] == container.id
    assert host.cgroups_of(runtime.token) == host.cgroups_of(container.id)


def test_a_strict_mode_wants_cgroups_that_are_not_there(runtime: Runtime, bundle: Bundle, criu: Checkpoints) -> None:
    """The runtime makes the container's own cgroup before, as runc does."""
    criu.dump(counting(runtime, bundle), "--manage-cgroups-mode", "strict")
    assert "Abort restore of existing cgroups" in criu.refuse(bundle, "--manage-cgroups-mode", "strict").last_line
    criu.restore(bundle)
    assert_counts(bundle)


def test_empty_ns(runtime: Runtime, bundle: Bundle, criu: Checkpoints) -> None:
    bundle.namespace("network")
    container = counting(runtime, bundle)
    assert "is not supported (--empty-ns network is)" in criu.dump(container, "--empty-ns", "pid", ok=False).last_line
    criu.dump(container, "--empty-ns", "network")
    restored = criu.restore(bundle, "--empty-ns", "network")
    assert_counts(bundle)
    own = os.readlink(f"/proc/{restored.pid}/ns/net")
    assert own != os.readlink("/proc/self/ns/net")
    assert runtime("exec", restored.id, "cat", "/proc/net/dev").out.count("lo:") == 1


def test_network_lock(runtime: Runtime, bundle: Bundle, criu: Checkpoints) -> None:
    bundle.namespace("network")
    container = counting(runtime, bundle)
    criu.dump(container, "--leave-running", "--network-lock", "skip")
    log = (criu.images / "dump.log").read_text()
    assert "iptables" not in log
    refused = criu.dump(container, "--network-lock", "prayer", ok=False)
    assert "invalid network-lock value" in refused.last_line
    assert_counts(bundle)


def test_no_pivot_is_warned_of(runtime: Runtime, bundle: Bundle, criu: Checkpoints) -> None:
    criu.dump(counting(runtime, bundle))
    # CRIU requires that a log file, such as standard error here, is unchanged.
    log = runtime.work / "log"
    criu.restore(bundle, "--no-pivot", "--no-subreaper", "--log", str(log))
    assert log.read_text().count("--no-pivot is without effect") == 1
    assert_counts(bundle)


@pytest.mark.skipif(Path("/sys/module/apparmor/parameters/enabled").exists(), reason="this kernel has AppArmor")
def test_lsm_profile_of_a_module_that_there_is_not(runtime: Runtime, bundle: Bundle, criu: Checkpoints) -> None:
    criu.dump(counting(runtime, bundle))
    refused = criu.refuse(bundle, "--lsm-profile", "apparmor:none")
    assert "criu failed: " in refused.last_line
    assert "apparmor" in refused.last_line.lower()
    criu.restore(bundle, "--lsm-mount-context", "system_u:object_r:container_file_t:s0")
    assert_counts(bundle)


def test_a_criu_that_is_missing_is_told_and_the_cure(runtime: Runtime, bundle: Bundle) -> None:
    container = counting(runtime, bundle)
    runtime.variables["PATH"] = "/nonexistent"
    for words in (("checkpoint", "--image-path", "i", container.id), ("restore", "--bundle", bundle.path, "other")):
        result = runtime(*words)
        assert result.code == 1
        assert "executable file not found in $PATH (install criu" in result.last_line
    assert_counts(bundle)
    assert not (runtime.work / "i").exists()


def test_images_that_are_none(runtime: Runtime, bundle: Bundle, criu: Checkpoints) -> None:
    bundle.write()
    refused = criu.refuse(bundle)
    assert "descriptors.json: no such file or directory" in refused.last_line
    assert "--image-path" in refused.last_line
    criu.images.mkdir()
    (criu.images / "descriptors.json").write_text("[]")
    refused = criu.refuse(bundle)
    assert "criu failed: " in refused.last_line


@pytest.mark.parametrize("command", ["checkpoint", "restore"])
def test_help(runtime: Runtime, command: str) -> None:
    """Podman asks this way whether a runtime has checkpoints."""
    result = runtime(command, "--help")
    assert (result.code, "--image-path" in result.out, result.err) == (0, True, "")
