"""/proc/PID, of this process."""

from __future__ import annotations

import os
import resource

import pytest

from pyrunc.libcontainer.kernel.constants import NS_FILES
from pyrunc.libcontainer.verify import processfiles


def test_status_and_namespaces() -> None:
    fields = processfiles.status("self")
    assert fields["Pid"] == str(os.getpid())
    assert len(fields["Uid"].split()) == 4
    found = os.stat("/proc/self/ns/mnt")
    assert processfiles.namespace("self", "mount") == (found.st_dev, found.st_ino)
    assert NS_FILES["network"] == "net"


def test_limits() -> None:
    found = processfiles.limits(os.getpid())
    assert len(found) == 16
    for number in (resource.RLIMIT_NOFILE, resource.RLIMIT_CORE, resource.RLIMIT_STACK, resource.RLIMIT_AS):
        limits = [processfiles.UNLIMITED if value == -1 else value for value in resource.getrlimit(number)]
        assert found[number] == tuple(limits)


def test_ids() -> None:
    lines = [(0, 1000, 1), (1, 200000, 10)]
    assert [processfiles.translated(number, lines) for number in (0, 1, 10, 11)] == [1000, 200000, 200009, -1]
    assert processfiles.id_map(os.getpid(), "uid")


def test_files() -> None:
    assert processfiles.text(os.getpid(), "oom_score_adj") is not None
    assert processfiles.text(os.getpid(), "no-such-file") is None
    assert processfiles.cgroup(os.getpid()).startswith("/")


@pytest.mark.parametrize(
    ("line", "policy"),
    [
        ("7ffd0 default stack anon=3 dirty=3 N0=3", "default"),
        ("7ffd0 bind=static:0-1 stack anon=3 dirty=3", "bind=static:0-1"),
        ("7ffd0 prefer (many):0 stack anon=3", "prefer (many):0"),
        ("7ffd0 weighted interleave:0 stack", "weighted interleave:0"),
        ("7ffd0 local heap anon=1", ""),
        ("7ffd0 local file=/stack mapped=1", ""),
    ],
)
def test_the_memory_policy_is_the_stack_s(monkeypatch: pytest.MonkeyPatch, line: str, policy: str) -> None:
    text = f"56271 interleave:0 file=/bin/sh mapped=2 N0=2\n{line}\n7fff0 local\n"
    monkeypatch.setattr(processfiles, "text", lambda pid, name: text if name == "numa_maps" else None)
    assert processfiles.memory_policy(1) == policy
