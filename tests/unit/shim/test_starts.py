"""The files that the runtime's commands get, and the specification of an exec. The whole is in tests/shim."""

from __future__ import annotations

import errno
import json
import posix
from pathlib import Path
from typing import Any

import pytest

from pyrunc.errors import PyruncError
from pyrunc.protobuf import MalformedError
from pyrunc.shim import messages, starts
from tests.unit.shim.test_containers import container

GIVEN = {"io_uid": 0, "io_gid": 0}


def exec_request(data: bytes, terminal: bool = False) -> dict[str, Any]:
    box = {"type_url": "types.containerd.io/opencontainers/runtime-spec/1/Process", "value": data}
    encoded = messages.encode("ExecProcessRequest", {"id": "c", "exec_id": "e", "spec": box, "terminal": terminal})
    return messages.decode("ExecProcessRequest", encoded)


@pytest.mark.parametrize("terminal", [False, True])
def test_the_request_decides_about_the_terminal(terminal: bool) -> None:
    one = container()
    one.options = GIVEN
    loop: Any = None
    made = starts.new_process(loop, one, exec_request(b'{"args":["a"],"terminal":true}', terminal), "e")
    assert json.loads(made.given["spec"]) == {"args": ["a"], "terminal": terminal}
    assert (made.exec_id, made.status) == ("e", "created")


@pytest.mark.parametrize("data", [b"", b"x", b"3", b"[]", b"\xff"])
def test_a_specification_that_is_no_object(data: bytes) -> None:
    loop: Any = None
    with pytest.raises(MalformedError, match="the specification of the process: "):
        starts.new_process(loop, container(), exec_request(data), "e")


def test_each_file_is_a_new_one(tmp_path: Path) -> None:
    first, second = [starts.write_file(str(tmp_path), "process", data) for data in (b"1", b"2" * 100_000)]
    assert Path(first).read_bytes() == b"1"
    assert Path(second).stat().st_size == 100_000
    assert Path(second).stat().st_mode & 0o777 == 0o600


def test_a_full_disk_leaves_no_part_of_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = posix.write
    full: list[int] = []

    def fill(fd: int, data: bytes) -> int:
        if full:
            raise OSError(errno.ENOSPC, "full")
        full.append(fd)
        return write(fd, data[:2])

    monkeypatch.setattr(posix, "write", fill)
    with pytest.raises(PyruncError, match=r"writing .*/process-[0-9]+\.json: no space left on device"):
        starts.write_file(str(tmp_path), "process", b"1234")
    assert not list(tmp_path.iterdir())


def test_the_log_of_a_failed_dump(tmp_path: Path) -> None:
    work = tmp_path / "work"
    assert starts.keep_dump_log(str(tmp_path), str(work)) == f"{tmp_path}/criu-dump.log"
    assert not (tmp_path / "criu-dump.log").exists()
    work.mkdir()
    (work / "dump.log").write_text("Error")
    starts.keep_dump_log(str(tmp_path), str(work))
    assert (tmp_path / "criu-dump.log").read_text() == "Error"
    starts.remove_files(str(work))
    assert not work.exists()
    starts.remove_files(str(work))
