"""JSON text, read again after a failure: where and why it is no JSON, and the line of a value.

The C scanner of `_json` reads every document. This slow reader is for documents that the scanner or a check refused.
Its messages are the same with every Python version, and with the launcher, which has its own scanner.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

_SPACE = " \t\n\r"
_ENDS = frozenset(" \t\n\r,:[]{}\"'/#")
_WORDS = ("true", "false", "null")
# A damaged file may be one literal of many megabytes.
_LONGEST_WORD = 1024
_MEANT = {
    "True": "true", "TRUE": "true", "yes": "true", "on": "true", "False": "false", "FALSE": "false", "no": "false",
    "off": "false", "None": "null", "NULL": "null", "nil": "null", "undefined": "null",
}  # fmt: skip
_ESCAPES = frozenset('"\\/bfnrt')
_HEX = frozenset("0123456789abcdefABCDEF")
_COMMA = "leave it out: JSON has a comma between two members or items only"
_COMMENT = "remove it"
_EXCERPT = 100


class Fault(ValueError):
    """A text is no JSON. position: index of the wrong character. what: the reason. hint: one clause, or ""."""

    def __init__(self, text: str, position: int, what: str, hint: str = "") -> None:
        self.place = Place(text, position)
        self.what = what
        self.hint = hint
        super().__init__(f"line {self.place.line}, column {self.place.column}: {what}")


class Place:
    """A place in a text: line and column in characters from 1, the text of the line, and the first characters at the
    place."""

    __slots__ = ("begins", "column", "line", "text")

    def __init__(self, text: str, position: int) -> None:
        start = text.rfind("\n", 0, position) + 1
        end = text.find("\n", position)
        self.line = text.count("\n", 0, position) + 1
        self.column = position - start + 1
        self.begins = text[position : position + 2 * _EXCERPT]
        self.text = text[start : end if end >= 0 else len(text)].rstrip("\r")

    def excerpt(self) -> tuple[str, int]:
        """The line around the place, cut if it is long, and the index of the place in it."""
        start = max(0, self.column - 1 - _EXCERPT // 2)
        if start + _EXCERPT > len(self.text):
            start = max(0, len(self.text) - _EXCERPT)
        return self.text[start : start + _EXCERPT], self.column - 1 - start


def fault(text: str) -> Fault | None:
    """The first syntax error of a text (RFC 8259); None if it is JSON."""
    try:
        _Reader(text, set()).read()
    except Fault as error:
        return error
    return None


def places(text: str, pointers: tuple[str, ...]) -> dict[str, Place]:
    """The places of JSON pointers in a JSON text. A missing value has the place of the nearest existing parent, a
    member that of its name. Empty if the text is no JSON."""
    reader = _Reader(text, {"", *[above for pointer in pointers for above in _above(pointer)]})
    try:
        reader.read()
    except Fault:
        return {}
    found = {}
    for pointer in pointers:
        nearest = next(above for above in _above(pointer) if above in reader.found)
        found[pointer] = Place(text, reader.found[nearest])
    return found


def _above(pointer: str) -> list[str]:
    """A pointer and its parents, the longest first."""
    parts = pointer.split("/")
    return ["/".join(parts[:end]) for end in range(len(parts), 0, -1)]


class _Frame:
    """An object or array that is being read: its closing bracket, its pointer, its start, its next index."""

    __slots__ = ("close", "count", "pointer", "start")

    def __init__(self, close: str, pointer: str | None, start: int) -> None:
        self.close = close
        self.pointer = pointer
        self.start = start
        self.count = 0


class _Reader:
    """Reads a text once from beginning to end, without recursion: depth is not limited.

    wanted: the pointers whose places go into `found`, and their parents. Values below none of them have the pointer
    None.
    """

    __slots__ = ("at", "found", "stack", "text", "wanted")

    def __init__(self, text: str, wanted: set[str]) -> None:
        self.text = text
        self.wanted = wanted
        self.found: dict[str, int] = {}
        self.at = 0
        self.stack: list[_Frame] = []

    def read(self) -> None:
        """Read the document. Raises Fault."""
        if self.text[:1] == "\ufeff":
            self.fail(0, "the file begins with a byte order mark", "save it as UTF-8 without one")
        self.space()
        if self.at == len(self.text):
            self.fail(0, "the file is empty" if not self.text else "the file has nothing but white space")
        self.value("" if self.wanted else None)
        while self.stack:
            frame = self.stack[-1]
            if frame.close == "}":
                self.member(frame)
            else:
                self.item(frame)
        self.space()
        if self.at < len(self.text):
            self.comment()
            self.fail(self.at, "unexpected text behind the value", "a file holds one value")

    def fail(self, position: int, what: str, hint: str = "") -> NoReturn:
        raise Fault(self.text, position, what, hint)

    def space(self) -> None:
        text, at = self.text, self.at
        while at < len(text) and text[at] in _SPACE:
            at += 1
        self.at = at

    def peek(self) -> str:
        """The next character after white space; "" at the end."""
        self.space()
        return self.text[self.at : self.at + 1]

    def comment(self) -> None:
        """Raise Fault if a comment begins here."""
        if self.text[self.at : self.at + 2] in ("//", "/*") or self.text[self.at : self.at + 1] == "#":
            self.fail(self.at, "comments are no JSON", _COMMENT)

    def below(self, frame: _Frame, name: str) -> str | None:
        """The pointer of a member or an item."""
        if frame.pointer is None:
            return None
        pointer = f"{frame.pointer}/{name.replace('~', '~0').replace('/', '~1')}"
        return pointer if pointer in self.wanted else None

    def value(self, pointer: str | None, position: int = -1) -> None:
        """Read a value; of an object or array only the opening bracket. position: that of the member's name."""
        sign = self.peek()
        if pointer is not None:
            self.found[pointer] = self.at if position < 0 else position
        if sign in ("{", "["):
            self.stack.append(_Frame("}" if sign == "{" else "]", pointer, self.at))
            self.at += 1
        elif sign == '"':
            self.string()
        elif sign in "-0123456789" and sign:
            self.number()
        else:
            self.word(sign)

    def member(self, frame: _Frame) -> None:
        """Read an object's next member up to its value, or its end."""
        if not self.comma(frame):
            return
        position = self.at
        if self.peek() != '"':
            self.comment()
            if self.peek() == "'":
                self.fail(self.at, "single quotes", "JSON has text in double quotes")
            if self.peek() == ",":
                self.fail(self.at, "a comma without a member before it", _COMMA)
            self.fail(self.at, "the name of a member must stand here, in double quotes")
        name = self.string()
        if self.peek() != ":":
            self.comment()
            self.fail(self.at, f'":" is missing behind the name "{name}"')
        self.at += 1
        self.value(self.below(frame, name), position)

    def item(self, frame: _Frame) -> None:
        """Read an array's next item, or its end."""
        if self.comma(frame):
            frame.count += 1
            self.value(self.below(frame, str(frame.count - 1)))

    def comma(self, frame: _Frame) -> bool:
        """Read the comma between members or items; False at the end of the object or array."""
        behind = self.at
        sign = self.peek()
        first = self.text[self.before()] in "{[" and frame.start == self.before()
        if sign == frame.close:
            self.at += 1
            self.stack.pop()
            return False
        if not first:
            if sign == ",":
                comma = self.at
                self.at += 1
                if self.peek() in ("}", "]"):
                    kind = "member" if frame.close == "}" else "item"
                    self.fail(comma, f"a comma behind the last {kind}", _COMMA)
            elif sign and sign not in "}]":
                self.comment()
                self.fail(behind, "a comma is missing here")
        if not self.peek():
            self.unclosed(frame)
        if self.peek() in ("}", "]"):
            opened = "{" if frame.close == "}" else "["
            line = Place(self.text, frame.start).line
            self.fail(self.at, f'"{self.peek()}" where the "{opened}" of line {line} wants "{frame.close}"')
        return True

    def before(self) -> int:
        """The index of the last character before here that is no white space."""
        at = self.at - 1
        while at > 0 and self.text[at] in _SPACE:
            at -= 1
        return at

    def unclosed(self, frame: _Frame) -> NoReturn:
        kind = "object" if frame.close == "}" else "array"
        line = Place(self.text, frame.start).line
        position = self.before() + 1
        self.fail(position, f'the file ends inside an {kind}: the "{frame.close}" for line {line} is missing')

    def string(self) -> str:
        """Read a string. Returns its value, as far as a pointer needs it. Raises Fault."""
        text, start = self.text, self.at
        at = start + 1
        parts = []
        while True:
            begin = at
            while at < len(text) and text[at] not in '"\\' and text[at] >= " ":
                at += 1
            parts.append(text[begin:at])
            sign = text[at : at + 1]
            if sign == '"':
                self.at = at + 1
                return "".join(parts)
            if sign in ("", "\n", "\r"):
                self.fail(start, "this text has no closing double quote on its line", "a line break in text is \\n")
            if sign != "\\":
                name = "a tab" if sign == "\t" else f"the control character 0x{ord(sign):02x}"
                self.fail(at, f"{name} in a text", "write it as " + ("\\t" if sign == "\t" else f"\\u{ord(sign):04x}"))
            escape = text[at + 1 : at + 2]
            if escape == "u" and len(text) >= at + 6 and _HEX.issuperset(text[at + 2 : at + 6]):
                parts.append(chr(int(text[at + 2 : at + 6], 16)))
                at += 6
            elif escape and escape in _ESCAPES:
                parts.append({"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}.get(escape, escape))
                at += 2
            else:
                shown = text[at : at + 6] if escape == "u" else text[at : at + 2]
                self.fail(at, f"{shown.split(chr(10))[0]} is no escape of JSON", "a backslash itself is \\\\")

    def bare(self, longest: int = 1 << 62) -> str:
        """The characters up to the next delimiter of JSON, at most `longest`."""
        end = self.at
        last = min(len(self.text), end + longest)
        while end < last and self.text[end] not in _ENDS:
            end += 1
        return self.text[self.at : end]

    def number(self) -> None:
        word = self.bare()
        digits = word.removeprefix("-")
        body, _, exponent = digits.replace("E", "e", 1).partition("e")
        whole, dot, fraction = body.partition(".")
        if word in ("-Infinity", "-NaN"):
            self.fail(self.at, f"{word} is no JSON value")
        numeric = whole.isascii() and whole.isdigit() and (not dot or (fraction.isascii() and fraction.isdigit()))
        if "e" in digits.replace("E", "e"):
            bare = exponent[1:] if exponent[:1] in ("+", "-") else exponent
            numeric = numeric and bare.isascii() and bare.isdigit()
        if not numeric:
            self.fail(self.at, f"{word} is no number of JSON", "it is decimal, with digits on both sides of a point")
        if len(whole) > 1 and whole[0] == "0":
            self.fail(self.at, f"the number {word} begins with 0", "JSON has decimal numbers only: 0755 is 493")
        if (dot or exponent) and float(word) in (float("inf"), float("-inf")):
            shown = word if len(word) <= 40 else word[:37] + "..."
            self.fail(self.at, f"the number {shown} is too large", "a float is smaller than 1.8e308")
        self.at += len(word)

    def word(self, sign: str) -> None:
        """Read true, false or null. Raises Fault for anything else."""
        word = self.bare(_LONGEST_WORD)
        if word in _WORDS:
            self.at += len(word)
            return
        if not sign:
            if self.stack:
                frame = self.stack[-1]
                if self.text[self.before()] not in ",:":
                    self.unclosed(frame)
            self.fail(self.before() + 1, "the file ends where a value must stand")
        self.comment()
        if sign == "'":
            self.fail(self.at, "single quotes", "JSON has text in double quotes")
        if not word:
            self.fail(self.at, f'"{sign}" where a value must stand', _COMMA if sign == "," else "")
        if sign in "+.":
            self.fail(self.at, f"{word} is no number of JSON", "it begins with a digit or a minus sign")
        shown = word if len(word) <= 40 else word[:37] + "..."
        hint = f"did you mean {_MEANT[word]}?" if word in _MEANT else "text stands in double quotes"
        if not shown.isprintable():
            shown = f"the control character 0x{ord(shown[0]):02x}"
        self.fail(self.at, f"{shown} is no JSON value", "" if word in ("NaN", "Infinity") else hint)
