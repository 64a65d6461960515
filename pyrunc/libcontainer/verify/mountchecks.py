"""Compare the container's mounts with its plan, and its masked and read-only paths."""

from __future__ import annotations

import errno
import stat
from typing import TYPE_CHECKING

from ...paths import clean
from ..kernel import mounttable
from ..kernel.constants import MOUNT_ATTR_RDONLY, MS_SHARED, MS_UNBINDABLE, PROPAGATION
from . import mountplan, processfiles
from .mountplan import MASK

if TYPE_CHECKING:
    from ..kernel.mounttable import Entry
    from .differences import Findings
    from .expected import Expected
    from .look import Look, Place, Question
    from .mountplan import Variant, Wanted

# The options of file systems that can be compared with mountinfo: how, by file system and name.
_SIZE, _OCTAL, _NUMBER, _ID, _WORD = range(5)
_COMPARED = {
    "tmpfs": {"size": _SIZE, "nr_inodes": _SIZE, "mode": _OCTAL, "uid": _ID, "gid": _ID},
    "devpts": {"mode": _OCTAL, "ptmxmode": _OCTAL, "gid": _ID, "uid": _ID, "max": _NUMBER},
    "proc": {"hidepid": _WORD, "subset": _WORD, "gid": _ID},
}
# The values that mountinfo leaves out (shmem_show_options(), devpts_show_options()).
_LEFT_OUT = {("tmpfs", "mode"): "1777", ("tmpfs", "uid"): "0", ("tmpfs", "gid"): "0", ("devpts", "max"): "1048576"}
# File systems whose superblock is read-only only by an option.
_WRITABLE = ("tmpfs", "ramfs", "mqueue", "devpts")
_UNITS = {"k": 10, "m": 20, "g": 30, "t": 40}
_HIDEPID = {"0": "off", "1": "noaccess", "2": "invisible", "4": "ptraceable"}
_CONSOLE = "/dev/console"
_NULL = (1, 3)
_GONE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)


def ask(expected: Expected, question: Question) -> None:
    """Add the requests of `check` to a question."""
    for wanted in mountplan.wanted_mounts(expected.plan.init):
        question.paths.add((wanted.target, wanted.follow))
    for step in expected.steps("bind"):
        question.sources.add((str(step.arg("source")), mountplan.follows_source(step)))
    for step in expected.steps("mask_path", "readonly_path"):
        question.paths.add((str(step.args[0]), True))
    question.paths.add(("/", True))
    if expected.step("console") is not None:
        question.paths.add((_CONSOLE, True))


def check(expected: Expected, seen: Look, findings: Findings) -> None:
    """Compare the mounts."""
    wanted = mountplan.wanted_mounts(expected.plan.init)
    points = _Points()
    masks = [clean(str(step.args[0])) for step in expected.steps("mask_path") if not step.fallback_level]
    read_only = [clean(str(step.args[0])) for step in expected.steps("readonly_path")]
    for index, mount in enumerate(wanted):
        place = seen.place(mount.target, mount.follow)
        if clean(mount.target) in read_only:
            mount.change(MOUNT_ATTR_RDONLY, 0)
        if mountplan.covered(wanted, index) or mountplan.is_at_or_below(mount.target, masks):
            points.add(clean(mount.target))
            continue
        points.add(seen.point(place) or clean(mount.target), any(variant.recursive for variant in mount.variants))
        _mount(expected, mount, seen, place, findings)
    for step in expected.steps("readonly_path"):
        _read_only(str(step.args[0]), step.pointer, seen, points, findings)
    for step in expected.steps("mask_path"):
        if not step.fallback_level:
            _masked(str(step.args[0]), step.pointer, seen, points, findings)
    for step in expected.steps("bind_device"):
        points.add(clean(str(step.arg("path"))), False, False)
    if expected.step("console") is not None:
        points.add(_CONSOLE, False, False)
    _root(expected, seen, findings)
    if expected.has("mount"):
        _others(seen, points, findings)


