"""The names of Landlock's rights, as the kernel's header has them, and the ABIs."""

from __future__ import annotations

from pyrunc.libcontainer.kernel import landlock


def test_the_bits_are_those_of_the_kernel() -> None:
    """linux/landlock.h, by value: a header of this machine may be too old to have all."""
    numbers = {name: 1 << position for position, (name, _) in enumerate(landlock.FS)}
    assert numbers["execute"] == 1 << 0
    assert numbers["read_dir"] == 1 << 3
    assert numbers["make_sym"] == 1 << 12
    assert numbers["refer"] == 1 << 13
    assert numbers["truncate"] == 1 << 14
    assert numbers["ioctl_dev"] == 1 << 15
    assert [name for name, _ in landlock.NET] == ["bind_tcp", "connect_tcp"]
    assert [name for name, _ in landlock.SCOPES] == ["abstract_unix_socket", "signal"]
    assert [name for name, _ in landlock.FLAGS] == ["log_same_exec_off", "log_new_exec_on", "log_subdomains_off"]


def test_what_each_abi_knows() -> None:
    tables = (landlock.FS, landlock.NET, landlock.SCOPES, landlock.FLAGS)
    counts = [[landlock.known(table, abi).bit_count() for table in tables] for abi in range(landlock.NEWEST + 1)]
    assert counts == [
        [0, 0, 0, 0], [13, 0, 0, 0], [14, 0, 0, 0], [15, 0, 0, 0], [15, 2, 0, 0], [16, 2, 0, 0], [16, 2, 2, 0],
        [16, 2, 2, 3],
    ]  # fmt: skip
    assert set(landlock.RELEASES) == set(range(1, landlock.NEWEST + 1))


def test_names_and_bits() -> None:
    value = landlock.bits(landlock.FS, ["truncate", "execute"])
    assert value == 1 | 1 << 14
    assert landlock.names(landlock.FS, value | 1 << 40) == ["execute", "truncate"]
    assert set(landlock.OF_FILES) < {name for name, _ in landlock.FS}
