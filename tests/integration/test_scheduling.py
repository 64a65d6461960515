"""process.scheduler, process.ioPriority, linux.memoryPolicy, linux.personality: the kernel's values."""

from __future__ import annotations

import ctypes
import os
import platform
import subprocess
from typing import Any

import pytest

from tests.support.bundle import Bundle
from tests.support.marks import numa
from tests.support.runtime import Container, Runtime

# syscall numbers: sched_getattr, ioprio_get
NUMBERS = {"x86_64": (315, 252), "aarch64": (275, 31)}
CLASSES = {"IOPRIO_CLASS_RT": 1, "IOPRIO_CLASS_BE": 2, "IOPRIO_CLASS_IDLE": 3}
RESET_ON_FORK = 1
LIBC = ctypes.CDLL(None, use_errno=True)

pytestmark = pytest.mark.own("it knows none of the fields")


class Attributes(ctypes.Structure):
    """struct sched_attr of sched_setattr(2)."""

    _fields_ = (
        ("size", ctypes.c_uint32),
        ("policy", ctypes.c_uint32),
        ("flags", ctypes.c_uint64),
        ("nice", ctypes.c_int32),
        ("priority", ctypes.c_uint32),
        ("runtime", ctypes.c_uint64),
        ("deadline", ctypes.c_uint64),
        ("period", ctypes.c_uint64),
    )


def attributes(pid: int) -> Attributes:
    """How the kernel schedules a process."""
    value = Attributes()
    number = NUMBERS[platform.machine()][0]
    assert LIBC.syscall(number, pid, ctypes.byref(value), ctypes.sizeof(value), 0) == 0, os.strerror(ctypes.get_errno())
    return value


def io_priority(pid: int) -> tuple[int, int]:
    """A process's I/O class and priority."""
    value = LIBC.syscall(NUMBERS[platform.machine()][1], 1, pid)
    assert value >= 0, os.strerror(ctypes.get_errno())
    return value >> 13, value & 0x1FFF


def may_be_realtime() -> bool:
    """Whether this process may have a realtime policy. A kernel with CONFIG_RT_GROUP_SCHED lets nobody have one in a
    cgroup with the cpu controller."""
    child = os.fork()
    if child == 0:
        try:
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
        except OSError:
            os._exit(1)
        os._exit(0)
    return os.waitpid(child, 0)[1] == 0


realtime = pytest.mark.skipif(
    os.geteuid() == 0 and not may_be_realtime(), reason="this kernel forbids realtime policies (CONFIG_RT_GROUP_SCHED)"
)


@pytest.fixture(params=[False, True], ids=["", "user-namespace"])
def either(request: pytest.FixtureRequest, bundle: Bundle) -> Bundle:
    """The bundle as it is, and with a user namespace."""
    return bundle.user_namespace() if request.param else bundle


def created(runtime: Runtime, bundle: Bundle, field: str, value: Any) -> Container:
    bundle.process[field] = value
    return runtime.container(bundle.args("sleep", "100"))


@pytest.mark.parametrize(
    ("scheduler", "expected"),
    [
        ({"policy": "SCHED_OTHER", "nice": -7}, (0, -7, 0)),
        ({"policy": "SCHED_BATCH", "nice": 19}, (3, 19, 0)),
        ({"policy": "SCHED_IDLE"}, (5, os.getpriority(os.PRIO_PROCESS, 0), 0)),
        pytest.param({"policy": "SCHED_FIFO", "priority": 7}, (1, 0, 7), marks=realtime),
        pytest.param({"policy": "SCHED_RR", "priority": 99}, (2, 0, 99), marks=realtime),
    ],
    ids=lambda value: value["policy"] if isinstance(value, dict) else "",
)
def test_scheduler(runtime: Runtime, either: Bundle, scheduler: dict[str, Any], expected: tuple[int, int, int]) -> None:
    container = created(runtime, either, "scheduler", scheduler)
    container.start()
    found = attributes(container.pid)
    assert (found.policy, found.nice, found.priority) == expected


def test_deadline_scheduler(runtime: Runtime, either: Bundle) -> None:
    times = {"runtime": 1000000, "deadline": 20000000, "period": 30000000}
    container = created(runtime, either, "scheduler", {"policy": "SCHED_DEADLINE", **times})
    found = attributes(container.pid)
    assert (found.policy, found.runtime, found.deadline, found.period) == (6, *times.values())


