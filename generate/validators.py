"""Make plain Python validators of spec-schemas/config.schema.json, for the hot path of create and run.

python generate/validators.py [--output DIRECTORY]

writes `validators.py` (the functions) and `schemas.py` (the three schemas as Python literals, for explain.py and the
tests) into pyrunc/_generated. The output depends on the schemas alone: the same schemas give the same bytes.

A validator takes a decoded JSON value and returns the first problem as (JSON pointer, what is wrong), or None. It
imports nothing and uses no regular expression: the table PATTERNS translates each pattern. The generator refuses a
keyword or pattern that it does not know, so that the validators check all that a schema says. An integer is a Python
int; 1.0 and a bool are not (see $comment in the schema).
"""

from __future__ import annotations

import argparse
import json
import pprint
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from pyrunc.libcontainer.spec import messages as words  # noqa: E402

SCHEMAS = ("config", "state", "features")
# The validators that other modules call: the function's name and what it validates.
ENTRY_POINTS = {
    "config": "#",
    "process": "#/$defs/process",
    "resources": "#/$defs/resources",
}

# Each pattern: a Python expression that is true if the string {v} does not match.
PATTERNS = {
    r"^[^\u0000]*$": '"\\0" in {v}',
    r"^[^\u0000]+$": 'not {v} or "\\0" in {v}',
    r"^/[^\u0000]*$": '{v}[:1] != "/" or "\\0" in {v}',
    r"^(/[^\u0000]*)?$(?!\n)": '({v} and ({v}[0] != "/" or "\\0" in {v}))',
    r"^[^\u0000\n]*$(?!\n)": '"\\0" in {v} or "\\n" in {v}',
    r"^(MB:[^\u0000\n]*)?$(?!\n)": '({v} and ({v}[:3] != "MB:" or "\\0" in {v} or "\\n" in {v}))',
    r"^[^ \t\n\u0000]+$(?!\n)": 'not {v} or any(c in {v} for c in " \\t\\n\\0")',
    r"^[^./\u0000]+\.[^/\u0000]+$": '"/" in {v} or "\\0" in {v} or not 0 < {v}.find(".") < len({v}) - 1',
    r"^[^=\u0000]+=[^\u0000]*$": '{v}.find("=") < 1 or "\\0" in {v}',
    r"^[rwm]+$(?!\n)": 'not {v} or {v}.strip("rwm")',
    r"^([0-9]+(-[0-9]+)?(,[0-9]+(-[0-9]+)?)*)?$(?!\n)": "({v} and not _index_list({v}))",
    r"^[1-9][0-9]*[KMG]B$(?!\n)": "not _page_size({v})",
    r"^(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)"
    r"(-(0|[1-9][0-9]*|[0-9]*[A-Za-z-][0-9A-Za-z-]*)(\.(0|[1-9][0-9]*|[0-9]*[A-Za-z-][0-9A-Za-z-]*))*)?"
    r"(\+[0-9A-Za-z-]+(\.[0-9A-Za-z-]+)*)?$(?!\n)": "not _semver({v})",
}

# The same for a whole list {v} of strings: true if all of them match. Most lists are judged by this alone, which takes
# no step of the interpreter for each of them.
LIST_PATTERNS = {
    r"^[^\u0000]*$": '"\\0" not in "".join({v})',
    r"^[^\u0000]+$": 'all({v}) and "\\0" not in "".join({v})',
    # Before each text a NUL and a slash, and no other NUL.
    r"^/[^\u0000]*$": '(t := "\\0".join(("", *{v}))).count("\\0") == t.count("\\0/") == len({v})',
}

# Which keywords may stand together is not checked: the generator compiles each by itself, as JSON Schema evaluates it.
KEYWORDS = {
    "object": {
        "required",
        "properties",
        "propertyNames",
        "additionalProperties",
        "dependentRequired",
        "anyOf",
        "if",
        "then",
    },
    "array": {"items", "minItems"},
    "string": {"pattern", "enum"},
    "integer": {"minimum", "maximum"},
    "boolean": set(),
}
ANNOTATIONS = {"$schema", "$id", "$comment", "$defs", "title", "description", "type"}

