"""A dump's request and the reaction to its failure, with a CRIU that the test scripts."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pyrunc import log
from pyrunc.errors import PyruncError
from pyrunc.libcontainer import process, state
from pyrunc.libcontainer.criu import checkpoint, rpc
from pyrunc.libcontainer.criu.options import CriuOptions
from pyrunc.libcontainer.launch import ledger
from tests.support import criu as support

DONE = {"type": rpc.DUMP, "success": True}
KEPT: Any = {
    "version": "1.1", "mounts": [{"destination": "/tmp", "source": "/tmp", "options": ["bind"]}], "pipes": [],
    "devicePaths": [], "root": {"path": "r"},
    "process": {"args": ["true"], "cwd": "/"}, "linux": {"namespaces": [{"type": "mount"}]},
}  # fmt: skip


@pytest.fixture
def sleeper() -> Iterator[int]:
    """A process that stands for a container's."""
    started = subprocess.Popen(["sleep", "1000"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    yield started.pid
    started.kill()
    started.wait()


@pytest.fixture
def container(tmp_path: Path, sleeper: int) -> Path:
    """The state root of a running container `c`, without a cgroup."""
    root = tmp_path / "root"
    root.mkdir()
    spec: Any = {"ociVersion": "1.3.0", "root": {"path": "/"}, "process": KEPT["process"]}
    record = state.new_record(spec, id="c", bundle="/b", cgroup="")
    found = process.stat(sleeper)
    assert found is not None
    record.pid, record.startTime = sleeper, found.start_time
    made = ledger.claim_id(str(root / "c"))
    made.record("state_dir", **record.values())
    state.save(made.place.fd, record)
    (root / "c/exec.json").write_text(json.dumps(KEPT))
    made.close()
    made.place.close()
    return root


def dump(tmp_path: Path, root: Path, *actions: list[Any], **options: Any) -> list[dict[str, Any]]:
    """Run `checkpoint` with a CRIU that does this; returns the requests without that of the version."""
    support.fake(tmp_path / "bin", [["recv"], ["send", support.VERSION]], list(actions))
    checkpoint.checkpoint(str(root), "c", CriuOptions(str(tmp_path / "images"), **options))
    return support.requests(tmp_path / "bin")[1:]


@pytest.fixture(autouse=True)
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")


def test_the_request(tmp_path: Path, container: Path, sleeper: int) -> None:
    asked = dump(
        tmp_path, container, ["recv"], ["send", DONE], leave_running=True, work=str(tmp_path / "work"),
        page_server=("::1", 27), cgroup_mode="strict", network_lock="skip", file_locks=True,
    )  # fmt: skip
    opts = asked[0]["opts"]
    for name, value in {
        "pid": sleeper, "root": "/", "leave_running": True, "shell_job": False, "log_file": "dump.log", "log_level": 4,
        "ps": {"address": "::1", "port": 27}, "manage_cgroups_mode": 5, "network_lock": 3, "notify_scripts": True,
        "orphan_pts_master": True, "empty_ns": 0x40000000, "config_file": "/etc/criu/runc.conf", "file_locks": True,
        "ext_unix_sk": False,
    }.items():  # fmt: skip
        assert opts[name] == value, name
    assert {"key": "/tmp", "val": "/tmp"} in opts["ext_mnt"]
    assert not {"freeze_cgroup", "parent_img", "track_mem", "lsm_profile", "rst_sibling"} & set(opts)
    assert (asked[0]["type"], (tmp_path / "work").is_dir()) == (rpc.DUMP, True)
    assert json.loads((tmp_path / "images/descriptors.json").read_text())[:2] == ["/dev/null", "/dev/null"]
    assert (tmp_path / "images").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize(("annotation", "value"), [("/my.conf", "/my.conf"), ("", None)])
def test_criu_s_configuration_is_named_by_an_annotation(annotation: str, value: str | None) -> None:
    opts = checkpoint.common_options(CriuOptions("/i"), {"org.criu.config": annotation}, 3, -1, "x.log")
    assert (opts["config_file"], opts["work_dir_fd"]) == (value, None)


def test_a_pre_dump_is_of_memory_alone(tmp_path: Path, container: Path, sleeper: int) -> None:
    (tmp_path / "before").mkdir()
    features = {"type": rpc.FEATURE_CHECK, "success": True, "features": {"mem_track": True}}
    support.fake(
        tmp_path / "bin", [["recv"], ["send", support.VERSION]], [["recv"], ["send", features]],
        [["recv"], ["send", {"type": rpc.PRE_DUMP, "success": True}]],
    )  # fmt: skip
    options = CriuOptions(str(tmp_path / "images"), pre_dump=True, parent="../before")
    checkpoint.checkpoint(str(container), "c", options)
    request = support.requests(tmp_path / "bin")[2]
    assert request["type"] == rpc.PRE_DUMP
    assert (request["opts"]["parent_img"], request["opts"]["track_mem"]) == ("../before", True)
    assert "ext_mnt" not in request["opts"]
    assert not (tmp_path / "images/descriptors.json").exists()
    assert process.stat(sleeper) is not None


def test_nothing_stays_of_a_dump_that_fails_but_its_log(tmp_path: Path, container: Path) -> None:
    images = tmp_path / "images"
    images.mkdir()
    (images / "earlier.img").touch()
    with pytest.raises(PyruncError, match=r"criu failed: it is bad \(criu/a.c:1\)"):
        dump(
            tmp_path, container, ["recv"], ["log", str(images), "core-1.img", ""],
            ["log", str(images), "dump.log", "(00.1) Error (criu/a.c:1): it is bad\n"],
            ["send", {"type": rpc.DUMP, "success": False}],
        )  # fmt: skip
    assert sorted(os.listdir(images)) == ["dump.log", "earlier.img"]
    assert state.load(state_of(container)) is not None


def state_of(root: Path) -> Any:
    from pyrunc.libcontainer.statedir import open_directory

    return open_directory(str(root / "c"))


def test_the_container_is_deleted_where_criu_has_ended_it(
    tmp_path: Path, container: Path, sleeper: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    dump(tmp_path, container, ["recv"], ["send", DONE])
    found = process.find(sleeper, process.stat(sleeper).start_time)  # type: ignore[union-attr]
    assert found is None  # a fake CRIU ends nobody, so pyrunc killed the process
    assert not (container / "c").exists()


def test_what_an_older_version_has_not_kept_is_needed(tmp_path: Path, container: Path) -> None:
    kept = {name: value for name, value in KEPT.items() if name != "mounts"}
    (container / "c/exec.json").write_text(json.dumps(kept))
    with pytest.raises(PyruncError, match="was made by an earlier version of pyrunc"):
        dump(tmp_path, container)
    (container / "c/exec.json").write_text(json.dumps({**KEPT, "linux": {}}))
    with pytest.raises(PyruncError, match="without a mount namespace can't be checkpointed"):
        dump(tmp_path, container)


def test_the_status_descriptor_is_looked_at_before_all_else(tmp_path: Path, container: Path) -> None:
    for fd, why in ((987, "bad file descriptor"), (-2, "bad file descriptor"), (1 << 40, "bad file descriptor")):
        with pytest.raises(PyruncError, match=f"invalid --status-fd argument {fd}: {why}"):
            dump(tmp_path, container, lazy_pages=True, status_fd=fd)
    with open("/dev/null", "rb") as null, pytest.raises(PyruncError, match="not writable"):
        dump(tmp_path, container, lazy_pages=True, status_fd=null.fileno())


def test_the_status_descriptor_is_told_once() -> None:
    reader, writer = os.pipe()
    stages = checkpoint._Stages(CriuOptions("/i", lazy_pages=True, status_fd=writer))
    for stage in ("pre-dump", "status-ready", "status-ready"):
        stages(stage, 0, [])
    assert os.read(reader, 10) == b"\0"
    assert os.read(reader, 10) == b""  # it is closed
    os.close(reader)


def test_a_status_descriptor_that_nobody_reads_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(log, "warning", said.append)
    reader, writer = os.pipe()
    os.close(reader)
    checkpoint._Stages(CriuOptions("/i", lazy_pages=True, status_fd=writer))("status-ready", 0, [])
    assert said == [f"writing to --status-fd {writer}: broken pipe"]
    os.close(writer)


def test_without_iptables_criu_s_own_nftables_hold_connections_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pyrunc.libcontainer.criu.swrk.which", lambda name: None)
    assert checkpoint._network_lock("") == rpc.NETWORK_LOCKS["nftables"]
    assert checkpoint._network_lock("iptables") == rpc.NETWORK_LOCKS["iptables"]
    monkeypatch.setattr("pyrunc.libcontainer.criu.swrk.which", lambda name: "/sbin/" + name)
    assert checkpoint._network_lock("") is None
