"""JSON without the json package: its C scanner and encoder do the work, and importing json costs 9 ms.

The language is JSON as RFC 8259 has it, read as Go's decoder and Python's read it: of a member that stands twice the
last one wins. NaN and Infinity are no JSON; half of a surrogate pair is no text.
"""

from __future__ import annotations

import _json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

_SPACE = " \t\n\r"


def _refuse_constant(word: str) -> NoReturn:
    raise ValueError(f"{word} is no JSON value")


class _Context:
    """What _json.make_scanner reads its settings from."""

    strict = True
    object_hook = None
    object_pairs_hook = None
    parse_float = float
    parse_int = int
    parse_constant = staticmethod(_refuse_constant)


def _refuse_object(value: object) -> NoReturn:
    raise TypeError(f"{type(value).__name__} has no form in JSON")


_scan = _json.make_scanner(_Context)  # type: ignore[arg-type]  # typeshed has the type of the result here
# markers (none: no search for cycles), default, encoder, indent, separators, sort_keys, skipkeys, allow_nan
_encode = _json.make_encoder(None, _refuse_object, _json.encode_basestring, None, ":", ",", False, False, False)


def loads(text: str) -> Any:
    """The value of a JSON document; white space around it is ignored.

    Raises ValueError whose text says what is wrong, with line and column (both from 1, in characters) in front where
    the syntax is.
    """
    try:
        value, end = _scan(text, len(text) - len(text.lstrip(_SPACE)))
    except RecursionError as error:
        raise ValueError("line 1, column 1: nested too deeply") from error
    except (StopIteration, SystemError, ValueError) as error:
        # Where json.decoder is not imported yet, the C scanner of 3.11 raises no exception, which is a SystemError.
        raise _located(text, error) from error
    if text[end:].lstrip(_SPACE):
        raise _at(text, len(text) - len(text[end:].lstrip(_SPACE)), "unexpected text behind the value")
    if "\\ud" in text or "\\uD" in text:
        _refuse_surrogates(text, value)
    return value


def dumps(value: Any) -> str:
    """The value as compact JSON; text is kept as it is, not escaped to ASCII.

    Takes dict, list, tuple, str, int, float, bool and None. Raises TypeError for what JSON can't say.
    """
    return "".join(_encode(value, 0))


def _at(text: str, position: int, what: str) -> ValueError:
    line = text.count("\n", 0, position) + 1
    column = position - text.rfind("\n", 0, position)
    return ValueError(f"line {line}, column {column}: {what}")


def _located(text: str, error: Exception) -> ValueError:
    """Why a text is refused, found out by the json package: only a failure pays for its import.

    The launcher has no json package: its own scanner says what is wrong and where (csrc/json.c).
    """
    try:
        from json import JSONDecodeError, JSONDecoder
    except ImportError:
        if isinstance(error, StopIteration):
            return _at(text, error.value, "expecting value")
        return _at(text, error.args[1], _worded(error.args[0])) if len(error.args) == 2 else ValueError(str(error))
    try:
        JSONDecoder(parse_constant=_refuse_constant).decode(text)
    except JSONDecodeError as refusal:
        return _at(text, refusal.pos, _worded(refusal.msg))
    except ValueError as refusal:
        return ValueError(str(refusal))
    return ValueError("not a JSON document")


def _worded(message: str) -> str:
    return message[:1].lower() + message[1:].removesuffix(" at")


def _refuse_surrogates(text: str, value: Any) -> None:
    try:
        dumps(value).encode()
    except UnicodeEncodeError as error:
        escape = f"\\u{ord(error.object[error.start]):04x}"
        raise _at(text, max(text.lower().find(escape), 0), f"{escape} is half of a surrogate pair") from error
    except ValueError as error:
        raise ValueError("a number is out of range") from error
