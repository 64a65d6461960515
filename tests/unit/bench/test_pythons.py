"""The section about later versions of Python: its tables, and its command line."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.bench import bench, pythons, table
from tests.bench.table import Samples


def test_what_misses_the_goal_is_bold() -> None:
    samples = Samples()
    for version, values in (("3.11", (2.0, 1.0, 3.0)), ("3.13", (2.2, 2.1, 2.3)), ("3.14", (2.3, 2.21, 2.4))):
        for value in values:
            samples.add(table.STATE, version, value)
    lines = pythons.rows(samples, [table.STATE, table.PEAK], ["3.11", "3.13", "3.14"]).splitlines()
    assert lines[0] == "| median (min) | 3.11 | 3.13 | 3.14 | 3.13 : 3.11 | 3.14 : 3.11 |"
    assert lines[2] == "| state (ms) | 2.00 (1.00) | 2.20 (2.10) | 2.30 (2.21) | 1.10 | **1.15** |"
    assert lines[3] == "| peak RSS of run (KiB) | – | – | – | – | – |"


def test_the_section_has_a_table_for_each_set() -> None:
    sets = {name: Samples() for name in pythons.ROWS}
    sets[bench.KUBERNETES].add(table.FAULTS, "3.11", 100)
    sets[bench.KUBERNETES].add(table.FAULTS, "3.13", 120)
    made = pythons.text(sets, ["3.11", "3.13"], 7)
    assert "7 rounds of CPython 3.11, 3.13 in turn. The goal is at most 1.1 × 3.11" in made
    small, kubernetes = made.split(f"**{bench.KUBERNETES}**")
    assert f"**{bench.SMALL}**" in small
    assert "| page faults of run (count) | 100 (100) | 120 (120) | **1.20** |" in kubernetes


def test_the_document_has_a_place_for_it() -> None:
    document = (bench.REPOSITORY / "docs/performance.md").read_text()
    assert "x\n<!-- /pythons -->" in table.between_marks(document, "x\n", pythons.BEGIN, pythons.END)


def test_a_program_has_a_version_and_a_path() -> None:
    options = pythons.arguments(["--program", f"3.13={sys.executable}"])
    assert options.program == [("3.13", Path(sys.executable))]


@pytest.mark.parametrize("word", ["3.13", f"={sys.executable}", "3.13=/nonexistent/pyrunc"])
def test_a_program_that_is_none_is_refused(word: str) -> None:
    with pytest.raises(SystemExit):
        pythons.arguments(["--program", word])
