"""Write pyrunc/_generated/pause.py: the program of csrc/pause, which the shim puts into the root of a pod's sandbox.

Usage: pause.py, after `make -C csrc/pause`.
"""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PROGRAM = ROOT / "csrc" / "pause" / "build" / "pause"
OUTPUT = ROOT / "pyrunc" / "_generated" / "pause.py"


def module(program: bytes) -> str:
    """The source of the generated module."""
    lines = [f"    {program[at : at + 24]!r}" for at in range(0, len(program), 24)]
    return '"""Made by generate/pause.py. PROGRAM is csrc/pause as an executable file."""\n\nPROGRAM = (\n' + (
        "\n".join(lines) + "\n)\n"
    )


def main() -> None:
    """Write the module, unless it is up to date."""
    text = module(PROGRAM.read_bytes())
    if not OUTPUT.exists() or OUTPUT.read_text() != text:
        OUTPUT.write_text(text)


if __name__ == "__main__":
    main()
