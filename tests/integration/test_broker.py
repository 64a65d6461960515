"""`pyrunc broker` with real containers: what it carries out, what it refuses, and what a hostile container can't do."""

from __future__ import annotations

import errno
import json
import os
import platform
import re
import shutil
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.support import host
from tests.support.broker import ALL, Broker
from tests.support.bundle import Bundle
from tests.support.programs import static_program
from tests.support.runtime import Runtime
from tests.support.seccomp import default_profile

pytestmark = [
    pytest.mark.own("runc has no broker"),
    pytest.mark.skipif(platform.machine() != "x86_64", reason="the test profile is that of x86-64"),
]


@pytest.fixture
def brokers(runtime: Runtime) -> Iterator[Callable[[dict[str, Any]], Broker]]:
    found: list[Broker] = []

    def start(policies: dict[str, Any]) -> Broker:
        found.append(Broker(runtime, policies))
        return found[-1]

    yield start
    for broker in found:
        broker.close()


@pytest.fixture
def broker(brokers: Callable[[dict[str, Any]], Broker]) -> Broker:
    return brokers({"default": ALL})


@pytest.fixture(scope="session")
def program(session_directory: Path) -> Path:
    """tests/support/brokered.c as a static program."""
    return static_program(session_directory, "brokered", "-pthread")


@pytest.fixture
def calls(bundle: Bundle, program: Path, broker: Broker) -> Bundle:
    """A bundle with the program in it, whose calls are brokered."""
    return prepare(bundle, program, broker)


def prepare(bundle: Bundle, program: Path, broker: Broker, *flags: str) -> Bundle:
    shutil.copy(program, bundle.rootfs / "bin/brokered")
    bundle.linux["seccomp"] = broker.profile(*flags)
    bundle.mount("/tmp", "tmpfs", "tmpfs")
    return bundle


def names(out: str) -> list[str]:
    """The program's lines, with the names of errnos."""
    return [re.sub(r"^errno (\d+)$", lambda found: errno.errorcode[int(found[1])], line) for line in out.splitlines()]


def test_mknod(runtime: Runtime, calls: Bundle, broker: Broker) -> None:
    calls.sh(
        "umask 027; cd /tmp; mknod null c 1 3 -m 666; mknod /tmp/../tmp/zero c 1 5; mkfifo fifo; mknod kmsg c 1 11;"
        "mknod null c 1 3; mknod none/null c 1 3;"
        "stat -c '%n %F %t:%T %a %u' null zero fifo; echo x > null && dd if=zero bs=4 count=1 2>/dev/null | wc -c"
    )
    result = runtime.run(calls)
    assert result.out.splitlines() == [
        "null character special file 1:3 666 0",
        "zero character special file 1:5 640 0",
        "fifo fifo 0:0 640 0",
        "4",
    ]
    refusals = [line.partition(": ")[2] for line in result.err.splitlines()]
    assert refusals == [
        "kmsg: Operation not permitted",
        "null: File exists",
        "none/null: No such file or directory",
    ]
    broker.until_logged("mknodat is refused with EPERM: the device c 1:11")


def capabilities(bundle: Bundle, *names: str) -> Bundle:
    bundle.process["capabilities"] = {kind: list(names) for kind in ("bounding", "effective", "permitted")}
    return bundle


def test_mknod_takes_the_callers_capability_and_rights(runtime: Runtime, calls: Bundle, broker: Broker) -> None:
    # CAP_DAC_OVERRIDE is the caller's only if it has it.
    capabilities(calls, "CAP_MKNOD", "CAP_SETUID", "CAP_SETGID")
    calls.mount("/mnt", "tmpfs", "tmpfs", "mode=755", "uid=7", "size=64k")
    out = runtime.run(calls.sh("mknod /mnt/null c 1 3 2>&1; mknod /tmp/null c 1 3 && echo made")).out
    assert out == "mknod: /mnt/null: Permission denied\nmade\n"
    capabilities(calls, "CAP_MKNOD", "CAP_DAC_OVERRIDE")
    assert runtime.run(calls.sh("mknod /mnt/null c 1 3 && echo made")).out == "made\n"
    capabilities(calls)
    assert "Operation not permitted" in runtime.run(calls.sh("mknod /tmp/null c 1 3 2>&1; true")).out
    broker.until_logged("a process without CAP_MKNOD")


