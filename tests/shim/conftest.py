"""Fixtures of the shim's tests. They run inside (`make test-shim`), or are skipped."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.shim import shims
from tests.shim.inside import MARK
from tests.support.bundle import make_rootfs


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "ours(why): only pyrunc's shim behaves so; the reason says what the Go shim does"
    )


def pytest_runtest_setup(item: pytest.Item) -> None:
    if MARK not in os.environ:
        pytest.skip("needs namespaces of its own: make test-shim")
    marker = item.get_closest_marker("ours")
    if marker is not None and not shims.is_ours():
        pytest.skip(f"not of the Go shim: {marker.args[0]}")


@pytest.fixture(scope="session")
def template() -> Iterator[Path]:
    """A root file system to copy."""
    directory = Path(tempfile.mkdtemp(prefix="t", dir="/run"))
    directory.chmod(0o755)
    make_rootfs(directory / "rootfs")
    yield directory / "rootfs"
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def place(template: Path) -> Iterator[shims.Place]:
    """A directory with a short path, for sockets, and the shims in it."""
    work = Path(tempfile.mkdtemp(prefix="s", dir="/run"))
    work.chmod(0o755)  # a user namespace's root enters it
    value = shims.Place(work, template)
    yield value
    value.close()
    shutil.rmtree(work, ignore_errors=True)
