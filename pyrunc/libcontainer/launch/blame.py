"""Which system call a seccomp filter has ended a process for or refused to it, and by which rule. On demand: only
failures import it.

The kernel records each call that ends a process in its log (audit(7), type 1326), and with SECCOMP_FILTER_FLAG_LOG also
each that fails with an errno of the filter, unless a daemon takes the records. Without a record, these functions report
nothing.
"""

from __future__ import annotations

import posix
import time

from ... import log
from ...errors import PyruncError
from ..kernel import kmsg, native
from ..seccomp.checks import refusal
from ..seccomp.constants import FAMILIES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..._generated.spec_types import Seccomp

SIGSYS = 31
_PATIENCE_MS = 100
# The kernel writes 10 records in 5 s at most (printk_ratelimit), so a program's records are few.
_COLLECT_SECONDS = 0.5
# seccomp(2): SECCOMP_RET_ERRNO and the mask of a result's action. The record leaves the errno out.
_RET_ERRNO, _RET_ACTION = 0x00050000, 0xFFFF0000
# The records' time is that of the kernel's last tick, and the program's start is measured a little late.
_EARLY_SECONDS = 0.5
# The actions by which a process gets SIGSYS. Of SCMP_ACT_TRAP the kernel keeps no record.
_KILLING = ("SCMP_ACT_KILL", "SCMP_ACT_KILL_PROCESS", "SCMP_ACT_KILL_THREAD", "SCMP_ACT_TRAP")
# linux/audit.h: AUDIT_ARCH_X86_64, AUDIT_ARCH_AARCH64; AUDIT_ARCH_I386, AUDIT_ARCH_ARM.
_MACHINES = {"x86_64": "c000003e", "aarch64": "c00000b7"}
_ARCHITECTURES = {"40000003": "SCMP_ARCH_X86", "40000028": "SCMP_ARCH_ARM"}
_X32_BIT = 1 << 30
# A call that has no name here begins with this, and its number follows; behind _OF the architecture if it is another
# one than the machine's.
_NUMBER, _OF = "system call ", " of "


def call_of(record: str, pid: int, machine: str, since: float) -> str:
    """The system call of a record that a filter has ended process `pid`; "" for any other record.

    record: of /dev/kmsg. machine: of uname(2). A call of another architecture is a number. since: a time on the log's
        clock (kmsg.begun); an older record is about another process that had the pid.
    """
    words = _words(record, pid)
    is_it = words.get("sig") == str(SIGSYS) and kmsg.time_of(record) >= since
    return _name(words, machine) if is_it else ""


def refused_of(record: str, pid: int, machine: str, since: float) -> str:
    """The system call of a record that a filter has failed a call of process `pid` with an errno at `since`, in seconds
    since 1970, or later; "" for any other record. Other arguments as for `call_of`."""
    words = _words(record, pid)
    try:
        at = float(words["audit"].partition(":")[0])
        is_refused = words["sig"] == "0" and int(words["code"], 16) & _RET_ACTION == _RET_ERRNO
    except (KeyError, ValueError):
        return ""
    return _name(words, machine) if is_refused and at >= since else ""


def _words(record: str, pid: int) -> dict[str, str]:
    """The words of a record about a filter and process `pid`, by their names; "audit" has the time and the serial
    number. Empty for any other record."""
    text = record.partition(";")[2]
    if not text.startswith("audit: type=1326 "):
        return {}
    # A process chooses its comm= and exe=, which the kernel quotes, or writes as hexadecimal digits.
    unquoted = _unquoted(text)
    words = dict([word.partition("=")[::2] for word in unquoted if "=" in word])
    if words.get("pid") != str(pid):
        return {}
    stamp = next((word for word in unquoted if word.startswith("audit(")), "")
    return {**words, "audit": stamp.removeprefix("audit(")}


def _name(words: dict[str, str], machine: str) -> str:
    number, arch = words.get("syscall", ""), words.get("arch", "")
    if arch != _MACHINES.get(machine) or not number.isdigit():
        return f"{_NUMBER}{number}{_OF}{_ARCHITECTURES.get(arch, 'architecture ' + arch)}"
    if int(number) & _X32_BIT and machine == "x86_64":
        return f"{_NUMBER}{int(number) & ~_X32_BIT}{_OF}SCMP_ARCH_X32"
    from ..._generated.syscalls import NAMES

    return NAMES.get(int(number), f"{_NUMBER}{number}")


def _unquoted(text: str) -> list[str]:
    """The words of a record outside of quotation marks."""
    return [word for part in text.split('"')[::2] for word in part.split()]


def killed_for(pid: int, start_time: int) -> str:
    """The system call for which a filter has ended a process that was reaped a moment ago at most; "" if it is not
    known. Waits for the record for up to 0.1 s."""
    since = kmsg.begun(start_time)
    machine = posix.uname().machine
    for records in _waves():
        found = [call for record in records if (call := call_of(record, pid, machine, since))]
        if found:
            return found[-1]
    return ""


