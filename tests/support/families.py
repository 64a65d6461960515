"""Run a command that may not make sockets of some families: `python families.py NUMBER… -- COMMAND…`.

It does what RestrictAddressFamilies= of systemd.exec(5) does: socket(2) gives EAFNOSUPPORT. The filter is inherited.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
import sys

_SOCKET = {"x86_64": 41, "aarch64": 198}[platform.machine()]
_PR_SET_SECCOMP = 22
_SECCOMP_MODE_FILTER = 2
_LOAD, _JUMP_EQUAL, _RETURN = 0x20, 0x15, 0x06
_RET_ERRNO, _RET_ALLOW = 0x00050000, 0x7FFF0000
_NR, _FIRST_ARGUMENT = 0, 16  # offsets in struct seccomp_data


class _Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_char_p)]


def refuse(families: list[int]) -> None:
    """Install the filter for this process and its children. Needs CAP_SYS_ADMIN. Raises OSError."""
    count = len(families)
    lines = [(_LOAD, 0, 0, _NR), (_JUMP_EQUAL, 0, count + 1, _SOCKET), (_LOAD, 0, 0, _FIRST_ARGUMENT)]
    lines += [(_JUMP_EQUAL, count - at, 0, family) for at, family in enumerate(families)]
    lines += [(_RETURN, 0, 0, _RET_ALLOW), (_RETURN, 0, 0, _RET_ERRNO | errno.EAFNOSUPPORT)]
    code = b"".join([struct.pack("=HBBI", *line) for line in lines])
    program = _Program(len(lines), code)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.byref(program), 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_SECCOMP)")


if __name__ == "__main__":
    at = sys.argv.index("--")
    refuse([int(word) for word in sys.argv[1:at]])
    os.execvp(sys.argv[at + 1], sys.argv[at + 1 :])
