"""The steps of a Landlock ruleset: their order, degradation by ABI, and capabilities held for the enforcement."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pyrunc.errors import PyruncError
from pyrunc.libcontainer.compile.exec import Target, compile_exec
from pyrunc.libcontainer.plan.host import LANDLOCK, HostFacts
from pyrunc.libcontainer.plan.model import LaunchPlan
from pyrunc.libcontainer.plan.options import ExecOptions
from tests.support.plans import compiled, find, kinds, values, with_process

AT = "/annotations/" + LANDLOCK
EXECUTE, READ_FILE, MAKE_REG, REFER, TRUNCATE = 1, 1 << 2, 1 << 8, 1 << 13, 1 << 14
SYS_ADMIN = 1 << 21

RULESET: Any = {
    "ruleset": {
        "handledAccessFS": ["execute", "read_file", "refer", "truncate"],
        "handledAccessNet": ["connect_tcp"],
        "scoped": ["signal"],
    },
    "rules": {
        "pathBeneath": [
            {"allowedAccess": ["execute", "read_file"], "paths": ["/bin", "/lib"]},
            {"allowedAccess": ["truncate"], "paths": ["/tmp"]},
        ],
        "netPort": [{"allowedAccess": ["connect_tcp"], "ports": [443]}],
    },
    "flags": ["log_new_exec_on"],
}


def spec(ruleset: Any = RULESET, **process: Any) -> Any:
    value = with_process(noNewPrivileges=True, **process)
    value["annotations"] = {LANDLOCK: ruleset if isinstance(ruleset, str) else json.dumps(ruleset)}
    return value


def plan(abi: int = 7, **more: Any) -> LaunchPlan:
    return compiled(spec(**more), HostFacts(landlock=abi))


def test_the_ruleset_is_built_before_the_user_and_enforced_last() -> None:
    steps = kinds(plan(user={"uid": 1, "gid": 1}, rlimits=[{"type": "RLIMIT_NOFILE", "soft": 9, "hard": 9}]))
    first, last = steps.index("landlock_ruleset"), steps.index("landlock_restrict")
    assert steps[first : first + 6] == [
        "landlock_ruleset", "landlock_path", "landlock_path", "landlock_path", "landlock_port", "rlimit",
    ]  # fmt: skip
    assert steps.index("pivot_root") < first < steps.index("no_new_privileges") < steps.index("user") < last
    assert steps[last:] == ["landlock_restrict", "execute"]


def test_each_step_has_its_pointer() -> None:
    found = plan()
    assert find(found, "landlock_ruleset")[0].pointer == AT + "/ruleset"
    assert values(find(found, "landlock_ruleset")[0], "handled_fs", "handled_net", "scoped") == (
        EXECUTE | READ_FILE | REFER | TRUNCATE, 2, 2,
    )  # fmt: skip
    assert [(step.pointer, *values(step, "path", "access", "if_there")) for step in find(found, "landlock_path")] == [
        (AT + "/rules/pathBeneath/0/paths/0", "/bin", EXECUTE | READ_FILE, False),
        (AT + "/rules/pathBeneath/0/paths/1", "/lib", EXECUTE | READ_FILE, False),
        (AT + "/rules/pathBeneath/1/paths/0", "/tmp", TRUNCATE, False),
    ]
    assert [values(step, "port", "access") for step in find(found, "landlock_port")] == [(443, 2)]
    assert values(find(found, "landlock_restrict")[0], "flags") == (2,)
    assert not found.warnings


@pytest.mark.parametrize(
    ("abi", "fs", "net", "scoped", "flags", "lacking"),
    [
        (1, EXECUTE | READ_FILE, 0, 0, 0, "refer (ABI 2), truncate (ABI 3), connect_tcp (ABI 4), signal (ABI 6), "
            "log_new_exec_on (ABI 7)"),
        (2, EXECUTE | READ_FILE | REFER, 0, 0, 0, "truncate (ABI 3), connect_tcp (ABI 4), signal (ABI 6), "
            "log_new_exec_on (ABI 7)"),
        (3, EXECUTE | READ_FILE | REFER | TRUNCATE, 0, 0, 0, "connect_tcp (ABI 4), signal (ABI 6), "
            "log_new_exec_on (ABI 7)"),
        (4, EXECUTE | READ_FILE | REFER | TRUNCATE, 2, 0, 0, "signal (ABI 6), log_new_exec_on (ABI 7)"),
        (6, EXECUTE | READ_FILE | REFER | TRUNCATE, 2, 2, 0, "log_new_exec_on (ABI 7)"),
        (9, EXECUTE | READ_FILE | REFER | TRUNCATE, 2, 2, 2, ""),
    ],
)  # fmt: skip
def test_an_older_kernel_enforces_the_rest(abi: int, fs: int, net: int, scoped: int, flags: int, lacking: str) -> None:
    found = plan(abi)
    assert values(find(found, "landlock_ruleset")[0], "handled_fs", "handled_net", "scoped") == (fs, net, scoped)
    assert values(find(found, "landlock_restrict")[0], "flags") == (flags,)
    # A rule that allows nothing the kernel knows would be refused by it (ENOMSG).
    assert len(find(found, "landlock_path")) == (3 if fs & TRUNCATE else 2)
    assert len(find(found, "landlock_port")) == (1 if net else 0)
    said = f"{AT}: not enforced, since this kernel has Landlock ABI {abi}: {lacking}"
    assert list(found.warnings) == ([said] if lacking else [])


def test_without_landlock_nothing_is_enforced_and_that_is_told() -> None:
    found = plan(0)
    assert not [kind for kind in kinds(found) if kind.startswith("landlock")]
    assert len(found.warnings) == 1
    assert "this kernel has no Landlock: execute, read_file" in found.warnings[0]


def test_only_what_the_kernel_lacks_leaves_nothing_to_enforce() -> None:
    found = plan(3, ruleset={"ruleset": {"handledAccessNet": ["bind_tcp"], "scoped": ["signal"]}})
    assert not [kind for kind in kinds(found) if kind.startswith("landlock")]


@pytest.mark.parametrize(
    ("abi", "at", "message"),
    [
        (2, "/ruleset/handledAccessFS/3", "truncate can't be enforced: this kernel has Landlock ABI 2"),
        (3, "/ruleset/handledAccessNet/0", "connect_tcp can't be enforced"),
        (5, "/ruleset/scoped/0", "signal can't be enforced"),
        (6, "/flags/0", "log_new_exec_on can't be enforced"),
        (0, "/ruleset/handledAccessFS/0", "execute can't be enforced: this kernel has no Landlock"),
    ],
)
@pytest.mark.parametrize("name", ["strict", "disableBestEffort"])
def test_strict_refuses_what_the_kernel_lacks(abi: int, at: str, message: str, name: str) -> None:
    with pytest.raises(PyruncError, match=message) as caught:
        plan(abi, ruleset={**RULESET, name: True})
    assert caught.value.pointer == AT + at
    assert caught.value.hint
    assert not plan(7, ruleset={**RULESET, name: True}).warnings


def test_a_wrong_value_is_refused_in_the_compiler_too() -> None:
    with pytest.raises(PyruncError, match="is no JSON") as caught:
        plan(ruleset="{")
    assert caught.value.pointer == AT


@pytest.mark.parametrize("filtered", [False, True])
@pytest.mark.parametrize("capabilities", [None, {}])
def test_without_no_new_privs_cap_sys_admin_is_held_until_the_enforcement(filtered: bool, capabilities: Any) -> None:
    config = spec(user={"uid": 5, "gid": 5})
    config["process"]["noNewPrivileges"] = False
    if capabilities is not None:
        config["process"]["capabilities"] = capabilities
    if filtered:
        config["linux"]["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW"}
    found = compiled(config, HostFacts(landlock=7))
    sets = [values(step, "effective", "permitted") for step in find(found, "capabilities")]
    assert sets == [(SYS_ADMIN, SYS_ADMIN), (0, 0)]
    tail = kinds(found)[kinds(found).index("landlock_restrict") :]
    assert tail == ["landlock_restrict", *(["seccomp"] if filtered else []), "capabilities", "execute"]


def test_no_capability_is_held_where_nothing_is_enforced() -> None:
    config = spec(user={"uid": 5, "gid": 5}, capabilities={})
    config["process"]["noNewPrivileges"] = False
    assert len(find(compiled(config, HostFacts(landlock=0)), "capabilities")) == 1


def test_it_is_enforced_before_a_filter_that_is_loaded_before_ready() -> None:
    config = spec()
    config["linux"]["seccomp"] = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "listenerPath": "/run/agent",
        "syscalls": [{"names": ["mount"], "action": "SCMP_ACT_NOTIFY"}],
    }
    steps = kinds(compiled(config, HostFacts(landlock=7)))
    assert steps.count("landlock_restrict") == 1
    assert steps[steps.index("landlock_restrict") + 1] == "seccomp"
    assert steps.index("seccomp") < steps.index("ready")


def test_exec_has_the_same_ruleset_and_leaves_out_paths_that_are_gone() -> None:
    found = compile_exec(spec(), Target(1, 2), ExecOptions(id="x"), HostFacts(landlock=6))
    assert [values(step, "path", "if_there") for step in find(found, "landlock_path")] == [
        ("/bin", True), ("/lib", True), ("/tmp", True),
    ]  # fmt: skip
    assert kinds(found)[-2:] == ["landlock_restrict", "execute"]
    assert not found.warnings  # create has warned


def test_the_limit_of_open_files_leaves_room_for_the_ruleset() -> None:
    limit = [{"type": "RLIMIT_NOFILE", "soft": 4, "hard": 9}]
    config = spec(rlimits=limit)
    with pytest.raises(PyruncError, match="leaves the init none") as caught:
        compiled(config, HostFacts(landlock=7), command="create")
    assert caught.value.pointer == "/process/rlimits/0/soft"
    compiled(with_process(rlimits=limit), command="create")
