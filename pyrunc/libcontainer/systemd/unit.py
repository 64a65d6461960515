"""The unit that a cgroupsPath names, and the cgroup that systemd makes for it. Cold, and pure.

Rules and messages are runc's (docs/systemd.md there), so engines find their containers.
"""

from __future__ import annotations

from ...errors import PyruncError

AT = "/linux/cgroupsPath"
# The characters of a unit's name besides letters and digits, mapped to a letter (systemd.unit(5)); its maximum length.
_SIGNS = {ord(sign): "x" for sign in ":-_.\\@"}
_LONGEST = 255


class Unit:
    """name: the scope's name. slice: its slice. label: the container's name in it."""

    __slots__ = ("label", "name", "slice")

    def __init__(self, name: str, slice: str, label: str) -> None:
        self.name = name
        self.slice = slice
        self.label = label


def unit_for(cgroups_path: str, id: str, user: bool) -> Unit:
    """The unit for `slice:prefix:name`; an empty path is `:pyrunc:ID`.

    user: the unit is of the user's manager: then an empty slice is user.slice instead of system.slice.
    Raises PyruncError for a path of another form and for an invalid name of a unit.
    """
    parts = cgroups_path.split(":") if cgroups_path else ["", "pyrunc", id]
    if len(parts) != 3:
        raise PyruncError(
            f'expected cgroupsPath to be of format "slice:prefix:name" for systemd cgroups, '
            f'got "{cgroups_path}" instead',
            pointer=AT,
            hint="or run without --systemd-cgroup",
        )
    slice, prefix, label = parts
    if label.endswith(".slice"):
        raise PyruncError(
            f'cgroupsPath names the slice "{label}", and systemd puts no process into a slice',
            pointer=AT,
            hint="the last part names the container; the first part is the slice",
        )
    slice = slice or ("user.slice" if user else "system.slice")
    expand(slice)
    name = f"{prefix}-{label}.scope"
    for word in (name, slice):
        if len(word) > _LONGEST or not word.isascii() or not word.translate(_SIGNS).isalnum():
            raise PyruncError(
                f'"{word}" is no name for a systemd unit',
                pointer=AT if cgroups_path else "",
                hint=f"letters, digits and :-_.\\@, at most {_LONGEST} of them",
            )
    return Unit(name, slice, label)


def expand(slice: str) -> str:
    """The slice's cgroup below the manager's: `a-b.slice` is in `a.slice`, and `-.slice` is the manager's own, "".

    Raises PyruncError in runc's words.
    """
    name = slice.removesuffix(".slice")
    if name == "-" and slice != name:
        return ""
    parts = name.split("-")
    if name == slice or "/" in slice or "" in parts:
        raise PyruncError(f"invalid slice name: {slice}", pointer=AT, hint="such as system.slice or machine-web.slice")
    return "".join([f"/{'-'.join(parts[: count + 1])}.slice" for count in range(len(parts))])
