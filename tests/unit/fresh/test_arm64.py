"""The emulated Debian for arm64: what the kernel is told about its programs."""

from __future__ import annotations

import struct

import arm64
import pytest


def matches(header: bytes) -> bool:
    """Whether binfmt_misc takes a file that begins like this for one of arm64."""
    magic, mask = (eval(f'b"{text}"') for text in (arm64.MAGIC, arm64.MASK))
    assert len(magic) == len(mask) == 20
    return all(a & m == b & m for a, b, m in zip(header, magic, mask, strict=False))


def header(bits: int, kind: int, machine: int) -> bytes:
    """The first 20 bytes of an ELF file, little-endian (elf(5))."""
    return b"\x7fELF" + bytes([bits, 1, 1]) + bytes(9) + struct.pack("<HH", kind, machine)


@pytest.mark.parametrize("kind", [2, 3], ids=["a program", "a position-independent program"])
def test_programs_of_arm64_are_taken(kind: int) -> None:
    assert matches(header(2, kind, 183))


@pytest.mark.parametrize(
    "other", [header(2, 2, 62), header(1, 2, 40), header(2, 1, 183), b"#!/bin/sh\n0123456789"],
    ids=["x86-64", "arm of 32 bits", "an object file", "a script"],
)  # fmt: skip
def test_other_files_are_not(other: bytes) -> None:
    assert not matches(other)


def test_the_rule_has_the_form_of_the_kernel() -> None:
    assert arm64.RULE.split(":")[1:4] == ["qemu-aarch64", "M", ""]
    assert arm64.RULE.endswith(f":{arm64.EMULATOR}:F")
