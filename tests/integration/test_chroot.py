"""N3: the runtime in a chroot, whose mount namespace has another root above the runtime's own."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.bundle import Bundle
from tests.support.runtime import Runtime

pytestmark = pytest.mark.own("runc 1.1 starts the process of exec on the root of the host")

LOOK = "test -e /srv/file && test ! -e /usr && echo in the container"


@pytest.fixture
def chroot(runtime: Runtime) -> Iterator[Path]:
    """A mount of the host's whole tree, to be the root of a chroot."""
    path = runtime.work / "elsewhere"
    path.mkdir()
    subprocess.run(["mount", "--rbind", "/", path], check=True)
    subprocess.run(["mount", "--make-rprivate", path], check=True)
    yield path
    subprocess.run(["umount", "--lazy", path], check=True)


def host_mount_lines() -> list[str]:
    return Path("/proc/self/mountinfo").read_text().splitlines()


@pytest.mark.parametrize("flags", [[], ["--no-pivot"]])
@pytest.mark.parametrize("rerun", ["inside", "outside"])
def test_n3_exec_is_in_the_container(
    runtime: Runtime, bundle: Bundle, chroot: Path, flags: list[str], rerun: str
) -> None:
    """The container was made in the chroot; a process that enters its mount namespace begins at its root, and not
    above.
    """
    bundle.args("sleep", "1000").write()
    before = host_mount_lines()
    id, prefix = runtime.new_id(), ("chroot", str(chroot))
    made = runtime("run", "--detach", *flags, "--bundle", bundle.path, id, prefix=prefix)
    assert made.code == 0, made
    assert host_mount_lines() == before
    result = runtime("exec", id, "sh", "-c", LOOK, prefix=prefix if rerun == "inside" else ())
    assert (result.code, result.out) == (0, "in the container\n"), result
    pid = str(runtime.state(id)["pid"])
    entered = subprocess.run(
        ["nsenter", "--target", pid, "--mount", "/bin/sh", "-c", LOOK], check=True, capture_output=True, text=True
    )
    assert entered.stdout == "in the container\n"
    assert runtime("delete", "--force", id, prefix=prefix).code == 0
    assert host_mount_lines() == before


def test_n3_nothing_of_the_host_is_above_the_container(runtime: Runtime, bundle: Bundle, chroot: Path) -> None:
    """A process that leaves a chroot of its own finds no mount of the host."""
    bundle.args("sleep", "1000").write()
    id, prefix = runtime.new_id(), ("chroot", str(chroot))
    assert runtime("run", "--detach", "--bundle", bundle.path, id, prefix=prefix).code == 0
    result = runtime("exec", id, "cat", "/proc/self/mountinfo")
    points = [line.split()[4] for line in result.out.splitlines()]
    assert points[0] == "/"
    assert set(points) == {"/", "/proc", "/dev", "/dev/pts"}


def test_n3_a_root_that_is_no_mount_point(runtime: Runtime, bundle: Bundle, chroot: Path) -> None:
    """The kernel can't change the propagation of a directory that is no mount point. The hint is pivot_root."""
    inner = runtime.work / "inner"
    inner.mkdir()
    for source in Path("/").iterdir():  # all of them: the checkout and its Python may be below any
        target = inner / source.name
        if source.is_symlink():
            target.symlink_to(source.readlink())
        elif source.is_dir():
            target.mkdir()
            subprocess.run(["mount", "--rbind", source, target], check=True)
            subprocess.run(["mount", "--make-rprivate", target], check=True)
    try:
        bundle.args("true").write()
        result = runtime("run", "--bundle", bundle.path, runtime.new_id(), prefix=("chroot", str(inner)))
    finally:
        for mount in reversed([line.split()[4] for line in host_mount_lines()]):
            if mount.startswith(f"{inner}/"):
                subprocess.run(["umount", "--lazy", mount], check=False)
    assert result.code == 1
    assert "pivot_root" in result.last_line, result


def test_n3_a_process_in_a_chroot_of_its_own(runtime: Runtime, bundle: Bundle) -> None:
    """exec begins at the container's root, as with runc, and not at the root that the container's process has
    chosen.
    """
    (bundle.rootfs / "srv/bin").mkdir()
    (bundle.rootfs / "srv/bin/busybox").hardlink_to(bundle.rootfs / "bin/busybox")
    container = runtime.started(bundle.args("/bin/busybox", "chroot", "/srv", "/bin/busybox", "sleep", "1000"))
    result = runtime("exec", container.id, "sh", "-c", LOOK)
    assert result.out == "in the container\n", result
