"""The log, in runc's format. Engines read it with `--log FILE --log-format json`.

Text is logfmt as logrus prints it (`time="…" level=error msg="…"`). At a terminal it is `warning: …`, and a failure has
three lines (diagnosis/terminal.py). json is one object a line with level, msg and time (RFC 3339). Without `--log` both
go to stderr. Lines are appended.
"""

from __future__ import annotations

import posix
from _json import encode_basestring

from . import paths
from .errors import bounded, join

# logrus' levels, the most serious first; a message is logged where its level is at most the log's own.
LEVELS = {"panic": 0, "fatal": 1, "error": 2, "warning": 3, "warn": 3, "info": 4, "debug": 5, "trace": 6}
STDERR = 2

_COLOURS = {"error": 31, "warning": 33, "info": 36, "debug": 37}
_BARE = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._/@^+")
_ESCAPES = {
    '"': '\\"',
    "\\": "\\\\",
    "\a": "\\a",
    "\b": "\\b",
    "\f": "\\f",
    "\n": "\\n",
    "\r": "\\r",
    "\t": "\\t",
    "\v": "\\v",
}


class _Sink:
    """The destination and the format of the process's log."""

    __slots__ = ("held", "json", "level", "path")

    def __init__(self) -> None:
        self.held: list[str] | None = None
        self.path = ""
        self.json = False
        self.level = LEVELS["info"]


_sink = _Sink()


def configure(path: str, log_format: str, level: str) -> None:
    """Set the log's file (`path`, "" is stderr), its format (`text` or `json`) and its level (of LEVELS).

    A missing file is made with mode 0644. Raises OSError if it can't be written.
    """
    if path:
        path = paths.absolute(path)
        posix.close(_open(path))
    _sink.held = None
    _sink.path = path
    _sink.json = log_format == "json"
    _sink.level = LEVELS[level]


def _open(path: str) -> int:
    """Open the file for one line, with O_SYNC as runc does. The descriptor is not kept: it could get a number of
    `--preserve-fds`, or of a closed standard stream, and reach the container (CVE-2024-21626)."""
    return posix.open(path, posix.O_CREAT | posix.O_WRONLY | posix.O_APPEND | posix.O_SYNC | posix.O_CLOEXEC, 0o644)


def debugging() -> bool:
    """Whether debug messages are logged: otherwise callers need not build them."""
    return _sink.level >= LEVELS["debug"]


def debug(message: str) -> None:
    """Log at level debug."""
    _log("debug", message)


def info(message: str) -> None:
    """Log at level info."""
    _log("info", message)


def warning(message: str) -> None:
    """Log at level warning."""
    if _sink.held is not None:
        _sink.held.append(message)
        return
    _log("warning", message)


def hold() -> None:
    """Hold warnings back until `release` or an error: the launcher may still hand the command over to the ordinary
    build, which logs them again."""
    _sink.held = []


def release() -> None:
    """Log the warnings that were held back, and stop holding."""
    held, _sink.held = _sink.held, None
    for message in held or ():
        _log("warning", message)


def error(message: str) -> None:
    """Log at level error. With a log file, stderr gets the message too, alone on its line."""
    release()
    _log("error", message)
    if _sink.path:
        _write("", join([message]) + "\n")


def is_terminal() -> bool:
    """Whether the log goes to a terminal."""
    return not _sink.path and not _sink.json and posix.isatty(STDERR)


def coloured() -> bool:
    """Whether to use colours at a terminal (https://no-color.org)."""
    return not posix.environ.get(b"NO_COLOR") and posix.environ.get(b"TERM") != b"dumb"


def show(text: str) -> None:
    """Write lines to the terminal unchanged, after the warnings that were held back."""
    release()
    _write("", text)


def _log(level: str, message: str) -> None:
    if LEVELS[level] > _sink.level:
        return
    message = bounded(message)
    if _sink.json:
        fields = (("level", level), ("msg", message), ("time", _now()))
        line = "{" + ",".join([f'"{name}":{encode_basestring(value)}' for name, value in fields]) + "}\n"
    elif not _sink.path and posix.isatty(STDERR):
        label = f"\x1b[{_COLOURS[level]}m{level}:\x1b[0m" if coloured() else level + ":"
        line = f"{label} {join([message])}\n"
    else:
        line = f"time={_quoted(_now())} level={level} msg={_quoted(message)}\n"
    _write(_sink.path, line)


def _write(path: str, line: str) -> None:
    """Write a line in one write, so lines of several processes do not mix. Undecodable bytes become question marks."""
    data = line.encode("utf-8", "replace")
    try:
        if not path:
            posix.write(STDERR, data)
            return
        fd = _open(path)
        try:
            posix.write(fd, data)
        finally:
            posix.close(fd)
    except OSError:
        # A closed stderr or a full disk must not change the command's effects and exit code. logrus ignores them too.
        return


def _now() -> str:
    """The local time in RFC 3339's form, in whole seconds."""
    import time  # here, since it reads /etc/localtime, and most commands log nothing

    now = time.localtime()
    minutes = now.tm_gmtoff // 60
    zone = "Z" if minutes == 0 else f"{'+' if minutes > 0 else '-'}{abs(minutes) // 60:02}:{abs(minutes) % 60:02}"
    return f"{now.tm_year:04}-{now.tm_mon:02}-{now.tm_mday:02}T{now.tm_hour:02}:{now.tm_min:02}:{now.tm_sec:02}{zone}"


def _quoted(text: str) -> str:
    """The text in logrus' logfmt: bare if every character is harmless, otherwise quoted like Go's %q."""
    if _BARE.issuperset(text):
        return text
    return '"' + "".join([_escaped(char) for char in text]) + '"'


def _escaped(char: str) -> str:
    if char in _ESCAPES:
        return _ESCAPES[char]
    if char.isprintable():
        return char
    code = ord(char)
    if 0xDC80 <= code <= 0xDCFF:
        code -= 0xDC00  # a byte that is not UTF-8
        return f"\\x{code:02x}"
    if code < 0x80:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
