"""A valid config.json that has every property of the schema, for the tests of validation."""

from __future__ import annotations

import json
from typing import Any


def full_config() -> Any:
    """A fresh copy, no part of which is shared with another part."""
    value: Any = json.loads(json.dumps(_FULL))
    return value


def runnable_config() -> Any:
    """A fresh, smaller one in which `validate` finds nothing: it lacks members that cgroup v2 can't express, and
    members for other platforms."""
    spec = full_config()
    del spec["process"]["user"]["username"]
    del spec["process"]["commandLine"]
    spec["linux"]["resources"] = {"devices": spec["linux"]["resources"]["devices"]}
    return spec


_MAPPINGS = [{"containerID": 0, "hostID": 100000, "size": 1000}, {"containerID": 1000, "hostID": 200000, "size": 9000}]
_HOOKS = [{"path": "/bin/hook", "args": ["hook", ""], "env": ["A=b=c", "B="], "timeout": 5}, {"path": "/bin/other"}]
_CAPABILITIES = ["CAP_CHOWN", "CAP_KILL"]
_RATES = [{"major": 8, "minor": 0, "rate": 600}]

_FULL: Any = {
    "ociVersion": "1.3.0-rc.1+build.5",
    "process": {
        "terminal": True,
        "consoleSize": {"height": 25, "width": 80},
        "user": {"uid": 1000, "gid": 1000, "umask": 18, "additionalGids": [1001, 5], "username": "someone"},
        "args": ["sh", "-c", ""],
        "commandLine": "sh",
        "env": ["PATH=/bin", "TERM=xterm", "EMPTY="],
        "cwd": "/home/tester",
        "capabilities": {
            "bounding": _CAPABILITIES,
            "effective": _CAPABILITIES,
            "inheritable": _CAPABILITIES,
            "permitted": _CAPABILITIES,
            "ambient": ["CAP_KILL"],
        },
        "rlimits": [
            {"type": "RLIMIT_NOFILE", "soft": 1024, "hard": 18446744073709551615},
            {"type": "RLIMIT_CORE", "soft": 0, "hard": 0},
        ],
        "noNewPrivileges": True,
        "apparmorProfile": "profile",
        "selinuxLabel": "system_u:system_r:svirt_lxc_net_t:s0",
        "oomScoreAdj": -500,
        "scheduler": {
            "policy": "SCHED_DEADLINE",
            "nice": 0,
            "priority": 0,
            "flags": ["SCHED_FLAG_RESET_ON_FORK"],
            "runtime": 1000,
            "deadline": 2000,
            "period": 3000,
        },
        "ioPriority": {"class": "IOPRIO_CLASS_BE", "priority": 4},
        "execCPUAffinity": {"initial": "7", "final": "0-3,7"},
    },
    "root": {"path": "rootfs", "readonly": True},
    "hostname": "host",
    "domainname": "example.test",
    "mounts": [
        {"destination": "/proc", "type": "proc", "source": "proc"},
        {
            "destination": "/data",
            "type": "none",
            "source": "data",
            "options": ["rbind", "ro"],
            "uidMappings": _MAPPINGS,
            "gidMappings": _MAPPINGS,
        },
    ],
    "hooks": {
        "prestart": _HOOKS,
        "createRuntime": _HOOKS,
        "createContainer": _HOOKS,
        "startContainer": _HOOKS,
        "poststart": _HOOKS,
        "poststop": _HOOKS,
    },
    "annotations": {"com.example.key": "value", "com.example.empty": ""},
    "linux": {
        "namespaces": [
            {"type": "pid"},
            {"type": "network"},
            {"type": "mount", "path": ""},
            {"type": "ipc"},
            {"type": "uts"},
            {"type": "user"},
            {"type": "cgroup"},
            {"type": "time"},
        ],
        "uidMappings": _MAPPINGS,
        "gidMappings": _MAPPINGS,
        "timeOffsets": {"monotonic": {"secs": -5, "nanosecs": 999999999}, "boottime": {}},
        "devices": [
            {"type": "c", "path": "/dev/fuse", "major": 10, "minor": 229, "fileMode": 438, "uid": 0, "gid": 0},
            {"type": "p", "path": "/dev/pipe"},
        ],
        "netDevices": {"eth0": {"name": "container0"}, "eth1": {}},
        "cgroupsPath": "/group/container",
        "resources": {
            "devices": [
                {"allow": False, "access": "rwm"},
                {"allow": True, "type": "c", "major": 10, "minor": -1, "access": "rw"},
            ],
            "memory": {
                "limit": 536870912,
                "reservation": 536870912,
                "swap": -1,
                "kernel": -1,
                "kernelTCP": -1,
                "swappiness": 60,
                "disableOOMKiller": False,
                "useHierarchy": True,
                "checkBeforeUpdate": True,
            },
            "cpu": {
                "shares": 1024,
                "quota": -1,
                "burst": 0,
                "period": 500000,
                "realtimeRuntime": 950000,
                "realtimePeriod": 1000000,
                "cpus": "2-3",
                "mems": "",
                "idle": 1,
            },
            "pids": {"limit": 100},
            "blockIO": {
                "weight": 10,
                "leafWeight": 10,
                "weightDevice": [{"major": 8, "minor": 0, "weight": 500, "leafWeight": 300}],
                "throttleReadBpsDevice": _RATES,
                "throttleWriteBpsDevice": _RATES,
                "throttleReadIOPSDevice": _RATES,
                "throttleWriteIOPSDevice": _RATES,
            },
            "hugepageLimits": [{"pageSize": "2MB", "limit": 209715200}],
            "network": {"classID": 1048577, "priorities": [{"name": "eth0", "priority": 500}]},
            "rdma": {"mlx5_1": {"hcaHandles": 3, "hcaObjects": 10000}},
            "unified": {"memory.high": "100M"},
        },
        "intelRdt": {
            "closID": "group",
            "l3CacheSchema": "L3:0=7f0",
            "memBwSchema": "MB:0=20",
            "schemata": ["L2:0=f"],
            "enableMonitoring": True,
        },
        "memoryPolicy": {"mode": "MPOL_BIND", "nodes": "0-1", "flags": ["MPOL_F_STATIC_NODES"]},
        "sysctl": {"net.ipv4.ip_forward": "1", "kernel.msgmax": "65536"},
        "seccomp": {
            "defaultAction": "SCMP_ACT_ERRNO",
            "defaultErrnoRet": 1,
            "architectures": ["SCMP_ARCH_X86_64"],
            "flags": ["SECCOMP_FILTER_FLAG_LOG"],
            "listenerPath": "/run/agent.sock",
            "listenerMetadata": "opaque",
            "syscalls": [
                {
                    "names": ["getcwd"],
                    "action": "SCMP_ACT_ERRNO",
                    "errnoRet": 1,
                    "args": [{"index": 0, "value": 1, "valueTwo": 2, "op": "SCMP_CMP_MASKED_EQ"}],
                }
            ],
        },
        "rootfsPropagation": "rslave",
        "maskedPaths": ["/proc/kcore"],
        "readonlyPaths": ["/proc/sys"],
        "mountLabel": "system_u:object_r:svirt_sandbox_file_t:s0",
        "personality": {"domain": "LINUX", "flags": []},
    },
    "windows": {},
    "solaris": {},
    "vm": {},
    "zos": {},
    "freebsd": {},
}
