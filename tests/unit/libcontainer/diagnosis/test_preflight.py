"""preflight: why a bundle would fail on this host (N4)."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from pyrunc.libcontainer.diagnosis import preflight
from pyrunc.libcontainer.plan import host
from pyrunc.libcontainer.spec.annotations import BPF_DATA
from pyrunc.libcontainer.spec.problems import ERROR
from tests.support.plans import minimal


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    bin = tmp_path / "rootfs/bin"
    bin.mkdir(parents=True)
    (bin / "sh").write_text("#!/bin/sh\n")
    (bin / "sh").chmod(0o755)
    (tmp_path / "rootfs/file").write_text("")
    (tmp_path / "rootfs/dir").mkdir()
    return tmp_path


def config(**members: Any) -> Any:
    """A configuration that this bundle can have, with other members."""
    value = minimal()
    value["process"].update({"args": ["/bin/sh"], "cwd": "/"})
    value["mounts"] = []
    for name, member in members.items():
        if name in ("annotations", "mounts", "hooks"):
            value[name] = member
        elif name in ("seccomp", "namespaces", "sysctl", "netDevices", "devices"):
            value.setdefault("linux", {})[name] = member
        else:
            value["process"][name] = member
    return value


def look(bundle: Path, **members: Any) -> list[tuple[str, str, str]]:
    found = preflight.problems(config(**members), str(bundle), host.gather())
    return [(problem.severity, problem.pointer, problem.line()) for problem in found]


def bind(source: str, destination: str) -> Any:
    return {"destination": destination, "source": source, "options": ["bind"]}


def fs(kind: str, *options: str, destination: str = "/dir") -> Any:
    return {"destination": destination, "type": kind, "source": kind, "options": list(options)}


DENY = {"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{"names": ["read"], "action": "SCMP_ACT_ALLOW"}]}


@pytest.mark.parametrize(
    ("members", "pointer", "words"),
    [
        ({"args": ["nothing"], "env": ["PATH=/bin"]}, "/process/args/0", "not found in $PATH"),
        ({"args": ["/file"]}, "/process/args/0", "/file is not executable"),
        ({"cwd": "/file"}, "/process/cwd", "/file is a file"),
        ({"mounts": [bind("/no/where", "/dir")]}, "/mounts/0/source", "/no is not on the host"),
        ({"mounts": [bind("rootfs/file", "/dir")]}, "/mounts/0", "is a file, and /dir in the container a directory"),
        ({"mounts": [bind("rootfs", "/file")]}, "/mounts/0", "is a directory, and /file in the container a file"),
        ({"mounts": [fs("nosuchfs")]}, "/mounts/0/type", 'the kernel knows no file system "nosuchfs"'),
        ({"mounts": [fs("tmpfs", "szie=1m")]}, "/mounts/0/options/0", "tmpfs has no option"),
        ({"mounts": [fs("tmpfs", "size=many")]}, "/mounts/0/options/0", "no size"),
        ({"mounts": [fs("tmpfs", "mode=rwx")]}, "/mounts/0/options/0", "no file mode"),
        ({"mounts": [fs("proc", "hide=2")]}, "/mounts/0/options/0", "proc has no option"),
        ({"mounts": [fs("tmpfs", destination="/file")]}, "/mounts/0/destination", "is a file"),
        ({"mounts": [fs("tmpfs", destination="/file/x")]}, "/mounts/0/destination", "is a file"),
        ({"hooks": {"createRuntime": [{"path": "/no/hook"}]}}, "/hooks/createRuntime/0/path", "/no is not on the host"),
        ({"hooks": {"poststart": [{"path": "/etc/passwd"}]}}, "/hooks/poststart/0/path", "is not executable"),
        ({"hooks": {"startContainer": [{"path": "/no"}]}}, "/hooks/startContainer/0/path", "no such file"),
        ({"namespaces": [{"type": "mount"}, {"type": "pid", "path": "/no/ns"}]}, "/linux/namespaces/1/path", "/no is"),
        ({"namespaces": [{"type": "mount"}, {"type": "pid", "path": "/proc/self/ns/net"}]}, "/linux/namespaces/1/path",
         "is not a namespace of type pid"),
        ({"seccomp": DENY}, "/linux/seccomp", "refuses execve (SCMP_ACT_ERRNO)"),
        ({"annotations": {BPF_DATA: "IAAAAEAAAAAGAAAAAAAAAA=="}}, "/annotations/" + BPF_DATA, "word at 64 of struct"),
        ({"rlimits": [{"type": "RLIMIT_NOFILE", "soft": 1, "hard": 1 << 40}]}, "/process/rlimits/0", "nr_open"),
        ({"sysctl": {"net.ipv4.no_such": "1"}}, "/linux/sysctl/net.ipv4.no_such", "this kernel has no sysctl"),
        ({"netDevices": {"nothere0": {}}}, "/linux/netDevices/nothere0", "there is no network device"),
    ],
)  # fmt: skip
def test_n4_what_fails_is_found(bundle: Path, members: Any, pointer: str, words: str) -> None:
    found = [item for item in look(bundle, **members) if item[0] == ERROR]
    assert [item[1] for item in found] == [pointer]
    assert words in found[0][2]


@pytest.mark.parametrize(
    "members",
    [
        {},
        {"mounts": [bind("rootfs", "/new/place"), fs("proc", destination="/proc")]},
        {"mounts": [fs("tmpfs", "size=50%", "mode=1777", "nosuid", "huge=never", "uid=3"), bind("/etc", "/dir/etc")]},
        {"cwd": "/will/be/made"},
        {"annotations": {BPF_DATA: "BgAAAAAA/38="}},
        {"mounts": [fs("tmpfs", destination="/bin")], "args": ["/bin/any"]},
        {"mounts": [bind("/usr/bin", "/bin")], "args": ["/bin/nothing-that-is-there"], "cwd": "/dir"},
        {"namespaces": [{"type": "mount"}, {"type": "pid", "path": "/proc/self/ns/pid"}]},
    ],
)
def test_what_works_is_left_alone(bundle: Path, members: Any) -> None:
    found = look(bundle, **members)
    if "nothing-that-is-there" in str(members):
        assert [item[1] for item in found] == ["/process/args/0"]
    else:
        assert found == []


def test_n4_a_misspelt_system_call_is_a_warning(bundle: Path) -> None:
    pytest.importorskip("pyrunc._seccomp")
    profile = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["mkdir", "opennat", "qqq"], "action": "SCMP_ACT_ERRNO"}],
    }
    found = look(bundle, seccomp=profile)
    assert [item[:2] for item in found] == [
        ("warning", "/linux/seccomp/syscalls/0/names/1"),
        ("warning", "/linux/seccomp/syscalls/0/names/2"),
    ]
    assert 'did you mean "openat"?' in found[0][2]


def test_a_bundle_without_rootfs_is_not_looked_at(tmp_path: Path) -> None:
    assert look(tmp_path) == []


def test_what_may_not_be_looked_at_is_passed_over(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> Any:
        raise PermissionError(1, "x")

    monkeypatch.setattr(os, "stat", refuse)
    assert look(bundle, hooks={"createRuntime": [{"path": "/bin/sh"}]}) == []


def test_members_of_hooks_that_the_specification_does_not_define_are_passed_over(bundle: Path) -> None:
    assert look(bundle, hooks={"later": 5, "others": ["x"], "createRuntime": [{"path": "/bin/sh"}]}) == []


def test_b4_a_source_that_earlier_mounts_make_is_not_judged(bundle: Path) -> None:
    source = str(bundle / "rootfs/dir/made")
    assert look(bundle, mounts=[fs("tmpfs"), bind(source, "/dir2")]) == []
    assert look(bundle, mounts=[bind(source, "/dir2")]) != []


@pytest.mark.parametrize("option", ["copy-symlink", "src-nofollow"])
def test_s6_a_symlink_that_is_the_source_itself_may_dangle(bundle: Path, option: str) -> None:
    (bundle / "link").symlink_to("/no/where")
    mount = bind(str(bundle / "link"), "/new")
    assert look(bundle, mounts=[mount]) != []
    mount["options"].append(option)
    assert look(bundle, mounts=[mount]) == []
