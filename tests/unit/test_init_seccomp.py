"""The init's steps of the seccomp filter, without privileges: no_new_privs replaces them."""

from __future__ import annotations

import errno
import os
import signal
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from pyrunc.libcontainer.kernel import native
from pyrunc.libcontainer.plan import wire
from tests.support.init import Launch, Outcome, build, plan_of, run, shell, step

# At its end the sanitized build looks for leaks by ptrace, which no filter of these tests refuses.
VARIANTS = ("init", "init-asan")
LOAD_NUMBER = (0x20, 0, 0, 0)
ALLOW = (0x06, 0, 0, 0x7FFF0000)
NOTIFY = 8


def returning(number: int) -> tuple[int, int, int, int]:
    return (0x06, 0, 0, number)


def refusing(call: int, error: int) -> list[tuple[int, int, int, int]]:
    """A filter that refuses one system call."""
    return [LOAD_NUMBER, (0x15, 0, 1, call), returning(0x00050000 | error), ALLOW]


@pytest.fixture(scope="module", params=VARIANTS)
def init(request: pytest.FixtureRequest) -> Path:
    return build(request.param)


@pytest.fixture
def slots() -> Iterator[dict[str, int]]:
    found: dict[str, int] = {}
    yield found
    for fd in found.values():
        os.close(fd)


def filtered(
    init: Path, slots: dict[str, int], data: bytes, *between: str, flags: int = 0, program: str = "exit 0"
) -> Outcome:
    """Run a program under a filter, with argumentless steps between the map and the load."""
    slots["filter"] = native.memfd("filter", data)
    steps = [step("no_new_privileges"), step("map_seccomp", filter="filter"), *map(step, between)]
    return run(init, *steps, step("seccomp", flags=flags, notify=0), shell(program), slots=slots)


def packed(program: list[tuple[int, int, int, int]]) -> bytes:
    return b"".join([struct.pack("=HBBI", *instruction) for instruction in program])


def test_the_filter_holds_for_the_program(init: Path, slots: dict[str, int]) -> None:
    getppid = 110 if os.uname().machine == "x86_64" else 173
    program = "import os; print(os.getppid())"
    slots["filter"] = native.memfd("filter", packed(refusing(getppid, errno.ENOANO)))
    python = step("execute", args=("/usr/bin/env", "python3", "-c", program), env=(f"PATH={os.environ['PATH']}",))
    load = (step("no_new_privileges"), step("map_seccomp", filter="filter"), step("seccomp", flags=2, notify=0))
    outcome = run(init, *load, python, slots=slots)
    # getppid can't fail, so the C library returns whatever the filter gives.
    assert outcome.error is None, outcome
    assert int(outcome.out) in (-1, -errno.ENOANO)


@pytest.mark.parametrize("error", [errno.EPERM, errno.EINTR])
def test_an_init_that_may_do_nothing_ends(slots: dict[str, int], error: int) -> None:
    """It may neither execve, nor send the message of its failure, nor call exit_group: it must not try for ever.

    The sanitized build handles the trap, and would try for ever.
    """
    outcome = filtered(build("init"), slots, packed([returning(0x00050000 | error)]))
    assert outcome.code == -signal.SIGILL if os.uname().machine == "x86_64" else outcome.code < 0
    assert outcome.error is None


def test_the_program_shows_one_filter(init: Path, slots: dict[str, int]) -> None:
    data = packed([ALLOW])
    outcome = filtered(init, slots, data, "ready", program="grep Seccomp /proc/self/status")
    assert outcome.error is None, outcome
    assert outcome.out.split() == ["Seccomp:", "2", "Seccomp_filters:", "1"]


@pytest.mark.parametrize("size", [0, 7, 12, 8 * 4097])
def test_a_file_that_is_no_filter(init: Path, slots: dict[str, int], size: int) -> None:
    outcome = filtered(init, slots, bytes(size))
    assert outcome.error is not None
    assert (outcome.error.step, outcome.error.error) == (1, errno.EINVAL)
    assert "the seccomp filter's size" in outcome.error.detail


@pytest.mark.parametrize(("data", "flags"), [(packed([(0xFFFF, 0, 0, 0)]), 0), (packed([ALLOW]), 1 << 30)])
def test_what_the_kernel_refuses(init: Path, slots: dict[str, int], data: bytes, flags: int) -> None:
    outcome = filtered(init, slots, data, flags=flags)
    assert outcome.error is not None
    assert (outcome.error.step, outcome.error.error) == (2, errno.EINVAL)
    assert outcome.error.detail == "error loading seccomp filter"


def test_without_a_filter(init: Path) -> None:
    outcome = run(init, step("seccomp", flags=0, notify=0), shell("exit 0"))
    assert outcome.error is not None
    assert outcome.error.detail == "there is no seccomp filter to load"


def test_the_listener_is_where_the_init_says(init: Path, slots: dict[str, int]) -> None:
    """The init reports the number before the listener exists, and no other file ever has that number."""
    slots["filter"] = native.memfd("filter", packed([ALLOW]))
    steps = (
        step("no_new_privileges"),
        step("map_seccomp", filter="filter"),
        step("seccomp", flags=NOTIFY, notify=1),
        step("ready"),
        shell("exit 0"),
    )
    launch = Launch(init, wire.encode(plan_of(steps), slots), fds=tuple(slots.values()))
    try:
        message = launch.message()
        assert message is not None
        assert (message.type, message.step) == (wire.LISTENER, 2)
        link = f"/proc/{launch.process.pid}/fd/{int(message.detail)}"
        seen = set()
        while "anon_inode:seccomp notify" not in seen:
            try:
                seen.add(os.readlink(link))
            except FileNotFoundError:
                seen.add("")
            except PermissionError:
                pytest.skip("the descriptors of another process can't be seen here")
        assert seen <= {"", "anon_inode:seccomp notify"}
        ready = launch.message()
        assert ready is not None
        assert ready.type == wire.READY
        launch.answer()
        assert launch.message() is None
        assert launch.process.wait(60) == 0
    finally:
        launch.close()
