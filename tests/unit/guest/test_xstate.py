"""The library that is preloaded into User-Mode Linux: it extends a buffer that is smaller than the processor's state.

The kernel refuses such a buffer on any processor, so this test shows on every machine what otherwise fails only with
AMX.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import machines
import pytest

# Sets the state of a traced process from its first `argv[1]` bytes, 0 for all, after the process had other values, and
# prints whether the result is right.
PROGRAM = """
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

static unsigned char before[65536], other[65536], after[65536];

static size_t state(int request, pid_t pid, unsigned char *data, size_t size)
{
    struct iovec part = { data, size };
    if (ptrace(request, pid, (void *)0x202, &part)) {
        printf("errno %d\\n", errno);
        kill(pid, SIGKILL);
        exit(1);
    }
    return part.iov_len;
}

int main(int argc, char **argv)
{
    size_t wanted = argc > 1 ? strtoul(argv[1], NULL, 10) : 0;
    pid_t pid = fork();
    if (pid == 0) {
        ptrace(PTRACE_TRACEME, 0, NULL, NULL);
        /* xmm7 has a value of its own, so SSE's part of the state is in use. */
        __asm__ volatile("movq %0, %%xmm7" : : "r"(0x1122334455667788UL) : "xmm7");
        raise(SIGSTOP);
        _exit(0);
    }
    waitpid(pid, NULL, 0);
    size_t all = state(PTRACE_GETREGSET, pid, before, sizeof before);
    size_t size = wanted ? wanted : all;
    memcpy(other, before, all);
    memset(other + 160 + 7 * 16, 0xff, 16); /* xmm7 */
    state(PTRACE_SETREGSET, pid, other, all);
    state(PTRACE_SETREGSET, pid, before, size);
    state(PTRACE_GETREGSET, pid, after, sizeof after);
    printf("%s, %s\\n", all > size ? "shorter" : "whole", memcmp(before, after, size) ? "changed" : "the same");
    kill(pid, SIGKILL);
    return 0;
}
"""

# The legacy region, the header and AVX: less than any machine's state with PKRU or AVX-512.
AVX = 512 + 64 + 256
# Without AVX, on the oldest machines.
SSE = 512 + 64


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("xstate")
    (folder / "program.c").write_text(PROGRAM)
    subprocess.run(["gcc", "-O1", "-o", folder / "program", folder / "program.c"], check=True)
    subprocess.run([*machines.UML_PRELOADED_COMPILER, "-o", folder / "xstate.so", machines.UML_PRELOADED], check=True)
    return folder / "program"


def run(program: Path, size: int, preloaded: bool) -> str:
    environment = {**os.environ, "LD_PRELOAD": str(program.parent / "xstate.so")} if preloaded else dict(os.environ)
    done = subprocess.run([program, str(size)], capture_output=True, text=True, env=environment, check=False)
    assert done.stderr == ""
    return done.stdout


def test_the_kernel_refuses_a_part_of_the_state(program: Path) -> None:
    # EFAULT, as in the panic. If the call succeeds, the library is no longer needed.
    assert run(program, SSE, preloaded=False) == "errno 14\n"


@pytest.mark.parametrize("size", [SSE, AVX])
def test_a_part_is_made_whole(program: Path, size: int) -> None:
    out = run(program, size, preloaded=True)
    assert out == "shorter, the same\n" or (size == AVX and out == "whole, the same\n")


@pytest.mark.parametrize("preloaded", [False, True])
def test_the_whole_is_left_as_it_is(program: Path, preloaded: bool) -> None:
    assert run(program, 0, preloaded) == "whole, the same\n"
