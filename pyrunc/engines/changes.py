"""Changes of an engine's configuration, as a tree of tables, which can also be undone.

A tree is a dict of a JSON or TOML file, or tomlkit's document, which keeps comments and order: both are mappings.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, MutableMapping
from dataclasses import dataclass
from typing import Any

from ..errors import PyruncError

Tree = MutableMapping[str, Any]
# A function that makes an empty table for a tree.
MakeTable = Callable[[], Tree]


@dataclass(frozen=True)
class Entry:
    """A value or table at `path` that only pyrunc has. If it is a table, these members get these values and others
    stay; the undo removes it as a whole."""

    path: tuple[str, ...]
    value: dict[str, Any] | list[str]


@dataclass(frozen=True)
class Choice:
    """A value that is replaced by pyrunc's; the undo restores the earlier one."""

    path: tuple[str, ...]
    value: str | int


@dataclass(frozen=True)
class Usual:
    """An entry that the engine has by default as long as the file does not have the table above `path`. It is added if
    nothing is at `path`. The undo removes it if it is the only entry of the table: then the default applies again."""

    path: tuple[str, ...]
    value: dict[str, Any]


@dataclass(frozen=True)
class Member:
    """A list that gets the member `name`. usual: the engine's default if the file has no such list."""

    path: tuple[str, ...]
    name: str
    usual: tuple[str, ...]


Change = Entry | Choice | Usual | Member


def apply(tree: Tree, changes: Iterable[Change], make: MakeTable = dict) -> None:
    """Make all changes. Raises PyruncError if another value is in the place of a table or a list."""
    for change in changes:
        table = _reach(tree, change.path[:-1], make)
        key = change.path[-1]
        if isinstance(change, Entry | Choice):
            _merge(table, {key: change.value}, make, change.path[:-1])
        elif isinstance(change, Usual):
            if key not in table:
                _merge(table, {key: change.value}, make, change.path[:-1])
        else:
            found = table.get(key)
            if found is None:
                table[key] = [*change.usual, change.name]
            elif not isinstance(found, list):
                raise PyruncError(f"{shown(change.path)} is no list")
            elif change.name not in found:
                found.append(change.name)


def take_out(tree: Tree, changes: Iterable[Change], before: Tree) -> None:
    """Undo `apply`. before: the tree before it, {} if there was no file or if it is unknown."""
    for change in changes:
        table = at(tree, change.path[:-1])
        key = change.path[-1]
        if not isinstance(table, MutableMapping) or key not in table:
            continue
        earlier = at(before, change.path)
        if isinstance(change, Entry):
            if earlier is None:
                del table[key]
            else:
                table[key] = earlier
        elif isinstance(change, Choice):
            if table[key] == change.value and earlier != change.value:
                if earlier is None:
                    del table[key]
                else:
                    table[key] = earlier
        elif isinstance(change, Usual):
            if earlier is None and list(table) == [key] and table[key] == change.value:
                del table[key]
        elif change.name in table[key] and change.name not in (earlier or ()):
            table[key].remove(change.name)
            if earlier is None and tuple(table[key]) == change.usual:
                del table[key]
        _prune(tree, change.path[:-1], before)


def at(tree: Tree, path: Iterable[str]) -> Any:
    """The value at a path; None if there is none."""
    node: Any = tree
    for key in path:
        if not isinstance(node, MutableMapping) or key not in node:
            return None
        node = node[key]
    return node


def shown(path: Iterable[str]) -> str:
    """A path as TOML writes it: `plugins."io.containerd.grpc.v1.cri".containerd`."""
    return ".".join([key if key.replace("_", "").replace("-", "").isalnum() else f'"{key}"' for key in path])


def _reach(tree: Tree, path: tuple[str, ...], make: MakeTable) -> Tree:
    """The table at a path; a missing one is made."""
    node = tree
    for depth, key in enumerate(path, 1):
        if key not in node:
            node[key] = make()
        node = node[key]
        if not isinstance(node, MutableMapping):
            raise PyruncError(f"{shown(path[:depth])} is no table")
    return node


def _merge(table: Tree, members: dict[str, Any], make: MakeTable, path: tuple[str, ...]) -> None:
    for key, value in members.items():
        if isinstance(value, dict):
            inner = table.get(key)
            if inner is None:
                table[key] = make()
                inner = table[key]
            if not isinstance(inner, MutableMapping):
                raise PyruncError(f"{shown((*path, key))} is no table")
            _merge(inner, value, make, (*path, key))
        elif table.get(key) != value:
            table[key] = value


def _prune(tree: Tree, path: tuple[str, ...], before: Tree) -> None:
    """Remove the tables on a path that are empty now and did not exist before, the innermost first."""
    for end in range(len(path), 0, -1):
        if at(tree, path[:end]) or at(before, path[:end]) is not None:
            return
        del at(tree, path[: end - 1])[path[end - 1]]
