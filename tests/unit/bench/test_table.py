"""The bench's table: its maths, its judgement and its place in a document."""

from __future__ import annotations

import pytest

from tests.bench import table
from tests.bench.table import Goal, Measure, Samples

MEASURE = Measure("run", "ms", (Goal(0.4, "runc"), Goal(1.0, "crun")))


def samples(**values: list[float]) -> Samples:
    result = Samples()
    for name, some in values.items():
        for value in some:
            result.add(MEASURE, name, value)
    return result


@pytest.mark.parametrize(
    ("goal", "value", "met"),
    [
        (Goal(0.4, "runc"), 0.4, True),
        (Goal(0.4, "runc"), 0.41, False),
        (Goal(2, "runc", least=True), 2.0, True),
        (Goal(2, "runc", least=True), 1.99, False),
        (Goal(2, "runc", least=True), None, None),
    ],
)
def test_judge(goal: Goal, value: float | None, met: bool | None) -> None:
    assert table.judge(goal, value) is met


def test_ratio_is_of_medians() -> None:
    got = samples(pyrunc=[9, 1, 2], runc=[100, 8, 1])
    assert table.ratio(got, MEASURE, "runc") == 0.25
    assert table.ratio(got, MEASURE, "crun") is None


def test_verdict_names_each_goal() -> None:
    got = samples(pyrunc=[5], runc=[10])
    assert table.verdict(got, MEASURE) == "≤ 0.4 × runc: **missed**, ≤ 1 × crun: not measured"
    assert table.missed(got, [MEASURE]) == ["run: 0.5 × runc (goal ≤ 0.4 × runc)"]


def test_what_is_met_is_not_among_the_missed() -> None:
    assert table.missed(samples(pyrunc=[3], runc=[10], crun=[4]), [MEASURE]) == []


def test_row_has_minimum_median_maximum_and_ratios() -> None:
    got = samples(pyrunc=[3, 1, 2], wheel=[7], runc=[40, 80], crun=[4])
    row = table.table(got, [MEASURE], ["pyrunc", "wheel", "runc", "crun"]).splitlines()[2]
    assert row == (
        "| run (ms) | 1.0 / **2.0** / 3.0 | 7.0 / **7.0** / 7.0 | 40.0 / **60.0** / 80.0 | 4.0 / **4.0** / 4.0"
        " | 0.033 | 0.50 | ≤ 0.4 × runc: met, ≤ 1 × crun: met |"
    )


def test_all_lines_of_a_table_have_as_many_cells() -> None:
    got = table.table(samples(pyrunc=[1]), [*table.SMALL, MEASURE], ["pyrunc", "runc"])
    assert {line.count("|") for line in got.splitlines()} == {6}


def test_growth_compares_the_last_part_with_the_first() -> None:
    lines = table.growth({"pyrunc": [1, 1, 2, 2, 3, 3, 4, 4, 5, 5]}).splitlines()
    assert lines[0].startswith(f"| create (ms) with … alive | 0 to {2 * table.STEP - 1} | {2 * table.STEP} to")
    assert len({line.count("|") for line in lines}) == 1
    assert lines[2] == "| pyrunc | 1.0 | 2.0 | 3.0 | 4.0 | 5.0 | 5.00 | 4.0 |"
    assert table.growth({"floor": [3, 4]}).splitlines()[2] == "| floor's run | 3.0 | 4.0 | 1.33 | 1.0 |"


def test_growth_of_less_than_its_parts() -> None:
    lines = table.growth({"a": [1.0, 3.0], "b": [2.0]}).splitlines()
    assert lines[2:] == ["| a | 1.0 | 1.00 | 0.0 |", "| b | 2.0 | 1.00 | 0.0 |"]
    assert table.growth({}) == ""


def test_running_median_leaves_a_peak_out() -> None:
    assert table.running_median([1, 1, 9, 1, 2], 3) == [1, 1, 1, 2, 1.5]


def test_between_marks() -> None:
    document = f"a\n{table.BEGIN}\nold\n{table.END}\nz\n"
    assert table.between_marks(document, "new\n") == f"a\n{table.BEGIN}\nnew\n{table.END}\nz\n"
    with pytest.raises(ValueError, match="bench"):
        table.between_marks(f"{table.BEGIN} only", "new")


def test_goals_are_against_runtimes_of_the_table() -> None:
    against = {goal.against for row in (*table.SMALL, *table.LARGE, *table.ENGINE) for goal in row.goals}
    assert against == {"runc", "crun", "new-runc", "new-crun", "floor"}
