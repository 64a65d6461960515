"""The mount option `idmap=`, in crun's syntax (crun(1)). Only configurations with it import this module."""

from __future__ import annotations

from ..kernel.constants import LAST_ID

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..._generated.spec_types import IDMapping, Linux


def parse_ranges(text: str, linux: Linux) -> tuple[list[IDMapping], list[IDMapping]]:
    """Parse the value of `idmap=` into uidMappings and gidMappings. crun's syntax (crun(1)):
    `uids=FILE-HOST-SIZE#…;gids=…`. FILE is an id in the file system.

    With `@` before a range, HOST is an id of the container's user namespace, whose mappings are in `linux`.
    Raises ValueError with one clause.
    """
    found: dict[str, list[IDMapping]] = {}
    for part in text.split(";"):
        kind, equals, ranges = part.partition("=")
        if kind not in ("uids", "gids") or not equals or kind in found:
            raise ValueError(f'invalid id mapping "{part}": it is uids=FILE-HOST-SIZE;gids=FILE-HOST-SIZE, each once')
        mappings = (linux.get("uidMappings") if kind == "uids" else linux.get("gidMappings")) or ()
        found[kind] = [_range(word, mappings) for word in ranges.split("#")]
    if len(found) != 2:
        # Wording of runc.
        raise ValueError("id-mapped mounts must have both uid and gid mappings specified")
    return found["uids"], found["gids"]


def _range(word: str, mappings: Sequence[IDMapping]) -> IDMapping:
    """One range of an id map. mappings: of the container's user namespace, for a relative one. Raises ValueError."""
    numbers = word.removeprefix("@").split("-")
    if len(numbers) != 3 or not all([number.isdigit() and number.isascii() for number in numbers]):
        raise ValueError(f'invalid id mapping "{word}": it is FILE-HOST-SIZE, all numbers')
    first, host, size = [int(number[:20]) for number in numbers]
    if size <= 0 or first + size > LAST_ID + 1 or host + size > LAST_ID + 1:
        raise ValueError(f'invalid id mapping "{word}": ids and size go beyond the last id, {LAST_ID}')
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
