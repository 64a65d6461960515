"""`linux.seccomp`: each action, condition, architecture and flag by its effect inside the container."""

from __future__ import annotations

import errno
import os
import platform
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pyrunc.libcontainer.seccomp import cache, compiler
from tests.support import host
from tests.support.bundle import CAPABILITIES, Bundle
from tests.support.programs import static_program
from tests.support.runtime import Result, Runtime
from tests.support.seccomp import (
    ALLOWED,
    AUDIT_I386,
    AUDIT_X86_64,
    ERRNO,
    X32_BIT,
    allowing,
    argument,
    default_profile,
    evaluate,
    rule,
)

# Numbers of x86-64, or of i386 if the name says so.
GETPID, MKDIR, SETNS, SOCKET, PERSONALITY = 39, 83, 308, 41, 135
DUP3, PROCESS_VM_READV, FTRUNCATE, CLONE3, CHROOT = 292, 310, 77, 435, 161
MKDIR_X86, GETPID_X86 = 39, 20
NEWER = 1000  # no kernel has it yet
# The kernel's own: it executes no filter for them, and ends a program that calls them by itself.
URETPROBE, UPROBE = 335, 336

SIGSYS_CODE = 128 + 31

pytestmark = pytest.mark.skipif(platform.machine() != "x86_64", reason="the calls are numbered as on x86-64")
both = pytest.mark.parametrize("no_new_privileges", [False, True], ids=["privileged", "no-new-privileges"])


@pytest.fixture(scope="session")
def program(session_directory: Path) -> Path:
    """tests/support/syscalls.c as a static program."""
    return static_program(session_directory, "syscalls")


@pytest.fixture
def calls(bundle: Bundle, program: Path) -> Bundle:
    """A bundle with the program in it, and no core dumps."""
    shutil.copy(program, bundle.rootfs / "bin/syscalls")
    bundle.process["rlimits"] = [{"type": "RLIMIT_CORE", "soft": 0, "hard": 0}]
    return bundle


def make(runtime: Runtime, bundle: Bundle, profile: dict[str, Any], *words: int | str, **more: Any) -> list[str]:
    """The program's output for calls under a profile."""
    bundle.linux["seccomp"] = profile
    result = runtime.run(bundle.args("/bin/syscalls", *map(str, words)), **more)
    return result.out.splitlines()


@both
def test_errno_by_default_and_as_configured(runtime: Runtime, calls: Bundle, no_new_privileges: bool) -> None:
    calls.process["noNewPrivileges"] = no_new_privileges
    profile = allowing("SCMP_ACT_ERRNO", "mkdir")
    profile["syscalls"].append(rule("SCMP_ACT_ERRNO", "getpid", errnoRet=errno.ENETDOWN))
    profile["syscalls"].append(rule("SCMP_ACT_ERRNO", "chroot", errnoRet=0))
    out = make(runtime, calls, profile, MKDIR, GETPID, CHROOT, f"{SETNS}:1000")
    assert out == [str(-errno.EPERM), str(-errno.ENETDOWN), "0", str(-errno.EBADF)]


@both
def test_the_process_is_what_it_is_without_a_filter(runtime: Runtime, bundle: Bundle, no_new_privileges: bool) -> None:
    fields = ("Uid", "Gid", "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs")
    bundle.process["noNewPrivileges"] = no_new_privileges
    bundle.process["capabilities"]["inheritable"] = bundle.process["capabilities"]["ambient"] = ["CAP_CHOWN"]
    script = "cat /proc/self/status; umask"
    for uid in (0, 1000):
        bundle.process["user"] = {"uid": uid, "gid": uid, "umask": 0o27}
        bundle.linux.pop("seccomp", None)
        before = runtime.inside(bundle, script)
        bundle.linux["seccomp"] = allowing("SCMP_ACT_ERRNO", "mkdir")
        after = runtime.inside(bundle, script)
        for name in fields:
            assert host.status_field(after, name) == host.status_field(before, name), name
        assert host.status_field(before, "Seccomp") == "0"
        assert (host.status_field(after, "Seccomp"), host.status_field(after, "Seccomp_filters")) == ("2", "1")
        assert after.splitlines()[-1] == before.splitlines()[-1] == "0027"