def test_a_further_user_namespace_gives_no_capability(runtime: Runtime, calls: Bundle, broker: Broker) -> None:
    """A program that enters one at once, before the broker has looked at the container's process."""
    capabilities(calls)
    for _ in range(6):
        assert names(runtime.run(calls.args("brokered", "further", "/tmp/null")).out) == ["EPERM"]
    broker.until_logged("a process in a further user namespace")


def test_mknod_in_a_user_namespace(runtime: Runtime, calls: Bundle, broker: Broker) -> None:
    calls.user_namespace()
    (calls.rootfs / "srv/theirs").mkdir()
    (calls.rootfs / "srv/theirs").chmod(0o777)
    (calls.rootfs / "srv/closed").mkdir(mode=0o755)
    (calls.rootfs / "srv/mapped").mkdir(mode=0o700)
    os.chown(calls.rootfs / "srv/mapped", 100007, 100007)
    calls.sh(
        "cd /srv; mknod theirs/null c 1 3 && stat -c '%u %t:%T' theirs/null && echo x > theirs/null && echo written;"
        "mknod mapped/null c 1 3 && echo made; mknod closed/null c 1 3"
    )
    result = runtime.run(calls, ok=False)
    assert result.out == "0 1:3\nwritten\nmade\n", result
    assert "closed/null: Permission denied" in result.err
    assert (calls.rootfs / "srv/theirs/null").stat().st_uid == 100000


def test_mount_of_a_tmpfs(runtime: Runtime, calls: Bundle, broker: Broker) -> None:
    capabilities(calls, "CAP_SYS_ADMIN")
    calls.sh(
        "mount -t tmpfs -o size=64k,mode=750,noexec source /mnt && grep ' /mnt ' /proc/self/mountinfo;"
        "stat -c '%a %u' /mnt; dd if=/dev/zero of=/mnt/file bs=1k count=100 2>&1 | grep -c 'No space';"
        "mkdir /tmp/x && mount -t tmpfs source /tmp/x && df -k /tmp/x | tail -n 1"
    )
    lines = runtime.run(calls).out.splitlines()
    assert "rw,nosuid,nodev,noexec,relatime - tmpfs source rw,size=64k," in lines[0]
    assert lines[1:3] == ["750 0", "1"]
    assert lines[3].split()[1] == "1024"  # maxSize
    assert not host.mounts_of("source")


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("tmpfs", "/mnt", "tmpfs", "0", "size=2m"), "a tmpfs with size=2m"),
        (("tmpfs", "/mnt", "tmpfs", "0", "size=0"), "a tmpfs with size=0"),
        (("tmpfs", "/mnt", "tmpfs", "0", "huge=always"), "the option huge"),
        (("/tmp", "/mnt", "none", "4096", ""), "mount with the flags 0x1000"),
        (("none", "/mnt", "none", "0x40000", ""), "mount with the flags 0x40000"),
        (("tmpfs", "/mnt", "tmpfs", "32", ""), "mount with the flags 0x20"),
        (("sysfs", "/mnt", "sysfs", "0", ""), "mount of sysfs"),
        (("/dev/vda", "/mnt", "ext4", "0", ""), "mount of ext4"),
        (("proc", "/mnt", "proc", "0", ""), "mount of proc for a container without a user namespace"),
        (("tmpfs", "/etc", "tmpfs", "0", ""), "mount on /etc"),
        (("tmpfs", "/tmp/../etc", "tmpfs", "0", ""), "mount on /etc"),
        (("tmpfs", "/tmp/link", "tmpfs", "0", ""), "mount on /proc/sys"),
        (("overlay", "/mnt", "overlay", "0", "lowerdir=/etc,redirect_dir=on"), "the option redirect_dir"),
        (("overlay", "/mnt", "overlay", "0", "lowerdir=/proc:/etc"), "the layer /proc"),
        (("overlay", "/mnt", "overlay", "0", "lowerdir=/etc:/tmp/link"), "the layer /tmp/link"),
    ],
)
def test_mounts_that_are_refused(
    runtime: Runtime, calls: Bundle, broker: Broker, arguments: tuple[str, ...], reason: str
) -> None:
    capabilities(calls, "CAP_SYS_ADMIN")
    words = " ".join(f"'{word}'" for word in arguments)
    calls.sh(f"ln -s /proc/sys /tmp/link; brokered mount {words}")
    assert names(runtime.run(calls).out) == ["EPERM"]
    broker.until_logged(f'mount is refused with EPERM: {reason}"', f"EPERM: {reason},")


