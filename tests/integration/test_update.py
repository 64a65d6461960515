"""`update` on real containers without controllers: the cgroup's own files and device rules.

tests/guest/test_update.py has the limits of controllers.
"""

from __future__ import annotations

import json
import os
import signal
import stat
import time
from pathlib import Path
from typing import Any

import pytest

from tests.support import host
from tests.support.bundle import Bundle
from tests.support.runtime import Container, Result, Runtime


def cgroup_of(runtime: Runtime) -> Path:
    return Path(host.cgroups_of(runtime.token)[0])


def depth(runtime: Runtime) -> str:
    return (cgroup_of(runtime) / "cgroup.max.depth").read_text().strip()


def update(container: Container, changes: Any) -> Result:
    return container.runtime("update", "--resources", "-", container.id, stdin=json.dumps(changes))


@pytest.mark.purev2
def test_a_running_container_gets_another_limit(runtime: Runtime, bundle: Bundle) -> None:
    container = runtime.started(bundle.sh("sleep 99"))
    changed = update(container, {"unified": {"cgroup.max.depth": "7"}})
    assert (changed.code, changed.out, changed.err) == (0, "", "")
    assert depth(runtime) == "7"
    path = runtime.work / "resources.json"
    path.write_text(json.dumps({"unified": {"cgroup.max.depth": "8"}}))
    assert runtime("update", f"--resources={path}", container.id).code == 0
    assert depth(runtime) == "8"


def test_a_created_container_can_be_updated_and_a_stopped_one_not(runtime: Runtime, bundle: Bundle) -> None:
    container = runtime.container(bundle.args("true"))
    assert update(container, {"unified": {"cgroup.max.depth": "7"}}).code == 0
    assert depth(runtime) == "7"
    container.finish()
    refused = update(container, {"unified": {"cgroup.max.depth": "8"}})
    assert (refused.code, "container not running" in refused.last_line) == (1, True)


def test_all_or_nothing(runtime: Runtime, bundle: Bundle) -> None:
    """The kernel refuses the second write: the first one is undone, and the next update starts from the old values."""
    bundle.linux["resources"] = {"unified": {"cgroup.max.depth": "5"}}
    container = runtime.started(bundle.sh("sleep 99"))
    refused = update(container, {"unified": {"cgroup.max.depth": "7", "cgroup.max.descendants": "none"}})
    assert refused.code == 1
    assert "cgroup.max.descendants: invalid argument" in refused.last_line
    assert "/unified/cgroup.max.descendants" in refused.last_line
    assert depth(runtime) == "5"
    assert sorted(os.listdir(runtime.root / container.id)) == ["exec.json", "ledger", "state.json"]
    saved = json.loads((runtime.root / container.id / "exec.json").read_text())
    assert saved["linux"]["resources"] == {"unified": {"cgroup.max.depth": "5"}}


def test_what_is_saved_agrees_with_what_was_written(runtime: Runtime, bundle: Bundle) -> None:
    bundle.linux["resources"] = {"unified": {"cgroup.max.depth": "5"}}
    container = runtime.started(bundle.sh("sleep 99"))
    assert update(container, {"unified": {"cgroup.max.descendants": "9"}}).code == 0
    saved = json.loads((runtime.root / container.id / "exec.json").read_text())
    assert saved["linux"]["resources"] == {"unified": {"cgroup.max.depth": "5", "cgroup.max.descendants": "9"}}
    assert depth(runtime) == "5"
    assert runtime("exec", container.id, "true").code == 0


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["--memory", "64m"], "memory.limit can't be set: controller"),
        (["--pids-limit", "5"], "pids.limit can't be set: controller"),
        (["--cpu-rt-period", "5"], "realtimePeriod can't be set with cgroup v2"),
        (["--memory", "64q"], 'invalid value for memory: "64q"'),
        (["--cpu-share", "many"], 'invalid value for cpu-share: "many"'),
        (["--l3-cache-schema", "L3:0=f"], "updating a non-existent Intel RDT configuration is not supported"),
        (["--resources", "/nowhere"], "/nowhere: no such file or directory"),
    ],
)
def test_what_cant_be_changed_is_one_line(words: list[str], part: str, runtime: Runtime, bundle: Bundle) -> None:
    container = runtime.started(bundle.sh("sleep 99"))
    if "controller" in part and words[0][2:].split("-")[0] in controllers():
        pytest.skip("this host has the controller: tests/guest/test_update.py")
    result = runtime("update", *words, container.id)
    assert (result.code, len(result.err.splitlines())) == (1, 1)
    assert part in result.last_line.replace('\\"', '"')
    if not words[0].startswith("--r"):
        assert "(at /" not in result.last_line
        assert ", at /" not in result.last_line


def controllers() -> str:
    mount = host.cgroup2_mount()
    return (Path(mount) / "cgroup.controllers").read_text() if mount else ""


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ([], "must be an object"),
        ({"memory": 5}, "/memory"),
        ({"cpu": {"shares": "many"}}, "/cpu/shares"),
        ({"unified": {"cgroup.procs": "1"}}, "is no limit"),
        ({"pids": {"limit": "5"}}, "/pids/limit"),
    ],
)
def test_resources_that_are_none(changes: Any, part: str, runtime: Runtime, bundle: Bundle) -> None:
    container = runtime.started(bundle.sh("sleep 99"))
    result = update(container, changes)
    assert (result.code, len(result.err.splitlines())) == (1, 1), result
    assert part in result.last_line.replace('\\"', '"')