@pytest.mark.parametrize("uid", [0, 1000])
def test_without_capabilities_in_the_configuration(runtime: Runtime, bundle: Bundle, uid: int) -> None:
    bundle.process.update(noNewPrivileges=False, user={"uid": uid, "gid": uid})
    del bundle.process["capabilities"]
    script = "grep Cap /proc/self/status"
    before = runtime.inside(bundle, script)
    bundle.linux["seccomp"] = allowing("SCMP_ACT_ERRNO", "mkdir")
    assert runtime.inside(bundle, script) == before


@pytest.mark.parametrize("action", ["SCMP_ACT_KILL", "SCMP_ACT_KILL_PROCESS", "SCMP_ACT_KILL_THREAD"])
def test_kill_is_the_end_by_sigsys(runtime: Runtime, calls: Bundle, action: str) -> None:
    calls.linux["seccomp"] = allowing(action, "mkdir")
    result = runtime.run(calls.args("/bin/syscalls", str(MKDIR), str(GETPID)), ok=False)
    assert (result.code, result.out) == (SIGSYS_CODE, "")


@pytest.mark.parametrize(
    ("action", "code", "out"),
    [
        ("SCMP_ACT_KILL", 0, "alive\n"), ("SCMP_ACT_KILL_THREAD", 0, "alive\n"),
        ("SCMP_ACT_KILL_PROCESS", SIGSYS_CODE, ""),
    ],
)  # fmt: skip
def test_kill_of_a_thread_or_of_the_process(runtime: Runtime, calls: Bundle, action: str, code: int, out: str) -> None:
    calls.linux["seccomp"] = allowing(action, "mkdir")
    result = runtime.run(calls.args("/bin/syscalls", "thread", str(MKDIR)), ok=False)
    assert (result.code, result.out) == (code, out)


def test_trap_is_a_signal_that_tells_the_call(runtime: Runtime, calls: Bundle) -> None:
    out = make(runtime, calls, allowing("SCMP_ACT_TRAP", "mkdir"), "catch", MKDIR, f"{MKDIR}:1")
    assert [line for line in out if line.startswith("SIGSYS")] == [f"SIGSYS {MKDIR}"] * 2


def test_trace_without_a_tracer_is_enosys(runtime: Runtime, calls: Bundle) -> None:
    assert make(runtime, calls, allowing("SCMP_ACT_TRACE", "mkdir"), MKDIR) == [str(-errno.ENOSYS)]


def test_log_allows_the_call(runtime: Runtime, calls: Bundle) -> None:
    assert make(runtime, calls, allowing("SCMP_ACT_LOG", "mkdir"), MKDIR, GETPID) == [str(-errno.EFAULT), "1"]


@both
def test_a_default_profile_runs_a_shell_and_refuses_the_rest(
    runtime: Runtime, calls: Bundle, no_new_privileges: bool
) -> None:
    calls.process["noNewPrivileges"] = no_new_privileges
    calls.linux["seccomp"] = default_profile()
    script = "ls /proc/self/fd >/dev/null && echo $(id -u) | tr 0 x; mkdir /tmp/made && rmdir /tmp/made && echo done"
    assert runtime.inside(calls, script) == "x\ndone\n"
    words: list[int | str] = [
        SETNS,
        CHROOT,
        f"{SOCKET}:40:1:0",
        f"{SOCKET}:1:1:0",
        f"{PERSONALITY}:0xffffffff",
        f"{PERSONALITY}:1",
    ]
    out = make(runtime, calls, default_profile(), *words, CLONE3)
    refused = str(-errno.EPERM)
    assert out == [refused, refused, refused, "3", "0", refused, str(-errno.ENOSYS)]


