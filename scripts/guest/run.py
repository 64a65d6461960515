"""Boot the guest, run pytest on the project's tree in it, and pass on pytest's output and exit code.

`run.py auto|uml|qemu PYTEST_ARGUMENT…`. GUEST_SECONDS: how long the guest may take. The exit code is 124 if the guest
takes longer, 125 if it ends before its tests, else pytest's. The last line says which guest ran, and why that one.
"""

from __future__ import annotations

import contextlib
import os
import re
import selectors
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import FrameType

from cache import REPOSITORY, GuestError
from choice import AUTO, NAMES, choose, install, why_not_uml
from image import image
from machines import GUARD, MACHINES, PANIC
from payload import check_python, site, tree_disk

SECONDS = {"uml": 1800, "qemu": 2400}

# Whether the tests drive the installed launcher. The ordinary build takes 0.8 s for each command in QEMU.
LAUNCHER = {"uml": False, "qemu": True}

# pytest shows where a test hangs, long before the guest's time is over. In seconds.
HANG = {"uml": 120, "qemu": 600}

TIMED_OUT = 124
NO_RESULT = 125

# How many lines of the console are shown if there is no result.
SHOWN = 40

# A line that is kept in build/guest/MACHINE.jsonl instead of being printed: a test's result as JSON.
RESULT = b"pyrunc-guest: result "

LAST_WORDS = b"pyrunc-guest: exit "
LAST_LINE = re.compile(rb"^%b(\d+)\r?$" % LAST_WORDS)


def follow(channel: int, consoles: list[Path], seconds: float, results: list[bytes]) -> int:
    """Print the guest's output until it tells pytest's exit code, and return that code. Its results are added to
    `results`."""
    end = time.monotonic() + seconds
    rest = b""
    # How much of `rest` is printed already.
    printed = 0
    with selectors.DefaultSelector() as selector:
        selector.register(channel, selectors.EVENT_READ)
        while True:
            if time.monotonic() > end:
                return TIMED_OUT
            if not selector.select(1):
                if any(PANIC in path.read_bytes() for path in consoles if path.exists()):
                    return NO_RESULT
                continue
            data = os.read(channel, 65536)
            if not data:
                sys.stdout.buffer.write(rest[printed:])
                sys.stdout.flush()
                return NO_RESULT
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                if found := LAST_LINE.match(line):
                    return int(found[1])
                if line.startswith(RESULT):
                    results.append(line.removeprefix(RESULT).rstrip(b"\r") + b"\n")
                    continue
                sys.stdout.buffer.write(line[printed:].rstrip(b"\r") + b"\n")
                printed = 0
            # pytest's progress line grows by a letter for each test.
            if not any(rest.startswith(words) or words.startswith(rest) for words in (LAST_WORDS, RESULT)):
                shown = rest.rstrip(b"\r")
                sys.stdout.buffer.write(shown[printed:])
                printed = max(printed, len(shown))
            sys.stdout.flush()


def end(guard: subprocess.Popen[bytes]) -> None:
    """Kill the guest and wait until none of its processes is left."""
    # The first process of the pid namespace: the kernel reaps it when all the others are gone.
    for pid in Path(f"/proc/{guard.pid}/task/{guard.pid}/children").read_text().split():
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(pid), signal.SIGKILL)
    try:
        guard.wait(10)
    except subprocess.TimeoutExpired:
        guard.kill()
        guard.wait()


def tail(console: bytes) -> str:
    """The part of a console's output that helps: its end, or the lines around a panic."""
    where = console.find(PANIC)
    before = (console if where < 0 else console[:where]).decode(errors="replace").splitlines()[-SHOWN:]
    after = "" if where < 0 else console[where:].decode(errors="replace")
    return "\n".join([*before, *after.splitlines()[:SHOWN]]) + "\n"


def boot(machine: str, work: Path, arguments: list[str]) -> int:
    """Boot the guest, and end it when its tests have ended."""
    packages = site()
    options = [f"-ofaulthandler_timeout={HANG[machine]}", f"--color={'yes' if sys.stdout.isatty() else 'no'}"]
    disk = tree_disk(work, packages / "venv", [*options, *arguments], LAUNCHER[machine])
    reader, writer = os.pipe()
    args, environment = MACHINES[machine](work, image(), packages / "site.ext4", disk, writer)
    consoles = [work / "console", work / "serial"]
    with open(consoles[0], "wb") as console:
        guest = subprocess.Popen(
            [*GUARD, *args],
            stdin=subprocess.DEVNULL,
            stdout=console,
            stderr=console,
            pass_fds=(writer,),
            cwd=work,
            env={"PATH": os.environ.get("PATH", os.defpath), **environment},
            start_new_session=True,
        )
    os.close(writer)
    seconds = float(os.environ.get("GUEST_SECONDS") or SECONDS[machine])
    results: list[bytes] = []
    try:
        code = follow(reader, consoles, seconds, results)
    finally:
        end(guest)
        os.close(reader)
        if results:
            kept = REPOSITORY / "build/guest" / f"{machine}.jsonl"
            kept.parent.mkdir(parents=True, exist_ok=True)
            kept.write_bytes(b"".join(results))
    if code in (TIMED_OUT, NO_RESULT):
        for path in filter(Path.exists, consoles):
            sys.stderr.write(tail(path.read_bytes()))
        what = f"has not finished in {seconds:.0f} s" if code == TIMED_OUT else "ended before its tests did"
        print(f"pyrunc-guest: the guest ({machine}) {what}; its console is above", file=sys.stderr)
    return code


def main() -> int:
    """Run what sys.argv asks for."""
    wanted, *arguments = sys.argv[1:]
    if wanted not in (AUTO, *MACHINES):
        raise GuestError(f"no guest {wanted!r}: there are {', '.join(MACHINES)}, and {AUTO}, which chooses one")
    if os.geteuid() != 0:
        raise GuestError("root is needed to make the guest's image")
    if os.uname().machine != "x86_64":
        raise GuestError(f"there is a guest for x86_64 only, not for {os.uname().machine}")
    check_python()
    machine, reason = choose(wanted, why_not_uml)
    if wanted == AUTO:
        print(f"pyrunc-guest: {NAMES[machine]}: {reason}", flush=True)
    # The probe installs User-Mode Linux.
    if (wanted, machine) != (AUTO, "uml") and not install(machine):
        raise GuestError(f"the packages of {NAMES[machine]} could not be installed")
    work = Path(tempfile.mkdtemp(prefix="pyrunc-guest-"))
    try:
        code = boot(machine, work, arguments)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    print(f"pyrunc-guest: the tests ran in {NAMES[machine]} ({reason})", flush=True)
    return code


def leave(number: int, frame: FrameType | None) -> None:
    """End the guest too when a signal comes."""
    raise SystemExit(128 + number)


if __name__ == "__main__":
    for name in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(name, leave)
    try:
        sys.exit(main())
    except GuestError as error:
        sys.exit(f"pyrunc-guest: {error}")
