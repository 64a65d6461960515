"""Errors: the data of a failure, and its form in one line.

Engines show only the last line of stderr (or the last JSON log object of level error), so that line has the whole
cause. The exception chain has the rest for `--debug`. A terminal gets three lines (diagnosis/terminal.py).
"""

from __future__ import annotations

import posix

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from .jsontext import Place


# runc's prefixes for failures after the clone, and for failures of the init.
START_FAILED = "unable to start container process: "
INIT_FAILED = START_FAILED + "error during container init: "


# The most characters of a message. A path has up to 4095, the output of a hook that is told 2048.
_LONGEST = 6000
# The most characters of a value in a message.
_MOST_SHOWN = 200


class PyruncError(Exception):
    """A failure to explain to the user.

    message: what failed, in lower case, without a full stop. It is runc's wording if engines match it.
    step: the name of the plan's step that failed; "" if it was none.
    pointer: JSON pointer (RFC 6901) of the config field that is the cause; "" for none.
    errno: the kernel's errno; 0 for none. The line has its text, as Go prints it.
    hint: what to do, one clause; "" for none.
    exit_code: the exit code of the command.
    lead: the length of the message's beginning that says what was being done, before the cause.
    document: the JSON file of the pointer, as (name to show, absolute path); None if it is unknown.
    place: the place in the document, if `diagnosis.terminal.locate` has found it or its syntax is wrong there; or None.
    origin: the command-line option that is the cause instead of a pointer, such as `--cwd`; "" for none.
    """

    __slots__ = (
        "document", "errno", "exit_code", "hint", "lead", "message", "origin", "place", "pointer", "step",
    )  # fmt: skip

    def __init__(
        self,
        message: str,
        *,
        step: str = "",
        pointer: str = "",
        errno: int = 0,
        hint: str = "",
        exit_code: int = 1,
        lead: int = 0,
        document: tuple[str, str] | None = None,
        origin: str = "",
    ) -> None:
        super().__init__(message)
        self.message = message
        self.step = step
        self.pointer = pointer
        self.errno = errno
        self.hint = hint
        self.exit_code = exit_code
        self.lead = lead
        self.document = document
        self.origin = origin
        self.place: Place | None = None

    def reason(self, start: int = 0) -> str:
        """The message from a character on, followed by the text of the errno."""
        text = self.message[start:]
        return text + ": " + errno_text(self.errno) if self.errno else text

    def line(self) -> str:
        """The whole failure in one line: `message: errno text (step …, config.json:47 at /pointer; hint)`."""
        text = self.reason()
        notes = []
        if self.step:
            notes.append("step " + self.step)
        if self.pointer:
            file = ""
            if self.place is not None and self.document is not None:
                file = f"{self.document[0]}:{self.place.line} "
            notes.append(f"{file}at {self.pointer}")
        elif self.origin:
            notes.append("from " + self.origin)
        if notes and self.hint:
            return f"{text} ({', '.join(notes)}; {self.hint})"
        if notes or self.hint:
            return f"{text} ({', '.join(notes) or self.hint})"
        return text

    def __str__(self) -> str:
        return self.line()


def errno_text(number: int) -> str:
    """The text of an errno in lower case, as Go programs print it (`no such file or directory`)."""
    return posix.strerror(number).lower()


def pointer(*parts: str | int) -> str:
    """A JSON pointer from its parts: `pointer("mounts", 3, "type")` is `/mounts/3/type` (RFC 6901, section 3)."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in parts)


def join(parts: Iterable[str]) -> str:
    """Join parts into one line of text. Newlines and tabs become spaces, and empty parts are left out. Of a very long
    line the middle is left out.

    Other control characters are shown as `\\x1b`, and invisible ones and those that change the direction of writing as
    `\\u202e`: text of a config.json or a hook must not control the terminal of the reader.
    """
    text = bounded(" ".join([" ".join(part.split()) for part in parts if part]))
    if text.isprintable():
        return text
    return "".join([char if char.isprintable() or "\ud800" <= char <= "\udfff" else _shown(ord(char)) for char in text])


def bounded(message: str) -> str:
    """A message, without the middle if it repeats a long value of a configuration, a state or the command line. The
    beginning says what was being done, the end why that failed."""
    if len(message) <= _LONGEST:
        return message
    half = _LONGEST // 2
    return f"{message[:half]} ... ({len(message) - 2 * half} characters) ... {message[-half:]}"


def cut(value: str) -> str:
    """A value for a message: of a long one the beginning and its length."""
    return value if len(value) <= _MOST_SHOWN else f"{value[:_MOST_SHOWN]}... ({len(value)} characters)"


def _shown(code: int) -> str:
    """The number of a character that is not to be printed. Surrogates, which stand for bytes that are no UTF-8, are
    output's to replace (log.py, output.py)."""
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def from_os_error(error: OSError) -> PyruncError:
    """The error for an OSError without an explanation: its file, or else the function that made the call, and the text
    of the errno."""
    if not error.errno:
        return PyruncError(str(error))
    names = [name for name in (error.filename, error.filename2) if name is not None]
    text = " ".join([name.decode("utf-8", "replace") if isinstance(name, bytes) else str(name) for name in names])
    return PyruncError(text or _call(error), errno=error.errno)


def _call(error: OSError) -> str:
    """The message for an error without a file: `flock failed in StateDir.unlock` if native.py made the call, `system
    call failed in Foreground._read` if another module made it by a function of Python."""
    name, function = "system call", ""
    step = error.__traceback__
    while step is not None:
        code = step.tb_frame.f_code
        if not code.co_filename.endswith("native.py"):
            name, function = "system call", code.co_qualname
        elif name == "system call":
            name = code.co_name
        step = step.tb_next
    return f"{name} failed in {function}" if function else f"{name} failed"


def prefixed(prefix: str, error: PyruncError | OSError) -> PyruncError:
    """The same failure with a prefix that says what was being done."""
    if isinstance(error, OSError):
        error = from_os_error(error)
    return reworded(error, f"{prefix}: {error.message}", error.lead + len(prefix) + 2)


def reworded(error: PyruncError, message: str, lead: int = 0) -> PyruncError:
    """The same failure with another message."""
    other = PyruncError(
        message,
        step=error.step,
        pointer=error.pointer,
        errno=error.errno,
        hint=error.hint,
        exit_code=error.exit_code,
        lead=lead,
        document=error.document,
        origin=error.origin,
    )
    other.place = error.place
    return other


def history(error: BaseException) -> list[str]:
    """The history of a failure: each error of the chain, the first cause first, with its lines of the call stack.

    The traceback module prints the same, but the launcher does not have it.
    """
    before = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    lines = history(before) if before is not None else []
    lines.append(f"{type(error).__name__}: {error}")
    step = error.__traceback__
    while step is not None:
        code = step.tb_frame.f_code
        lines.append(f"  {code.co_filename}:{step.tb_lineno} in {code.co_name}")
        step = step.tb_next
    return lines
