"""CVE-2024-21626 for `exec`: a working directory that leads out of the root by a descriptor of the host, or one that
leaks into the process.

Seen to fail: test_no_foreign_descriptor with both close_range taken out (csrc/native/clone.c, step_keep_fds); the
others with these and the check in step_chdir of csrc/init/steps_process.c taken out; those of S3 with chdir(2) in place
of open_in_root there.
"""

from __future__ import annotations

import json
import os

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
    assert result.code == 255
    assert result.out == ""


@pytest.mark.own("1.1 has no such check")
@pytest.mark.parametrize("cwd", [f"/proc/{path}" for path in THROUGH])
def test_preserved_directory(box: Container, cwd: str) -> None:
    """The preserved descriptors are there, but the working directory may not lead through them."""
    result = box.runtime("exec", "--preserve-fds", "2", "--cwd", cwd, box.id, *LOOK, prefix=LEAKING)
    assert result.code == 255
    assert result.out == ""


# Links of /proc to descriptors and processes: `run` refuses them all.
MAGIC = (
    "/proc/self/fd/3", "/proc/thread-self/fd/3", "/proc/self/root", "/proc/self/cwd", "/proc/1/cwd", "/proc/1/root/tmp",
    "/tmp/link", "/tmp/link/..", "/tmp/through",
)  # fmt: skip


@pytest.mark.own("1.1 follows them where they do not lead out")
@pytest.mark.parametrize("user", [None, {"uid": 1000, "gid": 1000}])
@pytest.mark.parametrize("how", ["run", "exec", "process"])
@pytest.mark.parametrize("cwd", MAGIC)
def test_s3_no_link_of_proc_is_followed(
    runtime: Runtime, bundle: Bundle, how: str, cwd: str, user: dict[str, int] | None
) -> None:
    (bundle.rootfs / "tmp/link").symlink_to("/proc/1/cwd")
    (bundle.rootfs / "tmp/through").symlink_to("../proc/self/fd/3")
    if how == "run":
        bundle.process.update(cwd=cwd, user=user or {"uid": 0, "gid": 0})
        result = runtime.run(bundle.args("pwd"), ok=False)
    else:
        box = runtime.started(bundle.args("sleep", "1000"))
        if how == "exec":
            flags = ("--user", "1000:1000") if user else ()
            result = runtime("exec", *flags, "--cwd", cwd, box.id, "pwd")
        else:
            process = {"cwd": cwd, "args": ["pwd"], "env": ["PATH=/bin"], "user": user or {"uid": 0, "gid": 0}}
            (runtime.work / "process.json").write_text(json.dumps(process))
            result = runtime("exec", "--process", "process.json", box.id)
    assert result.code == (1 if how == "run" else 255)
    assert result.out == ""
    assert "too many levels of symbolic links" in result.last_line, result


@pytest.mark.parametrize("cwd", ["/proc", "/proc/self/net/..", "/proc/1", "/etc/../tmp", "/plain"])
def test_s3_other_links_and_directories_of_proc_are_entered(box: Container, cwd: str) -> None:
    (box.bundle.rootfs / "plain").symlink_to("/proc/sys")
    assert box.runtime("exec", "--cwd", cwd, box.id, "pwd").code == 0


def test_s3_a_directory_that_only_the_user_or_only_root_may_enter(box: Container) -> None:
    for name, owner in (("users", 1000), ("roots", 0)):
        (box.bundle.rootfs / name).mkdir(mode=0o700)
        os.chown(box.bundle.rootfs / name, owner, owner)
    for name, code in (("users", 0), ("roots", 0)):
        result = box.runtime("exec", "--user", "1000:1000", "--cwd", "/" + name, box.id, "true")
        assert result.code == code, result


@pytest.mark.purev2
@pytest.mark.parametrize("flags", [(), ("--user", "1000:1000")])
def test_no_foreign_descriptor(box: Container, flags: tuple[str, ...]) -> None:
    result = box.runtime("exec", *flags, box.id, "ls", "/proc/self/fd", prefix=LEAKING)
    assert result.out.split() == ["0", "1", "2", "3"]