def test_calls_that_are_newer_than_the_profile_are_unknown(runtime: Runtime, calls: Bundle) -> None:
    words: list[int | str] = [NEWER, f"x86:{NEWER}", -1]
    assert make(runtime, calls, default_profile(), *words) == [str(-errno.ENOSYS)] * 3
    profile = {**default_profile(), "defaultAction": "SCMP_ACT_KILL_PROCESS"}
    del profile["defaultErrnoRet"]
    assert make(runtime, calls, profile, NEWER) == [str(-errno.ENOSYS)]


def test_conditions_of_every_kind(runtime: Runtime, calls: Bundle) -> None:
    # ftruncate's descriptor is invalid: the call gives EBADF if the filter allows it.
    conditions = [
        (argument(0, "NE", 100), [100], [101, 99]),
        (argument(0, "LT", 100), [100, 101], [99]),
        (argument(0, "LE", 100), [101], [100, 99]),
        (argument(0, "EQ", 100), [99, 101, 100 + (1 << 32)], [100]),
        (argument(0, "GE", 100), [99], [100, 101, 1 << 40]),
        (argument(0, "GT", 100), [100], [101, 1 << 40]),
        (argument(0, "MASKED_EQ", 0xF0, 0x60), [0x50, 0x6, 0x70], [0x60, 0x6F, 0x160]),
    ]
    for condition, refused, allowed in conditions:
        profile = {
            "defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [rule("SCMP_ACT_ERRNO", "ftruncate", errnoRet=errno.ENOANO, args=[condition])],
        }
        out = make(runtime, calls, profile, *[f"{FTRUNCATE}:{value}" for value in refused + allowed])
        assert out == [str(-errno.EBADF)] * len(refused) + [str(-errno.ENOANO)] * len(allowed), condition


def test_conditions_hold_together_unless_two_are_about_one_argument(runtime: Runtime, calls: Bundle) -> None:
    together = [argument(0, "EQ", 500), argument(1, "EQ", 7)]
    either = [argument(0, "EQ", 500), argument(0, "EQ", 600)]
    for args, hits in ((together, ["500:7"]), (either, ["500:7", "500:8", "600:7"])):
        profile = allowing("SCMP_ACT_ERRNO", "ftruncate", errnoRet=errno.ENOANO, args=args)
        words = ["500:7", "500:8", "600:7", "700:7"]
        out = make(runtime, calls, profile, *[f"{FTRUNCATE}:{word}" for word in words])
        assert [word for word, line in zip(words, out, strict=True) if line == str(-errno.ENOANO)] == hits


def test_architectures(runtime: Runtime, calls: Bundle) -> None:
    profile = allowing("SCMP_ACT_ERRNO", "mkdir", errnoRet=errno.ENOANO)
    calls.linux["seccomp"] = profile
    # For a profile of only the machine's own architecture, libseccomp treats a 32-bit call as of a bad architecture.
    killed = runtime.run(calls.args("/bin/syscalls", f"x86:{GETPID_X86}"), ok=False)
    assert killed.code == SIGSYS_CODE
    assert "/linux/seccomp/architectures; " in killed.last_line
    assert "the profile does not have" in killed.last_line
    profile["architectures"] = ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32", "SCMP_ARCH_AARCH64"]
    out = make(runtime, calls, profile, f"x86:{GETPID_X86}", f"x86:{MKDIR_X86}", MKDIR, MKDIR | X32_BIT)
    assert out == ["1", *[str(-errno.ENOANO)] * 3]


def test_names_that_the_machine_does_not_know_are_passed_over(runtime: Runtime, calls: Bundle) -> None:
    profile = allowing("SCMP_ACT_ERRNO", "no_such_call", "s390_runtime_instr", "mkdir")
    assert make(runtime, calls, profile, MKDIR) == [str(-errno.EPERM)]


