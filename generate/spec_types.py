"""Make pyrunc/_generated/spec_types.pyi, the types of config.json, of the features and of the state, from spec-schemas.

python generate/spec_types.py [OUTPUT]

Each object of a schema becomes a TypedDict that its `title` names. Members that the schema requires are required, all
others NotRequired. Enumerations are Literal, so that mypy finds a misspelt word in a comparison too. Only type checkers
read a stub. It is no module that a program could import, so the types cost nothing when pyrunc runs.
"""

from __future__ import annotations

import sys
from keyword import iskeyword
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from generate.validators import SCHEMAS, load_schema  # noqa: E402

OUTPUT = ROOT / "pyrunc" / "_generated" / "spec_types.pyi"
SCALARS = {"string": "str", "integer": "int", "boolean": "bool", "null": "None"}


class UntypedError(Exception):
    """The schema says something that this generator has no type for."""


class Types:
    """The TypedDicts of schemas: `classes` has their texts by their names."""

    def __init__(self) -> None:
        self.classes: dict[str, str] = {}
        self.places: dict[str, str] = {}  # a title: the object that has it

    def add(self, name: str, schema: dict[str, Any]) -> None:
        """Make the types of a schema document; name: its short name. Raises UntypedError."""
        _Document(self, name, schema).type_of("#", schema)

    def module(self) -> str:
        """The text of the stub."""
        return (
            '"""Made by generate/spec_types.py from spec-schemas: do not edit."""\n\n'
            "from typing import Literal, NotRequired, TypedDict\n\n" + "\n".join(self.classes.values())
        )


class _Document:
    """One schema document, while the generator makes its types."""

    def __init__(self, types: Types, name: str, schema: dict[str, Any]) -> None:
        self.types = types
        self.name = name
        self.schema = schema

    def type_of(self, at: str, node: dict[str, Any]) -> str:
        """The type, as an annotation has it, of what the schema describes at a place."""
        if "$ref" in node:
            target: Any = self.schema
            for part in node["$ref"].split("/")[1:]:
                target = target[part]
            return self.type_of(node["$ref"], target)
        if "enum" in node:
            return f"Literal[{', '.join(repr(word) for word in node['enum'])}]"
        kinds = node.get("type")
        if kinds is None:
            raise UntypedError(f"{self.name}.schema.json{at}: no type")
        return " | ".join(self._kind(at, kind, node) for kind in ([kinds] if isinstance(kinds, str) else kinds))

    def _kind(self, at: str, kind: str, node: dict[str, Any]) -> str:
        if kind in SCALARS:
            return SCALARS[kind]
        if kind == "array" and "items" in node:
            return f"list[{self.type_of(at + '/items', node['items'])}]"
        if kind != "object":
            raise UntypedError(f"{self.name}.schema.json{at}: {kind}")
        if "properties" in node:
            return self._class(at, node)
        if isinstance(node.get("additionalProperties"), dict):
            return f"dict[str, {self.type_of(at + '/additionalProperties', node['additionalProperties'])}]"
        return "dict[str, object]"

    def _class(self, at: str, node: dict[str, Any]) -> str:
        """The name of an object's TypedDict; the first call makes the TypedDict."""
        title: str = node.get("title", "")
        place = f"{self.name}.schema.json{at}"
        if not title.isidentifier():
            raise UntypedError(f"{place}: an object has a title, the name of its type")
        if self.types.places.setdefault(title, place) != place:
            raise UntypedError(f"{place}: {title} is the title of {self.types.places[title]} too")
        if title not in self.types.classes:
            self.types.classes[title] = ""  # the class's members may name it
            self.types.classes[title] = self._text(title, at, node)
        return title

    def _text(self, title: str, at: str, node: dict[str, Any]) -> str:
        """The TypedDict's text: a class, or the functional form if members have names that are not valid in Python."""
        members = []
        for name, member in node["properties"].items():
            kind = self.type_of(f"{at}/properties/{name}", member)
            members.append((name, kind if name in node.get("required", ()) else f"NotRequired[{kind}]"))
        comment = f"# {self.name}.schema.json{at}\n"
        if any(iskeyword(name) for name, _ in members):
            rows = "".join(f"    {name!r}: {kind},\n" for name, kind in members)
            return f"{comment}{title} = TypedDict({title!r}, {{\n{rows}}})\n"
        rows = "".join(f"    {name}: {kind}\n" for name, kind in members)
        return f"{comment}class {title}(TypedDict):\n{rows}"


def stub() -> str:
    """The text of pyrunc/_generated/spec_types.pyi. Raises UntypedError."""
    types = Types()
    for name in SCHEMAS:
        types.add(name, load_schema(name))
    return types.module()


def main(arguments: list[str]) -> int:
    """Write the stub if its text has changed."""
    output = Path(arguments[0]) if arguments else OUTPUT
    output.parent.mkdir(parents=True, exist_ok=True)
    text = stub()
    if not output.is_file() or output.read_text("utf-8") != text:
        output.write_text(text, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
