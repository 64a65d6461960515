"""Paths as text, without a look at the file system."""

from __future__ import annotations

import errno
import posix

# Names of this process's own descriptors (proc(5), /proc/pid/fd), and of its standard streams.
_DESCRIPTORS = ("/dev/fd/", "/proc/self/fd/", "/proc/thread-self/fd/")
_STREAMS = ("/dev/stdin", "/dev/stdout", "/dev/stderr")


def clean(path: str) -> str:
    """`path` as an absolute path without empty, `.` and `..` components; `..` at the root stays at the root."""
    if path[:1] == "/" and "//" not in path and "/." not in path and path[-1] != "/":
        return path  # as nearly all are
    parts: list[str] = []
    for part in path.split("/"):
        if part == "..":
            del parts[-1:]
        elif part not in ("", "."):
            parts.append(part)
    return "/" + "/".join(parts)


def absolute(path: str) -> str:
    """The path from the working directory, clean, as Go's filepath.Abs returns it. Raises OSError (getcwd)."""
    return clean(path if path.startswith("/") else posix.getcwd() + "/" + path)


def descriptor(path: str) -> int:
    """The number of the descriptor that a path such as /dev/fd/63 or /dev/stdout names; -1 for another path."""
    if path in _STREAMS:
        return _STREAMS.index(path)
    for prefix in _DESCRIPTORS:
        digits = path.removeprefix(prefix)
        if digits != path and digits.isascii() and digits.isdigit() and len(digits) < 10:
            return int(digits)
    return -1


def closed_hint(error: OSError) -> str:
    """What to do about an error of native.refuse_closed; "" for another error."""
    if error.errno != errno.EBADF or not isinstance(error.filename, str):
        return ""
    number = descriptor(error.filename)
    names = ("standard input", "standard output", "standard error")
    return f"{names[number]} is closed: name a file" if 0 <= number < len(names) else ""