@realtime
def test_reset_on_fork(runtime: Runtime, bundle: Bundle) -> None:
    """The process is scheduled as configured, and its children are not."""
    scheduler = {"policy": "SCHED_FIFO", "priority": 5, "flags": ["SCHED_FLAG_RESET_ON_FORK"]}
    bundle.process["scheduler"] = scheduler
    bundle.sh("cut -d ' ' -f 41 /proc/$$/stat; sh -c 'cut -d \" \" -f 41 /proc/$$/stat'; true")
    assert runtime.run(bundle).out.split() == ["1", "0"]
    container = created(runtime, bundle, "scheduler", scheduler)
    assert attributes(container.pid).flags & RESET_ON_FORK


def test_scheduler_that_the_kernel_does_not_have(runtime: Runtime, bundle: Bundle) -> None:
    bundle.process["scheduler"] = {"policy": "SCHED_ISO"}
    line = runtime.refuse(bundle).last_line
    assert "error setting scheduler: invalid argument" in line
    assert "at /process/scheduler; " in line


@pytest.mark.parametrize("name", CLASSES)
def test_io_priority(runtime: Runtime, either: Bundle, name: str) -> None:
    container = created(runtime, either, "ioPriority", {"class": name, "priority": 3})
    container.start()
    assert io_priority(container.pid) == (CLASSES[name], 3)


@pytest.mark.own("refused")
@pytest.mark.parametrize("name", CLASSES)
def test_s5_io_priority_without_a_priority_is_0(runtime: Runtime, either: Bundle, name: str) -> None:
    container = created(runtime, either, "ioPriority", {"class": name})
    assert io_priority(container.pid) == (CLASSES[name], 0)


def test_without_the_fields_all_is_the_runtime_s(runtime: Runtime, bundle: Bundle) -> None:
    container = runtime.container(bundle.args("sleep", "100"))
    own, found = attributes(0), attributes(container.pid)
    assert (found.policy, found.nice) == (own.policy, own.nice)
    assert io_priority(container.pid) == io_priority(0)


@pytest.mark.parametrize(("domain", "machine"), [("LINUX", "x86_64"), ("LINUX32", "i686")])
@pytest.mark.skipif(platform.machine() != "x86_64", reason="i686 is what an x86-64 calls itself")
def test_personality(runtime: Runtime, either: Bundle, domain: str, machine: str) -> None:
    told = subprocess.run(["setarch", "linux32", "uname", "-m"], check=True, capture_output=True, text=True).stdout
    if told.strip() == "x86_64":
        pytest.skip("this kernel calls itself x86_64 in every personality (User-Mode Linux)")
    either.linux["personality"] = {"domain": domain}
    assert runtime.run(either.args("uname", "-m")).out == machine + "\n"


@numa
@pytest.mark.parametrize(
    ("policy", "shown"),
    [
        ({"mode": "MPOL_INTERLEAVE", "nodes": "0"}, "interleave:0"),
        ({"mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_STATIC_NODES"]}, "bind=static:0"),
        ({"mode": "MPOL_PREFERRED", "nodes": "0", "flags": ["MPOL_F_RELATIVE_NODES"]}, "prefer=relative:0"),
        ({"mode": "MPOL_PREFERRED_MANY", "nodes": "0"}, "prefer (many):0"),
        ({"mode": "MPOL_LOCAL"}, "local"),
        ({"mode": "MPOL_DEFAULT"}, "default"),
    ],
    ids=lambda value: value["mode"] if isinstance(value, dict) else "",
)
def test_memory_policy(runtime: Runtime, either: Bundle, policy: dict[str, Any], shown: str) -> None:
    either.linux["memoryPolicy"] = policy
    line = runtime.inside(either, "head -n 1 /proc/self/numa_maps")
    assert line.split(" ", 1)[1].startswith(shown)


@numa
def test_memory_node_that_is_not_there(runtime: Runtime, bundle: Bundle) -> None:
    bundle.linux["memoryPolicy"] = {"mode": "MPOL_BIND", "nodes": "1023"}
    line = runtime.refuse(bundle).last_line
    assert "set_mempolicy: invalid argument (step memory_policy, " in line
    assert "at /linux/memoryPolicy; " in line


def test_invalid_memory_policy(runtime: Runtime, bundle: Bundle) -> None:
    """COMPAT: runc's message."""
    bundle.linux["memoryPolicy"] = {"mode": "INTERLEAVE", "nodes": "0"}
    assert "invalid memory policy mode" in runtime.refuse(bundle).last_line


def test_the_affinity_of_exec_is_not_the_container_s(runtime: Runtime, bundle: Bundle) -> None:
    affinity = {"initial": "0", "final": "0"}
    container = created(runtime, bundle, "execCPUAffinity", affinity)
    assert os.sched_getaffinity(container.pid) == os.sched_getaffinity(0)
