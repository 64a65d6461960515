"""Counts of a cgroup's system calls by the kernel."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pyrunc.errors import PyruncError
from pyrunc.libcontainer.seccomp import counter, recorded
from pyrunc.libcontainer.seccomp.counter import Counter
from tests.support.host import cgroup2_mount, open_descriptors

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root"),
    pytest.mark.skipif(platform.machine() != "x86_64", reason="the numbers of system calls are those of x86-64"),
]

GETPPID, IOCTL, CHROOT, MKDIR = 110, 16, 161, 83
SCRIPT = """
import ctypes, os, sys
open(sys.argv[1] + "/cgroup.procs", "w").write(str(os.getpid()))
call = ctypes.CDLL(None, use_errno=True).syscall
"""


@pytest.fixture
def cgroup() -> Iterator[Path]:
    path = Path(cgroup2_mount()) / f"pyrunc-test-counter-{os.getpid()}"
    (path / "below").mkdir(parents=True)
    yield path
    (path / "below").rmdir()
    path.rmdir()


def run(cgroup: Path, code: str, check: bool = True) -> None:
    command = [sys.executable, "-I", "-S", "-c", SCRIPT + code, str(cgroup)]
    subprocess.run(command, check=check, capture_output=True)


def counted(made: Counter) -> counter.Counts:
    try:
        return made.counts()
    finally:
        made.close()


def test_each_call_is_counted_once_also_of_threads_and_below(cgroup: Path) -> None:
    made = Counter(str(cgroup))
    code = """
import threading
threads = [threading.Thread(target=lambda: [os.getppid() for _ in range(500)]) for _ in range(4)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
"""
    run(cgroup / "below", code)
    run(cgroup, "[os.getppid() for _ in range(1000)]")
    assert counted(made).entered[GETPPID] == 3000


X86 = """
import mmap
# mov eax, edi; xchg ebx, esi; int 0x80; xchg ebx, esi; ret
code = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
code.write(bytes.fromhex("89f887decd8087dec3"))
x86 = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(code)))
"""
GETPPID_X86, CLOSE_X86 = counter.NUMBERS + 64, counter.NUMBERS + 6


def test_32_bit_calls_have_their_own_numbers(cgroup: Path) -> None:
    made = Counter(str(cgroup), arguments={CLOSE_X86: 0})
    run(cgroup, X86 + "before = os.getppid(); [x86(64, 0) for _ in range(30)]; x86(6, 777); x86(1000, 0); os.getppid()")
    found = counted(made)
    assert (found.entered[GETPPID_X86], found.entered[GETPPID], found.entered[CLOSE_X86]) == (30, 2, 1)
    assert found.values == {(CLOSE_X86, 777): 1}
    assert found.failed[counter.NUMBERS + 1000, 38] == 1


def test_calls_of_the_vsyscall_page(cgroup: Path) -> None:
    """Old programs make them so. They pass the filter, but not sys_enter."""
    if "[vsyscall]" not in Path("/proc/self/maps").read_text():
        pytest.skip("needs the vsyscall page")
    made, later = Counter(str(cgroup)), Counter(str(cgroup), "execve", refusals=False)
    kind = "ctypes.CFUNCTYPE(ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p)"
    run(cgroup, f"[{kind}(0xffffffffff600000 + at)(None, None) for at in (0, 0x400, 0x400, 0x800)]")
    found = counted(made)
    assert {number: found.entered.get(number) for number in (96, 201, 309)} == {96: 1, 201: 2, 309: 1}
    assert counted(later).entered == {}


def test_other_cgroups_are_not_counted(cgroup: Path) -> None:
    made = Counter(str(cgroup / "below"))
    run(cgroup, "[os.getppid() for _ in range(100)]")
    assert counted(made).entered == {}


def test_the_values_of_an_argument(cgroup: Path) -> None:
    made = Counter(str(cgroup), arguments={IOCTL: 1})
    run(cgroup, "[call(16, -1, value, 0) for value in (7, 7, 0x5401)]")
    found = counted(made)
    assert found.values[IOCTL, 7] == 2
    assert (IOCTL, 0x5401) in found.values


@pytest.mark.parametrize("refusals", [False, True])
@pytest.mark.parametrize(("trigger", "count"), [("seccomp", 5), ("execve", 0)])
def test_nothing_is_counted_before_the_trigger(cgroup: Path, trigger: str, count: int, refusals: bool) -> None:
    made = Counter(str(cgroup), trigger, refusals=refusals)
    run(
        cgroup,
        "[os.getppid() for _ in range(9)]; call(317, 2, 0, ctypes.byref(ctypes.c_uint(0)));"
        "[os.getppid() for _ in range(5)]",
    )
    found = counted(made)
    assert found.entered.get(GETPPID, 0) == count
    assert 317 not in found.entered


@pytest.mark.parametrize("refusals", [False, True])
def test_the_execve_of_a_hook_is_not_the_program_s(cgroup: Path, refusals: bool) -> None:
    made = Counter(str(cgroup), "program", refusals=refusals)
    run(
        cgroup,
        "call(317, 2, 0, ctypes.byref(ctypes.c_uint(0))); os.getppid();"
        "os.fork() or os.execv('/bin/true', ['true']); os.wait(); os.getppid();"
        f"os.execv({sys.executable!r}, ['python', '-I', '-S', '-c', 'import os; os.fork(); os.getppid()'])",
    )
    found = counted(made)
    assert (found.entered[59], found.entered[GETPPID]) == (1, 2)


def test_the_execve_that_starts_the_count_is_counted(cgroup: Path) -> None:
    made = Counter(str(cgroup), "execve")
    run(cgroup, "os.execv('/bin/true', ['true'])")
    assert counted(made).entered[59] == 1


def test_the_counts_are_those_of_strace(cgroup: Path, tmp_path: Path) -> None:
    if shutil.which("strace") is None:
        pytest.skip("needs strace")
    command = ["/bin/cat", *["/bin/cat"] * 20, "/nowhere"]
    made = Counter(str(cgroup), "execve", refusals=False)
    run(cgroup, f"os.execv({command[0]!r}, {command!r})", check=False)
    found = recorded.calls(counted(made))
    table = tmp_path / "table"
    subprocess.run(["strace", "-f", "-c", "-o", table, *command], check=False, capture_output=True)
    rows = [line.split() for line in table.read_text().splitlines()]
    counts = {row[-1]: int(row[3]) for row in rows if row and row[0][0].isdigit() and row[-1] != "total"}
    assert counts["read"] > 40
    own = {name: count for name, count in found.items() if name in counts}
    assert own == counts
    assert set(found) - set(counts) <= {"exit_group"}  # it does not return, which strace waits for


FILTER = """
import struct
def deny(numbers, code):
    steps = [struct.pack("=HBBI", 0x20, 0, 0, 0)]
    for index, number in enumerate(numbers):
        steps.append(struct.pack("=HBBI", 0x15, len(numbers) - index, 0, number))
    steps += [struct.pack("=HBBI", 6, 0, 0, 0x7FFF0000), struct.pack("=HBBI", 6, 0, 0, 0x50000 | code)]
    data = ctypes.create_string_buffer(b"".join(steps))
    program = ctypes.create_string_buffer(struct.pack("=HxxxxxxQ", len(steps), ctypes.addressof(data)))
    call(157, 38, 1, 0, 0, 0)
    assert call(317, 1, 0, program) == 0
