"""The types of config.json (runtime-spec 1.3.0), for annotations under TYPE_CHECKING only.

`Spec` stays a plain dict: it is what the JSON decoder gives. The TypedDicts name the members of its parts; all are
total=False, since every reader must expect an absent member anyway, required ones apart, which the validators ensure.
"""

from __future__ import annotations

from typing import Any, TypedDict

Spec = dict[str, Any]


class Root(TypedDict, total=False):
    """config.md, Root."""

    path: str
    readonly: bool


class Box(TypedDict, total=False):
    """config.md, consoleSize, in characters."""

    height: int
    width: int


class User(TypedDict, total=False):
    """config.md, POSIX-platform User; umask as a number."""

    uid: int
    gid: int
    umask: int
    additionalGids: list[int]


class Rlimit(TypedDict, total=False):
    """config.md, rlimits."""

    type: str
    soft: int
    hard: int


class Capabilities(TypedDict, total=False):
    """config.md, capabilities: five sets of names."""

    bounding: list[str]
    effective: list[str]
    inheritable: list[str]
    permitted: list[str]
    ambient: list[str]


class Process(TypedDict, total=False):
    """config.md, Process, Linux's part included."""

    terminal: bool
    consoleSize: Box
    user: User
    args: list[str]
    env: list[str]
    cwd: str
    capabilities: Capabilities
    rlimits: list[Rlimit]
    noNewPrivileges: bool
    apparmorProfile: str
    selinuxLabel: str
    oomScoreAdj: int
    scheduler: dict[str, Any]
    ioPriority: dict[str, Any]
    execCPUAffinity: dict[str, str]


class IDMapping(TypedDict, total=False):
    """config-linux.md, User namespace mappings."""

    containerID: int
    hostID: int
    size: int


class Mount(TypedDict, total=False):
    """config.md, Mounts."""

    destination: str
    type: str
    source: str
    options: list[str]
    uidMappings: list[IDMapping]
    gidMappings: list[IDMapping]


class Hook(TypedDict, total=False):
    """config.md, POSIX-platform Hooks; timeout in seconds."""

    path: str
    args: list[str]
    env: list[str]
    timeout: int


class Hooks(TypedDict, total=False):
    """config.md, POSIX-platform Hooks."""

    prestart: list[Hook]
    createRuntime: list[Hook]
    createContainer: list[Hook]
    startContainer: list[Hook]
    poststart: list[Hook]
    poststop: list[Hook]


class Namespace(TypedDict, total=False):
    """config-linux.md, Namespaces; no path or "" for a new one."""

    type: str
    path: str


class TimeOffset(TypedDict, total=False):
    """config-linux.md, Offset for Time Namespace."""

    secs: int
    nanosecs: int


class Device(TypedDict, total=False):
    """config-linux.md, Devices."""

    type: str
    path: str
    major: int
    minor: int
    fileMode: int
    uid: int
    gid: int


class DeviceRule(TypedDict, total=False):
    """config-linux.md, Allowed Device list; an absent or negative number is all."""

    allow: bool
    type: str
    major: int
    minor: int
    access: str


class Resources(TypedDict, total=False):
    """config-linux.md, Control groups."""

    devices: list[DeviceRule]
    memory: dict[str, Any]
    cpu: dict[str, Any]
    pids: dict[str, int]
    blockIO: dict[str, Any]
    hugepageLimits: list[dict[str, Any]]
    network: dict[str, Any]
    rdma: dict[str, dict[str, int]]
    unified: dict[str, str]


class Linux(TypedDict, total=False):
    """config-linux.md."""

    namespaces: list[Namespace]
    uidMappings: list[IDMapping]
    gidMappings: list[IDMapping]
    timeOffsets: dict[str, TimeOffset]
    devices: list[Device]
    netDevices: dict[str, dict[str, str]]
    cgroupsPath: str
    resources: Resources
    intelRdt: dict[str, Any]
    memoryPolicy: dict[str, Any]
    sysctl: dict[str, str]
    seccomp: dict[str, Any]
    rootfsPropagation: str
    maskedPaths: list[str]
    readonlyPaths: list[str]
    mountLabel: str
    personality: dict[str, Any]
