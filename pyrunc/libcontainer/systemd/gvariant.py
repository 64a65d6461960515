"""GVariant text: the form of typed D-Bus values in annotations and in a plan. Cold, and pure.

The format is GLib's (docs.gtk.org/glib/gvariant-text-format.html), as far as runc reads it (the parser of
github.com/godbus/dbus), and tuples, which some properties of systemd have.
"""

from __future__ import annotations

import re
from typing import Any

# The keywords for the type of a value.
_TYPES = {
    "boolean": "b", "byte": "y", "int16": "n", "uint16": "q", "int32": "i", "uint32": "u", "int64": "x",
    "uint64": "t", "double": "d", "string": "s", "objectpath": "o", "signature": "g",
}  # fmt: skip
_INTEGERS = {
    "y": (0, 1 << 8), "q": (0, 1 << 16), "u": (0, 1 << 32), "t": (0, 1 << 64),
    "n": (-1 << 15, 1 << 15), "i": (-1 << 31, 1 << 31), "x": (-1 << 63, 1 << 63),
}  # fmt: skip
_BASIC = "ybnqiuxtdsog"
# The most that D-Bus allows (D-Bus Specification, "Valid Signatures").
_DEEPEST = 32
_LONGEST_SIGNATURE = 255
_OBJECT_PATH = re.compile(r"/|(/[A-Za-z0-9_]+)+")

_TOKEN = re.compile(
    r"""\s*(?:
      (?P<bytes>b"(?:[^"\\]|\\.)*"|b'(?:[^'\\]|\\.)*')
    | (?P<string>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')
    | (?P<type>@\S+)
    | (?P<number>[+-]?(?:0x[0-9a-fA-F]+|\d+(?:\.\d*)?(?:[eE][+-]?\d+)?|\.\d+(?:[eE][+-]?\d+)?)(?![\w.]))
    | (?P<word>[a-z]\w*)
    | (?P<sign>[\[\]{}<>(),:])
    )""",
    re.VERBOSE | re.DOTALL,
)
_ESCAPES = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "\n": ""}
_ESCAPE = re.compile(r"\\(u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|[0-7]{1,3}|.)", re.DOTALL)


def parse(text: str) -> tuple[str, Any]:
    """A value's D-Bus signature and the value: int, float, bool, str, bytes or list for arrays, dict, tuple, and
    (signature, value) for a variant. Raises ValueError with the reason."""
    reader = _Reader(text)
    node = reader.value()
    if reader.at < len(reader.tokens):
        raise ValueError(f"unexpected {reader.tokens[reader.at][1]!r} behind the value")
    signature = node.infer()
    return signature, node.value(signature)


