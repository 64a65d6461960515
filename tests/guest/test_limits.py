"""linux.resources by their effect: each limit stops what it must stop, and without it the same does not stop."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pyrunc.libcontainer.cgroup import limits as cgrouplimits
from pyrunc.libcontainer.cgroup.resources import limits as writes_of
from pyrunc.libcontainer.plan import host as hostfacts
from tests.support import host
from tests.support.bundle import Bundle
from tests.support.runtime import Container, Runtime

ROOT = Path("/sys/fs/cgroup")
MIB = 1 << 20
KILLED = 128 + signal.SIGKILL

# Forks processes that do not end until a fork fails. That ends the forking shell, but not the first process, without
# which the container would end: the first process starts again when the test writes to it.
FORK_BOMB = "mkfifo /tmp/again; while :; do (while :; do sleep 1000 & done); read _ <> /tmp/again; done"


def cgroup(container: Container) -> Path:
    """The directory of a live container's cgroup."""
    return ROOT / host.cgroup_of(container.pid)[1:]


def number(path: Path) -> int:
    return int(path.read_text())


def entry(path: Path, key: str) -> int:
    """A value of a file of keys and values, such as cpu.stat."""
    for line in path.read_text().splitlines():
        name, value = line.split()
        if name == key:
            return int(value)
    raise AssertionError(f"no {key} in {path}")


def limited(bundle: Bundle, **resources: Any) -> Bundle:
    bundle.linux["resources"] = resources
    return bundle


def update(container: Container, **resources: Any) -> None:
    """Change the limits of a running container with the code that sets them at its creation."""
    members: Any = resources
    fd = os.open(cgroup(container), os.O_RDONLY | os.O_DIRECTORY)
    try:
        for write in writes_of(members, hostfacts.gather()).writes:
            cgrouplimits.write(fd, write.file, write.value)
    finally:
        os.close(fd)


# pids


def test_a_fork_bomb_stops_at_pids_max(runtime: Runtime, bundle: Bundle) -> None:
    container = runtime.started(limited(bundle.sh(FORK_BOMB), pids={"limit": 20}))
    path = cgroup(container)
    assert (path / "pids.max").read_text() == "20\n"
    host.wait_for("a fork that fails", lambda: entry(path / "pids.events", "max") > 0)
    assert number(path / "pids.peak") == 20
    container.delete("--force")


@pytest.mark.parametrize(("limit", "expected"), [(0, "1"), (1, "1"), (-1, "max")])
def test_the_ends_of_pids_limit(runtime: Runtime, bundle: Bundle, limit: int, expected: str) -> None:
    """0 is a limit (runtime-spec 1.3.0): the process runs and may not fork. -1 is no limit."""
    script = "cat /proc/self/cgroup & wait && echo forked"
    container = runtime.container(limited(bundle.sh(script), pids={"limit": limit}))
    assert (cgroup(container) / "pids.max").read_text() == expected + "\n"
    container.start()
    container.wait()
    assert ("forked" in container.output) is (expected == "max")


# memory


def hog(bundle: Bundle, mib: int) -> Bundle:
    """A process that has so much memory at once: dd reads a block of this size."""
    return bundle.args("dd", "if=/dev/zero", "of=/dev/null", f"bs={mib}M", "count=1")


def test_an_allocation_is_killed_at_memory_max(runtime: Runtime, bundle: Bundle) -> None:
    limited(bundle, memory={"limit": 32 * MIB, "swap": 32 * MIB})
    assert runtime.run(hog(bundle, 16)).code == 0
    assert runtime.run(hog(bundle, 64), ok=False).code == KILLED
    bundle.linux["resources"] = {"memory": {"limit": 128 * MIB}}
    assert runtime.run(hog(bundle, 64)).code == 0


def test_what_is_counted_and_killed_is_seen_on_the_host(runtime: Runtime, bundle: Bundle) -> None:
    memory = {"limit": 32 * MIB, "swap": 48 * MIB, "reservation": 8 * MIB}
    bundle.sh("dd if=/dev/zero of=/dev/null bs=64M count=1; echo $?; sleep 1000")
    container = runtime.started(limited(bundle, memory=memory))
    host.wait_for("the end of dd", lambda: container.output)
    assert container.output.splitlines()[-1] == str(KILLED)
    path = cgroup(container)
    assert number(path / "memory.max") == 32 * MIB
    assert number(path / "memory.low") == 8 * MIB
    assert number(path / "memory.swap.max") == 16 * MIB
    assert entry(path / "memory.events", "oom_kill") == 1
    assert number(path / "memory.current") < 32 * MIB