class _Points:
    """The mount points of the plan: how many mounts are on each, and below which any number may be."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        self.trees: list[str] = []
        self.maybe: set[str] = set()

    def add(self, point: str, is_tree: bool = False, is_sure: bool = True) -> None:
        if is_tree:
            self.trees.append(point)
        if is_sure:
            self.counts[point] = self.counts.get(point, 0) + 1
        else:
            self.maybe.add(point)

    def is_below_tree(self, point: str) -> bool:
        return any((point + "/").startswith(tree.rstrip("/") + "/") and point != tree for tree in self.trees)


def _mount(expected: Expected, wanted: Wanted, seen: Look, place: Place, findings: Findings) -> None:
    """Compare one mount. One of its alternatives must match; differences are those from the first one."""
    what = f"mount at {wanted.target}"
    if wanted.is_copy and stat.S_ISLNK(place.mode):
        return
    first = wanted.variants[0]
    name = first.fstype or f"{first.source} bound"
    if place.error:
        reason = "nothing there" if place.error in _GONE else f"errno {place.error}"
        findings.differ(wanted.pointer, what, name, reason)
        return
    entry = seen.mount_at(place)
    if entry is None:
        if any(variant.fstype == MASK for variant in wanted.variants):
            return
        under = seen.mount_of(place)
        text = f"no mount there, but what is mounted at {under.point}" if under is not None else "no mount"
        findings.differ(wanted.pointer, what, name, text)
        return
    best: list[tuple[str, str, str, str]] | None = None
    for variant in wanted.variants:
        problems = _problems(expected, wanted, variant, seen, place, entry)
        if not problems:
            best = []
            break
        best = problems if best is None else best
    for at, kind, right, found in best or ():
        findings.differ(at, f"{kind}{what}", right, found)
    propagation = mountplan.propagation_text(wanted.propagation, entry.propagation)
    if propagation is not None and (wanted.propagation or _is_never_shared(expected)):
        findings.differ(f"{wanted.pointer}/options", f"propagation of the {what}", *propagation)


def _is_never_shared(expected: Expected) -> bool:
    """Whether a mount without a propagation option must not be shared: its parent is not."""
    flag = PROPAGATION.get(expected.linux.get("rootfsPropagation") or "", 0)
    return expected.has("mount") and not flag & MS_SHARED


def _problems(
    expected: Expected, wanted: Wanted, variant: Variant, seen: Look, place: Place, entry: Entry
) -> list[tuple[str, str, str, str]]:
    """The differences of a mount from a variant: (pointer, kind, expected, found)."""
    if variant.fstype == MASK:
        return []
    if variant.fstype and variant.fstype != entry.fstype:
        return [(wanted.pointer, "", variant.fstype, entry.fstype)]
    if not variant.fstype:
        # Earlier mounts may cover a source in the rootfs (compile/mount.py, in_rootfs).
        inside = mountplan.is_at_or_below(variant.source, [clean(expected.record.rootfs)])
        text = "" if inside else _source(variant, seen, place)
        if text:
            return [(f"{wanted.pointer}/source", "source of the ", variant.source, text)]
    found = []
    missing, extra = variant.set & ~entry.attributes, variant.clear & entry.attributes
    if missing or extra:
        right = mounttable.words(entry.attributes & ~variant.clear | variant.set)
        found.append((f"{wanted.pointer}/options", "flags of the ", right, mounttable.words(entry.attributes)))
    for name, right, real in _options(seen, variant, entry):
        found.append((f"{wanted.pointer}/options", f"{name} of the ", right, real))
    return found


def _source(variant: Variant, seen: Look, place: Place) -> str:
    """The path that is bound instead of a variant's source; "" if it is the source, or unknown."""
    sources = [seen.sources.get((variant.source, follow)) for follow in (True, False)]
    known = [source for source in sources if source is not None]
    if not known or any((source.dev, source.ino) == (place.dev, place.ino) for source in known):
        return ""
    if all(source.error for source in known):
        return "bound, but the source is not there any more"
    return "another file than is there now"


