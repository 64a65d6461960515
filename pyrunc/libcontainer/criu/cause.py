"""Why CRIU has failed, by its own words: the last error of its log that says something."""

from __future__ import annotations

import os
import re

# `(00.012345)      1: Error (criu/files-reg.c:1234): Can't open file …`; before there is a log, lines have no time.
_ERROR = re.compile(rb"Error \(([^()\n]*)\): ([^\n]*)")
# What stands behind the cause and only says that something has failed.
_SUMMARY = re.compile(
    rb"(Dumping|Restoring|Pre-dumping) FAILED\.|(\d+ )?(exited, status=|(killed|stopped) by signal ).*"
    rb"|RPC client reported script error|.*(Script|script).* (failed|error|ret code).*|Unable to open fd=\d+ id=.*"
    rb"|cg: cgroupd: .*|Dump [^:]* \(pid: \d+\) failed with .*"
)
# From here on CRIU undoes what it has done, and what fails in that is not the cause.
_UNDOING = re.compile(rb"Unlock network\n|Running network-unlock scripts\n")
# A log of level debug has about a kilobyte for each file and each mapping. Its end is enough.
_LONGEST = 64 << 20


def last_error(path: str) -> str:
    """The message of the last error in a log of CRIU, with its place in CRIU's source behind it; "" where the log has
    none, or can't be read."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK)
    except OSError:
        return ""
    with open(fd, "rb") as file:
        return last_error_in(_end_of(fd) or file.read(_LONGEST))


def _end_of(fd: int) -> bytes:
    """The last part of a file that is longer than _LONGEST; nothing of others."""
    size = os.fstat(fd).st_size
    return os.pread(fd, _LONGEST, size - _LONGEST) if size > _LONGEST else b""


def last_error_in(text: bytes) -> str:
    """The same for the text of a log, or what CRIU has written to its standard error."""
    for part in (_UNDOING.split(text, maxsplit=1)[0], text):
        for match in reversed(list(_ERROR.finditer(part))):
            message = match[2].strip()
            if message and not _SUMMARY.fullmatch(message):
                return f"{message.decode('utf-8', 'replace')} ({match[1].decode('utf-8', 'replace')})"
    found = _ERROR.findall(text)
    return str(found[-1][1].strip().decode("utf-8", "replace")) if found else ""