def test_a_mount_takes_the_capability(runtime: Runtime, calls: Bundle, broker: Broker) -> None:
    calls.sh("brokered mount none /mnt tmpfs 0 ''")
    assert names(runtime.run(calls).out) == ["EPERM"]
    broker.until_logged("a process without CAP_SYS_ADMIN")


def test_a_mount_that_would_propagate(runtime: Runtime, calls: Bundle, broker: Broker) -> None:
    capabilities(calls, "CAP_SYS_ADMIN")
    shared = runtime.work / "shared"
    shared.mkdir()
    calls.mount("/mnt", "bind", str(shared), "bind", "rshared")
    calls.sh("brokered mount none /mnt tmpfs 0 ''")
    assert names(runtime.run(calls).out) == ["EPERM"]
    broker.until_logged("mount on /mnt, from where it would propagate")


OVERLAY = (
    "mkdir /tmp/low /tmp/low2 /tmp/up /tmp/work; echo low > /tmp/low/a; echo low2 > /tmp/low2/b; cd /tmp;"
    "brokered mount overlay /mnt overlay 0 lowerdir=low:/tmp/low2,upperdir=up,workdir=/tmp/work{more} && "
    "cat /mnt/a /mnt/b && echo new > /mnt/a && cat /tmp/up/a /tmp/low/a"
)


@pytest.mark.parametrize("kind", ["host", "user namespace"])
def test_mount_of_an_overlay(runtime: Runtime, calls: Bundle, broker: Broker, kind: str) -> None:
    # The file system acts with the rights of who mounts it, and makes a directory of mode 000.
    capabilities(calls, "CAP_SYS_ADMIN", "CAP_DAC_OVERRIDE", "CAP_CHOWN", "CAP_FOWNER")
    if kind != "host":
        calls.user_namespace()
    calls.sh(OVERLAY.format(more="" if kind == "host" else ",userxattr"))
    assert runtime.run(calls).out == "done\nlow\nlow2\nnew\nlow\n", broker.log()


def test_a_mount_in_a_user_namespace_belongs_to_it(runtime: Runtime, calls: Bundle, broker: Broker) -> None:
    calls.user_namespace()
    capabilities(calls, "CAP_SYS_ADMIN", "CAP_MKNOD")
    calls.sh(
        "brokered mount none /mnt tmpfs 0 mode=700,uid=5 && stat -c '%u %a' /mnt; mknod /mnt/null c 1 3;"
        "brokered mount proc /tmp proc 0 ''; ls -d /tmp/[0-9]* | wc -l"
    )
    lines = runtime.run(calls).out.splitlines()
    assert lines[:2] == ["done", "5 700"]
    assert lines[2] == "done", broker.log()
    assert int(lines[3]) in (3, 4, 5)


def test_a_masked_proc_stays_masked(runtime: Runtime, calls: Bundle, broker: Broker) -> None:
    calls.user_namespace()
    capabilities(calls, "CAP_SYS_ADMIN")
    calls.linux["maskedPaths"] = ["/proc/kcore", "/proc/keys"]
    calls.sh("brokered mount proc /mnt proc 0 ''")
    assert names(runtime.run(calls).out) == ["EPERM"]
    broker.until_logged("mount of proc: the container's own is masked")


def test_programs_that_use_the_new_mount_calls_fall_back(runtime: Runtime, calls: Bundle, broker: Broker) -> None:
    refused = {name for rule in calls.linux["seccomp"]["syscalls"] if rule.get("errnoRet") == errno.ENOSYS
               for name in rule["names"]}  # fmt: skip
    assert {"fsopen", "move_mount"} <= refused


def test_sysinfo_has_the_cgroups_limits(runtime: Runtime, calls: Bundle, broker: Broker) -> None:
    if "memory" not in Path(host.cgroup2_mount(), "cgroup.controllers").read_text().split():
        pytest.skip("needs the memory controller of cgroup v2")
    calls.linux["resources"] = {"memory": {"limit": 64 << 20}}
    total, free, processes = map(int, runtime.run(calls.args("brokered", "sysinfo")).out.split())
    assert total == 64 << 20
    assert 32 << 20 < free < 64 << 20
    assert processes < 10


