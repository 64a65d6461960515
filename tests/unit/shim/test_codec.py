"""Our messages against the tests' own codec (tests/shim/wire.py), which was written without our code: every message.

Each side encodes what the other one decodes, and both agree on what bytes mean that are damaged.
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyrunc import protobuf
from pyrunc._generated.shim_messages import TABLES
from pyrunc.shim import messages
from tests.shim import wire
from tests.support import effort

# Names in the tests' table that stand for others of ours: an entry of a map, and of a list of keys and values.
OURS = {"Entry": "KeyValue"}
# What the tests know and the shim has no use for.
UNUSED = {"UpdateSandboxRequest", "Entry"}
NAMES = sorted(name for name in wire.FIELDS if name in TABLES)

SCALARS: dict[str, st.SearchStrategy[Any]] = {
    "string": st.text(st.characters(exclude_categories=["Cs"]), max_size=12),
    "bytes": st.binary(max_size=12),
    "bool": st.booleans(),
    "int32": st.integers(-(1 << 31), (1 << 31) - 1),
    "uint32": st.integers(0, (1 << 32) - 1),
    "int64": st.integers(-(1 << 63), (1 << 63) - 1),
    "uint64": st.integers(0, (1 << 64) - 1),
    "double": st.floats(0, 1e12, allow_subnormal=False),  # percentages and times
}


def known(name: str) -> dict[str, tuple[str, bool]]:
    """The fields that both have: name to the tests' type, and whether it is repeated."""
    mine = {row[0] for row in TABLES[OURS.get(name, name)].values()}
    return {key: (kind, repeated) for key, kind, repeated in wire.FIELDS[name].values() if key in mine}


def values(name: str) -> st.SearchStrategy[wire.Message]:
    """Messages as the tests' codec has them; some fields are left out."""
    fields: dict[str, st.SearchStrategy[Any]] = {}
    for key, (kind, repeated) in known(name).items():
        one = SCALARS[kind] if kind in SCALARS else values(kind)
        if kind == "Entry":
            fields[key] = st.lists(one, max_size=3, unique_by=lambda entry: entry.get("key", ""))
        else:
            fields[key] = st.lists(one, max_size=3) if repeated else one
    return st.fixed_dictionaries({}, optional=fields)


def ours(name: str, given: wire.Message) -> dict[str, Any]:
    """The same message in our form: a map is a dict."""
    maps = {row[0] for row in TABLES[OURS.get(name, name)].values() if row[1] == protobuf.MAP}
    found: dict[str, Any] = {}
    for key, value in given.items():
        kind, repeated = known(name)[key]
        if key in maps:
            found[key] = {entry.get("key", ""): entry.get("value", "") for entry in value}
        elif kind in SCALARS:
            found[key] = value
        else:
            found[key] = [ours(kind, item) for item in value] if repeated else ours(kind, value)
    return found


def theirs(name: str, message: dict[str, Any] | None) -> wire.Message | None:
    """A message of ours in the tests' form, with the fields that both have."""
    if message is None:
        return None
    found: wire.Message = {}
    for key, (kind, repeated) in known(name).items():
        value = message[key]
        if isinstance(value, dict) and kind == "Entry":
            found[key] = [{"key": word, "value": text} for word, text in sorted(value.items())]
        elif kind in SCALARS:
            found[key] = value
        else:
            found[key] = [theirs(kind, item) for item in value] if repeated else theirs(kind, value)
    return found


def plain(name: str, message: wire.Message | None) -> wire.Message | None:
    """A message of the tests' codec with the fields that both have; the entries of a map have an order."""
    if message is None:
        return None
    found: wire.Message = {}
    maps = {row[0] for row in TABLES[OURS.get(name, name)].values() if row[1] == protobuf.MAP}
    for key, (kind, repeated) in known(name).items():
        value = message[key]
        if key in maps:
            texts = {entry["key"]: entry["value"] for entry in value}
            found[key] = [{"key": word, "value": text} for word, text in sorted(texts.items())]
        elif kind in SCALARS:
            found[key] = value
        else:
            found[key] = [plain(kind, item) for item in value] if repeated else plain(kind, value)
    return found


def test_the_tests_know_our_messages() -> None:
    """Those that are not here are parts of the metrics, and what is never sent to or by a shim."""
    assert set(wire.FIELDS) - set(TABLES) == UNUSED
    assert len(NAMES) > 70


@pytest.mark.parametrize("name", NAMES)
def test_the_numbers_are_the_same(name: str) -> None:
    mine = {row[0]: number for number, row in TABLES[name].items()}
    others = {key: number for number, (key, _, _) in wire.FIELDS[name].items()}
    assert {key: mine[key] for key in mine if key in others} == {key: others[key] for key in mine if key in others}
    assert not {number for key, number in mine.items() if key not in others} & set(others.values())


@pytest.mark.parametrize("name", NAMES)
def test_each_reads_what_the_other_writes(name: str) -> None:
    @settings(max_examples=effort.times(15, 200))
    @given(values(name))
    def check(given: wire.Message) -> None:
        data = wire.encode(name, given)
        wanted = plain(name, wire.decode(name, data))
        assert theirs(name, messages.decode(name, data)) == wanted
        assert plain(name, wire.decode(name, messages.encode(name, ours(name, given)))) == wanted

    check()


def shared_fields() -> dict[str, dict[int, wire.Field]]:
    """The fields of the tests' messages that ours have too: both codecs then skip the same fields as unknown."""
    return {
        name: {number: field for number, field in fields.items() if name not in NAMES or field[0] in known(name)}
        for name, fields in wire.FIELDS.items()
    }


@pytest.mark.parametrize("name", NAMES)
def test_they_agree_on_damaged_bytes(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ours refuses more: what it takes means the same for both. It never fails otherwise."""
    monkeypatch.setattr(wire, "FIELDS", shared_fields())

    @settings(max_examples=effort.times(15, 200))
    @given(values(name), st.integers(0, 1 << 16), st.integers(0, 255), st.booleans())
    def check(given: wire.Message, at: int, byte: int, cut: bool) -> None:
        data = bytearray(wire.encode(name, given) or b"\0")
        at %= len(data)
        if cut:
            del data[at:]
        else:
            data[at] = byte
        try:
            found = messages.decode(name, bytes(data))
        except protobuf.MalformedError:
            return
        try:
            wanted = wire.decode(name, bytes(data))
        except ValueError as error:
            raise AssertionError(f"{bytes(data)!r} is a message for us, and not for the tests") from error
        assert theirs(name, found) == plain(name, wanted)

    check()
