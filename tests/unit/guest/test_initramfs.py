"""The archive that a kernel starts with."""

from __future__ import annotations

import pytest
from initramfs import pack


def entries(archive: bytes) -> list[tuple[str, int, bytes]]:
    """Name, mode and content of each entry, read as the kernel does."""
    found = []
    offset = 0
    while offset < len(archive):
        assert archive[offset : offset + 6] == b"070701"
        numbers = [int(archive[offset + 6 + 8 * i : offset + 14 + 8 * i], 16) for i in range(13)]
        mode, size, length = numbers[1], numbers[6], numbers[11]
        name = archive[offset + 110 : offset + 110 + length]
        assert name[-1:] == b"\0"
        start = (offset + 110 + length + 3) & ~3
        found.append((name[:-1].decode(), mode, archive[start : start + size]))
        offset = (start + size + 3) & ~3
    return found


def test_directories_and_programs() -> None:
    assert entries(pack({"bin": None, "bin/sh": b"#!", "init": b""})) == [
        ("bin", 0o40755, b""),
        ("bin/sh", 0o100755, b"#!"),
        ("init", 0o100755, b""),
        ("TRAILER!!!", 0, b""),
    ]


@pytest.mark.parametrize("length", range(1, 6))
def test_each_part_begins_at_a_multiple_of_four(length: int) -> None:
    archive = pack({"n" * length: b"c" * length, "next": b"x"})
    assert len(archive) % 4 == 0
    assert [name for name, _, _ in entries(archive)] == ["n" * length, "next", "TRAILER!!!"]
