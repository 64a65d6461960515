"""The process against its plan. Real containers: tests/integration/test_verify.py."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from pyrunc.libcontainer.compile.launch import compile_launch
from pyrunc.libcontainer.plan.host import HostFacts
from pyrunc.libcontainer.plan.options import LaunchOptions
from pyrunc.libcontainer.verify import processchecks, processfiles
from pyrunc.libcontainer.verify.differences import Findings
from pyrunc.libcontainer.verify.expected import Expected
from tests.support.plans import minimal
from tests.support.records import record

CHOWN, KILL, NET_ADMIN = 1 << 0, 1 << 5, 1 << 12


def _expected(process: Any, linux: dict[str, Any] | None = None, cgroup: str = "") -> Expected:
    spec = minimal()
    spec["process"].update(process)
    spec["linux"].update(linux or {})
    facts = HostFacts()
    plan = compile_launch(spec, LaunchOptions(id="box", command="run", cgroup_manager="disabled"), facts)
    return Expected(record(cgroup=cgroup), spec, plan, facts)


def _capabilities(**sets: list[str]) -> Any:
    return {"capabilities": {name: ["CAP_" + word for word in words] for name, words in sets.items()}}


def test_capabilities_of_root_after_its_execve() -> None:
    """capabilities(7): root's permitted set is the bounding set and the inheritable one."""
    sets = _capabilities(bounding=["CHOWN", "KILL"], permitted=["CHOWN"], effective=[])
    assert processchecks.after_exec(_expected(sets)) == {
        "bounding": CHOWN | KILL, "effective": CHOWN | KILL, "permitted": CHOWN | KILL, "inheritable": 0, "ambient": 0,
    }  # fmt: skip
    sets["noNewPrivileges"] = True
    after = processchecks.after_exec(_expected(sets))
    assert (after["permitted"], after["effective"]) == (CHOWN, CHOWN)
    before = processchecks.before_exec(_expected(sets))
    assert (before["permitted"], before["effective"]) == (CHOWN, 0)


def test_capabilities_of_others_after_their_execve() -> None:
    names = ["CHOWN", "NET_ADMIN"]
    sets = _capabilities(bounding=names, permitted=names, effective=names, inheritable=names, ambient=["CHOWN"])
    sets["user"] = {"uid": 5, "gid": 5}
    after = processchecks.after_exec(_expected(sets))
    assert after == {
        "bounding": CHOWN | NET_ADMIN, "effective": CHOWN, "permitted": CHOWN, "inheritable": CHOWN | NET_ADMIN,
        "ambient": CHOWN,
    }  # fmt: skip
    assert processchecks.after_exec(_expected({})) == {}


def test_fewer_and_more_capabilities() -> None:
    findings = Findings()
    status = {"CapBnd": "21", "CapEff": "1020", "CapPrm": "21", "CapInh": "0", "CapAmb": "0"}
    sets = _capabilities(bounding=["CHOWN", "KILL"], permitted=["CHOWN", "KILL"], effective=["CHOWN", "KILL"])
    processchecks._capabilities(_expected(sets), status, True, findings)
    assert [(entry.pointer, entry.expected, entry.found) for entry in findings.differences] == [
        ("/process/capabilities/effective", "with CAP_CHOWN", "fewer than configured: without CAP_CHOWN"),
        ("/process/capabilities/effective", "without CAP_NET_ADMIN", "more than configured: with CAP_NET_ADMIN"),
    ]


@pytest.mark.parametrize(
    ("process", "found", "own", "expected"),
    [
        ({}, ("0", "0"), ("0", "0"), []),
        ({"noNewPrivileges": True}, ("0", "0"), ("0", "0"), [("/process/noNewPrivileges", "1", "0")]),
        ({}, ("0", "1"), ("0", "0"), [("/process/noNewPrivileges", "0", "1 (more restricted than configured)")]),
        ({}, ("2", "0"), ("0", "0"), [("/linux/seccomp", "none", "filter (more restricted than configured)")]),
        ({}, ("2", "1"), ("2", "1"), []),  # inherited from a confined runtime
        ({}, (None, "0"), ("0", "0"), []),
    ],
)
def test_restrictions(
    monkeypatch: pytest.MonkeyPatch,
    process: Any,
    found: tuple[str | None, str],
    own: tuple[str, str],
    expected: list[tuple[str, str, str]],
) -> None:
    monkeypatch.setattr(processfiles, "status", lambda _: dict(zip(("Seccomp", "NoNewPrivs"), own, strict=True)))
    status = {name: value for name, value in zip(("Seccomp", "NoNewPrivs"), found, strict=True) if value is not None}
    findings = Findings()
    processchecks._restrictions(_expected(process), status, True, findings)
    assert [(entry.pointer, entry.expected, entry.found) for entry in findings.differences] == expected
    assert bool(findings.unseen) == (found[0] is None)


