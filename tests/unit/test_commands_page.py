"""docs/commands.md has every command and option of the command line, and none that does not exist."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest

from pyrunc.cli.program import program

PAGE = (Path(__file__).resolve().parents[2] / "docs/commands.md").read_text()
WORDS = {"same", "more", "refused", "missing"}
THE_PROGRAM = "The program"


def rows(text: str) -> dict[tuple[str, ...], list[str]]:
    """The rows of the tables in a text: the names in the first cell, and the other cells."""
    found: dict[tuple[str, ...], list[str]] = {}
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.split("|")[1:-1]]
        if len(cells) == 5 and cells[0].startswith("`"):
            names = tuple(re.findall(r"`([^`]+)`", cells[0]))
            assert names not in found, f"{names} stands there twice"
            found[names] = cells[1:]
    return found


def sections() -> dict[str, dict[tuple[str, ...], list[str]]]:
    """The rows of each section by its title, which is a command's name or THE_PROGRAM; "" has the rows before the first
    section.
    """
    first, *others = re.split(r"^## ", PAGE, flags=re.MULTILINE)
    found = {"": rows(first)}
    for other in others:
        title, _, text = other.partition("\n")
        found[title.strip("`")] = rows(text)
    return found


def options(command: click.Command) -> set[tuple[str, ...]]:
    """A command's options, each by all its spellings, long ones first."""
    return {
        tuple(sorted(param.opts, key=lambda name: not name.startswith("--")))
        for param in command.params
        if isinstance(param, click.Option)
    }


def present(table: dict[tuple[str, ...], list[str]]) -> set[tuple[str, ...]]:
    """The names of the rows that say that pyrunc has the thing."""
    return {names for names, cells in table.items() if cells[2] != "missing"}


def test_every_command_is_on_the_page_and_no_other() -> None:
    assert present(sections()[""]) == {(name,) for name in program.commands}


@pytest.mark.parametrize("name", [THE_PROGRAM, *sorted(program.commands)])
def test_every_option_is_on_the_page_and_no_other(name: str) -> None:
    command = program if name == THE_PROGRAM else program.commands[name]
    wanted = options(command)
    if name == THE_PROGRAM:
        wanted.add(("--help", "-h"))  # click adds this to every command
    assert present(sections().get(name, {})) == wanted


def test_each_row_says_who_has_it_and_why_it_is_not_here() -> None:
    tables = sections()
    for title, table in tables.items():
        for names, (runc, crun, ours, text) in table.items():
            where = f"{title} {names[0]}"
            assert {runc, crun} <= {"yes", "-"}, where
            assert ours in WORDS, where
            assert ours != "same" or "yes" in (runc, crun), where
            assert text or ours not in ("refused", "missing"), f"{where} without a reason"
            assert ours != "missing" or "yes" in (runc, crun), where
    # A runtime that lacks a command also lacks its options.
    absent = {names[0] for names, cells in tables[""].items() if cells[2] == "missing"}
    for name in absent & tables.keys():
        assert present(tables[name]) == set(), name
    assert set(tables) - {"", THE_PROGRAM} <= {names[0] for names in tables[""]}
