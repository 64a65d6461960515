"""Id-mapped mounts: `uidMappings`, `gidMappings` and the options idmap and ridmap. Imported where a mount has them.

The kernel maps the ids of a mount by a user namespace, for who is privileged where the file system is mounted: so the
runtime makes the mount, and the init attaches it.
"""

from __future__ import annotations

from ...errors import PyruncError
from .mountoptions import COPY_SYMLINK, SOURCE_NOFOLLOW
from .mounts import in_rootfs
from .namespaces import map_lines

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from .context import Context
    from .mounts import Mount


# The slot of the container's user namespace.
_CONTAINERS = "namespace:user"
_LAST_ID = 0xFFFFFFFF  # is -1, which is no id


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
        if in_rootfs(context, mount):
            continue  # opened when its turn has come
        maps = _maps(context, mount)
        if maps is None:
            idmap = _CONTAINERS
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
            int(bool(mount.options.links & (SOURCE_NOFOLLOW | COPY_SYMLINK))),
            idmap,
            int(mount.id_map == 2),
            pointer=mount.pointer,
        )


def serve_map(context: Context, mount: Mount, what: str) -> None:
    """The runtime's answer to the init's request `what`, which comes with a mount: it maps its ids."""
    maps = _maps(context, mount)
    idmap = f"idmap:{what}" if maps else _CONTAINERS
    if maps:
        context.serve(what, "make_idmap", idmap, *maps, pointer=mount.pointer)
    context.serve(what, "map_source", idmap, int(mount.id_map == 2), pointer=mount.pointer)


def _maps(context: Context, mount: Mount) -> tuple[tuple[str, ...], tuple[str, ...]] | None:
    """The lines of the maps: the mount's own, or those of the container's user namespace; None for one that is joined.
    config.md, "Mounts", option idmap."""
    ranges = mount.options.id_map_ranges
    if ranges:
        index, text = ranges[-1]
        try:
            return tuple([map_lines(entries) for entries in parse_ranges(text, context.linux)])  # type: ignore[return-value]
        except ValueError as error:
            raise PyruncError(str(error), pointer=f"{mount.pointer}/options/{index}") from error
    entry = context.spec["mounts"][mount.index]
    fields = entry if "uidMappings" in entry else context.linux
    if fields is context.linux and not context.new("user"):
        return None
    return map_lines(fields["uidMappings"]), map_lines(fields["gidMappings"])


def parse_ranges(text: str, linux: dict[str, Any]) -> tuple[list[dict[str, int]], list[dict[str, int]]]:
    """The uidMappings and gidMappings that the text behind `idmap=` stands for, in crun's syntax (crun(1)):
    `uids=FILE-HOST-SIZE#…;gids=…`. FILE is an id in the file system.

    With `@` before a range, HOST is an id of the container's user namespace, whose mappings are in `linux`.
    Raises ValueError with one clause.
    """
    found: dict[str, list[dict[str, int]]] = {}
    for part in text.split(";"):
        kind, equals, ranges = part.partition("=")
        if kind not in ("uids", "gids") or not equals or kind in found:
            raise ValueError(f'invalid id mapping "{part}": it is uids=FILE-HOST-SIZE;gids=FILE-HOST-SIZE, each once')
        mappings = linux.get(kind[:3] + "Mappings") or ()
        found[kind] = [_range(word, mappings) for word in ranges.split("#")]
    if len(found) != 2:
        # Wording of runc.
        raise ValueError("id-mapped mounts must have both uid and gid mappings specified")
    return found["uids"], found["gids"]


def _range(word: str, mappings: Sequence[dict[str, int]]) -> dict[str, int]:
    """One range of an id map. mappings: of the container's user namespace, for a relative one. Raises ValueError."""
    numbers = word.removeprefix("@").split("-")
    if len(numbers) != 3 or not all([number.isdigit() and number.isascii() for number in numbers]):
        raise ValueError(f'invalid id mapping "{word}": it is FILE-HOST-SIZE, all numbers')
    first, host, size = [int(number[:20]) for number in numbers]
    if not 0 < size <= _LAST_ID or first + size > _LAST_ID or host + size > _LAST_ID:
        raise ValueError(f'invalid id mapping "{word}": ids and size go beyond the last id, {_LAST_ID - 1}')
    if word.startswith("@"):
        for entry in mappings:
            start = entry["containerID"]
            if start <= host and host + size <= start + entry["size"]:
                host += entry["hostID"] - start
                break
        else:
            raise ValueError(
                f'could not find a user namespace mapping for the relative mapping "{word}": all of its ids must be in '
                "one range of the container's user namespace"
            )
    return {"containerID": first, "hostID": host, "size": size}
