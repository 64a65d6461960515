"""Find the pages of the snapshot that commands write to: `pages.py PROGRAM OUTPUT`.

A process that wakes from the snapshot writes to every object that it uses, since CPython keeps an object's reference
count in the object. If the process reads a page first, one fault maps the page and its neighbours from the file, and
the first write causes another fault, which copies the page. That takes longer than the one fault of a page that is
written first. So the launcher writes to these pages before it reads them (launcher/snapshot.c).

PROGRAM is a launcher with its snapshot and without this table. This script runs PROGRAM until it sleeps, with commands
that need no privileges and have no effect. /proc/PID/pagemap then tells which pages the process has copied (proc(5)).
OUTPUT gets the table: for each of SETS a bit for each page. Where the script can't find out a set (a kernel without
pagemap, a machine without cgroup2), it writes the first set or an empty one, and says why on stderr: such a launcher
works as well, but is slower.

Run this script with the interpreter that is linked.
"""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pyrunc._generated.spec_types import Spec

ROOT = Path(__file__).resolve().parent.parent

# The sets of pages, in the order of launcher/snapshot.c: the pages that all commands write to, those of commands about
# an existing container, those of commands that start a process, and those of `update`.
SETS = ("others", "container", "launch", "update")
# The bytes of one set: SET_BYTES of snapshot.c.
SET_BYTES = 1024
PAGE = 4096
# The variables around the section (launcher/snapshot.ld).
BEGIN, END = "snapshot_begin", "snapshot_end"
SECONDS = 30.0
# How many looks in a row must find the same pages.
LOOKS = 30

# The bits of a pagemap entry: in memory, in swap, of a file.
_PRESENT, _SWAPPED, _OF_FILE = 1 << 63, 1 << 62, 1 << 61

ID = "x"
# No process has this number (/proc/sys/kernel/pid_max is at most 2^22).
_NO_PID = (1 << 31) - 1


class PagesError(Exception):
    """The pages of a set could not be found out; the text says why."""


def section(program: Path) -> range:
    """The addresses of the snapshot. Raises CalledProcessError and KeyError."""
    lines = subprocess.run(["nm", str(program)], capture_output=True, text=True, check=True).stdout.splitlines()
    symbols = {words[2]: int(words[0], 16) for words in map(str.split, lines) if len(words) == 3}
    return range(symbols[BEGIN], symbols[END])


def written(program: Path, words: list[str], addresses: range, output: int) -> set[int]:
    """The numbers of the pages that a command has copied by the time it sleeps. Raises PagesError, OSError."""
    command = [str(program.resolve()), *words]
    with subprocess.Popen(
        command, env={}, cwd="/", stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.PIPE
    ) as process:
        try:
            wait(process)
            found = copied(process.pid, addresses)
            unchanged = 0
            while unchanged < LOOKS:  # a command that waits for a lock tries it again and again
                time.sleep(0.001)
                before, found = found, copied(process.pid, addresses)
                unchanged = unchanged + 1 if found == before else 0
            wait(process)  # the pagemap of a process that has ended is empty
            return found
        finally:
            process.kill()


def wait(process: subprocess.Popen[bytes]) -> None:
    """Wait until a process sleeps. Raises PagesError if it ends, or works for too long."""
    deadline = time.monotonic() + SECONDS
    while True:
        letter = Path(f"/proc/{process.pid}/stat").read_text().rpartition(") ")[2][0]
        if letter == "S":
            return
        if letter == "Z":
            said = process.stderr.read().decode(errors="replace").strip() if process.stderr else ""
            raise PagesError(f"{' '.join(map(str, process.args))}: {said}")  # type: ignore[arg-type]
        if time.monotonic() > deadline:
            raise PagesError(f"process {process.pid} works for more than {SECONDS:.0f} s")
        time.sleep(0.001)


