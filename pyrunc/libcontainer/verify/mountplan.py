"""The mounts of a plan: the expected result of its steps about mounts. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...paths import clean
from ..kernel.constants import (
    MOUNT_ATTR_ATIME,
    MOUNT_ATTR_RDONLY,
    MS_PRIVATE,
    MS_SHARED,
    MS_SLAVE,
    MS_UNBINDABLE,
)
from ..kernel.mounttable import WORDS
from ..spec.mount_options import COPY_SYMLINK, SOURCE_NOFOLLOW, TARGET_NOFOLLOW

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..plan.model import Step

_ALL = sum(bit for _, bit in WORDS) | MOUNT_ATTR_ATIME
MASK = "mask"


class Variant:
    """One way in which a mount may have been made: the plan's first choice, or an alternative.

    fstype: that of a new file system, "" for a bind mount, MASK for an empty directory instead. source: the path of the
    host for a bind mount. set, clear: the MOUNT_ATTR_* that must be set, and that must not be set.
    options: those of the file system for fsconfig. recursive: the mounts below the source are included.
    """

    __slots__ = ("clear", "fstype", "options", "recursive", "set", "source")

    def __init__(self, fstype: str, source: str, set: int, clear: int) -> None:
        self.fstype = fstype
        self.source = source
        self.set = set
        self.clear = clear
        self.options: tuple[str, ...] = ()
        self.recursive = False


class Wanted:
    """An expected mount. target: absolute, in the container; is_copy: it may be a copy of the source, a symlink.
    follow: whether a symlink at the target is followed. propagation: MS_* in the order in which they were set."""

    __slots__ = ("follow", "is_copy", "keep", "pointer", "propagation", "target", "variants")

    def __init__(self, pointer: str, target: str, keep: int = 0) -> None:
        self.pointer = pointer
        self.target = target
        self.keep = keep
        self.follow = True
        self.is_copy = False
        self.propagation: list[int] = []
        self.variants: list[Variant] = []

    def change(self, set: int, clear: int) -> None:
        """Flags that a later step sets and clears. The access times are one setting."""
        for variant in self.variants:
            if (set | clear) & MOUNT_ATTR_ATIME:
                variant.set &= ~MOUNT_ATTR_ATIME
                variant.clear |= MOUNT_ATTR_ATIME & ~set
            variant.set = variant.set & ~clear | set
            variant.clear = variant.clear & ~set | (clear & ~set)


def wanted_mounts(steps: Iterable[Step]) -> list[Wanted]:
    """The mounts of an init's steps, in order; the last one at a target is on top.

    Flags of `change_flags` may be locked in a user namespace, so they are not checked.
    """
    found: list[Wanted] = []
    for step in steps:
        if step.kind in ("mount", "bind", "bind_cgroup") or (step.kind == "mask_path" and step.fallback_level):
            if step.fallback_level == 0:
                found.append(_begin(step))
            found[-1].variants.append(_variant(step))
        elif step.kind == "remount":
            _remount(found, step)
        elif step.kind == "seal_mount":
            for wanted in found:
                if wanted.keep == step.arg("keep"):
                    wanted.change(MOUNT_ATTR_RDONLY, 0)
    return found


def _begin(step: Step) -> Wanted:
    keep = int(str(step.arg("keep"))) if step.kind == "mount" else 0
    wanted = Wanted(step.pointer, str(step.arg("path" if step.kind == "mask_path" else "target")), keep)
    if step.kind == "bind":
        links = int(str(step.arg("links")))
        wanted.is_copy = bool(links & COPY_SYMLINK)
        wanted.follow = not links & TARGET_NOFOLLOW and not wanted.is_copy
    if step.kind in ("mount", "bind") and step.arg("propagation"):
        wanted.propagation.append(int(str(step.arg("propagation"))))
    return wanted


def _variant(step: Step) -> Variant:
    if step.kind == "mask_path":
        return Variant(MASK, "", 0, 0)
    if step.kind == "bind_cgroup":
        return Variant("cgroup2", "", int(str(step.arg("attr_set"))), 0)
    if step.kind == "mount":
        set = int(str(step.arg("attr_set")))
        made = Variant(str(step.arg("fstype")), "", set, _ALL & ~set)
        options = step.arg("options")
        assert isinstance(options, tuple)
        made.options = options
        return made
    attributes = [int(str(step.arg(name))) for name in ("attr_set", "attr_clr", "rattr_set", "rattr_clr")]
    set, clear, rset, rclear = attributes
    # The init changes the tree first and its root after it.
    made = Variant("", str(step.arg("source")), set | rset & ~clear, clear & ~set | (rclear & ~set & ~rset))
    if made.set & MOUNT_ATTR_ATIME:
        made.clear |= MOUNT_ATTR_ATIME & ~made.set
    made.recursive = bool(step.arg("recursive"))
    return made


def _remount(found: list[Wanted], step: Step) -> None:
    """Apply a step that changes the last mount at a target."""
    target = clean(str(step.arg("target")))
    set, clear, rset, rclear = [int(str(step.arg(name))) for name in ("attr_set", "attr_clr", "rattr_set", "rattr_clr")]
    for wanted in reversed(found):
        if clean(wanted.target) == target:
            wanted.change(set | rset & ~clear, clear | (rclear & ~set))
            if step.arg("propagation"):
                wanted.propagation.append(int(str(step.arg("propagation"))))
            return


def covered(wanted: list[Wanted], index: int) -> bool:
    """Whether a later mount on the target of this one or above it hides it."""
    path = clean(wanted[index].target)
    return any(_is_at_or_above(clean(other.target), path) for other in wanted[index + 1 :])


def is_at_or_below(path: str, others: Iterable[str]) -> bool:
    """Whether a path is one of others, which are clean, or below one."""
    return any(_is_at_or_above(other, clean(path)) for other in others)


def _is_at_or_above(above: str, path: str) -> bool:
    return above == path or (path + "/").startswith(above.rstrip("/") + "/")


def follows_source(step: Step) -> bool:
    """Whether a symlink as a bind mount's source was followed."""
    return not int(str(step.arg("links"))) & (SOURCE_NOFOLLOW | COPY_SYMLINK)


def propagation_text(flags: Iterable[int], found: frozenset[str]) -> tuple[str, str] | None:
    """(expected, found) if the found propagation is not the result of these types, set in order."""
    expected = ""
    for flag in flags:
        if flag & MS_SHARED:
            expected = "shared"
        elif flag & MS_UNBINDABLE:
            expected = "unbindable"
        elif flag & MS_SLAVE:
            expected = "slave"
        elif flag & MS_PRIVATE:
            expected = "private"
    shown = "shared" if "shared" in found else "slave" if "master" in found else "private"
    if "unbindable" in found:
        shown = "unbindable"
    right = {
        "": "shared" not in found,
        "shared": "shared" in found,
        "slave": "shared" not in found,  # a mount without peers becomes private
        "private": not found & {"shared", "master"},
        "unbindable": "unbindable" in found,
    }[expected]
    return None if right else (expected or "not shared", shown)
