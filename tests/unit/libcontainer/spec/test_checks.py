"""checks: finds contradictions at their pointers, and nothing in a correct configuration."""

from __future__ import annotations

import os
from typing import Any

import pytest

from pyrunc.libcontainer.spec.checks import check
from pyrunc.libcontainer.spec.problems import ERROR, WARNING, Problem
from tests.support.full_config import full_config, runnable_config

Spec = Any


def found(spec: Spec, lint: bool = False) -> list[tuple[str, str]]:
    """Severity and pointer of each problem."""
    return [(problem.severity, problem.pointer) for problem in check(spec, lint=lint)]


def spec_with(path: str, value: Any) -> Spec:
    """The runnable configuration with one member set; path as `linux.sysctl`."""
    spec = runnable_config()
    *parents, name = path.split(".")
    place = spec
    for parent in parents:
        place = place[parent]
    place[name] = value
    return spec


def without_namespace(type: str) -> Spec:
    spec = runnable_config()
    spec["linux"]["namespaces"] = [entry for entry in spec["linux"]["namespaces"] if entry["type"] != type]
    return spec


def with_path(type: str, path: str) -> Spec:
    spec = runnable_config()
    for entry in spec["linux"]["namespaces"]:
        if entry["type"] == type:
            entry["path"] = path
    return spec


def test_nothing_is_wrong_with_a_good_configuration() -> None:
    assert found(runnable_config(), lint=True) == []


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        ("1.0.2-dev", []),
        ("1.3.0", []),
        ("1.4.0", [(WARNING, "/ociVersion")]),
        ("0.9.0", [(ERROR, "/ociVersion")]),
        ("2.0.0", [(ERROR, "/ociVersion")]),
        ("9" * 5000 + ".0.0", [(ERROR, "/ociVersion")]),
        ("1." + "9" * 5000 + ".0", [(WARNING, "/ociVersion")]),
    ],
)
def test_version(version: Any, expected: Any) -> None:
    assert found(spec_with("ociVersion", version)) == expected


def test_process_and_its_args_are_needed() -> None:
    spec = runnable_config()
    del spec["process"]["args"]
    assert found(spec) == [(ERROR, "/process/args")]
    del spec["process"]
    assert found(spec) == [(ERROR, "/process")]


def test_console_size_counts_with_a_terminal_only() -> None:
    size = {"height": 65536, "width": 70000}
    spec = spec_with("process.consoleSize", size)
    assert found(spec) == [(ERROR, "/process/consoleSize/height"), (ERROR, "/process/consoleSize/width")]
    spec["process"]["terminal"] = False
    assert found(spec) == []


def test_rlimits() -> None:
    limits = [
        {"type": "RLIMIT_CORE", "soft": 5, "hard": 5},
        {"type": "RLIMIT_NOFILE", "soft": 6, "hard": 5},
        {"type": "RLIMIT_CORE", "soft": 1, "hard": 5},
    ]
    assert found(spec_with("process.rlimits", limits)) == [
        (ERROR, "/process/rlimits/1"),
        (ERROR, "/process/rlimits/2"),
    ]


def test_capabilities_are_left_to_the_compiler_but_for_a_lint() -> None:
    spec = spec_with("process.capabilities", {
        "bounding": ["CAP_KILL", "CAP_NONE"],
        "effective": ["CAP_KILL", "CAP_CHOWN"],
        "permitted": ["CAP_KILL"],
        "inheritable": ["CAP_CHOWN"],
        "ambient": ["CAP_KILL"],
        "other": "not of the specification",
    })  # fmt: skip
    assert found(spec) == []
    assert found(spec, lint=True) == [
        (WARNING, "/process/capabilities/bounding/1"),
        (WARNING, "/process/capabilities/effective/1"),
        (WARNING, "/process/capabilities/inheritable/0"),
        (WARNING, "/process/capabilities/ambient/0"),
    ]


