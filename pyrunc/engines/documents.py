"""The text of a configuration file, TOML or JSON, and changes of it that keep comments, order and layout.

tomlkit keeps them, but handles tables that are defined in several places wrongly. So each result is parsed again by the
standard library and compared with the intended tree.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Callable
from typing import Any

from ..errors import PyruncError
from ..jsontext import fault
from .changes import MakeTable, Tree

TOML, JSON = "toml", "json"

BY_HAND = "without --write they are printed, to be added by hand"

# A function that changes a tree in place; its second argument makes an empty table.
Edit = Callable[[Tree, MakeTable], None]


def parse(form: str, text: str, name: str) -> dict[str, Any]:
    """The tree of a file's text. form: TOML or JSON; name: the file's. Raises PyruncError if it can't be parsed."""
    if form == TOML:
        try:
            return tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise PyruncError(f"{name}: no valid TOML: {_lowered(str(error))}") from error
    if not text.strip():
        return {}
    try:
        value = json.loads(text, object_pairs_hook=_members)
    except json.JSONDecodeError as error:
        found = fault(text)  # a text that does not depend on the version of Python
        line, column, reason = error.lineno, error.colno, _lowered(error.msg)
        if found is not None:
            line, column, reason = found.place.line, found.place.column, found.what
        raise PyruncError(f"{name}:{line}: no valid JSON: {reason} (column {column})") from error
    except ValueError as error:
        raise PyruncError(f"{name}: {error}") from error
    if not isinstance(value, dict):
        raise PyruncError(f"{name}: no JSON object")
    return value


def edited(form: str, text: str, edit: Edit, name: str) -> str:
    """The text with a change made, or the same text if it changes nothing. Raises PyruncError like `parse`, and if the
    change can't be made without changing something else."""
    wanted = parse(form, text, name)
    edit(wanted, dict)
    if wanted == parse(form, text, name):
        return text
    result = _dump_json(wanted, text) if form == JSON else _edit_toml(text, edit, name)
    if parse(form, result, name) != wanted:
        raise PyruncError(f"{name}: the lines can't be merged without changing others", hint=BY_HAND)
    return result


def layout(form: str, tree: Tree) -> str:
    """The text of a new file for a tree."""
    if form == JSON:
        return json.dumps(tree, indent=4, ensure_ascii=False) + "\n"
    import tomlkit

    return tomlkit.dumps(_ordered(tree)).lstrip("\n")


def comments(text: str) -> list[str]:
    """The lines of a TOML file that are comments."""
    return [line.strip() for line in text.splitlines() if line.lstrip().startswith("#")]


def lost_comments(before: str, after: str) -> list[str]:
    """The comments of a text that another one lacks."""
    left = comments(after)
    lost = []
    for line in comments(before):
        if line in left:
            left.remove(line)
        else:
            lost.append(line)
    return lost


def _edit_toml(text: str, edit: Edit, name: str) -> str:
    import tomlkit
    from tomlkit.exceptions import TOMLKitError

    try:
        document = tomlkit.parse(text)
        edit(document, lambda: tomlkit.table(is_super_table=True))
        return tomlkit.dumps(document)
    except (TOMLKitError, AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        # tomlkit can't find members of tables that are defined in several places.
        message = f"{name}: the lines can't be merged: {error}"
        raise PyruncError(message, hint=BY_HAND) from error


def _ordered(tree: Tree) -> Tree:
    """The tree with each table's values before its tables, as TOML needs it."""
    parts = sorted(tree.items(), key=lambda item: isinstance(item[1], dict))
    return {key: _ordered(value) if isinstance(value, dict) else value for key, value in parts}


def _dump_json(tree: Tree, text: str) -> str:
    """JSON with the indentation of the text; four spaces if the text is one line."""
    indent = re.search(r"^([ \t]+)\S", text, re.MULTILINE)
    end = "\n" if text.endswith("\n") or not text else ""
    return json.dumps(tree, indent=indent[1] if indent else 4, ensure_ascii=False) + end


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object; a name that occurs twice is an error, because one of the two values would be lost."""
    members: dict[str, Any] = {}
    for key, value in pairs:
        if key in members:
            raise ValueError(f'"{key}" stands twice in an object')
        members[key] = value
    return members


def _lowered(text: str) -> str:
    return text[:1].lower() + text[1:]
