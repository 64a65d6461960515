"""The parts of a restore that need no CRIU: reading, checking, and the record for `exec`. tests/integration tests whole
restores."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from pyrunc.errors import PyruncError
from pyrunc.libcontainer import state
from pyrunc.libcontainer.compile.restore import compile_restore
from pyrunc.libcontainer.criu import restore
from pyrunc.libcontainer.criu.options import CriuOptions
from pyrunc.libcontainer.launch.model import Launch
from pyrunc.libcontainer.plan.host import HostFacts
from pyrunc.libcontainer.plan.options import LaunchOptions
from tests.support.plans import minimal, with_linux


def restoration(spec: Any, criu: CriuOptions | None = None, **options: Any) -> restore.Restoration:
    """A restore of a spec that has done nothing yet."""
    launch = LaunchOptions(id="box", root="/r", bundle="/bundle", command="restore", **options)
    facts = HostFacts()
    record = state.new_record(spec, id="box", bundle="/bundle", cgroup="/sys/fs/cgroup/box")
    record.rootfs = "/"
    plan = compile_restore(spec, launch, facts)
    return restore.Restoration(Launch(plan, record, launch, facts), spec, criu or CriuOptions("/images"), None)


def test_the_descriptors_of_a_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "descriptors.json"
    path.write_text('["/dev/null","pipe:[1]","pipe:[2]"]')
    assert restore._read_descriptors(str(tmp_path)) == ["/dev/null", "pipe:[1]", "pipe:[2]"]
    path.write_text("null")
    assert restore._read_descriptors(str(tmp_path)) == []
    for text in ("", "{}", "[1]", '["', '"x"', "\xff"):
        path.write_bytes(text.encode("latin-1"))
        with pytest.raises(PyruncError, match=r"descriptors.json (can't be understood|is no list of names)"):
            restore._read_descriptors(str(tmp_path))
    with pytest.raises(PyruncError, match="--image-path names the directory that checkpoint has written"):
        restore._read_descriptors(str(tmp_path / "nowhere"))


def test_the_mounts_for_which_a_place_is_needed() -> None:
    spec = minimal(
        mounts=[
            {"destination": "/proc", "type": "proc"},
            {"destination": "/data", "source": "data", "options": ["bind"]},
            {"destination": "rel", "source": "/s", "type": "bind"},
            {"destination": "/sys/fs/cgroup", "type": "cgroup"},
            {"destination": "/data", "options": ["remount", "ro"]},
        ]
    )
    assert restoration(spec)._mount_points() == [
        ("/proc", "", "/mounts/0"),
        ("/data", "/bundle/data", "/mounts/1"),
        ("/rel", "/s", "/mounts/2"),
    ]
    spec["mounts"][1]["options"].append("idmap")
    with pytest.raises(PyruncError, match="id-mapped mounts can't be restored") as caught:
        restoration(spec)._mount_points()
    assert caught.value.pointer == "/mounts/1"


def test_the_request() -> None:
    spec = with_linux("uts")
    spec["linux"]["namespaces"] += [
        {"type": "pid", "path": "/p"}, {"type": "ipc", "path": "/i"}, {"type": "network", "path": "/n"},
    ]  # fmt: skip
    spec["linux"]["maskedPaths"] = ["/proc/kcore"]
    options = CriuOptions("/images", work="/work", lsm_profile="apparmor:x", shell_job=True)
    opts = restoration(spec, options)._options_of([], ["/dev/null", "pipe:[7]", ""])
    assert opts["inherit_fd"] == [
        {"key": "pipe:[7]", "fd": 1}, {"key": "extRootPidNS", "fd": 4}, {"key": "extRootNetNS", "fd": 5},
    ]  # fmt: skip
    assert opts["join_ns"] == [{"ns": "ipc", "ns_file": "/i"}]
    assert (opts["images_dir_fd"], opts["work_dir_fd"], opts["root"]) == (6, 7, "/r/box/criu-root")
    assert (opts["rst_sibling"], opts["evasive_devices"], opts["shell_job"]) == (True, True, True)
    assert (opts["lsm_profile"], opts["lsm_mount_context"]) == ("apparmor:x", None)
    assert {"key": "/dev/null", "val": "/dev/null"} in opts["ext_mnt"]


@pytest.mark.parametrize("pid", [0, 1, 2**31 - 1])
def test_a_pid_that_is_no_child_of_ours_is_not_believed(pid: int) -> None:
    work = restoration(minimal())
    with pytest.raises(PyruncError, match="which is no process that it has restored"):
        work._know(pid)
    assert (work.launch.record.pid, work.launch.init.pidfd) == (0, -1)


def test_a_terminal_that_the_configuration_has_not() -> None:
    with pytest.raises(PyruncError, match=r"the checkpoint has a terminal, and process.terminal is false"):
        restoration(minimal())._at_terminal([])


def test_a_terminal_that_does_not_come() -> None:
    spec = minimal()
    spec["process"]["terminal"] = True
    work = restoration(spec, detach=True, console_socket="/s")
    with pytest.raises(PyruncError, match="CRIU has sent no terminal"):
        work._at_terminal([])
    work.launch.console_socket = os.open("/dev/null", os.O_RDONLY)
    with pytest.raises(PyruncError, match=r"process.terminal is true, and the checkpoint has no terminal"):
        work._check_terminal()
    os.close(work.launch.console_socket)


def test_a_cgroup_that_is_another_is_not_believed() -> None:
    work = restoration(minimal())
    work.launch.record.pid = os.getpid()
    with pytest.raises(PyruncError, match="and not into /sys/fs/cgroup/box"):
        work._check_cgroup()


def test_the_cgroups_of_criu_are_the_roots() -> None:
    roots = restore._cgroup_roots(os.getpid())
    assert [f"{root['ctrl']}:{root['path']}" for root in roots] == [
        line.split(":", 1)[1] for line in Path("/proc/self/cgroup").read_text().splitlines()
    ]


def test_exec_joins_the_time_namespace_that_criu_makes(monkeypatch: pytest.MonkeyPatch) -> None:
    links = {"/proc/self/ns/time": "time:[1]", "/proc/7/ns/time": "time:[2]", "/proc/8/ns/time": "time:[1]"}
    monkeypatch.setattr(os, "readlink", lambda path: links[path])
    spec = with_linux("pid")
    kept = restore._with_time_namespace(spec, 7)
    assert kept["linux"]["namespaces"] == [*spec["linux"]["namespaces"], {"type": "time"}]
    assert restore._with_time_namespace(spec, 8) is spec
    own = with_linux("pid", "time")
    assert restore._with_time_namespace(own, 7) is own
