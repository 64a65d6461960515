"""The unit that a cgroupsPath names, and the cgroup that systemd makes for it. Cold, and pure.

Rules and words are runc's (docs/systemd.md there), so that engines find their containers.
"""

from __future__ import annotations

from ...errors import PyruncError

AT = "/linux/cgroupsPath"
# What a unit's name may have besides letters and digits, as letters (systemd.unit(5)); and how long it may be.
_SIGNS = {ord(sign): "x" for sign in ":-_.\\@"}
_LONGEST = 255


class Unit:
    """name: the scope's name. slice: the slice that it is to be in. label: what the container is called in it."""

    __slots__ = ("label", "name", "slice")

    def __init__(self, name: str, slice: str, label: str) -> None:
        self.name = name
        self.slice = slice
        self.label = label


def unit_for(cgroups_path: str, id: str, user: bool) -> Unit:
    """The unit for `slice:prefix:name`, or for no path at all, which is `:pyrunc:ID`.

    user: of the user's manager, where an empty slice is user.slice, and not system.slice.
    Raises PyruncError for a path of another form and for what can't be a unit's name.
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