def test_an_init_that_the_oom_killer_ends_is_told_so(runtime: Runtime, bundle: Bundle) -> None:
    result = runtime.refuse(limited(bundle, memory={"limit": 64 << 10}))
    assert "container init was OOM-killed (memory limit too low?)" in result.last_line
    assert "at /linux/resources/memory; see memory.events" in result.last_line


def test_a_limit_in_which_not_even_the_init_is_executed(runtime: Runtime, bundle: Bundle) -> None:
    result = runtime.refuse(limited(bundle, memory={"limit": 12 << 10}))
    assert "execveat: argument list too long" in result.last_line
    assert "memory limit too low?" in result.last_line


@pytest.fixture
def used(runtime: Runtime, host_mount: Callable[..., Path]) -> Iterator[str]:
    """A cgroup without processes to which 24 MiB are charged: those of a file in memory that one of its processes has
    written.
    """
    path = ROOT / runtime.token
    path.mkdir()
    script = f'echo $$ > {path}/cgroup.procs; head -c {24 * MIB} /dev/zero > "$0"'
    subprocess.run(["sh", "-c", script, host_mount("memory") / "file"], check=True)
    host.wait_for("its end", lambda: (path / "cgroup.procs").read_text() == "")
    yield "/" + runtime.token
    if path.exists():
        path.rmdir()


def test_a_limit_below_the_usage_is_rejected_where_asked(runtime: Runtime, bundle: Bundle, used: str) -> None:
    memory: Any = {"limit": 16 * MIB, "checkBeforeUpdate": True}
    bundle.linux["cgroupsPath"] = used
    bundle.write()
    limited(bundle, memory=memory).write()
    result = runtime("create", "--bundle", bundle.path, runtime.new_id())
    assert result.code == 1
    assert f"rejecting memory limit {16 * MIB} <= usage " in result.last_line
    assert "at /linux/resources/memory/limit" in result.last_line
    assert (ROOT / used[1:] / "memory.max").read_text() == "max\n"
    memory["limit"] = 64 * MIB
    container = runtime.container(bundle)
    assert number(cgroup(container) / "memory.max") == 64 * MIB
    container.delete()


# cpu


def spin(runtime: Runtime, bundle: Bundle, **cpu: Any) -> Container:
    return runtime.started(limited(bundle.sh("while :; do :; done"), cpu=cpu))


def test_cpu_max_is_seen_in_the_usage(runtime: Runtime, bundle: Bundle) -> None:
    quota = 10000
    container = spin(runtime, bundle, quota=quota, period=100000)
    path = cgroup(container)
    assert (path / "cpu.max").read_text() == f"{quota} 100000\n"
    stat = path / "cpu.stat"
    host.wait_for("ten throttled periods", lambda: entry(stat, "nr_throttled") >= 10)
    # A process runs on to the next tick when its quota is used up, and pays for that in the next period.
    most = (entry(stat, "nr_periods") + 5) * quota
    assert entry(stat, "usage_usec") <= most
    container.delete("--force")


def test_what_has_no_quota_is_not_throttled(runtime: Runtime, bundle: Bundle) -> None:
    container = spin(runtime, bundle, period=50000, shares=1024)
    stat = cgroup(container) / "cpu.stat"
    host.wait_for("a second of its time", lambda: entry(stat, "usage_usec") > 1000000)
    assert entry(stat, "nr_throttled") == 0
    assert (cgroup(container) / "cpu.max").read_text() == "max 50000\n"
    assert (cgroup(container) / "cpu.weight").read_text() == "100\n"
    container.delete("--force")


