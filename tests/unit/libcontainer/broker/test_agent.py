"""broker/agent.py: allowances. tests/integration/test_broker.py has agents at work."""

from __future__ import annotations

import time

import pytest

from pyrunc.libcontainer.broker.agent import Allowance


def test_so_many_in_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    allowance = Allowance(2, 10.0)
    assert [allowance.take() for _ in range(4)] == [True, True, False, False]
    assert allowance.wait() == 10.0
    now[0] = 109.0
    assert not allowance.take()
    assert allowance.wait() == 1.0
    now[0] = 110.0
    assert [allowance.take() for _ in range(3)] == [True, True, False]
