"""A pod's configuration and files, from the CRI's messages."""

from __future__ import annotations

import json
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest

from pyrunc._generated.pause import PROGRAM
from pyrunc.errors import PyruncError
from pyrunc.libcontainer.kernel import native
from pyrunc.libcontainer.spec import load
from pyrunc.shim import messages, mounts, pods
from tests.support.host import wait_for

MAPS = [{"host_id": 100000, "container_id": 0, "length": 65536}]
MAPPED = [{"containerID": 0, "hostID": 100000, "size": 65536}]


def pod(security: Any = None, **fields: Any) -> pods.Pod:
    linux = {"cgroup_parent": fields.pop("cgroup_parent", ""), "sysctls": fields.pop("sysctls", {})}
    if security is not None:
        linux["security_context"] = security
    data = messages.encode("PodSandboxConfig", {"linux": linux, **fields})
    return pods.Pod(messages.decode("PodSandboxConfig", data))


def in_userns(maps: Any = None, mode: int = 0, **security: Any) -> pods.Pod:
    given = MAPS if maps is None else maps
    users = {"mode": mode, "uids": given, "gids": given}
    return pod({"namespace_options": {"userns_options": users}, **security})


def spec(one: pods.Pod, netns: str = "/run/netns/n", userns: str = "") -> Any:
    return pods.spec(one, "id", "k8s.io", netns, userns, -998)


def kinds(found: Any) -> dict[str, str]:
    return {it["type"]: it.get("path", "") for it in found["linux"]["namespaces"]}


def test_a_message_without_any_part() -> None:
    one = pods.Pod(messages.decode("PodSandboxConfig", b""))
    assert (one.hostname, one.cgroup_parent, one.on_host, one.uids) == ("", "", [], [])
    assert "hostname" not in spec(one)
    assert spec(one)["linux"]["cgroupsPath"] == "/k8s.io/id"


def test_the_configuration_is_valid(tmp_path: Path) -> None:
    """For the runtime's own loader, with each sort of pod."""
    for one in (pod(hostname="h"), in_userns(), pod({"namespace_options": {"network": 2, "pid": 2, "ipc": 2}})):
        (tmp_path / "config.json").write_text(json.dumps(spec(one)))
        load.load(str(tmp_path))


def test_namespaces() -> None:
    own = {"mount": "", "ipc": "", "pid": "", "network": "/run/netns/n", "uts": ""}
    assert kinds(spec(pod(hostname="h"))) == own
    assert kinds(spec(pod(), netns="")) == {**own, "network": ""}
    host = pod({"namespace_options": {"network": 2}}, hostname="h", sysctls={"kernel.shmmax": "1"})
    assert kinds(spec(host)) == {"mount": "", "ipc": "", "pid": ""}
    assert "hostname" not in spec(host), "that of the node can't be set"
    assert spec(host)["linux"]["sysctl"] == {"kernel.shmmax": "1"}
    assert kinds(spec(pod({"namespace_options": {"pid": 2, "ipc": 2}}))) == {
        "mount": "", "network": "/run/netns/n", "uts": "",
    }  # fmt: skip


def test_the_user_namespace() -> None:
    found = spec(in_userns(), userns="/proc/1/fd/3")
    assert kinds(found)["user"] == "/proc/1/fd/3"
    assert found["linux"]["uidMappings"] == found["linux"]["gidMappings"] == MAPPED
    assert "net.ipv4.ping_group_range" not in found["linux"]["sysctl"], "the groups are not all mapped"
    assert "user" not in kinds(spec(in_userns(mode=2)))
    with pytest.raises(PyruncError, match="has the mode 1"):
        in_userns(mode=1)
    with pytest.raises(PyruncError, match="no mappings"):
        in_userns([])


def test_the_user() -> None:
    assert spec(pod())["process"]["user"] == {"uid": 65535, "gid": 65535}
    assert pod({"run_as_user": {"value": 7}}).user == {"uid": 7, "gid": 0}
    assert pod({"run_as_user": {"value": 7}, "run_as_group": {"value": 8}}).user == {"uid": 7, "gid": 8}
    assert in_userns().user == {"uid": 65535, "gid": 65535}
    few = [{"host_id": 100000, "container_id": 0, "length": 1000}]
    assert in_userns(few).user == {"uid": 0, "gid": 0}, "one that is mapped"


