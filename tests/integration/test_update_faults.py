"""A fault at every system call of `update`, of limits, mounts and devices, and of the process that changes these.

After each fault the container is entirely as before or as after, the records agree, and nothing is left on the host.
After a kill that is so once the next command has found the journal. `make test` tries a sample of the calls, LONG=1 a
larger one, PYRUNC_TEST_EVERY_CALL=1 all of them.
"""

from __future__ import annotations

import json
import os
import platform
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.integration.test_faults import FAULTS, Host, check, host, imported, points
from tests.support.bundle import Bundle
from tests.support.faults import KILL, KILL_INIT, TERM, Outcome
from tests.support.host import cgroups_of, wait_for
from tests.support.runtime import Runtime

__all__ = ["host", "imported"]  # fixtures

pytestmark = [
    pytest.mark.own("the command runs in a fork of the test, or is the launcher"),
    pytest.mark.skipif(platform.machine() != "x86_64", reason="the numbers of system calls are those of x86-64"),
]

NODES = {"/dev/one": (10, 237), "/dev/two": (1, 11)}
SOURCE_DEVICE = "/dev/loop-control"
BEFORE = {"unified": {"cgroup.max.depth": "5", "cgroup.max.descendants": "50"}}
AFTER = {"unified": {"cgroup.max.depth": "7", "cgroup.max.descendants": "70"}}
ALL = {**FAULTS, KILL_INIT: KILL_INIT}
View = dict[str, Any]


class Box:
    """A container, and an update that is tried on it again and again. If an update has changed the container, a new one
    follows.
    """

    def __init__(self, runtime: Runtime, bundle: Bundle, host: Host) -> None:
        self.runtime = runtime
        self.bundle = bundle
        self.host = host
        bundle.linux["resources"] = {**BEFORE, "devices": [{"allow": False, "access": "rwm"}]}
        bundle.linux["devices"] = [
            {"path": path, "type": "c", "major": major, "minor": minor, "fileMode": 0o640, "uid": 5, "gid": 6}
            for path, (major, minor) in NODES.items()
            if path == "/dev/two"
        ]
        bundle.mount("/mnt", "tmpfs", "tmpfs", "size=64k")
        bundle.mount("/srv", "bind", str(runtime.work), "bind", "ro")
        bundle.sh("echo precious >/mnt/file; touch /mnt/ready; sleep 999").write()
        self.changes = runtime.work / "changes.json"
        self.changes.write_text(json.dumps(AFTER))
        self.id = ""
        self.pid = 0

    def make(self) -> None:
        """Make a container in the state before the update."""
        if self.id:
            self.host.succeed("delete", "--force", self.id)
        self.id = self.runtime.new_id()
        for path in ("new/deep", "new"):
            if (self.bundle.rootfs / path).exists():
                (self.bundle.rootfs / path).rmdir()
        self.host.succeed("create", "--bundle", str(self.bundle.path), self.id)
        self.host.succeed("start", self.id)
        self.pid = self.state()["pid"]
        while not Path(f"/proc/{self.pid}/root/mnt/ready").exists():
            os.sched_yield()

    def state(self) -> Any:
        self.host.succeed("state", self.id)
        return json.loads(self.host.err.with_suffix(".out").read_text())

    def view(self) -> View:
        """Everything that an update may change, except the mounts' ids."""
        root = Path(f"/proc/{self.pid}/root")
        saved = json.loads((self.runtime.root / self.id / "exec.json").read_text())
        for made in saved.get("updated", {}).get("mounts", ()):
            made.pop("id")
            made.pop("unique")
        cgroup = Path(next(path for path in cgroups_of(self.runtime.token) if path.endswith(self.id)))
        lines = [line.split(" ") for line in Path(f"/proc/{self.pid}/mountinfo").read_text().splitlines()]
        nodes = {}
        for name in os.listdir(root / "dev"):
            found = os.lstat(root / "dev" / name)
            nodes[name] = (found.st_mode, found.st_rdev, found.st_uid, found.st_gid)
        return {
            "mounts": sorted((words[4], words[5]) for words in lines),
            "rootfs": sorted(str(path.relative_to(self.bundle.rootfs)) for path in self.bundle.rootfs.rglob("*")),
            "content": (root / "mnt/file").read_text() if (root / "mnt/file").exists() else "",
            "nodes": nodes,
            "rules": [self._may_open(cgroup, *NODES[path]) for path in NODES],
            "limits": [(cgroup / name).read_text().strip() for name in AFTER["unified"]],
            "saved": saved,
            "updated": self.state().get("updated"),
            "files": sorted(os.listdir(self.runtime.root / self.id)),
        }

    def recover(self, command: list[str]) -> None:
        """Have a command undo or finish what a killed command has left. A child of the killed command has its lock for
        a moment, and gc leaves locked containers alone."""

        def done() -> bool:
            outcome = self.host.call(*command)
            assert outcome.code == 0, outcome
            return len(os.listdir(self.runtime.root / self.id)) == 3

        wait_for("the update to be undone or finished", done)

    def _may_open(self, cgroup: Path, major: int, minor: int) -> bool:
        """Whether a process in the cgroup may open a device."""
        node = self.runtime.work / "node"
        os.mknod(node, 0o600 | stat.S_IFCHR, os.makedev(major, minor))
        pid = os.fork()
        if pid == 0:
            try:
                (cgroup / "cgroup.procs").write_text("0")
                os.close(os.open(node, os.O_RDONLY | os.O_NONBLOCK))
            except PermissionError:
                os._exit(1)
            except OSError:
                pass
            os._exit(0)
        status = os.waitpid(pid, 0)[1]
        node.unlink()
        return status == 0