def test_shares_divide_the_cpu(runtime: Runtime) -> None:
    # Both must use the same processor; a guest without cpusets has only one.
    same = {"cpus": "0"} if "cpuset" in hostfacts.gather().controllers else {}
    first = spin(runtime, runtime.bundle("first"), shares=100, **same)
    second = spin(runtime, runtime.bundle("second"), shares=10000, **same)
    stats = [cgroup(container) / "cpu.stat" for container in (first, second)]
    start = [entry(stat, "usage_usec") for stat in stats]

    def used() -> list[int]:
        return [entry(stat, "usage_usec") - old for stat, old in zip(stats, start, strict=True)]

    host.wait_for("two seconds of the second one", lambda: used()[1] > 2000000)
    little, much = used()
    assert much > 3 * little
    for container in (first, second):
        container.delete("--force")


def test_burst_and_idle(runtime: Runtime, bundle: Bundle) -> None:
    limited(bundle, cpu={"quota": 20000, "burst": 20000, "idle": 1})
    path = cgroup(runtime.container(bundle))
    assert (path / "cpu.max").read_text() == "20000 100000\n"
    assert (path / "cpu.max.burst").read_text() == "20000\n"
    assert (path / "cpu.idle").read_text() == "1\n"


@pytest.mark.qemu("User-Mode Linux has no cpuset")
def test_cpus_and_mems(runtime: Runtime, bundle: Bundle) -> None:
    limited(bundle.sh("grep -E '^(Cpus|Mems)_allowed_list' /proc/self/status"), cpu={"cpus": "0", "mems": "0"})
    container = runtime.container(bundle)
    assert (cgroup(container) / "cpuset.cpus").read_text() == "0\n"
    assert container.finish() == "Cpus_allowed_list:\t0\nMems_allowed_list:\t0\n"
    bundle.linux["resources"] = {"cpu": {"cpus": "0-4000"}}
    result = runtime.refuse(bundle)
    assert "at /linux/resources/cpu/cpus" in result.last_line
    assert "this machine can't have" in result.last_line


# blockIO


@pytest.fixture
def disk(runtime: Runtime) -> str:
    """`major:minor` of the disk that the tests' files are on."""
    device = runtime.work.stat().st_dev
    return f"{os.major(device)}:{os.minor(device)}"


def write_directly(bundle: Bundle, mib: int) -> Bundle:
    """A process that writes so much to the disk, past the page cache."""
    return bundle.args("dd", "if=/dev/zero", "of=/srv/big", "bs=128k", f"count={mib * 8}", "oflag=direct")


def seconds(runtime: Runtime, bundle: Bundle) -> float:
    start = time.monotonic()
    runtime.run(bundle)
    return time.monotonic() - start


@pytest.mark.parametrize(
    ("field", "rate", "value"),
    [("throttleWriteBpsDevice", MIB, f"wbps={MIB}"), ("throttleWriteIOPSDevice", 8, "wiops=8")],
)
def test_io_max_is_seen_in_the_throughput(
    runtime: Runtime, bundle: Bundle, disk: str, field: str, rate: int, value: str
) -> None:
    """4 MiB by 128 KiB: with either limit at least 4 s."""
    write_directly(bundle, 4)
    major, minor = map(int, disk.split(":"))
    limited(bundle, blockIO={field: [{"major": major, "minor": minor, "rate": rate}]})
    limits = (cgroup(runtime.container(bundle)) / "io.max").read_text().split()
    assert limits[0] == disk
    assert value in limits
    assert seconds(runtime, bundle) > 3


def test_reads_are_throttled_too_and_0_is_no_limit(runtime: Runtime, bundle: Bundle, disk: str) -> None:
    major, minor = map(int, disk.split(":"))
    device = {"major": major, "minor": minor}
    limited(
        bundle,
        blockIO={
            "throttleReadBpsDevice": [{**device, "rate": MIB}],
            "throttleReadIOPSDevice": [{**device, "rate": 50}],
            "throttleWriteBpsDevice": [{**device, "rate": 0}],
        },
    )
    limits = (cgroup(runtime.container(bundle)) / "io.max").read_text().split()
    assert limits == [disk, f"rbps={MIB}", "wbps=max", "riops=50", "wiops=max"]


def test_a_disk_that_is_not_there(runtime: Runtime, bundle: Bundle) -> None:
    limited(bundle, blockIO={"throttleReadBpsDevice": [{"major": 1000, "minor": 3, "rate": 1}]})
    result = runtime.refuse(bundle)
    assert 'writing \\"1000:3 rbps=1\\" to io.max: no such device' in result.last_line
    assert "at /linux/resources/blockIO/throttleReadBpsDevice/0; there is no disk with this number" in result.last_line