def copied(pid: int, addresses: range) -> set[int]:
    """The process's own pages between two addresses. Raises PagesError without a pagemap."""
    try:
        with open(f"/proc/{pid}/pagemap", "rb", buffering=0) as file:
            data = os.pread(file.fileno(), len(addresses) // PAGE * 8, addresses.start // PAGE * 8)
    except FileNotFoundError:
        raise PagesError("the kernel has no /proc/PID/pagemap") from None
    entries = [int.from_bytes(data[at : at + 8], sys.byteorder) for at in range(0, len(data), 8)]
    return {n for n, entry in enumerate(entries) if entry & (_PRESENT | _SWAPPED) and not entry & _OF_FILE}


def full_pipe() -> tuple[int, int]:
    """The two ends of a full pipe: a process that writes to it sleeps. Raises OSError."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    try:
        while os.write(writer, bytes(PAGE)):
            continue
    except BlockingIOError:
        os.set_blocking(writer, True)
    return reader, writer


def configuration() -> Spec:
    """The configuration that `pyrunc spec` writes; for a user other than root, that of `spec --rootless`."""
    sys.path.insert(0, str(ROOT))
    from pyrunc.libcontainer.spec import example

    spec = example.example() if os.geteuid() == 0 else example.rootless_example()
    spec["process"]["terminal"] = False
    spec["linux"].pop("resources", None)
    return spec


def write_container(path: Path, pid: int = _NO_PID, start_time: int = 1, cgroup: str = "") -> None:
    """Make a container's state directory; without arguments, that of a stopped container. Raises OSError."""
    record: dict[str, Any] = {
        "ociVersion": "1.0.2", "id": ID, "bundle": "/", "rootfs": "/rootfs", "created": "2000-01-01T00:00:00Z",
        "pid": pid, "startTime": start_time, "owner": os.geteuid(), "cgroup": cgroup, "annotations": {}, "hooks": {},
        "startSteps": [],
    }  # fmt: skip
    path.mkdir(parents=True)
    path.chmod(0o711)
    (path / "state.json").write_text(json.dumps(record))
    spec = configuration()
    (path / "exec.json").write_text(json.dumps({name: spec[name] for name in ("process", "root", "mounts", "linux")}))


def before_output(program: Path, words: list[str], addresses: range) -> set[int]:
    """The pages that a command writes to before it prints. Raises PagesError, OSError."""
    reader, writer = full_pipe()
    try:
        return written(program, words, addresses, writer)
    finally:
        os.close(reader)
        os.close(writer)


def others(program: Path, addresses: range, work: Path) -> set[int]:
    """The pages that `list` writes to before it prints nothing. Raises PagesError, OSError."""
    (work / "empty").mkdir()
    return before_output(program, ["--root", str(work / "empty"), "list"], addresses)


def container(program: Path, addresses: range, work: Path) -> set[int]:
    """The pages that `state` of a stopped container writes to before it prints. Raises PagesError, OSError."""
    write_container(work / "stopped" / ID)
    return before_output(program, ["--root", str(work / "stopped"), "state", ID], addresses)


def launch(program: Path, addresses: range, work: Path) -> set[int]:
    """The pages that `run` writes to before it waits for another command that has locked its state directory. By then
    `run` has compiled the plan and has made nothing. Raises PagesError, OSError."""
    (work / "bundle/rootfs").mkdir(parents=True)
    (work / "bundle/config.json").write_text(json.dumps(configuration()))
    taken = work / "busy" / ID
    taken.mkdir(parents=True)
    lock = os.open(taken, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        words = ["--root", str(work / "busy"), "run", "--bundle", str(work / "bundle"), ID]
        return written(program, words, addresses, subprocess.DEVNULL)
    finally:
        os.close(lock)


def update(program: Path, addresses: range, work: Path) -> set[int]:
    """The pages that `update` writes to before it reads the old value of a limit, from a FIFO. By then `update` has
    compiled the limits. This process stands for the container's process. Raises PagesError, OSError."""
    cgroup = work / "cgroup"
    cgroup.mkdir()
    (cgroup / "cgroup.events").write_text("populated 1\nfrozen 0\n")
    (cgroup / "cgroup.controllers").write_text("")
    os.mkfifo(cgroup / "cgroup.max.depth")
    start_time = int(Path("/proc/self/stat").read_text().rpartition(") ")[2].split()[19])
    write_container(work / "running" / ID, os.getpid(), start_time, str(cgroup))
    (work / "changes").write_text(json.dumps({"unified": {"cgroup.max.depth": "100"}}))
    words = ["--root", str(work / "running"), "update", "--resources", str(work / "changes"), ID]
    return written(program, words, addresses, subprocess.DEVNULL)


def bitmap(pages: set[int]) -> bytes:
    """SET_BYTES bytes with a bit for each page. Pages beyond them are left out."""
    bits = bytearray(SET_BYTES)
    for page in pages:
        if page < SET_BYTES * 8:
            bits[page // 8] |= 1 << page % 8
    return bytes(bits)


def table(program: Path) -> bytes:
    """The bitmaps of SETS. Raises CalledProcessError, KeyError, OSError."""
    addresses = section(program)
    bitmaps = []
    common: set[int] = set()
    with tempfile.TemporaryDirectory() as name:
        for find in (others, container, launch, update):
            try:
                pages = find(program, addresses, Path(name))
            except PagesError as error:
                print(f"pyrunc: no pages of {find.__name__}: {error}", file=sys.stderr)
                pages = common
            common = common or pages
            bitmaps.append(bitmap(pages))
    return b"".join(bitmaps)


def main() -> None:
    """Read the command line, write the table."""
    program, output = map(Path, sys.argv[1:])
    output.write_bytes(table(program))


if __name__ == "__main__":
    main()