def sweep(box: Box, name: str, words: Callable[[], list[str]]) -> None:
    """Try a fault of one kind at the calls of an update."""
    fault, host = ALL[name], box.host
    box.make()
    before = box.view()
    total = host.attempt(None, 0, *words())
    assert total.code == 0, total
    after = box.view()
    assert after != before
    box.make()
    failed = 0
    for at in points(total.calls, name if name in FAULTS else "SIGKILL"):
        outcome = host.attempt(fault, at, *words())
        if outcome.fired:
            failed += not judged(box, outcome, fault, (before, after), at)
        if box.view() != before:
            box.make()
    assert failed > 0


def judged(box: Box, outcome: Outcome, fault: int | str, views: tuple[View, View], at: int) -> bool:
    """Whether the update succeeded; AssertionError if the container is neither as before nor as after."""
    before, after = views
    succeeded = outcome.code == 0
    try:
        if fault != KILL:
            check(outcome, fault)
        else:
            box.recover(["gc"] if at % 2 else ["update", box.id])
        seen = box.view()
        wanted = after if succeeded else before
        if fault in (KILL, TERM) and seen == after:
            wanted = after
        for part, value in wanted.items():
            assert seen[part] == value, part
        box.runtime.assert_nothing_left(
            [line for line in box.runtime.left_over() if not line.startswith("process") or "sleep" in line]
        )
    except AssertionError as error:
        raise AssertionError(f"{fault} at call {at}: {outcome}\n{error}") from error
    return succeeded


@pytest.fixture
def box(runtime: Runtime, bundle: Bundle, host: Host) -> Box:
    if not os.path.exists(SOURCE_DEVICE):
        pytest.skip(f"this host has no {SOURCE_DEVICE}")
    return Box(runtime, bundle, host)


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_at_each_call_of_an_update_of_limits(box: Box, name: str) -> None:
    devices = [{"allow": False, "access": "rwm"}]
    allowed = {"allow": True, "type": "c", "major": 10, "minor": 237, "access": "rwm"}
    box.changes.write_text(json.dumps({**AFTER, "devices": [*devices, allowed]}))
    sweep(box, name, lambda: ["update", "--resources", str(box.changes), box.id])


@pytest.mark.parametrize("name", ALL)
def test_a_fault_at_each_call_of_an_update_of_mounts_and_devices(box: Box, name: str) -> None:
    """An update that mounts, unmounts, makes a node and removes one, and changes limits."""
    work = str(box.runtime.work)
    sweep(
        box,
        name,
        lambda: [
            "update", "--resources", str(box.changes), "--mount", f"type=bind,source={work},target=/new/deep,ro",
            "--mount", "type=tmpfs,target=/run,size=4k", "--umount", "/mnt", "--umount", "/srv",
            "--device", f"{SOURCE_DEVICE}:/dev/one", "--device-rm", "/dev/two", box.id,
        ],
    )  # fmt: skip