"""


def test_what_a_filter_refuses_and_what_the_kernel_does(cgroup: Path) -> None:
    made = Counter(str(cgroup))
    run(
        cgroup,
        FILTER + "call(83, b'/proc/x', 0o700); deny([161], 13);"
        "[call(161, b'/') for _ in range(77)]; os.fork() or os._exit(0); os.wait(); call(300)",
    )
    found = counted(made)
    assert found.refused == {(CHROOT, 13): 77}
    assert (CHROOT, 13) not in found.failed
    assert CHROOT not in found.entered


def test_calls_without_refusals(cgroup: Path) -> None:
    made = Counter(str(cgroup), refusals=False)
    run(cgroup, FILTER + "deny([161], 13); [os.getppid() for _ in range(70)]; call(161, b'/'); call(1000, 0)")
    found = counted(made)
    assert found.entered[GETPPID] == 70
    assert (found.refused, found.failed) == ({}, {})


def test_the_kernels_refusals_are_kept_apart(cgroup: Path) -> None:
    made = Counter(str(cgroup))
    run(cgroup, "[call(1000, 0) for _ in range(3)]")
    found = counted(made)
    assert found.failed[1000, 38] == 3
    assert found.refused == {}


def test_a_call_under_way_is_no_refusal(cgroup: Path) -> None:
    code = "sys.stdout.write('x'); sys.stdout.flush(); sys.stdin.read(1); os.getppid()"
    child = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", SCRIPT + code, str(cgroup)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert child.stdout is not None
    assert child.stdin is not None
    child.stdout.read(1)
    made = Counter(str(cgroup))
    child.communicate(b"y")
    found = counted(made)
    assert found.refused == {}
    assert found.entered[GETPPID] == 1


def test_a_directory_that_is_no_cgroup(tmp_path: Path) -> None:
    with pytest.raises(PyruncError, match="is not below the root of the cgroup hierarchy"):
        Counter(str(tmp_path))
    with pytest.raises(PyruncError, match="no such file"):
        Counter(str(tmp_path / "missing"))


def test_another_machine(cgroup: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "riscv64")
    with pytest.raises(PyruncError, match="x86_64 and aarch64 only, not on riscv64"):
        Counter(str(cgroup))


@pytest.mark.parametrize("trigger", ["", "seccomp", "execve", "program"])
@pytest.mark.parametrize("refusals", [False, True])
def test_the_kernel_takes_the_programs_of_arm64(
    cgroup: Path, monkeypatch: pytest.MonkeyPatch, trigger: str, refusals: bool
) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    Counter(str(cgroup), trigger, {198: 0, counter.NUMBERS + 281: 0}, refusals).close()


def test_nothing_stays_open(cgroup: Path) -> None:
    before = open_descriptors()
    made = Counter(str(cgroup))
    made.close()
    made.close()
    assert set(open_descriptors()) <= set(before)
