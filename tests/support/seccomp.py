"""A seccomp profile of the size and kind of container engines' default profiles, and an interpreter of filters."""

from __future__ import annotations

import errno
import struct
from collections.abc import Sequence
from typing import Any

Profile = Any

ALLOW = 0x7FFF0000
ERRNO = 0x00050000
ENOSYS = ERRNO | errno.ENOSYS
EPERM = ERRNO | errno.EPERM

AUDIT_I386 = 0x40000003
AUDIT_X86_64 = 0xC000003E
X32_BIT = 1 << 30

# Calls that an application may need, on x86-64 and on i386; none that changes the host, its clock, mounts or modules.
ALLOWED = """
    _llseek _newselect accept accept4 access adjtimex alarm arch_prctl bind brk capget capset chdir chmod chown
    chown32 clock_adjtime clock_adjtime64 clock_getres clock_getres_time64 clock_gettime clock_gettime64
    clock_nanosleep clock_nanosleep_time64 close close_range connect copy_file_range creat dup dup2 dup3
    epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait epoll_wait_old
    eventfd eventfd2 execve execveat exit exit_group faccessat faccessat2 fadvise64 fadvise64_64 fallocate
    fanotify_mark fchdir fchmod fchmodat fchown fchown32 fchownat fcntl fcntl64 fdatasync fgetxattr flistxattr
    flock fork fremovexattr fsetxattr fstat fstat64 fstatat64 fstatfs fstatfs64 fsync ftruncate ftruncate64
    futex futex_time64 futex_waitv futimesat get_robust_list get_thread_area getcpu getcwd getdents getdents64
    getegid getegid32 geteuid geteuid32 getgid getgid32 getgroups getgroups32 getitimer getpeername getpgid
    getpgrp getpid getppid getpriority getrandom getresgid getresgid32 getresuid getresuid32 getrlimit getrusage
    getsid getsockname getsockopt gettid gettimeofday getuid getuid32 getxattr inotify_add_watch inotify_init
    inotify_init1 inotify_rm_watch io_cancel io_destroy io_getevents io_pgetevents io_pgetevents_time64 io_setup
    io_submit io_uring_enter io_uring_register io_uring_setup ioctl ioprio_get ioprio_set ipc kill
    landlock_add_rule landlock_create_ruleset landlock_restrict_self lchown lchown32 lgetxattr link linkat
    listen listxattr llistxattr lremovexattr lseek lsetxattr lstat lstat64 madvise membarrier memfd_create
    memfd_secret mincore mkdir mkdirat mknod mknodat mlock mlock2 mlockall mmap mmap2 modify_ldt mprotect
    mq_getsetattr mq_notify mq_open mq_timedreceive mq_timedreceive_time64 mq_timedsend mq_timedsend_time64
    mq_unlink mremap msgctl msgget msgrcv msgsnd msync munlock munlockall munmap nanosleep newfstatat nice open
    openat openat2 pause pidfd_open pidfd_send_signal pipe pipe2 pkey_alloc pkey_free pkey_mprotect poll ppoll
    ppoll_time64 prctl pread64 preadv preadv2 prlimit64 process_madvise process_mrelease pselect6
    pselect6_time64 pwrite64 pwritev pwritev2 read readahead readdir readlink readlinkat readv recvfrom recvmmsg
    recvmmsg_time64 recvmsg remap_file_pages removexattr rename renameat renameat2 restart_syscall rmdir rseq
    rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait
    rt_sigtimedwait_time64 rt_tgsigqueueinfo sched_get_priority_max sched_get_priority_min sched_getaffinity
    sched_getattr sched_getparam sched_getscheduler sched_rr_get_interval sched_rr_get_interval_time64
    sched_setaffinity sched_setattr sched_setparam sched_setscheduler sched_yield seccomp select semctl semget
    semop semtimedop semtimedop_time64 sendfile sendfile64 sendmmsg sendmsg sendto set_robust_list
    set_thread_area set_tid_address setfsgid setfsgid32 setfsuid setfsuid32 setgid setgid32 setgroups
    setgroups32 setitimer setpgid setpriority setregid setregid32 setresgid setresgid32 setresuid setresuid32
    setreuid setreuid32 setrlimit setsid setsockopt setuid setuid32 setxattr sgetmask shmat shmctl shmdt shmget
    shutdown sigaction sigaltstack signal signalfd signalfd4 sigpending sigprocmask sigreturn sigsuspend
    socketcall socketpair splice ssetmask stat stat64 statfs statfs64 statx symlink symlinkat sync
    sync_file_range sync_file_range2 syncfs sysinfo tee tgkill time timer_create timer_delete timer_getoverrun
    timer_gettime timer_gettime64 timer_settime timer_settime64 timerfd_create timerfd_gettime timerfd_gettime64
    timerfd_settime timerfd_settime64 times tkill truncate truncate64 ugetrlimit umask uname unlink unlinkat
    utime utimensat utimensat_time64 utimes vfork vmsplice wait4 waitid waitpid write writev
""".split()

