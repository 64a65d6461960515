"""The differences of two plans (N8)."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pyrunc.libcontainer.plan.model import PHASES, LaunchPlan, Step
from pyrunc.libcontainer.show import diff as show_diff
from tests.support.plans import CASES, compiled, minimal, with_linux, with_process


def test_no_difference() -> None:
    assert show_diff.diff(compiled(minimal()), compiled(minimal())) == ""


def test_a_change() -> None:
    old, new = (with_linux("uts") for _ in range(2))
    old["hostname"], new["hostname"] = "a", "b"
    assert show_diff.diff(compiled(old), compiled(new)) == (
        "@@ namespaces @@\n- hostname name=a <- /hostname\n+ hostname name=b <- /hostname\n"
    )


def test_what_is_added_and_removed() -> None:
    old = minimal(mounts=[{"destination": "/a", "type": "tmpfs"}, {"destination": "/b", "type": "proc"}])
    new = minimal(mounts=[{"destination": "/c", "type": "tmpfs"}, {"destination": "/b", "type": "proc"}])
    assert show_diff.diff(compiled(old), compiled(new)).splitlines() == [
        "@@ rootfs @@",
        "- mount fstype=tmpfs source=tmpfs target=/a <- /mounts/0",
        "+ mount fstype=tmpfs source=tmpfs target=/c <- /mounts/0",
    ]


def test_a_step_whose_index_moved_has_not_changed() -> None:
    old = minimal(mounts=[{"destination": "/b", "type": "proc"}])
    new = minimal(mounts=[{"destination": "/a", "type": "tmpfs"}, {"destination": "/b", "type": "proc"}])
    assert show_diff.diff(compiled(old), compiled(new)).splitlines() == [
        "@@ rootfs @@",
        "+ mount fstype=tmpfs source=tmpfs target=/a <- /mounts/0",
    ]


def test_an_alternative_that_came_and_one_that_went() -> None:
    root, user = compiled(minimal()), compiled(with_process(user={"uid": 1, "gid": 0}))
    assert "+ or chdir (on EACCES or EPERM) path=/ <- /process/cwd" in show_diff.diff(root, user).splitlines()
    assert "- or chdir (on EACCES or EPERM) path=/ <- /process/cwd" in show_diff.diff(user, root).splitlines()


def test_n8_hunks_are_in_the_order_of_the_phases() -> None:
    """A phase has one hunk, even if its steps are among others that are added and removed."""
    for old in CASES.values():
        for new in CASES.values():
            phases = [line.strip("@ ") for line in show_diff.diff(old(), new()).splitlines() if line.startswith("@@")]
            assert phases == [phase for phase in PHASES if phase in phases]


@pytest.mark.parametrize("name", CASES)
def test_n8_a_plan_does_not_differ_from_itself(name: str) -> None:
    assert show_diff.changes(CASES[name](), CASES[name]()) == []


def test_n8_the_bundles_own_directories_are_no_difference() -> None:
    def plan(*texts: str) -> LaunchPlan:
        return LaunchPlan(tuple([Step("prepare", "state_dir", (text,)) for text in texts]), (), {})

    old = plan("/a/b", "/a/b/rootfs", '{"bundle":"/a/b"}', "/a/bc", "/x/a/b", "lowerdir=/a/b:/a/b/c")
    new = plan("/n", "/n/rootfs", '{"bundle":"/n"}', "/a/bc", "/x/a/b", "lowerdir=/n:/n/c")
    assert show_diff.diff(show_diff.without_bundle(old, "/a/b"), show_diff.without_bundle(new, "/n")) == ""
    assert show_diff.without_bundle(old, "/").prepare == old.prepare
    assert show_diff.without_bundle(old, "/a/b").prepare[3].args == ("/a/bc",)
    assert show_diff.without_bundle(old, "/a/b").prepare[4].args == ("/x/a/b",)


def test_n8_as_json() -> None:
    old, new = (with_linux("uts") for _ in range(2))
    old["hostname"], new["hostname"] = "a", "b"
    new["mounts"] = [{"destination": "/c", "type": "tmpfs"}]
    value: Any = json.loads(show_diff.as_json(compiled(old), compiled(new), "x", "y"))
    assert list(value) == ["from", "to", "differ", "changes"]
    assert (value["from"], value["to"], value["differ"]) == ("x", "y", True)
    found = [(change["phase"], change["change"]) for change in value["changes"]]
    assert found == [("namespaces", "changed"), ("rootfs", "added")]
    assert value["changes"][0]["before"]["args"] == {"name": "a"}
    assert value["changes"][0]["after"]["args"] == {"name": "b"}
    assert value["changes"][1]["before"] is None
    for key in [*value, *value["changes"][0]]:
        assert f"`{key}`" in (show_diff.__doc__ or "")
