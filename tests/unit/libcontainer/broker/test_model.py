"""broker/model.py: what a notification and a refusal are."""

from __future__ import annotations

import errno

from pyrunc.libcontainer.broker.model import Notification, Refusal


def test_an_int_among_the_arguments() -> None:
    notification = Notification(1, 2, 3, 4, (0xFFFFFF9C, 1 << 32 | 5, 0x7FFFFFFF, 0, 0, 0))
    assert [notification.signed(index) for index in range(3)] == [-100, 5, 0x7FFFFFFF]


def test_a_refusal_has_both() -> None:
    refusal = Refusal(errno.EPERM, "the device")
    assert (refusal.errno, refusal.reason, str(refusal)) == (1, "the device", "the device: Operation not permitted")
