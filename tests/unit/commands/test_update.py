"""The limits that the options and the files of `update` give."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from pyrunc._generated.argv import COMMANDS
from pyrunc.commands import update
from pyrunc.errors import PyruncError


def options(**changes: Any) -> dict[str, Any]:
    return {**COMMANDS["update"][1], **changes}


def test_without_options_there_are_no_changes() -> None:
    assert update.from_options(options()) == {}


def test_every_option_is_a_field() -> None:
    given = options(
        blkio_weight=500, cpu_period="100000", cpu_quota="-1", cpu_burst="0", cpu_share="512", cpu_rt_period="7",
        cpu_rt_runtime="8", cpu_idle="1", cpuset_cpus="0-1", cpuset_mems="0", memory="64m", memory_reservation="1k",
        memory_swap="-1", pids_limit=20,
    )  # fmt: skip
    assert update.from_options(given) == {
        "blockIO": {"weight": 500},
        "cpu": {
            "period": 100000, "quota": -1, "burst": 0, "shares": 512, "realtimePeriod": 7, "realtimeRuntime": 8,
            "idle": 1, "cpus": "0-1", "mems": "0",
        },
        "memory": {"limit": 64 << 20, "reservation": 1024, "swap": -1},
        "pids": {"limit": 20},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "bytes"),
    [
        ("0", 0), ("5", 5), ("5b", 5), ("1k", 1024), ("1K", 1024), ("1kb", 1024), ("1KiB", 1024), ("64m", 64 << 20),
        ("1.5g", 3 << 29), ("2 g", 2 << 30), ("1t", 1 << 40), ("1p", 1 << 50), ("-1", -1), ("0.5k", 512),
    ],
)  # fmt: skip
def test_sizes_as_docker_writes_them(text: str, bytes: int) -> None:
    assert update.size("memory", text) == bytes


@pytest.mark.parametrize(
    "text", ["", "m", "-2", "1x", ".", ".5m", "1..5m", "1e3", "0x10", "٣", "99999999999999999999", "9999999p"]
)
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(PyruncError, match="invalid value for memory-swap"):
        update.size("memory_swap", text)


@pytest.mark.parametrize("text", ["x", "-1", "1.5", "1e3", "0x10", " 5", "٣", "99999999999999999999999", "+"])
def test_what_is_no_number(text: str) -> None:
    with pytest.raises(PyruncError, match='invalid value for cpu-share: "'):
        update.from_options(options(cpu_share=text))


def test_kernel_memory_is_said_to_be_without_effect(capfd: pytest.CaptureFixture[str]) -> None:
    assert update.from_options(options(kernel_memory="5", kernel_memory_tcp="6")) == {}
    assert "Setting --kernel-memory-tcp is ignored and will be removed" in capfd.readouterr().err


def test_a_limit_beside_a_file_is_said_to_be_without_effect(capfd: pytest.CaptureFixture[str]) -> None:
    update._warn_of_unused(options(cpu_share="5", cpuset_mems="0", pids_limit=3))
    err = capfd.readouterr().err
    assert err.count("\n") == 3
    for option in ("--cpu-share", "--cpuset-mems", "--pids-limit"):
        assert f"{option} is ignored: --resources has all limits" in err


def test_limits_that_are_not_given_are_not_named(capfd: pytest.CaptureFixture[str]) -> None:
    update._warn_of_unused(options(mount=["x"], l3_cache_schema="L3:0=f"))
    assert capfd.readouterr().err == ""


def test_a_file_and_stdin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "r.json"
    path.write_text('{"memory": {"limit": 5, "swap": null}, "cpu": null}')
    assert update.read(str(path)) == {"memory": {"limit": 5}}
    with path.open("rb") as file:
        saved = os.dup(0)
        try:
            os.dup2(file.fileno(), 0)
            assert update.read("-") == {"memory": {"limit": 5}}
        finally:
            os.dup2(saved, 0)
            os.close(saved)


@pytest.mark.parametrize("text", ["", "[]", "5", "{", "null", '"x"'])
def test_what_is_no_object(text: str, tmp_path: Path) -> None:
    (tmp_path / "r").write_text(text)
    with pytest.raises(PyruncError, match="the resources in "):
        update.read(str(tmp_path / "r"))


@pytest.mark.parametrize("depth", [101, 800])
def test_what_is_nested_too_deeply(depth: int, tmp_path: Path) -> None:
    (tmp_path / "r").write_text('{"unknown": ' + "[" * depth + "]" * depth + "}")
    with pytest.raises(PyruncError, match=r"the resources in .*/r: nested too deeply"):
        update.read(str(tmp_path / "r"))


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    (tmp_path / "r").write_bytes(b'{"unified": {"a.b": "\xff"}}')
    with pytest.raises(PyruncError, match="are not UTF-8"):
        update.read(str(tmp_path / "r"))


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(PyruncError, match=r"reading the resources from .*: no such file or directory"):
        update.read(str(tmp_path / "none"))
