"""F13: the error of a failed clone names a cause only if pyrunc found it."""

from __future__ import annotations

import errno
import os
import posix
import subprocess
import sys
from pathlib import Path

import pytest

from pyrunc.libcontainer.kernel import native, privileges
from pyrunc.libcontainer.launch import clone_errors
from pyrunc.libcontainer.launch.model import Launch
from pyrunc.libcontainer.plan.model import LaunchPlan, Step
from tests.support.launches import launched

NEW = native.CLONE_NEWUSER | native.CLONE_NEWUTS | native.CLONE_NEWPID


def failed(number: int, call: str = "clone3", index: int = 0) -> native.CloneError:
    error = native.CloneError(number, os.strerror(number))
    error.call, error.index = call, index
    return error


@pytest.fixture
def launch(tmp_path: Path) -> Launch:
    """A launch whose cgroup2 hierarchy is a directory, with the cgroups /a and /a/b."""
    made = launched(tmp_path)
    made.facts.cgroup_mount = str(tmp_path / "cgroup")
    made.facts.cgroup_self = "/a/own"
    (tmp_path / "cgroup/a/b").mkdir(parents=True)
    (tmp_path / "cgroup/a/own").mkdir()
    return made


def hint(launch: Launch, number: int, flags: int = NEW, cgroup: str = "/a/b") -> str:
    return clone_errors.explain(launch, failed(number), flags, launch.facts.cgroup_mount + cgroup, ()).hint


def write(launch: Launch, **files: str) -> None:
    """Write control files of /a/b, or of /a if the name begins with `a_`; two underscores stand for a dot."""
    for name, text in files.items():
        above = name.startswith("a_")
        folder = Path(launch.facts.cgroup_mount) / ("a" if above else "a/b")
        (folder / name.removeprefix("a_").replace("__", ".")).write_text(text)


ERRNOS = (
    errno.EPERM, errno.EACCES, errno.ENOSPC, errno.EAGAIN, errno.ENOMEM, errno.E2BIG, errno.EBUSY, errno.ESRCH,
    errno.EINVAL, errno.EUSERS, errno.ENODEV,
)  # fmt: skip


