"""process.terminal: the pty's steps, and options that exclude it."""

from __future__ import annotations

from typing import Any

import pytest

from pyrunc.errors import PyruncError
from tests.support.plans import compiled, find, kinds, values, with_process


def test_without_a_terminal_there_is_no_step() -> None:
    assert not {"console", "send_console", "terminal_stdio"} & set(kinds(compiled(with_process())))


def test_the_size_and_the_way_of_the_master() -> None:
    spec = with_process(terminal=True, consoleSize={"width": 80, "height": 25})
    plan = compiled(spec)
    assert values(find(plan, "console")[0], "width", "height", "mount") == (80, 25, 1)
    assert [step.args for step in plan.served["send_console"]] == [(1,)]
    created = compiled(spec, command="create", console_socket="/s")
    assert [step.args for step in created.served["send_console"]] == [(0,)]


@pytest.mark.parametrize(
    ("terminal", "options"),
    [
        (True, {"command": "create"}),
        (True, {"detach": True}),
        (True, {"console_socket": "/s"}),
        (False, {"command": "create", "console_socket": "/s"}),
    ],
)
def test_combinations_that_make_no_sense(terminal: bool, options: dict[str, Any]) -> None:
    with pytest.raises(PyruncError) as raised:
        compiled(with_process(terminal=terminal), **options)
    assert raised.value.pointer == "/process/terminal"
