"""Standard output without the io module, for the hot commands."""

from __future__ import annotations

import posix

from . import jsonio
from .errors import PyruncError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class ReaderGone(Exception):
    """The reader of standard output has closed the pipe (EPIPE)."""


def write(fd: int, text: str) -> None:
    """Write all of `text` as UTF-8 to a standard stream. Bytes of paths that are not UTF-8 become U+FFFD, as with Go,
    so JSON stays valid.

    Raises ReaderGone if the reader of a pipe is gone, and PyruncError for other errors.
    """
    data = memoryview(text.encode("utf-8", "surrogateescape").decode("utf-8", "replace").encode())
    try:
        while data:
            data = data[posix.write(fd, data) :]
    except BrokenPipeError as error:
        raise ReaderGone from error
    except OSError as error:
        raise PyruncError("write /dev/std" + ("out" if fd == 1 else "err"), errno=error.errno or 0) from error


def indented(value: Any, unit: str = "  ") -> str:
    """JSON with one member a line, like Go's json.MarshalIndent; no newline at the end."""
    return _indented(value, unit, "\n")


def _indented(value: Any, unit: str, newline: str) -> str:
    inner = newline + unit
    if isinstance(value, dict) and value:
        members = [jsonio.dumps(key) + ": " + _indented(member, unit, inner) for key, member in value.items()]
        return "{" + inner + ("," + inner).join(members) + newline + "}"
    if isinstance(value, list | tuple) and value:
        return "[" + inner + ("," + inner).join([_indented(item, unit, inner) for item in value]) + newline + "]"
    return jsonio.dumps(value)


def table(rows: list[tuple[str, ...]]) -> str:
    """Rows as columns, at least 12 wide and 3 spaces apart, the last one not padded, as `runc list` prints them."""
    widths = [max(12, max(map(len, column)) + 3) for column in zip(*rows, strict=True)]
    widths[-1] = 0
    return "".join(["".join(map(str.ljust, row, widths)) + "\n" for row in rows])