HEADER = '''"""Validators of config.json. Made by generate/validators.py: do not edit.

Each takes a decoded JSON value and returns its first problem as (JSON pointer, what is wrong), or None.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Refusal = tuple[str, str] | None

# Each object with members that its schema does not know, and the names that it knows; for the caller to empty.
unknown: list[tuple[dict[str, Any], frozenset[str]]] = []

_TEXT = {str}


def _escape(name: str) -> str:
    """A property's name as a part of a JSON pointer (RFC 6901, section 3)."""
    return "/" + name.replace("~", "~0").replace("/", "~1")


def _number(text: str) -> bool:
    """Whether text is digits of ASCII."""
    return text.isdigit() and text.isascii()


def _index_list(text: str) -> bool:
    """Whether text is a list such as 0-3,7."""
    for part in text.split(","):
        first, dash, last = part.partition("-")
        if not _number(first) or (dash and not _number(last)):
            return False
    return True


def _page_size(text: str) -> bool:
    """Whether text is a size such as 2MB."""
    return _number(text[:-2]) and text[0] != "0" and text[-2:] in ("KB", "MB", "GB")


def _identifiers(text: str, numbers_plain: bool) -> bool:
    """Whether text is dot-separated identifiers of SemVer; numbers_plain: numeric ones have no leading zero."""
    for part in text.split("."):
        if not part or not part.isascii() or not part.replace("-", "a").isalnum():
            return False
        if numbers_plain and part[0] == "0" and part != "0" and part.isdigit():
            return False
    return True


def _semver(text: str) -> bool:
    """Whether text is a version by SemVer 2.0.0."""
    version, plus, build = text.partition("+")
    core, dash, pre = version.partition("-")
    numbers = core.split(".")
    if len(numbers) != 3:
        return False
    for number in numbers:
        if not _number(number) or (number[0] == "0" and number != "0"):
            return False
    return not (dash and not _identifiers(pre, True)) and not (plus and not _identifiers(build, False))
'''


class UnknownSchemaError(Exception):
    """The schema says something that this generator can't translate."""


