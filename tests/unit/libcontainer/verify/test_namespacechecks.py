"""Namespaces and their properties, of fake processes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pyrunc.libcontainer.compile.launch import compile_launch
from pyrunc.libcontainer.plan.host import HostFacts
from pyrunc.libcontainer.plan.options import LaunchOptions
from pyrunc.libcontainer.verify import namespacechecks, processfiles
from pyrunc.libcontainer.verify.differences import Findings
from pyrunc.libcontainer.verify.expected import Expected
from pyrunc.libcontainer.verify.look import Look, Question
from tests.support.plans import minimal
from tests.support.records import record

MAPPING = [{"containerID": 0, "hostID": 100000, "size": 10}]


def _expected(linux: Any, **changes: Any) -> Expected:
    spec = minimal(**changes)
    spec["linux"].update(linux)
    facts = HostFacts()
    plan = compile_launch(spec, LaunchOptions(id="box", command="run", cgroup_manager="disabled"), facts)
    return Expected(record(), spec, plan, facts)


def _found(findings: Findings) -> list[tuple[str, str, str]]:
    return [(entry.pointer, entry.expected, entry.found) for entry in findings.differences]


@pytest.fixture
def namespaces(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """The inodes of the container's namespaces; the runtime's are all 1."""
    found = {"mount": 7}

    def namespace(pid: int | str, type: str) -> tuple[int, int]:
        if type == "time":
            raise FileNotFoundError
        return 4, 1 if pid == "self" else found.get(type, 1)

    monkeypatch.setattr(processfiles, "namespace", namespace)
    monkeypatch.setattr(processfiles, "id_map", lambda pid, kind: [(0, 100000, 10)])
    return found


def test_new_shared_and_joined_namespaces(namespaces: dict[str, int], tmp_path: Path) -> None:
    wanted = _expected({"namespaces": [{"type": "mount"}, {"type": "uts"}, {"type": "ipc", "path": str(tmp_path)}]})
    findings = Findings()
    namespaces.update(uts=8, ipc=9)
    namespacechecks.check(wanted, 1, findings)
    assert _found(findings) == [
        ("/linux/namespaces/2/path", f"that of {tmp_path}, {tmp_path.stat().st_ino}", "another one, 9")
    ]
    findings = Findings()
    namespaces.update(uts=1, network=5, ipc=1)
    namespacechecks.check(wanted, 1, findings)
    assert [(pointer, real) for pointer, _, real in _found(findings)] == [
        ("/linux/namespaces", "another one, 5"),
        ("/linux/namespaces/2/path", "another one, 1"),
        ("/linux/namespaces/1", "this command's, 1"),
    ]


def test_a_path_that_is_gone_can_t_be_compared(namespaces: dict[str, int]) -> None:
    findings = Findings()
    wanted = _expected({"namespaces": [{"type": "mount"}, {"type": "ipc", "path": "/no/such"}]})
    namespacechecks.check(wanted, 1, findings)
    assert findings.unseen == [("/linux/namespaces/1/path", "ipc namespace", "/no/such: no such file or directory")]


def test_maps_and_offsets(namespaces: dict[str, int], monkeypatch: pytest.MonkeyPatch) -> None:
    namespaces.update(user=3)
    linux = {
        "namespaces": [{"type": "mount"}, {"type": "user"}, {"type": "time"}],
        "uidMappings": MAPPING,
        "gidMappings": [{"containerID": 0, "hostID": 5, "size": 1}],
        "timeOffsets": {"monotonic": {"secs": 5, "nanosecs": 6}},
    }
    monkeypatch.setattr(processfiles, "text", lambda pid, name: "monotonic 5 7\nboottime 1 0")
    findings = Findings()
    namespacechecks.check(_expected(linux), 1, findings)
    assert _found(findings) == [
        ("/linux/gidMappings", "0 5 1", "0 100000 10"),
        ("/linux/timeOffsets/monotonic", "5 s 6 ns", "5 s 7 ns"),
        ("/linux/timeOffsets/boottime", "0 s 0 ns", "1 s 0 ns"),
    ]
    monkeypatch.setattr(processfiles, "text", lambda pid, name: None)
    findings = Findings()
    namespacechecks.check(_expected(linux), 1, findings)
    assert [pointer for pointer, _, _ in findings.unseen] == ["/linux/timeOffsets"]


def test_what_is_seen_inside() -> None:
    linux = {
        "namespaces": [{"type": "mount"}, {"type": "uts"}, {"type": "network"}],
        "sysctl": {"net.ipv4.ip_local_port_range": "1 2", "kernel.domainname": "x", "net.no": "1"},
        "netDevices": {"eth0": {"name": "inside"}, "eth1": {}},
    }
    wanted = _expected(linux, hostname="box")
    question = Question(-1, 1, [], "/")
    namespacechecks.ask(wanted, question)
    files: dict[str, str | None] = {
        "sys/kernel/hostname": "other\n",
        "sys/net/ipv4/ip_local_port_range": "1\t2\n",
        "sys/kernel/domainname": "y\n",
        "sys/net/no": None,
        "self/net/dev": "Inter-|   Receive\n face |bytes\n  eth1: 0 0\n    lo: 0 0\n",
    }
    assert question.files == set(files)
    seen = Look({"mountinfo": "", "places": [], "sources": [], "files": files, "devices": {}}, {})
    findings = Findings()
    namespacechecks.check_inside(wanted, seen, findings)
    assert _found(findings) == [
        ("/hostname", "box", "other"),
        ("/linux/sysctl/kernel.domainname", "x", "y"),
        ("/linux/netDevices/eth0", "there", "not there"),
    ]
    assert [pointer for pointer, _, _ in findings.unseen] == ["/linux/sysctl/net.no"]
