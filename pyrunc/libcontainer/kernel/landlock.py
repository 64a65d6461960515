"""Landlock's access rights, scopes and flags by name, with the ABI that brought each (landlock(7), linux/landlock.h).

A right's bit is its position. Names are those of the kernel's constants in lower case, without their prefix.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

# The newest ABI that is known here, and the Linux release of each.
NEWEST = 7
RELEASES = {1: "5.13", 2: "5.19", 3: "6.2", 4: "6.7", 5: "6.10", 6: "6.12", 7: "6.15"}

Table = tuple[tuple[str, int], ...]

# LANDLOCK_ACCESS_FS_*
FS: Table = (
    ("execute", 1), ("write_file", 1), ("read_file", 1), ("read_dir", 1), ("remove_dir", 1), ("remove_file", 1),
    ("make_char", 1), ("make_dir", 1), ("make_reg", 1), ("make_sock", 1), ("make_fifo", 1), ("make_block", 1),
    ("make_sym", 1), ("refer", 2), ("truncate", 3), ("ioctl_dev", 5),
)  # fmt: skip
# LANDLOCK_ACCESS_NET_*
NET: Table = (("bind_tcp", 4), ("connect_tcp", 4))
# LANDLOCK_SCOPE_*
SCOPES: Table = (("abstract_unix_socket", 6), ("signal", 6))
# LANDLOCK_RESTRICT_SELF_*
FLAGS: Table = (("log_same_exec_off", 7), ("log_new_exec_on", 7), ("log_subdomains_off", 7))

# The rights that the kernel takes in a rule for a file that is no directory (ACCESS_FILE in security/landlock/fs.c).
OF_FILES = ("execute", "write_file", "read_file", "truncate", "ioctl_dev")

MOST_PORT = 65535


def bits(table: Table, names: Iterable[str]) -> int:
    """The bit set of names, which the table must have."""
    positions = {name: position for position, (name, _) in enumerate(table)}
    value = 0
    for name in names:
        value |= 1 << positions[name]
    return value


def known(table: Table, abi: int) -> int:
    """The bits that a kernel with an ABI knows; 0 for the ABI 0, a kernel without Landlock."""
    return bits(table, [name for name, since in table if since <= abi])


def names(table: Table, value: int) -> list[str]:
    """The names of a bit set. Bits that the table does not have are left out."""
    return [name for position, (name, _) in enumerate(table) if value >> position & 1]
