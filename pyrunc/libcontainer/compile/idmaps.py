"""Id-mapped mounts: `uidMappings`, `gidMappings` and the options idmap and ridmap. Imported where a mount has them.

The kernel maps the ids of a mount by a user namespace, for who is privileged where the file system is mounted: so the
runtime makes the mount, and the init attaches it.
"""

from __future__ import annotations

from ...report import PyruncError
from .namespaces import map_lines

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .context import Context
    from .mounts import Mount


def open_sources(context: Context, mounts: list[Mount]) -> None:
    """Open the sources of the id-mapped mounts; those with the same maps share a user namespace.

    Raises PyruncError for an unprivileged runtime.
    """
    known: dict[tuple[tuple[str, ...], tuple[str, ...]], str] = {}
    for mount in mounts:
        if not mount.id_map:
            continue
        if context.facts.euid != 0:
            # Wording of runc.
            raise PyruncError(
                "id-mapped mounts are not supported for rootless containers",
                pointer=f"{mount.pointer}/options",
                hint="leave the mapping out, or run as root",
            )
        maps = _maps(context, mount)
        if maps is None:
            idmap = "namespace:user"
        elif maps in known:
            idmap = known[maps]
        else:
            idmap = known[maps] = f"idmap:{len(known)}"
            context.before("make_idmap", idmap, *maps, pointer=mount.pointer)
        context.before(
            "open_mapped_source",
            f"source:{mount.index}",
            context.from_bundle(mount.source),
            int(mount.options.bind == 2),
            idmap,
            int(mount.id_map == 2),
            pointer=mount.pointer,
        )


def _maps(context: Context, mount: Mount) -> tuple[tuple[str, ...], tuple[str, ...]] | None:
    """The lines of the maps: the mount's own, or those of the container's user namespace; None for one that is joined.
    config.md, "Mounts", option idmap."""
    entry = context.spec["mounts"][mount.index]
    fields = entry if "uidMappings" in entry else context.linux
    if fields is context.linux and not context.new("user"):
        return None
    return map_lines(fields["uidMappings"]), map_lines(fields["gidMappings"])
