"""generate/syscalls.py: the names of system calls out of the kernel's headers."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from generate import syscalls
from pyrunc._generated.syscalls import NAMES
from pyrunc.libcontainer.seccomp import compiler

MACROS = """\
#define __NR_read 63
#define __NR3264_fstat 80
#define __NR_fstat __NR3264_fstat
#define __NR_syscalls 470
#define __NR_arch_specific_syscall 244
#define __NR_alias __NR_read
#define _ASM_UNISTD_H 1
"""


def test_numbers_of_both_forms() -> None:
    assert syscalls.parse(MACROS) == {63: "read", 80: "fstat"}


def test_the_module() -> None:
    found: dict[str, dict[int, str]] = {}
    exec(syscalls.module({1: "b", 0: "a"}), found)
    assert found["NAMES"] == {0: "a", 1: "b"}


def test_they_are_libseccomps() -> None:
    token = compiler.architecture("")
    others = {number: name for number, name in NAMES.items() if compiler.find_number(name, token) != number}
    # A libseccomp that is older than the headers does not know the newest.
    assert all(compiler.find_number(name, token) < 0 for name in others.values())
    assert {"execve", "capset", "mkdirat", "connect"} <= set(NAMES.values())
