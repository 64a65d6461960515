"""The command doctor."""

from __future__ import annotations

import json

import pytest

from tests.support import host
from tests.support.bundle import Bundle
from tests.support.rootless import RootlessRuntime
from tests.support.runtime import Runtime

pytestmark = pytest.mark.own("pyrunc's own command")


def test_the_host(runtime: Runtime) -> None:
    result = runtime("doctor", "--format", "json")
    assert result.code == 0, result
    found = json.loads(result.out)["host"]
    states = {(item["area"], item["name"]): item["state"] for item in found}
    assert states["kernel", "kernel"] == "yes"
    assert states["namespaces", "pid"] == "yes"
    assert states["seccomp", "SCMP_ACT_ERRNO"] == "yes"
    assert states["cgroups", "cgroup2"] == ("yes" if host.cgroup2_mount() else "no")
    assert {"id-mapped mounts", "systemd", "checkpoint", "security modules", "subordinate ids"} <= {
        item["area"] for item in found
    }
    assert ("security modules", "Landlock") in states
    assert all(item.get("hint") for item in found if item["state"] == "no")
    table = runtime("doctor")
    assert table.code == 0
    assert len(table.out.splitlines()) == len(found) + 1


def test_a_bundle_as_run_finds_it(runtime: Runtime, bundle: Bundle) -> None:
    bundle.args("true").write()
    good = runtime("doctor", bundle.path)
    assert (good.code, good.out.splitlines()[-1]) == (0, f"{bundle.path}/config.json: no problem found")
    runtime.run(bundle)
    bundle.args("/no/such").write()
    bad = runtime("doctor", bundle.path)
    assert bad.code == 1
    assert "/process/args/0" in bad.out.splitlines()[-1]
    assert runtime.run(bundle, ok=False).code != 0
    assert runtime("doctor", runtime.work / "no").code == 1


def test_a_namespace_that_a_sysctl_forbids(runtime: Runtime) -> None:
    """In a user namespace of its own, whose limits apply to nothing else."""
    script = 'echo 0 > /proc/sys/user/max_net_namespaces; exec "$0" "$@"'
    prefix = ["unshare", "--user", "--map-root-user", "sh", "-c", script]
    result = runtime("doctor", "--format", "json", prefix=prefix)
    assert result.code == 0, result
    found = {(item["area"], item["name"]): item for item in json.loads(result.out)["host"]}
    net = found["namespaces", "network"]
    assert (net["state"], net["hint"]) == ("no", "sysctl user.max_net_namespaces=10000")


def test_an_ordinary_user_may_ask(rootless: RootlessRuntime) -> None:
    result = rootless("doctor", "--format", "json")
    assert result.code == 0, result
    found = {(item["area"], item["name"]): item for item in json.loads(result.out)["host"]}
    assert found["id-mapped mounts", "id-mapped mounts"]["state"] == "unknown"
    assert found["subordinate ids", "/etc/subuid"]["detail"].startswith("65536 ids from 200000 on")
