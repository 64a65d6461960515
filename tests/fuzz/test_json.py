"""The launcher's _json under libFuzzer, for a short time, with AddressSanitizer, against Python's json."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.fuzzing import built, run, search

SEEDS = (
    '{"ociVersion":"1.2.0","root":{"path":"rootfs"},"n":[0,-1,1.5e3,9223372036854775807]}',
    "[1e999,-1.5e308]",
    '["\\u00e9\\ud83d\\ude00\\ud83d\\n\\/","é☃😀",true,false,null]',
    "[NaN,Infinity,-Infinity,01,-,1.,.5,1e,+1]",
    '{"a":1,"a":{"b":[]},}',
    "[" * 50 + "]" * 50,
)


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("fuzz")
    return built(directory, "-DPyInit__json=PyInit_launcher_json", "launcher/json.c", "launcher/fuzz_json.c")


def test_no_text_is_read_otherwise_than_by_json(target: Path, tmp_path: Path) -> None:
    search(target, tmp_path, tuple(text.encode() for text in SEEDS))


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
