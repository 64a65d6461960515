"""crun's annotations (docs/annotations.md), by their effect in the container and on the host. S6."""

from __future__ import annotations

import base64
import errno
import os
import platform
import socket
import stat
import struct
from pathlib import Path

import pytest

from tests.support import host
from tests.support.agent import Agent
from tests.support.bundle import Bundle
from tests.support.rootless import RootlessRuntime
from tests.support.runtime import Runtime
from tests.support.seccomp import allowing

pytestmark = pytest.mark.own("crun's")
x86 = pytest.mark.skipif(platform.machine() != "x86_64", reason="the calls are numbered as on x86-64")

WITH_GROUPS = ("setpriv", "--groups", "7,8", "--")


def annotate(bundle: Bundle, **values: str) -> Bundle:
    """Set annotations by their names without `run.oci.`; a double underscore stands for a dot."""
    bundle.config["annotations"] = {"run.oci." + name.replace("__", "."): value for name, value in values.items()}
    return bundle


@pytest.mark.parametrize("user_namespace", [False, True])
def test_s6_the_runtime_s_groups_are_kept(runtime: Runtime, bundle: Bundle, user_namespace: bool) -> None:
    """Podman's `--group-add keep-groups`: the container can read files that a group of the caller may read."""
    annotate(bundle, keep_original_groups="1")
    bundle.process["user"] = {"uid": 5, "gid": 6}
    if user_namespace:
        bundle.user_namespace()
    container = runtime.started(bundle.args("sleep", "100"), prefix=WITH_GROUPS)
    assert host.process_status(container.pid, "Groups").split() == ["7", "8"]
    result = runtime("exec", container.id, "grep", "Groups", "/proc/self/status", prefix=("setpriv", "--groups", "9"))
    assert result.out.split()[1:] == (["65534"] if user_namespace else ["9"])
    annotate(bundle, keep_original_groups="0")
    assert runtime.run(bundle.args("id", "-G"), prefix=WITH_GROUPS).out.split() == ["6"]


def test_s6_groups_that_are_not_set_are_told(runtime: Runtime, bundle: Bundle) -> None:
    annotate(bundle, keep_original_groups="1")
    bundle.process["user"] = {"uid": 5, "gid": 6, "additionalGids": [10]}
    result = runtime.run(bundle.args("grep", "Groups", "/proc/self/status"), prefix=WITH_GROUPS)
    assert result.out.split()[1:] == ["7", "8"]
    assert "additionalGids are not set" in result.err


KINDS = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")


@pytest.mark.parametrize("command", ["run", "create"])
def test_s6_hooks_write_to_the_files(runtime: Runtime, bundle: Bundle, command: str) -> None:
    out, err = runtime.work / "hooks.out", runtime.work / "hooks.err"
    out.write_text("before\n")
    annotate(bundle, hooks__stdout=str(out), hooks__stderr=str(err))
    script = bundle.rootfs / "hook"
    script.write_text('#!/bin/sh\necho "$1"\necho "$1 failed" >&2\n')
    script.chmod(0o755)
    for kind in KINDS:
        path = "/hook" if kind == "startContainer" else script
        bundle.hook(kind, path, "hook", kind, env=["PATH=/bin:/usr/bin"])
    if command == "run":
        runtime.run(bundle)
    else:
        container = runtime.container(bundle)
        container.finish()
        container.delete()
    assert out.read_text().split() == ["before", *KINDS]
    assert err.read_text().splitlines() == [f"{kind} failed" for kind in KINDS]
    assert stat.S_IMODE(err.stat().st_mode) == 0o600


@pytest.mark.parametrize("kind", ["createContainer", "createRuntime"])
def test_s6_a_file_for_hooks_that_can_t_be_opened(runtime: Runtime, bundle: Bundle, kind: str) -> None:
    path = str(runtime.work / "none/log")
    annotate(bundle, hooks__stdout=path).hook(kind, "/bin/true")
    line = runtime.refuse(bundle).last_line
    assert f"opening {path} for the output of hooks: no such file or directory" in line
    assert "at /annotations/run.oci.hooks.stdout" in line


@x86
def test_s6_the_listener_goes_to_the_receiver(runtime: Runtime, bundle: Bundle) -> None:
    path = runtime.work / "agent"
    agent = Agent(str(path), lambda number, args: -errno.ENOMEDIUM if number == 83 else None)
    try:
        annotate(bundle, seccomp__receiver=str(path))
        bundle.linux["seccomp"] = allowing("SCMP_ACT_NOTIFY", "mkdir")
        bundle.linux["seccomp"].pop("listenerPath", None)
        result = runtime.run(bundle.args("mkdir", "/made"), ok=False)
        assert result.code == 1
        assert "No medium found" in result.err
        assert not (bundle.rootfs / "made").exists()
    finally:
        agent.close()