def test_sysinfo_without_limits_is_the_hosts(runtime: Runtime, calls: Bundle, broker: Broker) -> None:
    total = int(runtime.run(calls.args("brokered", "sysinfo")).out.split()[0])
    pages, size = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
    assert total == pages * size


def test_sysinfo_in_a_time_namespace(runtime: Runtime, calls: Bundle, broker: Broker) -> None:
    if not os.path.exists("/proc/self/ns/time"):
        pytest.skip("needs time namespaces")
    calls.namespace("time")
    calls.linux["timeOffsets"] = {"boottime": {"secs": 1_000_000, "nanosecs": 0}}
    calls.sh("cut -d. -f1 /proc/uptime; brokered uptime; cut -d. -f1 /proc/uptime")
    before, found, after = map(int, runtime.run(calls).out.split())
    assert 1_000_000 < before <= found <= after + 1  # sysinfo counts a begun second


@pytest.fixture
def server() -> Iterator[Callable[..., int]]:
    """Listen on the loopback: `server(family)` returns the port."""
    sockets: list[socket.socket] = []

    def listen(family: socket.AddressFamily = socket.AF_INET, kind: int = socket.SOCK_STREAM) -> int:
        found = socket.socket(family, kind)
        sockets.append(found)
        found.bind(("::1" if family == socket.AF_INET6 else "127.0.0.1", 0))
        if kind == socket.SOCK_STREAM:
            found.listen()
        port: int = found.getsockname()[1]
        return port

    yield listen
    for each in sockets:
        each.close()


@pytest.mark.parametrize("kind", ["stream", "dgram"])
def test_connect_by_the_allowlist(
    runtime: Runtime, calls: Bundle, broker: Broker, server: Callable[..., int], kind: str
) -> None:
    port = server(kind=socket.SOCK_STREAM if kind == "stream" else socket.SOCK_DGRAM)
    addresses = ("127.0.0.1", "127.0.0.2", "0.0.0.0", "8.8.8.8", "::ffff:127.0.0.1", "::ffff:127.0.0.2")
    calls.sh("; ".join(f"brokered connect {kind} {address} {port}" for address in addresses))
    found = names(runtime.run(calls).out)
    assert found == [f"127.0.0.1 {port}", "EACCES", f"127.0.0.1 {port}", "EACCES", f"::ffff:127.0.0.1 {port}", "EACCES"]
    broker.until_logged(f"connect is refused with EACCES: connect to 8.8.8.8:{port}")


@pytest.mark.parametrize("kind", ["stream", "dgram"])
def test_the_unspecified_address_is_no_other_than_the_loopbacks(
    runtime: Runtime, bundle: Bundle, program: Path, brokers: Callable[[dict[str, Any]], Broker], kind: str
) -> None:
    """The kernel takes it for the address that a socket is bound to, which may be one that the policy does not have."""
    broker = brokers({"default": {"connect": {"networks": [{"cidr": "127.0.0.1/32"}, {"cidr": "::1/128"}],
                                              "datagrams": True}}})  # fmt: skip
    prepare(bundle, program, broker)
    with socket.socket(type=socket.SOCK_STREAM if kind == "stream" else socket.SOCK_DGRAM) as found:
        found.bind(("127.0.0.2", 0))
        if kind == "stream":
            found.listen()
        port = found.getsockname()[1]
        pairs = (("127.0.0.2", "0.0.0.0"), ("::ffff:127.0.0.2", "::ffff:0.0.0.0"), ("::ffff:127.0.0.2", "::"))
        bundle.sh("; ".join(f"brokered from {own} {kind} {address} {port}" for own, address in pairs))
        lines = names(runtime.run(bundle).out)
    reached = {"stream": "ECONNREFUSED", "dgram": f"127.0.0.1 {port}"}[kind]
    assert lines == [reached, "::ffff:" + reached if kind == "dgram" else reached, "EAFNOSUPPORT"]


def test_a_failure_of_the_kernel_is_passed_on(runtime: Runtime, calls: Bundle, broker: Broker) -> None:
    calls.sh("brokered connect stream 127.0.0.1 1; brokered connect nonblock 127.0.0.1 1;brokered unix stream /nosuch")
    assert names(runtime.run(calls).out) == ["ECONNREFUSED", "EINPROGRESS", "ENOENT"]


