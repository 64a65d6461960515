from __future__ import annotations

import copy
from typing import Any

import pytest

from pyrunc.errors import PyruncError
from pyrunc.libcontainer.plan.host import HostFacts
from tests.support.plans import compiled, find, kinds, values, with_process
from tests.support.seccomp import allowing

SYS_ADMIN = 1 << 21
KILL = 1 << 5
NOTIFYING = {**allowing("SCMP_ACT_NOTIFY", "mkdir"), "listenerPath": "/agent", "listenerMetadata": "data"}
BOTH = ["CAP_KILL", "CAP_SYS_ADMIN"]


def spec(profile: dict[str, Any], **process: Any) -> Any:
    value = with_process(**process)
    value["linux"]["seccomp"] = copy.deepcopy(profile)
    return value


def capabilities(*names: str) -> dict[str, list[str]]:
    return {"effective": list(names), "permitted": list(names), "bounding": list(names)}


def flags(profile: dict[str, Any], **facts: Any) -> int:
    plan = compiled(spec(profile), HostFacts(**{"kernel": (6, 1), **facts}))
    number = find(plan, "seccomp")[0].arg("flags")
    assert isinstance(number, int)
    return number


def test_without_a_profile_there_is_no_step() -> None:
    nothing: tuple[dict[str, Any] | None, ...] = ({}, None)
    for profile in nothing:
        value = with_process()
        value["linux"]["seccomp"] = profile
        if profile is None:
            del value["linux"]["seccomp"]
        assert not [kind for kind in kinds(compiled(value)) if "seccomp" in kind]


def test_the_filter_is_compiled_before_all_else() -> None:
    profile = allowing("SCMP_ACT_ERRNO", "mkdir", "mkdir", "rmdir")
    step = compiled(spec(profile)).prepare[0]
    assert (step.kind, step.args, step.pointer) == (
        "compile_seccomp", ("seccomp", "SCMP_ACT_ALLOW", 2, 0), "/linux/seccomp",
    )  # fmt: skip


@pytest.mark.parametrize("no_new_privileges", [False, True])
def test_the_filter_is_loaded_after_the_start_and_before_the_hooks(no_new_privileges: bool) -> None:
    value = spec(
        allowing("SCMP_ACT_ERRNO", "mkdir"), noNewPrivileges=no_new_privileges, capabilities=capabilities("CAP_KILL")
    )
    value["hooks"] = {"startContainer": [{"path": "/hook"}]}
    order = kinds(compiled(value, command="create"))
    assert order.index("map_seccomp") < order.index("ready")
    dropped = [] if no_new_privileges else ["capabilities"]
    expected = ["await_start", "seccomp", *dropped, "container_hook", "execute"]
    assert order[order.index("await_start") :] == expected


@pytest.mark.parametrize("no_new_privileges", [False, True])
def test_a_filter_with_a_listener_is_loaded_before_ready(no_new_privileges: bool) -> None:
    value = spec(NOTIFYING, noNewPrivileges=no_new_privileges)
    plan = compiled(value, command="create")
    order = kinds(plan)
    assert order[order.index("keep_fds") :] == [
        "keep_fds", "map_seccomp", "seccomp", "send_listener", "ready", "save_state", "await_start", "execute",
    ]  # fmt: skip
    assert values(find(plan, "seccomp")[0], "flags", "notify") == (4 | 8, 1)
    [sent] = plan.served["seccomp"]
    assert (sent.args, sent.pointer) == (("/agent", "data"), "/linux/seccomp/listenerPath")


def capability_steps(value: dict[str, Any]) -> list[tuple[Any, ...]]:
    return [step.args for step in find(compiled(value), "capabilities")]


def test_sys_admin_lasts_until_the_filter_is_loaded() -> None:
    profile = allowing("SCMP_ACT_ERRNO", "mkdir")
    value = spec(profile, capabilities=capabilities("CAP_KILL"))
    held = (KILL | SYS_ADMIN, KILL | SYS_ADMIN, 0)
    assert capability_steps(value) == [held, (KILL, KILL, 0)]
    value["process"]["noNewPrivileges"] = True
    assert capability_steps(value) == [(KILL, KILL, 0)]


def test_sys_admin_of_the_configuration_stays() -> None:
    profile = allowing("SCMP_ACT_ERRNO", "mkdir")
    value = spec(profile, capabilities=capabilities(*BOTH))
    both = (KILL | SYS_ADMIN, KILL | SYS_ADMIN, 0)
    assert capability_steps(value) == [both]
    value["process"]["capabilities"]["effective"] = ["CAP_KILL"]
    assert capability_steps(value) == [both, (KILL, KILL | SYS_ADMIN, 0)]


def test_without_capabilities_in_the_configuration() -> None:
    profile = allowing("SCMP_ACT_ERRNO", "mkdir")
    assert capability_steps(spec(profile)) == []
    user = {"uid": 5, "gid": 5}
    assert capability_steps(spec(profile, user=user)) == [(SYS_ADMIN, SYS_ADMIN, 0), (0, 0, 0)]
    assert capability_steps(spec(profile, user=user, noNewPrivileges=True)) == []


@pytest.mark.parametrize(
    ("words", "number"),
    [
        (None, 4), ([], 0), (["SECCOMP_FILTER_FLAG_TSYNC"], 0), (["SECCOMP_FILTER_FLAG_LOG"], 2),
        (["SECCOMP_FILTER_FLAG_SPEC_ALLOW", "SECCOMP_FILTER_FLAG_LOG"], 6),
    ],
)  # fmt: skip
def test_flags(words: list[str] | None, number: int) -> None:
    profile = allowing("SCMP_ACT_ERRNO", "mkdir")
    notifying = copy.deepcopy(NOTIFYING)
    if words is not None:
        profile["flags"] = notifying["flags"] = words
    assert flags(profile) == number
    assert flags(notifying) == number | 8


def test_wait_killable_recv_needs_its_kernel() -> None:
    profile = {**NOTIFYING, "flags": ["SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"]}
    assert flags(profile, kernel=(5, 19)) == 2 | 8 | 32
    with pytest.raises(PyruncError) as raised:
        flags(profile, kernel=(5, 18))
    assert raised.value.pointer == "/linux/seccomp/flags/1"
    assert "is not supported by this kernel" in raised.value.message
