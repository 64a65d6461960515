"""Why CRIU has failed: the last error of its log that is no summary."""

from __future__ import annotations

import os
import re

# `(00.012345)      1: Error (criu/files-reg.c:1234): Can't open file …`; before there is a log, lines have no time.
_ERROR = re.compile(rb"(?:^\([\d.]+\)\s+(\d+): )?Error \(([^()\n]*)\): ([^\n]*)", re.MULTILINE)
# Errors after the cause that only say that something has failed.
_SUMMARY = re.compile(
    rb"(Dumping|Restoring|Pre-dumping) FAILED\.|(\d+ )?(exited, status=|(killed|stopped) by signal ).*"
    rb"|RPC client reported script error|.*(Script|script).* (failed|error|ret code).*|Unable to open fd=\d+ id=.*"
    rb"|cg: cgroupd: .*|Dump [^:]* \(pid: \d+\) failed with .*"
)
# After this line CRIU undoes its effects. Errors of that are not the cause.
_UNDOING = re.compile(rb"Unlock network\n|Running network-unlock scripts\n")
# A debug log has about a kilobyte for each file and each mapping. Its end is enough.
_LONGEST = 64 << 20


def last_error(path: str) -> str:
    """The message of the last error in CRIU's log, followed by its place in CRIU's source; "" if there is none, or the
    log can't be read."""
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
    """The same for the text of a log, or CRIU's standard error.

    If one of the restored processes fails, others fail because of it: the first one is the cause.
    """
    for part in (_UNDOING.split(text, maxsplit=1)[0], text):
        found = [match for match in _ERROR.finditer(part) if not _is_summary(match[3])]
        first = next((match[1] for match in found if match[1]), None)
        for match in reversed(found):
            if first is None or match[1] == first:
                return f"{_text(match[3])} ({_text(match[2])})"
    every = _ERROR.findall(text)
    return _text(every[-1][2]) if every else ""


def _is_summary(message: bytes) -> bool:
    return not message.strip() or _SUMMARY.fullmatch(message.strip()) is not None


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace").strip()
