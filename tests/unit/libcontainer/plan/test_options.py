"""LaunchOptions: the defaults are runc's, and the state directory is ROOT/ID."""

from __future__ import annotations

import pytest

from pyrunc.libcontainer.plan.options import LaunchOptions


def test_defaults_are_those_of_a_plain_create() -> None:
    options = LaunchOptions(id="web")
    assert (options.root, options.command, options.cgroup_manager) == ("/run/pyrunc", "create", "cgroupfs")
    assert options.rootless is None
    flags = (options.no_pivot, options.no_new_keyring, options.detach, options.keep, options.no_subreaper)
    assert not any(flags)


@pytest.mark.parametrize(("root", "expected"), [("/r", "/r/web"), ("/r/", "/r/web"), ("/", "/web")])
def test_state_dir(root: str, expected: str) -> None:
    assert LaunchOptions(id="web", root=root).state_dir == expected


def test_unknown_options_are_refused() -> None:
    with pytest.raises(AttributeError):
        LaunchOptions(id="web").nopivot = True  # type: ignore[attr-defined]