@pytest.mark.own("1.1 knows no WAIT_KILLABLE_RECV nor TSYNC, and sets nothing where no flag is named")
@pytest.mark.parametrize(
    ("flags", "number"),
    [
        (None, 4), ([], 0), (["SECCOMP_FILTER_FLAG_TSYNC"], 0), (["SECCOMP_FILTER_FLAG_LOG"], 2),
        (["SECCOMP_FILTER_FLAG_SPEC_ALLOW", "SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_TSYNC"], 6),
    ],
)  # fmt: skip
def test_flags(runtime: Runtime, bundle: Bundle, flags: list[str] | None, number: int) -> None:
    profile = allowing("SCMP_ACT_ERRNO", "mkdir", "mkdirat")
    if flags is not None:
        profile["flags"] = flags
    bundle.linux["seccomp"] = profile
    bundle.sh("mkdir /tmp/no || grep Speculation_Store_Bypass: /proc/self/status").write()
    result = runtime("--debug", "run", "--bundle", bundle.path, runtime.new_id())
    assert "Operation not permitted" in result.err
    assert f'"seccomp filter flags: {number}"' in result.err
    if not number & 4 and not any(word in result.out for word in ("not affected", "vulnerable", "unknown")):
        # Without SPEC_ALLOW the kernel may turn speculation off for a process with a filter.
        assert "thread" in result.out or "globally" in result.out


# -- what the init must do after it has loaded the filter


TIGHT = "arch_prctl brk execve exit_group getpid mmap mprotect munmap set_tid_address write".split()


@pytest.mark.own("its init loads the filter before the wait for the start")
@both
@pytest.mark.parametrize("command", ["run", "create"])
def test_a_profile_need_not_allow_what_the_init_calls(
    runtime: Runtime, calls: Bundle, command: str, no_new_privileges: bool
) -> None:
    calls.process.update(noNewPrivileges=no_new_privileges, user={"uid": 1000, "gid": 1000, "additionalGids": [5]})
    # The filter kills at every call that it does not list, so a call of the init's own would be seen.
    allowed = TIGHT if no_new_privileges else [*TIGHT, "capset"]
    profile = {"defaultAction": "SCMP_ACT_KILL_PROCESS", "syscalls": [rule("SCMP_ACT_ALLOW", *allowed)]}
    if command == "run":
        assert make(runtime, calls, profile, GETPID) == ["1"]
    else:
        calls.linux["seccomp"] = profile
        container = runtime.container(calls.args("/bin/syscalls", str(GETPID)))
        assert host.process_status(container.pid, "Seccomp") == "0"
        assert container.finish() == "1\n"


@both
def test_calls_that_the_init_makes_before_may_be_refused(
    runtime: Runtime, bundle: Bundle, no_new_privileges: bool
) -> None:
    bundle.process["noNewPrivileges"] = no_new_privileges
    names = "close_range fsopen fsconfig fspick openat2 open_tree move_mount mount_setattr faccessat2 accept4 recvfrom"
    bundle.linux["seccomp"] = allowing("SCMP_ACT_ERRNO", *names.split(), errnoRet=errno.ENOSYS)
    assert runtime.inside(bundle, "echo here") == "here\n"


@pytest.mark.own("1.1 says 'error running hook #0'")
def test_start_container_hooks_run_under_the_filter(runtime: Runtime, bundle: Bundle) -> None:
    bundle.linux["seccomp"] = allowing("SCMP_ACT_KILL", "mkdir", "mkdirat")
    bundle.process["rlimits"] = [{"type": "RLIMIT_CORE", "soft": 0, "hard": 0}]
    bundle.hook("startContainer", "/bin/sh", "sh", "-c", "mkdir /tmp/foo")
    result = runtime.run(bundle, ok=False)
    assert result.code != 0
    assert "error running startContainer hook" in result.err
    assert "bad system call" in result.err.lower()


