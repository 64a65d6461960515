"""Fields that the kernel, the host or its disk refuse: one line with the pointer, the reason and the hint, and nothing
is left. tests/unit/libcontainer/spec/test_bad_fields.py has mistakes that the configuration shows by itself;
test_refused.py has limits without their controller."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pyrunc.errors import PyruncError
from pyrunc.libcontainer.kernel import lsm
from tests.support.bundle import Bundle
from tests.support.runtime import Runtime

pytestmark = pytest.mark.own("it words it otherwise, and has no hint")


def lacks(module: str) -> bool:
    try:
        lsm.require(module)
    except PyruncError:
        return True
    return False


def always() -> bool:
    return True


def no_resctrl() -> bool:
    return not os.path.exists("/sys/fs/resctrl/schemata")


NEWNS = "mount"
# The change, the pointer in the message, the reason, the hint; and the condition of the host, with the reason to skip.
CASES: dict[str, tuple[dict[str, Any], str, str, str, Callable[[], bool]]] = {
    "rootfs": ({"root.path": "nowhere"}, "/root/path", "no such file", "root.path", always),
    "rootfs is a file": ({"root.path": "config.json"}, "/root/path", "not a directory", "root.path", always),
    "program": ({"process.args": ["nothing"]}, "/process/args/0", "not found in $PATH", "PATH of process.env", always),
    "program without a file": ({"process.args": ["/x"]}, "/process/args/0", "no such file", "/x is not in", always),
    "working directory": ({"process.cwd": "/etc/passwd"}, "/process/cwd", "not a directory", "is a file", always),
    "AppArmor": ({"process.apparmorProfile": "x"}, "/process/apparmorProfile", "AppArmor is disabled", "enabled",
                 lambda: lacks(lsm.APPARMOR)),
    "SELinux": ({"process.selinuxLabel": "x"}, "/process/selinuxLabel", "selinux is disabled", "selinuxfs",
                lambda: lacks(lsm.SELINUX)),
    "mount label": ({"linux.mountLabel": "x"}, "/linux/mountLabel", "selinux is disabled", "selinuxfs",
                    lambda: lacks(lsm.SELINUX)),
    "RDT": ({"linux.intelRdt": {"closID": "x"}}, "/linux/intelRdt", "resctrl", "resctrl", no_resctrl),
    "scheduler": ({"process.scheduler": {"policy": "SCHED_ISO"}}, "/process/scheduler", "invalid argument",
                  "does not know the policy", always),
    "memory policy": ({"linux.memoryPolicy": {"mode": "MPOL_BIND", "nodes": "900"}}, "/linux/memoryPolicy",
                      "", "", always),
    "network device": ({"linux.netDevices": {"nowhere0": {}},
                        "linux.namespaces": [{"type": NEWNS}, {"type": "network"}]},
                       "/linux/netDevices/nowhere0", "nowhere0", "ip link", always),
    "sysctl": ({"linux.sysctl": {"kernel.msgmax": "word"}}, "/linux/sysctl/kernel.msgmax", "invalid argument",
               "value", always),
    "unknown sysctl": ({"linux.sysctl": {"fs.mqueue.nothing": "1"}}, "/linux/sysctl/fs.mqueue.nothing", "no such file",
                       "no such sysctl", always),
    "namespace": ({"linux.namespaces": [{"type": NEWNS}, {"type": "pid", "path": "/nowhere"}]},
                  "/linux/namespaces/1/path", "no such file", "namespace", always),
    "namespace of another type": ({"linux.namespaces": [{"type": NEWNS}, {"type": "pid", "path": "/proc/self/ns/uts"}]},
                                  "/linux/namespaces/1/path", "not a namespace of type pid", "/proc/PID/ns", always),
    "time offset": ({"linux.namespaces": [{"type": NEWNS}, {"type": "time"}],
                     "linux.timeOffsets": {"monotonic": {"secs": -(2**62)}}},
                    "/linux/timeOffsets/monotonic", "out of range", "clock",
                    lambda: os.path.exists("/proc/self/ns/time")),
    "file system": ({"mounts": [{"destination": "/m", "type": "nofs", "source": "x"}]}, "/mounts/0", "no such device",
                    "no such file system", always),
    "mount source": ({"mounts": [{"destination": "/m", "source": "nowhere", "options": ["bind"]}]}, "/mounts/0",
                     "no such file", "/nowhere is not on the host", always),
    "mount option": ({"mounts": [{"destination": "/m", "type": "tmpfs", "options": ["nothing=1"]}]}, "/mounts/0",
                     "Unknown parameter", "option", always),
    "mount destination": ({"mounts": [{"destination": "/etc/passwd/x", "type": "tmpfs"}]}, "/mounts/0",
                          "not a directory", "mount point", always),
    "hook": ({"hooks": {"createRuntime": [{"path": "/nowhere"}]}}, "/hooks/createRuntime/0", "no such file", "hook",
             always),
    "container hook": ({"hooks": {"createContainer": [{"path": "/nowhere"}]}}, "/hooks/createContainer/0",
                       "no such file", "hook", always),
    "listener": ({"linux.seccomp": {"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/nowhere",
                                    "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_NOTIFY"}]}},
                 "/linux/seccomp/listenerPath", "failed to connect with seccomp agent", "agent", always),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_a_field_that_the_host_refuses(runtime: Runtime, bundle: Bundle, name: str) -> None:
    changes, pointer, reason, hint, holds = CASES[name]
    if not holds():
        pytest.skip("this host has what the case is to lack")
    for place, value in changes.items():
        *above, last = place.split(".")
        holder = bundle.config
        for part in above:
            holder = holder[part]
        holder[last] = value
    bundle.write()
    result = runtime.refuse(bundle)
    line = result.last_line
    assert result.code == 1
    assert re.search(rf"[(, ]at {re.escape(pointer)}[;)]", line), line
    assert reason in line
    found = re.search(r"; (.+)\)\"?$", line)
    assert found, "no hint: " + line
    assert hint in found[1]


def test_the_rootfs_is_left_as_it_was(runtime: Runtime, bundle: Bundle) -> None:
    before = sorted(path.name for path in Path(bundle.rootfs).iterdir())
    bundle.config["mounts"] = [{"destination": "/etc/passwd/x", "type": "tmpfs"}]
    runtime.refuse(bundle)
    assert sorted(path.name for path in Path(bundle.rootfs).iterdir()) == before
