"""Write pyrunc/_generated/syscalls.py: the names of this machine's system calls by their numbers, out of the kernel's
headers. libseccomp knows them too, but the launcher does not have it.

Usage: syscalls.py
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OUTPUT = ROOT / "pyrunc" / "_generated" / "syscalls.py"


def parse(macros: str) -> dict[int, str]:
    """The names by their numbers. macros: what `gcc -E -dM` prints."""
    found = re.findall(r"^#define __NR_(\w+) (\d+|__NR3264_\w+)$", macros, re.MULTILINE)
    shared = dict(re.findall(r"^#define (__NR3264_\w+) (\d+)$", macros, re.MULTILINE))
    return {
        int(shared.get(number, number)): name
        for name, number in found
        if name not in ("syscalls", "arch_specific_syscall")
    }


def module(names: dict[int, str]) -> str:
    """The source of the generated module."""
    rows = "".join(f"    {number}: {name!r},\n" for number, name in sorted(names.items()))
    head = '"""Made by generate/syscalls.py. NAMES has the system calls of this machine by their numbers."""'
    return f"{head}\n\nNAMES = {{\n{rows}}}\n"


def main() -> None:
    """Write the module, unless it is up to date."""
    command = ["gcc", "-E", "-dM", "-include", "asm/unistd.h", "-x", "c", "/dev/null"]
    text = module(parse(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
    if not OUTPUT.exists() or OUTPUT.read_text() != text:
        OUTPUT.write_text(text)


if __name__ == "__main__":
    main()