def test_bind_by_the_allowlist(runtime: Runtime, calls: Bundle, broker: Broker) -> None:
    calls.sh(
        "brokered bind dgram 127.0.0.1 0 | cut -d' ' -f1; brokered bind stream 127.0.0.1 99; "
        "brokered bind stream 0.0.0.0 0; brokered bind dgram 127.0.0.2 0"
    )
    assert names(runtime.run(calls).out) == ["127.0.0.1", "127.0.0.1 99", "EACCES", "EACCES"]
    capabilities(calls)
    assert names(runtime.run(calls).out) == ["127.0.0.1", "EACCES", "EACCES", "EACCES"]


@pytest.fixture
def unix(calls: Bundle) -> Iterator[list[tuple[int, int, int]]]:
    """Servers at /run/good/socket and /run/bad, which say so. The credentials of those who connected."""
    (calls.rootfs / "run/good").mkdir(mode=0o755)
    sockets = []
    seen: list[tuple[int, int, int]] = []

    def serve(listener: socket.socket, text: bytes) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                data = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
                seen.append((int.from_bytes(data[:4], "little"), int.from_bytes(data[4:8], "little"),
                             int.from_bytes(data[8:], "little")))  # fmt: skip
                try:
                    connection.sendall(text)
                except OSError:
                    continue

    for path, text in (("run/good/socket", b"good"), ("run/bad", b"bad")):
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(calls.rootfs / path))
        (calls.rootfs / path).chmod(0o666)
        listener.listen(4096)
        sockets.append(listener)
        threading.Thread(target=serve, args=(listener, text), daemon=True).start()
    yield seen
    for listener in sockets:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


def test_unix_sockets_by_the_allowlist(
    runtime: Runtime, calls: Bundle, broker: Broker, unix: list[tuple[int, int, int]]
) -> None:
    calls.process["user"] = {"uid": 1000, "gid": 1001}
    calls.sh(
        "ln -s /run/good/socket /tmp/to-good; ln -s /run/bad /tmp/to-bad; cd /run/good;"
        "for path in /run/good/socket socket /tmp/to-good /run/bad /tmp/to-bad ../bad /proc/self/root/run/good/socket; "
        "do brokered unix stream $path; done"
    )
    assert names(runtime.run(calls).out) == ["good", "good", "good", "EACCES", "EACCES", "EACCES", "ENOENT"]
    assert {(uid, gid) for _, uid, gid in unix} == {(1000, 1001)}
    broker.until_logged("connect to /run/bad")


def test_the_allowlist_holds_beneath_a_chroot(
    runtime: Runtime, calls: Bundle, broker: Broker, unix: list[tuple[int, int, int]]
) -> None:
    """A process with CAP_SYS_CHROOT gives no other path the name of an allowed one."""
    other = calls.rootfs / "other"
    for name in ("bin", "run/good", "mnt"):
        (other / name).mkdir(parents=True)
    shutil.copy(calls.rootfs / "bin/brokered", other / "bin/brokered")
    os.link(calls.rootfs / "run/bad", other / "run/good/socket")
    capabilities(calls, "CAP_SYS_CHROOT", "CAP_SYS_ADMIN")
    calls.sh(
        "for words in 'unix stream /run/good/socket' 'listen /run/good/new' 'mount none /mnt tmpfs 0 mode=755'; do"
        "  chroot /other brokered $words; done;"
        "mkdir /run/good/bin; cp /bin/brokered /run/good/bin; chroot /run/good brokered unix stream /socket"
    )
    assert names(runtime.run(calls, ok=False).out) == ["EACCES", "EACCES", "EPERM", "good"]
    broker.until_logged("connect to /other/run/good/socket")
    broker.until_logged("mount on /other/mnt")


def test_the_root_of_the_first_process_is_none_to_rely_on(
    runtime: Runtime, calls: Bundle, broker: Broker, unix: list[tuple[int, int, int]]
) -> None:
    """A program that makes another root directory at once, before the broker has looked at the container's process."""
    (calls.rootfs / "other/run/good").mkdir(parents=True)
    os.link(calls.rootfs / "run/bad", calls.rootfs / "other/run/good/socket")
    capabilities(calls, "CAP_SYS_CHROOT")
    for _ in range(4):
        calls.args("brokered", "chroot", "/other", "/run/good/socket")
        assert names(runtime.run(calls).out) == ["EACCES"]


