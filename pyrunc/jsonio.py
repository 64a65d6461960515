"""JSON without the json package: its C scanner and encoder do the work, and importing json costs 9 ms.

The language is that of RFC 8259, read as by Go's decoder and Python's: of two members with one name the last one
counts. NaN and Infinity are refused, and so are half of a surrogate pair and a number that no float can hold.
"""

from __future__ import annotations

import _json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

_SPACE = " \t\n\r"


def _refuse_constant(word: str) -> NoReturn:
    raise ValueError(word)


def _float(word: str) -> float:
    """A number with a fraction or an exponent. Raises ValueError for one as 1e999, which `dumps` could not write."""
    number = float(word)
    if number - number != 0:
        raise ValueError(word)
    return number


class _Context:
    """The settings of _json.make_scanner."""

    strict = True
    object_hook = None
    object_pairs_hook = None
    parse_float = staticmethod(_float)
    parse_int = int
    parse_constant = staticmethod(_refuse_constant)


def _refuse_object(value: object) -> NoReturn:
    raise TypeError(f"{type(value).__name__} has no form in JSON")


_scan = _json.make_scanner(_Context)  # type: ignore[arg-type]  # typeshed has the type of the result here
# markers (none: no search for cycles), default, encoder, indent, separators, sort_keys, skipkeys, allow_nan
_encode = _json.make_encoder(None, _refuse_object, _json.encode_basestring, None, ":", ",", False, False, False)


def loads(text: str) -> Any:
    """Decode a JSON document; white space around it is ignored.

    Raises ValueError that says what is wrong; for a syntax error jsontext.Fault, which has the place.
    """
    try:
        # Most documents begin with a brace and end without white space: then `lstrip` need not be called.
        value, end = _scan(text, 0 if text[:1] == "{" else len(text) - len(text.lstrip(_SPACE)))
    except RecursionError as error:
        raise _at(text, 0, "nested too deeply") from error
    except (StopIteration, SystemError, ValueError) as error:
        # If json.decoder is not imported yet, the C scanner of 3.11 returns NULL without an exception: a SystemError.
        raise _located(text) from error
    if end != len(text) and text[end:].lstrip(_SPACE):
        raise _located(text)
    # The search for one character is much faster than one for two.
    if "\\" in text and "\\u" in text and ("\\ud" in text or "\\uD" in text):
        _refuse_surrogates(text, value)
    return value


def dumps(value: Any) -> str:
    """Encode a value as compact JSON; text is not escaped to ASCII.

    Takes dict, list, tuple, str, int, float, bool and None. Raises TypeError for other types.
    """
    return "".join(_encode(value, 0))


def is_deeper(value: Any, levels: int) -> bool:
    """Whether a decoded value has an element that is inside more than `levels` objects and arrays."""
    level = [value]
    for _ in range(levels + 1):
        level = [
            inner
            for outer in level
            if type(outer) in (dict, list)
            for inner in (outer.values() if type(outer) is dict else outer)
        ]
    return bool(level)


def _at(text: str, position: int, what: str) -> ValueError:
    from .jsontext import Fault

    return Fault(text, position, what)


def _located(text: str) -> ValueError:
    """The reason and the place for which a text is refused, independent of the Python version."""
    from .jsontext import fault

    return fault(text) or ValueError("a number has too many digits")


def _refuse_surrogates(text: str, value: Any) -> None:
    try:
        dumps(value).encode()
    except UnicodeEncodeError as error:
        escape = f"\\u{ord(error.object[error.start]):04x}"
        raise _at(text, max(text.lower().find(escape), 0), f"{escape} is half of a surrogate pair") from error
