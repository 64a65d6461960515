"""compile_exec: which namespaces are joined, into which cgroup, and which steps are left out."""

from __future__ import annotations

import errno

import pytest

from pyrunc.errors import PyruncError
from pyrunc.libcontainer.compile.exec import Target
from pyrunc.libcontainer.plan.host import HostFacts
from tests.support.plans import compiled_exec, find, kinds, minimal, values, with_linux, with_process

ALL = ("mount", "pid", "network", "ipc", "uts", "user", "cgroup", "time")


def test_all_namespaces_of_the_container_are_joined_by_its_process_and_none_is_made() -> None:
    plan = compiled_exec(with_linux(*ALL[1:]))
    [first, _] = find(plan, "clone")
    assert values(first, "flags") == (0,)
    assert values(first, "join") == (tuple(f"{type}=container" for type in ALL),)
    [opened] = find(plan, "open_process")
    assert opened.args == ("container", 4321, 987654)
    assert not {"unshare", "enter_time", "loopback_up", "open_namespace"} & set(kinds(plan))


def test_the_namespaces_that_the_config_does_not_have_stay_the_caller_s() -> None:
    assert values(find(compiled_exec(minimal()), "clone")[0], "join") == (("mount=container",),)


def test_what_makes_a_container_is_not_done_again() -> None:
    spec = with_linux("network", netDevices={"eth0": {}}, sysctl={"net.ipv4.ip_forward": "1"}, maskedPaths=["/proc"])
    spec["hooks"] = {name: [{"path": "/hook"}] for name in ("createRuntime", "createContainer", "startContainer")}
    spec["hostname"] = "box"
    assert kinds(compiled_exec(spec)) == [
        "open_process", "clone", "clone", "set_nondumpable", "session_keyring", "cpu_affinity", "new_session",
        "stdio_owner", "chdir", "user", "umask", "find_executable", "keep_fds", "ready", "execute",
    ]  # fmt: skip


def test_the_cgroup_of_the_process_stands_in_for_one_that_is_gone_or_takes_no_processes() -> None:
    first, second = find(compiled_exec(minimal()), "clone")
    assert values(first, "cgroup") == ("/sys/fs/cgroup/box",)
    assert set(first.on_errno) == {errno.EBUSY, errno.ENODEV, errno.ENOENT}
    assert (values(second, "cgroup"), second.fallback_level) == (("/proc/4321/cgroup",), 1)


@pytest.mark.parametrize("target", [Target(1, 2, "/cg/sub", exact_cgroup=True), Target(1, 2)])
def test_no_cgroup_stands_in_for_one_that_was_named_or_for_none(target: Target) -> None:
    [clone] = find(compiled_exec(minimal(), target=target), "clone")
    assert values(clone, "cgroup") == (target.cgroup,)
    assert clone.on_errno == ()


def test_where_the_runtime_may_not_clone_the_user_s_systemd_moves_the_process() -> None:
    target = Target(1, 2, "/cg/x.scope/sub", exact_cgroup=True, unit="x.scope", subcgroup="/sub")
    plan = compiled_exec(with_linux("user"), target=target)
    [clone] = find(plan, "clone")
    assert values(clone, "cgroup") == ("",)
    assert [step.args for step in plan.served["cgroup"]] == [("x.scope", "/sub")]
    # No process of the container may see the new process before it is hidden, nor may it get its ids before it is
    # moved.
    assert [step.kind for step in plan.init[:3]] == ["set_nondumpable", "request", "become_root"]


def test_set_nondumpable_comes_before_all_that_the_container_could_look_at() -> None:
    assert compiled_exec(with_linux("user")).init[0].kind == "set_nondumpable"
    assert compiled_exec(with_linux("user")).init[1].kind == "become_root"


def test_without_a_mount_namespace_the_root_is_the_rootfs() -> None:
    spec = minimal()
    spec["linux"]["namespaces"] = [{"type": "pid"}]
    plan = compiled_exec(spec)
    assert [step.args for step in find(plan, "chroot")] == [("/bundle/rootfs",)]
    assert kinds(plan).index("chroot") < kinds(plan).index("chdir")


@pytest.mark.parametrize(
    ("affinity", "initial", "final"),
    [
        (None, None, ()),
        ({}, None, ()),
        ({"initial": "0-1,3"}, ("0", "1", "3"), None),
        ({"final": "2"}, None, ("2",)),
        ({"initial": "0", "final": "1-2"}, ("0",), ("1", "2")),
    ],
)
def test_cpu_affinity(
    affinity: dict[str, str] | None, initial: tuple[str, ...] | None, final: tuple[str, ...] | None
) -> None:
    spec = with_process(execCPUAffinity=affinity) if affinity is not None else minimal()
    plan = compiled_exec(spec)
    assert [step.args[0] for step in find(plan, "initial_cpu_affinity")] == ([] if initial is None else [initial])
    assert [step.args[0] for step in find(plan, "cpu_affinity")] == ([] if final is None else [final])


def test_the_container_s_user_namespace_tells_whether_groups_may_be_set() -> None:
    spec = with_linux("user")
    spec["process"]["user"]["additionalGids"] = [7]
    [user] = find(compiled_exec(spec), "user")
    assert values(user, "groups", "set_groups") == (("7",), 1)
    plan = compiled_exec(spec, HostFacts(setgroups=False))
    assert values(find(plan, "user")[0], "groups", "set_groups") == ((), 0)
    assert plan.warnings


def test_no_new_keyring() -> None:
    assert find(compiled_exec(minimal()), "session_keyring")
    from pyrunc.libcontainer.compile.exec import compile_exec
    from pyrunc.libcontainer.plan.options import ExecOptions

    options = ExecOptions(id="box")
    options.no_new_keyring = True
    assert not find(compile_exec(minimal(), Target(1, 2), options, HostFacts()), "session_keyring")


def test_a_pid_file_and_a_pidfd_socket_are_served_when_the_init_is_ready() -> None:
    plan = compiled_exec(minimal(), pid_file="/pid", pidfd_socket="/sock")
    assert [step.kind for step in plan.served["ready"]] == ["send_pidfd", "write_pid_file"]
    assert "await_start" not in kinds(plan)


def test_a_detached_terminal_needs_a_console_socket() -> None:
    with pytest.raises(PyruncError, match="cannot allocate tty if pyrunc will detach without setting console socket"):
        compiled_exec(with_process(terminal=True), detach=True)
    with pytest.raises(PyruncError, match="cannot use console socket if pyrunc will not detach or allocate tty"):
        compiled_exec(minimal(), console_socket="/s")
    plan = compiled_exec(with_process(terminal=True, consoleSize={"width": 3, "height": 4}))
    assert find(plan, "console")[0].args == ("/dev/pts/ptmx", 3, 4, 0)
