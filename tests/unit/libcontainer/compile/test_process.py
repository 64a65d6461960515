"""The phases process, ready and start."""

from __future__ import annotations

import errno
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyrunc.errors import PyruncError
from pyrunc.libcontainer.compile.process import environment
from pyrunc.libcontainer.plan.host import HostFacts
from tests.support.plans import compiled, find, kinds, minimal, values, with_linux, with_process


def test_the_whole_order() -> None:
    spec = with_process(
        user={"uid": 1, "gid": 1},
        env=["PATH=/bin"],
        noNewPrivileges=True,
        oomScoreAdj=1,
        rlimits=[{"type": "RLIMIT_CPU", "soft": 1, "hard": 2}],
        capabilities={},
    )
    order = [step.kind for step in compiled(spec).steps() if step.phase in ("process", "ready", "start")]
    assert order == [
        "cpu_affinity",
        "new_session",
        "stdio_owner",
        "rlimit",
        "oom_score_adj",
        "no_new_privileges",
        "bounding",
        "chdir",
        "user",
        "chdir",
        "capabilities",
        "ambient",
        "umask",
        "home",
        "find_executable",
        "keep_fds",
        "ready",
        "save_state",
        "await_start",
        "execute",
    ]


def test_the_user() -> None:
    plan = compiled(with_process(user={"uid": 7, "gid": 8, "additionalGids": [9, 10]}))
    assert values(find(plan, "user")[0], "uid", "gid", "groups", "set_groups") == (7, 8, ("9", "10"), 1)
    assert values(find(plan, "stdio_owner")[0], "uid") == (7,)


def test_groups_are_not_set_where_setgroups_is_denied() -> None:
    spec = with_process(user={"uid": 0, "gid": 0, "additionalGids": [5]})
    plan = compiled(spec, HostFacts(in_userns=True, setgroups=False))
    assert values(find(plan, "user")[0], "groups", "set_groups") == ((), 0)
    assert len(plan.warnings) == 1
    assert plan.warnings[0].startswith("/process/user/additionalGids: ")
    assert not compiled(minimal(), HostFacts(in_userns=True, setgroups=False)).warnings


def test_a_user_s_runtime_can_t_set_groups_with_one_gid() -> None:
    spec = with_process(user={"uid": 0, "gid": 0, "additionalGids": [0]})
    one = [{"containerID": 0, "hostID": 1000, "size": 1}]
    spec["linux"].update(namespaces=[{"type": "mount"}, {"type": "user"}], uidMappings=one, gidMappings=one)
    with pytest.raises(PyruncError, match="cannot set any additional groups in a rootless container") as caught:
        compiled(spec, HostFacts(euid=1000, egid=1000))
    assert caught.value.pointer == "/process/user/additionalGids"


@pytest.mark.parametrize(("user", "field"), [({"uid": 2, "gid": 0}, "uid"), ({"uid": 1, "gid": 1}, "gid")])
def test_an_id_that_the_runtime_s_own_user_namespace_does_not_have(user: dict[str, int], field: str) -> None:
    facts = HostFacts(in_userns=True, uid_map=((0, 1000, 2),), gid_map=((0, 1000, 1),))
    with pytest.raises(PyruncError, match=f"cannot set{field} to unmapped {field} {user[field]} in user") as caught:
        compiled(with_process(user=user), facts)
    assert caught.value.pointer == f"/process/user/{field}"


@pytest.mark.parametrize(
    ("user", "retried"),
    [
        ({"uid": 0, "gid": 0}, False),
        ({"uid": 5, "gid": 0}, True),
        ({"uid": 0, "gid": 5}, True),
        ({"uid": 0, "gid": 0, "additionalGids": [5]}, True),
    ],
)
def test_the_working_directory_may_be_the_user_s_only(user: dict[str, Any], retried: bool) -> None:
    plan = compiled(with_process(user=user, cwd="/home/x"))
    first, *second = find(plan, "chdir")
    assert first.args == ("/home/x",)
    assert first.on_errno == ((errno.EACCES, errno.EPERM) if retried else ())
    assert [(step.args, step.fallback_level) for step in second] == ([(("/home/x",), 1)] if retried else [])


@pytest.mark.parametrize(("umask", "mask"), [(None, 0o022), (0, 0), (0o77, 0o77)])
def test_umask(umask: int | None, mask: int) -> None:
    user = {"uid": 0, "gid": 0} if umask is None else {"uid": 0, "gid": 0, "umask": umask}
    step = find(compiled(with_process(user=user)), "umask")[0]
    assert step.args == (mask,)
    assert step.pointer == ("" if umask is None else "/process/user/umask")


