"""The table of step kinds."""

from __future__ import annotations

import pytest

from pyrunc._generated import steps
from pyrunc.libcontainer.plan.kinds import INIT, INIT_KINDS, KINDS, NUMBERS, RUNTIME, RUNTIME_KINDS, Kind

TYPES = {"u32", "u64", "i64", "str", "strv", "fd"}
kinds = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)


@kinds
def test_a_kind_has_typed_fields_of_different_names(kind: Kind) -> None:
    names = [name for name, _ in kind.fields]
    assert len(names) == len(set(names))
    assert {type for _, type in kind.fields} <= TYPES
    assert all(name.isidentifier() for name in (kind.name, *names))


@kinds
def test_a_kind_says_what_it_does(kind: Kind) -> None:
    assert kind.call
    assert kind.doc[0].islower()
    assert not kind.doc.endswith(".")


def test_names_are_unique() -> None:
    assert len(KINDS) == len(RUNTIME_KINDS) + len(INIT_KINDS)


def test_actors() -> None:
    assert {kind.actor for kind in RUNTIME_KINDS} == {RUNTIME}
    assert {kind.actor for kind in INIT_KINDS} == {INIT}


def test_numbers_are_positions_among_the_init_s_kinds() -> None:
    assert [NUMBERS[kind.name] for kind in INIT_KINDS] == list(range(len(INIT_KINDS)))
    assert not NUMBERS.keys() & {kind.name for kind in RUNTIME_KINDS}


def test_only_the_init_has_descriptor_fields() -> None:
    assert not [kind.name for kind in RUNTIME_KINDS if "fd" in {type for _, type in kind.fields}]


def test_the_generated_constants_are_the_table() -> None:
    assert steps.NUMBERS == NUMBERS
    assert {name: kind.fields for name, kind in KINDS.items()} == steps.FIELDS