@pytest.mark.parametrize(
    ("parent", "path"),
    [
        ("/kubepods/pod1", "/kubepods/pod1/id"),
        ("/kubepods/pod1/", "/kubepods/pod1/id"),
        ("kubepods", "kubepods/id"),
        ("/kubepods.slice/kubepods-pod1.slice", "kubepods-pod1.slice:cri-containerd:id"),
    ],
)
def test_the_cgroup(parent: str, path: str) -> None:
    assert spec(pod(cgroup_parent=parent))["linux"]["cgroupsPath"] == path


def test_sysctls() -> None:
    given = {"net.ipv4.ip_unprivileged_port_start": "80", "net.core.somaxconn": "9"}
    found = spec(pod(sysctls=given))["linux"]["sysctl"]
    assert found == {**given, "net.ipv4.ping_group_range": "0 2147483647"}


def test_annotations() -> None:
    found = spec(pod(metadata={"name": "n", "uid": "u", "namespace": "ns"}, log_directory="/l"))["annotations"]
    assert found["io.kubernetes.cri.sandbox-id"] == "id"
    assert found["io.kubernetes.cri.container-type"] == "sandbox"
    assert [found[f"io.kubernetes.cri.sandbox-{it}"] for it in ("name", "uid", "namespace")] == ["n", "u", "ns"]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory of the pods, and mounts that are only noted."""
    monkeypatch.setattr(pods, "DIRECTORY", str(tmp_path / "pods"))
    monkeypatch.setattr(native, "mount", lambda *args: None)
    monkeypatch.setattr(mounts, "unmount", lambda path: None)
    return tmp_path / "pods/k8s.io/id"


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_files(place: Path) -> None:
    dns = {"servers": ["1.1.1.1", "::1"], "searches": ["a", "b"], "options": ["ndots:2", "rotate"]}
    path = pods.directory("k8s.io", "id")
    pods.write_files(pod(hostname="h", dns_config=dns), path)
    assert (place / "hostname").read_text() == "h\n"
    assert (
        place / "resolv.conf"
    ).read_text() == "search a b\nnameserver 1.1.1.1\nnameserver ::1\noptions ndots:2 rotate\n"
    assert (place / "hosts").read_text() == Path("/etc/hosts").read_text()
    assert (place / "root/pause").read_bytes() == PROGRAM
    assert [mode(place / it) for it in ("root/pause", "hostname", ".", "..")] == [0o755, 0o644, 0o700, 0o711]
    pods.remove(path)
    assert not place.parent.parent.exists()
    pods.remove(path)


def test_files_of_the_host(place: Path) -> None:
    pods.write_files(pod({"namespace_options": {"ipc": 2}}), pods.directory("k8s.io", "id"))
    assert (place / "hostname").read_text() == Path("/proc/sys/kernel/hostname").read_text()
    assert (place / "resolv.conf").read_text() == Path("/etc/resolv.conf").read_text()
    assert not (place / "shm").exists()


@pytest.mark.parametrize("times", [1, 3])
def test_what_is_above_is_removed_by_another_shim_meanwhile(
    place: Path, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    """It removes the directories above its pod, the last one, before this pod's is in them."""
    real = pods._make
    left = [times]

    def make(path: str, mode: int) -> None:
        if path == str(place) and left[0]:
            left[0] -= 1
            place.parent.rmdir()
            place.parent.parent.rmdir()
        real(path, mode)

    monkeypatch.setattr(pods, "_make", make)
    pods.write_files(pod(), str(place))
    assert (place / "root/pause").read_bytes() == PROGRAM
    left[0] = -1  # without end
    pods.remove(str(place))
    with pytest.raises(PyruncError, match=r"the files of the pod: .*: no such file or directory"):
        pods.write_files(pod(), str(place))


def test_what_cannot_be_written_is_named(place: Path) -> None:
    place.parent.mkdir(parents=True)
    place.write_text("in the way")
    with pytest.raises(PyruncError, match="the files of the pod"):
        pods.write_files(pod(), str(place))