@pytest.mark.parametrize("number", ERRNOS)
def test_nothing_found_is_nothing_said(launch: Launch, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    monkeypatch.setattr(clone_errors, "capabilities", lambda: ~0)
    monkeypatch.setattr(posix, "access", lambda *args, **more: True)
    write(launch, cpuset__cpus__effective="0-1\n", pids__max="max\n", pids__current="3\n")
    write(launch, memory__max="max\n", memory__current="0\n", cgroup__subtree_control="\n")
    assert hint(launch, number) == ""


def test_a_kill_at_birth_is_told_as_such(launch: Launch) -> None:
    error = clone_errors.explain(launch, failed(errno.ESRCH, native.KILLED), 0, "", ())
    assert (error.message, error.errno, error.hint) == (native.KILLED, 0, "")


def test_what_can_t_be_joined_is_named_with_its_path_s_pointer(launch: Launch) -> None:
    opened = Step("prepare", "open_namespace", ("namespace:network", "network", "/n"), "/linux/namespaces/4/path")
    launch.plan = LaunchPlan((opened,), (), {})
    join = ("user=namespace:user", "network=namespace:network")
    error = clone_errors.explain(launch, failed(errno.EINVAL, "setns", 1), 0, "", join)
    assert error.message == "joining the network namespace: setns"
    assert (error.pointer, error.hint) == ("/linux/namespaces/4/path", "")
    assert clone_errors.explain(launch, failed(errno.EINVAL, "setns", 0), 0, "", join).pointer == ""
    assert clone_errors.explain(launch, failed(errno.EIO, "execveat"), 0, "", ()).message == "execveat"


def test_eperm(launch: Launch, monkeypatch: pytest.MonkeyPatch) -> None:
    sysctls: dict[str, int] = {}
    monkeypatch.setattr(clone_errors, "capabilities", lambda: 0)
    monkeypatch.setattr(clone_errors, "sysctl", sysctls.get)
    assert hint(launch, errno.EPERM) == ""
    assert hint(launch, errno.EPERM, native.CLONE_NEWUTS) == "the runtime lacks CAP_SYS_ADMIN"
    monkeypatch.setattr(privileges, "sysctl", sysctls.get)
    sysctls["kernel/apparmor_restrict_unprivileged_userns"] = 1
    assert "AppArmor" in hint(launch, errno.EPERM)
    sysctls["kernel/unprivileged_userns_clone"] = 0
    assert "kernel.unprivileged_userns_clone is 0" in hint(launch, errno.EPERM)
    monkeypatch.setattr(clone_errors, "capabilities", lambda: ~0)
    assert hint(launch, errno.EPERM) == ""
    monkeypatch.setattr(clone_errors, "root_is_mount_point", lambda: False)
    assert "chroot" in hint(launch, errno.EPERM)


def test_eacces_of_a_cgroup_that_is_not_delegated(launch: Launch, monkeypatch: pytest.MonkeyPatch) -> None:
    for refused, said in (("/a/cgroup.procs", "/a/cgroup.procs"), ("/a/b/cgroup.procs", "/a/b/cgroup.procs")):
        path = launch.facts.cgroup_mount + refused
        monkeypatch.setattr(posix, "access", lambda file, *args, path=path, **more: file != path)
        assert f"this user may not write to {launch.facts.cgroup_mount}{said}" in hint(launch, errno.EACCES)


def test_enospc(launch: Launch, monkeypatch: pytest.MonkeyPatch) -> None:
    write(launch, cpuset__cpus__effective="\n")
    assert hint(launch, errno.ENOSPC) == "the cgroup's cpuset has no CPU that is there"
    write(launch, cpuset__cpus__effective="0\n")
    monkeypatch.setattr(clone_errors, "sysctl", {"user/max_uts_namespaces": 0}.get)
    assert hint(launch, errno.ENOSPC) == "the limit user.max_uts_namespaces (0) is reached"
    assert hint(launch, errno.ENOSPC, native.CLONE_NEWNET) == ""


def test_eagain(launch: Launch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clone_errors, "capabilities", lambda: ~0)
    write(launch, pids__max="9\n", pids__current="3\n", a_pids__max="5\n", a_pids__current="5\n")
    above = launch.facts.cgroup_mount + "/a"
    assert hint(launch, errno.EAGAIN) == f"the limit of 5 processes in pids.max of {above} is reached"
    write(launch, a_pids__max="max\n")
    assert hint(launch, errno.EAGAIN) == ""
    monkeypatch.setattr(clone_errors, "sysctl", {"kernel/pid_max": 1}.get)
    assert hint(launch, errno.EAGAIN) == "the limit kernel.pid_max (1) is reached"


def test_eagain_of_a_user_s_limit(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root, to be another user")
    code = (
        "import os, resource\nfrom pathlib import Path\nfrom pyrunc.libcontainer.launch import clone_errors\n"
        "from tests.support.launches import launched\nresource.setrlimit(resource.RLIMIT_NPROC, (1, 1))\n"
        "os.setgroups([])\nos.setresgid(61234, 61234, 61234)\nos.setresuid(61234, 61234, 61234)\n"
        f"print(clone_errors._too_many_processes(launched(Path({str(tmp_path)!r})), ''))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "this user's limit of 1 processes (RLIMIT_NPROC) is reached\n", done.stderr


@pytest.mark.parametrize("number", [errno.ENOMEM, errno.E2BIG])
def test_memory(launch: Launch, number: int) -> None:
    write(launch, memory__max="max\n", memory__current="0\n", a_memory__max="5000000\n", a_memory__current="4500000\n")
    assert hint(launch, number).startswith("memory limit too low? ")
    write(launch, a_memory__current="100000\n")
    assert hint(launch, number) == ""


def test_a_cgroup_without_processes(launch: Launch) -> None:
    write(launch, cgroup__subtree_control="pids\n", cgroup__type="domain invalid\n")
    assert "hands out controllers" in hint(launch, errno.EBUSY)
    assert "threaded mode" in hint(launch, errno.EOPNOTSUPP)
    write(launch, cgroup__subtree_control="\n", cgroup__type="domain\n")
    assert hint(launch, errno.EBUSY) == hint(launch, errno.EOPNOTSUPP) == ""


def test_a_pid_namespace_that_has_a_first_process() -> None:
    own = os.open("/proc/self/ns/pid", os.O_RDONLY)
    other = os.open("/proc/self/ns/uts", os.O_RDONLY)  # no process has this one as its pid namespace
    assert clone_errors.has_first_process(own)
    assert not clone_errors.has_first_process(other)
    os.close(own)
    os.close(other)
