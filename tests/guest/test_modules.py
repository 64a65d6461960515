"""Limits that need a module of the kernel: weights of I/O by BFQ, and RDMA handles of an emulated device."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.support import host
from tests.support.bundle import Bundle
from tests.support.runtime import Container, Runtime

pytestmark = pytest.mark.qemu("User-Mode Linux has neither BFQ's groups nor RDMA")

ROOT = Path("/sys/fs/cgroup")


def cgroup(container: Container) -> Path:
    """The directory of a live container's cgroup."""
    return ROOT / host.cgroup_of(container.pid)[1:]


@pytest.mark.parametrize("weight", [10, 1000])
def test_a_weight_is_bfq_s_where_the_kernel_has_it(runtime: Runtime, bundle: Bundle, weight: int) -> None:
    subprocess.run(["modprobe", "bfq"], check=True)
    bundle.linux["resources"] = {"blockIO": {"weight": weight}}
    assert (cgroup(runtime.container(bundle)) / "io.bfq.weight").read_text() == f"default {weight}\n"


@pytest.fixture(scope="module")
def rxe() -> Path:
    """An RDMA device in software, rxe0; its device node. It stays, since nothing in a guest outlives the run."""
    commands = ["modprobe ib_uverbs", "modprobe rdma_rxe", "ip link add rxenet type dummy", "ip link set rxenet up"]
    for command in [*commands, "rdma link add rxe0 type rxe netdev rxenet"]:
        subprocess.run(command.split(), check=True)
    return Path("/dev/infiniband/uverbs0")


# The kernel's command to open a context, which takes a handle: IB_USER_VERBS_CMD_GET_CONTEXT of ib_user_verbs.h.
OPEN_CONTEXTS = """
import ctypes, os, struct
for number in range(2):
    fd = os.open("/dev/infiniband/uverbs0", os.O_RDWR)
    answer = ctypes.create_string_buffer(64)
    try:
        os.write(fd, struct.pack("=IHHQ", 0, 4, 2, ctypes.addressof(answer)))
        print("open")
    except OSError as error:
        print(error.strerror)
"""


@pytest.mark.parametrize(("handles", "told"), [(1, ["open", "refused"]), (2, ["open", "open"])])
def test_rdma_handles(runtime: Runtime, bundle: Bundle, rxe: Path, handles: int, told: list[str]) -> None:
    number = host.wait_for("its node", lambda: rxe.exists() and rxe.stat().st_rdev)
    for name in ("usr", "lib", "lib64"):
        (bundle.rootfs / name).mkdir(exist_ok=True)
        bundle.mount("/" + name, "bind", "/" + name, "rbind", "ro")
    major, minor = number >> 8, number & 0xFF
    bundle.linux["devices"] = [{"path": str(rxe), "type": "c", "major": major, "minor": minor, "fileMode": 0o666}]
    bundle.linux["resources"] = {
        "rdma": {"rxe0": {"hcaHandles": handles}},
        "devices": [{"allow": True, "access": "rwm"}],
    }
    bundle.args("/usr/bin/python3", "-I", "-S", "-c", OPEN_CONTEXTS)
    out = runtime.run(bundle).out.splitlines()
    assert [line if line == "open" else "refused" for line in out] == told, out
    container = runtime.container(bundle)
    assert f"rxe0 hca_handle={handles} hca_object=max" in (cgroup(container) / "rdma.max").read_text()
