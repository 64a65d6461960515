"""eBPF: an assembler with labels, maps, and programs at raw tracepoints. Cold.

Facts: bpf(2), linux/bpf.h, the kernel's Documentation/bpf/standardization/instruction-set.rst. The kernel's text of a
refusal (the verifier's log) is requested only after a refusal.
"""

from __future__ import annotations

import errno
import os
import sys
from dataclasses import dataclass, field

from ...errors import PyruncError, join
from ..kernel import bpf, native

# Commands of bpf(2).
_MAP_CREATE, _MAP_LOOKUP, _MAP_UPDATE, _MAP_NEXT_KEY = 0, 1, 2, 4
_RAW_TRACEPOINT_OPEN = 17
# enum bpf_map_type
HASH, ARRAY, LRU_HASH = 1, 2, 9
_PROG_TYPE_RAW_TRACEPOINT = 17

# Helpers of programs (enum bpf_func_id).
MAP_LOOKUP, MAP_UPDATE, GET_CURRENT_PID_TGID, GET_CURRENT_TASK = 1, 2, 14, 35
PROBE_READ_KERNEL, GET_CURRENT_ANCESTOR_CGROUP_ID = 113, 123

# Operation codes: class, source and operation together.
MOVE, MOVE_REGISTER, ADD, AND, SHIFT_LEFT, SHIFT_RIGHT, OR_REGISTER = 0xB7, 0xBF, 0x07, 0x57, 0x67, 0x77, 0x4F
LOAD_U64, LOAD_U32, STORE_U64, STORE_VALUE_U64, ATOMIC_ADD_U64 = 0x79, 0x61, 0x7B, 0x7A, 0xDB
JUMP, JUMP_EQUAL, JUMP_NOT_EQUAL, JUMP_NOT_EQUAL_REGISTER = 0x05, 0x15, 0x55, 0x5D
JUMP_GREATER_OR_EQUAL, CALL, EXIT = 0x35, 0x85, 0x95
_LOAD_VALUE = 0x18
_SOURCE_MAP = 1  # the value of _LOAD_VALUE is a map's descriptor
_JUMPS = (JUMP, JUMP_EQUAL, JUMP_NOT_EQUAL, JUMP_NOT_EQUAL_REGISTER, JUMP_GREATER_OR_EQUAL)

# The register with the frame's end: a program's variables are below it.
FRAME = 10
# bpf_probe_read_kernel is for programs with a license that the GPL is compatible with. This is the programs' own.
_LICENSE = b"Dual BSD/GPL\0"
_NAME = b"pyrunc_calls"


@dataclass
class Assembler:
    """Instructions, and the places of labels in them."""

    code: list[tuple[int, int, int, int | str, int]] = field(default_factory=list)
    labels: dict[str, int] = field(default_factory=dict)

    def add(self, operation: int, target: int = 0, source: int = 0, offset: int | str = 0, value: int = 0) -> None:
        """One instruction. offset: of a memory access, or of a jump the label that it goes to."""
        self.code.append((operation, target, source, offset, value))

    def load(self, target: int, value: int, source: int = 0) -> None:
        """Put 64 bits into a register: two instructions."""
        self.add(_LOAD_VALUE, target, source, value=value & 0xFFFFFFFF)
        self.add(0, value=value >> 32)

    def load_map(self, target: int, fd: int) -> None:
        """Put the address of a map into a register. fd: the map's descriptor."""
        self.load(target, fd, _SOURCE_MAP)

    def frame(self, target: int, offset: int) -> None:
        """Put the address of a variable into a register. offset: from the frame's end, negative."""
        self.add(MOVE_REGISTER, target, FRAME)
        self.add(ADD, target, value=offset)

    def label(self, name: str) -> None:
        """The next instruction is a jump's target."""
        self.labels[name] = len(self.code)

    def assemble(self) -> bytes:
        """The program. Raises KeyError for a jump to no label."""
        parts = []
        for index, (operation, target, source, offset, value) in enumerate(self.code):
            place = self.labels[offset] - index - 1 if isinstance(offset, str) else offset
            assert isinstance(offset, str) == (operation in _JUMPS)
            parts.append(bytes((operation, source << 4 | target)))
            parts.append(place.to_bytes(2, sys.byteorder, signed=True))
            parts.append((value & 0xFFFFFFFF).to_bytes(4, sys.byteorder))
        return b"".join(parts)


class Map:
    """A map of the kernel, with numbers as keys and 64-bit numbers as values."""

    def __init__(self, kind: int, key_bytes: int, entries: int) -> None:
        """Raises PyruncError."""
        self.key_bytes = key_bytes
        attributes = bpf.words(kind, key_bytes, 8, entries)
        try:
            self.fd = native.bpf(_MAP_CREATE, attributes)
        except OSError as error:
            raise _failure("making a map for counts of system calls", error) from error

    def get(self, key: int) -> int:
        """A value; 0 without one. Raises OSError."""
        value = bytearray(8)
        try:
            native.bpf(_MAP_LOOKUP, bpf.words(self.fd, 0) + bytes(24), [(8, self._key(key)), (16, value)])
        except FileNotFoundError:
            return 0
        return int.from_bytes(value, sys.byteorder)

    def set(self, key: int, value: int) -> None:
        """Raises OSError."""
        data = value.to_bytes(8, sys.byteorder)
        native.bpf(_MAP_UPDATE, bpf.words(self.fd, 0) + bytes(24), [(8, self._key(key)), (16, data)])

    def items(self) -> dict[int, int]:
        """All values of a hash, by their keys. Raises OSError."""
        keys: list[int] = []
        following = bytearray(self.key_bytes)
        buffers: list[tuple[int, bytes | bytearray]] = [(16, following)]
        while True:
            try:
                native.bpf(_MAP_NEXT_KEY, bpf.words(self.fd, 0) + bytes(24), buffers)
            except FileNotFoundError:
                break
            keys.append(int.from_bytes(following, sys.byteorder))
            buffers = [(8, bytes(following)), (16, following)]
        return {key: self.get(key) for key in keys}

    def close(self) -> None:
        os.close(self.fd)

    def _key(self, key: int) -> bytes:
        return key.to_bytes(self.key_bytes, sys.byteorder)


def attach(program: bytes, tracepoint: str) -> int:
    """Load a program and have the kernel run it at a raw tracepoint until the returned descriptor is closed.

    Raises PyruncError, with the verifier's text if the kernel refuses the program.
    """
    program_fd = _load(program)
    name = tracepoint.encode() + b"\0"
    try:
        return native.bpf(_RAW_TRACEPOINT_OPEN, bytearray(8) + bpf.words(program_fd, 0), [(0, name)])
    except OSError as error:
        raise _failure(f"attaching a program to the tracepoint {tracepoint}", error) from error
    finally:
        os.close(program_fd)


def _load(program: bytes) -> int:
    try:
        return bpf.load(_PROG_TYPE_RAW_TRACEPOINT, _NAME, _LICENSE, program)
    except OSError as error:
        reasons = (
            "" if error.errno == errno.EPERM else bpf.verifier_log(_PROG_TYPE_RAW_TRACEPOINT, _NAME, _LICENSE, program)
        )
        raise _failure(join(("loading the program that counts system calls", reasons)), error) from error


def _failure(what: str, error: OSError) -> PyruncError:
    hint = "it takes CAP_BPF and CAP_PERFMON, or CAP_SYS_ADMIN, outside of user namespaces"
    return PyruncError(what, errno=error.errno or 0, hint=hint if error.errno == errno.EPERM else "")
