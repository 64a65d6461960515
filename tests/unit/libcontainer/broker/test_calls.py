"""broker/calls.py: which call is which, and what the policy does not have."""

from __future__ import annotations

import errno
import os
import stat

import pytest

from pyrunc.libcontainer.broker import calls
from pyrunc.libcontainer.broker.caller import Caller, Processes
from pyrunc.libcontainer.broker.config import CALLS, Policy
from pyrunc.libcontainer.broker.containers import Container
from pyrunc.libcontainer.broker.memory import Limits
from pyrunc.libcontainer.broker.model import Notification, Refusal

BOX = Container("box", 1, Policy("nothing"), (0, 0), True, -1, -1, Limits("", ""))


def caller(*arguments: int) -> Caller:
    return Caller(-1, Notification(1, os.getpid(), 0, 0, (*arguments, 0, 0, 0, 0, 0, 0)[:6]), Processes())


def test_every_call_of_a_policy_has_numbers() -> None:
    assert set(calls.NAMES) == set(CALLS)
    found = calls.numbers()
    assert {"mknodat", "mount", "sysinfo", "connect", "bind"} <= set(found.values())
    assert all(number >= 0 for number in found)


@pytest.mark.parametrize("name", ["mknodat", "mount", "sysinfo", "connect", "bind"])
def test_a_policy_without_the_call(name: str) -> None:
    with pytest.raises(Refusal) as caught:
        calls.carry_out(name, caller(0, 0, stat.S_IFCHR), BOX)
    assert (caught.value.errno, caught.value.reason) == (errno.EPERM, f"{name}, which policy nothing does not have")


def test_nodes_for_the_kernel() -> None:
    for name, arguments in (("mknod", (0, stat.S_IFIFO)), ("mknodat", (0, 0, stat.S_IFSOCK)), ("mknod", (0, 0o600))):
        with pytest.raises(calls.LetKernelError):
            calls.carry_out(name, caller(*arguments), BOX)
