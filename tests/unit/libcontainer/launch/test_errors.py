"""The report of a failed step: runc's words first, then the step, the pointer and a hint."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import pytest

from pyrunc.errors import INIT_FAILED, START_FAILED, PyruncError
from pyrunc.libcontainer.launch import errors as launch_errors
from pyrunc.libcontainer.plan.model import Step

MOUNT = Step("rootfs", "mount", ("proc", "proc", "/proc", (), 0, 0, 0, 0, 0, 0), "/mounts/0")
HOOK = Step("start", "container_hook", ("startContainer", 1, "/h", (), (), 0, "", ""), "/hooks/startContainer/1")
EXECUTE = Step("start", "execute", (("/run.sh",), ()), "/process/args")


def test_runc_s_words() -> None:
    assert INIT_FAILED == "unable to start container process: error during container init: "
    line = launch_errors.init_step_failed(EXECUTE, errno.ENOENT, "exec /run.sh").line()
    assert line.startswith(INIT_FAILED + "exec /run.sh: no such file or directory (step execute, at /process/args; ")
    line = launch_errors.init_step_failed(MOUNT, errno.EPERM, "fsmount").line()
    assert line.startswith(INIT_FAILED + 'error mounting "proc" to rootfs at "/proc": fsmount: operation not permitted')
    line = launch_errors.init_step_failed(HOOK, 0, "exit status 1").line()
    assert line.startswith(INIT_FAILED + "error running startContainer hook #1: exit status 1 (step container_hook")


def test_an_error_before_the_first_step() -> None:
    assert (
        launch_errors.init_step_failed(None, errno.EINVAL, "the plan").line()
        == INIT_FAILED + "the plan: invalid argument"
    )


def test_a_step_of_the_runtime_keeps_what_its_error_knows() -> None:
    step = Step("prepare", "open_source", ("source:0", "/data", 1), "/mounts/3")
    error = launch_errors.runtime_step_failed(step, OSError(errno.ENOENT, "x"), START_FAILED)
    assert error.line() == (
        START_FAILED + "open_source /data: no such file or directory "
        "(step open_source, at /mounts/3; does the mount's source exist?)"
    )
    known = PyruncError("said", pointer="/a", errno=errno.EBUSY, hint="do that")
    error = launch_errors.runtime_step_failed(step, known, "")
    assert (error.message, error.pointer, error.errno, error.hint) == ("said", "/a", errno.EBUSY, "do that")
    assert error.step == "open_source"
    assert launch_errors.runtime_step_failed(Step("prepare", "cgroup_x", ()), known, "").pointer == "/a"


def test_a_step_without_a_path_is_named_by_its_kind() -> None:
    clone = Step("clone", "clone", (0, "", ()), "/linux/namespaces")
    error = launch_errors.runtime_step_failed(clone, OSError(errno.ENOSPC, "x"), START_FAILED)
    assert error.message == START_FAILED + "clone"
    assert error.hint == "", "F13: nothing was looked at"


def of_execute(args: tuple[str, ...], env: tuple[str, ...]) -> PyruncError:
    step = Step("start", "execute", (args, env), "/process/args")
    return launch_errors.init_step_failed(step, errno.E2BIG, "exec /a")


@pytest.mark.parametrize(
    ("args", "env", "pointer"),
    [
        (("/a", "x" * 131_072), ("A=1",), "/process/args/1"),
        (("/a",), ("A=1", "B=" + "\xe9" * 66_000), "/process/env/1"),
        (("/a",), ("A=1",) * 1_000_000, "/process/env"),
        (("/a", *("x" * 100_000,) * 70), ("A=1",) * 1000, "/process/args"),
    ],
)
def test_what_is_too_long_for_execve_is_named(args: tuple[str, ...], env: tuple[str, ...], pointer: str) -> None:
    error = of_execute(args, env)
    assert error.pointer == pointer
    assert "131071 bytes" in error.hint


def test_start_knows_only_the_beginnings_of_what_is_too_long() -> None:
    outline: Any = (["/a"], ["A=" + "x" * 200_000])
    step = Step("start", "execute", outline, "/process/args")
    error = launch_errors.init_step_failed(step, errno.E2BIG, "exec /a")
    assert (error.pointer, "131071 bytes" in error.hint) == ("/process/args", True)


def test_too_many_mounts_are_no_full_disk() -> None:
    assert "/proc/sys/fs/mount-max" in launch_errors.init_step_failed(MOUNT, errno.ENOSPC, "move_mount /x").hint
    assert launch_errors.init_step_failed(MOUNT, errno.ENOSPC, "mkdir /x").hint == ""


def test_hints_that_would_be_false_are_not_given() -> None:
    user = Step("process", "user", (0, 0, (), 1), "/process/user")
    assert "at most 65536" in launch_errors.init_step_failed(user, errno.EINVAL, "setgroups: too many groups").hint
    assert "not mapped" in launch_errors.init_step_failed(user, errno.EINVAL, "setgroups").hint
    hook = Step("rootfs", "runtime_hook", ("createRuntime", 0, "/bin/true", ("a",), None, 0), "/hooks/createRuntime/0")
    begun = "error running createRuntime hook #0: exit status 1, stdout: , stderr: x: fork/exec /bin/true: no"
    assert launch_errors.runtime_step_failed(hook, PyruncError(begun), "").hint.startswith("the hook began")
    message = "error running createRuntime hook #0: fork/exec /bin/true: argument list too long"
    assert launch_errors.runtime_step_failed(hook, PyruncError(message), "").hint == ""


@pytest.mark.parametrize(("code", "status", "text"), [(1, 5, "status 5"), (2, 9, "signal 9"), (3, 11, "signal 11")])
def test_an_init_that_died(code: int, status: int, text: str) -> None:
    error = launch_errors.init_died(code, status)
    assert text in error.line()
    assert error.hint == "", "F3: nothing was looked at"


@pytest.mark.parametrize(
    ("listener", "names", "expected"),
    [
        ("", ["execve", "sendmsg"], "linux.seccomp refuses execve (SCMP_ACT_ERRNO): its profile must allow it"),
        ("/a", ["execve", "sendmsg"], "linux.seccomp refuses sendmsg (SCMP_ACT_ERRNO): its profile must allow it"),
        ("/a", ["execve"], "linux.seccomp refuses execve (SCMP_ACT_ERRNO): its profile must allow it"),
        ("", ["sendmsg"], "linux.seccomp refuses sendmsg (SCMP_ACT_ERRNO): its profile must allow it"),
        ("/a", ["mkdir"], ""),
    ],
)
def test_an_init_that_can_tell_nothing(listener: str, names: list[str], expected: str) -> None:
    """The filter refuses what it tells its errors by."""
    profile: Any = {
        "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": names, "action": "SCMP_ACT_ERRNO"}],
        "listenerPath": listener,
    }  # fmt: skip
    error = launch_errors.init_died(1, 1, profile=profile)
    assert (error.hint, error.pointer) == (expected, "/linux/seccomp/syscalls/0" if expected else "")


def limit(file: str, value: str) -> Step:
    return Step("prepare", "cgroup_limit", (file, value, 0), "/linux/resources/x")


def test_a_refused_limit_is_told_with_its_value_and_a_cure() -> None:
    error = launch_errors.runtime_step_failed(limit("cpu.max", "5 100"), OSError(errno.EINVAL, "x"), "")
    assert error.line() == (
        'writing "5 100" to cpu.max: invalid argument (step cgroup_limit, at /linux/resources/x; '
        "a quota is at least 1000 microseconds, a period 1000 to 1000000)"
    )


@pytest.mark.parametrize(
    ("file", "number", "hint"),
    [
        ("cpu.max.burst", errno.EINVAL, "at most the quota"),
        ("cpuset.mems", errno.ERANGE, "memory node"),
        ("io.max", errno.ENODEV, "no disk"),
        ("io.weight", errno.ENOENT, "neither BFQ nor io.cost"),
        ("io.weight", errno.EOPNOTSUPP, "io.cost is not enabled"),
        ("hugetlb.4MB.max", errno.ENOENT, "/sys/kernel/mm/hugepages"),
        ("memory.swap.max", errno.ENOENT, "swap"),
        ("rdma.max", errno.EINVAL, "RDMA device"),
        ("misc.other", errno.ENOENT, "no such control file"),
        ("misc.max", errno.EINVAL, "does not take"),
        ("memory.max", errno.EACCES, "not delegated"),
    ],
)
def test_the_cure_depends_on_the_file(file: str, number: int, hint: str) -> None:
    assert hint in launch_errors.runtime_step_failed(limit(file, "1"), OSError(number, "x"), "").hint


def test_an_oom_kill_is_told(tmp_path: Path) -> None:
    (tmp_path / "memory.events").write_text("oom 1\noom_kill 1\n")
    error = launch_errors.init_died(2, 9, str(tmp_path))
    assert error.message == START_FAILED + "container init was OOM-killed (memory limit too low?)"
    assert error.pointer == "/linux/resources/memory"
    error = launch_errors.init_step_failed(HOOK, 0, "signal 9", str(tmp_path))
    assert error.message.endswith(
        "error running startContainer hook #1: container init was OOM-killed (memory limit too low?): signal 9"
    )
    (tmp_path / "memory.events").write_text("oom 1\noom_kill 0\n")
    assert "signal 9" in launch_errors.init_died(2, 9, str(tmp_path)).message
    assert "OOM" not in launch_errors.init_step_failed(HOOK, 0, "signal 9", str(tmp_path)).message


def test_a_hook_that_a_signal_ended_in_go_s_words() -> None:
    line = launch_errors.init_step_failed(HOOK, 0, "killed by signal 31 after 0.010 s, stdout: , stderr: ").line()
    assert "error running startContainer hook #1: signal: bad system call after 0.010 s, stdout: , stderr:" in line
    assert "printed nothing" in line
    assert launch_errors.signal_named("killed by signal 6 (core dumped) after") == "signal: aborted (core dumped) after"
    assert launch_errors.signal_named("killed by signal x") == "killed by signal x"


def test_what_a_hook_of_the_init_prints_steers_no_terminal() -> None:
    message = launch_errors.init_step_failed(
        HOOK, 0, "exit status 1 after 0.010 s, stdout: , stderr: a\x1b[31m\n\u202eb\r"
    ).message
    assert message.endswith("stderr: a\\x1b[31m \\u202eb")


def test_an_init_that_is_lost_while_starting(tmp_path: Path) -> None:
    assert (
        launch_errors.init_vanished("", False, 0, 0).message
        == INIT_FAILED + "the init was killed before it executed the program"
    )
    (tmp_path / "memory.events").write_text("oom 1\noom_kill 1\n")
    assert launch_errors.init_vanished("", True, 0, 0).pointer == "/linux/seccomp"
    error = launch_errors.init_vanished(str(tmp_path), True, 0, 0)
    assert error.message == START_FAILED + "container init was OOM-killed (memory limit too low?)"
    assert error.pointer == "/linux/resources/memory"


def test_an_init_that_its_filter_ended() -> None:
    line = launch_errors.init_died(2, 31).line()
    assert "killed by signal 31 (at /linux/seccomp; the profile must allow execve" in line


@pytest.mark.parametrize(
    ("kind", "number", "bit"),
    [("oom_score_adj", errno.EACCES, 24), ("io_priority", errno.EPERM, 23), ("send_listener", errno.EPERM, 19)],
)
def test_a_capability_is_named_where_it_lacks(
    monkeypatch: pytest.MonkeyPatch, kind: str, number: int, bit: int
) -> None:
    """F13: the errno has other causes too."""
    from pyrunc.libcontainer.kernel import privileges

    for held, said in ((0, True), (1 << bit, False)):
        monkeypatch.setattr(privileges, "capabilities", lambda held=held: held)
        error = launch_errors.runtime_step_failed(Step("process", kind, ()), PyruncError("x", errno=number), "")
        assert bool(error.hint) == said


def test_a_chroot_is_named_in_a_chroot(monkeypatch: pytest.MonkeyPatch) -> None:
    """F13: EINVAL for another reason."""
    from pyrunc.libcontainer.kernel import privileges

    for mounted in (True, False):
        monkeypatch.setattr(privileges, "root_is_mount_point", lambda mounted=mounted: mounted)
        error = launch_errors.init_step_failed(Step("rootfs", "propagation", (0, 0)), errno.EINVAL, "mount_setattr /")
        assert ("chroot" in error.hint) != mounted