def joined(tmp_path: Path, place: Path, **config: Any) -> Any:
    annotations = {"io.kubernetes.cri.sandbox-id": "id", "io.kubernetes.cri.container-type": "container"}
    (tmp_path / "config.json").write_text(json.dumps({"annotations": annotations, **config}))
    pods.join(str(tmp_path), "id", str(place))
    return json.loads((tmp_path / "config.json").read_text())


def test_join(tmp_path: Path, place: Path) -> None:
    pods.write_files(pod(), str(place))
    shm = {"destination": "/dev/shm", "type": "tmpfs", "source": "shm"}
    found = joined(tmp_path, place, mounts=[{"destination": "/proc"}, shm])
    given = {it["destination"]: it for it in found["mounts"]}
    assert sorted(given) == ["/dev/shm", "/etc/hostname", "/etc/hosts", "/etc/resolv.conf", "/proc"]
    assert given["/dev/shm"]["source"] == f"{place}/shm"
    assert given["/etc/hosts"]["options"] == ["rbind", "rprivate", "rw"]
    assert "uidMappings" not in given["/etc/hosts"]


def test_join_keeps_what_is_there(tmp_path: Path, place: Path) -> None:
    """Also the node's /dev/shm, which is a bind mount; and a read-only root has read-only files."""
    pods.write_files(pod(), str(place))
    own = [{"destination": it, "type": "bind", "source": "/x"} for it in ("/dev/shm", "/etc/hosts")]
    found = joined(tmp_path, place, mounts=own, root={"readonly": True}, linux={"uidMappings": MAPPED})
    given = {it["destination"]: it for it in found["mounts"]}
    assert given["/dev/shm"]["source"] == given["/etc/hosts"]["source"] == "/x"
    assert given["/etc/hostname"]["options"] == ["rbind", "rprivate", "ro"]
    assert given["/etc/hostname"]["uidMappings"] == MAPPED


def test_join_without_shared_memory(tmp_path: Path, place: Path) -> None:
    """With the node's IPC namespace a default /dev/shm stays."""
    pods.write_files(pod({"namespace_options": {"ipc": 2}}), str(place))
    shm = {"destination": "/dev/shm", "type": "tmpfs", "source": "shm"}
    assert shm in joined(tmp_path, place, mounts=[shm])["mounts"]


def test_join_of_a_stranger(tmp_path: Path, place: Path) -> None:
    for given in ({}, {"io.kubernetes.cri.sandbox-id": "id"}, {"io.kubernetes.cri.sandbox-id": "other"}):
        assert joined(tmp_path, place, annotations=given) == {"annotations": given}


@pytest.mark.parametrize("text", ["{", "[]", '{"annotations": 1}'])
def test_join_of_a_bad_configuration(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(PyruncError, match=r"config\.json"):
        pods.join(str(tmp_path), "id", "/none")


def test_the_user_namespace_of_a_network() -> None:
    fd = pods.user_namespace("/proc/self/ns/net")
    try:
        assert Path(f"/proc/self/fd/{fd}").stat().st_ino == Path("/proc/self/ns/user").stat().st_ino
    finally:
        import os

        os.close(fd)
    with pytest.raises(PyruncError, match="/none"):
        pods.user_namespace("/none")


def test_the_score_is_kept() -> None:
    before = Path("/proc/self/oom_score_adj").read_text()
    assert -998 <= pods.oom_score() <= 1000
    assert Path("/proc/self/oom_score_adj").read_text() == before


def test_the_program(tmp_path: Path) -> None:
    """It is small, and ends by SIGTERM and SIGINT with 0."""
    assert len(PROGRAM) < 4096
    file = tmp_path / "pause"
    file.write_bytes(PROGRAM)
    file.chmod(0o755)
    for signal in (15, 2):
        process = subprocess.Popen([file])

        def ignores(pid: int = process.pid) -> bool:
            lines = Path(f"/proc/{pid}/status").read_text().splitlines()
            return bool(int(next(it for it in lines if it.startswith("SigIgn")).split()[1], 16) & 1 << 16)

        wait_for("SIGCHLD to be ignored", ignores)
        process.send_signal(19)  # stopped and continued, it waits on
        process.send_signal(18)
        process.send_signal(signal)
        assert process.wait(60) == 0
