"""Lack of resources: descriptors, space on a disk, a writable cgroupfs or state root."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support import host
from tests.support.bundle import Bundle
from tests.support.runtime import Result, Runtime

pytestmark = pytest.mark.own("of pyrunc's undoing")


def one_error(result: Result) -> None:
    """Assert that the failure is one line, with a cause, and not an internal error."""
    assert result.code != 0, result
    lines = [line for line in result.err.splitlines() if "level=error" in line]
    assert len(lines) == 1, result
    for word in ("Traceback", "internal error", "undoing", "[Errno"):
        assert word not in result.err, result


@pytest.mark.parametrize("limit", [*range(5, 24), 32, 40])
def test_f8_every_limit_of_open_files(runtime: Runtime, bundle: Bundle, limit: int) -> None:
    """F8: create, exec, start and delete under a hard limit: each works, or gives the reason, and nothing is left."""
    prefix = ["/bin/bash", "-c", f'ulimit -n {limit} && exec "$@"', "bash"]
    bundle.args("sleep", "1000").write()
    id = runtime.new_id()
    result = runtime("create", "--bundle", bundle.path, id, prefix=prefix)
    if result.code:
        one_error(result)
        runtime.assert_nothing_left()
        assert runtime("create", "--bundle", bundle.path, id).code == 0
    started = runtime("start", id, prefix=prefix)
    if started.code:
        one_error(started)
        if runtime.state(id)["status"] == "created":
            assert runtime("start", id).code == 0
    if runtime.state(id)["status"] == "running":
        before = runtime.left_over()
        entered = runtime("exec", id, "true", prefix=prefix)
        if entered.code:
            one_error(entered)
        runtime.assert_nothing_left(before)
    deleted = runtime("delete", "--force", id, prefix=prefix)
    if deleted.code:
        one_error(deleted)
        assert runtime("delete", "--force", id).code == 0
    runtime.assert_nothing_left()


@pytest.mark.parametrize("limit", [40, 64, 80])
def test_f8_sources_that_do_not_fit(runtime: Runtime, bundle: Bundle, limit: int) -> None:
    """F8: the hard limit is reached while the mounts' sources are opened."""
    source = bundle.path / "source"
    source.mkdir()
    mapping = [{"containerID": 0, "hostID": 100000, "size": 65536}]
    for number in range(limit):
        bundle.mount(f"/mnt/{number}", "bind", str(source), "bind")
        bundle.mounts[-1].update(uidMappings=mapping, gidMappings=mapping)
    bundle.write()
    prefix = ["/bin/bash", "-c", f'ulimit -n {limit} && exec "$@"', "bash"]
    result = runtime("run", "--bundle", bundle.path, runtime.new_id(), prefix=prefix)
    one_error(result)
    assert "too many open files" in result.last_line
    runtime.assert_nothing_left()


def in_mounts(script: str) -> list[str]:
    """A prefix that gives a command a mount namespace of its own, changed by a script."""
    return ["unshare", "-m", "--propagation", "private", "/bin/sh", "-ec", script + '; exec "$@"', "sh"]


@pytest.fixture
def read_only_cgroups() -> list[str]:
    """A prefix under which the cgroup2 hierarchy is read-only."""
    mount = host.cgroup2_mount()
    if not mount:
        pytest.skip("needs a cgroup2 hierarchy")
    return in_mounts(f"mount -o remount,bind,ro {mount}")


def test_a9_a_read_only_cgroupfs(runtime: Runtime, bundle: Bundle, read_only_cgroups: list[str]) -> None:
    """A9: each message has the cause, and nothing is left that a later command would fail on."""
    bundle.write()
    id = runtime.new_id()
    for _ in range(2):
        result = runtime("create", "--bundle", bundle.path, id, prefix=read_only_cgroups)
        one_error(result)
        assert "read-only file system" in result.last_line
        assert "cgroup" in result.last_line
        runtime.assert_nothing_left()
    assert runtime("delete", "--force", id, prefix=read_only_cgroups).code == 0
    assert runtime("create", "--bundle", bundle.path, id).code == 0


def test_a9_what_a_killed_create_left_on_a_read_only_cgroupfs(
    runtime: Runtime, bundle: Bundle, read_only_cgroups: list[str]
) -> None:
    """A9: the ledger names cgroups that were never made: `delete --force`, `create` and `gc` finish it."""
    bundle.write()
    for words in (["delete", "--force"], ["gc"]):
        id = runtime.new_id()
        path = runtime.root / id
        runtime.root.mkdir(exist_ok=True)
        os.mkdir(path, 0o711)
        path.chmod(0o1711)
        mount = host.cgroup2_mount()
        lines = [f'{{"effect":"{kind}","path":"{mount}/{id}"}}' for kind in ("cgroup_parent", "cgroup")]
        (path / "ledger").write_text("\n".join(lines) + "\n")
        (path / "ledger").chmod(0o600)
        result = runtime(*words, *([id] if words[0] == "delete" else []), prefix=read_only_cgroups)
        assert result.code == 0, result
        assert not path.exists()


def test_a9_no_more_cgroups_allowed(runtime: Runtime, bundle: Bundle) -> None:
    """The kernel refuses the cgroup: cgroup.max.descendants."""
    mount = host.cgroup2_mount()
    if not mount:
        pytest.skip("needs a cgroup2 hierarchy")
    parent = Path(mount, runtime.token)
    parent.mkdir()
    try:
        (parent / "cgroup.max.descendants").write_text("0")
        bundle.linux["cgroupsPath"] = f"/{runtime.token}/one"
        bundle.write()
        result = runtime("create", "--bundle", bundle.path, runtime.new_id())
        one_error(result)
        assert "resource temporarily unavailable" in result.last_line
        runtime.assert_nothing_left([f"cgroup {parent}"])
    finally:
        parent.rmdir()


