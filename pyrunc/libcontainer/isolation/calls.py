"""The seccomp profile of `--isolation sandbox`: it refuses with EPERM every system call that it does not name.

docs/isolation.md lists what it allows; a test compares the two. Calls of another architecture than the machine's own,
such as 32-bit programs, end the process: that is libseccomp's rule for a profile that does not name their architecture.
"""

from __future__ import annotations

import errno

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..._generated.spec_types import Seccomp, SeccompRule

# Calls that are allowed with any arguments, by subject. Some are there only on x86-64.
FREELY: dict[str, str] = {
    "files": """
        access chdir chmod chown close close_range copy_file_range creat dup dup2 dup3 faccessat faccessat2 fadvise64
        fallocate fchdir fchmod fchmodat fchmodat2 fchown fchownat fcntl fdatasync fgetxattr flistxattr flock
        fremovexattr fsetxattr fstat fstatfs fsync ftruncate futimesat getcwd getdents getdents64 getxattr
        inotify_add_watch inotify_init inotify_init1 inotify_rm_watch ioctl lchown lgetxattr link linkat listxattr
        llistxattr lremovexattr lseek lsetxattr lstat mkdir mkdirat newfstatat open openat openat2 pread64 preadv
        preadv2 pwrite64 pwritev pwritev2 read readahead readlink readlinkat readv removexattr rename renameat renameat2
        rmdir sendfile setxattr splice stat statfs statx symlink symlinkat sync sync_file_range syncfs tee truncate
        umask unlink unlinkat utime utimensat utimes vmsplice write writev
    """,
    "memory": """
        brk madvise membarrier memfd_create mincore mlock mlock2 mlockall mmap mprotect mremap msync munlock munlockall
        munmap pkey_alloc pkey_free pkey_mprotect
    """,
    "processes": """
        arch_prctl capget capset execve execveat exit exit_group fork futex futex_wait futex_waitv futex_wake
        get_robust_list getcpu getegid geteuid getgid getgroups getpgid getpgrp getpid getppid getpriority getresgid
        getresuid getrlimit getrusage getsid gettid getuid ioprio_get ioprio_set kill pidfd_open pidfd_send_signal prctl
        prlimit64 restart_syscall rseq sched_get_priority_max sched_get_priority_min sched_getaffinity sched_getattr
        sched_getparam sched_getscheduler sched_rr_get_interval sched_setaffinity sched_setattr sched_setparam
        sched_setscheduler sched_yield set_robust_list set_tid_address setfsgid setfsuid setgid setgroups setpgid
        setpriority setregid setresgid setresuid setreuid setrlimit setsid setuid tgkill tkill vfork wait4 waitid
    """,
    "restricting oneself": "landlock_add_rule landlock_create_ruleset landlock_restrict_self seccomp",
    "signals": """
        alarm pause rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait
        rt_tgsigqueueinfo sigaltstack signalfd signalfd4
    """,
    "time": """
        clock_getres clock_gettime clock_nanosleep getitimer gettimeofday nanosleep setitimer time timer_create
        timer_delete timer_getoverrun timer_gettime timer_settime timerfd_create timerfd_gettime timerfd_settime times
    """,
    "waiting": """
        epoll_create epoll_create1 epoll_ctl epoll_pwait epoll_pwait2 epoll_wait eventfd eventfd2 io_cancel io_destroy
        io_getevents io_pgetevents io_setup io_submit pipe pipe2 poll ppoll pselect6 select
    """,
    "sockets": """
        accept accept4 bind connect getpeername getsockname getsockopt listen recvfrom recvmmsg recvmsg sendmmsg sendmsg
        sendto setsockopt shutdown
    """,
    "System V and POSIX IPC": """
        mq_getsetattr mq_notify mq_open mq_timedreceive mq_timedsend mq_unlink msgctl msgget msgrcv msgsnd semctl semget
        semop semtimedop shmat shmctl shmdt shmget
    """,
    "the system": "getrandom sysinfo uname",
}