def test_a_filter_that_refuses_poll_fails_a_start_container_hook(runtime: Runtime, bundle: Bundle) -> None:
    """The init watches the hook by poll. It must neither wait for ever nor use a processor for that."""
    bundle.linux["seccomp"] = allowing("SCMP_ACT_ERRNO", "poll", "ppoll", errnoRet=errno.EPERM)
    bundle.hook("startContainer", "/bin/sh", "sh", "-c", "read line")
    result = runtime.run(bundle, ok=False)
    assert result.code != 0
    assert "error running startContainer hook #0: poll while /bin/sh runs: operation not permitted" in result.err
    assert "linux.seccomp refuses p" in result.err


def test_a_waiting_container_holds_no_descriptor_of_its_filter(runtime: Runtime, bundle: Bundle) -> None:
    bundle.linux["seccomp"] = default_profile()
    container = runtime.container(bundle.sh("true"))
    links = [str(link.readlink()) for link in Path(f"/proc/{container.pid}/fd").iterdir()]
    assert not [link for link in links if "seccomp" in link or "memfd" in link]
    container.finish()


def test_in_a_user_namespace(runtime: Runtime, calls: Bundle) -> None:
    calls.user_namespace()
    calls.process.update(noNewPrivileges=False, user={"uid": 5, "gid": 5})
    profile = allowing("SCMP_ACT_ERRNO", "mkdir", errnoRet=errno.ENOANO)
    assert make(runtime, calls, profile, MKDIR) == [str(-errno.ENOANO)]


def test_sys_admin_ends_with_the_filter(runtime: Runtime, bundle: Bundle) -> None:
    """The capability that the init keeps for the load reaches neither hooks nor program; a container that has it keeps
    it.
    """
    bundle.process["noNewPrivileges"] = False
    bundle.linux["seccomp"] = allowing("SCMP_ACT_ERRNO", "mkdir")
    bundle.hook("startContainer", "/bin/sh", "sh", "-c", "grep CapEff /proc/self/status > /tmp/hook")
    out = runtime.inside(bundle, "grep CapEff /proc/self/status; cat /tmp/hook").splitlines()
    assert out[0] == out[1]
    assert not int(out[0].split()[1], 16) >> 21 & 1
    more = [*CAPABILITIES, "CAP_SYS_ADMIN"]
    bundle.process["capabilities"] = {"bounding": more, "effective": more, "permitted": more}
    assert int(runtime.inside(bundle, "grep CapEff /proc/self/status").split()[1], 16) >> 21 & 1


@pytest.mark.own("the expected values are those of libseccomp as pyrunc asks it")
def test_the_kernel_decides_each_number_as_libseccomps_filter(runtime: Runtime, calls: Bundle) -> None:
    """The filter that is loaded is smaller than libseccomp's. No call but the program's own is carried out."""
    groups = [ALLOWED[index::7] for index in range(7)]
    profile: Any = {
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": 100,
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
        "syscalls": [rule("SCMP_ACT_ALLOW", *TIGHT, "capset")],
    }
    for index, names in enumerate(groups):
        others = [name for name in names if name not in (*TIGHT, "capset")]
        args = [argument(index % 3, op, value) for op, value in [("GT", 5), ("MASKED_EQ", 6)][: index % 3]]
        profile["syscalls"].append(
            rule("SCMP_ACT_ERRNO", *others, errnoRet=101 + index, **({"args": args} if args else {}))
        )
    library = compiler.library_filter(profile)
    assert len(compiler.compile_filter(profile)) < len(library)
    words, expected = [], []
    for number in [*range(480), *range(512, 560), 1000, 0x7FFFFFFF, 0xFFFFFFFF]:
        if number in (URETPROBE, UPROBE):
            continue
        for word, value, machine in (
            (f"{number}", number, AUDIT_X86_64), (f"{number | X32_BIT}", number | X32_BIT, AUDIT_X86_64),
            (f"x86:{number}", number, AUDIT_I386),
        ):  # fmt: skip
            for arguments in ((0, 0, 0), (6, 6, 6), (7, 1, 0)):
                result = evaluate(library, value, *arguments, arch=machine)
                if result & 0xFFFF0000 == ERRNO:
                    words.append(":".join([word, *map(str, arguments)]))
                    expected.append(str(-(result & 0xFFFF)))
    assert make(runtime, calls, profile, *words) == expected
    assert len(set(expected)) > 7


