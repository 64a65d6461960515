"""Standard output without the io module, for the hot commands."""

from __future__ import annotations

import posix

from . import jsonio
from .errors import PyruncError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class ReaderGone(Exception):
    """Whoever read our standard output has gone (EPIPE)."""


def write(fd: int, text: str) -> None:
    """Write all of `text` as UTF-8 to a standard stream. Bytes of paths that are no UTF-8 become U+FFFD, as Go prints
    them, so that JSON stays JSON.

    Raises ReaderGone where the reader of a pipe is gone, and PyruncError for what else keeps it from being written.
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
    """JSON with one member a line, as Go's json.MarshalIndent lays it out; no newline at the end."""
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
    """Rows as columns padded with spaces: at least 12 wide and 3 apart, the last one bare, as `runc list` prints."""
    widths = [max(12, max(map(len, column)) + 3) for column in zip(*rows, strict=True)]
    widths[-1] = 0
    return "".join(["".join(map(str.ljust, row, widths)) + "\n" for row in rows])
