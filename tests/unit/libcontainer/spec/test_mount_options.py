"""The words of config.md's table of mount options."""

from __future__ import annotations

from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyrunc.libcontainer.kernel.constants import MOUNT_ATTR_ATIME, MS_PRIVATE, MS_REC, MS_SHARED, MS_SLAVE
from pyrunc.libcontainer.spec.mount_options import (
    COPY_SYMLINK,
    KNOWN_OPTIONS,
    LINK_OPTIONS,
    SOURCE_NOFOLLOW,
    TARGET_NOFOLLOW,
    parse,
)

RDONLY, NOSUID, NODEV, NOEXEC, NOATIME, STRICTATIME, NODIRATIME = 1, 2, 4, 8, 0x10, 0x20, 0x80
NOSYMFOLLOW = 0x200000

# config.md, "Linux mount options".
TABLE = """
    async atime bind defaults dev diratime dirsync exec iversion lazytime loud mand noatime nodev nodiratime noexec
    noiversion nolazytime nomand norelatime nostrictatime nosuid nosymfollow private ratime rbind rdev rdiratime
    relatime remount rexec rnoatime rnodiratime rnoexec rnorelatime rnostrictatime rnosuid rnosymfollow ro rprivate
    rrelatime rro rrw rshared rslave rstrictatime rsuid rsymfollow runbindable rw shared silent slave strictatime suid
    symfollow sync tmpcopyup unbindable rnodev idmap ridmap
"""


def test_the_table_of_the_specification_is_known() -> None:
    assert set(TABLE.split()) <= set(KNOWN_OPTIONS)


def test_an_option_of_crun_s_is_none_of_the_specification_s() -> None:
    assert not set(LINK_OPTIONS) & set(TABLE.split())


@pytest.mark.parametrize(
    ("words", "attr_set", "attr_clr"),
    [
        ("ro nosuid nodev noexec nosymfollow", RDONLY | NOSUID | NODEV | NOEXEC | NOSYMFOLLOW, 0),
        ("rw suid dev exec symfollow", 0, RDONLY | NOSUID | NODEV | NOEXEC | NOSYMFOLLOW),
        ("ro rw", 0, RDONLY),
        ("rw ro", RDONLY, 0),
        ("nosuid suid nosuid", NOSUID, 0),
        ("defaults silent loud iversion noiversion", 0, 0),
    ],
)
def test_attributes(words: str, attr_set: int, attr_clr: int) -> None:
    options = parse(words.split())
    assert (options.attr_set, options.attr_clr) == (attr_set, attr_clr)


# The last word about the access time replaces the whole setting; words that only clear leave it.
@pytest.mark.parametrize(
    ("words", "attr_set", "attr_clr"),
    [
        ("noatime", NOATIME, MOUNT_ATTR_ATIME | NODIRATIME),
        ("relatime", 0, MOUNT_ATTR_ATIME | NODIRATIME),
        ("strictatime", STRICTATIME, MOUNT_ATTR_ATIME | NODIRATIME),
        ("nodiratime", NODIRATIME, MOUNT_ATTR_ATIME),
        ("nodiratime strictatime", STRICTATIME | NODIRATIME, MOUNT_ATTR_ATIME),
        ("noatime strictatime", STRICTATIME, MOUNT_ATTR_ATIME | NODIRATIME),
        ("strictatime noatime", NOATIME, MOUNT_ATTR_ATIME | NODIRATIME),
        ("noatime atime", 0, 0),
        ("strictatime nostrictatime", 0, 0),
        ("relatime norelatime", 0, 0),
        ("noatime norelatime", NOATIME, MOUNT_ATTR_ATIME | NODIRATIME),
        ("nodiratime diratime", 0, 0),
        ("atime norelatime nostrictatime diratime", 0, 0),
    ],
)
def test_access_times(words: str, attr_set: int, attr_clr: int) -> None:
    options = parse(words.split())
    assert (options.attr_set, options.attr_clr) == (attr_set, attr_clr)


