"""broker/acting.py: workers, and paths that are looked up once."""

from __future__ import annotations

import ctypes
import errno
import os
import select
import sys
import time
from pathlib import Path

import pytest

from pyrunc.libcontainer.broker import acting
from pyrunc.libcontainer.broker.acting import Worker
from pyrunc.libcontainer.broker.caller import Credentials
from pyrunc.libcontainer.broker.model import Refusal
from pyrunc.libcontainer.kernel import native

ROOT_ONLY = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


def fail(error: Exception) -> None:
    raise error


def worker(job: object) -> Worker:
    assert callable(job)
    return Worker(job, os.dup(0))


def test_what_comes_of_a_job() -> None:
    results = [
        worker(lambda: None).result(),
        worker(lambda: fail(Refusal(errno.EACCES, "so"))).result(),
        worker(lambda: fail(OSError(errno.ENOENT, "x"))).result(),
        worker(lambda: fail(ValueError("not caught"))).result(),
    ]
    assert results == [
        (0, ""), (errno.EACCES, "so"), (errno.ENOENT, ""),
        (acting.CRASHED, "internal error: ValueError: not caught"),
    ]  # fmt: skip


def test_a_job_ends_with_the_agent() -> None:
    libc = ctypes.CDLL(None)

    def job() -> None:
        signal = ctypes.c_int()
        libc.prctl(2, ctypes.byref(signal))  # PR_GET_PDEATHSIG
        raise Refusal(signal.value, "the signal")

    assert worker(job).result() == (9, "the signal")


def test_a_job_imports_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "planted.py").write_text("raise SystemExit(7)")
    monkeypatch.chdir(tmp_path)

    def job() -> None:
        sys.path.insert(0, "")
        import planted  # type: ignore[import-not-found]  # noqa: F401

    assert worker(job).result() == (acting.CRASHED, "internal error: ModuleNotFoundError: No module named 'planted'")
    code, reason = worker(lambda: "x".encode("koi8-r") and None).result()
    assert (code, reason) == (acting.CRASHED, "internal error: LookupError: unknown encoding: koi8-r")


def test_a_job_that_does_not_end() -> None:
    waiting = worker(lambda: time.sleep(100))
    assert select.select([waiting.pidfd], [], [], 0.05)[0] == []
    waiting.kill()
    code, reason = waiting.result()
    assert (code, reason) == (acting.CRASHED, "the process that carried it out was ended by signal 9")


@ROOT_ONLY
def test_it_becomes_the_thread(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    credentials = Credentials((5, 6, 7, 8), (9, 10, 11, 12), (13, 14), 0o077, 0)

    def job() -> None:
        acting.become(credentials, acting.bits("CAP_NET_RAW"))
        status = Path("/proc/self/status").read_text()
        (tmp_path / "made").write_text("\n".join(line for line in status.splitlines() if line.split(":")[0] in NAMES))

    # Those above it have to let it through.
    for parent in list(tmp_path.parents)[:3]:
        if parent != Path("/tmp"):
            parent.chmod(0o755)
    assert worker(job).result() == (0, "")
    found = dict(line.split(":\t") for line in (tmp_path / "made").read_text().splitlines())
    assert found["Uid"].split() == ["5", "8", "7", "8"]
    assert found["Gid"].split() == ["9", "12", "11", "12"]
    assert found["Groups"].split() == ["13", "14"]
    assert int(found["CapEff"], 16) == acting.bits("CAP_NET_RAW")
    st = (tmp_path / "made").stat()
    assert (st.st_uid, st.st_gid, st.st_mode & 0o777) == (8, 12, 0o600)


NAMES = ("Uid", "Gid", "Groups", "CapEff")


@ROOT_ONLY
def test_a_place_is_entered_and_not_left(tmp_path: Path) -> None:
    (tmp_path / "root" / "dir").mkdir(parents=True)
    (tmp_path / "root" / "up").symlink_to("../../..")
    proc = os.open("/proc", os.O_PATH)

    def job() -> None:
        acting.Place(os.open(tmp_path / "root", os.O_PATH), os.open(tmp_path / "root/dir", os.O_PATH)).enter()
        descriptors = acting.own_descriptors(proc)
        names = [acting.resolved(descriptors, acting.open_path(path)) for path in (".", "..", "../..", "/up", "/dir")]
        raise Refusal(1, " ".join(names))

    assert worker(job).result() == (1, "/dir / / / /dir")
    os.close(proc)


@ROOT_ONLY
def test_a_path_is_named_from_the_containers_root(tmp_path: Path) -> None:
    (tmp_path / "inner/run").mkdir(parents=True)
    proc = os.open("/proc", os.O_PATH)

    def job() -> None:
        own, root = os.open(tmp_path / "inner", os.O_PATH), os.open(tmp_path, os.O_PATH)
        acting.Place(own, own).enter()
        descriptors = acting.own_descriptors(proc)
        found = acting.open_path("/run")
        names = [acting.resolved(descriptors, found), acting.seen_from(root, descriptors, found, 0)]
        try:
            os.chroot("/")
        except PermissionError:
            names.append("without capabilities")
        raise Refusal(1, " ".join(names))

    assert worker(job).result() == (1, "/run /inner/run without capabilities")
    os.close(proc)


@pytest.mark.parametrize(
    ("path", "code"),
    [("/", errno.EEXIST), ("", errno.ENOENT), ("tmp/", errno.ENOENT), (".", errno.EEXIST), ("tmp/..", errno.EEXIST)],
)
def test_names_that_nothing_can_be_made_at(path: str, code: int) -> None:
    with pytest.raises(Refusal) as caught:
        acting.open_parent(path)
    assert caught.value.errno == code


def test_the_directory_of_a_new_entry(tmp_path: Path) -> None:
    fd, name = acting.open_parent(f"{tmp_path}/name")
    assert name == "name"
    assert os.path.samestat(os.fstat(fd), tmp_path.stat())
    os.close(fd)
    with pytest.raises(FileNotFoundError):
        acting.open_parent("/nosuch/name")


def test_links_to_files_of_processes_are_not_followed() -> None:
    with pytest.raises(OSError, match="symbolic") as caught:
        acting.open_path("/proc/self/root")
    assert caught.value.errno == errno.ELOOP
    assert native.RESOLVE_NO_MAGICLINKS