def test_weight(runtime: Runtime, bundle: Bundle) -> None:
    """By BFQ, by io.cost, or refused if the kernel has neither."""
    limited(bundle, blockIO={"weight": 750})
    files = {"io.bfq.weight": "default 750\n", "io.weight": "default 7475\n"}
    there = [name for name in files if (ROOT / "system.slice" / name).exists()]
    if there:
        assert (cgroup(runtime.container(bundle)) / there[0]).read_text() == files[there[0]]
    else:
        result = runtime.refuse(bundle)
        assert "at /linux/resources/blockIO/weight" in result.last_line
        assert "the kernel has neither BFQ nor io.cost" in result.last_line


# hugetlb, rdma


@pytest.mark.qemu("User-Mode Linux has no huge pages")
def test_huge_pages_are_refused_above_the_limit(runtime: Runtime, bundle: Bundle) -> None:
    pages = Path("/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages")
    pages.write_text("8")
    assert number(pages) >= 4
    program = (
        "import mmap, sys\n"
        "def pages(n): return mmap.mmap(-1, n << 21, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x40000)\n"
        "kept = pages(2); kept[:1] = b'x'; print('two', flush=True)\n"
        "try: pages(1)\n"
        "except OSError as error: print(error.errno)\n"
    )
    for name in ("usr", "lib", "lib64"):
        (bundle.rootfs / name).mkdir(exist_ok=True)
        bundle.mount("/" + name, "bind", "/" + name, "rbind", "ro")
    bundle.args("/usr/bin/python3", "-I", "-S", "-c", program)
    limited(bundle, hugepageLimits=[{"pageSize": "2MB", "limit": 2 << 21}])
    try:
        assert runtime.run(bundle).out == "two\n12\n"
        limited(bundle, hugepageLimits=[{"pageSize": "2MB", "limit": 3 << 21}])
        assert runtime.run(bundle).out == "two\n"
    finally:
        pages.write_text("0")


@pytest.mark.qemu("User-Mode Linux has no rdma controller")
def test_an_rdma_device_that_is_not_there(runtime: Runtime, bundle: Bundle) -> None:
    result = runtime.refuse(limited(bundle, rdma={"mlx5_1": {"hcaHandles": 3}}))
    assert 'writing \\"mlx5_1 hca_handle=3\\" to rdma.max' in result.last_line
    assert "at /linux/resources/rdma/mlx5_1; there is no RDMA device of this name" in result.last_line


# unified, and how the container gets controllers


def test_unified_is_written_as_it_is_and_has_the_last_word(runtime: Runtime, bundle: Bundle, disk: str) -> None:
    unified = {
        "memory.min": "131072", "memory.low": "524288", "memory.high": "20971520", "memory.max": "41943040",
        "pids.max": "99", "cpu.max": "10000 100000", "cpu.weight": "42", "cgroup.max.descendants": "3",
        "io.max": f"{disk} rbps=2097152 wiops=120\n",
    }  # fmt: skip
    limited(bundle, unified=unified, memory={"limit": 32 * MIB}, cpu={"shares": 3333, "quota": 40000})
    bundle.linux["resources"]["pids"] = {"limit": 5}
    path = cgroup(runtime.container(bundle))
    for file, text in unified.items():
        if file != "io.max":
            assert (path / file).read_text() == text + "\n"
    assert (path / "io.max").read_text() == f"{disk} rbps=2097152 wbps=max riops=max wiops=120\n"


def test_a_controller_that_the_kernel_has_not_is_named(runtime: Runtime, bundle: Bundle) -> None:
    result = runtime.refuse(limited(bundle, unified={"nosuch.max": "1"}))
    assert 'unified resource \\"nosuch.max\\" can\'t be set: controller \\"nosuch\\" not available' in result.last_line


def test_controllers_are_handed_down_to_the_container(runtime: Runtime, bundle: Bundle) -> None:
    bundle.linux["cgroupsPath"] = f"/{runtime.token}/a/b"
    path = cgroup(runtime.container(limited(bundle, pids={"limit": 7})))
    assert path == ROOT / runtime.token / "a/b"
    assert (path / "pids.max").read_text() == "7\n"
    # all controllers, so that every statistic exists
    offered = set(hostfacts.gather().controllers)
    assert set((path / "cgroup.controllers").read_text().split()) == offered


