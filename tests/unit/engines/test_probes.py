"""The load of probes: what it sends, and what it takes for a leak."""

from __future__ import annotations

from tests.engines import page
from tests.engines.probes import SHIM_SLACK, Count, leaks, request

EMPTY = Count(3, 0, 0, 0, 12, 12, 2, 2, 0, 18000)
FULL = Count(15, 0, 4, 92, 60, 28, 15, 60, 12836, 18320)


def test_a_request_is_the_message_of_the_cri() -> None:
    assert request("ab", ("test", "-e")) == b"\x0a\x02ab\x12\x04test\x12\x02-e\x18\x1e"


def test_what_stays_as_it_was_is_no_leak() -> None:
    probed = FULL._replace(shim_private=20000, daemon_private=30000, daemon_descriptors=70, processes=16)
    assert leaks(FULL, probed, EMPTY, EMPTY._replace(daemon_private=20000)) == []
    assert leaks(FULL, FULL._replace(shim_descriptors=92 + SHIM_SLACK * 4), EMPTY, EMPTY) == []


def test_each_thing_that_became_more_is_named() -> None:
    for name in ("zombies", "shims", "mounts", "cgroups", "files"):
        more = {name: getattr(FULL, name) + 1}
        assert len(leaks(FULL, FULL._replace(**more), EMPTY, EMPTY)) == 1, name
        more = {name: getattr(EMPTY, name) + 1}
        assert len(leaks(FULL, FULL, EMPTY, EMPTY._replace(**more))) == 1, name
    found = leaks(FULL, FULL._replace(shim_descriptors=93 + SHIM_SLACK * 4), EMPTY, EMPTY._replace(processes=4))
    assert found == [
        "processes: 3 before the first pod, 4 after the last",
        f"descriptors of the shims: 92, then {93 + SHIM_SLACK * 4}",
    ]


def test_the_last_run_of_a_runtime_is_in_the_table() -> None:
    run = {
        "runtime": "pyrunc", "pods": 4, "seconds": 11, "probes": 40, "failed": 0, "median": 66.2, "p99": 143,
        "cpu": 27.4, "empty": EMPTY._asdict(), "before": FULL._asdict(), "probed": FULL._asdict(),
        "after": EMPTY._asdict(), "containerd": "1.6.20~ds1",
    }  # fmt: skip
    lines = page.probes([{**run, "pods": 9}, run]).splitlines()
    assert lines[0] == "containerd 1.6.20~ds1; before the probes → after them; at the end no pod is left:"
    assert lines[2] == "| | pyrunc |"
    assert "| pods | 4 |" in lines
    assert "| descriptors of the shims | 92 → 92; 0 |" in lines
    assert "| mounts (12 without a pod) | 28 → 28; 12 |" in lines