def test_fields_of_cgroup_v1_are_left_to_the_compiler_but_for_a_lint() -> None:
    spec = spec_with("linux.resources", full_config()["linux"]["resources"])
    assert found(spec) == []
    assert found(spec, lint=True) == [
        (ERROR, "/linux/resources/memory/swappiness"),
        (ERROR, "/linux/resources/cpu/realtimeRuntime"),
        (ERROR, "/linux/resources/cpu/realtimePeriod"),
        (ERROR, "/linux/resources/cpu/idle"),
        (ERROR, "/linux/resources/blockIO/leafWeight"),
        (ERROR, "/linux/resources/blockIO/weightDevice/0/leafWeight"),
        (ERROR, "/linux/resources/network/classID"),
        (ERROR, "/linux/resources/network/priorities"),
    ]


def test_duplicated_namespace() -> None:
    spec = runnable_config()
    spec["linux"]["namespaces"].append({"type": "pid", "path": "/proc/1/ns/pid"})
    assert found(spec) == [(ERROR, "/linux/namespaces/8")]


def test_names_need_a_uts_namespace() -> None:
    assert found(without_namespace("uts")) == [(ERROR, "/hostname"), (ERROR, "/domainname")]
    spec = without_namespace("uts")
    spec["hostname"] = spec["domainname"] = ""
    assert found(spec) == []


@pytest.mark.parametrize("name", ["hostname", "domainname"])
def test_names_are_64_bytes_at_most(name: str) -> None:
    assert found(spec_with(name, "é" * 32)) == []
    assert found(spec_with(name, "é" * 32 + "x")) == [(ERROR, "/" + name)]


def test_restrictions_need_a_mount_namespace() -> None:
    spec = without_namespace("mount")
    assert found(spec) == [
        (ERROR, "/linux/maskedPaths"),
        (ERROR, "/linux/readonlyPaths"),
        (ERROR, "/mounts"),
        (ERROR, "/root/readonly"),
        (ERROR, "/linux/rootfsPropagation"),
    ]
    spec["mounts"] = spec["linux"]["maskedPaths"] = spec["linux"]["readonlyPaths"] = []
    spec["root"]["readonly"] = False
    spec["linux"]["rootfsPropagation"] = ""
    assert found(spec) == []


def test_mounts_on_the_host_are_for_those_who_may_make_them() -> None:
    spec = without_namespace("mount")
    spec["linux"]["namespaces"] = [entry for entry in spec["linux"]["namespaces"] if entry["type"] != "user"]
    assert "/mounts" not in [pointer for _, pointer in found(spec)]


def test_mappings_need_a_user_namespace() -> None:
    assert found(without_namespace("user")) == [(ERROR, "/linux/uidMappings"), (ERROR, "/linux/gidMappings")]


def test_s6_a_new_user_namespace_without_mappings_is_warned_of() -> None:
    spec = runnable_config()
    spec["linux"]["uidMappings"] = []
    del spec["linux"]["gidMappings"]
    assert found(spec) == [(WARNING, "/linux/uidMappings"), (WARNING, "/linux/gidMappings")]


def test_joined_user_namespace_has_its_own_mappings() -> None:
    spec = with_path("user", "/proc/1/ns/user")
    assert found(spec) == [(WARNING, "/linux/uidMappings"), (WARNING, "/linux/gidMappings")]
    del spec["linux"]["uidMappings"], spec["linux"]["gidMappings"]
    assert found(spec) == []


