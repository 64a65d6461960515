"""critest of Kubernetes whole, under containerd 2, with controllers and systemd's cgroups: `make guest-critest`.

What it prints is shown with `PYTEST=-s`. Natively, `make critest` does it without controllers.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.engines import critest
from tests.engines.cri import SHIM
from tests.engines.guests import BROUGHT, Local, SystemdCri

pytestmark = pytest.mark.skipif(not (BROUGHT / "critest").exists(), reason="make guest-critest")

# Those that fail with every runtime, by a part of their names, and why.
EXPECTED = {"public image with digest should be pulled": "the digest is that of the real image, not of the stand-in"}

# In seconds; QEMU emulates every instruction.
SECONDS = 3000

# The tests that reach a limit of memory in a system call.
PANICS = ("--ginkgo.skip=OOM",)


@pytest.fixture(scope="module")
def machine() -> Iterator[Local]:
    """This machine with containerd and the registry."""
    machine = Local()
    machine.furnish()
    # User-Mode Linux has no nat in nf_tables, which the CNI plugin portmap needs.
    for name in ("iptables", "ip6tables"):
        machine.run("update-alternatives", "--set", name, f"/usr/sbin/{name}-legacy")
    SystemdCri.up(machine)
    critest.serve(machine, str(BROUGHT / "registry"))
    yield machine
    machine.kill(machine.pids("containerd"))


@pytest.mark.parametrize("runtime", ["pyrunc", SHIM, "runc"])
def test_critest(machine: Local, guest: str, runtime: str) -> None:
    more = PANICS if guest == "uml" else ()
    done = machine.run(*critest.words(runtime, *more), seconds=SECONDS)
    lines = critest.summary(done.out)
    print("\n".join(["", runtime, *lines]))
    assert any(line.startswith("Ran ") for line in lines), done.said[-3000:]
    failed = {line.strip() for line in lines if line.strip().startswith("[FAIL]")}
    unexpected = {line for line in failed if not any(name in line for name in EXPECTED)}
    assert not unexpected, done.out[-6000:]