def test_a_filter_that_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processfiles, "status", lambda _: {"Seccomp": "0"})
    wanted = _expected({}, {"seccomp": {"defaultAction": "SCMP_ACT_ALLOW"}})
    findings = Findings()
    processchecks._restrictions(wanted, {"Seccomp": "0"}, False, findings)
    assert findings.differences == []  # `start` loads the filter
    processchecks._restrictions(wanted, {"Seccomp": "0"}, True, findings)
    assert [(entry.expected, entry.found) for entry in findings.differences] == [("filter", "none")]


@pytest.mark.parametrize(
    ("process", "label", "expected"),
    [
        ({"apparmorProfile": "docker"}, "docker (enforce)", []),
        ({"apparmorProfile": "docker"}, "unconfined", [("/process/apparmorProfile", "docker", "unconfined")]),
        ({"selinuxLabel": "a:b:c:s0"}, "a:b:c:s0", []),
        ({"selinuxLabel": "a:b:c:s0"}, "a:b:d:s0", [("/process/selinuxLabel", "a:b:c:s0", "a:b:d:s0")]),
        ({"selinuxLabel": "a:b:c:s0"}, None, []),
    ],
)
def test_labels(
    monkeypatch: pytest.MonkeyPatch, process: Any, label: str | None, expected: list[tuple[str, str, str]]
) -> None:
    monkeypatch.setattr(processfiles, "text", lambda pid, name: label if name == "attr/current" else None)
    findings = Findings()
    processchecks._labels(_expected(process), 1, findings)
    assert [(entry.pointer, entry.expected, entry.found) for entry in findings.differences] == expected
    assert bool(findings.unseen) == (label is None)


def test_ids_are_told_as_the_container_has_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processfiles, "id_map", lambda pid, kind: [(0, 100000, 1000)])
    wanted = _expected({"user": {"uid": 5, "gid": 6, "additionalGids": [7, 8]}})
    findings = Findings()
    status = {"Uid": "100005 " * 4, "Gid": "100006 " * 4, "Groups": "100007 100008"}
    processchecks._ids(wanted, 1, status, findings)
    assert findings.differences == []
    status = {"Uid": "100005 100000 100005 100005", "Gid": "5 5 5 5", "Groups": ""}
    processchecks._ids(wanted, 1, status, findings)
    assert [(entry.pointer, entry.expected, entry.found) for entry in findings.differences] == [
        ("/process/user/uid", "5 5 5 5", "5 0 5 5"),
        ("/process/user/gid", "6 6 6 6", "unmapped(5) unmapped(5) unmapped(5) unmapped(5)"),
        ("/process/user/additionalGids", "7 8", "none"),
    ]


def test_scheduling(monkeypatch: pytest.MonkeyPatch) -> None:
    found = (6, 0, 0, 0, 1000, 2500, 3000)
    monkeypatch.setattr("pyrunc.libcontainer.verify.processchecks.native.sched_getattr", lambda _: found)
    monkeypatch.setattr("pyrunc.libcontainer.verify.processchecks.native.ioprio_get", lambda _: (1, 3))
    scheduler = {"policy": "SCHED_DEADLINE", "runtime": 1000, "deadline": 2000, "flags": ["SCHED_FLAG_RESET_ON_FORK"]}
    wanted = _expected({"scheduler": scheduler, "ioPriority": {"class": "IOPRIO_CLASS_RT", "priority": 2}})
    findings = Findings()
    processchecks._scheduling(wanted, 1, findings)
    assert [(entry.pointer, entry.expected, entry.found) for entry in findings.differences] == [
        ("/process/scheduler/flags", "SCHED_FLAG_RESET_ON_FORK", "none"),
        ("/process/scheduler/deadline", "2000", "2500"),
        ("/process/ioPriority", "IOPRIO_CLASS_RT 2", "IOPRIO_CLASS_RT 3"),
    ]
    findings = Findings()
    found = (1, 0, 0, 8, 0, 0, 0)
    processchecks._scheduling(_expected({"scheduler": {"policy": "SCHED_FIFO", "priority": 9}}), 1, findings)
    assert [(entry.pointer, entry.found) for entry in findings.differences] == [("/process/scheduler/priority", "8")]


