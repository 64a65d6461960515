"""The system calls of a cgroup, counted by eBPF programs at the raw tracepoints sys_enter and sys_exit. Cold.

The kernel passes a call to the filter before it reaches sys_enter. So a call that leaves by sys_exit, but has not
entered, was refused by a filter (or a tracer). A thread's first exit is left out: it may be of a call that was under
way when the programs were attached, or the return of clone(2) in a child.

A call that a filter ends the process for (SCMP_ACT_KILL…) reaches neither. Calls of the machine's 32-bit architecture
have numbers of their own (NUMBERS). Those of x32 are not counted: few kernels have them (CONFIG_X86_X32).
"""

from __future__ import annotations

import errno
import os
import platform
from dataclasses import dataclass, field

from ...errors import PyruncError
from . import ebpf
from .ebpf import Assembler

# A number above all system calls. With NUMBERS added it is the number of a call of the 32-bit architecture.
NUMBERS = 1024
# How many threads of a cgroup are followed at a time; beyond that, refusals are missed.
_THREADS = 16384
_LAST_ERRNO = 4095
# What a filter's refusal looks like to a program.
_ERRNOS = (errno.EPERM, errno.EACCES, errno.ENOSYS)
_REFUSALS = 4096
# How many values of arguments are counted; others, then, are missed.
VALUES = 8192
# Keys of the state: whether calls are counted; the state of a thread outside of calls, which is _UNSEEN until both
# programs are attached; the thread that has loaded the filter.
_ON, _COMPLETE, _LOADER = 0, 1, 2
# The inode of the root of a cgroup2 file system.
_ROOT_CGROUP = 1
# A thread's state.
_UNSEEN, _OUTSIDE, _INSIDE = 0, 1, 2


@dataclass(frozen=True)
class _Machine:
    """Where the kernel keeps what the programs read.

    number, arguments: the offsets in struct pt_regs (asm/ptrace.h) of the call's number, and of its arguments from the
    first on. compat_arguments: of those of a 32-bit call. compat: in struct task_struct, which begins with struct
    thread_info (asm/thread_info.h), the offset of a word, and its bit that is set during a 32-bit call: TS_COMPAT of
    x86, TIF_32BIT of arm64. triggers: the numbers of calls. vsyscalls: those of the calls of the vsyscall page, which
    programs with C libraries from before 2012 use. These calls pass the filter, but not sys_enter.
    """

    number: int
    arguments: tuple[int, ...]
    compat_arguments: tuple[int, ...]
    compat: tuple[int, int]
    triggers: dict[str, int]
    vsyscalls: tuple[int, ...] = ()


_MACHINES = {
    "x86_64": _Machine(
        120,
        (112, 104, 96, 56, 72, 44),
        (40, 88, 96, 104, 112, 32),
        (16, 1 << 1),
        {"seccomp": 317, "execve": 59},
        (96, 201, 309),  # gettimeofday, time, getcpu
    ),
    "aarch64": _Machine(
        280, (0, 8, 16, 24, 32, 40), (0, 8, 16, 24, 32, 40), (0, 1 << 22), {"seccomp": 277, "execve": 221}
    ),
}
# The calls whose argument matters to a profile, and which: socket(domain), clone(flags), ioctl(request), prctl(option).
ARGUMENTS = {"socket": 0, "clone": 0, "ioctl": 1, "prctl": 0}

# The program's registers besides its parameters, and its variables.
_RESULT, _CONTEXT, _NUMBER, _BEFORE, _THREAD_STATE = 0, 6, 7, 8, 9
_THREAD_AT, _VALUE_AT, _KEY_AT, _READ_AT = -8, -16, -24, -32


@dataclass
class Counts:
    """A number is that of the machine's own architecture, or that of its 32-bit one with NUMBERS added.

    entered: how often each call was made, by its number. refused: how often a filter refused a call, by its number
    and the errno (0 for a result that is none). failed: how often the kernel itself refused one, by the same, for the
    errnos that a filter would give too. values: how often an argument had a value, by (number, value)."""

    entered: dict[int, int] = field(default_factory=dict)
    refused: dict[tuple[int, int], int] = field(default_factory=dict)
    failed: dict[tuple[int, int], int] = field(default_factory=dict)
    values: dict[tuple[int, int], int] = field(default_factory=dict)


