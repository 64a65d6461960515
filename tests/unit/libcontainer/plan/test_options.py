"""LaunchOptions: the defaults are runc's, and the state directory is ROOT/ID."""

from __future__ import annotations

import pytest

from pyrunc._generated.argv import COMMANDS
from pyrunc.cli.fast_argv import BOOL, NUMBER, NUMBERS, TEXT, TEXTS
from pyrunc.libcontainer.plan.options import ExecOptions, LaunchOptions

KINDS = {bool: BOOL, type(None): BOOL, str: TEXT, int: NUMBER, tuple: TEXTS}


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


def test_an_option_is_declared_once_and_the_command_line_has_its_kind_and_default() -> None:
    for command, options in (("create", LaunchOptions), ("run", LaunchOptions), ("exec", ExecOptions)):
        flags, defaults, _, _, _ = COMMANDS[command]
        for name, default in defaults.items():
            if name != "bundle":  # "" there is the working directory
                assert default == getattr(options, name), (command, name)
        for name, kind in flags.values():
            expected = NUMBERS if name == "additional_gids" else KINDS[type(defaults[name])]
            assert kind == expected, (command, name)


def test_an_instance_has_its_own_values() -> None:
    first, second = ExecOptions(id="a", args=("sh",)), ExecOptions(id="b")
    first.preserve_fds += 2
    assert (first.args, first.preserve_fds, second.args, second.preserve_fds) == (("sh",), 2, (), 0)
    assert (second.command, second.no_subreaper) == ("exec", True)
    with pytest.raises(TypeError):
        LaunchOptions()  # type: ignore[call-arg]
    with pytest.raises(AttributeError, match="LaunchOptions has no option args"):
        LaunchOptions(id="a", args=("sh",))  # type: ignore[call-arg]
