"""The text of a file with a change in it: all other parts stay, byte for byte."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable
from typing import Any

import pytest

from pyrunc.engines import documents
from pyrunc.engines.changes import Change, Choice, Entry, MakeTable, Member, Tree, apply
from pyrunc.engines.documents import JSON, TOML
from pyrunc.errors import PyruncError

PODMAN = """\
# The containers configuration file
[containers]
# List of ulimits
#default_ulimits = [
#  "nofile=1280:2560",
#]

[engine]
# List of the OCI runtimes that support --format=json.
runtime_supports_json = [
  "crun", # the default
  "runc",
]
  cgroup_manager = 'systemd'   # by hand

# Path
[engine.runtimes]
crun = [
            "/usr/bin/crun",
]

[network]
"""
CHANGES: list[Change] = [
    Entry(("engine", "runtimes", "pyrunc"), ["/usr/bin/pyrunc"]),
    Member(("engine", "runtime_supports_json"), "pyrunc", ("crun",)),
    Choice(("engine", "runtime"), "pyrunc"),
]


def edit(tree: Tree, make: MakeTable) -> None:
    apply(tree, CHANGES, make)


def test_toml_keeps_all_its_lines() -> None:
    text = documents.edited(TOML, PODMAN, edit, "f")
    added = [line for line in text.splitlines() if line not in PODMAN.splitlines()]
    assert [line.strip() for line in added] == ['"pyrunc",', 'runtime = "pyrunc"', 'pyrunc = ["/usr/bin/pyrunc"]']
    left = [line for line in text.splitlines() if line not in added]
    assert [line for line in left if line] == [line for line in PODMAN.splitlines() if line]
    engine = tomllib.loads(text)["engine"]
    assert engine["runtime_supports_json"] == ["crun", "runc", "pyrunc"]


@pytest.mark.parametrize("text", ["[engine.runtimes]\n[engine]\nx = 1\n", "[engine.a]\n[b]\n[engine.c]\ny = 1\n", ""])
def test_toml_whose_tables_stand_anywhere(text: str) -> None:
    result = tomllib.loads(documents.edited(TOML, text, edit, "f"))
    wanted: dict[str, Any] = tomllib.loads(text)
    apply(wanted, CHANGES)
    assert result == wanted


def test_what_can_not_be_merged_is_refused() -> None:
    """An inline table can't get another table."""
    with pytest.raises(PyruncError, match="f: the lines can't be merged") as caught:
        documents.edited(
            TOML, "engine = {}\n", lambda tree, make: apply(tree, [Entry(("engine", "a", "b"), {"c": "d"})], make), "f"
        )
    assert caught.value.hint == documents.BY_HAND


def test_a_result_that_is_not_what_was_meant_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(documents, "_edit_toml", lambda text, edit, name: text + "[other]\n")
    with pytest.raises(PyruncError, match="f: the lines can't be merged without changing others"):
        documents.edited(TOML, PODMAN, edit, "f")


@pytest.mark.parametrize(
    ("text", "start"),
    [
        ('{\n  "log-level": "info",\n  "bip": "10.0.0.1/24"\n}\n', '{\n  "log-level": "info",\n  "bip"'),
        ('{\n\t"é": 1.0\n}', '{\n\t"é": 1.0,'),
        ('{"a": [1, 2]}', '{\n    "a": [\n'),
        ("", '{\n    "engine"'),
        (" \n", '{\n    "engine"'),
    ],
)
def test_json_keeps_order_and_indentation(text: str, start: str) -> None:
    result = documents.edited(JSON, text, edit, "f")
    assert result.startswith(start)
    assert result.endswith("\n") == (text.endswith("\n") or not text)
    assert json.loads(result)["engine"]["runtime"] == "pyrunc"


@pytest.mark.parametrize("form", [TOML, JSON])
def test_no_change_changes_nothing(form: str) -> None:
    text = PODMAN if form == TOML else '{"a":   1}'

    def nothing(tree: Tree, make: MakeTable) -> None:
        pass

    assert documents.edited(form, text, nothing, "f") == text


@pytest.mark.parametrize(
    ("form", "text", "said"),
    [
        (TOML, "[engine\n", "f: no valid TOML: expected ']'"),
        (TOML, "a = 1\na = 2\n", "f: no valid TOML: cannot overwrite a value"),
        (JSON, '{\n "a": 1,\n}', "f:2: no valid JSON: a comma behind the last member (column 8)"),
        (JSON, '{"a": {"b": 1, "b": 2}}', 'f: "b" stands twice in an object'),
        (JSON, "[]", "f: no JSON object"),
    ],
)
def test_a_file_that_can_not_be_parsed(form: str, text: str, said: str) -> None:
    with pytest.raises(PyruncError) as caught:
        documents.parse(form, text, "f")
    assert caught.value.message.startswith(said)


@pytest.mark.parametrize(("form", "read"), [(TOML, tomllib.loads), (JSON, json.loads)])
def test_a_new_file(form: str, read: Callable[[str], Any]) -> None:
    tree = {"version": 2, "a": {"z": {"y": True}, "b": "c"}}
    assert read(documents.layout(form, tree)) == tree


def test_comments() -> None:
    assert documents.comments("# a\nb = 1 # c\n  # d\n") == ["# a", "# d"]
    assert documents.lost_comments("# a\n# b\n# a\n", "# a\n") == ["# b", "# a"]
