"""A mount of a configuration, parsed for the compiler."""

from __future__ import annotations

from ...paths import clean
from ..spec import mount_options

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..._generated.spec_types import MountEntry
    from .context import Context

# File systems of the kernel's own data. They have no device, server or image that could be read-only, so their `ro` is
# a flag of the mount alone. All others get it as an option of their superblock too, because a read-only device or image
# refuses a writable one. Here that option could do harm: some have one superblock for all mounts, also the host's.
OWN_DATA = frozenset(
    (
        "binfmt_misc", "bpf", "cgroup", "cgroup2", "configfs", "debugfs", "devpts", "devtmpfs", "efivarfs", "fusectl",
        "hugetlbfs", "mqueue", "proc", "pstore", "ramfs", "securityfs", "selinuxfs", "sysfs", "tmpfs", "tracefs",
    )
)  # fmt: skip
# Those that open no block device when they are mounted: their file_system_type lacks FS_REQUIRES_DEV, and
# /proc/filesystems has `nodev` before their names. A type that is missing here is taken for one that may open one.
WITHOUT_DEVICE = OWN_DATA | {"9p", "autofs", "ceph", "cifs", "fuse", "nfs", "nfs4", "overlay", "virtiofs"}


class Mount:
    """An entry of `mounts` with its options parsed.

    inside: what `in_rootfs` has found, None before.
    target: the destination, absolute. pointer: its JSON pointer, "" for a mount of the runtime's own.
    """

    __slots__ = ("id_map", "index", "inside", "is_bind", "options", "pointer", "source", "target", "type")

    def __init__(self, index: int, entry: MountEntry) -> None:
        self.index = index
        self.inside: bool | None = None
        self.pointer = f"/mounts/{index}"
        type = entry.get("type") or ""
        self.source = entry.get("source") or ""
        # A relative destination starts at "/" (config.md, "Mounts").
        destination = entry["destination"]
        self.target = destination if destination[0] == "/" else "/" + destination
        self.options = options = mount_options.parse(entry.get("options") or ())
        self.type = "cgroup2" if type == "cgroup" else type
        self.is_bind = options.bind > 0 or type == "bind"
        # 0 for none, 1 for the mount alone, 2 for the mounts below it too
        self.id_map = options.id_map or int("uidMappings" in entry)


def in_rootfs(context: Context, mount: Mount) -> bool:
    """Whether the path of a bind mount's source is in the container's rootfs.

    Earlier mounts may cover such a source (config.md, "Mounts": in listed order), and only the init sees them. So the
    runtime can't open it beforehand. For a running container a source is always the host's.
    """
    if mount.inside is None:
        source = clean(context.from_bundle(mount.source)) + "/"
        mount.inside = not context.is_update and source.startswith(context.rootfs.rstrip("/") + "/")
    return mount.inside