def test_cpus_of_the_nearest_cgroup_with_a_cpuset(monkeypatch: pytest.MonkeyPatch) -> None:
    files = {"/sys/fs/cgroup/a/cpuset.cpus.effective": "0-3", processchecks._ONLINE: "0-7"}
    monkeypatch.setattr(processchecks, "_read", lambda path: files.get(path, ""))
    assert processchecks._cpus_of("/sys/fs/cgroup/a/b") == "0-3"
    assert processchecks._cpus_of("/sys/fs/cgroup/b") == ""
    monkeypatch.setattr("pyrunc.libcontainer.verify.processchecks.os.sched_getaffinity", lambda _: {0, 1})
    findings = Findings()
    processchecks._affinity(_expected({}, cgroup="/sys/fs/cgroup/a"), 1, findings)
    assert [entry.found for entry in findings.differences] == ["0,1 (fewer than configured)"]
    monkeypatch.setattr(processfiles, "text", lambda pid, name: "/somewhere")
    findings = Findings()
    processchecks._affinity(_expected({}), 1, findings)
    assert (len(findings.differences), len(findings.unseen)) == (0, 1)


def test_the_kernel_s_words_of_this_process(tmp_path: Path) -> None:
    """Properties that the test can't change of itself are compared with their real values."""
    limit = processfiles.limits(os.getpid())[7]
    process = {
        "rlimits": [{"type": "RLIMIT_NOFILE", "soft": limit[0], "hard": limit[1]}],
        "user": {"uid": os.getuid(), "gid": os.getgid(), "umask": int(processfiles.status("self")["Umask"], 8)},
    }
    findings = Findings()
    processchecks.check(_expected(process, {"personality": {"domain": "LINUX"}}), os.getpid(), True, findings)
    other = [entry.pointer for entry in findings.differences if entry.pointer != "/process/user/additionalGids"]
    assert other == []
    process["rlimits"][0]["soft"] -= 1  # type: ignore[index]
    process["user"]["umask"] ^= 1  # type: ignore[index]
    findings = Findings()
    processchecks.check(_expected(process, {"personality": {"domain": "LINUX32"}}), os.getpid(), True, findings)
    assert {"/process/rlimits/0", "/process/user/umask", "/linux/personality"} <= {
        entry.pointer for entry in findings.differences
    }


@pytest.mark.parametrize(
    ("mode", "nodes", "flags", "shown", "expected"),
    [
        ("BIND", "0-1", [], "bind:0-1", []),
        ("BIND", "0-5", [], "bind:0-1", []),  # the cpuset has two
        ("BIND", "0-1", [], "bind:0", [("bind:0,1", "bind:0")]),
        ("BIND", "0-1", [], "interleave:0-1", [("bind:0,1", "interleave:0-1")]),
        ("BIND", "1", ["STATIC_NODES"], "bind=static:1", []),
        ("BIND", "1", ["STATIC_NODES"], "bind:1", [("bind=static:1", "bind:1")]),
        ("BIND", "1", ["RELATIVE_NODES"], "bind=relative:0", []),
        ("BIND", "1", ["NUMA_BALANCING"], "bind=balancing:1", []),
        ("BIND", "1", ["NUMA_BALANCING", "STATIC_NODES"], "bind=static|balancing:1", []),
        ("BIND", "1", ["NUMA_BALANCING"], "bind=:1", []),  # Linux before 6.8
        ("PREFERRED", "", [], "local", []),
        ("PREFERRED", "1", [], "prefer:1", []),
        ("PREFERRED_MANY", "0,1", [], "prefer (many):0-1", []),
        ("WEIGHTED_INTERLEAVE", "0,1", [], "weighted interleave:0-1", []),
        ("LOCAL", "", [], "local", []),
        ("DEFAULT", "", [], "default", []),
        ("DEFAULT", "", [], "local", [("default", "local")]),
    ],
)
def test_the_memory_policy(
    monkeypatch: pytest.MonkeyPatch, mode: str, nodes: str, flags: list[str], shown: str,
    expected: list[tuple[str, str]],
) -> None:  # fmt: skip
    monkeypatch.setattr(processfiles, "memory_policy", lambda pid: shown)
    policy = {"mode": "MPOL_" + mode, "nodes": nodes, "flags": ["MPOL_F_" + flag for flag in flags]}
    findings = Findings()
    wanted = _expected({}, {"memoryPolicy": policy})
    processchecks._memory_policy(wanted, 1, {"Mems_allowed_list": "0-1"}, findings)
    assert [(entry.expected, entry.found) for entry in findings.differences] == expected
    assert all(entry.pointer == "/linux/memoryPolicy" for entry in findings.differences)


def test_a_memory_policy_that_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processfiles, "memory_policy", lambda pid: "")
    findings = Findings()
    processchecks._memory_policy(_expected({}, {"memoryPolicy": {"mode": "MPOL_LOCAL"}}), 1, {}, findings)
    assert [entry[0] for entry in findings.unseen] == ["/linux/memoryPolicy"]
    assert findings.differences == []
