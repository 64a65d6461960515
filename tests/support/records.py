"""Specs and records of containers that do not exist, for unit tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pyrunc.libcontainer import process, state
from pyrunc.libcontainer.statedir import StateDir, open_directory


def spec(**more: Any) -> Any:
    """The smallest spec that a record can be made of."""
    return {"ociVersion": "1.2.0", "root": {"path": "rootfs"}, "process": {"args": ["sh"], "cwd": "/"}, **more}


def record(pid: int = 0, start_time: int = 0, cgroup: str = "") -> state.Record:
    """The record of a container `box` of the bundle /bundle."""
    made = state.new_record(spec(), id="box", bundle="/bundle", cgroup=cgroup)
    made.pid, made.startTime = pid, start_time
    return made


def record_of(pid: int) -> state.Record:
    """The record of a container whose process is a running one."""
    found = process.stat(pid)
    assert found is not None
    return record(pid, found.start_time)


def opened(path: str | Path) -> StateDir:
    """The open state directory at a path."""
    place = open_directory(str(path))
    assert place is not None
    return place


def saved(path: Path, made: state.Record) -> Path:
    """Write a container's state.json and return its path."""
    place = opened(path)
    state.save(place.fd, made)
    place.close()
    return path / "state.json"
