"""Device nodes and the links in /dev (config-linux.md, "Devices", "Default Devices"; runtime-linux.md)."""

from __future__ import annotations

import errno

from ..._generated import steps
from ...paths import clean
from ..kernel.constants import S_IFBLK, S_IFCHR, S_IFIFO
from ..plan.model import Step

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
    made = _BOUND if context.userns or context.facts.in_userns else _MADE
    for path, default in made.items():
        if path not in own:
            context.init += default
    for index, device in enumerate(devices):
        # /dev/ptmx is always a link to the container's own ptmx, also against the configuration
        if clean(device["path"]) != "/dev/ptmx":
            _device(context, device, f"/linux/devices/{index}")
    context.init += _LINKED
    if context.facts.kcore:
        context.init.append(_CORE)
    context.init.append(_PTMX)


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
    """Add one node. A user namespace can make only FIFOs: there the host's node of that path is bound instead."""
    if mode & S_IFIFO and not mode & (S_IFCHR | S_IFBLK):
        context.init_step(
            steps.mknod(path=path, mode=mode, major=major, minor=minor, uid=uid, gid=gid), pointer=pointer
        )
    elif context.userns or context.facts.in_userns:
        context.init_step(steps.bind_device(source=path, path=path), pointer=pointer)
    else:
        context.init += _made(path, mode, major, minor, uid, gid, pointer)


def _made(
    path: str, mode: int, major: int, minor: int, uid: int = 0, gid: int = 0, pointer: str = ""
) -> tuple[Step, Step]:
    """The steps that make a device node, or bind the host's if the runtime may not make nodes."""
    node = steps.mknod(path=path, mode=mode, major=major, minor=minor, uid=uid, gid=gid)
    return (
        Step("rootfs", *node, pointer=pointer, on_errno=(errno.EPERM,)),
        Step("rootfs", *steps.bind_device(source=path, path=path), pointer=pointer, fallback_level=1),
    )


# The steps of the default devices, which are the same for every container: by path, made, and bound in a user
# namespace.
_MADE = {path: _made(path, S_IFCHR | 0o666, major, minor) for path, major, minor in DEFAULT_DEVICES}
_BOUND = {path: (Step("rootfs", *steps.bind_device(source=path, path=path)),) for path, _, _ in DEFAULT_DEVICES}
_LINKED = [Step("rootfs", *steps.symlink(target=target, path=path)) for target, path in _LINKS]
_CORE = Step("rootfs", *steps.symlink(target="/proc/kcore", path="/dev/core"))
_PTMX = Step("rootfs", *steps.symlink(target="pts/ptmx", path="/dev/ptmx"))