def mapping(container: int, host: int, size: int) -> dict[str, int]:
    return {"containerID": container, "hostID": host, "size": size}


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        ([mapping(0, 100000, 65536)], []),
        ([mapping(1000, 200000, 64536), mapping(0, 100000, 1000)], []),
        ([mapping(0, 100000, 65536), mapping(65535, 200000, 1)], ["/1"]),
        ([mapping(65535, 200000, 1), mapping(0, 100000, 65536)], ["/0"]),
        ([mapping(0, 100000, 65536), mapping(70000, 165535, 10)], ["/1"]),
        ([mapping(0, 100000, 65536), mapping(1, 200000, 2), mapping(100, 300000, 1)], ["/1", "/2"]),
        ([mapping(0, 4294901760, 65535)], []),
        ([mapping(0, 4294901760, 65536)], ["/0"]),
        ([mapping(number, number, 1) for number in range(340)], []),
        ([mapping(number, number, 1) for number in range(341)], [""]),
    ],
)
def test_ranges_of_mappings(entries: Any, expected: Any) -> None:
    spec = spec_with("linux.uidMappings", entries)
    spec["process"]["user"] = {"uid": 0, "gid": 0}
    assert found(spec) == [(ERROR, "/linux/uidMappings" + end) for end in expected]


def test_ids_of_the_process_are_mapped() -> None:
    spec = runnable_config()
    spec["process"]["user"] = {"uid": 9999, "gid": 10000, "additionalGids": [0, 10001]}
    assert found(spec) == [(ERROR, "/process/user/gid"), (ERROR, "/process/user/additionalGids/1")]
    spec["linux"]["uidMappings"] = [mapping(1, 100000, 65535)]
    assert found(spec)[0] == (ERROR, "/linux/uidMappings")


def test_time_offsets_need_a_new_time_namespace() -> None:
    assert found(without_namespace("time")) == [(ERROR, "/linux/timeOffsets")]
    assert found(with_path("time", "/proc/1/ns/time")) == [(ERROR, "/linux/timeOffsets")]
    spec = without_namespace("time")
    spec["linux"]["timeOffsets"] = {}
    assert found(spec) == []


@pytest.mark.parametrize(
    ("name", "namespace"),
    [
        ("kernel.msgmax", "ipc"),
        ("kernel/sem", "ipc"),
        ("kernel.shm_rmid_forced", "ipc"),
        ("fs.mqueue.msg_max", "ipc"),
        ("net.ipv4.ip_forward", "network"),
        ("net/ipv4/conf/eth0.1/rp_filter", "network"),
        ("net.ipv4.conf.eth0/1.rp_filter", "network"),
        ("kernel.domainname", "uts"),
        ("user.max_user_namespaces", "user"),
    ],
)
def test_sysctl_of_a_namespace(name: str, namespace: str) -> None:
    assert found(spec_with("linux.sysctl", {name: "1"})) == []
    spec = without_namespace(namespace)
    spec["linux"]["sysctl"] = {name: "1"}
    pointer = "/linux/sysctl/" + name.replace("/", "~1")
    assert (ERROR, pointer) in found(spec)


@pytest.mark.parametrize(
    "name",
    [
        "kernel.hostname", "kernel/hostname", "kernel.core_pattern", "kernel.msg", "kernel.semaphore", "kernel", "vm",
        "vm.swappiness", "fs.mqueue", "netfilter.x", "net/ipv4/../../kernel/core_pattern", "net.ipv4.//.x", "net./.x",
        "/net/x", ".net.x", "net..x", "net.", "fs.mqueue.",
    ],
)  # fmt: skip
def test_sysctl_of_the_host_is_refused(name: str) -> None:
    assert found(spec_with("linux.sysctl", {name: "1"})) == [(ERROR, "/linux/sysctl/" + name.replace("/", "~1"))]


@pytest.mark.parametrize(
    ("type", "file", "name"),
    [("network", "net", "net.core.somaxconn"), ("ipc", "ipc", "kernel.msgmax"), ("uts", "uts", "kernel.domainname")],
)
def test_sysctl_in_the_runtimes_own_namespace_is_refused(type: str, file: str, name: str) -> None:
    spec = with_path(type, f"/proc/{os.getpid()}/ns/{file}")
    spec["linux"]["sysctl"] = {name: "1"}
    assert found(spec) == [(ERROR, "/linux/sysctl/" + name)]
    spec = with_path(type, "/does/not/exist")
    spec["linux"]["sysctl"] = {name: "1"}
    assert found(spec) == []


