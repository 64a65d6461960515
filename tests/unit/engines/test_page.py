"""The tables of docs/engines.md."""

from __future__ import annotations

from tests.engines import page, pods
from tests.engines.checks import CHECKS, NEEDS
from tests.engines.kinds import KINDS


def record(check: str, pyrunc: str, runc: str, kind: str = "docker") -> dict[str, str]:
    return {"kind": kind, "version": "20.10", "check": check, "pyrunc": pyrunc, "runc": runc}


def test_each_outcome_has_a_word() -> None:
    outcomes = (("passed", "passed"), ("passed", ""), ("passed", "failed"), ("failed", "failed"), ("failed", "passed"))
    assert [page.cell(record("run", *each)) for each in outcomes] == ["yes", "yes", "pyrunc", "neither", "**no**"]
    assert page.cell(record("run", "lacks", "")) == "–"
    assert page.cell(None) == ""


def test_what_is_counted() -> None:
    records = [
        record("run", "passed", "passed"), record("pause", "passed", "failed"), record("limits", "failed", "failed"),
        record("init", "lacks", ""), record("run", "passed", "passed", "podman"),
    ]  # fmt: skip
    lines = page.tables({"bookworm": records}).splitlines()
    assert lines[2] == "| 12 | docker | 20.10 | 2 | 1 | 1 | 1 |"
    assert lines[3] == "| 12 | podman | 20.10 | 1 | 1 | 0 | 0 |"
    assert len([line for line in lines if line.endswith("|")]) == 4 + 2 + len(CHECKS) + len(pods.CHECKS)


def test_the_last_run_of_a_check_counts() -> None:
    records = [record("run", "failed", "passed"), record("run", "passed", "passed")]
    assert "**no**" not in page.tables({"trixie": records})


def test_the_tables_of_checks_agree() -> None:
    assert set(NEEDS) <= set(CHECKS)
    for name, kind in KINDS.items():
        assert set(kind.checks) <= set(CHECKS), name
    assert all(check.__doc__ for check in (*CHECKS.values(), *pods.CHECKS.values()))
    assert not set(CHECKS) & set(pods.CHECKS)