def quote(text: str) -> str:
    """A string as GVariant text."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n").replace("\t", "\\t")
    return f"'{escaped}'"


class _Node:
    """A parsed value whose type may be open. kind: a letter for the form of its text.

    `known` is its signature if the text determines it, else None.
    """

    def __init__(self, kind: str, content: Any, signature: str | None = None) -> None:
        self.kind = kind
        self.content = content
        self.known = signature or self._fixed()

    def _fixed(self) -> str | None:
        if self.kind in "bv":
            return self.kind
        if self.kind == "y":
            return "ay"
        if self.kind == "n" and not self.content.lower().startswith(("0x", "+0x", "-0x")):
            return "d" if set(self.content) & set(".eE") else None
        if self.kind == "[" and self.content:
            inner = _common(self.content)
            return "a" + inner if inner else None
        return None

    def infer(self) -> str:
        """The signature; the default one if the text leaves it open. Raises ValueError for an empty array or dict."""
        if self.known:
            return self.known
        if self.kind == "n":
            return "i"
        if self.kind == "s":
            return "s"
        if self.kind == "(":
            return f"({''.join([node.infer() for node in self.content])})"
        if not self.content:
            raise ValueError("the type of what is empty can't be told: write @as [] or the like")
        if self.kind == "[":
            return "a" + (_common(self.content) or self.content[0].infer())
        keys, values = [key for key, _ in self.content], [value for _, value in self.content]
        return f"a{{{_common(keys) or keys[0].infer()}{_common(values) or values[0].infer()}}}"

    def value(self, signature: str) -> Any:
        """The value in this type. Raises ValueError if it does not fit."""
        if self.known and self.known != signature:
            raise ValueError(f'a value of type "{self.known}" where "{signature}" is wanted')
        if self.kind == "n":
            return _number(self.content, signature)
        if self.kind == "s":
            return _text(self.content, signature)
        if self.kind == "[":
            if not signature.startswith("a") or signature.startswith("a{"):
                raise ValueError(f'an array is no value of type "{signature}"')
            return [node.value(signature[1:]) for node in self.content]
        if self.kind == "{":
            if not signature.startswith("a{"):
                raise ValueError(f'a dictionary is no value of type "{signature}"')
            return {key.value(signature[2]): value.value(signature[3:-1]) for key, value in self.content}
        if self.kind == "(":
            parts = _split(signature[1:-1]) if signature.startswith("(") else []
            if len(parts) != len(self.content):
                raise ValueError(f'a tuple of {len(self.content)} is no value of type "{signature}"')
            return tuple([node.value(part) for node, part in zip(self.content, parts, strict=True)])
        if self.kind == "v":
            inner = self.content.infer()
            return inner, self.content.value(inner)
        return self.content


def _common(nodes: list[_Node]) -> str | None:
    """The signature that the text determines for one of them, and so for all; None for none."""
    return next((node.known for node in nodes if node.known), None)


class _Reader:
    """The tokens of a text, read from left to right."""

    def __init__(self, text: str) -> None:
        self.tokens: list[tuple[str, str]] = []
        self.at = 0
        self.depth = 0
        at, end = 0, len(text.rstrip())
        while at < end:
            found = _TOKEN.match(text, at)
            if found is None:
                raise ValueError(f"can't read {text[at:].strip()!r}")
            self.tokens.append((str(found.lastgroup), found.group(str(found.lastgroup))))
            at = found.end()

    def next(self) -> tuple[str, str]:
        """The next token: its class and its text. Raises ValueError at the end."""
        if self.at == len(self.tokens):
            raise ValueError("the value is not complete")
        self.at += 1
        return self.tokens[self.at - 1]

    def value(self) -> _Node:
        """The next value, with the type before it."""
        sort, text = self.next()
        signature = None
        if sort == "type":
            signature = "".join(_split(text[1:]))
            if len(_split(signature)) != 1:
                raise ValueError(f'"{text}" is not one type')
            sort, text = self.next()
        elif sort == "word" and text in _TYPES:
            signature = _TYPES[text]
            sort, text = self.next()
        if sort == "number":
            return self._checked(_Node("n", text, signature), signature)
        if sort == "string":
            return self._checked(_Node("s", _unescaped(text[1:-1]), signature), signature)
        if sort == "bytes":
            data = _unescaped(text[2:-1]).encode("utf-8", "surrogateescape") + b"\0"
            return self._checked(_Node("y", data), signature)
        if text in ("true", "false"):
            return self._checked(_Node("b", text == "true"), signature)
        if sort == "word":
            raise ValueError(f'"{text}" is neither a type nor a value: a string is in quotes')
        self.depth += 1
        if self.depth > _DEEPEST:
            raise ValueError("the value is too deep")
        node = self._container(sort, text, signature)
        self.depth -= 1
        return node

    def _container(self, sort: str, text: str, signature: str | None) -> _Node:
        if sort == "sign" and text == "[":
            return _Node("[", self._items("]"), signature)
        if text == "(":
            return _Node("(", self._items(")"), signature)
        if text == "{":
            return _Node("{", self._entries(), signature)
        if text == "<":
            node = _Node("v", self.value())
            self._expect(">")
            return self._checked(node, signature)
        raise ValueError(f"unexpected {text!r}")

    def _checked(self, node: _Node, signature: str | None) -> _Node:
        if signature:
            node.value(signature)
        return node

    def _expect(self, sign: str) -> None:
        _, text = self.next()
        if text != sign:
            raise ValueError(f"{text!r} where {sign!r} is wanted")

    def _more(self, end: str) -> bool:
        """Whether another item follows. Reads the comma or the end."""
        _, text = self.next()
        if text not in (",", end):
            raise ValueError(f"{text!r} where ',' or {end!r} is wanted")
        return text == ","

    def _is_empty(self, end: str) -> bool:
        if self.tokens[self.at : self.at + 1] and self.tokens[self.at][1] == end:
            self.at += 1
            return True
        return False

    def _items(self, end: str) -> list[_Node]:
        items: list[_Node] = []
        if self._is_empty(end):
            return items
        items.append(self.value())
        while self._more(end):
            items.append(self.value())
        return items

    def _entries(self) -> list[tuple[_Node, _Node]]:
        entries: list[tuple[_Node, _Node]] = []
        more = not self._is_empty("}")
        while more:
            key = self.value()
            self._expect(":")
            entries.append((key, self.value()))
            more = self._more("}")
        return entries


def _unescaped(text: str) -> str:
    def character(found: re.Match[str]) -> str:
        code = found.group(1)
        if code[0] in "uU" and len(code) > 1:
            return chr(int(code[1:], 16))
        if code[0] in "01234567":
            return chr(int(code, 8))
        return _ESCAPES.get(code, code)

    return _ESCAPE.sub(character, text)


def _text(text: str, signature: str) -> str:
    wrong = "\0" in text or any("\ud800" <= sign <= "\udfff" for sign in text)
    if signature == "g":
        _split(text)
    if wrong or signature not in ("s", "o", "g") or (signature == "o" and not _OBJECT_PATH.fullmatch(text)):
        raise ValueError(f'{quote(text)} is no value of type "{signature}"')
    return text


def _number(text: str, signature: str) -> int | float:
    if signature == "d":
        return float(text)
    if signature not in _INTEGERS:
        raise ValueError(f'{text} is no value of type "{signature}"')
    sign = -1 if text.startswith("-") else 1
    digits = text.lstrip("+-")
    base = 16 if digits.startswith("0x") else 8 if digits.startswith("0") and digits != "0" else 10
    try:
        number = sign * int(digits, base)
    except ValueError:
        raise ValueError(f"{text} is no whole number") from None
    low, high = _INTEGERS[signature]
    if not low <= number < high:
        raise ValueError(f'{text} is out of range for type "{signature}"')
    return number


def _split(signature: str) -> list[str]:
    """The single complete types of a signature (D-Bus Specification, "Type System"). Raises ValueError."""
    types: list[str] = []
    at = 0
    if len(signature) > _LONGEST_SIGNATURE:
        raise ValueError("a type of more than 255 letters")
    while at < len(signature):
        end = _end(signature, at)
        types.append(signature[at:end])
        at = end
    return types


def _end(signature: str, at: int) -> int:
    """The end of the type that begins at `at`."""
    wrong = ValueError(f'"{signature}" is no type')
    letter = signature[at : at + 1]
    if letter and letter in _BASIC + "v":
        return at + 1
    if letter == "a":
        if signature[at + 1 : at + 2] != "{":
            return _end(signature, at + 1)
        if signature[at + 2 : at + 3] not in tuple(_BASIC):
            raise wrong
        end = _end(signature, at + 3)
        if signature[end : end + 1] != "}":
            raise wrong
        return end + 1
    if letter == "(" and signature[at + 1 : at + 2] != ")":
        at += 1
        while at < len(signature) and signature[at] != ")":
            at = _end(signature, at)
        if at < len(signature):
            return at + 1
    raise wrong