def test_a_container_without_a_mount_namespace(runtime: Runtime, calls: Bundle, broker: Broker) -> None:
    """Its paths are those of the host, whatever root directory it makes: no call with a path is carried out."""
    calls.config["mounts"] = []
    for name in ("maskedPaths", "readonlyPaths"):
        calls.linux.pop(name, None)
    calls.linux["namespaces"] = [each for each in calls.linux["namespaces"] if each["type"] != "mount"]
    capabilities(calls, "CAP_MKNOD", "CAP_SYS_ADMIN")
    calls.sh(
        "brokered unix stream /run/good/socket; brokered listen /run/good/new;"
        "brokered mount none /mnt tmpfs 0 mode=755; mknod /node c 1 3; brokered connect stream 127.0.0.1 1"
    )
    result = runtime.run(calls, ok=False)
    assert names(result.out) == ["EPERM", "EPERM", "EPERM", "ECONNREFUSED"]
    assert "Operation not permitted" in result.err
    broker.until_logged("in a container without a mount namespace", times=3)
    assert not (calls.rootfs / "node").exists()


def test_bind_of_a_path(runtime: Runtime, calls: Bundle, broker: Broker) -> None:
    (calls.rootfs / "run/good").mkdir()
    calls.sh("cd /run; brokered listen good/new; brokered listen /run/new; ls -l good/new | cut -c1-10; ls new")
    result = runtime.run(calls, ok=False)
    assert names(result.out) == ["new", "EACCES", "srwxr-xr-x"]


def test_abstract_names(runtime: Runtime, calls: Bundle, broker: Broker) -> None:
    token = runtime.token
    with socket.socket(socket.AF_UNIX) as one, socket.socket(socket.AF_UNIX) as other:
        for listener, kind in ((one, "good"), (other, "bad")):
            listener.bind(f"\0pyrunc-{kind}-{token}")
            listener.listen()
        calls.sh(f"brokered unix nonblock @pyrunc-good-{token}; brokered unix nonblock @pyrunc-bad-{token}")
        assert names(runtime.run(calls).out) == ["EAGAIN", "EACCES"]


FLIPS = 100_000
RESULT = re.compile(r"good (\d+) bad (\d+) refused (\d+) other (\d+) flips (\d+)\n")


def raced(out: str) -> tuple[int, ...]:
    found = RESULT.fullmatch(out)
    assert found, out
    return tuple(map(int, found.groups()))


def test_an_address_that_another_thread_changes(runtime: Runtime, calls: Bundle, broker: Broker) -> None:
    result = runtime.run(calls.args("brokered", "race", "127.0.0.1", "9", "127.0.0.2", "9", "20000"), seconds=200)
    good, bad, refused, _, flips = raced(result.out)
    assert bad == 0
    assert good, result
    assert refused, result
    assert flips >= FLIPS


@pytest.mark.parametrize("seed", range(3))
def test_calls_with_arguments_of_no_sense(runtime: Runtime, calls: Bundle, broker: Broker, seed: int) -> None:
    capabilities(calls, "CAP_SYS_ADMIN", "CAP_MKNOD")
    result = runtime.run(calls.args("brokered", "noise", str(seed), "1500"), seconds=200)
    assert result.out == "done\n"
    assert "was ended by signal" not in broker.log()
    assert "internal error" not in broker.log()


def test_a_path_that_another_thread_changes(
    runtime: Runtime, calls: Bundle, broker: Broker, unix: list[tuple[int, int, int]]
) -> None:
    result = runtime.run(calls.args("brokered", "racepath", "/run/good/socket", "/run/bad", "400"), seconds=200)
    good, bad, refused, _, flips = raced(result.out)
    assert bad == 0
    assert good, result
    assert refused, result
    assert flips >= FLIPS