def test_mounts() -> None:
    mounts = [
        {"destination": "data", "type": "tmpfs"},
        {"destination": "/a"},
        {"destination": "/b", "options": ["ro", "rbind"]},
        {"destination": "/c", "options": ["remount"]},
        {"destination": "/d", "source": "/d", "options": ["bind", "idmap"]},
        {"destination": "/e", "type": "tmpfs", "options": ["ridmap"]},
    ]
    assert found(spec_with("mounts", mounts)) == [
        (WARNING, "/mounts/0/destination"),
        (ERROR, "/mounts/1"),
        (ERROR, "/mounts/5"),
    ]


def test_device_listed_twice() -> None:
    devices = [
        {"type": "c", "path": "/dev/a", "major": 1, "minor": 3},
        {"type": "c", "path": "/dev/a", "major": 1, "minor": 3, "uid": 5},
        {"type": "b", "path": "/dev/a", "major": 1, "minor": 3},
    ]
    assert found(spec_with("linux.devices", devices)) == [
        (WARNING, "/linux/devices/1/path"),
        (ERROR, "/linux/devices/2/path"),
    ]


def test_members_for_other_platforms_are_warned_of_once() -> None:
    spec = runnable_config()
    spec["windows"] = {"layerFolders": ["C:\\layer"]}
    [problem] = check(spec)
    assert problem.line() == "warning: /windows: it is for another platform and has no effect on Linux"
    spec.update({name: {"any": 1} for name in ("solaris", "vm", "zos", "freebsd")})
    spec["process"].update({"commandLine": "cmd", "user": {"uid": 0, "gid": 0, "username": "ContainerUser"}})
    [problem] = check(spec)
    assert problem.line() == (
        "warning: /process/user/username: it is for another platform and has no effect on Linux (nor have "
        "/process/commandLine, /windows, /solaris, /vm, /zos, /freebsd); "
        "process.user.uid and process.user.gid are the user"
    )


def test_members_for_other_platforms_that_say_nothing_are_no_news() -> None:
    spec = runnable_config()
    spec.update({"windows": {}, "vm": {}})
    spec["process"].update({"commandLine": "", "user": {"uid": 0, "gid": 0, "username": ""}})
    assert check(spec) == []


def test_nothing_is_wrong_with_every_field_at_once_but_that_some_are_for_other_platforms() -> None:
    assert found(full_config()) == [(WARNING, "/process/user/username")]


def test_empty_fields_ask_for_nothing() -> None:
    spec = runnable_config()
    spec["process"].update({"apparmorProfile": "", "selinuxLabel": "", "execCPUAffinity": {}})
    spec["linux"].update({"mountLabel": "", "netDevices": {}})
    spec["linux"]["resources"].update({"memory": {}, "cpu": {}, "hugepageLimits": [], "unified": {}})
    assert found(spec) == []


def test_checks_leave_out_what_the_schema_refused() -> None:
    spec = runnable_config()
    spec["linux"]["namespaces"] = "all of them"
    spec["ociVersion"] = "2.0.0"
    assert [problem.pointer for problem in check(spec, ["/linux/namespaces"])] == ["/ociVersion"]
    spec["ociVersion"] = 3
    assert check(spec, ["/linux/namespaces", "/ociVersion"]) == []


def test_problem_as_line_and_as_dict() -> None:
    problem = Problem(WARNING, "/a/b", "two\nlines", nearest="word")
    assert problem.line() == 'warning: /a/b: two lines; did you mean "word"?'
    assert problem.to_dict() == {
        "severity": "warning", "pointer": "/a/b", "message": "two\nlines", "nearest": "word",
    }  # fmt: skip
    plain = Problem(ERROR, "", "all wrong")
    assert plain.line() == "error: /: all wrong"
    assert plain.to_dict() == {"severity": "error", "pointer": "", "message": "all wrong"}
