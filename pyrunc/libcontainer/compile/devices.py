"""Device nodes and the links in /dev (config-linux.md, "Devices", "Default Devices"; runtime-linux.md)."""

from __future__ import annotations

import errno

from ..._generated import steps
from ...paths import clean
from ..kernel.constants import S_IFBLK, S_IFCHR, S_IFIFO

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..._generated.spec_types import DeviceEntry
    from .context import Context

# Every container has these. (path, major, minor)
DEFAULT_DEVICES = (
    ("/dev/null", 1, 3),
    ("/dev/zero", 1, 5),
    ("/dev/full", 1, 7),
    ("/dev/random", 1, 8),
    ("/dev/urandom", 1, 9),
    ("/dev/tty", 5, 0),
)
_LINKS = (
    ("/proc/self/fd", "/dev/fd"),
    ("/proc/self/fd/0", "/dev/stdin"),
    ("/proc/self/fd/1", "/dev/stdout"),
    ("/proc/self/fd/2", "/dev/stderr"),
)
_TYPES = {"c": S_IFCHR, "u": S_IFCHR, "b": S_IFBLK, "p": S_IFIFO}
_PERMISSIONS = 0o7777


def compile_devices(context: Context) -> None:
    """The default devices, linux.devices, and the links. An entry for a default device's path takes its place."""
    devices = context.linux.get("devices") or ()
    own = {device["path"] for device in devices}
    for path, major, minor in DEFAULT_DEVICES:
        if path not in own:
            _node(context, path, S_IFCHR | 0o666, major, minor, 0, 0, "")
    for index, device in enumerate(devices):
        # /dev/ptmx is always a link to the container's own ptmx, also against the configuration
        if clean(device["path"]) != "/dev/ptmx":
            _device(context, device, f"/linux/devices/{index}")
    for target, path in _LINKS:
        context.init_step(steps.symlink(target=target, path=path))
    if context.facts.kcore:
        context.init_step(steps.symlink(target="/proc/kcore", path="/dev/core"))
    context.init_step(steps.symlink(target="pts/ptmx", path="/dev/ptmx"))


def _device(context: Context, device: DeviceEntry, pointer: str) -> None:
    mode = device.get("fileMode")
    _node(
        context,
        device["path"],
        _TYPES[device["type"]] | (0o666 if mode is None else mode & _PERMISSIONS),
        device.get("major") or 0,
        device.get("minor") or 0,
        device.get("uid") or 0,
        device.get("gid") or 0,
        pointer,
    )


def _node(context: Context, path: str, mode: int, major: int, minor: int, uid: int, gid: int, pointer: str) -> None:
    """Add one node. A user namespace can make only FIFOs: there, and if the runtime may not make nodes, the host's node
    of that path is bound instead."""
    if mode & S_IFIFO and not mode & (S_IFCHR | S_IFBLK):
        context.init_step(
            steps.mknod(path=path, mode=mode, major=major, minor=minor, uid=uid, gid=gid), pointer=pointer
        )
    elif context.userns or context.facts.in_userns:
        context.init_step(steps.bind_device(source=path, path=path), pointer=pointer)
    else:
        context.init_step(
            steps.mknod(path=path, mode=mode, major=major, minor=minor, uid=uid, gid=gid),
            pointer=pointer,
            on_errno=(errno.EPERM,),
        )
        context.init_step(steps.bind_device(source=path, path=path), pointer=pointer, fallback_level=1)
