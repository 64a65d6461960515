"""The C for arm64 compiles without a warning. `make test-arm64` also runs the init's tests with it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

NATIVE = Path(__file__).resolve().parents[2] / "csrc" / "native"
PAUSE = NATIVE.parent / "pause"
COMPILER = "aarch64-linux-gnu-gcc"


@pytest.mark.skipif(shutil.which(COMPILER) is None, reason=f"needs {COMPILER} (package gcc-aarch64-linux-gnu)")
@pytest.mark.parametrize("source", sorted(NATIVE.glob("*.c")), ids=lambda path: str(path.name))
def test_the_parents_calls_compile(source: Path, tmp_path: Path) -> None:
    """Also the calls of clone.c with the assembly of the clone; qemu-user has no clone3 and can't run it."""
    image = NATIVE / "init_image.gen.h"
    if source.name == "image.c" and not image.exists():
        pytest.skip("needs the init's image (make build)")
    command = [
        COMPILER,
        "-std=gnu11",
        "-O2",
        "-Wall",
        "-Wextra",
        "-Werror",
        "-c",
        "-o",
        str(tmp_path / "o"),
        str(source),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if "stdio.h: No such file" in done.stderr or "errno.h: No such file" in done.stderr:
        pytest.skip("needs the C library of arm64 (package libc6-dev-arm64-cross)")
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(shutil.which(COMPILER) is None, reason=f"needs {COMPILER} (package gcc-aarch64-linux-gnu)")
def test_the_pause_waits_and_ends(tmp_path: Path) -> None:
    """The pod's first process, under qemu-user where that is there."""
    for name in ("Makefile", "pause.c"):
        shutil.copy(PAUSE / name, tmp_path / name)
    done = subprocess.run(["make", "-C", tmp_path, "pause-arm64"], capture_output=True, text=True, check=False)
    if "No such file" in done.stderr:
        pytest.skip("needs the C library of arm64 (package libc6-dev-arm64-cross)")
    assert (done.returncode, done.stderr) == (0, "")
    emulator = shutil.which("qemu-aarch64-static") or shutil.which("qemu-aarch64")
    if emulator is None:
        pytest.skip("needs qemu-user-static")
    process = subprocess.Popen([emulator, tmp_path / "build/pause-arm64"])
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(1)
    process.terminate()
    assert process.wait(60) == 0
