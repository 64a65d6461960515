"""Id-mapped mounts: `uidMappings`, `gidMappings`, idmap and ridmap. Only configurations with them import this module.

The kernel maps the ids of a mount by a user namespace. The caller must be privileged in the user namespace of the file
system. So the runtime makes the mount, and the init attaches it.
"""

from __future__ import annotations

from ..._generated import steps
from ...errors import PyruncError
from ..spec.idmap_option import parse_ranges
from ..spec.mount_options import SOURCE_ITSELF
from .mount import in_rootfs
from .namespaces import map_lines

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .context import Context
    from .mount import Mount


# The slot of the container's user namespace.
_CONTAINERS = "namespace:user"


def open_sources(context: Context, mounts: list[Mount]) -> None:
    """Open the sources of the id-mapped mounts. Mounts with the same maps share a user namespace.

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
        if in_rootfs(context, mount):
            continue  # opened at its turn, after the mounts before it
        maps = _maps(context, mount)
        if maps is None:
            idmap = _CONTAINERS
        elif maps in known:
            idmap = known[maps]
        else:
            idmap = known[maps] = f"idmap:{len(known)}"
            context.runtime_step(steps.make_idmap(idmap=idmap, uids=maps[0], gids=maps[1]), pointer=mount.pointer)
        context.runtime_step(
            steps.open_mapped_source(
                slot=f"source:{mount.index}",
                path=context.from_bundle(mount.source),
                recursive=mount.options.bind == 2,
                nofollow=bool(mount.options.links & SOURCE_ITSELF),
                idmap=idmap,
                below=mount.id_map == 2,
            ),
            pointer=mount.pointer,
        )


def open_rootfs(context: Context) -> str:
    """Open the rootfs with its ids mapped by the container's new user namespace: the files of the host's root are those
    of the container's. Returns the slot."""
    slot, idmap = "source:rootfs", "idmap:rootfs"
    uids, gids = map_lines(context.mappings("uid")), map_lines(context.mappings("gid"))
    context.runtime_step(steps.make_idmap(idmap=idmap, uids=uids, gids=gids), pointer="/linux/uidMappings")
    context.runtime_step(
        steps.open_mapped_source(slot=slot, path=context.rootfs, recursive=True, idmap=idmap, below=False),
        pointer="/root/path",
    )
    return slot


def serve_map(context: Context, mount: Mount, what: str) -> None:
    """Add the runtime's answer to the init's request `what`: map the ids of the mount that comes with it."""
    maps = _maps(context, mount)
    idmap = f"idmap:{what}" if maps else _CONTAINERS
    if maps:
        context.on_request(what, steps.make_idmap(idmap=idmap, uids=maps[0], gids=maps[1]), pointer=mount.pointer)
    context.on_request(what, steps.map_source(idmap=idmap, below=mount.id_map == 2), pointer=mount.pointer)


def _maps(context: Context, mount: Mount) -> tuple[tuple[str, ...], tuple[str, ...]] | None:
    """The lines of the maps: the mount's, or those of the container's user namespace; None if that is joined.
    config.md, "Mounts", option idmap."""
    ranges = mount.options.id_map_ranges
    if ranges:
        index, text = ranges[-1]
        try:
            uids, gids = parse_ranges(text, context.linux)
        except ValueError as error:
            raise PyruncError(str(error), pointer=f"{mount.pointer}/options/{index}") from error
        return map_lines(uids), map_lines(gids)
    entry = context.spec["mounts"][mount.index]
    fields = entry if "uidMappings" in entry else context.linux
    if fields is context.linux and not context.new("user"):
        return None
    return map_lines(fields["uidMappings"]), map_lines(fields["gidMappings"])