def test_other_device_rules_without_a_gap(runtime: Runtime, bundle: Bundle) -> None:
    """A device that both sets of rules allow can be opened at every moment."""
    allowed = {"allow": True, "type": "c", "major": 1, "minor": 11, "access": "rwm"}
    bundle.linux["resources"] = {"devices": [{"allow": False, "access": "rwm"}]}
    bundle.sh("mknod /dev/zero2 c 1 5; mknod /dev/kmsg2 c 1 11; echo made; "
              "while [ ! -e /stop ]; do head -c1 /dev/zero2 >/dev/null || echo gap; done; echo end")  # fmt: skip
    bundle.config["root"]["readonly"] = False
    container = runtime.started(bundle)
    host.wait_for("its nodes", lambda: "made" in container.output)
    opened = ["exec", container.id, "sh", "-c", "exec 3>/dev/kmsg2"]
    assert runtime(*opened).code != 0
    for _ in range(3):
        changed = update(container, {"devices": [{"allow": False, "access": "rwm"}, allowed]})
        assert changed.code == 0, changed
        assert runtime(*opened).code == 0
        assert update(container, {"devices": [{"allow": False, "access": "rwm"}]}).code == 0
        assert runtime(*opened).code != 0
    (bundle.rootfs / "stop").touch()
    container.wait()
    assert container.output == "made\nend\n"


def test_a_paused_container_can_be_updated(runtime: Runtime, bundle: Bundle) -> None:
    container = runtime.started(bundle.sh("sleep 99"))
    assert runtime("pause", container.id).code == 0
    assert update(container, {"unified": {"cgroup.max.depth": "7"}}).code == 0
    assert (depth(runtime), container.status) == ("7", "paused")


def test_an_update_of_nothing_changes_nothing(runtime: Runtime, bundle: Bundle) -> None:
    container = runtime.started(bundle.sh("sleep 99"))
    assert runtime("update", container.id).code == 0
    assert update(container, {"memory": {"limit": 0}, "cpu": {"cpus": ""}}).code == 0


def test_an_unknown_container(runtime: Runtime) -> None:
    result = runtime("update", "--pids-limit", "5", "nobody")
    assert (result.code, "does not exist" in result.last_line) == (1, True)


def test_a_container_without_a_cgroup(runtime: Runtime, bundle: Bundle) -> None:
    bundle.sh("sleep 99").write()
    id = runtime.new_id()
    assert runtime("--cgroup-manager", "disabled", "create", "--bundle", bundle.path, id).code == 0
    result = runtime("update", "--resources", "-", id, stdin='{"unified": {"cgroup.max.depth": "7"}}')
    assert (result.code, "without a cgroup" in result.last_line) == (1, True)


def test_a_killed_update_is_undone_by_the_next(runtime: Runtime, bundle: Bundle) -> None:
    """A killed update leaves only its record; the test makes it as the update does."""
    container = runtime.started(bundle.sh("sleep 99"))
    cgroup = cgroup_of(runtime)
    (cgroup / "cgroup.max.depth").write_text("7")
    record = {
        "version": 1, "linux": {"resources": None}, "writes": [["cgroup.max.depth", "max"]], "rules": [], "files": [],
        "unit": "", "user": False, "properties": [],
    }  # fmt: skip
    (runtime.root / container.id / "update").write_text(json.dumps(record))
    result = update(container, {"unified": {"cgroup.max.descendants": "9"}})
    assert result.code == 0
    assert "an update that was killed has been undone" in result.err
    assert depth(runtime) == "max"
    assert (cgroup / "cgroup.max.descendants").read_text() == "9\n"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_an_update_that_is_killed_at_any_moment(number: int, runtime: Runtime, bundle: Bundle) -> None:
    """Afterwards the limits are the old ones or the new ones, and the saved values agree after the next update."""
    container = runtime.started(bundle.sh("sleep 99"))
    both = (
        {"cgroup.max.depth": "7", "cgroup.max.descendants": "70"},
        {"cgroup.max.depth": "8", "cgroup.max.descendants": "80"},
    )
    assert update(container, {"unified": both[0]}).code == 0
    for turn in range(30):
        path = runtime.work / "changes.json"
        path.write_text(json.dumps({"unified": both[1 - turn % 2]}))
        process = runtime.background("update", "-r", path, container.id)
        time.sleep(0.03 + 0.005 * turn)
        process.send_signal(number)
        process.wait()
        recovered = runtime("update", container.id)
        assert recovered.code == 0, recovered
        names = [name for name in os.listdir(runtime.root / container.id) if not name.startswith(".")]
        assert sorted(names) == ["exec.json", "ledger", "state.json"]
        cgroup = cgroup_of(runtime)
        seen = {name: (cgroup / name).read_text().strip() for name in both[0]}
        saved = json.loads((runtime.root / container.id / "exec.json").read_text())["linux"]["resources"]["unified"]
        assert seen == saved
        assert seen in both


def test_the_state_directory_stays_private(runtime: Runtime, bundle: Bundle) -> None:
    container = runtime.started(bundle.sh("sleep 99"))
    assert update(container, {"unified": {"cgroup.max.depth": "7"}}).code == 0
    assert stat.S_IMODE((runtime.root / container.id / "exec.json").stat().st_mode) == 0o600
