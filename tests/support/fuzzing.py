"""libFuzzer targets with this interpreter in them: C modules of Python's against what they are to be equal to."""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 5
_PROBE = "#include <stddef.h>\nint LLVMFuzzerTestOneInput(const char *d, size_t n) { return d == 0 && n == 1; }\n"


def _libraries() -> list[str]:
    """The linker's arguments for a program with this interpreter in it: the shared library where there is one, since
    Debian's static one also needs the libraries of modules such as pyexpat."""
    value = sysconfig.get_config_var
    directory, name = value("LIBDIR") or "", f"python{value('VERSION')}"
    archive = Path(value("LIBPL") or "", f"lib{name}.a")
    if archive.exists() and not Path(directory, f"lib{name}.so").exists():
        return [str(archive), *(value("LIBS") or "").split(), *(value("SYSLIBS") or "").split()]
    return [f"-L{directory}", f"-Wl,-rpath,{directory}", f"-l{name}"]


def built(directory: Path, *words: str) -> Path:
    """The target of these sources (below the repository) and flags, in `directory`. Skips the test without a fuzzer."""
    clang = shutil.which("clang")
    if clang is None:
        pytest.skip("needs clang (package clang)")
    flags = ["-g", "-O1", "-fsanitize=fuzzer,address,undefined", "-fno-sanitize-recover=undefined"]
    (directory / "probe.c").write_text(_PROBE)
    probe = [clang, *flags, "-o", str(directory / "probe"), str(directory / "probe.c")]
    done = subprocess.run(probe, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"clang links no libFuzzer (package libclang-rt-dev): {done.stderr.strip().splitlines()[-1]}")
    command = [
        # Debian's static library of CPython is not position-independent.
        clang, *flags, "-no-pie", "-rdynamic", f"-I{sysconfig.get_path('include')}", *words, *_libraries(),
        "-o", str(directory / "target"),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    if done.returncode != 0 and "cannot find -lpython" in done.stderr:
        pytest.skip(f"there is no library of {sys.executable} to link: {done.stderr.strip().splitlines()[0]}")
    assert done.returncode == 0, done.stderr
    return directory / "target"


def run(target: Path, *words: str, path: Path) -> subprocess.CompletedProcess[str]:
    """Run the target; `path` is where its Python looks for modules first."""
    environment = {"PYTHONHOME": sys.base_prefix, "ASAN_OPTIONS": "detect_leaks=0", "PYTHONPATH": str(path)}
    return subprocess.run([str(target), *words], capture_output=True, text=True, check=False, env=environment)


def search(target: Path, directory: Path, seeds: tuple[bytes, ...], *, path: Path = ROOT) -> None:
    """Search for SECONDS, from these seeds, and see that the target finds nothing. directory: an empty one to use."""
    (directory / "new").mkdir()
    (directory / "seeds").mkdir()
    for number, seed in enumerate(seeds):
        (directory / "seeds" / str(number)).write_bytes(seed)
    limits = (f"-max_total_time={SECONDS}", "-timeout=10", f"-artifact_prefix={directory}/")
    done = run(target, *limits, str(directory / "new"), str(directory / "seeds"), path=path)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "DONE" in done.stderr