def refused_to(pid: int, since: float) -> list[str]:
    """The system calls that a filter has failed with an errno for process `pid`, which has ended, since a time in
    seconds since 1970. Each once, in their order. Waits for records until none has come for 0.1 s, 0.5 s at most."""
    machine = posix.uname().machine
    calls = [refused_of(record, pid, machine, since) for records in _waves() for record in records]
    return list(dict.fromkeys([call for call in calls if call]))


def _waves() -> Iterator[list[str]]:
    """The records of the kernel's log: first the existing ones, then new ones until none has come for 0.1 s, 0.5 s at
    most. Nothing if the log can't be read."""
    fd = kmsg.open_log()
    if fd < 0:
        return
    end = time.monotonic() + _COLLECT_SECONDS
    try:
        while True:
            yield list(kmsg.records(fd))
            if time.monotonic() >= end or not native.poll([fd], _PATIENCE_MS):
                return
    except OSError:
        return
    finally:
        posix.close(fd)


def by_filter(prefix: str, call: str, profile: Seccomp | None) -> PyruncError:
    """The error of a process that a filter has ended. prefix: its beginning. profile: linux.seccomp."""
    message = f"{prefix}the seccomp filter does not allow {call}"
    return _error(message, call, profile, f"the profile must allow {call}", len(prefix))


def _error(message: str, call: str, profile: Seccomp | None, cure: str, lead: int = 0) -> PyruncError:
    """An error with the rule that decides about a call. cure: the hint if there is one. lead: as of PyruncError."""
    name, _, architecture = call.removeprefix(_NUMBER).partition(_OF)
    if architecture and profile and architecture not in (profile.get("architectures") or ()):
        hint = f"the profile does not have {architecture}: with it in architectures, the rules hold for such calls too"
        return PyruncError(message, pointer="/linux/seccomp/architectures", hint=hint, lead=lead)
    rule = refusal(profile, call) if profile else None
    if rule is None or name != call:  # it depends on the arguments, the profile changed, or the name is not known here
        of = f" --arch {architecture}" if architecture else ""
        hint = f"pyrunc seccomp explain --profile config.json{of} {name} shows the rules about it"
        return PyruncError(message, pointer="/linux/seccomp", hint=hint, lead=lead)
    return PyruncError(message, pointer=rule.pointer, hint=f"{rule.action}: {cure}", lead=lead)


def log_killed(pid: int, start_time: int, profile: Seccomp | None) -> None:
    """Log for which call a filter has ended a program that ran in the foreground, if the kernel has a record of it.

    Without a record, log that the exit code is that of SIGSYS, if the profile has an action that sends it, or lacks an
    architecture.
    """
    call = killed_for(pid, start_time)
    if call:
        log.warning(by_filter(f"the program was killed by signal {SIGSYS}: ", call, profile).line())
        return
    found = _killing(profile) if profile is not None else None
    if found is None:
        return
    at, action = found
    message = (
        f"the program's exit code is {128 + SIGSYS}, that of signal {SIGSYS} (SIGSYS), by which a seccomp filter ends "
        "a process; the system call is not known"
    )
    log.warning(PyruncError(message, pointer=at, hint=f"{action}: {_unknown()}").line())


def _unknown() -> str:
    """Why the call is not known."""
    fd = kmsg.open_log()
    if fd < 0:
        return "the kernel's log can't be read here, or has the pids of another namespace, or its clock"
    posix.close(fd)
    return "the kernel's log has nothing about this process; one that it has started may be the one that was ended"


def _killing(profile: Seccomp) -> tuple[str, str] | None:
    """The pointer and the action of the first rule, or else the default, that sends SIGSYS; or else the architectures
    that the profile does not have, for whose calls libseccomp's filter sends it; None if nothing does."""
    for index, rule in enumerate(profile.get("syscalls") or ()):
        if rule["action"] in _KILLING:
            return f"/linux/seccomp/syscalls/{index}", rule["action"]
    action = profile["defaultAction"]
    if action in _KILLING:
        return "/linux/seccomp/defaultAction", action
    covered = profile.get("architectures") or ()
    missing = [name for name in FAMILIES.get(posix.uname().machine, ())[1:] if name not in covered]
    if missing:
        names = " and ".join(missing)
        return "/linux/seccomp/architectures", f"calls of {names}, which the profile does not have, end a process"
    return None


def log_refused(pid: int, profile: Seccomp, code: int, seconds: float) -> None:
    """Log which calls a filter with SECCOMP_FILTER_FLAG_LOG has refused to a program that ran in the foreground, if the
    kernel has records of them. code: its exit code. seconds: how long it has run."""
    for call in refused_to(pid, time.time() - seconds - _EARLY_SECONDS):
        message = f"before the program ended with exit code {code}, the seccomp filter refused {call}"
        cure = f"if the program needs {call}, the profile must allow it"
        log.warning(_error(message, call, profile, cure).line())