def test_without_limits_the_statistics_are_there_where_the_cgroups_above_are_new(
    runtime: Runtime, bundle: Bundle
) -> None:
    bundle.linux["cgroupsPath"] = f"/{runtime.token}/a/b"
    bundle.linux["resources"] = {"devices": [{"allow": True, "access": "rwm"}], "pids": {}, "cpu": {"shares": 0}}
    path = cgroup(runtime.container(bundle))
    assert number(path / "pids.current") == 1
    assert number(path / "memory.current") > 0
    assert (path / "pids.max").read_text() == "max\n"
    assert set((path / "cgroup.controllers").read_text().split()) == set(hostfacts.gather().controllers)


def test_without_limits_a_cgroup_that_was_there_is_left_as_it_is(runtime: Runtime, bundle: Bundle) -> None:
    above = ROOT / runtime.token
    above.mkdir()
    try:
        bundle.linux["cgroupsPath"] = f"/{runtime.token}/a"
        container = runtime.container(bundle)
        assert (above / "cgroup.subtree_control").read_text().split() == []
        container.delete("--force")
    finally:
        above.rmdir()


def test_without_limits_what_can_t_be_enabled_is_no_failure(runtime: Runtime, bundle: Bundle) -> None:
    """A cgroup above the new ones has processes."""
    first = runtime.container(bundle)
    path = cgroup(first)
    bundle.linux["cgroupsPath"] = f"/{path.relative_to(ROOT)}/new/below"
    container = runtime.container(bundle)
    assert (cgroup(container) / "cgroup.controllers").read_text().split() == []
    assert (path / "cgroup.type").read_text() == "domain\n"
    container.delete("--force")


@pytest.mark.parametrize("resources", [{"pids": {"limit": 7}}, {"memory": {"limit": 64 * MIB}}])
def test_a_cgroup_with_processes_hands_nothing_out_and_is_left_as_it_is(
    runtime: Runtime, bundle: Bundle, resources: dict[str, Any]
) -> None:
    """The kernel would enable pids there, and then no container could live below it."""
    first = runtime.container(bundle)
    path = cgroup(first)
    bundle.linux["cgroupsPath"] = f"/{path.relative_to(ROOT)}/below"
    result = runtime.refuse(limited(bundle, **resources))
    assert f"in {path}: device or resource busy" in result.last_line
    assert "it has processes of its own" in result.last_line
    assert (path / "cgroup.type").read_text() == "domain\n"
    assert (path / "cgroup.subtree_control").read_text().split() == []


@pytest.mark.parametrize("resources", [{"pids": {"limit": 7}}, {"memory": {"limit": 64 * MIB}}])
def test_threaded_mode_is_explained(runtime: Runtime, bundle: Bundle, resources: Any) -> None:
    top = ROOT / runtime.token
    (top / "thread").mkdir(parents=True)
    try:
        (top / "thread/cgroup.type").write_text("threaded")
        assert (top / "cgroup.type").read_text() == "domain threaded\n"
        bundle.linux["cgroupsPath"] = f"/{runtime.token}/one"
        result = runtime.refuse(limited(bundle, **resources))
        assert f"in {top}: operation not supported" in result.last_line
        assert "threaded mode" in result.last_line
    finally:
        (top / "thread").rmdir()
        top.rmdir()


@pytest.mark.parametrize(
    ("resources", "at", "hint"),
    [
        ({"cpu": {"quota": 5}}, "cpu/quota", "a quota is at least 1000"),
        ({"cpu": {"period": 100}}, "cpu/period", "a period 1000 to 1000000"),
        ({"cpu": {"burst": 1 << 62}}, "cpu/burst", "a burst is at most the quota"),
        ({"unified": {"memory.max": "much"}}, "unified/memory.max", "does not take this value"),
        ({"unified": {"cpu.weight": "10001"}}, "unified/cpu.weight", "does not take this value"),
        ({"unified": {"memory.maximum": "1"}}, "unified/memory.maximum", "no such control file"),
    ],
)
def test_what_the_kernel_refuses_leaves_nothing(
    runtime: Runtime, bundle: Bundle, resources: Any, at: str, hint: str
) -> None:
    result = runtime.refuse(limited(bundle, **resources))
    assert f"at /linux/resources/{at}; " in result.last_line
    assert hint in result.last_line


