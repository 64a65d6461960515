"""CVE-2024-21626: a descriptor of the host that leaks into the init, and a working directory /proc/self/fd/N, put the
process outside of its root.

The init has none of the caller's descriptors open, follows no magic links on the way to the working directory, and
checks the working directory after chdir.

Seen to fail: test_no_foreign_descriptor with both close_range taken out (csrc/native/clone.c, step_keep_fds); the
others with step_make_cwd of csrc/init/steps_rootfs.c and the check in step_chdir of csrc/init/steps_process.c taken
out.
"""

from __future__ import annotations

import pytest

from tests.support.bundle import Bundle
from tests.support.runtime import Runtime

# The caller has directories of the host open.
LEAKING = ["/bin/sh", "-c", 'exec 3</ 4</etc 7</ 8</etc; exec "$@"', "sh"]
LOOK = "cat etc/shadow ../etc/shadow ../../etc/shadow ../../../../etc/hostname 2>/dev/null; pwd; echo ran"


@pytest.mark.parametrize("number", range(3, 13))
def test_cwd_by_descriptor(runtime: Runtime, bundle: Bundle, number: int) -> None:
    bundle.process["cwd"] = f"/proc/self/fd/{number}"
    result = runtime.run(bundle.sh(LOOK), ok=False, prefix=LEAKING)
    assert result.code != 0
    assert "ran" not in result.out
    runtime.assert_nothing_left()


@pytest.mark.own("1.1 has no such check")
@pytest.mark.parametrize("flags", [(), ("--no-pivot",)])
def test_preserved_directory(runtime: Runtime, bundle: Bundle, flags: tuple[str, ...]) -> None:
    """The preserved descriptors are there, but the working directory may not lead through them."""
    bundle.process["cwd"] = "/proc/self/fd/3"
    result = runtime.run(bundle.sh(LOOK), "--preserve-fds", "2", *flags, ok=False, prefix=LEAKING)
    assert result.code != 0
    assert "ran" not in result.out
    runtime.assert_nothing_left()


def test_symlink_of_the_image_to_a_descriptor(runtime: Runtime, bundle: Bundle) -> None:
    (bundle.rootfs / "work").symlink_to("/proc/self/fd/7")
    bundle.process["cwd"] = "/work"
    result = runtime.run(bundle.sh(LOOK), ok=False, prefix=LEAKING)
    assert "ran" not in result.out
    assert result.code != 0


@pytest.mark.purev2
def test_no_foreign_descriptor(runtime: Runtime, bundle: Bundle) -> None:
    result = runtime.run(bundle.sh("ls /proc/self/fd"), prefix=LEAKING)
    assert result.out.split() == ["0", "1", "2", "3"]