# -- the cache


def cache_files(runtime: Runtime) -> list[Path]:
    return sorted((runtime.root / ":seccomp").iterdir())


def exchange(file: Path, old: str, new: str) -> None:
    """Replace an instruction of a cached filter, and write the checksum of the new filter. The checksum protects the
    cache from damage; only the file's owner and mode protect it from processes that can write to it."""
    *lines, rest = file.read_bytes().split(b"\n", 5)
    key, program = rest[: int(lines[4])], rest[int(lines[4]) :]
    assert bytes.fromhex(old) in program
    program = program.replace(bytes.fromhex(old), bytes.fromhex(new))
    lines[3] = cache._checksum(program)
    file.write_bytes(b"\n".join([*lines, key + program]))


@pytest.mark.own("it has no cache")
def test_a_filter_is_compiled_once(runtime: Runtime, calls: Bundle) -> None:
    profile = allowing("SCMP_ACT_ERRNO", "mkdir")
    assert make(runtime, calls, profile, MKDIR) == [str(-errno.EPERM)]
    [file] = cache_files(runtime)
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.parent.stat().st_mode & 0o777 == 0o700
    # The second run takes the filter from there: its behaviour shows if the filter was replaced.
    exchange(file, "0600000001000500", f"06000000{errno.ENOANO:02x}000500")
    assert make(runtime, calls, profile, MKDIR) == [str(-errno.ENOANO)]
    assert cache_files(runtime) == [file]
    assert make(runtime, calls, allowing("SCMP_ACT_ERRNO", "mkdir", "chroot"), MKDIR) == [str(-errno.EPERM)]
    assert len(cache_files(runtime)) == 2


@pytest.mark.own("it has no cache")
@pytest.mark.parametrize("tamper", ["directory-mode", "file-mode", "file-owner", "symlink", "damage", "wrong-checksum"])
def test_a_cache_that_others_could_write_to_is_not_read(runtime: Runtime, calls: Bundle, tamper: str) -> None:
    profile = allowing("SCMP_ACT_ERRNO", "mkdir")
    make(runtime, calls, profile, GETPID)
    [file] = cache_files(runtime)
    # From now on the file says that mkdir is allowed.
    exchange(file, "0600000001000500", "060000000000ff7f")
    assert make(runtime, calls, profile, MKDIR) == [str(-errno.EFAULT)]
    if tamper == "directory-mode":
        file.parent.chmod(0o722)
    elif tamper == "file-mode":
        file.chmod(0o602)
    elif tamper == "file-owner":
        shutil.chown(file, 1000)
    elif tamper == "symlink":
        file.symlink_to(file.rename(file.with_name("elsewhere")))
    elif tamper == "damage":
        file.write_bytes(file.read_bytes()[:-9])
    else:
        allow, refuse = (bytes.fromhex(f"060000000000ff{last}") for last in ("7f", "70"))
        file.write_bytes(file.read_bytes().replace(allow, refuse))
    assert make(runtime, calls, profile, MKDIR) == [str(-errno.EPERM)]
    file.parent.chmod(0o700)


@pytest.mark.own("it has no cache")
def test_the_cache_is_no_container(runtime: Runtime, bundle: Bundle) -> None:
    bundle.linux["seccomp"] = allowing("SCMP_ACT_ERRNO", "mkdir")
    runtime.inside(bundle, "true")
    assert cache_files(runtime)
    listed = runtime("list", "--quiet")
    assert (listed.out, listed.err) == ("", "")
    assert "invalid container ID format" in runtime("state", ":seccomp").err


@pytest.mark.own("it names no place in config.json")
def test_an_error_is_found_before_anything_is_made(runtime: Runtime, bundle: Bundle) -> None:
    bundle.linux["seccomp"] = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [
            rule("SCMP_ACT_ERRNO", "ftruncate", args=[argument(0, "EQ", 1)]),
            rule("SCMP_ACT_TRAP", "ftruncate", args=[argument(0, "EQ", 1)]),
        ],
    }
    result = runtime.refuse(bundle)
    assert "error adding seccomp rule for syscall ftruncate: file exists" in result.last_line
    assert "/linux/seccomp/syscalls/1/names/0" in result.last_line


