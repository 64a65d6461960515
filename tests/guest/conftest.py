"""The guest's tests: systemd is up, and cgroup2 is the only hierarchy and has its controllers. `make test-guest` runs
them.

They have the fixtures of the integration tests: `runtime`, `bundle`, `host_mount`, `criu`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from tests.integration.conftest import (
    bundle,
    criu,
    delegated,
    host_mount,
    private_mounts,
    rootfs_template,
    rootless,
    runtime,
    session_directory,
)

__all__ = [
    "bundle", "criu", "delegated", "host_mount", "private_mounts", "rootfs_template", "rootless", "runtime",
    "session_directory",
]  # fmt: skip

HERE = Path(__file__).resolve().parent

# The kind of this machine: "uml", "qemu", or "" if it is not a guest.
GUEST = os.environ.get("PYRUNC_GUEST", "")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "qemu(why): needs what User-Mode Linux lacks: make test-guest GUEST=qemu")


def pytest_runtest_setup(item: pytest.Item) -> None:
    if not GUEST:
        pytest.skip("of the guest: make test-guest")
    marker = item.get_closest_marker("qemu")
    if marker is not None and GUEST != "qemu":
        pytest.skip(f"make test-guest GUEST=qemu: {marker.args[0]}")


@pytest.fixture
def record(pytestconfig: pytest.Config) -> Callable[[Mapping[str, str]], None]:
    """A function whose argument the host keeps, even if the guest does not finish: scripts/guest/run.py."""
    capture = pytestconfig.pluginmanager.getplugin("capturemanager")

    def record(result: Mapping[str, str]) -> None:
        with capture.global_and_fixture_disabled():
            print(f"\npyrunc-guest: result {json.dumps(result)}", flush=True)

    return record


@pytest.fixture(scope="session")
def guest() -> str:
    """The kind of this machine: "uml" or "qemu"."""
    return GUEST
