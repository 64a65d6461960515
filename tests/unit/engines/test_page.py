"""The tables of docs/engines.md."""

from __future__ import annotations

from tests.engines import buildah, buildkit, guests, page, podman, pods
from tests.engines.checks import CHECKS, NEEDS
from tests.engines.kinds import KINDS


def record(check: str, pyrunc: str, runc: str, kind: str = "docker", version: str = "20.10") -> dict[str, str]:
    return {"kind": kind, "version": version, "check": check, "pyrunc": pyrunc, "runc": runc}


def merged(*records: dict[str, str]) -> page.Results:
    results: page.Results = {}
    page.merge(results, "bookworm", records)
    return results


def test_each_outcome_has_a_word() -> None:
    outcomes = (("passed", "passed"), ("passed", ""), ("passed", "failed"), ("failed", "failed"), ("failed", "passed"))
    assert [page.cell(*each) for each in outcomes] == ["yes", "yes", "pyrunc", "neither", "**no**"]
    assert page.cell("lacks", "") == "–"
    assert page.cell("", "") == ""


def test_what_is_counted() -> None:
    results = merged(
        record("run", "passed", "passed"), record("pause", "passed", "failed"), record("limits", "failed", "failed"),
        record("init", "lacks", ""), record("run", "passed", "", "podman"), record("logs", "failed", "passed"),
    )  # fmt: skip
    lines = page.tables(results).splitlines()
    assert lines[2] == "| 12 | docker | 20.10 | 5 | 2 | 1 | 1 | 1 | 1 | 1 |"
    assert lines[3] == "| 12 | podman | 20.10 | 1 | 1 | 0 | 0 | 0 | 0 | 0 |"
    # The checks that do not pass with both.
    assert [line.rpartition(". |")[0] or line for line in lines[7:]] == [
        "| The log of a container in the background, of both streams, also after its end |   | docker 12 |   |",
        "| pause: the process stands still and exec is refused, until resume | docker 12 |   |   |",
        "| Limits at the start, seen in the cgroup (needs the controllers memory and cpu) |   |   | docker 12 |",
    ]


def test_the_last_run_of_a_check_counts() -> None:
    results = merged(record("run", "failed", "passed"), record("run", "passed", "passed"))
    assert results["bookworm docker"]["checks"] == {"run": ["passed", "passed"]}


def test_a_check_without_the_other_runtime_keeps_its_earlier_result() -> None:
    results = merged(record("run", "passed", "passed"), record("run", "passed", ""))
    assert results["bookworm docker"]["checks"] == {"run": ["passed", "passed"]}


def test_another_version_replaces_all_results() -> None:
    results = merged(record("run", "passed", "passed"), record("logs", "passed", "", version="26.1"))
    assert results == {"bookworm docker": {"version": "26.1", "checks": {"logs": ["passed", ""]}}}


def test_a_guest_has_a_table_of_its_own() -> None:
    systemd = "docker-systemd"
    results = merged(
        record("run", "passed", "passed"), record("oom", "passed", "failed", systemd) | {"guest": "qemu"},
        record("run", "passed", "passed", systemd) | {"guest": "qemu"},
        record("oom", "passed", "passed", systemd) | {"guest": "uml"},
    )  # fmt: skip
    assert list(results) == ["bookworm docker", "bookworm qemu docker-systemd", "bookworm uml docker-systemd"]
    assert "systemd" not in page.tables(results)
    lines = page.guest_tables(results).splitlines()
    assert lines[2:4] == [
        "| User-Mode Linux | docker-systemd | 20.10 | 1 | 1 | 1 | 0 | 0 | 0 | 0 |",
        "| QEMU | docker-systemd | 20.10 | 2 | 2 | 1 | 1 | 0 | 0 | 0 |",
    ]
    assert lines[7].endswith("| docker-systemd QEMU |   |   |")


def test_another_runtime_than_runc_is_named() -> None:
    results = merged(record("run", "passed", "failed") | {"peer": "crun"}, record("logs", "passed", "passed"))
    assert results["bookworm docker"]["checks"] == {"run": ["passed", "failed", "crun"], "logs": ["passed", "passed"]}
    assert page.tables(results).splitlines()[-1].endswith("| docker 12 (crun) |   |   |")


def test_an_engine_that_does_not_start_with_the_other_runtime_is_no_list_of_checks() -> None:
    results = merged(record("run", "passed", "failed"), record("logs", "passed", "failed"))
    assert page.tables(results).splitlines()[-1] == "|---|---|---|---|"


def test_the_tables_of_checks_agree() -> None:
    tables = (CHECKS, pods.CHECKS, podman.CHECKS, buildah.CHECKS, buildkit.CHECKS, guests.CHECKS)
    assert set(NEEDS) <= set(page.ALL)
    for name, kind in KINDS.items():
        assert set(kind.checks) <= set(CHECKS), name
    assert all(check.__doc__ for check in page.ALL.values())
    assert len(page.ALL) == sum(len(table) for table in tables), "two checks have one name"