@pytest.mark.parametrize(
    ("words", "rattr_set", "rattr_clr"),
    [
        ("rro rnosuid", RDONLY | NOSUID, 0),
        ("rrw rsuid rdev rexec rsymfollow", 0, RDONLY | NOSUID | NODEV | NOEXEC | NOSYMFOLLOW),
        ("rnodev rnoexec rnosymfollow", NODEV | NOEXEC | NOSYMFOLLOW, 0),
        ("rro rrw", 0, RDONLY),
        ("rrw rro", RDONLY, 0),
        ("rnoatime", NOATIME, MOUNT_ATTR_ATIME),
        ("ratime", 0, MOUNT_ATTR_ATIME),
        ("rnoatime ratime", 0, MOUNT_ATTR_ATIME),
        ("rnoatime rstrictatime", STRICTATIME, MOUNT_ATTR_ATIME),
        ("rstrictatime rrelatime", 0, MOUNT_ATTR_ATIME),
        ("rnorelatime", 0, MOUNT_ATTR_ATIME),
        ("rnostrictatime", 0, MOUNT_ATTR_ATIME),
        ("rnodiratime", NODIRATIME, 0),
        ("rnodiratime rdiratime", 0, NODIRATIME),
        ("ro noatime", 0, 0),
    ],
)
def test_recursive_attributes(words: str, rattr_set: int, rattr_clr: int) -> None:
    options = parse(words.split())
    # only the field of the access times may be both set and cleared, as mount_setattr(2) requires
    assert (options.rattr_set, options.rattr_clr & ~(rattr_set & MOUNT_ATTR_ATIME)) == (
        rattr_set,
        rattr_clr & ~(rattr_set & MOUNT_ATTR_ATIME),
    )
    assert not options.touched or "ro" in words.split()


@given(st.lists(st.sampled_from(KNOWN_OPTIONS), max_size=12))
def test_the_kernel_takes_every_combination(words: list[str]) -> None:
    """mount_setattr(2), EINVAL: at most one access-time setting, with the whole field cleared; no other bit both set
    and cleared."""
    options = parse(words)
    for attr_set, attr_clr in ((options.attr_set, options.attr_clr), (options.rattr_set, options.rattr_clr)):
        assert attr_set & MOUNT_ATTR_ATIME in (0, NOATIME, STRICTATIME)
        assert attr_clr & MOUNT_ATTR_ATIME in (0, MOUNT_ATTR_ATIME)
        if attr_set & MOUNT_ATTR_ATIME:
            assert attr_clr & MOUNT_ATTR_ATIME
        assert not attr_set & attr_clr & ~MOUNT_ATTR_ATIME
    assert not options.data


def test_superblock_flags_by_their_last_word() -> None:
    options = parse("sync dirsync mand lazytime nomand async".split())
    assert options.superblock == {"sync": "async", "dirsync": "dirsync", "mand": "nomand", "lazytime": "lazytime"}
    assert options.attr_set == options.attr_clr == 0


def test_propagation_in_order() -> None:
    assert parse("rslave shared rprivate".split()).propagation == [MS_SLAVE | MS_REC, MS_SHARED, MS_PRIVATE | MS_REC]


def test_other_words() -> None:
    options = parse("bind rbind remount tmpcopyup".split())
    assert (options.bind, options.remount, options.copy_up) == (2, True, True)
    plain = parse(())
    assert (plain.bind, plain.remount, plain.copy_up) == (0, False, False)


def test_unknown_words_are_data_with_their_place() -> None:
    assert parse(["ro", "size=1m", "nosuid", "", "IDMAP", "RO"]).data == [
        (1, "size=1m"),
        (4, "IDMAP"),
        (5, "RO"),
    ]


@pytest.mark.parametrize("words", ["", "bind", "rbind rprivate", "rbind rro", "remount", "defaults", "tmpcopyup"])
def test_words_that_clear_nothing_else(words: str) -> None:
    assert parse(words.split()).implied_clr[False] == 0


