"""Fixtures of the integration tests: they need root, and a mount namespace of their own."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support import host
from tests.support.bundle import BUSYBOX, Bundle, make_rootfs
from tests.support.checkpoints import Checkpoints, find
from tests.support.rootless import Delegated, RootlessRuntime, reachable
from tests.support.runtime import Runtime

CLONE_NEWNS = 0x00020000
MS_REC = 0x4000
MS_PRIVATE = 1 << 18
MS_SHARED = 1 << 20


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "own(why): only pyrunc behaves so; the reason says what runc 1.1 does")
    config.addinivalue_line("markers", "purev2: also run where /sys/fs/cgroup is a pure cgroup2 hierarchy")


def pytest_runtest_setup(item: pytest.Item) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root: the container's mounts and cgroup are made by the host's root")
    marker = item.get_closest_marker("own")
    other = os.environ.get("PYRUNC_TEST_RUNTIME", "")
    if marker is not None and other and not other.endswith("pyrunc"):
        pytest.skip(f"not of {other}: {marker.args[0]}")


@pytest.fixture(scope="session")
def private_mounts() -> None:
    """A mount namespace for the whole session, so that no mount of a test or of a faulty runtime reaches the host. Its
    mounts are shared, as on a host with systemd, so that tests see what propagates."""
    libc = ctypes.CDLL(None, use_errno=True)
    for what, result in (
        ("unshare", libc.unshare(CLONE_NEWNS)),
        ("making / private", libc.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None)),
        ("making / shared", libc.mount(b"none", b"/", None, MS_REC | MS_SHARED, None)),
    ):
        assert result == 0, f"{what}: {os.strerror(ctypes.get_errno())}"


@pytest.fixture(scope="session")
def session_directory() -> Iterator[Path]:
    # Not pytest's own directory: a user namespace's root must be able to enter this one, and paths must stay short.
    path = Path(tempfile.mkdtemp(prefix="pyrunc-test-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="session")
def rootfs_template(session_directory: Path) -> Path:
    if not os.path.exists(BUSYBOX):
        pytest.skip(f"needs {BUSYBOX} (package busybox-static)")
    path = session_directory / "template"
    make_rootfs(path)
    return path


@pytest.fixture
def runtime(session_directory: Path, rootfs_template: Path, private_mounts: None) -> Iterator[Runtime]:
    """The runtime's command. When the test ends, its containers are deleted and nothing may be left of them."""
    work = Path(tempfile.mkdtemp(prefix="pt", dir=session_directory))
    work.chmod(0o755)
    value = Runtime(work, rootfs_template)
    yield value
    value.close()
    shutil.rmtree(work, ignore_errors=True)


@pytest.fixture
def bundle(runtime: Runtime) -> Bundle:
    """A bundle of the test."""
    return runtime.bundle()


@pytest.fixture
def host_mount(runtime: Runtime) -> Iterator[Callable[..., Path]]:
    """A function that mounts on a new directory of the test and returns its path: `host_mount(name, *mount_args)`."""
    made: list[Path] = []

    def mount(name: str, *args: str) -> Path:
        path = runtime.work / name
        path.mkdir(exist_ok=True, parents=True)
        subprocess.run(["mount", *(args or ("-t", "tmpfs", "tmpfs")), str(path)], check=True)
        if "remount" not in " ".join(args):
            made.append(path)
        return path

    yield mount
    for path in reversed(made):
        subprocess.run(["umount", "-l", str(path)], check=True)


@pytest.fixture
def criu(runtime: Runtime) -> Checkpoints:
    """Dumps and restores by a real CRIU."""
    directory, reason = find()
    if reason:
        pytest.skip(reason)
    return Checkpoints(runtime, directory)


@pytest.fixture
def rootless(session_directory: Path, rootfs_template: Path, private_mounts: None) -> Iterator[RootlessRuntime]:
    """The runtime's command, run by an ordinary user. When the test ends nothing may be left of its containers."""
    work = Path(tempfile.mkdtemp(prefix="pt", dir=session_directory))
    work.chmod(0o755)
    value = RootlessRuntime(work, rootfs_template)
    reason = reachable(value)
    if reason:
        pytest.skip(reason)
    yield value
    value.close()
    shutil.rmtree(work, ignore_errors=True)


@pytest.fixture
def delegated(rootless: RootlessRuntime) -> Iterator[Delegated]:
    """A cgroup that is delegated to the user, below which the user's commands start."""
    if not host.cgroup2_mount():
        pytest.skip("needs a cgroup2 hierarchy")
    value = Delegated(rootless)
    yield value
    for id in rootless.ids:
        rootless("delete", "--force", id)
    value.remove()


@pytest.fixture
def record(runtime: Runtime, bundle: Bundle) -> Path:
    """A directory that is at the same path on the host and in the container: hooks of both sides write there."""
    path = runtime.work / "record"
    path.mkdir()
    bundle.mount(str(path), "bind", str(path), "bind")
    return path
