"""`integrate --check`, with fake clients that record their arguments. The integration tests use real ones."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pyrunc.engines import trial
from pyrunc.errors import PyruncError


class Clients:
    """Programs in a directory that is first in PATH."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def add(self, name: str, script: str) -> None:
        path = self.folder / name
        path.write_text(f'#!/bin/sh\necho "$*" >> {self.folder}/{name}.called\n{script}\n')
        path.chmod(0o755)

    def called(self, name: str) -> list[str]:
        return (self.folder / f"{name}.called").read_text().splitlines()


# Prints the last argument, as the container does.
ECHO = 'for word; do :; done; echo "$word"'


# The output of `crictl info`, in part.
INFO = '{"config": {"containerd": {"runtimes": {"%s": {}}}}}'

CRICTL = """
case $3 in
    runp) echo id ;;
    inspectp) echo '{"status": {"state": "SANDBOX_READY"}}' ;;
esac
"""
KUBECTL = """
case $1 in
    run) for word; do :; done; echo "$word" > "$0.word" ;;
    logs) cat "$0.word" ;;
esac
"""


@pytest.fixture
def clients(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Clients:
    (tmp_path / "bin").mkdir()
    (tmp_path / "tmp").mkdir()
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:/usr/sbin:/usr/bin:/sbin:/bin")
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    monkeypatch.setattr("shutil.which", lambda name: str(p) if (p := tmp_path / "bin" / name).exists() else None)
    return Clients(tmp_path / "bin")


def test_containerd_by_ctr(clients: Clients, tmp_path: Path) -> None:
    clients.add("ctr", f'for a; do [ ! -d "$a" ] || find "$a" -type f >&2; done; {ECHO}')
    assert trial.check("containerd", "/p", systemd=True).startswith("ctr started a container")
    (line,) = clients.called("ctr")
    assert "run --rm --rootfs --runc-binary /p --runc-systemd-cgroup " in line
    assert os.listdir(tmp_path / "tmp") == []


def test_the_container_has_a_program_that_can_run(clients: Clients, tmp_path: Path) -> None:
    rootfs = tmp_path / "rootfs"
    trial._fill(rootfs)
    if os.geteuid() == 0:
        import subprocess

        done = subprocess.run(["chroot", rootfs, "/bin/echo", "hello"], capture_output=True, text=True, check=True)
        assert done.stdout == "hello\n"
    assert (rootfs / "bin/echo").stat().st_mode & 0o111


@pytest.mark.parametrize(
    ("script", "said"),
    [
        (
            """echo '{"config": {"containerd": {"runtimes": {"pyrunc": {}}}}}'""",
            "its CRI plugin has the handler pyrunc",
        ),
        ("echo 'code = Unimplemented' >&2; exit 1", "its CRI plugin is disabled"),
    ],
)
def test_the_cri_plugin_is_asked(clients: Clients, script: str, said: str) -> None:
    clients.add("ctr", ECHO)
    clients.add("crictl", script)
    assert trial.check("containerd", "/p") == f"ctr started a container; {said}"


def test_a_handler_that_the_cri_plugin_does_not_have(clients: Clients) -> None:
    clients.add("ctr", ECHO)
    clients.add("crictl", f"echo '{INFO % 'runc'}'")
    with pytest.raises(PyruncError, match="the CRI plugin has no handler pyrunc") as caught:
        trial.check("containerd", "/p")
    assert "systemctl restart containerd" in caught.value.hint


def test_docker_imports_an_image_and_removes_it(clients: Clients) -> None:
    clients.add("docker", f'[ "$1" != import ] || tar -t >&2; {ECHO}')
    assert trial.check("docker", "/p") == "docker started a container by the runtime pyrunc"
    imported, ran, removed = clients.called("docker")
    image = imported.split()[-1]
    assert f"--runtime pyrunc --network none {image} /bin/echo pyrunc-" in ran
    assert removed == f"rmi --force {image}"


def test_docker_with_an_image_of_the_caller(clients: Clients) -> None:
    clients.add("docker", ECHO)
    trial.check("docker", "/p", image="alpine")
    (line,) = clients.called("docker")
    assert " alpine /bin/echo " in line


def test_podman_starts_one_without_a_cgroup_too(clients: Clients) -> None:
    clients.add("podman", ECHO)
    trial.check("podman", "/p")
    assert ["--cgroups=disabled" in line for line in clients.called("podman")] == [False, True]


def test_crio_and_kubernetes(clients: Clients) -> None:
    clients.add(
        "crictl",
        """[ "$3" != runp ] || echo id; [ "$3" != inspectp ] || echo '{"status": {"state": "SANDBOX_READY"}}'""",
    )
    assert trial.check("crio", "/p") == "CRI-O started a pod by the handler pyrunc"
    assert clients.called("crictl")[-1].endswith("rmp --force id")
    clients.add("kubectl", KUBECTL)
    assert "RuntimeClass pyrunc" in trial.check("kubernetes", "", image="x")
    assert '{"spec": {"runtimeClassName": "pyrunc"}}' in clients.called("kubectl")[0]
    assert clients.called("kubectl")[-1].startswith("delete pod ")


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("echo first >&2; echo 'ctr: no such thing' >&2; exit 3", "ctr run exited with 3: ctr: no such thing"),
        ("exit 2", "ctr run exited with 2: it said nothing"),
        ("echo other", "the container printed 'other' and not 'pyrunc-"),
        ("true", "the container printed '' and not 'pyrunc-"),
    ],
)
def test_the_engines_last_line_is_told(clients: Clients, script: str, said: str) -> None:
    clients.add("ctr", script)
    with pytest.raises(PyruncError) as caught:
        trial.check("containerd", "/p")
    assert caught.value.message.startswith(said)


@pytest.mark.parametrize(
    ("engine", "client"), [("containerd", "ctr"), ("docker", "docker"), ("podman", "podman"), ("crio", "crictl")]
)
def test_an_engine_that_is_not_installed(
    clients: Clients, monkeypatch: pytest.MonkeyPatch, engine: str, client: str
) -> None:
    monkeypatch.setenv("PATH", str(clients.folder))
    monkeypatch.setattr(trial, "_fill", lambda rootfs: None)
    with pytest.raises(PyruncError, match=f"{client} is not installed"):
        trial.check(engine, "/p")


def test_an_engine_that_does_not_answer(clients: Clients, monkeypatch: pytest.MonkeyPatch) -> None:
    clients.add("ctr", "exec sleep 60")
    monkeypatch.setattr(trial, "_SECONDS", 0.2)
    with pytest.raises(PyruncError, match=r"ctr run: no answer within 0\.2 s"):
        trial.check("containerd", "/p")