def test_diratime_clears_nodiratime_where_that_can_t_be_locked() -> None:
    assert parse(["diratime"]).implied_clr[False] & NODIRATIME
    assert not parse(["diratime"]).implied_clr[True] & NODIRATIME
    assert not parse(["diratime", "nodiratime"]).implied_clr[False] & NODIRATIME


@pytest.mark.parametrize("word", ["ro", "rw", "nosuid", "noatime", "atime", "sync", "silent", "noiversion"])
def test_a_flag_clears_the_flags_that_are_not_named(word: str) -> None:
    cleared = RDONLY | NOSUID | NODEV | NOEXEC | NOSYMFOLLOW
    assert parse([word]).implied_clr[False] == cleared & ~parse([word]).attr_set
    assert parse([word]).implied_clr[True] == NOSYMFOLLOW


@pytest.mark.parametrize(("words", "id_map"), [("bind", 0), ("bind idmap", 1), ("ridmap", 2), ("ridmap idmap", 2)])
def test_id_maps(words: str, id_map: int) -> None:
    options = parse(words.split())
    assert options.id_map == id_map
    assert not options.touched


@pytest.mark.parametrize("words", list(permutations(["rbind", "rprivate", "rw", "bind"])))
def test_s1_rbind_is_recursive_wherever_it_stands(words: tuple[str, ...]) -> None:
    """S1: in `rbind,rprivate,rw,bind` the last word removed the submounts."""
    assert parse(words).bind == 2


@pytest.mark.parametrize("words", list(permutations(["idmap", "ridmap", "idmap=uids=0-1-1;gids=0-1-1"])))
def test_s1_ridmap_is_recursive_wherever_it_stands(words: tuple[str, ...]) -> None:
    assert parse(words).id_map == 2


# The mount itself and the mounts below it, after words of which some are about the mount and some about the tree.
BOTH = [
    ("ro rrw", 0, 0),
    ("rrw ro", RDONLY, 0),
    ("rw rro", RDONLY, RDONLY),
    ("rro rw", 0, RDONLY),
    ("rro", RDONLY, RDONLY),
    ("rro nosuid", RDONLY | NOSUID, RDONLY),
    ("nosuid rsuid", 0, 0),
    ("rsuid nosuid", NOSUID, 0),
    ("rnoatime atime", 0, NOATIME),
    ("rnoatime relatime", 0, NOATIME),
    ("rnoatime nodiratime", NOATIME | NODIRATIME, NOATIME),
    ("rnodiratime noatime", NOATIME | NODIRATIME, NODIRATIME),
    ("rnodiratime diratime", 0, NODIRATIME),
    ("noatime rstrictatime", STRICTATIME, STRICTATIME),
    ("noatime ratime", 0, 0),
    ("nodiratime rdiratime", 0, 0),
    ("rnosymfollow symfollow", 0, NOSYMFOLLOW),
]


@pytest.mark.parametrize(("words", "own", "below"), BOTH)
def test_s1_the_later_word_counts_for_the_mount_itself(words: str, own: int, below: int) -> None:
    """Faults of S1's kind: `rrw,ro` made the mount writable, `rro,rw` read-only, in either order."""
    options = parse(words.split())

    def change(flags: int, attr_set: int, attr_clr: int) -> int:
        return flags & ~attr_clr | attr_set

    tree = change(0, options.rattr_set, options.rattr_clr)
    assert tree == below
    assert change(tree, options.attr_set, options.attr_clr | options.implied_clr[False]) == own
    assert options.of_new == own


def test_empty_words_are_no_options() -> None:
    assert parse(["", "ro", ""]).data == []


def test_s6_options_about_symlinks() -> None:
    assert parse(["src-nofollow", "bind", "dest-nofollow"]).links == SOURCE_NOFOLLOW | TARGET_NOFOLLOW
    assert parse(["copy-symlink"]).links == COPY_SYMLINK
