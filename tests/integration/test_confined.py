"""The life cycle of containers whose commands a confined service runs, as systemd confines services (F5)."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import host
from tests.support.bundle import Bundle
from tests.support.confined import CONFINEMENTS, ConfinedRuntime

# Two of these let no container start, as with runc; the combinations are of confinements that pyrunc works around.
REFUSED = {"cgroups", "keyring"}
ALL = [name for name in CONFINEMENTS if name not in REFUSED]
COMBINED = [
    "hidepid1+no-ptrace",
    "hidepid4+no-ptrace",
    "hidepid2+users-full",
    "users-root+unix+few-files",
    "subset+devices+tunables+read-only+affinity+few-files+unix-netlink+syscalls+write-or-execute+no-new-privs",
]


@pytest.fixture
def confined(
    request: pytest.FixtureRequest, session_directory: Path, rootfs_template: Path, private_mounts: None
) -> Iterator[ConfinedRuntime]:
    work = Path(tempfile.mkdtemp(prefix="pt", dir=session_directory))
    work.chmod(0o755)
    value = ConfinedRuntime(work, rootfs_template, request.param.split("+"))
    yield value
    for id in value.ids:
        result = value("delete", "--force", id)
        assert result.code == 0, result
    value.end()
    value.assert_nothing_left()
    shutil.rmtree(work, ignore_errors=True)


def bundle_for(runtime: ConfinedRuntime, script: str) -> Bundle:
    """A bundle with the usual parts of an ordinary container."""
    bundle = runtime.bundle().sh(script).namespace("network").namespace("cgroup")
    bundle.mounts[2]["options"] = ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]
    bundle.mount("/sys", "sysfs", "sysfs", "nosuid", "noexec", "nodev", "ro")
    bundle.linux["maskedPaths"] = ["/proc/kcore", "/proc/keys"]
    bundle.linux["readonlyPaths"] = ["/proc/sys", "/proc/bus"]
    bundle.linux["sysctl"] = {"net.ipv4.ip_unprivileged_port_start": "80"}
    return bundle


@pytest.mark.parametrize("confined", ALL + COMBINED, indirect=True)
def test_f5_the_life_cycle(confined: ConfinedRuntime) -> None:
    """F5: no auxiliary call of the runtime makes the container fail."""
    live(confined, bundle_for(confined, "echo started; sleep 99"))


@pytest.mark.parametrize(
    "confined", ["hidepid4+no-ptrace", "subset", "devices", "no-new-privs", "syscalls", "unix"], indirect=True
)
def test_f5_the_life_cycle_with_a_user_namespace(confined: ConfinedRuntime) -> None:
    """F5: the maps and the other files that the runtime writes in /proc/PID."""
    bundle = bundle_for(confined, "echo started; sleep 99").user_namespace()
    bundle.process["oomScoreAdj"] = 200
    live(confined, bundle)


def live(confined: ConfinedRuntime, bundle: Bundle) -> None:
    """Run each command of a container's life."""
    container = confined.container(bundle)
    assert container.status == "created"
    container.start()
    host.wait_for("its output", lambda: container.output == "started\n")
    assert container.status == "running"
    assert [item["id"] for item in json.loads(confined("list", "--format", "json").out)] == [container.id]
    result = confined("exec", container.id, "sh", "-c", "echo inside; cat /sys/class/net/lo/flags")
    assert (result.code, result.out) == (0, "inside\n0x9\n"), result
    (confined.work / "changes").write_text('{"unified": {"cgroup.max.depth": "7"}}')
    for words in (
        ["ps", "--format", "json"],
        ["pause"],
        ["resume"],
        ["update", "--resources", str(confined.work / "changes")],
        ["events", "--stats"],
    ):
        result = confined(*words, container.id)
        assert result.code == 0, result
    container.kill("KILL")
    container.wait()
    assert container.status == "stopped"
    container.delete()


@pytest.mark.parametrize("confined", ALL, indirect=True)
def test_f5_run_with_a_terminal(confined: ConfinedRuntime) -> None:
    """F5: the terminal and its relay."""
    bundle = bundle_for(confined, "tty; exit 7")
    bundle.process["terminal"] = True
    bundle.write()
    result = confined("run", "--bundle", bundle.path, confined.new_id(), terminal=True)
    assert (result.code, result.out.strip()) == (7, "/dev/pts/0"), result


@pytest.mark.parametrize(
    ("confined", "said", "instead"),
    [
        ("cgroups", "read-only file system (step cgroup_create)", ["--cgroup-manager", "disabled"]),
        ("keyring", "operation not permitted (step session_keyring; --no-new-keyring", ["--no-new-keyring"]),
    ],
    indirect=["confined"],
)
def test_f5_what_must_fail_says_so(confined: ConfinedRuntime, said: str, instead: list[str]) -> None:
    """F5: one line that names what was refused, and the option that avoids it."""
    bundle = bundle_for(confined, "echo here")
    bundle.write()
    result = confined("run", "--bundle", bundle.path, confined.new_id())
    assert (result.code, len(result.err.splitlines())) == (1, 1), result
    assert said in result.last_line
    before, after = (instead, []) if instead[0] == "--cgroup-manager" else ([], instead)
    result = confined(*before, "run", "--bundle", bundle.path, *after, confined.new_id())
    assert (result.code, result.out) == (0, "here\n"), result


@pytest.mark.parametrize("confined", ["tunables"], indirect=True)
def test_f5_a_user_namespace_whose_proc_would_reveal_what_is_covered(confined: ConfinedRuntime) -> None:
    """F5: the kernel refuses it, to runc too; the error says which /proc it is about."""
    bundle = bundle_for(confined, "true").user_namespace()
    bundle.write()
    result = confined("create", "--bundle", bundle.path, confined.new_id())
    assert (result.code, len(result.err.splitlines())) == (1, 1), result
    assert "a /proc of the runtime's over which nothing is mounted" in result.last_line


@pytest.mark.parametrize("confined", ["subset"], indirect=True)
def test_f5_validate_and_ps_without_proc_sys(confined: ConfinedRuntime) -> None:
    """F5: validate does not report a sysctl as missing because this /proc does not show it."""
    bundle = bundle_for(confined, "sleep 99")
    bundle.write()
    result = confined("validate", bundle.path, with_root=False)
    assert result.code == 0, result