def refusing(number: int) -> str:
    """A filter as base64: one system call fails with ENOMEDIUM, all others are allowed."""
    fails, allowed = 0x00050000 | errno.ENOMEDIUM, 0x7FFF0000
    rows = ((0x20, 0, 0, 0), (0x15, 0, 1, number), (0x06, 0, 0, fails), (0x06, 0, 0, allowed))
    return base64.b64encode(b"".join([struct.pack("=HBBI", *row) for row in rows])).decode()


@x86
@pytest.mark.parametrize("profile", [False, True])
def test_s6_a_filter_in_an_annotation_is_loaded(runtime: Runtime, bundle: Bundle, profile: bool) -> None:
    annotate(bundle, seccomp_bpf_data=refusing(83))
    if profile:
        bundle.linux["seccomp"] = {
            "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["chmod"], "action": "SCMP_ACT_ERRNO"}],
        }  # fmt: skip
    script = "chmod 700 /mnt && echo changed; mkdir /made; grep Seccomp: /proc/self/status; sleep 100"
    container = runtime.started(bundle.sh(script))
    host.wait_for("the script", lambda: "Seccomp" in container.out.read_text())
    assert container.out.read_text().split() == ["changed", "Seccomp:", "2"]
    assert not (bundle.rootfs / "made").exists()
    result = runtime("exec", container.id, "mkdir", "/made")
    assert "No medium found" in result.err


def test_s6_unknown_system_calls_are_refused(runtime: Runtime, bundle: Bundle) -> None:
    bundle.linux["seccomp"] = allowing("SCMP_ACT_ERRNO", "mkdir", "no_such_call")
    assert runtime.run(bundle.args("true")).code == 0
    annotate(bundle, seccomp_fail_unknown_syscall="1")
    line = runtime.refuse(bundle).last_line
    assert "no_such_call" in line
    assert "at /linux/seccomp/syscalls/" in line
    bundle.linux["seccomp"] = allowing("SCMP_ACT_ERRNO", "mkdir")
    assert "Operation not permitted" in runtime.run(bundle.args("mkdir", "/made"), ok=False).err


def test_s6_the_pidfd_goes_to_the_receiver(runtime: Runtime, bundle: Bundle) -> None:
    path = runtime.work / "pidfd"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(path))
        listener.listen()
        container = runtime.container(annotate(bundle, pidfd_receiver=str(path)).args("true"))
        connection, _ = listener.accept()
        _, fds, _, _ = socket.recv_fds(connection, 100, 1)
    info = Path(f"/proc/self/fdinfo/{fds[0]}").read_text()
    assert int(host.status_field(info, "Pid")) == container.pid
    os.close(fds[0])
    connection.close()


@pytest.mark.parametrize(
    "name", ["run.oci.handler", "module.wasm.image/variant", "run.oci.delegate-cgroup", "run.oci.systemd.subgroup"]
)
def test_s6_what_can_t_be_done_is_refused(runtime: Runtime, bundle: Bundle, name: str) -> None:
    bundle.config["annotations"] = {name: "x"}
    line = runtime.refuse(bundle).last_line
    assert f"the annotation {name} is not supported" in line
    assert "at /annotations/" in line
    bundle.config["annotations"] = {name: ""}
    runtime.run(bundle)


def test_s6_an_annotation_that_nobody_knows_is_told(runtime: Runtime, bundle: Bundle) -> None:
    assert "run.oci.keep_groups is unknown and ignored" in runtime.run(annotate(bundle, keep_groups="1")).err


def test_s6_a_user_namespace_without_mappings(runtime: Runtime, bundle: Bundle) -> None:
    """As crun does it: root is root, and the ids that /etc/subuid gives to root are mapped."""
    bundle.namespace("user")
    bundle.mounts[2]["options"].remove("gid=5")  # where root has no subordinate ids
    out = runtime.run(bundle.sh("cat /proc/self/uid_map; id -u")).out.split()
    assert out[:3] == ["0", "0", "1"]
    assert out[-1] == "0"


def test_s6_a_user_namespace_without_mappings_of_a_user(rootless: RootlessRuntime) -> None:
    bundle = rootless.bundle()
    for kind in ("uid", "gid"):
        bundle.linux.pop(kind + "Mappings", None)
    rows = rootless.run(bundle.sh("cat /proc/self/uid_map")).out.splitlines()
    assert rows[0].split() == ["0", "1000", "1"]
    assert rows[1].split()[0] == "1"
