"""Which system call a seccomp filter has ended a process for, and by which rule. On demand: only failures import it.

The kernel records each such call in its log (audit(7), type 1326), unless a daemon takes the records. Nothing here is a
guess: without a record nothing is said.
"""

from __future__ import annotations

import posix

from ... import log
from ...errors import PyruncError
from ..kernel import native
from ..seccomp.checks import refusal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..._generated.spec_types import Seccomp

SIGSYS = 31
_LOG = "/dev/kmsg"
_RECORD_BYTES = 8192
_PATIENCE_MS = 100
# The records' pids are those of the first pid namespace, whose file in /proc/self/ns has this inode (linux/proc_ns.h).
_FIRST_PID_NAMESPACE = 0xEFFFFFFC
# linux/audit.h: AUDIT_ARCH_X86_64, AUDIT_ARCH_AARCH64
_MACHINES = {"x86_64": "c000003e", "aarch64": "c00000b7"}
_EPIPE = 32


def call_of(record: str, pid: int, machine: str) -> str:
    """The system call of a record that a filter has ended process `pid`; "" for any other record.

    record: of /dev/kmsg. machine: of uname(2). A call of another architecture is a number.
    """
    text = record.partition(";")[2]
    if not text.startswith("audit: type=1326 "):
        return ""
    # A process chooses its comm= and exe=, which the kernel quotes, or writes as hexadecimal digits.
    words = dict([word.partition("=")[::2] for word in _unquoted(text)])
    if words.get("pid") != str(pid) or words.get("sig") != str(SIGSYS):
        return ""
    number = words.get("syscall", "")
    if words.get("arch") == _MACHINES.get(machine) and number.isdigit():
        from ..._generated.syscalls import NAMES

        return NAMES.get(int(number), f"system call {number}")
    return f"system call {number} of architecture {words.get('arch')}"


def _unquoted(text: str) -> list[str]:
    """The words of a record outside of quotation marks."""
    return [word for part in text.split('"')[::2] for word in part.split() if "=" in word]


def killed_for(pid: int) -> str:
    """The system call for which a filter has ended process `pid`, which has not been reaped for long; "" if it is not
    known. Waits for the record for up to 0.1 s."""
    try:
        if posix.stat("/proc/self/ns/pid").st_ino != _FIRST_PID_NAMESPACE:
            return ""
        fd = posix.open(_LOG, posix.O_RDONLY | posix.O_NONBLOCK | posix.O_CLOEXEC)
    except OSError:  # no right to read it, or no /dev/kmsg here
        return ""
    machine = posix.uname().machine
    found = ""
    try:
        while True:
            for record in _records(fd):
                found = call_of(record, pid, machine) or found
            if found or not native.poll([fd], _PATIENCE_MS):
                return found
    except OSError:
        return found
    finally:
        posix.close(fd)


def _records(fd: int) -> Iterable[str]:
    """The records that are there. Raises OSError."""
    while True:
        try:
            yield posix.read(fd, _RECORD_BYTES).decode("utf-8", "replace")
        except BlockingIOError:
            return
        except OSError as error:
            if error.errno != _EPIPE:  # older records have been overwritten
                raise


def by_filter(prefix: str, call: str, profile: Seccomp | None) -> PyruncError:
    """The error of a process that a filter has ended. prefix: its beginning. profile: linux.seccomp."""
    rule = refusal(profile, call) if profile else None
    message = f"{prefix}the seccomp filter does not allow {call}"
    if rule is None:  # it depends on the arguments, or the profile changed
        hint = f"pyrunc seccomp explain --profile config.json {call} shows the rules about it"
        return PyruncError(message, pointer="/linux/seccomp", hint=hint, lead=len(prefix))
    hint = f"{rule.action}: the profile must allow {call}"
    return PyruncError(message, pointer=rule.pointer, hint=hint, lead=len(prefix))


def tell(pid: int, profile: Seccomp | None) -> None:
    """Log for which call a filter has ended a program that ran in the foreground, if the kernel has a record of it."""
    call = killed_for(pid)
    if call:
        log.warning(by_filter(f"the program was killed by signal {SIGSYS}: ", call, profile).line())