class Generator:
    """Translates one schema document. An object or an array becomes a function; code in place tests a scalar."""

    def __init__(self, schema: dict[str, Any], entry_points: dict[str, str]) -> None:
        self.schema = schema
        self.names: dict[str, str] = {}
        self.taken = set(entry_points)
        self.functions: list[str] = []
        # Messages and the tuples of enumerations: literal -> name of the module's constant.
        self.constants: dict[str, str] = {}
        for name, location in entry_points.items():
            self.names[location] = name

    def module(self) -> str:
        """The whole module's text."""
        for location in list(self.names):
            self._emit(location, self.names[location])
        constants = "".join(f"{name} = {literal}\n" for literal, name in self.constants.items())
        return HEADER + "\n\n" + constants + "".join("\n\n" + text + "\n" for text in self.functions)

    def resolve(self, location: str) -> tuple[str, dict[str, Any]]:
        """The location and the schema that a location names, after following references."""
        node: Any = self.schema
        for part in location.split("/")[1:]:
            node = node[int(part)] if isinstance(node, list) else node[part]
        if set(node) == {"$ref"}:
            return self.resolve(node["$ref"])
        return location, node

    def _constant(self, literal: str) -> str:
        return self.constants.setdefault(literal, f"_C{len(self.constants)}")

    def _function(self, location: str) -> str:
        """The name of a schema's function; the first call makes the function."""
        if location not in self.names:
            # #/$defs/mount/properties/options -> _mount_options
            parts = [w for w in location.split("/")[1:] if w not in ("$defs", "properties")]
            name = base = "_" + "_".join(parts)
            number = 2
            while name in self.taken:
                name = f"{base}_{number}"
                number += 1
            self.taken.add(name)
            self.names[location] = name
            self._emit(location, name)
        return self.names[location]

    def _emit(self, location: str, name: str) -> None:
        _, node = self.resolve(location)
        check_keywords(location, node)
        body = self._object(location, node) if node.get("type", "object") == "object" else self._array(location, node)
        self.functions.append("\n".join([f"def {name}(v: Any) -> Refusal:", *body, "    return None"]))

    def _refuse(self, indent: str, pointer: str, what: str) -> str:
        return f"{indent}return {pointer}, {self._constant(quote(what))}"

    def _object(self, location: str, node: dict[str, Any]) -> list[str]:
        """Statements for an object. A schema without "type" (inside anyOf, if and then) is about a value that was
        already found to be an object.
        """
        lines = []
        required = node.get("required", ())
        if "type" in node:
            lines += ["    if type(v) is not dict:", self._refuse("        ", '""', words.must_be({"type": "object"}))]
        for member in required:
            lines += [f"    if {quote(member)} not in v:", self._refuse("        ", quote("/" + member), words.MISSING)]
        for member, needs in node.get("dependentRequired", {}).items():
            for need in needs:
                lines += [
                    f"    if {quote(member)} in v and {quote(need)} not in v:",
                    self._refuse("        ", quote("/" + need), words.missing_beside(member)),
                ]
        for member in node.get("properties", {}):
            indent = "    "
            if member not in required:
                lines.append(f"    if {quote(member)} in v:")
                indent = "        "
            lines += self._value(f"{location}/properties/{member}", f"v[{quote(member)}]", indent, quote("/" + member))
        if "properties" in node and "type" in node:
            literal = "frozenset((" + " ".join(quote(word) + "," for word in node["properties"]) + "))"
            known = self._constant(literal)
            lines += [f"    if not v.keys() <= {known}:", f"        unknown.append((v, {known}))"]
        if "propertyNames" in node or "additionalProperties" in node:
            lines += self._map(location, node)
        if "anyOf" in node:
            tests = [f"{self._function(f'{location}/anyOf/{i}')}(v) is not None" for i in range(len(node["anyOf"]))]
            lines += [f"    if {' and '.join(tests)}:", self._refuse("        ", '""', words.needs_one(node["anyOf"]))]
        if "if" in node:
            lines += [
                f"    if {self._function(location + '/if')}(v) is None:",
                f"        r = {self._function(location + '/then')}(v)",
                "        if r is not None:",
                "            return r",
            ]
        return lines

    def _map(self, location: str, node: dict[str, Any]) -> list[str]:
        if "properties" in node or not {"propertyNames", "additionalProperties"} <= set(node):
            raise UnknownSchemaError(f"{location}: a map has propertyNames and additionalProperties, no properties")
        names_at, names = self.resolve(location + "/propertyNames")
        return [
            "    for k, x in v.items():",
            f"        if {self._scalar_test(names, 'k', names_at)}:",
            self._refuse("            ", "_escape(k)", words.bad_name(names)),
            *self._value(location + "/additionalProperties", "x", "        ", "_escape(k)"),
        ]

    def _array(self, location: str, node: dict[str, Any]) -> list[str]:
        lines = ["    if type(v) is not list:", self._refuse("        ", '""', words.must_be({"type": "array"}))]
        if "minItems" in node:
            if node["minItems"] != 1:
                raise UnknownSchemaError(f"{location}: minItems {node['minItems']}")
            lines += ["    if not v:", self._refuse("        ", '""', words.NOT_EMPTY)]
        lines += self._whole_array(location + "/items")
        return [*lines, "    for i, x in enumerate(v):", *self._value(location + "/items", "x", "        ", 'f"/{i}"')]

    def _whole_array(self, location: str) -> list[str]:
        """Statements that accept an array of strings at once, if there are such tests for its items; the statements
        after them find the item that is refused."""
        location, node = self.resolve(location)
        if node.get("type") != "string":
            return []
        check_keywords(location, node)
        tests = ["{*map(type, v)} <= _TEXT"]
        if "enum" in node:
            literal = "frozenset((" + " ".join(quote(word) + "," for word in node["enum"]) + "))"
            tests.append(f"{self._constant(literal)}.issuperset(v)")
        if "pattern" in node:
            if node["pattern"] not in LIST_PATTERNS:
                return []
            tests.append(LIST_PATTERNS[node["pattern"]].format(v="v"))
        return [f"    if {' and '.join(tests)}:", "        return None"]

    def _value(self, location: str, value: str, indent: str, pointer: str) -> list[str]:
        """Statements that validate `value`, an expression; v has its JSON pointer, an expression."""
        location, node = self.resolve(location)
        if node.get("type", "object") not in ("object", "array"):
            check_keywords(location, node)
            lines = [] if value == "x" else [f"{indent}x = {value}"]
            return [
                *lines,
                f"{indent}if {self._scalar_test(node, 'x', location)}:",
                self._refuse(indent + "    ", pointer, words.must_be(node)),
            ]
        if not set(node) - ANNOTATIONS and node["type"] == "object":
            return [
                f"{indent}if type({value}) is not dict:",
                self._refuse(indent + "    ", pointer, words.must_be({"type": "object"})),
            ]
        function = self._function(location)
        join = f'{pointer[:-1]}{{r[0]}}"' if pointer.startswith('f"') else f"{pointer} + r[0]"
        return [f"{indent}r = {function}({value})", f"{indent}if r is not None:", f"{indent}    return {join}, r[1]"]

    def _scalar_test(self, node: dict[str, Any], variable: str, location: str) -> str:
        """An expression that is true if a scalar is refused. Types are compared exactly, so that a bool is not an
        integer.
        """
        kind = {"string": "str", "integer": "int", "boolean": "bool"}[node["type"]]
        tests = [f"type({variable}) is not {kind}"]
        if "enum" in node:
            # A value that is not a string is not in a tuple of strings.
            literal = "(" + " ".join(quote(word) + "," for word in node["enum"]) + ")"
            tests = [f"{variable} not in {self._constant(literal)}"]
        if "pattern" in node:
            if node["pattern"] not in PATTERNS:
                raise UnknownSchemaError(f"{location}: pattern {node['pattern']!r}")
            tests.append(PATTERNS[node["pattern"]].format(v=variable))
        if "minimum" in node or "maximum" in node:
            tests.append(f"not {node['minimum']} <= {variable} <= {node['maximum']}")
        return " or ".join(tests)


