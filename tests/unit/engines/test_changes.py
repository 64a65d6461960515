"""Changes of a tree: applied, applied again without effect, and removed."""

from __future__ import annotations

from typing import Any

import pytest

from pyrunc.engines.changes import Change, Choice, Entry, Member, apply, at, shown, take_out
from pyrunc.errors import PyruncError

ENTRY = Entry(("plugins", "io.x", "runtimes", "pyrunc"), {"type": "a", "options": {"path": "/p"}})
LIST = Entry(("runtimes", "pyrunc"), ["/p"])
CHOICE = Choice(("engine", "runtime"), "pyrunc")
MEMBER = Member(("engine", "names"), "pyrunc", ("crun", "runc"))


@pytest.mark.parametrize(
    ("change", "before", "after"),
    [
        (ENTRY, {}, {"plugins": {"io.x": {"runtimes": {"pyrunc": {"type": "a", "options": {"path": "/p"}}}}}}),
        (LIST, {"runtimes": {"crun": ["/c"]}}, {"runtimes": {"crun": ["/c"], "pyrunc": ["/p"]}}),
        (CHOICE, {"engine": {"runtime": "crun", "x": 1}}, {"engine": {"runtime": "pyrunc", "x": 1}}),
        (MEMBER, {}, {"engine": {"names": ["crun", "runc", "pyrunc"]}}),
        (MEMBER, {"engine": {"names": ["crun"]}}, {"engine": {"names": ["crun", "pyrunc"]}}),
    ],
)
def test_a_change_made_twice_and_taken_out(change: Change, before: dict[str, Any], after: dict[str, Any]) -> None:
    import copy

    tree = copy.deepcopy(before)
    apply(tree, [change])
    assert tree == after
    apply(tree, [change])
    assert tree == after
    take_out(tree, [change], before)
    assert tree == before
    take_out(tree, [change], before)
    assert tree == before


def test_what_others_have_in_our_table_stays_until_it_is_taken_out() -> None:
    table: dict[str, Any] = {"type": "old", "own": True, "options": {"x": 1}}
    tree = {"plugins": {"io.x": {"runtimes": {"pyrunc": table}}}}
    apply(tree, [ENTRY])
    assert table == {"type": "a", "own": True, "options": {"x": 1, "path": "/p"}}
    take_out(tree, [ENTRY], {})
    assert tree == {}


def test_an_earlier_entry_comes_back() -> None:
    before = {"plugins": {"io.x": {"runtimes": {"pyrunc": {"type": "old"}}}}}
    tree = {"plugins": {"io.x": {"runtimes": {"pyrunc": {"type": "a"}}}}}
    take_out(tree, [ENTRY], before)
    assert tree == before


def test_a_choice_that_somebody_changed_since_stays() -> None:
    tree = {"engine": {"runtime": "crun"}}
    take_out(tree, [CHOICE], {"engine": {"runtime": "runc"}})
    assert tree == {"engine": {"runtime": "crun"}}


def test_tables_that_were_empty_before_stay() -> None:
    tree: dict[str, Any] = {"engine": {"runtime": "pyrunc"}}
    take_out(tree, [CHOICE], {"engine": {}})
    assert tree == {"engine": {}}


@pytest.mark.parametrize(
    ("change", "tree", "said"),
    [
        (ENTRY, {"plugins": 3}, "plugins is no table"),
        (ENTRY, {"plugins": {"io.x": []}}, 'plugins."io.x" is no table'),
        (ENTRY, {"plugins": {"io.x": {"runtimes": {"pyrunc": "x"}}}}, 'plugins."io.x".runtimes.pyrunc is no table'),
        (MEMBER, {"engine": {"names": "crun"}}, "engine.names is no list"),
    ],
)
def test_what_stands_in_the_way(change: Change, tree: dict[str, Any], said: str) -> None:
    with pytest.raises(PyruncError) as caught:
        apply(tree, [change])
    assert caught.value.message == said


def test_paths() -> None:
    assert at({"a": {"b": 1}}, ("a", "b")) == 1
    assert at({"a": 1}, ("a", "b")) is None
    assert shown(("a-b", "c.d", "e_f")) == 'a-b."c.d".e_f'
