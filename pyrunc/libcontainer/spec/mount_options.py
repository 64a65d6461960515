"""Mount options of config.md's table, as arguments of fsconfig, fsmount and mount_setattr.

The tables here are the only list of options. `features`, the suggestions in errors, the bits in csrc/init and
docs/mount-options.md come from them; the comment of a row is the text on that page (scripts/options_doc.py).
"""

from __future__ import annotations

from ..kernel.constants import (
    MOUNT_ATTR_ATIME,
    MOUNT_ATTR_NOATIME,
    MOUNT_ATTR_NODEV,
    MOUNT_ATTR_NODIRATIME,
    MOUNT_ATTR_NOEXEC,
    MOUNT_ATTR_NOSUID,
    MOUNT_ATTR_NOSYMFOLLOW,
    MOUNT_ATTR_RDONLY,
    MOUNT_ATTR_STRICTATIME,
    PROPAGATION,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

# What an option does with its value.
_SET = 0  # MOUNT_ATTR_* on the mount
_CLEAR = 1
_ATIME = 2  # one of the access-time settings
_NO_ATIME = 3
_DIRATIME = 4  # 1 for nodiratime, 0 for diratime
_RECURSIVE_SET = 5  # MOUNT_ATTR_* on the whole tree
_RECURSIVE_CLEAR = 6
_PROPAGATION = 7  # MS_*
_BIND = 8  # 1 for bind, 2 for rbind
_REMOUNT = 9
_COPY_UP = 10
_NO_CALL = 11  # a flag that no call of the new mount API takes
_NOTHING = 12
_ID_MAP = 13  # 1 for idmap, 2 for ridmap
_LINKS = 14  # bits of LINK_BITS

# Bits of `links` in a `bind` step. generate/steps.py gives them to C by the same names.
SOURCE_NOFOLLOW = 1  # the source itself where it is a symlink
TARGET_NOFOLLOW = 2  # on the target itself where it is a symlink
COPY_SYMLINK = 4  # a source that is a symlink is copied, not mounted
SOURCE_KEPT = 8  # no option: the source is the mount in the register `keep`
SOURCE_ITSELF = SOURCE_NOFOLLOW | COPY_SYMLINK  # whoever opens the source does not follow it
LINK_BITS = ("SOURCE_NOFOLLOW", "TARGET_NOFOLLOW", "COPY_SYMLINK", "SOURCE_KEPT", "SOURCE_ITSELF")

_ATTRIBUTES = (
    ("ro", "rw", MOUNT_ATTR_RDONLY),  # the mount is read-only
    ("nosuid", "suid", MOUNT_ATTR_NOSUID),  # set-user-ID bits and file capabilities have no effect
    ("nodev", "dev", MOUNT_ATTR_NODEV),  # device nodes can't be opened
    ("noexec", "exec", MOUNT_ATTR_NOEXEC),  # programs can't be executed
    ("nosymfollow", "symfollow", MOUNT_ATTR_NOSYMFOLLOW),  # symlinks are not followed
)
_ATIMES = (
    ("noatime", "atime", MOUNT_ATTR_NOATIME),  # access times are not updated
    ("relatime", "norelatime", 0),  # access times are updated where they are older than the modification, or a day old
    ("strictatime", "nostrictatime", MOUNT_ATTR_STRICTATIME),  # access times are always updated
)
_DIRATIMES = (
    ("nodiratime", "diratime", MOUNT_ATTR_NODIRATIME),  # access times of directories are not updated
)
_OTHERS = (
    ("bind", _BIND, 1),  # the source is a directory or file of the host
    ("rbind", _BIND, 2),  # the same, with the mounts below it
    ("remount", _REMOUNT, 0),  # what is mounted there gets other options
    ("idmap", _ID_MAP, 1),  # ids are mapped by the container's user namespace; crun: also idmap=RANGES
    ("ridmap", _ID_MAP, 2),  # the same for the mounts below it; crun: also ridmap=RANGES
    ("src-nofollow", _LINKS, SOURCE_NOFOLLOW),  # crun: a source that is a symlink is bound itself
    ("dest-nofollow", _LINKS, TARGET_NOFOLLOW),  # crun: a target that is a symlink is covered itself
    ("copy-symlink", _LINKS, COPY_SYMLINK),  # crun: a source that is a symlink is made again in the container
    ("tmpcopyup", _COPY_UP, 0),  # a tmpfs begins with what the image has in the directory that it covers
    ("defaults", _NOTHING, 0),  # nothing
    # Without loss: the kernel keeps i_version for each file system that has one, and says nothing in its log about
    # a failed fsconfig.
    ("silent", _NO_CALL, 0),  # nothing: the new mount API has no such flag
    ("loud", _NO_CALL, 0),  # nothing: the new mount API has no such flag
    ("iversion", _NO_CALL, 0),  # nothing: the kernel keeps i_version for each file system that has one
    ("noiversion", _NO_CALL, 0),  # nothing: the kernel keeps i_version for each file system that has one
)


def _words() -> dict[str, tuple[int, int]]:
    words: dict[str, tuple[int, int]] = {}
    for word, opposite, attribute in _ATTRIBUTES:
        words[word] = (_SET, attribute)
        words[opposite] = (_CLEAR, attribute)
    for word, opposite, attribute in _ATIMES:
        words[word] = (_ATIME, attribute)
        words[opposite] = (_NO_ATIME, attribute)
    for word, opposite, _ in _DIRATIMES:
        words[word] = (_DIRATIME, 1)
        words[opposite] = (_DIRATIME, 0)
    for word, opposite, attribute in (*_ATTRIBUTES, *_ATIMES, *_DIRATIMES):
        words["r" + word] = (_RECURSIVE_SET, attribute)
        words["r" + opposite] = (_RECURSIVE_CLEAR, attribute)
    for word, flag in PROPAGATION.items():
        words[word] = (_PROPAGATION, flag)
    for word, kind, value in _OTHERS:
        words[word] = (kind, value)
    return words


_WORDS = _words()
_UNKNOWN = (-1, 0)
_ID_MAP_WORDS = ("idmap=", "ridmap=")

# Flags of the file system, which fsconfig takes by these words: each word, and what it speaks of.
_SUPERBLOCK = {
    "sync": "sync",  # writes reach the device at once
    "async": "sync",  # the opposite of sync
    "dirsync": "dirsync",  # changes of directories reach the device at once
    "mand": "mand",  # mandatory locks, which Linux has no more
    "nomand": "mand",  # the opposite of mand
    "lazytime": "lazytime",  # times are kept in memory until the inode is written
    "nolazytime": "lazytime",  # the opposite of lazytime
}

# The options of SELinux: their values may have commas.
_CONTEXTS = ("context", "fscontext", "defcontext", "rootcontext")

# The options that `features` lists, and those of them about symlinks of a bind mount.
KNOWN_OPTIONS: tuple[str, ...] = tuple(sorted((*_WORDS, *_SUPERBLOCK)))
LINK_OPTIONS: tuple[str, ...] = tuple(word for word, kind, _ in _OTHERS if kind == _LINKS)

# The flags that the kernel may lock in the mount namespace of a user namespace (mount_namespaces(7)), apart from access
# times.
_LOCKABLE = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC


class MountOptions:
    """The options of one mount. If options contradict each other, the last one counts.

    attr_set, attr_clr: MOUNT_ATTR_* to set and to clear on the mount itself, after those of the tree, which they
        override.
    rattr_set, rattr_clr: the same for the whole tree. An option of the tree overrides earlier options of the mount.
    superblock: the last option for each flag of the file system, by that flag (`{"sync": "async"}`).
    propagation: MS_* in order; the kernel combines them (a slave that is made shared is both).
    data: options for the file system, as (position in the list, option); empty ones are left out.
    settings: the same for fsconfig. mount(2) takes one comma-separated string, so an entry may hold several options. A
        value in quotes or with escaped commas (SELinux contexts, overlay's lowerdir) is not split.
    bind: 0, 1 for bind, 2 for rbind, which includes bind. id_map: 0, 1 for idmap, 2 for ridmap, which includes idmap.
    id_map_ranges: the texts behind `idmap=` and `ridmap=`, as (position in the list, text) (idmaps.py).
    links: bits of LINK_BITS.
    remount, copy_up: whether `remount` and `tmpcopyup` are there.
    of_new: the MOUNT_ATTR_* of a new mount, which has no other mounts below it.
    touched: whether any option is a flag: mount(2) then clears the flags that are not named.
    implied_clr: those flags, and diratime's opposite, of a bind mount: all of them, and without the flags that the
        kernel may have locked (it never locks nosymfollow).
    """

    __slots__ = (
        "_atime",
        "_nodiratime",
        "attr_clr",
        "attr_set",
        "bind",
        "copy_up",
        "data",
        "id_map",
        "id_map_ranges",
        "implied_clr",
        "links",
        "of_new",
        "propagation",
        "rattr_clr",
        "rattr_set",
        "remount",
        "settings",
        "superblock",
        "touched",
    )

    def __init__(self) -> None:
        self.attr_set = 0
        self.attr_clr = 0
        self.rattr_set = 0
        self.rattr_clr = 0
        self.superblock: dict[str, str] = {}
        self.propagation: list[int] = []
        self.data: list[tuple[int, str]] = []
        self.settings: list[str] = []
        self.bind = 0
        self.id_map = 0
        self.id_map_ranges: list[tuple[int, str]] = []
        self.links = 0
        self.remount = False
        self.copy_up = False
        self.touched = False
        self.implied_clr = (0, 0)
        self.of_new = 0
        self._atime = -1
        self._nodiratime = -1

    def replaced_clr(self, locked: bool) -> int:
        """The flags that mount(2) clears besides the named ones when it changes the flags of a mount.

        locked: leave out the flags that the kernel may have locked.
        """
        cleared = MOUNT_ATTR_NOSYMFOLLOW
        if not locked:
            cleared |= _LOCKABLE | (MOUNT_ATTR_NODIRATIME if self._nodiratime == 0 else 0)
        return cleared & ~(self.attr_set | self.rattr_set)

    def _flag(self, kind: int, value: int) -> None:
        """Apply an option of the mount itself."""
        if kind == _SET:
            self.attr_set |= value
            self.attr_clr &= ~value
        elif kind == _CLEAR:
            self.attr_set &= ~value
            self.attr_clr |= value
        elif kind == _ATIME:
            self._atime = value
        elif kind == _NO_ATIME:
            if self._atime == value:
                self._atime = -1
            elif value and self.rattr_set & MOUNT_ATTR_ATIME == value:
                self._atime = 0  # undo for this mount what an option of the tree has set
        else:
            self._nodiratime = value

    def _recursive(self, kind: int, value: int) -> None:
        """Apply an option of the whole tree. The access-time settings are one field: if one is set, the kernel wants
        all of its bits cleared (mount_setattr(2))."""
        atime = value & ~MOUNT_ATTR_ATIME == 0
        # The mount is part of its tree: earlier options of the mount are overridden.
        if atime:
            self._atime = -1
        elif value == MOUNT_ATTR_NODIRATIME:
            self._nodiratime = -1
        else:
            self.attr_set &= ~value
            self.attr_clr &= ~value
        if kind == _RECURSIVE_SET:
            self.rattr_set = self.rattr_set & ~(MOUNT_ATTR_ATIME if atime else 0) | value
            self.rattr_clr &= ~value
        else:
            self.rattr_set &= ~value
            self.rattr_clr |= value
        if atime:
            self.rattr_clr |= MOUNT_ATTR_ATIME

    def _other(self, kind: int, value: int) -> None:
        if kind == _PROPAGATION:
            self.propagation.append(value)
        elif kind == _BIND:
            self.bind = max(self.bind, value)
        elif kind == _REMOUNT:
            self.remount = True
        elif kind == _COPY_UP:
            self.copy_up = True
        elif kind == _NO_CALL:
            self.touched = True
        elif kind == _ID_MAP:
            self.id_map = max(self.id_map, value)
        elif kind == _LINKS:
            self.links |= value

    def _finish(self) -> None:
        """Put the access-time options into attr_set and attr_clr.

        As in mount(2): an option that sets something replaces the whole setting, and nodiratime alone means relatime
        too; options that only clear something leave a bind mount's setting unchanged.
        """
        if self._atime >= 0 or self._nodiratime == 1:
            self.attr_clr |= MOUNT_ATTR_ATIME
            # nodiratime alone does not undo what an option of the whole tree has set.
            self.attr_set |= self._atime if self._atime >= 0 else self.rattr_set & MOUNT_ATTR_ATIME
            if self._nodiratime == 1 or (self._nodiratime < 0 and self.rattr_set & MOUNT_ATTR_NODIRATIME):
                self.attr_set |= MOUNT_ATTR_NODIRATIME
            else:
                self.attr_clr |= MOUNT_ATTR_NODIRATIME
        elif self._nodiratime == 0 and self.rattr_set & MOUNT_ATTR_NODIRATIME:
            self.attr_clr |= MOUNT_ATTR_NODIRATIME
        self.of_new = self.attr_set | self.rattr_set & ~self.attr_clr
        if self.touched:
            self.implied_clr = (self.replaced_clr(False), self.replaced_clr(True))


def parse(options: Iterable[str]) -> MountOptions:
    """Parse a mount's `options`. Unknown ones go into `data`; nothing is refused here.

    Equal lists share the result: nobody changes it. config.md, "Linux mount options"; mount(2), mount_setattr(2).
    """
    words = tuple(options)
    if words not in _parsed:
        _parsed[words] = _parse(words)
    return _parsed[words]


def _unquoted(word: str) -> str:
    """An SELinux context for fsconfig. Only mount(2) needs quotes around a context with commas."""
    name, _, value = word.partition("=")
    if name in _CONTEXTS and len(value) > 1 and value[0] == value[-1] == '"':
        return f"{name}={value[1:-1]}"
    return word


def _parse(options: tuple[str, ...]) -> MountOptions:
    result = MountOptions()
    for index, word in enumerate(options):
        kind, value = _WORDS.get(word, _UNKNOWN)
        if kind >= _RECURSIVE_SET:
            if kind <= _RECURSIVE_CLEAR:
                result._recursive(kind, value)
            else:
                result._other(kind, value)
        elif kind >= 0:
            result._flag(kind, value)
            result.touched = True
        elif word in _SUPERBLOCK:
            result.superblock[_SUPERBLOCK[word]] = word
            result.touched = True
        elif word.startswith(_ID_MAP_WORDS):
            name, _, text = word.partition("=")
            result._other(*_WORDS[name])
            result.id_map_ranges.append((index, text))
        elif word:
            result.data.append((index, word))
            if "," in word and '"' not in word and "\\" not in word:
                result.settings += [part for part in word.split(",") if part]
            else:
                result.settings.append(_unquoted(word))
    result._finish()
    return result


# What has been parsed, by the list. The lists that engines write for the mounts that every container has, and for
# volumes, are parsed when this module is imported.
_parsed: dict[tuple[str, ...], MountOptions] = {}
for _line in (
    "",
    "nosuid noexec nodev",
    "nosuid noexec nodev ro",
    "nosuid noexec nodev relatime ro",
    "ro nosuid noexec nodev",
    "nosuid strictatime mode=755 size=65536k",
    "nosuid noexec newinstance ptmxmode=0666 mode=0620 gid=5",
    "nosuid noexec nodev mode=1777 size=65536k",
    "nosuid noexec nodev mode=1777 size=67108864",
    "rprivate nosuid noexec nodev relatime rw",
    "rbind rprivate rw",
    "rbind rprivate ro",
    "rbind rprivate",
    "rbind ro",
    "rbind rw",
    "bind",
    "bind rprivate",
):
    parse(_line.split())