def test_an_architecture_that_libseccomp_does_not_know(runtime: Runtime, bundle: Bundle) -> None:
    bundle.linux["seccomp"] = {**allowing("SCMP_ACT_ERRNO", "mkdir"), "architectures": ["SCMP_ARCH_MIPS"]}
    assert "error adding architecture to seccomp filter" in runtime.refuse(bundle).last_line


@pytest.mark.own("it has no plan")
def test_plan_tells_of_the_filter(runtime: Runtime, bundle: Bundle) -> None:
    bundle.linux["seccomp"] = default_profile()
    bundle.write()
    out = runtime("plan", "--bundle", bundle.path, "--format", "tree").out
    assert "default_action=SCMP_ACT_ERRNO" in out
    assert "instructions=" in out
    assert "seccomp: flags=SECCOMP_FILTER_FLAG_SPEC_ALLOW" in out


FIRST_PID_NAMESPACE = 0xEFFFFFFC  # its inode (linux/proc_ns.h)


@pytest.fixture
def recorded(runtime: Runtime, bundle: Bundle) -> Bundle:
    """A bundle; the kernel records in its log what a filter ends a process for."""
    if os.stat("/proc/self/ns/pid").st_ino != FIRST_PID_NAMESPACE:
        pytest.skip("the kernel's log has the pids of the first pid namespace")
    bundle.process["rlimits"] = [{"type": "RLIMIT_CORE", "soft": 0, "hard": 0}]
    bundle.linux["seccomp"] = allowing("SCMP_ACT_KILL_PROCESS", "mkdir")
    runtime.run(bundle.sh("exec mkdir /tmp/x"), ok=False)
    if "type=1326" not in subprocess.run(["dmesg"], capture_output=True, text=True, check=False).stdout:
        pytest.skip("the kernel's log has no records of filters: no CONFIG_AUDIT, or a daemon takes them")
    return bundle


def until_recorded(attempt: Callable[[], Result], said: str) -> Result:
    """Repeat a failing command until its error has a text. The kernel writes 10 records in 5 s, and other processes'
    may be among them.
    """
    end = time.monotonic() + host.SECONDS
    while True:
        is_last = time.monotonic() >= end
        result = attempt()
        if said in result.err or is_last:
            return result
        time.sleep(2)


@pytest.mark.own("1.1 says nothing")
def test_a_program_that_a_filter_ends_is_told_with_the_call_and_the_rule(runtime: Runtime, recorded: Bundle) -> None:
    recorded.linux["seccomp"]["syscalls"].insert(0, rule("SCMP_ACT_ERRNO", "chroot"))
    said = "the seccomp filter does not allow mkdir (at /linux/seccomp/syscalls/1;"
    result = until_recorded(lambda: runtime.run(recorded.sh("exec mkdir /tmp/x"), ok=False), said)
    assert result.code == SIGSYS_CODE
    assert said in result.err
    # A child of the container's process is not its end, but may be the reason of its exit code.
    result = runtime.run(recorded.sh("exec sh -c 'mkdir /tmp/x; exit 159'"), ok=False)
    assert result.code == SIGSYS_CODE
    assert said not in result.err
    assert "that of signal 31 (SIGSYS), by which a seccomp filter ends a process" in result.err
    assert "(at /linux/seccomp/syscalls/1; SCMP_ACT_KILL_PROCESS: the kernel's log has nothing about" in result.err