def test_the_container_s_root_can_manage_its_cgroup_but_not_its_limits(runtime: Runtime, bundle: Bundle) -> None:
    """config-linux.md, "Cgroup ownership"."""
    limited(bundle, memory={"limit": 64 * MIB}, pids={"limit": 20})
    bundle.user_namespace().namespace("cgroup").mount("/sys/fs/cgroup", "cgroup", "cgroup")
    (bundle.rootfs / "sys/fs/cgroup").mkdir(parents=True, exist_ok=True)
    bundle.sh(
        "cd /sys/fs/cgroup; mkdir sub && echo 1 > sub/cgroup.procs && echo +memory +pids > cgroup.subtree_control"
        " && echo 5 > sub/pids.max && cat sub/pids.max; (echo 30 > pids.max) 2>&1; (echo max > memory.max) 2>&1"
    )
    out = runtime.run(bundle, ok=False).out
    assert out.startswith("5\n")
    assert out.count("ermission denied") + out.count("not permitted") == 2, out


# updates of a running container


def test_pids_max_of_a_running_container(runtime: Runtime, bundle: Bundle) -> None:
    container = runtime.started(limited(bundle.sh(FORK_BOMB), pids={"limit": 20}))
    path = cgroup(container)
    host.wait_for("a fork that fails", lambda: entry(path / "pids.events", "max") > 0)
    assert number(path / "pids.peak") == 20
    failed = entry(path / "pids.events", "max")
    update(container, pids={"limit": 30})
    with open(bundle.rootfs / "tmp/again", "r+b", buffering=0) as again:
        again.write(b"\n")
        host.wait_for("the next fork that fails", lambda: entry(path / "pids.events", "max") > failed)
    assert number(path / "pids.peak") == 30
    container.delete("--force")


def test_cpu_max_of_a_running_container(runtime: Runtime, bundle: Bundle) -> None:
    container = spin(runtime, bundle, quota=5000, period=100000)
    stat = cgroup(container) / "cpu.stat"
    host.wait_for("ten throttled periods", lambda: entry(stat, "nr_throttled") >= 10)
    update(container, cpu={"quota": 60000, "period": 100000})
    usage, periods = entry(stat, "usage_usec"), entry(stat, "nr_periods")

    def more_than_before() -> bool:
        passed = entry(stat, "nr_periods") - periods
        return passed >= 10 and entry(stat, "usage_usec") - usage > passed * 10000

    host.wait_for("twice the old quota in each period", more_than_before)
    container.delete("--force")


def test_memory_max_of_a_running_container(runtime: Runtime, bundle: Bundle) -> None:
    # the shell's variable: 32 MiB in use
    bundle.sh("x=$(head -c 33554432 /dev/zero | tr '\\0' x); while :; do sleep 1; done")
    container = runtime.started(limited(bundle, memory={"limit": 256 * MIB, "swap": 256 * MIB}))
    path = cgroup(container)
    host.wait_for("32 MiB in use", lambda: entry(path / "memory.stat", "anon") > 30 * MIB)
    assert entry(path / "memory.events", "oom_kill") == 0
    update(container, memory={"limit": 16 * MIB, "swap": 16 * MIB})
    container.wait()
    assert entry(path / "memory.events", "oom_kill") > 0
    container.delete()


def test_io_max_of_a_running_container(runtime: Runtime, bundle: Bundle, disk: str) -> None:
    """16 MiB at 128 KiB/s would take two minutes."""
    major, minor = map(int, disk.split(":"))
    device = {"major": major, "minor": minor}
    limited(write_directly(bundle, 16), blockIO={"throttleWriteBpsDevice": [{**device, "rate": MIB // 8}]})
    container = runtime.started(bundle)
    time.sleep(2)
    assert container.status == "running"
    update(container, blockIO={"throttleWriteBpsDevice": [{**device, "rate": 64 * MIB}]})
    container.wait()  # it gives up after a minute
