"""The rootfs phase: from the host's root to the container's.

The order is runc's as far as a container or a hook can see. Three things come before pivot_root that runc does after
it: the terminal, masked paths, and read-only mounts and rootfs. The init resolves every path in the rootfs from a
descriptor of the rootfs, so it makes no difference to the paths. And an init that stops or fails has never been in an
unfinished root.
"""

from __future__ import annotations

from ..._generated import steps
from ...errors import PyruncError
from ..kernel.constants import (
    MOUNT_ATTR_NODEV,
    MOUNT_ATTR_NOSUID,
    MOUNT_ATTR_RDONLY,
    MS_PRIVATE,
    MS_REC,
    MS_SHARED,
    MS_SLAVE,
    MS_UNBINDABLE,
    PROPAGATION,
)
from . import devices, hooks, mounts
from .console import compile_console
from .namespaces import compile_sysctl

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from .context import Context
    from .mount import Mount

_PROPAGATION_POINTER = "/linux/rootfsPropagation"


def compile_rootfs(context: Context) -> None:
    """The steps that make the container's file system its root."""
    context.phase = "rootfs"
    if not context.has("mount"):
        _without_mount_namespace(context)
        return
    parsed = mounts.parse_mounts(context)
    if context.options.notify_socket:
        from . import notify

        parsed.append(notify.mount(context, len(parsed)))
    mounts.open_sources(context, parsed)
    _root_mount(context)
    kept = mounts.compile_mounts(context, parsed)
    own_dev = not mounts.binds_dev(parsed)
    if own_dev:
        devices.compile_devices(context)
    compile_console(context, mount=True)
    _make_cwd(context)
    _hooks(context)
    compile_sysctl(context)
    _restrict(context, kept)
    _enter(context)
    if own_dev and not context.process.get("terminal"):
        context.init_step(steps.reopen_null(), pointer="/mounts")


def _without_mount_namespace(context: Context) -> None:
    """chroot into the rootfs. The configuration's mounts stay on the host until the container is deleted, and so does
    the bind of a read-only rootfs on itself."""
    parsed = mounts.parse_mounts(context)
    own_dev = bool(parsed) and not mounts.binds_dev(parsed)
    read_only = bool(context.spec["root"].get("readonly"))
    kept = _host_mounts(context, parsed) if parsed or read_only else []
    if own_dev:
        devices.compile_devices(context)
    _hooks(context)
    compile_sysctl(context)
    _seal(context, kept)
    if read_only:
        context.init_step(steps.readonly_rootfs(), pointer="/root/readonly")
    context.init_step(steps.chroot(path=context.rootfs), pointer="/root/path")
    compile_console(context, mount=False)
    _make_cwd(context)
    if own_dev and not context.process.get("terminal"):
        context.init_step(steps.reopen_null(), pointer="/mounts")


def _host_mounts(context: Context, parsed: list[Mount]) -> list[Mount]:
    """The mounts, below a private bind of the rootfs on itself: they do not propagate to the rest of the host."""
    context.runtime_step(steps.host_mounts(rootfs=context.rootfs), pointer="/linux/namespaces")
    mounts.open_sources(context, parsed)
    context.init_step(steps.rootfs(path=context.rootfs), pointer="/root/path")
    context.init_step(steps.remount(target="/", propagation=MS_PRIVATE | MS_REC), pointer="/linux/namespaces")
    return mounts.compile_mounts(context, parsed)


def _root_mount(context: Context) -> None:
    """Set the propagation between the container's mounts and the host's, and mount the rootfs on itself."""
    word = context.linux.get("rootfsPropagation") or ""
    pointer = _PROPAGATION_POINTER if word else ""
    flag = PROPAGATION[word] if word else MS_SLAVE | MS_REC
    if context.options.no_pivot and flag & MS_PRIVATE:
        raise PyruncError(
            "rootfsPropagation of [r]private is not safe without pivot_root",
            pointer=pointer,
            hint="run without --no-pivot, or take slave",
        )
    if flag & MS_SLAVE:
        # The whole tree, also for plain "slave": a shared mount below the root would propagate the container's
        # mounts to the host.
        context.init_step(steps.propagation(flag=MS_SLAVE, recursive=True), pointer=pointer)
    elif flag & MS_UNBINDABLE:
        # The rootfs must be bound before it is unbindable. It becomes so when it is the root.
        context.init_step(steps.propagation(flag=MS_PRIVATE, recursive=True), pointer=pointer)
    else:
        context.init_step(steps.propagation(flag=flag & ~MS_REC, recursive=bool(flag & MS_REC)), pointer=pointer)
    if not (word and flag & MS_SLAVE) and not context.options.map_rootfs:
        # A rootfs that was asked to be a slave is bound from a slave and so gets the host's mounts. Otherwise what
        # holds it must not be shared: pivot_root refuses that, and the bind would reach the host. A rootfs with mapped
        # ids is mounted on the root, which is a slave by now.
        context.init_step(steps.parent_private(path=context.rootfs), pointer="/root/path")
    source = None
    if context.options.map_rootfs:
        from .idmaps import open_rootfs

        source = open_rootfs(context)
    context.init_step(steps.rootfs(path=context.rootfs, source=source), pointer="/root/path")
    if context.options.isolation:
        # An image may have setuid programs and device nodes.
        context.init_step(
            steps.remount(target="/", attr_set=MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV), pointer="/root/path"
        )


def _make_cwd(context: Context) -> None:
    context.init_step(steps.make_cwd(path=context.process["cwd"]), pointer="/process/cwd")


def _hooks(context: Context) -> None:
    hooks.runtime_hooks(context)
    hooks.container_hooks(context, "createContainer", "creating")


def _restrict(context: Context, kept: list[Mount]) -> None:
    """Read-only and masked paths. They come after the hooks, which may mount and write anything."""
    for index, path in _once(context.linux.get("readonlyPaths") or ()):
        context.init_step(steps.readonly_path(path=path), pointer=f"/linux/readonlyPaths/{index}")
    if context.linux.get("mountLabel"):
        from . import labels

        labels.label_masks(context)
    for index, path in _once(context.linux.get("maskedPaths") or ()):
        context.init_step(steps.mask_path(path=path), pointer=f"/linux/maskedPaths/{index}")
    _seal(context, kept)
    if context.spec["root"].get("readonly"):
        context.init_step(steps.readonly_rootfs(), pointer="/root/readonly")


def _once(paths: Sequence[str]) -> Iterable[tuple[int, str]]:
    """Each path with its index. A path that is listed again is left out: a second mount over the first has no effect,
    and the number of mounts is limited (/proc/sys/fs/mount-max)."""
    if len(set(paths)) == len(paths):
        return enumerate(paths)
    return [(paths.index(path), path) for path in dict.fromkeys(paths)]


def _seal(context: Context, kept: list[Mount]) -> None:
    for register, mount in enumerate(kept, 1):
        context.init_step(steps.seal_mount(keep=register, attr_set=MOUNT_ATTR_RDONLY), pointer=mount.pointer)


def _enter(context: Context) -> None:
    if context.options.no_pivot:
        context.init_step(steps.move_root(), pointer="/root/path")
    else:
        context.init_step(steps.pivot_root(), pointer="/root/path")
    flag = PROPAGATION.get(context.linux.get("rootfsPropagation") or "", 0)
    if flag & (MS_SHARED | MS_UNBINDABLE):
        # Not earlier: it would change the host's mount. It is private or slave already.
        context.init_step(
            steps.root_propagation(flag=flag & ~MS_REC, recursive=bool(flag & MS_REC)), pointer=_PROPAGATION_POINTER
        )