def _options(seen: Look, variant: Variant, entry: Entry) -> list[tuple[str, str, str]]:
    """The options of a file system that differ from the given ones: (name, expected, found)."""
    kinds = _COMPARED.get(entry.fstype, {})
    has = dict(word.partition("=")[::2] for word in entry.options)
    result = []
    given = dict(word.partition("=")[::2] for word in variant.options)
    for name, value in given.items():
        kind = kinds.get(name)
        if kind is None or not value:
            continue
        found = has.get(name, _LEFT_OUT.get((entry.fstype, name)))
        wanted = _comparable(kind, value)
        if kind == _ID and wanted is not None:
            wanted = processfiles.translated(int(str(wanted)), seen.maps[name])
        if wanted is None or (found is not None and _comparable(kind, found) == wanted):
            continue
        result.append((name, value, "not set" if found is None else found))
    # A read-only superblock makes the mount read-only, with any flags. Some are read-only by themselves, such as an
    # overlay without an upper layer.
    if entry.fstype in _WRITABLE and "ro" in has and "ro" not in given and not variant.set & MOUNT_ATTR_RDONLY:
        result.append(("read-only file system", "rw", "ro"))
    return result


def _comparable(kind: int, value: str) -> int | str | None:
    """A value in its normal form; None if it has none (`size=50%`)."""
    if kind == _WORD:
        return _HIDEPID.get(value, value)
    try:
        if kind == _OCTAL:
            return int(value, 8)
        if kind == _SIZE:
            unit = _UNITS.get(value[-1:].lower())
            size = int(value[:-1]) << unit if unit is not None else int(value)
            return -(-size // 4096)  # in pages, rounded up; the same rounding does not harm numbers of inodes
        return int(value)
    except ValueError:
        return None


def _read_only(path: str, at: str, seen: Look, points: _Points, findings: Findings) -> None:
    place = seen.place(path)
    if place.error in _GONE:
        return
    points.add(seen.point(place), True, False)
    entry = seen.mount_at(place)
    if entry is None:
        findings.differ(at, f"read-only path {path}", "bound on itself, read-only", "no mount there")
    elif not entry.attributes & MOUNT_ATTR_RDONLY:
        findings.differ(at, f"read-only path {path}", "read-only", "writable")


def _masked(path: str, at: str, seen: Look, points: _Points, findings: Findings) -> None:
    """Compare a masked path: a directory is hidden by a read-only tmpfs, anything else by /dev/null."""
    place = seen.place(path)
    if place.error in _GONE:
        return
    points.add(seen.point(place), False, False)
    entry = seen.mount_at(place)
    what = f"masked path {path}"
    if stat.S_ISDIR(place.mode):
        if entry is None or entry.fstype != "tmpfs":
            of = seen.mount_of(place)
            findings.differ(at, what, "hidden", f"a directory of {of.fstype if of is not None else 'no known mount'}")
        elif not entry.attributes & MOUNT_ATTR_RDONLY:
            findings.differ(at, what, "hidden by a read-only tmpfs", "by one that is writable")
    elif not stat.S_ISCHR(place.mode) or place.rdev != _NULL:
        findings.differ(at, what, "hidden", f"a {place.type}")


def _root(expected: Expected, seen: Look, findings: Findings) -> None:
    entry = seen.mount_of(seen.place("/"))
    if entry is None:
        findings.miss("/root", "mount of the root", "the mount table does not have it")
        return
    if expected.step("readonly_rootfs") is not None and not entry.attributes & MOUNT_ATTR_RDONLY:
        findings.differ("/root/readonly", "root file system", "read-only", "writable")
    if not expected.has("mount"):
        return
    word = expected.linux.get("rootfsPropagation") or ""
    flag = PROPAGATION.get(word, 0)
    text = mountplan.propagation_text([flag] if flag & (MS_SHARED | MS_UNBINDABLE) else [], entry.propagation)
    if text is not None:
        findings.differ("/linux/rootfsPropagation", "propagation of the root", *text)


def _others(seen: Look, points: _Points, findings: Findings) -> None:
    """Report mounts that the plan does not have."""
    counts: dict[str, int] = {}
    for entry in seen.mounts:
        counts[entry.point] = counts.get(entry.point, 0) + 1
        planned = points.counts.get(entry.point, 0)
        if entry.point == "/" or entry.point in points.maybe or points.is_below_tree(entry.point):
            continue
        if "master" in entry.propagation and not planned:
            continue  # it was propagated from the host
        if counts[entry.point] > planned:
            flags = mounttable.words(entry.attributes)
            source = f" of {entry.root}" if entry.root != "/" else ""
            text = f"{entry.fstype}{source}, {flags}"
            what = f"mount at {entry.point}"
            findings.differ("/mounts", what, "only those of the plan" if planned else "none", text)
