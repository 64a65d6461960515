"""The messages of a schema, shared by the generated validators and the explanations."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_TYPES = {
    "object": "an object",
    "array": "an array",
    "string": "text",
    "boolean": "true or false",
    "integer": "an integer",
}

MISSING = "is missing"
NEEDED = "the specification requires it"
NOT_EMPTY = "must have at least one entry"


def quoted(words: list[str]) -> str:
    """Strings as a list in a message: `"a", "b"`."""
    return ", ".join([f'"{word}"' for word in words])


def allowed(schema: dict[str, Any]) -> str:
    """The values that a schema allows, to follow `must be`: an enumeration, a description, a range or a type."""
    if "enum" in schema:
        return "one of " + quoted(schema["enum"])
    if "description" in schema:
        return str(schema["description"])
    if "minimum" in schema:
        return f"an integer from {schema['minimum']} to {schema['maximum']}"
    return _TYPES[schema["type"]]


def must_be(schema: dict[str, Any]) -> str:
    """The message for a value that the schema refuses."""
    return "must be " + allowed(schema)


def bad_name(schema: dict[str, Any]) -> str:
    """The message for a member whose name the schema refuses."""
    return "has a name that must be " + allowed(schema)


def missing_beside(member: str) -> str:
    """The message for a member without another one that it needs."""
    return f"is missing beside {member}"


def needs_one(branches: list[dict[str, Any]]) -> str:
    """The message if none of several members is there. branches: schemas with `required`."""
    return "needs " + " or ".join([str(branch["required"][0]) for branch in branches])
