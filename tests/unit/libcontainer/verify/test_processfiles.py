"""/proc/PID, of this process."""

from __future__ import annotations

import os
import resource

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
