"""libcontainer/diagnosis/doctor.py: the findings on fake hosts, and on this one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pyrunc.libcontainer.diagnosis import doctor, terminal
from pyrunc.libcontainer.diagnosis.doctor import NO, UNKNOWN, YES, Finding
from pyrunc.libcontainer.plan import host
from pyrunc.libcontainer.plan.host import HostFacts
from tests.support.host import open_descriptors


def found(area: str, facts: HostFacts) -> dict[str, Finding]:
    """The findings of one area, by name."""
    look = dict(doctor.LOOKS)[area]
    return {name: Finding(area, name, *rest) for name, *rest in look(facts)}


@pytest.fixture
def texts(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Replace the texts of these files; other files are as they are."""
    made: dict[str, str] = {}
    read = doctor._read
    monkeypatch.setattr(doctor, "_read", lambda path: made[path] if path in made else read(path))
    return made


def test_every_lack_has_a_cure_and_nothing_else_has() -> None:
    facts = host.gather()
    findings = doctor.examine(facts)
    assert {finding.area for finding in findings} == {area for area, _ in doctor.LOOKS}
    for finding in findings:
        assert finding.state in (YES, NO, UNKNOWN)
        assert bool(finding.hint) == (finding.state == NO), finding.to_dict()


def test_a_look_that_is_refused_is_unknown_and_the_others_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(_: HostFacts) -> doctor._Found:
        raise PermissionError(13, "x")
        yield "x", YES, "", ""

    monkeypatch.setattr(doctor, "LOOKS", (("one", refused), ("kernel", doctor._kernel)))
    first, second = doctor.examine(HostFacts())
    assert (first.area, first.state, first.detail) == ("one", UNKNOWN, "permission denied")
    assert second.state == YES


def test_sysctls_that_forbid_namespaces(texts: dict[str, str]) -> None:
    texts["/proc/sys/user/max_net_namespaces"] = "0"
    texts["/proc/sys/kernel/unprivileged_userns_clone"] = "0"
    texts["/proc/sys/kernel/apparmor_restrict_unprivileged_userns"] = "1"
    lookup = list(doctor._namespaces(HostFacts()))
    named = {name: (state, hint) for name, state, _, hint in lookup}
    assert named["network"] == (NO, "sysctl user.max_net_namespaces=10000")
    assert named["pid"][0] == YES
    hints = [hint for name, _, _, hint in lookup if name.startswith("user, ")]
    expected = ["sysctl kernel.unprivileged_userns_clone=1", "sysctl kernel.apparmor_restrict_unprivileged_userns=0"]
    assert hints == expected


def test_controllers_and_who_has_them(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(doctor, "v1_mounts", lambda name: ["/v1/" + name] if name in ("memory", "blkio") else [])
    (tmp_path / "own").mkdir()
    (tmp_path / "own/cgroup.controllers").write_text("cpu pids\n")
    facts = HostFacts()
    facts.cgroup_mount, facts.cgroup_self = str(tmp_path), "/own/me"
    facts.controllers, facts.cgroup_writable = ("cpu", "pids"), False
    by_name = found("cgroups", facts)
    assert by_name["cpu"].state == YES
    assert (by_name["memory"].detail, by_name["io"].detail) == (
        "cgroup v1 has it, on /v1/memory", "cgroup v1 has it, on /v1/blkio",
    )  # fmt: skip
    assert by_name["rdma"].state == NO
    # Mounted on cgroup v1 in another mount namespace: its mount is not seen here.
    reason = "the controller rdma is mounted on cgroup v1, and pyrunc uses cgroup v2"
    monkeypatch.setattr(terminal, "controller", lambda name: (reason, "boot with cgroup v2"))
    rdma = found("cgroups", facts)["rdma"]
    assert (rdma.state, rdma.detail, rdma.hint) == (NO, reason, "boot with cgroup v2")
    own = by_name["own cgroups"]
    assert (own.state, "Delegate=yes" in own.hint) == (NO, True)
    assert f"owned by uid {os.geteuid()} and has cpu, pids" in own.detail
    facts.cgroup_mount = ""
    (only,) = found("cgroups", facts).values()
    assert (only.name, only.state) == ("cgroup2", NO)


def test_seccomp(texts: dict[str, str]) -> None:
    texts["/proc/sys/kernel/seccomp/actions_avail"] = "kill_process kill_thread trap errno trace log allow"
    by_name = found("seccomp", HostFacts())
    assert by_name["SCMP_ACT_NOTIFY"].state == NO
    assert by_name["SCMP_ACT_KILL"].state == YES
    texts["/proc/sys/kernel/seccomp/actions_avail"] = ""
    (only,) = found("seccomp", HostFacts()).values()
    assert only.state == NO


def test_subordinate_ids(monkeypatch: pytest.MonkeyPatch) -> None:
    facts = HostFacts()
    facts.euid = 1000
    monkeypatch.setattr(doctor, "subordinate", lambda file, euid: (100000, 65536) if file == "/etc/subuid" else (0, 0))
    by_name = found("subordinate ids", facts)
    assert by_name["/etc/subuid"].detail == "65536 ids from 100000 on for uid 1000"
    assert (by_name["/etc/subgid"].state, "--add-subgids" in by_name["/etc/subgid"].hint) == (NO, True)


def test_id_mapped_mounts_are_for_root_to_try() -> None:
    facts = HostFacts()
    facts.euid = 1000
    (only,) = found("id-mapped mounts", facts).values()
    assert only.state == UNKNOWN


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may try")
def test_id_mapped_mounts_of_this_host() -> None:
    before = len(open_descriptors())
    for finding in found("id-mapped mounts", host.gather()).values():
        assert finding.state in (YES, NO, UNKNOWN)
    assert len(open_descriptors()) == before


def test_criu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert found("checkpoint", HostFacts())["CRIU"].state == NO
    program = tmp_path / "criu"
    program.write_text("#!/bin/sh\necho Version: 4.2\n")
    program.chmod(0o755)
    assert found("checkpoint", HostFacts())["CRIU"].detail == f"4.2 ({program})"
