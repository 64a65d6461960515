"""The plans by which `update` changes the mounts and devices of a container that runs.

A process joins the mount and user namespace of the container by the pidfd of the container's process. It joins no other
namespace, so no process of the container can see it, and not the cgroup, which may be frozen. The runtime opens the
sources on the host and passes them to it. It carries out the steps that `create` has for mounts and devices.
"""

from __future__ import annotations

import errno

from ..._generated import steps
from ..kernel.constants import MOUNT_ATTR_RDONLY, MS_REC, MS_SLAVE, S_IFBLK, S_IFCHR
from . import mounts
from .context import Context

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..._generated.spec_types import DeviceEntry, MountEntry, Spec
    from ..plan.host import HostFacts
    from ..plan.model import LaunchPlan
    from ..plan.options import LaunchOptions

    class Device(DeviceEntry):
        """An entry of linux.devices that is to be given: the host's path, and what the container may do with it."""

        source: str
        access: str


# The slot of the pidfd.
_TARGET = "container"
_JOINED = ("user", "mount")
COMMIT = "commit"
_PERMISSIONS = 0o7777


class Changes:
    """The changes for the process in the container, in this order.

    mounts: entries to mount, as in config.json. devices: entries of linux.devices to make. restored: (slot, path):
        attach the mount in the slot again. copied: paths of mounts: send a copy of each to the runtime.
    removed: entries of linux.devices: remove their nodes. unmounted: (path, whether to unmount it while it is in use).
    If `copied` or `removed` has entries, the runtime is asked before the last two.
    """

    __slots__ = ("copied", "devices", "mounts", "removed", "restored", "unmounted")

    def __init__(self) -> None:
        self.mounts: list[MountEntry] = []
        self.devices: list[Device] = []
        self.restored: list[tuple[str, str]] = []
        self.copied: list[str] = []
        self.removed: list[DeviceEntry] = []
        self.unmounted: list[tuple[str, bool]] = []


def compile_change(
    spec: Spec, pid: int, start_time: int, changes: Changes, options: LaunchOptions, facts: HostFacts
) -> LaunchPlan:
    """The plan of changes to a container.

    spec: the saved configuration's. pid, start_time: the container's process. options: with the command "update".
    Raises PyruncError for a mount option that can't be carried out.
    """
    context = Context({**spec, "mounts": changes.mounts}, options, facts)
    parsed = mounts.parse_mounts(context)
    context.runtime_step(steps.open_process(slot=_TARGET, pid=pid, start_time=start_time))
    if any(mount.id_map for mount in parsed) and context.userns and not context.new("user"):
        context.runtime_step(steps.open_namespace(slot="namespace:user", type="user", path=f"/proc/{pid}/ns/user"))
    mounts.open_sources(context, parsed)
    for index, device in enumerate(changes.devices):
        context.runtime_step(steps.open_source(slot=f"device:{index}", path=device["source"], nofollow=True))
    join = tuple([f"{type}={_TARGET}" for type in _JOINED if context.has(type)])
    context.runtime_step(steps.clone(join=join))
    context.init_step(steps.set_nondumpable())
    if context.userns:
        context.init_step(steps.become_root())
    context.phase = "rootfs"
    context.init_step(steps.send_root())
    for slot, path in changes.restored:
        _bind(context, slot, path, 0)
    kept_mounts = mounts.compile_mounts(context, parsed)
    for register, mount in enumerate(kept_mounts, 1):
        context.init_step(steps.seal_mount(keep=register, attr_set=MOUNT_ATTR_RDONLY), pointer=mount.pointer)
    for index, device in enumerate(changes.devices):
        _device(context, device, f"device:{index}")
    for path in changes.copied:
        context.init_step(steps.copy_mount(path=path))
    if changes.copied or changes.removed:
        context.init_step(steps.request(what=COMMIT))
    for entry in changes.removed:
        context.init_step(
            steps.remove_device(path=entry["path"], mode=_type(entry), major=entry["major"], minor=entry["minor"])
        )
    for path, detach in changes.unmounted:
        context.init_step(steps.umount(path=path, detach=detach))
    context.init_step(steps.ready())
    context.init_step(steps.end())
    return context.plan()


def _type(device: DeviceEntry) -> int:
    return S_IFBLK if device["type"] == "b" else S_IFCHR


def _device(context: Context, device: Device, slot: str) -> None:
    """Make a node. If the process may not make or open one (in a user namespace), bind the host's."""
    path, mode = device["path"], _type(device) | (device["fileMode"] & _PERMISSIONS)
    if context.userns or context.facts.in_userns:
        _bind(context, slot, path)
        return
    context.init_step(
        steps.mknod(
            path=path, mode=mode, major=device["major"], minor=device["minor"], uid=device["uid"], gid=device["gid"]
        ),
        on_errno=(errno.EPERM,),
    )
    _bind(context, slot, path, fallback_level=1)


def _bind(
    context: Context, slot: str, path: str, propagation: int = MS_SLAVE | MS_REC, fallback_level: int = 0
) -> None:
    """Attach a mount that the runtime holds, unchanged except for the propagation, unless that is 0."""
    context.init_step(
        steps.bind(source=path, source_fd=slot, target=path, propagation=propagation), fallback_level=fallback_level
    )
