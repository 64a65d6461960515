"""The shim's loop: each test runs one in a process of its own, since a loop reaps every child of its process."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

PRELUDE = """
import os, posix, signal, sys, time
from pyrunc.shim.loop import IN, OUT, Loop, UNKNOWN_EXIT, describe
loop = Loop()
loop.after(20, lambda: os._exit(9))  # a loop that misses its event
"""


def run(code: str) -> tuple[list[str], str]:
    """The lines that the code prints with a `loop`, and its standard error."""
    done = subprocess.run(
        [sys.executable, "-c", PRELUDE + code], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, (done.returncode, done.stdout, done.stderr)
    return done.stdout.splitlines(), done.stderr


def test_a_descriptor_that_can_be_read_has_its_callback() -> None:
    out, _ = run("""
r, w = os.pipe()
def on_read(events):
    print(events & IN, os.read(r, 10))
    loop.unwatch(r)
    loop.stop()
loop.watch(r, IN, on_read)
os.write(w, b"x")
loop.run()
""")
    assert out == ["1 b'x'"]


def test_a_callback_that_raises_is_logged_with_its_cause_and_the_loop_goes_on() -> None:
    out, err = run("""
def bad():
    try:
        {}["absent"]
    except KeyError as error:
        raise RuntimeError("broken") from error
loop.after(0, bad)
loop.after(0.01, lambda: (print("on"), loop.stop()))
loop.run()
""")
    assert out == ["on"]
    assert "internal error: RuntimeError: broken (<string>:" in err
    assert "caused by KeyError: 'absent'" in err


def test_an_event_of_a_closed_descriptor_does_not_reach_the_one_that_got_its_number() -> None:
    out, _ = run("""
a, wa = os.pipe()
b, wb = os.pipe()
def replaced(events):
    print("replaced", events)
def first(own, other):
    def on_read(events):
        os.read(own, 1)
        loop.unwatch(other)
        os.close(other)
        x, y = os.pipe()
        assert x == other
        loop.watch(x, IN, replaced)
        loop.after(0.05, loop.stop)
    return on_read
loop.watch(a, IN, first(a, b))
loop.watch(b, IN, first(b, a))
os.write(wa, b"x")
os.write(wb, b"x")
loop.run()
print("end")
""")
    assert out == ["end"]


def test_timers_come_in_their_order_and_a_dropped_one_never() -> None:
    out, _ = run("""
loop.after(0.03, lambda: (print("c"), loop.stop()))
loop.after(0.01, lambda: print("a"))
dropped = loop.after(0.02, lambda: print("dropped"))
loop.after(0.02, lambda: print("b"))
loop.cancel(dropped)
loop.cancel(dropped)
loop.run()
""")
    assert out == ["a", "b", "c"]


@pytest.mark.parametrize(("end", "code"), [("os._exit(7)", 7), ("os.kill(os.getpid(), 9)", 137)])
def test_the_exit_code_of_a_child(end: str, code: int) -> None:
    out, _ = run(f"""
pid = os.fork()
if not pid:
    {end}
loop.process(pid, lambda code: (print(code), loop.stop()))
loop.run()
""")
    assert out == [str(code)]


def test_a_child_that_ends_unknown_is_remembered_during_a_launch_only() -> None:
    out, _ = run("""
def end_one():
    pid = os.fork()
    if not pid:
        os._exit(5)
    return pid
def later():
    if os.path.exists(f"/proc/{known}"):
        return loop.after(0.01, later)
    loop.process(known, lambda code: print("known", code))
    loop.end_launch()
    global lost
    lost = end_one()
    loop.after(0, last)
def last():
    if os.path.exists(f"/proc/{lost}"):
        return loop.after(0.01, last)
    try:
        loop.process(lost, print)
    except ProcessLookupError:
        print("gone")
    loop.stop()
loop.begin_launch()
known = end_one()
loop.after(0, later)
loop.run()
""")
    assert out == ["known 5", "gone"]


def test_an_orphan_is_reaped() -> None:
    out, _ = run("""
import ctypes
assert ctypes.CDLL(None).prctl(36, 1, 0, 0, 0) == 0  # PR_SET_CHILD_SUBREAPER
r, w = os.pipe()
pid = os.fork()
if not pid:
    orphan = os.fork()
    if orphan:
        os.write(w, str(orphan).encode())
        os._exit(0)
    time.sleep(0.1)
    os._exit(0)
orphan = int(os.read(r, 10))
def look():
    if os.path.exists(f"/proc/{orphan}"):
        return loop.after(0.01, look)
    print("reaped")
    loop.stop()
look()
loop.run()
""")
    assert out == ["reaped"]


def test_the_end_of_a_process_that_is_no_child() -> None:
    stranger = subprocess.Popen(["sleep", "0.2"])
    out, _ = run(f"loop.process({stranger.pid}, lambda code: (print(code == UNKNOWN_EXIT), loop.stop()))\nloop.run()")
    assert out == ["True"]
    stranger.wait()


def test_a_regular_file_is_refused() -> None:
    out, _ = run(f"""
try:
    loop.watch(os.open({os.path.abspath(__file__)!r}, os.O_RDONLY), IN, print)
except PermissionError:
    print("refused")
""")
    assert out == ["refused"]


def test_memory_is_given_back_once_in_each_quiet_time() -> None:
    """After a callback, but not while nothing happens; a timer that is far away does not keep the loop from it."""
    out, _ = run("""
from pyrunc import launcher
from pyrunc.shim import loop as module
module._REST_SECONDS = 0.05
left = [loop.stop, lambda: os.write(w, b"x")]
def rest():
    print("rest")
    loop.after(0.4, left.pop())
launcher.rest = rest
r, w = os.pipe()
def on_read(events):
    print(os.read(r, 10))
loop.watch(r, IN, on_read)
loop.after(1000, print)
loop.run()
""")
    assert out == ["rest", "b'x'", "rest"]


def test_memory_is_not_given_back_while_much_happens() -> None:
    out, _ = run("""
from pyrunc import launcher
from pyrunc.shim import loop as module
module._REST_SECONDS = 60
launcher.rest = lambda: print("rest")
def again(left):
    loop.after(0.01, (lambda: again(left - 1)) if left else loop.stop)
again(20)
loop.run()
""")
    assert out == []
