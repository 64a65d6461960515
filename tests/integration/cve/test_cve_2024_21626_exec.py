"""CVE-2024-21626 for `exec`: a working directory that leads out of the root by a descriptor of the host, or one that
leaks into the process.

Seen to fail: test_no_foreign_descriptor with both close_range taken out (csrc/native.c, step_keep_fds); the others with
these and the check in step_chdir of csrc/steps_process.c taken out.
"""

from __future__ import annotations

import pytest

from tests.support.bundle import Bundle
from tests.support.runtime import Container, Runtime

# The caller has directories of the host open.
LEAKING = ["/bin/sh", "-c", 'exec 3</ 4</etc 7</ 8</etc; exec "$@"', "sh"]
THROUGH = ("self/fd/3", "self/fd/4", "self/fd/4/..", "1/../self/fd/3")
LOOK = ("sh", "-c", "cat etc/shadow ../etc/shadow ../../../../etc/hostname 2>/dev/null; pwd; echo ran")


@pytest.fixture
def box(runtime: Runtime, bundle: Bundle) -> Container:
    (bundle.rootfs / "work").symlink_to("/proc/self/fd/7")
    return runtime.started(bundle.args("sleep", "1000"))


@pytest.mark.parametrize("cwd", ["/work", *[f"/proc/self/fd/{number}" for number in range(3, 13)]])
def test_cwd_by_descriptor(box: Container, cwd: str) -> None:
    result = box.runtime("exec", "--cwd", cwd, box.id, *LOOK, prefix=LEAKING)
    # The init's own descriptor of the container's /proc may be entered: that is inside.
    assert result.code == 255 or result.out == "/proc\nran\n"
    assert "root:" not in result.out


@pytest.mark.own("1.1 has no such check")
@pytest.mark.parametrize("cwd", [f"/proc/{path}" for path in THROUGH])
def test_preserved_directory(box: Container, cwd: str) -> None:
    """Descriptors that are to be preserved are there, but the working directory may not lead through them."""
    result = box.runtime("exec", "--preserve-fds", "2", "--cwd", cwd, box.id, *LOOK, prefix=LEAKING)
    assert result.code == 255
    assert result.out == ""


@pytest.mark.purev2
@pytest.mark.parametrize("flags", [(), ("--user", "1000:1000")])
def test_no_foreign_descriptor(box: Container, flags: tuple[str, ...]) -> None:
    result = box.runtime("exec", *flags, box.id, "ls", "/proc/self/fd", prefix=LEAKING)
    assert result.out.split() == ["0", "1", "2", "3"]
