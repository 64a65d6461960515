"""The sandbox's own seccomp profile: what it allows, and docs/isolation.md."""

from __future__ import annotations

import errno
import platform
import re
from pathlib import Path

import pytest

from pyrunc.libcontainer.isolation import calls
from pyrunc.libcontainer.seccomp import compiler
from pyrunc.libcontainer.spec import load
from tests.support.plans import with_linux
from tests.support.seccomp import ALLOW, ENOSYS, EPERM, evaluate, instructions

DOCUMENT = Path(__file__).resolve().parents[4] / "docs/isolation.md"

# What no container needs and the host would suffer from; none may ever come into the list.
NEVER = """
    acct add_key bpf chroot clock_adjtime clock_settime delete_module finit_module fsconfig fsmount fsopen fspick
    init_module io_uring_enter io_uring_register io_uring_setup ioperm iopl kcmp kexec_file_load kexec_load keyctl
    lookup_dcookie modify_ldt mount mount_setattr move_mount move_pages name_to_handle_at open_by_handle_at open_tree
    perf_event_open pidfd_getfd pivot_root process_madvise process_vm_readv process_vm_writev ptrace quotactl reboot
    request_key sethostname setdomainname setns settimeofday swapoff swapon sysfs syslog umount2 unshare uselib
    userfaultfd vhangup
""".split()


def test_the_page_lists_what_the_profile_allows() -> None:
    text = DOCUMENT.read_text()
    begin = text.index("| subject | calls |")
    rows = dict(re.findall(r"^\| ([^|]+) \| ([^|]+) \|$", text[begin:], re.MULTILINE))
    listed = {name: re.findall(r"`(\w+)`", cell) for name, cell in rows.items()}
    for subject, names in calls.FREELY.items():
        assert listed[subject] == sorted(names.split()), subject
    for _, call, _ in calls.WITH_ARGUMENTS:
        assert call in listed["with some arguments"]


def test_each_call_is_listed_once_and_libseccomp_knows_nearly_all() -> None:
    names = calls.freely()
    assert len(names) == len(set(names))
    assert not set(names) & {call for _, call, _ in calls.WITH_ARGUMENTS}
    assert not set(names) & set(NEVER)
    token = compiler.architecture("")
    unknown = [name for name in names if compiler.find_number(name, token) < 0]
    newer = {"fchmodat2", "futex_wait", "futex_wake"}  # of Linux 6.6 and 6.7
    assert platform.machine() != "x86_64" or set(unknown) <= newer


@pytest.fixture(scope="module")
def program() -> list[tuple[int, int, int, int]]:
    if platform.machine() != "x86_64":
        pytest.skip("the calls are numbered as on x86-64")
    profile = calls.profile()
    load.validate(with_linux(seccomp=profile))
    return instructions(compiler.compile_filter(profile))


@pytest.mark.parametrize(
    ("number", "arguments", "result"),
    [
        (0, (), ALLOW),  # read
        (41, (1, 1, 0), ALLOW),  # socket: UNIX
        (41, (2, 1, 0), ALLOW),
        (41, (10, 2 | 0o2000000, 0), ALLOW),  # SOCK_CLOEXEC
        (41, (2, 1, 6), ALLOW),
        (41, (10, 1, 262), ALLOW),  # Multipath TCP
        (41, (2, 2, 1), ALLOW),  # ping
        (41, (2, 1, 132), EPERM),  # SCTP
        (41, (2, 2, 115), EPERM),  # L2TP
        (41, (2, 6, 0), EPERM),  # DCCP
        (53, (1, 1, 0), ALLOW),  # socketpair: UNIX
        (53, (30, 5, 0), EPERM),  # TIPC
        (53, (38, 5, 0), EPERM),
        (41, (2, 3, 1), EPERM),  # raw
        (41, (2, 3 | 0o2000000, 1), EPERM),
        (41, (10, 3, 58), EPERM),
        (41, (16, 3, 0), ALLOW),  # netlink: routes
        (41, (16, 3, 12), EPERM),  # netfilter
        (41, (17, 3, 0x300), EPERM),  # packet
        (41, (38, 5, 0), EPERM),  # AF_ALG
        (41, (40, 1, 0), EPERM),  # vsock
        (41, (1 << 32 | 17, 3, 0), EPERM),
        (56, (0x11,), ALLOW),  # clone: SIGCHLD
        (56, (0x3D0F00,), ALLOW),  # a thread
        (56, (0x10000011,), EPERM),  # CLONE_NEWUSER
        (56, (0x00020011,), EPERM),  # CLONE_NEWNS
        (435, (), ENOSYS),  # clone3
        (133, (0, 0o010644), ALLOW),  # mknod: a FIFO
        (133, (0, 0o020644), EPERM),  # a character device
        (133, (0, 0o060644), EPERM),
        (259, (0, 0, 0o140644), ALLOW),  # mknodat: a socket
        (259, (0, 0, 0o020644), EPERM),
        (135, (0xFFFFFFFF,), ALLOW),  # personality
        (135, (0x0040000,), EPERM),  # ADDR_NO_RANDOMIZE
        (165, (), EPERM),  # mount
        (101, (), EPERM),  # ptrace
        (321, (), EPERM),  # bpf
        (272, (), EPERM),  # unshare
        (308, (), EPERM),  # setns
        (161, (), EPERM),  # chroot
        (250, (), EPERM),  # keyctl
        (425, (), EPERM),  # io_uring_setup
    ],
)
def test_what_the_filter_does(
    program: list[tuple[int, int, int, int]], number: int, arguments: tuple[int, ...], result: int
) -> None:
    assert evaluate(program, number, *arguments) == result


def test_the_default_is_eperm() -> None:
    profile = calls.profile()
    assert (profile["defaultAction"], profile["defaultErrnoRet"]) == ("SCMP_ACT_ERRNO", errno.EPERM)
    assert "architectures" not in profile
