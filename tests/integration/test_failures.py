"""A failed `create` or `run` leaves the host as if it had never been attempted: no state, cgroup, mount or process."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support import host
from tests.support.bundle import Bundle
from tests.support.runtime import Runtime

Break = Callable[[Runtime, Bundle], None]


def missing_executable(runtime: Runtime, bundle: Bundle) -> None:
    bundle.args("/no/such/program")


def missing_mount_source(runtime: Runtime, bundle: Bundle) -> None:
    bundle.mount("/mnt/a/b", "tmpfs", "tmpfs")
    bundle.mount("/mnt", "bind", "/no/such/source", "bind")


def unknown_file_system(runtime: Runtime, bundle: Bundle) -> None:
    bundle.mount("/mnt", "nonsensefs", "none")


def bad_file_system_option(runtime: Runtime, bundle: Bundle) -> None:
    bundle.mount("/mnt", "tmpfs", "tmpfs", "size=many")


def mount_on_a_file(runtime: Runtime, bundle: Bundle) -> None:
    bundle.mount("/etc/passwd", "tmpfs", "tmpfs")


def missing_rootfs(runtime: Runtime, bundle: Bundle) -> None:
    bundle.config["root"]["path"] = "nowhere"


def rootfs_that_is_a_file(runtime: Runtime, bundle: Bundle) -> None:
    (bundle.path / "file").write_text("")
    bundle.config["root"]["path"] = "file"


def failing_prestart_hook(runtime: Runtime, bundle: Bundle) -> None:
    bundle.hook("prestart", "/bin/false")


def failing_create_runtime_hook(runtime: Runtime, bundle: Bundle) -> None:
    bundle.hook("createRuntime", "/bin/false")


def failing_create_container_hook(runtime: Runtime, bundle: Bundle) -> None:
    bundle.hook("createContainer", "/bin/false")


def missing_hook(runtime: Runtime, bundle: Bundle) -> None:
    bundle.hook("createRuntime", "/no/such/hook")


def missing_namespace(runtime: Runtime, bundle: Bundle) -> None:
    bundle.namespace("network", "/no/such/namespace")


def namespace_of_another_type(runtime: Runtime, bundle: Bundle) -> None:
    bundle.namespace("network", "/proc/self/ns/uts")


def unknown_sysctl(runtime: Runtime, bundle: Bundle) -> None:
    bundle.namespace("network")
    bundle.linux["sysctl"] = {"net.ipv4.no_such_key": "1"}


def bad_sysctl_value(runtime: Runtime, bundle: Bundle) -> None:
    bundle.namespace("network")
    bundle.linux["sysctl"] = {"net.ipv4.ip_default_ttl": "a lot"}


def working_directory_that_is_a_file(runtime: Runtime, bundle: Bundle) -> None:
    bundle.process["cwd"] = "/etc/passwd"


def device_below_a_file(runtime: Runtime, bundle: Bundle) -> None:
    bundle.linux["devices"] = [
        {"path": "/etc/passwd/x", "type": "c", "major": 1, "minor": 3, "fileMode": 0o666, "uid": 0, "gid": 0}
    ]


def rlimit_above_the_hard_one(runtime: Runtime, bundle: Bundle) -> None:
    bundle.process["rlimits"] = [{"type": "RLIMIT_NOFILE", "soft": 1 << 40, "hard": 1 << 40}]


def unmapped_user(runtime: Runtime, bundle: Bundle) -> None:
    bundle.user_namespace(size=10)
    bundle.process["user"] = {"uid": 1000, "gid": 0}


def overlapping_mappings(runtime: Runtime, bundle: Bundle) -> None:
    bundle.user_namespace()
    bundle.linux["uidMappings"] = [
        {"containerID": 0, "hostID": 100000, "size": 10},
        {"containerID": 5, "hostID": 200000, "size": 10},
    ]


def console_socket_of_nobody(runtime: Runtime, bundle: Bundle) -> None:
    bundle.process["terminal"] = True


def bad_json(runtime: Runtime, bundle: Bundle) -> None:
    bundle.config = {"ociVersion": "1.0.2", "process": []}


BROKEN: list[Break] = [
    missing_executable, missing_mount_source, unknown_file_system, bad_file_system_option, mount_on_a_file,
    missing_rootfs, rootfs_that_is_a_file, failing_prestart_hook, failing_create_runtime_hook,
    failing_create_container_hook, missing_hook, missing_namespace, namespace_of_another_type, unknown_sysctl,
    bad_sysctl_value, working_directory_that_is_a_file, device_below_a_file, rlimit_above_the_hard_one, unmapped_user,
    overlapping_mappings, console_socket_of_nobody, bad_json,
]  # fmt: skip


@pytest.mark.parametrize("verb", ["create", "run"])
@pytest.mark.parametrize("break_it", BROKEN, ids=[function.__name__ for function in BROKEN])
def test_failure_leaves_nothing(runtime: Runtime, bundle: Bundle, break_it: Break, verb: str) -> None:
    if break_it is rlimit_above_the_hard_one and _may_raise_limits():
        pytest.skip("needs a root without CAP_SYS_RESOURCE")
    bundle.linux["cgroupsPath"] = f"/{runtime.token}/a/b"
    break_it(runtime, bundle)
    bundle.write()
    id = runtime.new_id()
    pid_file = runtime.work / "pid"
    mounts = host.mounts_of("")
    flags: tuple[str, ...] = ("--pid-file", str(pid_file))
    if break_it is console_socket_of_nobody:
        flags += ("--console-socket", str(runtime.work / "nobody"))
        flags += ("--detach",) if verb == "run" else ()
    result = runtime(verb, "--bundle", bundle.path, *flags, id)
    assert result.code not in (0, 130, 137), result
    assert result.last_line
    assert "Traceback" not in result.err
    assert not pid_file.exists()
    assert host.mounts_of("") == mounts
    if runtime.is_own:
        runtime.assert_nothing_left()
        # The id is free, and the next attempt, with the mistake corrected, works.
        missing = runtime("state", id)
        assert "container does not exist" in missing.last_line


def _may_raise_limits() -> bool:
    return bool(int(host.process_status(os.getpid(), "CapEff"), 16) >> 24 & 1)


def test_the_id_is_free_after_a_failure(runtime: Runtime, bundle: Bundle) -> None:
    id = runtime.new_id()
    runtime.refuse(bundle.args("/no/such/program"), id=id)
    assert runtime.run(bundle.args("echo", "ran"), id=id).out == "ran\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
@pytest.mark.own("it leaves the container half made")
def test_interrupted_create_leaves_nothing(runtime: Runtime, bundle: Bundle, number: signal.Signals) -> None:
    """The command gets a terminating signal while a hook runs."""
    marker = runtime.work / "in-hook"
    bundle.hook("createRuntime", "/bin/sh", "sh", "-c", f"touch {marker}; exec sleep 1000")
    bundle.write()
    process = runtime.background("create", "--bundle", bundle.path, runtime.new_id())
    host.wait_for("the hook", marker.exists)
    process.send_signal(number)
    assert process.wait(60) != 0
    runtime.assert_nothing_left()


@pytest.mark.own("it leaves the init waiting")
def test_killed_start_leaves_a_container_that_can_be_started(runtime: Runtime, bundle: Bundle) -> None:
    """A `start` that is killed while a poststart hook runs: the container runs and can be deleted."""
    marker = runtime.work / "in-hook"
    bundle.hook("poststart", "/bin/sh", "sh", "-c", f"touch {marker}; exec sleep 1000")
    container = runtime.container(bundle.args("sleep", "1000"))
    process = runtime.background("start", container.id)
    host.wait_for("the hook", marker.exists)
    hook = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    assert hook
    process.kill()
    process.wait()
    for pid in hook:
        os.kill(int(pid), signal.SIGKILL)
    assert container.status == "running"
    container.delete("--force")
    runtime.assert_nothing_left()


def test_killed_run_leaves_a_container_that_can_be_deleted(runtime: Runtime, bundle: Bundle) -> None:
    bundle.sh("echo ready; while :; do sleep 0.02; done").write()
    id = runtime.new_id()
    process = runtime.background("run", "--bundle", bundle.path, id)
    host.wait_for("the container", lambda: "ready" in (runtime.work / "background.out").read_text())
    process.kill()
    process.wait()
    assert runtime("delete", "--force", id).code == 0
    runtime.assert_nothing_left()
