"""The plan decoder under libFuzzer, for a short time, with AddressSanitizer and UBSan."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.fuzz import seeds
from tests.support.init import build

SECONDS = 5
PROBE = "#include <stddef.h>\nint LLVMFuzzerTestOneInput(const char *d, size_t n) { return d == 0 && n == 1; }\n"


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Path:
    clang = shutil.which("clang")
    if clang is None:
        pytest.skip("needs clang (package clang)")
    probe = tmp_path_factory.mktemp("probe") / "probe.c"
    probe.write_text(PROBE)
    flags = ("-fsanitize=fuzzer,address,undefined", "-o", str(probe.with_suffix("")))
    done = subprocess.run([clang, *flags, str(probe)], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"clang links no libFuzzer (package libclang-rt-dev): {done.stderr.strip().splitlines()[-1]}")
    return build("fuzz_decode")


def test_the_seeds_are_plans_that_the_decoder_takes_whole(target: Path, tmp_path: Path) -> None:
    """The decoder must get further with a seed than with a broken one, else fuzzing begins at nothing."""
    seeds.write(tmp_path)
    done = subprocess.run([str(target), "-runs=0", str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "x").write_bytes(b"pyrunc-plan-2\0")
    other = subprocess.run([str(target), "-runs=0", str(broken)], capture_output=True, text=True, check=False)
    assert _coverage(done.stderr) > _coverage(other.stderr) + 20


def _coverage(log: str) -> int:
    line = next(line for line in log.splitlines() if "INITED" in line)
    return int(line.split("cov: ")[1].split()[0])


def test_no_bytes_lead_the_decoder_astray(target: Path, tmp_path: Path) -> None:
    (tmp_path / "seeds").mkdir()
    (tmp_path / "new").mkdir()
    seeds.write(tmp_path / "seeds")
    limits = (f"-max_total_time={SECONDS}", "-timeout=10", f"-artifact_prefix={tmp_path}/")
    corpora = (str(tmp_path / "new"), str(tmp_path / "seeds"))
    done = subprocess.run([str(target), *limits, *corpora], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
