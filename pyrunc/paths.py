"""Paths as text, without a look at the file system."""

from __future__ import annotations

import posix


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