def test_a_link_that_another_process_exchanges(
    runtime: Runtime, calls: Bundle, broker: Broker, unix: list[tuple[int, int, int]]
) -> None:
    calls.sh(
        "ln -s /run/good/socket /tmp/good; ln -s /run/bad /tmp/bad;"
        "(while :; do ln -sfn /run/bad /tmp/link; ln -sfn /run/good/socket /tmp/link; done) & "
        "i=0; while [ $i -lt 150 ]; do brokered unix stream /tmp/link; i=$((i+1)); done; kill $!"
    )
    found = names(runtime.run(calls, seconds=200).out)
    assert set(found) <= {"good", "EACCES", "ENOENT"}
    assert {"good", "EACCES"} <= set(found)


def test_the_agents_death(runtime: Runtime, calls: Bundle, broker: Broker) -> None:
    calls.sh("brokered sysinfo | wc -w; touch /tmp/x; until brokered sysinfo | grep -q errno; do sleep 0.05; done; "
             "brokered sysinfo")  # fmt: skip
    container = runtime.started(calls)
    host.wait_for("the first call", lambda: "3\n" in container.output)
    (agent,) = broker.agents()
    os.kill(agent, signal.SIGKILL)
    container.wait()
    assert names(container.output) == ["3", "ENOSYS"]
    broker.until_logged(f"the agent {agent} was ended by signal 9")


def test_the_brokers_end_ends_the_agents(runtime: Runtime, calls: Bundle, broker: Broker) -> None:
    calls.sh("until brokered sysinfo | grep -q errno; do sleep 0.05; done; brokered sysinfo")
    container = runtime.started(calls)
    host.wait_for("the agent", broker.agents)
    (agent,) = broker.agents()
    broker.process.send_signal(signal.SIGINT)
    assert broker.process.wait(60) == 0
    host.wait_for("the agent's end", lambda: not host.is_alive(agent))
    container.wait()
    assert names(container.output) == ["ENOSYS"]
    assert not broker.path.exists()


def test_many_containers_and_one_whose_call_never_ends(
    runtime: Runtime, calls: Bundle, broker: Broker, program: Path, unix: list[tuple[int, int, int]]
) -> None:
    full = socket.socket(socket.AF_UNIX)
    with closing(full):
        full.bind(str(calls.rootfs / "srv/server"))
        full.listen(0)
        calls.sh(
            "for i in 1 2 3; do brokered unix stream /srv/server & done; sleep 0.3;"
            "brokered unix stream /run/good/socket; sleep 100"
        )
        waiting = runtime.started(calls)
        host.wait_for("its other call", lambda: "good\n" in waiting.output)
        others = []
        for index in range(5):
            bundle = prepare(runtime.bundle(f"other{index}"), program, broker)
            others.append(runtime.started(bundle.sh("mknod /tmp/null c 1 3 && brokered sysinfo | wc -w")))
        for other in others:
            other.wait()
            assert other.output == "3\n"
        assert waiting.status == "running"
        waiting.kill()
        waiting.wait()
        host.wait_for("the agents' end", lambda: not broker.agents())


def test_a_policy_by_the_listeners_metadata(
    runtime: Runtime, bundle: Bundle, program: Path, brokers: Callable[[dict[str, Any]], Broker]
) -> None:
    broker = brokers({"default": {"sysinfo": {}}, "nodes": {"mknod": {"devices": ["null"]}}})
    prepare(bundle, program, broker, "--policy", "nodes")
    assert bundle.linux["seccomp"]["listenerMetadata"] == "nodes"
    bundle.sh("mknod /tmp/null c 1 3 && echo made; mknod /tmp/zero c 1 5 2>&1; brokered sysinfo | wc -w")
    assert runtime.run(bundle).out == "made\nmknod: /tmp/zero: Operation not permitted\n3\n"
    bundle.linux["seccomp"]["listenerMetadata"] = "none"
    bundle.sh("mknod /tmp/null c 1 3")
    assert "Function not implemented" in runtime.run(bundle, ok=False).err
    broker.until_logged("wants policy none")


def test_calls_that_the_filter_asks_but_the_policy_has_not(
    runtime: Runtime, bundle: Bundle, program: Path, brokers: Callable[[dict[str, Any]], Broker]
) -> None:
    broker = brokers({"default": {"sysinfo": {}}})
    prepare(bundle, program, broker)
    rules = bundle.linux["seccomp"]["syscalls"]
    rules.append({"names": ["bind", "mkdir", "mknod", "mknodat"], "action": "SCMP_ACT_NOTIFY"})
    bundle.sh("brokered bind dgram 127.0.0.1 0; mkdir /tmp/x; mkfifo /tmp/fifo && ls /tmp")
    result = runtime.run(bundle)
    assert names(result.out) == ["EPERM", "fifo"]
    assert "Function not implemented" in result.err
    broker.until_logged("bind, which policy default does not have")