def test_limits_are_set_by_the_init() -> None:
    spec = with_process(rlimits=[{"type": "RLIMIT_NOFILE", "soft": 3, "hard": 4}], oomScoreAdj=0)
    plan = compiled(spec)
    assert [(step.args, step.pointer) for step in find(plan, "rlimit")] == [((7, 3, 4), "/process/rlimits/0")]
    assert [step.args for step in find(plan, "oom_score_adj")] == [(0,)]
    assert not plan.served.keys() & {"limits", "maps"}


def test_limits_come_from_outside_of_a_user_namespace() -> None:
    spec = with_linux("user")
    spec["process"]["rlimits"] = [{"type": "RLIMIT_NOFILE", "soft": 3, "hard": 4}]
    plan = compiled(spec)
    assert [step.args for step in plan.served["limits"]] == [(7, 3, 4)]
    assert not find(plan, "rlimit")
    # late: a low limit of files would make the init's own steps fail
    assert kinds(plan).index("pivot_root") < kinds(plan).index("prlimit") < kinds(plan).index("user")


@pytest.mark.parametrize("value", [True, False])
def test_no_new_privileges(value: bool) -> None:
    assert bool(find(compiled(with_process(noNewPrivileges=value)), "no_new_privileges")) is value


@pytest.mark.parametrize(
    ("env", "expected", "has_home"),
    [
        ([], (), False),
        (["A=1", "B=2"], ("A=1", "B=2"), False),
        (["A=1", "B=2", "A=3"], ("B=2", "A=3"), False),
        (["A=", "B=x=y"], ("A=", "B=x=y"), False),
        (["HOME=/h"], ("HOME=/h",), True),
        (["HOME="], (), False),
        (["HOME=/h", "HOME="], (), False),
        (["HOME=", "HOME=/h"], ("HOME=/h",), True),
    ],
)
def test_environment(env: list[str], expected: tuple[str, ...], has_home: bool) -> None:
    assert environment(env) == (expected, has_home)


@pytest.mark.parametrize(
    ("entry", "reason"), [("A", "missing '='"), ("", "missing '='"), ("=x", "name cannot be empty")]
)
def test_environment_refuses(entry: str, reason: str) -> None:
    with pytest.raises(PyruncError) as caught:
        environment(["A=1", entry])
    assert caught.value.message == f"invalid environment variable: {reason}"
    assert caught.value.pointer == "/process/env/1"


@given(st.lists(st.from_regex(r"\A[ABH]=[xy]?\Z"), max_size=8))
def test_environment_keeps_the_last_of_each_name(env: list[str]) -> None:
    kept, _ = environment(env)
    assert [entry for index, entry in enumerate(env) if entry[:2] not in {later[:2] for later in env[index + 1 :]}] == [
        *kept
    ]


def test_home_is_looked_up_only_where_there_is_none() -> None:
    assert not find(compiled(minimal()), "home")
    assert [step.args for step in find(compiled(with_process(env=[], user={"uid": 3, "gid": 0})), "home")] == [(3,)]


def test_the_program_is_looked_for_in_the_process_s_path() -> None:
    plan = compiled(with_process(args=["sh", "-c", "x"], env=["PATH=/a", "XPATH=/no", "PATH=/b:/c"]))
    assert values(find(plan, "find_executable")[0], "name", "path") == ("sh", "/b:/c")
    assert values(find(plan, "execute")[0], "args", "env") == (("sh", "-c", "x"), ("XPATH=/no", "PATH=/b:/c"))


def test_without_a_path_nothing_is_searched() -> None:
    assert values(find(compiled(with_process(env=[])), "find_executable")[0], "path") == ("",)


@pytest.mark.parametrize(("command", "preserve", "soft"), [("create", 0, 3), ("create", 2, 5)])
def test_a_limit_of_files_that_leaves_none_for_the_start(command: Any, preserve: Any, soft: Any) -> None:
    def spec(number: Any) -> Any:
        return with_process(rlimits=[{"type": "RLIMIT_NOFILE", "soft": number, "hard": 1024}])

    with pytest.raises(PyruncError) as caught:
        compiled(spec(soft), command=command, preserve_fds=preserve)
    assert caught.value.pointer == "/process/rlimits/0/soft"
    assert compiled(spec(soft + 1), command=command, preserve_fds=preserve)
    assert compiled(spec(soft), preserve_fds=preserve)