def check_keywords(location: str, node: dict[str, Any]) -> None:
    """Refuse a schema with a keyword that the generator does not translate. Raises UnknownSchemaError."""
    kind = node.get("type", "object")
    if not isinstance(kind, str) or kind not in KEYWORDS:
        raise UnknownSchemaError(f"{location}: type {kind!r}")
    unknown = set(node) - KEYWORDS[kind] - ANNOTATIONS
    if unknown:
        raise UnknownSchemaError(f"{location}: {', '.join(sorted(unknown))} beside type {kind}")


def quote(text: str) -> str:
    """A Python literal in double quotes."""
    return json.dumps(text)


def load_schema(name: str) -> dict[str, Any]:
    """A schema of spec-schemas/ by its short name."""
    schema: dict[str, Any] = json.loads((ROOT / "spec-schemas" / f"{name}.schema.json").read_text("utf-8"))
    return schema


def validators_text() -> str:
    """The text of pyrunc/_generated/validators.py."""
    return Generator(load_schema("config"), ENTRY_POINTS).module()


def schemas_text() -> str:
    """The text of pyrunc/_generated/schemas.py."""
    parts = [
        '"""The schemas of spec-schemas/ as Python data. Made by generate/validators.py: do not edit."""',
        "from __future__ import annotations",
        "from typing import Any",
    ]
    for name in SCHEMAS:
        data = pprint.pformat(load_schema(name), width=110, sort_dicts=False)
        parts.append(f"{name.upper()}: dict[str, Any] = {data}")
    return "\n\n".join(parts) + "\n"


def main(arguments: list[str]) -> int:
    """Write both modules. Leaves a file with unchanged text alone, so that make sees no change."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--output", type=Path, default=ROOT / "pyrunc" / "_generated")
    directory: Path = parser.parse_args(arguments).output
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "__init__.py").touch()
    for name, text in (("validators.py", validators_text()), ("schemas.py", schemas_text())):
        path = directory / name
        if not path.is_file() or path.read_text("utf-8") != text:
            path.write_text(text, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
