"""Load eBPF programs. bpf(2), linux/bpf.h. Hot."""

from __future__ import annotations

import posix
import sys

from . import native

TYPE_CHECKING = False
if TYPE_CHECKING:
    # (offset in the attributes, the buffer whose address belongs there)
    Buffer = tuple[int, bytes | bytearray]

INSTRUCTION_BYTES = 8
_PROG_LOAD = 5
_NAME_BYTES = 16
_LOG_BYTES = 1 << 16
_LOG_SHOWN = 500
_EAGAIN = 11
# The verifier ends with EAGAIN if something interrupts the process meanwhile: a signal, a stop, the freezer.
_ATTEMPTS = 5


def words(*values: int) -> bytearray:
    """Numbers as u32 in the machine's byte order."""
    return bytearray(b"".join([value.to_bytes(4, sys.byteorder) for value in values]))


def load(kind: int, name: bytes, license: bytes, program: bytes) -> int:
    """Load a program and return its descriptor. Raises OSError; `verifier_log` has the reason.

    kind: BPF_PROG_TYPE_*. name: at most 15 bytes. license: ends with NUL.
    """
    attempts = _ATTEMPTS
    while True:
        attempts -= 1
        try:
            return native.bpf(_PROG_LOAD, *_attributes(kind, name, license, program))
        except OSError as error:
            if error.errno != _EAGAIN or not attempts:
                raise


def verifier_log(kind: int, name: bytes, license: bytes, program: bytes) -> str:
    """Load a refused program again to get the end of the verifier's log, which has the reason; "" without a log."""
    log = bytearray(_LOG_BYTES)
    try:
        posix.close(native.bpf(_PROG_LOAD, *_attributes(kind, name, license, program, log)))
    except OSError:
        pass  # the same refusal again: the caller raises the first
    return log.partition(b"\0")[0].decode("utf-8", "replace").strip()[-_LOG_SHOWN:]


def _attributes(
    kind: int, name: bytes, license: bytes, program: bytes, log: bytearray | None = None
) -> tuple[bytearray, list[Buffer]]:
    """union bpf_attr for BPF_PROG_LOAD, and the buffers whose addresses belong in it."""
    attributes = words(kind, len(program) // INSTRUCTION_BYTES)
    attributes += bytes(16)  # insns, license
    attributes += words(1, len(log)) if log else bytes(8)  # log_level, log_size
    attributes += bytes(16)  # log_buf; kern_version, prog_flags
    attributes += name.ljust(_NAME_BYTES, b"\0")
    buffers: list[Buffer] = [(8, program), (16, license)]
    if log:
        buffers.append((32, log))
    return attributes, buffers