def test_a9_a_read_only_root(runtime: Runtime, bundle: Bundle) -> None:
    bundle.write()
    runtime.root.mkdir(exist_ok=True)
    prefix = in_mounts(f"mount --bind {runtime.root} {runtime.root}; mount -o remount,bind,ro {runtime.root}")
    result = runtime("create", "--bundle", bundle.path, runtime.new_id(), prefix=prefix)
    one_error(result)
    assert "read-only file system" in result.last_line
    runtime.assert_nothing_left()


@pytest.mark.parametrize("many", [0, 6000], ids=["small", "large"])
@pytest.mark.parametrize("blocks", range(9))
def test_a9_a_full_root(
    runtime: Runtime, bundle: Bundle, host_mount: Callable[..., Path], blocks: int, many: int
) -> None:
    """A9: a state root on a file system that is full but for some blocks: a failed create leaves nothing there. many:
    bytes that each of its files has more, so that a part of it may find room."""
    root = host_mount("small", "-t", "tmpfs", "-o", "size=64k,mode=700", "tmpfs")
    before = runtime.left_over()
    bundle.process["env"].append("LONG=" + many * "x")
    bundle.args("true").write()
    (root / "filler").write_bytes(bytes(65536 - 4096 * blocks))
    (root / "filler").chmod(0o600)
    id = runtime.new_id()
    words = ("--root", str(root), "create", "--bundle", str(bundle.path), id)
    result = runtime(*words, with_root=False)
    if result.code:
        one_error(result)
        assert "no space left on device" in result.last_line
        assert sorted(os.listdir(root)) == ["filler"]
        (root / "filler").unlink()
        assert runtime(*words, with_root=False).code == 0
    assert runtime("--root", str(root), "delete", "--force", id, with_root=False).code == 0
    runtime.assert_nothing_left(before)


@pytest.mark.parametrize("flag", ["--pid-file", "--timeline"])
def test_a9_no_room_for_a_file_of_the_caller_s(
    runtime: Runtime, bundle: Bundle, host_mount: Callable[..., Path], flag: str
) -> None:
    full = host_mount("full", "-t", "tmpfs", "-o", "size=4k", "tmpfs")
    (full / "filler").write_bytes(bytes(4096))
    bundle.args("true").write()
    before = runtime.left_over()
    result = runtime("run", "--bundle", bundle.path, flag, full / "file", runtime.new_id())
    one_error(result)
    assert "no space left on device" in result.last_line
    assert str(full / "file") in result.last_line or str(full / ".file") in result.last_line
    assert os.listdir(full) == ["filler"]
    runtime.assert_nothing_left(before)


@pytest.mark.own("the timeline is pyrunc's")
@pytest.mark.parametrize("is_full", [False, True], ids=["unread", "full"])
def test_a_timeline_that_nobody_reads_holds_up_no_undoing(runtime: Runtime, bundle: Bundle, is_full: bool) -> None:
    fifo = runtime.work / "fifo"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK) if is_full else -1
    filler = os.open(fifo, os.O_WRONLY | os.O_NONBLOCK) if is_full else -1
    while is_full:
        try:
            os.write(filler, bytes(4096))
        except BlockingIOError:
            break
    bundle.args("no-such-program").write()
    before = runtime.left_over()
    result = runtime("run", "--bundle", bundle.path, "--timeline", fifo, runtime.new_id())
    one_error(result)
    assert "no-such-program" in result.last_line
    assert f"writing the timeline: {fifo}" in result.err
    assert fifo.is_fifo()
    runtime.assert_nothing_left(before)
    for fd in {reader, filler} - {-1}:
        os.close(fd)


def test_a9_a_full_disk_for_the_log_changes_nothing(
    runtime: Runtime, bundle: Bundle, host_mount: Callable[..., Path]
) -> None:
    full = host_mount("full", "-t", "tmpfs", "-o", "size=4k", "tmpfs")
    (full / "filler").write_bytes(bytes(4096))
    bundle.args("true").write()
    result = runtime("--log", full / "log", "--debug", "run", "--bundle", bundle.path, runtime.new_id())
    assert result.code == 0, result
    assert not (full / "log").exists() or (full / "log").stat().st_size == 0


@pytest.mark.parametrize("command", ["create", "delete"])
def test_a_read_only_state_root(runtime: Runtime, bundle: Bundle, command: str) -> None:
    """The error names the whole path, and what was being done."""
    bundle.args("sleep", "1000").write()
    container = runtime.container(bundle)
    prefix = in_mounts(f"mount --bind {runtime.root} {runtime.root} && mount -o remount,bind,ro {runtime.root}")
    words = ("--bundle", str(bundle.path), "other") if command == "create" else (container.id,)
    result = runtime(command, *words, prefix=prefix)
    one_error(result)
    place = (
        f"{runtime.root}/other"
        if command == "create"
        else f"removing the state directory: {runtime.root}/{container.id}/"
    )
    assert f"{place}: read-only" in result.last_line if command == "create" else place in result.last_line
    assert "read-only file system" in result.last_line


def test_a_start_with_a_read_only_state_root(runtime: Runtime, bundle: Bundle) -> None:
    """The socket's file stays, which does no harm."""
    container = runtime.container(bundle.sh("echo started; sleep 1000"))
    prefix = in_mounts(f"mount --bind {runtime.root} {runtime.root} && mount -o remount,bind,ro {runtime.root}")
    assert runtime("start", container.id, prefix=prefix).code == 0
    host.wait_for("its output", lambda: container.output == "started\n")
    assert container.status == "running"
