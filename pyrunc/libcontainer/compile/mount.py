"""One mount of a configuration, as the compiler has it."""

from __future__ import annotations

from ...paths import clean
from ..spec import mount_options

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .context import Context


class Mount:
    """One entry of `mounts` with its options parsed. target: its destination, absolute; pointer: its JSON pointer, ""
    for one of the runtime's own."""

    __slots__ = ("id_map", "index", "is_bind", "options", "pointer", "source", "target", "type")

    def __init__(self, index: int, entry: dict[str, Any]) -> None:
        self.index = index
        self.pointer = f"/mounts/{index}"
        self.type: str = entry.get("type") or ""
        self.source: str = entry.get("source") or ""
        # A relative destination counts from "/" (config.md, "Mounts").
        destination: str = entry["destination"]
        self.target = destination if destination.startswith("/") else "/" + destination
        self.options = mount_options.parse(entry.get("options") or ())
        self.is_bind = bool(self.options.bind) or self.type == "bind"
        # 0, 1 for the mount itself, 2 for all below it too
        self.id_map = max(self.options.id_map, int("uidMappings" in entry))
        if self.type == "cgroup":
            self.type = "cgroup2"


def in_rootfs(context: Context, mount: Mount) -> bool:
    """Whether a bind mount's source lies in the container's rootfs, by its text.

    Such a source is what the mounts before this one have made of it (config.md, "Mounts": in listed order), and the
    init sees it so, since the rootfs is mounted on itself: the runtime can't open it beforehand. A source for a
    container that runs is always the host's.
    """
    if context.is_update:
        return False
    return (clean(context.from_bundle(mount.source)) + "/").startswith(context.rootfs.rstrip("/") + "/")
