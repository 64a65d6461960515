"""The command `exec`, with a replacement for the library behind it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from pyrunc._generated.argv import COMMANDS
from pyrunc.commands import dispatch
from pyrunc.commands import exec as command
from pyrunc.commands.settings import Settings
from pyrunc.errors import PyruncError
from pyrunc.libcontainer.exec import exec as further
from pyrunc.libcontainer.kernel.interrupts import Interrupted

SETTINGS = Settings("runc", "/r", False, "cgroupfs", None)


def params(**changes: Any) -> dict[str, Any]:
    return {**COMMANDS["exec"][1], "id": "c1", "args": ("true",), **changes}


def test_every_option_is_handed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    seen: list[Any] = []

    def execute(options: Any) -> int:
        seen.append(options)
        return 7

    monkeypatch.setattr(further, "execute", execute)
    given = {
        "additional_gids": (1,), "apparmor": "a", "cap": ("c",), "cgroup": ("g",), "cwd": "/w", "detach": True,
        "env": ("E=1",), "ignore_paused": True, "no_new_privs": False, "preserve_fds": 2, "process_label": "l",
        "tty": True, "user": "1",
    }  # fmt: skip
    paths = {name: name[:3] for name in ("console_socket", "pid_file", "pidfd_socket", "process", "timeline")}
    assert dispatch.execute("exec", SETTINGS, params(**given, **paths)) == 7
    [options] = seen
    here = os.path.realpath(tmp_path)
    expected = {**given, **{name: f"{here}/{value}" for name, value in paths.items()}}
    assert {name: getattr(options, name) for name in expected} == expected
    assert set(expected) | {"id", "args"} == set(params())
    assert (options.id, options.args, options.root, options.command) == ("c1", ("true",), "/r", "exec")


@pytest.mark.parametrize("error", [PyruncError("why", step="s"), FileNotFoundError(2, "x", "/f")])
def test_a_failure_exits_with_255(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(options: object) -> int:
        raise error

    monkeypatch.setattr(further, "execute", fail)
    with pytest.raises(PyruncError) as raised:
        command.execute(SETTINGS, **params())
    assert raised.value.exit_code == 255
    assert raised.value.line().startswith("exec failed: ")


def test_an_interrupted_one_exits_as_the_signal_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(options: object) -> int:
        raise Interrupted("interrupted by signal 15", exit_code=143)

    monkeypatch.setattr(further, "execute", fail)
    with pytest.raises(Interrupted) as raised:
        command.execute(SETTINGS, **params())
    assert raised.value.exit_code == 143


def test_a_negative_number_of_descriptors_is_refused() -> None:
    with pytest.raises(PyruncError, match="must not be negative"):
        command.exec_options(SETTINGS, params(preserve_fds=-1))