_AF_UNIX, _AF_INET, _AF_INET6, _AF_NETLINK = 1, 2, 10, 16
_SOCK_STREAM, _SOCK_DGRAM, _SOCK_TYPE = 1, 2, 0xF
_NETLINK_ROUTE = 0
# The protocols of the internet's sockets: the default, TCP and Multipath TCP; UDP and, for ping, ICMP. Others, such as
# SCTP and L2TP, would have the kernel load a module.
_PROTOCOLS = {_SOCK_STREAM: (0, 6, 262), _SOCK_DGRAM: (0, 17, 1, 58)}
_S_IFMT = 0o170000
_NO_DEVICES = (0o010000, 0o100000, 0o140000, 0)  # S_IFIFO, S_IFREG, S_IFSOCK; 0 is a regular file too (mknod(2))
# The bits of clone(2)'s flags that make namespaces. CLONE_NEWTIME is not among the flags of clone.
_NAMESPACES = 0x7E020000
_INT = 0xFFFFFFFF
# personality(2): PER_LINUX, PER_LINUX32, both with UNAME26, and the question for the current one.
_PERSONALITIES = (0x0, 0x8, 0x20000, 0x20008, 0xFFFFFFFF)

# Calls that are allowed with these arguments only: (what that is in words, the call, alternatives of
# (argument, mask, value) that all have to hold).
WITH_ARGUMENTS: tuple[tuple[str, str, tuple[tuple[tuple[int, int, int], ...], ...]], ...] = (
    (
        "UNIX; IPv4 and IPv6 with TCP, UDP and ICMP's ping; netlink for routes",
        "socket",
        (
            ((0, _INT, _AF_UNIX),),
            *[
                ((0, _INT, family), (1, _SOCK_TYPE, kind), (2, _INT, protocol))
                for family in (_AF_INET, _AF_INET6)
                for kind, protocols in _PROTOCOLS.items()
                for protocol in protocols
            ],
            ((0, _INT, _AF_NETLINK), (2, _INT, _NETLINK_ROUTE)),
        ),
    ),
    ("UNIX", "socketpair", (((0, _INT, _AF_UNIX),),)),  # of TIPC it makes what `socket` refuses
    ("without new namespaces", "clone", (((0, _NAMESPACES, 0),),)),
    ("FIFOs, sockets and files, no devices", "mknod", tuple([((1, _S_IFMT, kind),) for kind in _NO_DEVICES])),
    ("FIFOs, sockets and files, no devices", "mknodat", tuple([((2, _S_IFMT, kind),) for kind in _NO_DEVICES])),
    ("Linux, and 32-bit names", "personality", tuple([((0, _INT, value),) for value in _PERSONALITIES])),
)

# A C library that gets ENOSYS from clone3 falls back to clone, whose flags a filter can see.
WITH_ENOSYS = ("clone3",)


def freely() -> list[str]:
    """The calls that are allowed with any arguments, by name."""
    return sorted([name for names in FREELY.values() for name in names.split()])


def profile() -> Seccomp:
    """The profile, as linux.seccomp."""
    rules: list[SeccompRule] = [{"names": freely(), "action": "SCMP_ACT_ALLOW"}]
    for _, call, alternatives in WITH_ARGUMENTS:
        for conditions in alternatives:
            rules.append(
                {
                    "names": [call],
                    "action": "SCMP_ACT_ALLOW",
                    "args": [
                        {"index": index, "value": mask, "valueTwo": value, "op": "SCMP_CMP_MASKED_EQ"}
                        for index, mask, value in conditions
                    ],
                }
            )
    rules.append({"names": list(WITH_ENOSYS), "action": "SCMP_ACT_ERRNO", "errnoRet": errno.ENOSYS})
    return {"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": errno.EPERM, "syscalls": rules}
