"""checkpoint and restore with controllers and systemd: a restored container has its limits and its unit again."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support import host
from tests.support.bundle import Bundle
from tests.support.checkpoints import (
    LOCAL,
    Checkpoints,
    assert_counts,
    count,
    counting,
    criu_command,
    free_port,
    is_listened_to,
)
from tests.support.runtime import Container, Runtime

pytestmark = pytest.mark.qemu("CRIU's check of the kernel fails in User-Mode Linux")

MIB = 1 << 20


def limits(container: Container) -> dict[str, str]:
    """The limits that the kernel sets to a container."""
    cgroup = Path("/sys/fs/cgroup") / host.cgroup_of(container.pid)[1:]
    return {name: (cgroup / name).read_text().strip() for name in ("memory.max", "pids.max", "cpu.max")}


@pytest.mark.parametrize("manager", ["cgroupfs", "systemd"])
def test_a_restored_container_has_its_limits(runtime: Runtime, bundle: Bundle, criu: Checkpoints, manager: str) -> None:
    flags = ["--systemd-cgroup"] if manager == "systemd" else []
    bundle.linux["resources"] = {
        "memory": {"limit": 256 * MIB},
        "cpu": {"quota": 80000, "period": 100000},
        "pids": {"limit": 50},
    }
    if flags:
        bundle.linux["cgroupsPath"] = f"system.slice:pyrunc:{runtime.token}"
    bundle.write()
    id = runtime.new_id()
    bundle.sh("exec 5>>/count; i=0; while :; do i=$((i+1)); echo $i >&5; sleep 0.05; done").write()
    result = runtime(*flags, "run", "--detach", "--bundle", bundle.path, id)
    assert result.code == 0, result
    container = Container(runtime, id, bundle, runtime.work / "none")
    wanted = limits(container)
    assert wanted["memory.max"] == str(256 * MIB)
    criu.dump(container)
    result = runtime(*flags, *criu.words(bundle), id)
    assert result.code == 0, result
    restored = Container(runtime, id, bundle, runtime.work / "none")
    assert limits(restored) == wanted
    if flags:
        assert host.cgroup_of(restored.pid) == f"/system.slice/pyrunc-{runtime.token}.scope"
    assert_counts(bundle)
    assert runtime("update", "--pids-limit", "40", id).code == 0
    assert limits(restored)["pids.max"] == "40"
    assert runtime("pause", id).code == 0
    assert restored.status == "paused"
    assert runtime("resume", id).code == 0
    assert_counts(bundle)


@pytest.mark.parametrize("mode", ["full", "soft", "ignore"])
def test_manage_cgroups_mode(runtime: Runtime, bundle: Bundle, criu: Checkpoints, mode: str) -> None:
    criu.dump(counting(runtime, bundle), "--manage-cgroups-mode", mode)
    container = criu.restore(bundle, "--manage-cgroups-mode", mode)
    assert_counts(bundle)
    assert host.cgroup_of(container.pid).rpartition("/")[2] == container.id


# The shell's variable of 800 KiB never changes. /before has its checksum; /after gets it once /check exists.
HOLDING = (
    "x=$(head -c 600000 /dev/urandom | base64 -w0); echo $x | md5sum > /before; exec 5>>/count; i=0; "
    "while :; do i=$((i+1)); echo $i >&5; "
    "if [ -e /check ]; then echo $x | md5sum > /sum; mv /sum /after; rm /check; fi; sleep 0.05; done"
)


def holding(runtime: Runtime, bundle: Bundle) -> Container:
    """A container that holds much memory, and counts."""
    container = runtime.started(bundle.sh(HOLDING))
    host.wait_for("the counter to begin", lambda: count(bundle) > 1)
    return container


def assert_holds(bundle: Bundle) -> None:
    """Assert that the memory is unchanged, and that the counter goes on."""
    assert_counts(bundle)
    (bundle.rootfs / "check").touch()
    host.wait_for("the sum", (bundle.rootfs / "after").exists)
    assert (bundle.rootfs / "after").read_text() == (bundle.rootfs / "before").read_text()
    (bundle.rootfs / "after").unlink()


def pages(images: Path) -> tuple[int, int]:
    """The bytes of memory in images, and the bytes of these on the disk: deduplicated pages are holes."""
    facts = [path.stat() for path in images.glob("pages-*.img")]
    return sum(fact.st_size for fact in facts), sum(fact.st_blocks * 512 for fact in facts)


@pytest.mark.parametrize("dedup", [False, True], ids=["", "auto-dedup"])
def test_pre_dumps_and_the_dump_that_builds_on_them(
    runtime: Runtime, bundle: Bundle, criu: Checkpoints, dedup: bool
) -> None:
    container = holding(runtime, bundle)
    criu.images.mkdir()
    places = [criu.images / name for name in ("first", "second", "last")]
    flags = ["--auto-dedup"] if dedup else []
    held: list[int] = []
    for number, place in enumerate(places):
        words = [*flags, "--parent-path", f"../{places[number - 1].name}"] if number else []
        words += ["--pre-dump"] if place != places[-1] else []
        result = runtime("checkpoint", "--image-path", place, *words, container.id)
        assert result.code == 0, result
        held.append(pages(place)[1])
        if place != places[-1]:
            assert container.status == "running"
            assert_counts(bundle)
    assert "container does not exist" in runtime("state", container.id).last_line
    whole, *later = [pages(place)[0] for place in places]
    assert whole > 800_000
    assert max(later) < whole // 2, "only what has changed since is in it"
    assert (pages(places[0])[1] < held[0]) is dedup
    result = runtime("restore", "-d", "--image-path", places[-1], "--bundle", bundle.path, *flags, runtime.new_id())
    assert result.code == 0, result
    assert_holds(bundle)
    # A restore with it frees the pages that it has read.
    assert (sum(pages(place)[1] for place in places) < 400_000) is dedup


def test_pages_that_come_when_they_are_wanted(runtime: Runtime, bundle: Bundle, criu: Checkpoints) -> None:
    """A lazy migration: the dump serves the pages, and the container runs elsewhere before they are there."""
    container = holding(runtime, bundle)
    port = free_port()
    reader, writer = os.pipe()
    dump = runtime.background(
        "checkpoint", "--lazy-pages", "--page-server", f"{LOCAL}:{port}", "--status-fd", str(writer), "--image-path",
        criu.images, container.id, pass_fds=(writer,),
    )  # fmt: skip
    os.close(writer)
    assert os.read(reader, 10) == b"\0", (runtime.work / "background.err").read_text()
    os.close(reader)
    stopped = count(bundle)
    assert pages(criu.images)[0] < 400_000, "the memory is not in the images"
    words = ("--page-server", "--address", LOCAL, "--port", str(port), "-D", criu.images, "-v4", "-o", "lazy.log")
    with criu_command(runtime, "lazy-pages", *words) as server:
        try:
            host.wait_for("the server of pages", (criu.images / "lazy-pages.socket").exists)
            # CRIU looks for that socket in its work directory.
            restored = criu.restore(bundle, "--lazy-pages", "--work-path", str(criu.images))
            host.wait_for("the counter to go on", lambda: count(bundle) > stopped)
            assert_holds(bundle)
            assert dump.wait(60) == 0, (runtime.work / "background.err").read_text()
            assert server.wait(60) == 0, (criu.images / "lazy.log").read_text()
        finally:
            server.kill()
    assert "uffd" in (criu.images / "lazy.log").read_text()
    assert "container does not exist" in runtime("state", container.id).last_line
    assert restored.status == "running"
    assert_holds(bundle)


def test_a_page_server_takes_the_memory(runtime: Runtime, bundle: Bundle, criu: Checkpoints) -> None:
    container = holding(runtime, bundle)
    taken = runtime.work / "pages"
    taken.mkdir()
    port = free_port()
    with criu_command(runtime, "page-server", "-D", taken, "--address", LOCAL, "--port", str(port)) as server:
        try:
            host.wait_for("the page server", lambda: is_listened_to(port))
            criu.dump(container, "--page-server", f"{LOCAL}:{port}")
            assert server.wait(60) == 0
        finally:
            server.kill()
    assert pages(criu.images) == (0, 0)
    assert pages(taken)[0] > 800_000
    for path in taken.iterdir():
        path.rename(criu.images / path.name)
    criu.restore(bundle)
    assert_holds(bundle)


def test_a_strict_mode_wants_cgroups_that_are_not_there(runtime: Runtime, bundle: Bundle, criu: Checkpoints) -> None:
    """The runtime makes the container's own cgroup before, as runc does."""
    criu.dump(counting(runtime, bundle), "--manage-cgroups-mode", "strict")
    assert "Abort restore of existing cgroups" in criu.refuse(bundle, "--manage-cgroups-mode", "strict").last_line
    criu.restore(bundle)
    assert_counts(bundle)
