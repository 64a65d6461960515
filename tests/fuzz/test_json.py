"""The launcher's _json under libFuzzer, for a short time, with AddressSanitizer, against Python's json."""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 5
PROBE = "#include <stddef.h>\nint LLVMFuzzerTestOneInput(const char *d, size_t n) { return d == 0 && n == 1; }\n"
SEEDS = (
    '{"ociVersion":"1.2.0","root":{"path":"rootfs"},"n":[0,-1,1.5e3,9223372036854775807,1e999]}',
    '["\\u00e9\\ud83d\\ude00\\ud83d\\n\\/","é☃😀",true,false,null]',
    "[NaN,Infinity,-Infinity,01,-,1.,.5,1e,+1]",
    '{"a":1,"a":{"b":[]},}',
    "[" * 50 + "]" * 50,
)


def libraries() -> list[str]:
    """The linker's arguments for a program with this interpreter in it: the shared library where there is one, since
    Debian's static one also needs the libraries of modules such as pyexpat."""
    value = sysconfig.get_config_var
    directory, name = value("LIBDIR") or "", f"python{value('VERSION')}"
    archive = Path(value("LIBPL") or "", f"lib{name}.a")
    if archive.exists() and not Path(directory, f"lib{name}.so").exists():
        return [str(archive), *(value("LIBS") or "").split(), *(value("SYSLIBS") or "").split()]
    return [f"-L{directory}", f"-Wl,-rpath,{directory}", f"-l{name}"]


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Path:
    clang = shutil.which("clang")
    if clang is None:
        pytest.skip("needs clang (package clang)")
    directory = tmp_path_factory.mktemp("fuzz")
    flags = ["-g", "-O1", "-fsanitize=fuzzer,address"]
    (directory / "probe.c").write_text(PROBE)
    probe = [clang, *flags, "-o", str(directory / "probe"), str(directory / "probe.c")]
    done = subprocess.run(probe, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"clang links no libFuzzer (package libclang-rt-dev): {done.stderr.strip().splitlines()[-1]}")
    command = [
        # Debian's static library of CPython is not position-independent.
        clang, *flags, "-no-pie", "-rdynamic", f"-I{sysconfig.get_path('include')}",
        "-DPyInit__json=PyInit_launcher_json",
        str(ROOT / "launcher/json.c"), str(ROOT / "launcher/fuzz_json.c"), *libraries(), "-o", str(directory / "json"),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0 and "cannot find -lpython" in done.stderr:
        pytest.skip(f"there is no library of {sys.executable} to link: {done.stderr.strip().splitlines()[0]}")
    assert done.returncode == 0, done.stderr
    return directory / "json"


def run(target: Path, *words: str, path: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run the target; `path` is where its Python looks for modules first."""
    environment = {"PYTHONHOME": sys.base_prefix, "ASAN_OPTIONS": "detect_leaks=0"}
    if path is not None:
        environment["PYTHONPATH"] = str(path)
    return subprocess.run([str(target), *words], capture_output=True, text=True, check=False, env=environment)


def test_no_text_is_read_otherwise_than_by_json(target: Path, tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    (tmp_path / "seeds").mkdir()
    for number, text in enumerate(SEEDS):
        (tmp_path / "seeds" / str(number)).write_text(text)
    limits = (f"-max_total_time={SECONDS}", "-timeout=10", f"-artifact_prefix={tmp_path}/")
    done = run(target, *limits, str(tmp_path / "new"), str(tmp_path / "seeds"))
    assert done.returncode == 0, done.stderr[-3000:]
    assert "DONE" in done.stderr


def test_a_difference_ends_it(target: Path, tmp_path: Path) -> None:
    """The target compares the two modules: with another json module, one text is a crash."""
    (tmp_path / "json.py").write_text(
        "class JSONDecoder:\n    def __init__(self, **words): pass\n    def raw_decode(self, text): return (1, 2)\n"
        "class JSONEncoder:\n    def __init__(self, **words): pass\n    def encode(self, value): return '1'\n"
    )
    (tmp_path / "x").write_text("[]")
    done = run(target, f"-artifact_prefix={tmp_path}/", str(tmp_path / "x"), path=tmp_path)
    assert done.returncode != 0
    assert "deadly signal" in done.stderr
