"""What a command does grows no faster than the lists of config.json, which may be very long.

Counted are the calls of functions, in Python and of C by Python: no time is asserted.
"""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pyrunc import main
from pyrunc.libcontainer.spec.example import example

LENGTHS = (40, 80, 160)
# A list that is twice as long takes twice as many calls, or a few more; four times as many if all are compared.
MOST = 2.5

Members = dict[str, Any]


def mount(number: int, **members: Any) -> Members:
    return {"destination": f"/m/{number}", "type": "tmpfs", "source": "tmpfs", **members}


def hook(number: int) -> Members:
    return {"path": f"/bin/none{number}"}


def syscall(number: int) -> Members:
    condition = {"index": 1, "value": number, "op": "SCMP_CMP_EQ"}
    return {"names": ["mkdir"], "action": "SCMP_ACT_ERRNO", "args": [condition]}


def device(number: int) -> Members:
    return {"path": f"/dev/d{number}", "type": "c", "major": 1, "minor": number, "fileMode": 438}


def rule(number: int) -> Members:
    return {"allow": True, "type": "c", "major": number, "minor": 1, "access": "rwm"}


def mapping(number: int) -> Members:
    return {"containerID": number * 2, "hostID": 100000 + number, "size": 1}


# The members of config.json that are lists or maps: their path, and an entry. A pair is an entry of a map.
LISTS: dict[str, Callable[[int], Any]] = {
    "mounts": mount,
    "mounts/bind": lambda number: mount(number, type="bind", source="/tmp", options=["rbind", "ro"]),
    "mounts/below": lambda number: mount(number, destination="/m" + "/x" * (number % 7) + f"/{number}"),
    "mounts/again": lambda number: mount(number, destination=f"/m/{number % 3}"),
    "mounts/missing": lambda number: mount(number, type="bind", source=f"/none/{number}", options=["bind"]),
    "mounts/0/options": lambda number: f"a{number}=1",
    "annotations": lambda number: (f"a/{number}", "x"),
    "hooks/createRuntime": hook,
    "hooks/createContainer": hook,
    "hooks/startContainer": hook,
    "hooks/poststop": hook,
    "process/args": str,
    "process/env": lambda number: f"A{number}=x",
    "process/rlimits": lambda number: {"type": f"RLIMIT_{number}", "soft": 1, "hard": 1},
    "process/user/additionalGids": int,
    "process/capabilities/bounding": lambda number: f"CAP_{number:03}",  # a longer word has more near ones
    "linux/devices": device,
    "linux/maskedPaths": lambda number: f"/proc/m{number}",
    "linux/readonlyPaths": lambda number: f"/proc/m{number}",
    "linux/namespaces": lambda number: {"type": "network", "path": f"/none/{number}"},
    "linux/uidMappings": mapping,
    "linux/sysctl": lambda number: (f"net.ipv4.none{number}", "1"),
    "linux/netDevices": lambda number: (f"eth{number}", {"name": f"e{number}"}),
    "linux/resources/devices": rule,
    "linux/resources/unified": lambda number: (f"cgroup.none{number}", "1"),
    "linux/resources/rdma": lambda number: (f"m{number}", {"hcaHandles": 1}),
    "linux/resources/hugepageLimits": lambda number: {"pageSize": f"{number}MB", "limit": 1},
    "linux/seccomp/syscalls": syscall,
    "linux/seccomp/syscalls/0/names": lambda number: f"none{number}",
    "unknown": lambda number: (f"x{number}", 1),
}


def config(path: str, entry: Callable[[int], Any], length: int) -> Any:
    spec: Any = example()
    spec["process"]["terminal"] = False
    spec["linux"]["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [syscall(0)]}
    *parents, last = path.split("/")
    if path.startswith("mounts/") and "/0/" not in path:
        parents, last = [], "mounts"
    place = spec
    for name in parents:
        place = place[int(name)] if name.isdigit() else place.setdefault(name, {})
    entries = [entry(number) for number in range(100, 100 + length)]  # all with three digits
    if path == "unknown":
        spec.update(entries)
    elif isinstance(entries[0], tuple):
        place[last] = dict(entries)
    else:
        place[last] = entries
    return spec


def calls(command: Callable[[], object]) -> int:
    """How many calls a command makes."""
    count = 0

    def see(_frame: object, event: str, _what: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(see)
    try:
        command()
    finally:
        sys.setprofile(before)
    return count


@pytest.mark.parametrize("command", ["plan", "validate"])
@pytest.mark.parametrize("path", LISTS)
def test_a_longer_list_takes_as_many_more_calls(
    tmp_path: Path, path: str, command: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rootfs").mkdir()
    counts = []
    for length in (2, *LENGTHS):  # the first one imports modules
        Path("config.json").write_text(json.dumps(config(path, LISTS[path], length)))
        with contextlib.suppress(SystemExit):
            counts.append(calls(lambda: main.main(["pyrunc", command, *(["box"] if command == "plan" else [])])))
        capfd.readouterr()
    _, first, second, third = counts
    assert third - second <= MOST * max(second - first, 20)
