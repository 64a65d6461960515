"""`integrate` and the engines of this machine: it writes their configuration, and `--check` starts a container through
the engine.

Each engine runs in mount, pid and network namespaces of its own with a pure cgroup2 hierarchy, a /run of its own, and
the test's files. The hierarchy has no controllers, so the tests remove cpu, memory and pids limits from config.json.
"""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys

import pytest

from tests.support.runtime import REPOSITORY, Runtime

# Turns the namespaces into an engine's machine; then runs the test's own script.
GROUND = """
set -eu
mount --make-rprivate /
cut -d" " -f5 /proc/self/mountinfo | grep ^/sys/fs/cgroup | sort -r | while read -r place; do umount -l "$place"; done
mount -t cgroup2 none /sys/fs/cgroup
mount -t proc proc /proc
mount -t tmpfs none /run
ip link set lo up
cd "$1"
"""

CONTAINERD = """
containerd --config config.toml > containerd.log 2>&1 < /dev/null &
for i in $(seq 300); do [ -S /run/containerd/containerd.sock ] && break; sleep 0.1; done
"""

PODMAN = """
export CONTAINERS_CONF="$PWD/containers.conf" CONTAINERS_STORAGE_CONF="$PWD/storage.conf"
"""


class Machine:
    """A directory with the files of an engine, and the command `./pyrunc`."""

    def __init__(self, runtime: Runtime) -> None:
        self.folder = runtime.work
        words = shlex.join(runtime.command)
        (self.folder / "edit.py").write_text(
            "import json, sys\n"
            "config = json.load(open(sys.argv[1]))\n"
            "for name in ('cpu', 'memory', 'pids'):\n"
            "    config['linux'].get('resources', {}).pop(name, None)\n"
            "json.dump(config, open(sys.argv[1], 'w'))\n"
        )
        (self.folder / "pyrunc").write_text(
            f"#!/bin/sh\nexport PYTHONPATH={shlex.quote(str(REPOSITORY))}\nbefore=\nfor word; do\n"
            f'    [ "$before" != --bundle ] || {sys.executable} {self.folder}/edit.py "$word/config.json"\n'
            f'    before=$word\ndone\nexec {words} "$@"\n'
        )
        (self.folder / "pyrunc").chmod(0o755)

    def run(self, script: str) -> subprocess.CompletedProcess[str]:
        """Run a shell script on the machine, until it and all its processes have ended."""
        with (self.folder / "out").open("w") as out, (self.folder / "err").open("w") as err:
            done = subprocess.run(
                ["unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "sh", "-c", GROUND + script, "sh",
                 self.folder],
                stdin=subprocess.DEVNULL, stdout=out, stderr=err, check=False, timeout=180,
            )  # fmt: skip
        return subprocess.CompletedProcess(
            done.args, done.returncode, (self.folder / "out").read_text(), (self.folder / "err").read_text()
        )


@pytest.fixture
def machine(runtime: Runtime) -> Machine:
    if shutil.which("ip") is None:
        pytest.skip("needs ip (package iproute2)")
    return Machine(runtime)


def need(*programs: str) -> None:
    for program in programs:
        if shutil.which(program) is None:
            pytest.skip(f"needs {program}, which is not installed")


@pytest.fixture
def containerd(machine: Machine) -> Machine:
    need("containerd", "ctr")
    (machine.folder / "config.toml").write_text(
        f'version = 2\nroot = "{machine.folder}/containerd"\nstate = "{machine.folder}/state"\n'
        'disabled_plugins = ["io.containerd.grpc.v1.cri"]\n'
    )
    return machine


def test_containerd_starts_a_container(containerd: Machine) -> None:
    script = 'path="--path $PWD/pyrunc"\n./pyrunc integrate containerd --write --file config.toml $path\n'
    done = containerd.run(script + CONTAINERD + "./pyrunc integrate containerd --check $path\n")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].startswith("ctr started a container; ")
    assert "io.containerd.grpc.v1.cri" in (containerd.folder / "config.toml").read_text()


@pytest.mark.parametrize("default", ["", "--default"])
def test_the_cri_plugin_still_loads(containerd: Machine, default: str) -> None:
    """containerd 1.x: the table of runtimes in the file replaces its own, which has the default runtime."""
    config = containerd.folder / "config.toml"
    config.write_text("".join([line for line in config.read_text().splitlines(True) if "disabled" not in line]))
    script = f'./pyrunc integrate containerd --write --file config.toml --path "$PWD/pyrunc" {default}\n'
    done = containerd.run(script + CONTAINERD + "ctr plugins ls | grep -w cri\n")
    assert done.stdout.split()[-1] == "ok", (containerd.folder / "containerd.log").read_text()


def test_what_containerd_says_of_a_runtime_that_fails(containerd: Machine) -> None:
    done = containerd.run(CONTAINERD + "./pyrunc integrate containerd --check --path /bin/false\n")
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert "ctr run exited with 1: ctr: failed to create shim task: " in last
    assert "/bin/false" in last


def test_containerd_that_does_not_run(containerd: Machine) -> None:
    done = containerd.run("./pyrunc integrate containerd --check --path $PWD/pyrunc\n")
    assert done.returncode == 1
    assert "ctr run exited with 1: ctr: " in done.stderr.splitlines()[-1]


@pytest.fixture
def podman(machine: Machine) -> Machine:
    need("podman", "conmon")
    (machine.folder / "containers.conf").write_text(
        '[containers]\ndefault_ulimits = []\npids_limit = 0\n\n[engine]\ncgroup_manager = "cgroupfs"\n'
        'events_logger = "file"\n'
    )
    (machine.folder / "storage.conf").write_text(
        f'[storage]\ndriver = "vfs"\ngraphroot = "{machine.folder}/graph"\nrunroot = "{machine.folder}/run"\n'
    )
    return machine


def test_podman_starts_containers_with_and_without_a_cgroup(podman: Machine) -> None:
    script = PODMAN + 'path="--path $PWD/pyrunc"\n./pyrunc integrate podman --write --file containers.conf $path\n'
    done = podman.run(script + "./pyrunc integrate podman --check $path\n")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == (
        "podman started a container by the runtime pyrunc, and one without a cgroup"
    )


def test_podman_without_the_lines_does_not_know_the_runtime(podman: Machine) -> None:
    done = podman.run(PODMAN + "./pyrunc integrate podman --check --path $PWD/pyrunc\n")
    assert done.returncode == 1
    assert 'default OCI runtime \\"pyrunc\\" not found' in done.stderr.splitlines()[-1]


def test_docker_that_does_not_run(machine: Machine) -> None:
    need("docker")
    done = machine.run("./pyrunc integrate docker --check --path $PWD/pyrunc\n")
    assert done.returncode == 1
    assert "docker import exited with 1: " in done.stderr.splitlines()[-1]