def test_with_an_engines_profile(runtime: Runtime, bundle: Bundle, program: Path, broker: Broker) -> None:
    bundle.linux["seccomp"] = default_profile()
    bundle.mount("/tmp", "tmpfs", "tmpfs")
    shutil.copy(program, bundle.rootfs / "bin/brokered")
    bundle.write()
    bundle.config.update(broker.profile("--base", str(bundle.path / "config.json")))
    capabilities(bundle, "CAP_SYS_ADMIN", "CAP_MKNOD", "CAP_DAC_OVERRIDE")
    bundle.sh(
        "mknod /tmp/null c 1 3 && echo x > /tmp/null && mkfifo /tmp/f && brokered mount none /mnt tmpfs 0 '' && "
        "brokered sysinfo | wc -w; umount /mnt; brokered connect stream 127.0.0.2 1; brokered bind dgram 127.0.0.1 0"
        "| cut -d' ' -f1"
    )
    result = runtime.run(bundle)
    assert names(result.out) == ["done", "3", "EACCES", "127.0.0.1"]
    assert "can't unmount" in result.err or "Operation not permitted" in result.err


def test_with_a_recorded_profile(runtime: Runtime, bundle: Bundle, program: Path, broker: Broker) -> None:
    prepare(bundle, program, broker)
    del bundle.linux["seccomp"]
    bundle.sh("brokered sysinfo | wc -w").write()
    recorded, base = runtime.work / "recorded.json", runtime.work / "base.json"
    assert runtime("seccomp", "record", bundle.path, "-o", recorded).code == 0
    base.write_text(json.dumps(broker.profile("--base", str(recorded))))
    assert runtime.run(bundle, "--seccomp-profile", str(base)).out == "3\n"
    broker.until_logged("sysinfo")


@pytest.mark.purev2
@pytest.mark.parametrize("other", ["runc", "crun"])
def test_with_another_runtime(
    runtime: Runtime, bundle: Bundle, program: Path, broker: Broker, other: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if shutil.which(other) is None:
        pytest.skip(f"needs {other}")
    if other == "crun" and host.cgroup2_mount() != "/sys/fs/cgroup":
        pytest.skip("crun runs nothing where both versions of cgroups are mounted")
    prepare(bundle, program, broker, *(["--no-flags"] if other == "runc" else []))
    bundle.sh("mknod /tmp/null c 1 3 && echo made; brokered sysinfo | wc -w; brokered connect dgram 8.8.8.8 9")
    monkeypatch.setattr(runtime, "command", [other])
    assert names(runtime.run(bundle).out) == ["made", "3", "EACCES"]


def test_a_container_does_not_fill_the_log(runtime: Runtime, calls: Bundle, broker: Broker) -> None:
    calls.sh("brokered race 127.0.0.2 9 127.0.0.2 9 500")
    assert runtime.run(calls).out.startswith("good 0 bad 0 refused 500 ")
    broker.until_logged("connect is refused with EACCES", times=20)


def test_more_waiting_calls_than_workers(runtime: Runtime, calls: Bundle, broker: Broker) -> None:
    with socket.socket(socket.AF_UNIX) as full, socket.socket(socket.AF_UNIX) as first:
        full.bind(str(calls.rootfs / "srv/server"))
        full.listen(0)  # one connection is taken
        first.connect(str(calls.rootfs / "srv/server"))
        calls.sh("for i in $(seq 40); do brokered unix stream /srv/server & done; wait")
        container = runtime.started(calls)
        host.wait_for("the refused calls", lambda: len(container.output.splitlines()) == 40 - 32)
        assert set(names(container.output)) == {"EAGAIN"}
        (agent,) = broker.agents()
        children = Path(f"/proc/{agent}/task/{agent}/children").read_text().split()
        assert len(children) == 32
        container.kill()
        container.wait()
        host.wait_for("the workers' end", lambda: not any(Path(f"/proc/{pid}").exists() for pid in children))
