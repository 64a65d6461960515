"""Which guest `make test-guest` boots, and its message about that."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import choice
import pytest

RUNS = choice.RUNS

# The end of the console of User-Mode Linux 6.1 on a processor with AMX.
AMX = """Run /init as init process
userspace - ptrace set fp regs failed, errno = 14

Kernel panic - not syncing: Attempted to kill init! exitcode=0x0000000b
CPU: 0 PID: 1 Comm: init Not tainted 6.1.174 #1
Call Trace:
 [<606931e5>] panic+0x197/0x376
"""


def never() -> str | None:
    raise AssertionError("the probe was run")


@pytest.mark.parametrize("wanted", ["uml", "qemu"])
def test_what_is_asked_for_is_not_probed(wanted: str) -> None:
    assert choice.choose(wanted, never) == (wanted, f"GUEST={wanted}")


def test_user_mode_linux_where_it_runs() -> None:
    machine, reason = choice.choose("auto", lambda: None)
    assert machine == "uml"
    assert reason == "a probe shows that it runs on this machine"


def test_qemu_where_it_does_not_and_why() -> None:
    machine, reason = choice.choose("auto", lambda: "no such luck")
    assert machine == "qemu"
    assert reason == "User-Mode Linux does not run on this machine: no such luck"


@pytest.mark.parametrize(
    ("console", "expected"),
    [
        (f"Run /init as init process\n{RUNS}\nreboot: System halted\n", None),
        # A serial line's ends of lines, and the kernel's output after it.
        (f"\r\n{RUNS}\r\nreboot: System halted\r\n", None),
        (AMX, "userspace - ptrace set fp regs failed, errno = 14"),
        ("Freeing memory\nKernel panic - not syncing: no root\n [<0>] panic\n", "Kernel panic - not syncing: no root"),
        ("Kernel panic - not syncing: at once\n", "Kernel panic - not syncing: at once"),
        ("Core dump limits :\nptrace: Operation not permitted\n", "ptrace: Operation not permitted"),
        ("\n", "it printed nothing"),
        # A line of the kernel that contains RUNS is not the program's output.
        (f"Kernel command line: {RUNS}\n", f"Kernel command line: {RUNS}"),
    ],
)  # fmt: skip
def test_what_the_console_of_the_probe_says(console: str, expected: str | None) -> None:
    assert choice.failure(console) == expected


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A shell script in the place of User-Mode Linux: a test appends what it does. It needs no root."""
    script = tmp_path / "linux.uml"
    script.write_text("#!/bin/sh\n")
    script.chmod(0o755)
    monkeypatch.setattr(choice, "uml_kernel", lambda work: ([str(script), "mem=64M"], {"TMPDIR": str(work)}))
    monkeypatch.setattr(choice, "GUARD", ())
    return script


def behave(script: Path, line: str) -> None:
    with open(script, "a") as file:
        file.write(line + "\n")


def test_a_probe_that_succeeds(kernel: Path, tmp_path: Path) -> None:
    work = tmp_path / "work"
    work.mkdir()
    behave(kernel, f"echo '{RUNS}'")
    assert choice.probe(work) is None


def test_the_probe_is_handed_an_initramfs_and_no_input(kernel: Path, tmp_path: Path) -> None:
    behave(kernel, 'echo "$@"; cat; head -c 6 "${2#initrd=}"')
    assert choice.probe(tmp_path) == "070701"
    assert (tmp_path / "console").read_text() == f"mem=64M initrd={tmp_path}/initrd\n070701"


def test_a_probe_that_fails_says_why(kernel: Path, tmp_path: Path) -> None:
    behave(kernel, "echo 'ptrace: Operation not permitted' >&2; exit 1")
    assert choice.probe(tmp_path) == "ptrace: Operation not permitted"


def test_a_kernel_that_panics_and_does_not_end(kernel: Path, tmp_path: Path) -> None:
    behave(kernel, "echo 'userspace - ptrace set fp regs failed, errno = 14'")
    behave(kernel, "echo 'Kernel panic - not syncing: Attempted to kill init!'; exec sleep 1000")
    assert choice.probe(tmp_path) == "userspace - ptrace set fp regs failed, errno = 14"


def test_a_probe_that_hangs_is_ended(kernel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "PROBE_SECONDS", 0.2)
    behave(kernel, "exec sleep 1000")
    assert choice.probe(tmp_path) == "its probe did not finish in 0.2 s"


def test_packages_that_can_t_be_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "install", lambda machine: False)
    assert choice.why_not_uml() == "its packages could not be installed"


def test_a_name_that_is_no_guest_is_refused() -> None:
    script = Path(choice.__file__).parent / "run.py"
    done = subprocess.run([sys.executable, str(script), "vmware"], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == "pyrunc-guest: no guest 'vmware': there are uml, qemu, and auto, which chooses one\n"