@pytest.mark.own("1.1 says nothing")
@pytest.mark.parametrize("where", ["pid namespace", "trap"])
def test_a_filter_that_ends_a_program_is_told_without_a_record_too(
    runtime: Runtime, recorded: Bundle, where: str
) -> None:
    """In a pid namespace of the runtime's own the log's pids are others; of SCMP_ACT_TRAP there is no record."""
    if where == "trap":
        recorded.linux["seccomp"]["syscalls"][0]["action"] = "SCMP_ACT_TRAP"
    recorded.sh("exec mkdir /tmp/x").write()
    prefix = ["unshare", "--pid", "--fork", "--mount-proc"] if where == "pid namespace" else []
    result = runtime("run", "--bundle", recorded.path, runtime.new_id(), prefix=prefix)
    assert result.code == SIGSYS_CODE
    reason = "has the pids of another namespace" if prefix else "the kernel's log has nothing about this process"
    assert "SIGSYS" in result.err
    assert reason in result.err


@pytest.mark.own("1.1 says nothing")
def test_a_program_that_fails_at_once_is_told_what_its_filter_has_refused(runtime: Runtime, recorded: Bundle) -> None:
    if "errno" not in Path("/proc/sys/kernel/seccomp/actions_logged").read_text().split():
        pytest.skip("the kernel does not record SCMP_ACT_ERRNO (actions_logged)")
    said = "before the program ended with exit code 1, the seccomp filter refused mkdir (at /linux/seccomp/syscalls/0;"
    recorded.linux["seccomp"] = allowing("SCMP_ACT_ERRNO", "mkdir")
    assert said not in runtime.run(recorded.sh("exec mkdir /tmp/x"), ok=False).err
    recorded.linux["seccomp"]["flags"] = ["SECCOMP_FILTER_FLAG_LOG"]
    container = runtime.started(recorded.sh("exec sleep 100"))
    result = until_recorded(lambda: runtime.run(recorded.sh("exec mkdir /tmp/x"), ok=False), said)
    executed = until_recorded(lambda: runtime("exec", container.id, "mkdir", "/tmp/x"), said)
    assert (result.code, executed.code) == (1, 1)
    assert (result.err.count(said), executed.err.count(said)) == (1, 1)
    # It is said of the program's own calls, of no child's, and only where it fails.
    for script in ("mkdir /tmp/x; exit 1", "exec cat /nowhere"):
        assert "the seccomp filter refused" not in runtime.run(recorded.sh(script), ok=False).err


@both
@pytest.mark.own("1.1 names neither")
def test_the_call_and_the_rule_that_end_the_init(runtime: Runtime, recorded: Bundle, no_new_privileges: bool) -> None:
    recorded.process["noNewPrivileges"] = no_new_privileges
    recorded.linux["seccomp"] = allowing("SCMP_ACT_KILL_PROCESS", "execve")
    said = "does not allow execve"
    result = until_recorded(lambda: runtime.run(recorded.sh("true"), ok=False), said)
    assert said in result.last_line
    assert "at /linux/seccomp/syscalls/0; SCMP_ACT_KILL_PROCESS: the profile must allow execve" in result.last_line
    started = until_recorded(lambda: runtime("start", runtime.container(recorded).id), said)
    assert started.code != 0
    assert said in started.last_line
    assert "/linux/seccomp/syscalls/0" in started.last_line


@pytest.mark.own("1.1 names no rule")
@pytest.mark.parametrize(("name", "code"), [("execve", errno.EPERM), ("execve", errno.ENOSYS), ("capset", errno.EPERM)])
def test_the_rule_that_refuses_a_call_of_the_init(runtime: Runtime, bundle: Bundle, name: str, code: int) -> None:
    bundle.process["noNewPrivileges"] = False
    bundle.linux["seccomp"] = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [rule("SCMP_ACT_ERRNO", "chroot"), rule("SCMP_ACT_ERRNO", name, errnoRet=code)],
    }
    result = runtime.run(bundle.sh("true"), ok=False)
    assert os.strerror(code).lower() in result.last_line
    assert "at /linux/seccomp/syscalls/1; " in result.last_line
    assert f"linux.seccomp refuses {name} (SCMP_ACT_ERRNO): its profile must allow it" in result.last_line
