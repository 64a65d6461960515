"""Explain a configuration: every problem, in words, with the nearest legal word. Cold: it imports jsonschema.

The schemas decide here as on the hot path: the generated validators and jsonschema use the same files.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from jsonschema import Draft202012Validator, ValidationError
from jsonschema.validators import extend

from ..._generated import schemas
from ...errors import pointer
from ..spec import messages
from .problems import ERROR, WARNING, Problem, sentence, shorten


def _is_integer(checker: object, value: object) -> bool:
    """Whether a value is an integer, as Go's decoder judges: 1.0 and true are not."""
    return type(value) is int


SchemaValidator = extend(
    Draft202012Validator, type_checker=Draft202012Validator.TYPE_CHECKER.redefine("integer", _is_integer)
)


def problems(value: Any, definition: str = "") -> list[Problem]:
    """All problems that the config schema has with a value; empty if it accepts the value.

    definition: the part of the schema that describes the value (`process`, `resources`); "" for a whole config.
    Each place has one problem: consequences of a wrong type are left out.
    """
    schema = schemas.CONFIG
    if definition:
        schema = {"$ref": f"#/$defs/{definition}", "$defs": schemas.CONFIG["$defs"]}
    found: dict[str, Problem] = {}
    errors = sorted(SchemaValidator(schema).iter_errors(value), key=lambda error: error.validator != "type")
    for error in errors:
        for problem in _explained(value, error):
            found.setdefault(problem.pointer, problem)
    return sorted(found.values(), key=lambda problem: order(value, problem.pointer))


def unknown_properties(value: Any) -> list[Problem]:
    """Warn of members that the specification does not define: a runtime ignores them (config.md)."""
    return list(_unknown(value, schemas.CONFIG, ""))


def nearest(word: str, words: Iterable[str]) -> str:
    """The legal word that was probably meant; "" if none is near. Case and a missing CAP_ make no difference.

    A prefix that all legal words have, such as RLIMIT_, does not make a word near.
    """
    folded = {name.casefold(): name for name in words}
    prefix = _prefix(list(folded))
    folded.update({name.removeprefix("cap_"): legal for name, legal in list(folded.items())})
    wanted = word.casefold()
    if prefix and wanted.startswith(prefix):
        wanted = wanted.removeprefix(prefix)
        folded = {name.removeprefix(prefix): legal for name, legal in folded.items()}
    matches = difflib.get_close_matches(wanted, folded, 1, 0.6)
    return folded[matches[0]] if matches else ""


def _prefix(words: list[str]) -> str:
    """What all words begin with, up to an underscore; "" for nothing."""
    first, last = (min(words), max(words)) if words else ("", "")
    count = next((i for i, (one, other) in enumerate(zip(first, last, strict=False)) if one != other), len(first))
    return first[: first.rfind("_", 0, count) + 1]


def _explained(root: Any, error: ValidationError) -> Iterator[Problem]:
    """The problems that one jsonschema error reports."""
    at = pointer(*error.absolute_path)
    keyword = error.validator
    schema: dict[str, Any] = error.schema
    if "propertyNames" in error.relative_schema_path:
        name = str(error.instance)
        at += pointer(name)
        yield _problem(root, at, messages.bad_name(schema), name, schema.get("enum", ()))
    elif keyword == "required":
        for member in error.validator_value:
            if member not in error.instance:
                meant = _misspelt(member, error.instance, schema)
                yield _problem(root, at + pointer(member), messages.MISSING, meant=meant)
    elif keyword == "dependentRequired":
        for member, needs in error.validator_value.items():
            for need in needs:
                if member in error.instance and need not in error.instance:
                    yield _problem(root, at + pointer(need), messages.missing_beside(member))
    elif keyword == "anyOf":
        yield _problem(root, at, messages.needs_one(error.validator_value))
    elif keyword == "minItems":
        yield _problem(root, at, messages.NOT_EMPTY)
    else:
        said = error.instance if isinstance(error.instance, str) else ""
        yield _problem(root, at, messages.must_be(schema), said, schema.get("enum", ()))


def _problem(root: Any, at: str, what: str, said: str = "", words: Sequence[str] = (), meant: str = "") -> Problem:
    message = sentence(root, at, what)
    hint = messages.NEEDED if what.startswith(messages.MISSING) else ""
    if meant:
        message += f", {shorten(meant)} is unknown"
        hint = "rename it to " + at.rpartition("/")[2]
    return Problem(ERROR, at, message, nearest=nearest(said, words) if said and words else "", hint=hint)


def _misspelt(member: str, instance: dict[str, Any], schema: dict[str, Any]) -> str:
    """The unknown member that is probably a misspelt required one; "" if there is none."""
    if "properties" not in schema:
        return ""
    return nearest(member, [name for name in instance if name not in schema["properties"]])


def order(value: Any, at: str) -> tuple[int, ...]:
    """The sort key of a pointer: problems are in the order of the file, missing members first."""
    place = []
    for part in at.split("/")[1:]:
        name = part.replace("~1", "/").replace("~0", "~")
        if type(value) is dict and name in value:
            place.append(list(value).index(name))
            value = value[name]
        elif type(value) is list:
            place.append(int(name))
            value = value[int(name)]
        else:
            place.append(-1)
    return tuple(place)


def _unknown(value: Any, schema: dict[str, Any], at: str) -> Iterator[Problem]:
    while "$ref" in schema:
        schema = schemas.CONFIG["$defs"][schema["$ref"].removeprefix("#/$defs/")]
    if type(value) is list and "items" in schema:
        for index, item in enumerate(value):
            yield from _unknown(item, schema["items"], f"{at}/{index}")
    elif type(value) is dict and "additionalProperties" in schema:
        for name, member in value.items():
            yield from _unknown(member, schema["additionalProperties"], at + pointer(name))
    elif type(value) is dict and "properties" in schema:
        known = schema["properties"]
        for name, member in value.items():
            if name in known:
                yield from _unknown(member, known[name], at + pointer(name))
            else:
                message = f"the specification defines no property {shorten(name)} here: it is ignored"
                yield Problem(WARNING, at + pointer(name), message, value=name, words=tuple(known))
