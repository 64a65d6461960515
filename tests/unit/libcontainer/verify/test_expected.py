"""The plan that is compiled anew from the files of the state directory."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from pyrunc.errors import PyruncError
from pyrunc.libcontainer import saved_config
from pyrunc.libcontainer.plan.options import LaunchOptions
from pyrunc.libcontainer.statedir import EXEC_FILE
from pyrunc.libcontainer.verify import expected
from tests.support.plans import minimal
from tests.support.records import opened, record


def _kept(path: Path, spec: Any, **options: Any) -> expected.Expected:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    saved_config.save(fd, spec, LaunchOptions(id="box", **options))
    os.close(fd)
    return _of(path)


def _of(path: Path) -> expected.Expected:
    place = opened(path)
    try:
        return expected.of(place, "/run/pyrunc", record(cgroup="/sys/fs/cgroup/box"))
    finally:
        place.close()


def _spec() -> Any:
    spec = minimal(
        hostname="box",
        mounts=[{"destination": "/mnt", "type": "tmpfs", "source": "tmpfs"}],
        hooks={"prestart": [{"path": "/bin/hook"}]},
    )
    spec["linux"].update(
        maskedPaths=["/proc/keys"], resources={"pids": {"limit": 5}}, devices=[{"path": "/dev/x", "type": "p"}],
        sysctl={"kernel.msgmax": "1"}, cgroupsPath="/box",
    )  # fmt: skip
    return spec


def test_the_plan_has_what_was_configured_but_limits_and_hooks(tmp_path: Path) -> None:
    wanted = _kept(tmp_path, _spec())
    pointers = {step.kind: step.pointer for step in wanted.plan.init}
    assert pointers["mount"] == "/mounts/0"
    assert pointers["mask_path"] == "/linux/maskedPaths/0"
    assert pointers["sysctl"] == "/linux/sysctl/kernel.msgmax"
    assert pointers["hostname"] == "/hostname"
    assert not any(step.kind in ("cgroup_limit", "runtime_hook") for step in wanted.plan.steps())
    assert wanted.linux["resources"] == {"pids": {"limit": 5}}
    assert wanted.process["args"] == ["true"]
    assert (wanted.has("mount"), wanted.has("user")) == (True, False)
    step = wanted.step("mknod")
    assert step is not None
    assert step is next(iter(wanted.steps("mknod")))
    assert wanted.step("personality") is None


def test_the_options_of_the_launch_are_kept(tmp_path: Path) -> None:
    wanted = _kept(tmp_path, _spec(), no_pivot=True, notify_socket="/run/systemd/notify")
    assert wanted.step("move_root") is not None
    assert wanted.step("pivot_root") is None
    assert [step.arg("target") for step in wanted.steps("bind")] == ["/run/notify"]
    (tmp_path / EXEC_FILE).unlink()
    assert _kept(tmp_path, _spec()).step("pivot_root") is not None


@pytest.mark.parametrize(
    ("rest", "words"),
    [
        (None, "can't be made again (an earlier version of pyrunc"),
        (5, "exec.json is damaged: rest has a wrong value"),
        ({"linux": []}, "exec.json is damaged: rest has a wrong value"),
        ({"hostname": 5, "linux": {}}, "rest has a wrong value at /hostname"),
        ({"linux": {"sysctl": [5]}}, "rest has a wrong value at /linux/sysctl"),
    ],
)
def test_what_was_kept_is_judged(tmp_path: Path, rest: Any, words: str) -> None:
    _kept(tmp_path, _spec())
    file = tmp_path / EXEC_FILE
    kept = json.loads(file.read_text())
    del kept["rest"]
    file.write_text(json.dumps(kept if rest is None else {**kept, "rest": rest}))
    with pytest.raises(PyruncError) as caught:
        _of(tmp_path)
    assert words in caught.value.line()
