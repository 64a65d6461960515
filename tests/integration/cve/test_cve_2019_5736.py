"""CVE-2019-5736: a container must not be able to overwrite the runtime's program through /proc/PID/exe.

The init runs from a sealed memfd: its /proc/PID/exe is no file of the host, and nobody can write to it.

Seen to fail: with all seals but F_SEAL_SEAL left out of pyrunc_init_image in csrc/native/image.c.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from pathlib import Path

import pytest

from tests.support.bundle import Bundle
from tests.support.runtime import Runtime

F_GET_SEALS = 1034
ALL_SEALS = 0x1 | 0x2 | 0x4 | 0x8  # F_SEAL_SEAL, _SHRINK, _GROW, _WRITE


@pytest.mark.own("its init is another program")
def test_init_is_a_sealed_memfd(runtime: Runtime, bundle: Bundle) -> None:
    container = runtime.container(bundle.args("sleep", "1000"))
    assert os.readlink(f"/proc/{container.pid}/exe").startswith("/memfd:")
    fd = os.open(f"/proc/{container.pid}/exe", os.O_RDONLY)
    try:
        assert fcntl.fcntl(fd, F_GET_SEALS) & ALL_SEALS == ALL_SEALS
    finally:
        os.close(fd)


def test_write_from_inside_is_refused(runtime: Runtime, bundle: Bundle) -> None:
    """The attack: hold the init's program open, wait for its exec, then open it again for writing.

    The attacker has all capabilities that a container may be given, and the pid namespace of the waiting one."""
    victim = runtime.container(bundle.args("sleep", "1000"))
    program = Path(f"/proc/{victim.pid}/exe")
    before = hashlib.sha256(program.read_bytes()).hexdigest()
    attacker = runtime.bundle("attacker")
    everything = [*attacker.process["capabilities"]["bounding"], "CAP_SYS_PTRACE", "CAP_SYS_ADMIN"]
    for name in ("bounding", "permitted", "effective"):
        attacker.process["capabilities"][name] = everything
    attacker.namespace("pid", f"/proc/{victim.pid}/ns/pid")
    attacker.sh(
        "exec 9</proc/1/exe || exit 3; echo holding; while [ ! -e /tmp/go ]; do sleep 0.02; done; "
        "( echo pwned > /proc/self/fd/9 ) 2>&1; ( echo pwned >> /proc/self/fd/9 ) 2>&1; "
        "sha256sum < /proc/self/fd/9"
    )
    (attacker.rootfs / "bin/sha256sum").symlink_to("busybox")
    container = runtime.started(attacker)
    while "holding" not in container.output:
        assert container.status == "running", container.output
    victim.start()
    (attacker.rootfs / "tmp/go").touch()
    container.wait()
    # The program was neither written nor truncated.
    assert container.output.split()[-2] == before
    assert "pwned" not in container.output
    # runc's /proc/PID/exe is a read-only bind mount of itself, pyrunc's a sealed memfd.
    assert ("Operation not permitted" if runtime.is_own else "Read-only file system") in container.output


def test_exec_of_proc_self_exe_reaches_no_program_of_the_host(runtime: Runtime, bundle: Bundle) -> None:
    """The other half of the attack: an image whose program is /proc/self/exe."""
    ours = {os.stat(path).st_ino for path in (os.path.realpath(runtime.command[0]),) if os.path.exists(path)}
    bundle.args("/proc/self/exe", "-c", "import os; print('python of the host')")
    result = runtime.run(bundle, ok=False)
    assert "python of the host" not in result.out
    assert result.code != 0
    container = runtime.container(bundle.args("sleep", "1000"))
    assert os.stat(f"/proc/{container.pid}/exe").st_ino not in ours