class Counter:
    """Counts from now on until `close`.

    cgroup: the path of the cgroup's directory; the cgroups below it are counted too. trigger: from where on to count.
    "seccomp" is the first call of it, by which the init loads the filter, and which is not counted itself; "execve" the
    first call of it; "program" the first execve of the thread that called seccomp first; "" counts from now on.
    arguments: the argument to record, by the number of the call. refusals: whether to count those too, which more than
    doubles the time that a call takes longer.
    """

    def __init__(
        self, cgroup: str, trigger: str = "", arguments: dict[int, int] | None = None, refusals: bool = True
    ) -> None:
        """Raises PyruncError."""
        machine = platform.machine()
        if machine not in _MACHINES:
            raise PyruncError(f"system calls can be counted on x86_64 and aarch64 only, not on {machine}")
        try:
            self._cgroup = os.stat(cgroup).st_ino
        except OSError as error:
            raise PyruncError(f"the cgroup {cgroup}", errno=error.errno or 0) from error
        self._level = _level(cgroup)
        self._machine = _MACHINES[machine]
        self._trigger, self._with_refusals = trigger, refusals
        self._maps: list[ebpf.Map] = []
        self._links: list[int] = []
        try:
            self._state = self._map(ebpf.ARRAY, 4, 3)
            self._entered = self._map(ebpf.ARRAY, 4, 2 * NUMBERS)
            self._values = self._map(ebpf.HASH, 8, VALUES)
            self._state.set(_ON, 0 if trigger else 1)
            if refusals:
                self._threads = self._map(ebpf.LRU_HASH, 8, _THREADS)
                self._refused = self._map(ebpf.HASH, 8, _REFUSALS)
                self._failed = self._map(ebpf.HASH, 8, _REFUSALS)
                self._links.append(ebpf.attach(self._on_exit(), "sys_exit"))
            self._links.append(ebpf.attach(self._on_enter(arguments or {}), "sys_enter"))
            self._follow_vsyscalls()
            self._state.set(_COMPLETE, _OUTSIDE)
        except PyruncError:
            self.close()
            raise

    def _map(self, kind: int, key_bytes: int, entries: int) -> ebpf.Map:
        made = ebpf.Map(kind, key_bytes, entries)
        self._maps.append(made)
        return made

    def counts(self) -> Counts:
        """What was counted so far. Raises OSError."""
        found = Counts()
        for number in range(2 * NUMBERS):
            count = self._entered.get(number)
            if count:
                found.entered[number] = count
        if self._with_refusals:
            found.refused, found.failed = _by_errno(self._refused.items()), _by_errno(self._failed.items())
        found.values = {(key >> 48, key & (1 << 48) - 1): count for key, count in self._values.items().items()}
        return found

    def close(self) -> None:
        """Stop. Nothing happens the second time."""
        for link in self._links:
            os.close(link)
        for each in self._maps:
            each.close()
        self._links, self._maps = [], []

    def _begin(self) -> Assembler:
        """Leave unless the task is in the cgroup."""
        code = Assembler()
        code.add(ebpf.MOVE_REGISTER, _CONTEXT, 1)
        code.add(ebpf.MOVE, 1, value=self._level)
        code.add(ebpf.CALL, value=ebpf.GET_CURRENT_ANCESTOR_CGROUP_ID)
        code.load(1, self._cgroup)
        code.add(ebpf.JUMP_NOT_EQUAL_REGISTER, _RESULT, 1, "end")
        return code

    def _set_thread(self, code: Assembler) -> None:
        """Set the thread's state to that in a register. The one before is in another register then.

        The state of a thread that is known is changed in its place, which can't fail, as an update of the map may.
        """
        code.add(ebpf.CALL, value=ebpf.GET_CURRENT_PID_TGID)
        code.add(ebpf.STORE_U64, ebpf.FRAME, _RESULT, _THREAD_AT)
        code.add(ebpf.MOVE, _BEFORE, value=_UNSEEN)
        code.load_map(1, self._threads.fd)
        code.frame(2, _THREAD_AT)
        code.add(ebpf.CALL, value=ebpf.MAP_LOOKUP)
        code.add(ebpf.JUMP_EQUAL, _RESULT, 0, "new")
        code.add(ebpf.LOAD_U64, _BEFORE, _RESULT)
        code.add(ebpf.STORE_U64, _RESULT, _THREAD_STATE)
        code.add(ebpf.JUMP, offset="set")
        code.label("new")
        code.add(ebpf.STORE_U64, ebpf.FRAME, _THREAD_STATE, _VALUE_AT)
        code.load_map(1, self._threads.fd)
        code.frame(2, _THREAD_AT)
        code.frame(3, _VALUE_AT)
        code.add(ebpf.MOVE, 4, value=0)
        code.add(ebpf.CALL, value=ebpf.MAP_UPDATE)
        code.label("set")

    def _on_enter(self, arguments: dict[int, int]) -> bytes:
        """The program of sys_enter, whose context is the registers' address and the call's number."""
        code = self._begin()
        if self._with_refusals:
            code.add(ebpf.MOVE, _THREAD_STATE, value=_INSIDE)
            self._set_thread(code)
        code.add(ebpf.LOAD_U64, _NUMBER, _CONTEXT, 8)
        code.add(ebpf.JUMP_GREATER_OR_EQUAL, _NUMBER, 0, "end", NUMBERS)
        self._mark_compat(code)
        if self._trigger:
            self._await_trigger(code)
        self._count(code)
        for number, index in arguments.items():
            self._count_value(code, number, index)
        code.label("end")
        code.add(ebpf.MOVE, _RESULT, value=0)
        code.add(ebpf.EXIT)
        return code.assemble()

    def _follow_vsyscalls(self) -> None:
        """Count the calls of the vsyscall page too, where the kernel has it. Raises PyruncError."""
        if not self._machine.vsyscalls:
            return
        try:
            self._links.append(ebpf.attach(self._on_vsyscall(), "emulate_vsyscall"))
        except PyruncError as error:
            if error.errno != errno.ENOENT:
                raise

    def _on_vsyscall(self) -> bytes:
        """The program of emulate_vsyscall, whose context is the index of the call in the page."""
        code = self._begin()
        code.add(ebpf.LOAD_U64, 1, _CONTEXT)
        for index, number in enumerate(self._machine.vsyscalls):
            code.add(ebpf.MOVE, _NUMBER, value=number)
            code.add(ebpf.JUMP_EQUAL, 1, 0, "known", index)
        code.add(ebpf.JUMP, offset="end")
        code.label("known")
        if self._trigger:
            self._await_trigger(code)
        self._count(code)
        code.label("end")
        code.add(ebpf.MOVE, _RESULT, value=0)
        code.add(ebpf.EXIT)
        return code.assemble()

    def _count(self, code: Assembler) -> None:
        """Count a call."""
        code.label("count")
        code.add(ebpf.STORE_U64, ebpf.FRAME, _NUMBER, _KEY_AT)
        code.load_map(1, self._entered.fd)
        code.frame(2, _KEY_AT)
        code.add(ebpf.CALL, value=ebpf.MAP_LOOKUP)
        code.add(ebpf.JUMP_EQUAL, _RESULT, 0, "end")
        code.add(ebpf.MOVE, 1, value=1)
        code.add(ebpf.ATOMIC_ADD_U64, _RESULT, 1)

    def _await_trigger(self, code: Assembler) -> None:
        """Go to the end before the trigger. That itself is counted if it is an execve."""
        self._look_up_state(code, _ON)
        code.add(ebpf.LOAD_U64, 1, _RESULT)
        code.add(ebpf.JUMP_NOT_EQUAL, 1, 0, "count")
        if self._trigger == "program":
            self._note_loader(code)
        number = self._machine.triggers["execve" if self._trigger == "program" else self._trigger]
        code.add(ebpf.JUMP_NOT_EQUAL, _NUMBER, 0, "end", number)
        if self._trigger == "program":
            self._look_up_state(code, _LOADER)
            code.add(ebpf.LOAD_U64, 1, _RESULT)
            code.add(ebpf.LOAD_U64, 2, ebpf.FRAME, _THREAD_AT)
            code.add(ebpf.JUMP_NOT_EQUAL_REGISTER, 1, 2, "end")
        self._look_up_state(code, _ON)
        code.add(ebpf.STORE_VALUE_U64, _RESULT, 0, 0, 1)
        if self._trigger == "seccomp":
            code.add(ebpf.JUMP, offset="end")

    def _note_loader(self, code: Assembler) -> None:
        """The number of the thread is a variable from here on. If it is the first that calls seccomp, it is noted."""
        code.add(ebpf.CALL, value=ebpf.GET_CURRENT_PID_TGID)
        code.add(ebpf.STORE_U64, ebpf.FRAME, _RESULT, _THREAD_AT)
        code.add(ebpf.JUMP_NOT_EQUAL, _NUMBER, 0, "noted", self._machine.triggers["seccomp"])
        self._look_up_state(code, _LOADER)
        code.add(ebpf.LOAD_U64, 1, _RESULT)
        code.add(ebpf.JUMP_NOT_EQUAL, 1, 0, "end")
        code.add(ebpf.LOAD_U64, 2, ebpf.FRAME, _THREAD_AT)
        code.add(ebpf.STORE_U64, _RESULT, 2)
        code.label("noted")

    def _look_up_state(self, code: Assembler, key: int) -> None:
        """Put the address of a value of the state into the register of results."""
        code.add(ebpf.STORE_VALUE_U64, ebpf.FRAME, 0, _KEY_AT, key)
        code.load_map(1, self._state.fd)
        code.frame(2, _KEY_AT)
        code.add(ebpf.CALL, value=ebpf.MAP_LOOKUP)
        code.add(ebpf.JUMP_EQUAL, _RESULT, 0, "end")

    def _count_value(self, code: Assembler, number: int, index: int) -> None:
        """Count the value of an argument, of which the lower 48 bits are kept."""
        after = f"after {number}"
        code.add(ebpf.JUMP_NOT_EQUAL, _NUMBER, 0, after, number)
        of = self._machine.arguments if number < NUMBERS else self._machine.compat_arguments
        self._read_registers(code, of[index], 8)
        code.add(ebpf.LOAD_U64, 1, ebpf.FRAME, _READ_AT)
        code.add(ebpf.SHIFT_LEFT, 1, value=16)
        code.add(ebpf.SHIFT_RIGHT, 1, value=16)
        code.add(ebpf.MOVE_REGISTER, 2, _NUMBER)
        code.add(ebpf.SHIFT_LEFT, 2, value=48)
        code.add(ebpf.OR_REGISTER, 1, 2)
        code.add(ebpf.STORE_U64, ebpf.FRAME, 1, _KEY_AT)
        self._add_one(code, self._values, f"known {number}")
        code.label(after)

    def _on_exit(self) -> bytes:
        """The program of sys_exit, whose context is the registers' address and the call's result."""
        code = self._begin()
        self._look_up_state(code, _COMPLETE)
        code.add(ebpf.LOAD_U64, _THREAD_STATE, _RESULT)
        self._set_thread(code)
        code.add(ebpf.JUMP_EQUAL, _BEFORE, 0, "end", _UNSEEN)
        code.add(ebpf.LOAD_U64, 1, _CONTEXT, 8)
        code.add(ebpf.JUMP_EQUAL, _BEFORE, 0, "key", _OUTSIDE)  # it left without having entered
        for code_number in _ERRNOS:
            code.add(ebpf.JUMP_EQUAL, 1, 0, "key", -code_number)
        code.add(ebpf.JUMP, offset="end")
        code.label("key")
        self._read_registers(code, self._machine.number, 8)
        code.add(ebpf.LOAD_U32, _NUMBER, ebpf.FRAME, _READ_AT)
        code.add(ebpf.JUMP_GREATER_OR_EQUAL, _NUMBER, 0, "end", NUMBERS)
        self._mark_compat(code)
        code.add(ebpf.LOAD_U64, 1, _CONTEXT, 8)
        code.add(ebpf.STORE_U64, ebpf.FRAME, 1, _READ_AT)
        code.add(ebpf.SHIFT_LEFT, _NUMBER, value=32)
        code.add(ebpf.LOAD_U32, 1, ebpf.FRAME, _READ_AT)
        code.add(ebpf.OR_REGISTER, 1, _NUMBER)
        code.add(ebpf.STORE_U64, ebpf.FRAME, 1, _KEY_AT)
        code.add(ebpf.JUMP_EQUAL, _BEFORE, 0, "failed", _INSIDE)
        self._add_one(code, self._refused, "refused")
        code.add(ebpf.JUMP, offset="end")
        code.label("failed")
        self._add_one(code, self._failed, "failed before")
        code.label("end")
        code.add(ebpf.MOVE, _RESULT, value=0)
        code.add(ebpf.EXIT)
        return code.assemble()

    def _mark_compat(self, code: Assembler) -> None:
        """Add NUMBERS to the call's number if the call is one of the 32-bit architecture."""
        offset, bit = self._machine.compat
        code.add(ebpf.CALL, value=ebpf.GET_CURRENT_TASK)
        code.add(ebpf.MOVE_REGISTER, 3, _RESULT)
        self._read(code, offset, 8)
        code.add(ebpf.LOAD_U64, 1, ebpf.FRAME, _READ_AT)
        code.add(ebpf.AND, 1, value=bit)
        code.add(ebpf.JUMP_EQUAL, 1, 0, "own")
        code.add(ebpf.ADD, _NUMBER, value=NUMBERS)
        code.label("own")

    def _read_registers(self, code: Assembler, offset: int, size: int) -> None:
        """Read from the registers of the task into a variable."""
        code.add(ebpf.LOAD_U64, 3, _CONTEXT)
        self._read(code, offset, size)

    def _read(self, code: Assembler, offset: int, size: int) -> None:
        """Read the kernel's memory at an offset from the address in register 3 into a variable."""
        code.add(ebpf.ADD, 3, value=offset)
        code.frame(1, _READ_AT)
        code.add(ebpf.MOVE, 2, value=size)
        code.add(ebpf.CALL, value=ebpf.PROBE_READ_KERNEL)
        code.add(ebpf.JUMP_NOT_EQUAL, _RESULT, 0, "end")

    def _add_one(self, code: Assembler, table: ebpf.Map, label: str) -> None:
        """Add one to the value of the key in the variable, which may be new."""
        code.load_map(1, table.fd)
        code.frame(2, _KEY_AT)
        code.add(ebpf.CALL, value=ebpf.MAP_LOOKUP)
        code.add(ebpf.JUMP_NOT_EQUAL, _RESULT, 0, label)
        code.add(ebpf.STORE_VALUE_U64, ebpf.FRAME, 0, _VALUE_AT, 1)
        code.load_map(1, table.fd)
        code.frame(2, _KEY_AT)
        code.frame(3, _VALUE_AT)
        code.add(ebpf.MOVE, 4, value=0)
        code.add(ebpf.CALL, value=ebpf.MAP_UPDATE)
        code.add(ebpf.JUMP, offset=label + " added")
        code.label(label)
        code.add(ebpf.MOVE, 1, value=1)
        code.add(ebpf.ATOMIC_ADD_U64, _RESULT, 1)
        code.label(label + " added")


def _by_errno(counts: dict[int, int]) -> dict[tuple[int, int], int]:
    """Counts by number and errno. A key has the number, and the lower 32 bits of the result; 0: it is no errno."""
    found: dict[tuple[int, int], int] = {}
    for key, count in counts.items():
        code = (1 << 32) - (key & 0xFFFFFFFF)
        by = (key >> 32, code if code <= _LAST_ERRNO else 0)
        found[by] = found.get(by, 0) + count
    return found


def _level(cgroup: str) -> int:
    """How deep a cgroup is: 0 is the root of the hierarchy.

    Raises PyruncError if the mount does not show the hierarchy from its root, as in a cgroup namespace.
    """
    path, level = os.path.realpath(cgroup), 0
    device = os.stat(path).st_dev
    while os.stat(path).st_ino != _ROOT_CGROUP:
        above = os.path.dirname(path)
        if above == path or os.stat(above).st_dev != device:
            raise PyruncError(f"{cgroup} is not below the root of the cgroup hierarchy")
        path, level = above, level + 1
    return level
