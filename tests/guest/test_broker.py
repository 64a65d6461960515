"""The broker with controllers, and on the guest's kernel: calls that it carries out and refuses, and a race."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from tests.support.broker import ALL, Broker
from tests.support.bundle import Bundle
from tests.support.runtime import Runtime

MIB = 1 << 20
# Another process exchanges the address in shared memory, while this one connects to it.
RACE = """
import ctypes, mmap, os, signal, socket, struct
libc = ctypes.CDLL(None, use_errno=True)
def address(ip):
    return struct.pack("=H", socket.AF_INET) + struct.pack(">H", 9) + socket.inet_aton(ip) + bytes(8)
good, bad = address("127.0.0.1"), address("127.0.0.2")
memory = mmap.mmap(-1, 4096)
memory[:16] = good
flipper = os.fork()
if not flipper:
    flips = 0
    while True:
        memory[:16] = bad
        memory[:16] = good
        flips += 2
        if flips % 1000 == 0:
            memory[64:72] = struct.pack("=Q", flips)
where = ctypes.addressof(ctypes.c_char.from_buffer(memory))
counts = {"good": 0, "bad": 0, "refused": 0, "other": 0}
flips, rounds = 0, 0
while flips < 100_000 or rounds < 500 or not counts["refused"]:
    rounds += 1
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        if libc.connect(one.fileno(), ctypes.c_void_p(where), 16) < 0:
            counts["refused" if ctypes.get_errno() == 13 else "other"] += 1
        else:
            counts["good" if one.getpeername()[0] == "127.0.0.1" else "bad"] += 1
    (flips,) = struct.unpack("=Q", memory[64:72])
os.kill(flipper, signal.SIGKILL)
print(*counts.values())
"""


@pytest.fixture
def broker(runtime: Runtime) -> Iterator[Broker]:
    made = Broker(runtime, {"default": ALL})
    yield made
    made.close()


@pytest.fixture
def calls(bundle: Bundle, broker: Broker) -> Bundle:
    bundle.linux["seccomp"] = broker.profile()
    bundle.process["capabilities"] = {
        kind: ["CAP_MKNOD", "CAP_SYS_ADMIN", "CAP_DAC_OVERRIDE", "CAP_CHOWN", "CAP_FOWNER"]
        for kind in ("bounding", "effective", "permitted")
    }
    return bundle.mount("/tmp", "tmpfs", "tmpfs")


def test_mounts_and_nodes(runtime: Runtime, calls: Bundle, broker: Broker) -> None:
    out = runtime.inside(
        calls,
        "mknod /tmp/null c 1 3 && echo x > /tmp/null && echo made; mknod /tmp/kmsg c 1 11 2>&1 | sed 's/.*: //';"
        "mkdir /tmp/low /tmp/up /tmp/work && echo low > /tmp/low/file;"
        "mount -t overlay -o lowerdir=/tmp/low,upperdir=/tmp/up,workdir=/tmp/work overlay /mnt && cat /mnt/file;"
        "mount -t tmpfs none /etc 2>/dev/null || echo refused; mount -o bind /etc /mnt 2>/dev/null || echo refused",
    )
    assert out == "made\nOperation not permitted\nlow\nrefused\nrefused\n", broker.log()


@pytest.mark.parametrize("limit", [64 * MIB, 0], ids=["limited", "unlimited"])
def test_sysinfo(runtime: Runtime, calls: Bundle, broker: Broker, limit: int) -> None:
    calls.linux["resources"] = {"memory": {"limit": limit}} if limit else {}
    # busybox subtracts the host's page cache from it, and so prints a negative number behind it.
    found = re.search(rf"Mem: +{64 * MIB}", runtime.inside(calls, "busybox free -b"))
    assert bool(found) is bool(limit)


def test_an_address_that_another_process_changes(runtime: Runtime, calls: Bundle, broker: Broker) -> None:
    for path in ("/usr", "/lib", "/lib64"):
        calls.mount(path, "bind", path, "rbind", "ro")
    (calls.rootfs / "race.py").write_text(RACE)
    result = runtime.run(calls.args("/usr/bin/python3", "-I", "-S", "/race.py"), seconds=300)
    good, bad, refused, _ = map(int, result.out.split())
    assert bad == 0
    assert good
    assert refused
