"""Unknown members of a configuration that are probably misspelt members of the specification.

A runtime must ignore unknown members (config.md, "Extensibility"), so a misspelt one has no effect, without an error:
`readOnly` leaves the root writable. Only configurations with unknown members import this module.
"""

from __future__ import annotations

from ...errors import pointer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any

# How many edits make another name: one in a short name, two in a long one.
_SHORT = 4
_LONG = 8


class NearMiss:
    """An unknown member: its pointer, its name, the name that was probably meant, and the pointer with that name."""

    __slots__ = ("at", "meant", "meant_at", "name")

    def __init__(self, above: str, name: str, meant: str) -> None:
        self.at = above + pointer(name)
        self.name = name
        self.meant = meant
        self.meant_at = above + pointer(meant)


def find(value: Any, unknown: Sequence[tuple[dict[str, Any], Iterable[str]]]) -> list[NearMiss]:
    """Find the misspelt members of a configuration.

    unknown: the objects in `value` that have unknown members, each with the names that its schema knows.
    """
    holders = {id(holder): frozenset(names) for holder, names in unknown}
    found: list[NearMiss] = []
    _walk(value, "", holders, found)
    return found


def _walk(value: Any, at: str, holders: dict[int, frozenset[str]], found: list[NearMiss]) -> None:
    if type(value) is dict:
        known = holders.get(id(value))
        if known is not None:
            for name in value:
                meant = "" if name in known else nearest(name, known.difference(value))
                if meant:
                    found.append(NearMiss(at, name, meant))
        for name, member in value.items():
            _walk(member, at + pointer(name), holders, found)
    elif type(value) is list:
        for index, item in enumerate(value):
            _walk(item, f"{at}/{index}", holders, found)


# Names that people write for a mount option of another name.
SYNONYMS = {"readonly": "ro", "read-only": "ro", "readwrite": "rw", "read-write": "rw"}


def nearest(name: str, known: Iterable[str]) -> str:
    """The known name that was probably meant; "" if none is near. Case, `_`, `-` and a final `s` make no difference."""
    folded = _fold(name)
    best, least = "", 3
    for candidate in sorted(known):
        other = _fold(candidate)
        if folded == other or folded.rstrip("s") == other.rstrip("s"):
            return candidate
        allowed = 0 if len(other) < _SHORT else 1 if len(other) < _LONG else 2
        distance = edits(folded, other, min(allowed, least - 1))
        if distance <= allowed and distance < least:
            best, least = candidate, distance
    return best


def _fold(name: str) -> str:
    return name.casefold().replace("_", "").replace("-", "")


def edits(first: str, second: str, most: int) -> int:
    """The edit distance of two texts: letters to add, to remove, to replace or to exchange with their neighbour.

    A distance above `most` is returned as some number above it.
    """
    if abs(len(first) - len(second)) > most:
        return most + 1
    before: list[int] = []
    row = list(range(len(second) + 1))
    for i, letter in enumerate(first, 1):
        before, above, row = row, before, [i]
        for j, other in enumerate(second, 1):
            cost = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (letter != other))
            if i > 1 and j > 1 and letter == second[j - 2] and first[i - 2] == other:
                cost = min(cost, above[j - 2] + 1)
            row.append(cost)
    return row[-1]