_CLONE_NAMESPACES = 0x7E020000
_AF_VSOCK = 40


def rule(action: str, *names: str, **more: Any) -> Profile:
    """An entry of `syscalls`."""
    return {"names": list(names), "action": action, **more}


def argument(index: int, op: str, value: int, second: int | None = None) -> Profile:
    """An entry of `args`; `op` without its prefix."""
    found: Profile = {"index": index, "op": "SCMP_CMP_" + op, "value": value}
    if second is not None:
        found["valueTwo"] = second
    return found


def default_profile() -> Profile:
    """A profile that refuses every call that it does not name, with conditions on arguments and various errors."""
    return {
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": errno.EPERM,
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
        "syscalls": [
            rule("SCMP_ACT_ALLOW", *ALLOWED),
            *[
                rule("SCMP_ACT_ALLOW", "personality", args=[argument(0, "EQ", value)])
                for value in (0x0, 0x8, 0x20000, 0x20008, 0xFFFFFFFF)
            ],
            rule("SCMP_ACT_ALLOW", "socket", args=[argument(0, "NE", _AF_VSOCK)]),
            rule("SCMP_ACT_ALLOW", "clone", args=[argument(0, "MASKED_EQ", _CLONE_NAMESPACES, 0)]),
            rule("SCMP_ACT_ERRNO", "clone3", errnoRet=errno.ENOSYS),
        ],
    }


def allowing(action: str, *names: str, **more: Any) -> Profile:
    """A profile that allows every call that it does not name."""
    return {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule(action, *names, **more)]}


def instructions(program: bytes) -> list[tuple[int, int, int, int]]:
    """A filter's instructions: code, jump if true, jump if false, operand."""
    return list(struct.iter_unpack("=HBBI", program))


def evaluate(
    program: bytes | Sequence[tuple[int, int, int, int]], number: int, *args: int, arch: int = AUDIT_X86_64
) -> int:
    """The value that a filter returns for a system call (seccomp(2), struct seccomp_data). AssertionError for an
    instruction that seccomp filters don't have, and for a jump out of the program."""
    steps = instructions(program) if isinstance(program, bytes) else program
    padded = [*args, 0, 0, 0, 0, 0, 0][:6]
    data = struct.pack("=iIQ6Q", number - (1 << 32) if number >> 31 else number, arch, 0, *padded)
    accumulator = 0
    at = 0
    while True:
        code, yes, no, operand = steps[at]
        at += 1
        if code == 0x20:  # ld [k]
            accumulator = struct.unpack_from("=I", data, operand)[0]
        elif code == 0x06:  # ret k
            return operand
        elif code == 0x54:  # and k
            accumulator &= operand
        elif code == 0x05:  # ja k
            at += operand
        else:
            holds = {
                0x15: accumulator == operand,
                0x25: accumulator > operand,
                0x35: accumulator >= operand,
                0x45: accumulator & operand != 0,
            }
            assert code in holds, f"instruction {code:#x}"
            at += yes if holds[code] else no
