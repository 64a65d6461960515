"""Docker and Podman, which share nearly all options."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from typing import Any

from tests.engines.engine import GRACE, Box, Engine, Wish
from tests.engines.machine import Done, Machine, wait_for

DOCKERD = "/etc/docker/daemon.json"
CONTAINERS = "/etc/containers/containers.conf"


class Words(Engine):
    """The options that both have."""

    program: tuple[str, ...] = ()
    # A user namespace with other ids.
    mapping: tuple[str, ...] = ()
    # A removal by force, at once.
    removal: tuple[str, ...] = ("rm", "--force", "--volumes")

    def runtime_words(self) -> list[str]:
        """The words between `run` and the options."""
        return []

    def run_words(self, name: str, command: Sequence[str], wish: Wish, detach: bool) -> list[str]:
        words = [*self.program, "run", f"--name={name}", *self.runtime_words(), f"--network={self.other(wish.network)}"]
        for option, on in (
            ("--detach", detach), ("--tty", wish.tty), ("--interactive", wish.stdin or not detach),
            ("--rm", wish.remove), ("--read-only", wish.read_only), ("--privileged", wish.privileged),
            ("--init", wish.init), ("--security-opt=no-new-privileges", wish.no_new_privileges),
            (f"--user={wish.user}", wish.user),
            (f"--workdir={wish.directory}", wish.directory), (f"--hostname={wish.hostname}", wish.hostname),
            (f"--security-opt=seccomp={wish.profile}", wish.profile),
            (f"--pid={self.other(wish.pid)}", wish.pid not in ("", "shareable")),
            (f"--ipc={self.other(wish.ipc)}", wish.ipc), (f"--uts={wish.uts}", wish.uts),
            (f"--cgroupns={wish.cgroupns}", wish.cgroupns), (f"--restart={wish.restart}", wish.restart),
            (f"--health-cmd={wish.health}", wish.health), ("--health-interval=1s", wish.health),
        ):  # fmt: skip
            words += [option] if on else []
        for option, values in (
            ("--group-add", wish.groups), ("--tmpfs", wish.tmpfs), ("--volume", wish.volumes),
            ("--device", wish.devices),
            ("--cap-add", wish.cap_add), ("--cap-drop", wish.cap_drop), ("--ulimit", wish.ulimits),
            ("--env", [f"{key}={value}" for key, value in wish.environment.items()]),
            ("--sysctl", [f"{key}={value}" for key, value in wish.sysctls.items()]),
        ):  # fmt: skip
            words += [f"{option}={value}" for value in values]
        words += limit_words(wish.limits)
        words += self.mapping if wish.mapped else ()
        return [*words, wish.image, *command]

    @staticmethod
    def other(namespace: str) -> str:
        """A namespace: another container's is `container:ID`."""
        return namespace.replace("box:", "container:")

    def exec_words(self, box: Box, command: Sequence[str], wish: Mapping[str, object]) -> list[str]:
        words = [*self.program, "exec", *(["--detach"] if wish.get("detach") else ["--interactive"])]
        words += ["--tty"] if wish.get("tty") else []
        words += ["--privileged"] if wish.get("privileged") else []
        words += [f"--user={wish['user']}"] if "user" in wish else []
        words += [f"--workdir={wish['directory']}"] if "directory" in wish else []
        words += [f"--env={pair}" for pair in pairs(wish)]
        return [*words, box.name, *command]

    def exec(self, box: Box, command: Sequence[str], input: str, wish: Mapping[str, object]) -> Done:
        return self.call(*self.exec_words(box, command, wish), input=input)

    def inspect(self, box: Box, template: str) -> str:
        """The output of `inspect --format`; empty if there is no such container."""
        done = self.call(*self.program, "inspect", "--type=container", f"--format={template}", box.name)
        return done.out.strip() if done.code == 0 else ""

    def state(self, box: Box) -> str:
        return self.inspect(box, "{{.State.Status}}")

    def pid(self, box: Box) -> int:
        return int(self.inspect(box, "{{.State.Pid}}"))

    def exit_code(self, box: Box) -> int:
        return int(self.call(*self.program, "wait", box.name).out)

    def logs(self, box: Box) -> Done:
        return self.call(*self.program, "logs", box.name)

    def act(self, box: Box, word: str, more: Sequence[str]) -> Done:
        words: Sequence[str] = {
            "kill": ["kill", *(f"--signal={signal}" for signal in more)], "stop": ["stop", f"--time={GRACE}"],
            "pause": ["pause"], "resume": ["unpause"], "restart": ["restart", f"--time={GRACE}"],
            "remove": self.removal,
        }[word]  # fmt: skip
        return self.call(*self.program, *words, box.name)

    def top(self, box: Box) -> Done:
        return self.call(*self.program, "top", box.name)

    def stats(self, box: Box) -> Done:
        return self.call(*self.program, "stats", "--no-stream", box.name)

    def update(self, box: Box, limits: Mapping[str, str]) -> Done:
        return self.call(*self.program, "update", *limit_words(limits), box.name)

    def oom_killed(self, box: Box) -> bool:
        return self.inspect(box, "{{.State.OOMKilled}}") == "true"

    def copy(self, source: str, target: str) -> Done:
        """Copy a file from or to BOX:PATH."""
        return self.call(*self.program, "cp", source, target)


def limit_words(limits: Mapping[str, str]) -> list[str]:
    """Options of `run` and `update` for limits."""
    names = {"pids": "--pids-limit", "memory": "--memory", "cpus": "--cpus"}
    return [f"{names[name]}={value}" for name, value in limits.items()]


def pairs(wish: Mapping[str, object]) -> list[str]:
    """The environment of a wish as KEY=VALUE."""
    environment = wish.get("environment", {})
    assert isinstance(environment, dict)
    return [f"{key}={value}" for key, value in environment.items()]


class Docker(Words):
    """dockerd with the machine's containerd."""

    name = "docker"
    program = ("docker",)
    keeper = "containerd-shim-runc-v2"
    # Options of the daemon.
    options: tuple[str, ...] = ()

    @classmethod
    def up(cls, machine: Machine) -> str:
        runtimes = {"pyrunc": {"path": "/usr/local/bin/pyrunc"}}
        machine.write(DOCKERD, json.dumps({"runtimes": runtimes, "live-restore": True, "experimental": True}))
        cls.start(machine)
        done = machine.run(*cls.program, "load", "--input", "/var/tmp/busybox.tar")
        assert done.code == 0, done.said
        return machine.run(*cls.program, "version", "--format", "{{.Server.Version}}").out.strip()

    @classmethod
    def start(cls, machine: Machine) -> None:
        """Start a dockerd and wait until it answers. It uses a running containerd, or starts one itself."""
        machine.start("dockerd", "dockerd", *cls.options)
        wait_for(lambda: machine.run(*cls.program, "version").code == 0, "dockerd does not answer", 60)

    def run_words(self, name: str, command: Sequence[str], wish: Wish, detach: bool) -> list[str]:
        if wish.mapped and not self.options:
            self.lacks("user namespace of one container: --userns-remap is the daemon's")
        return super().run_words(name, command, wish, detach)

    def runtime_words(self) -> list[str]:
        return [f"--runtime={self.runtime}"]

    def healthy(self, box: Box) -> bool:
        return self.inspect(box, "{{.State.Health.Status}}") == "healthy"

    def checkpoint(self, box: Box) -> Box:
        done = self.call(*self.program, "checkpoint", "create", box.name, "point")
        assert done.code == 0, f"docker checkpoint: {done.said}"
        for _ in range(20):
            done = self.call(*self.program, "start", "--checkpoint=point", box.name)
            # containerd may still keep the content of the checkpoint just made, and dockerd 20.10 can't add it again.
            if "already exists" not in done.err:
                break
            time.sleep(0.5)
        assert done.code == 0, f"docker start: {done.said}"
        return box

    def restart_daemon(self) -> None:
        self.machine.kill(self.machine.pids("dockerd"))
        wait_for(lambda: not self.machine.pids("dockerd"), "dockerd is still there")
        self.start(self.machine)


class Remapped(Docker):
    """The same with userns-remap, which applies to all of a daemon's containers."""

    name = "docker --userns-remap"
    options = ("--userns-remap=default",)


class Podman(Words):
    """Podman run by root, with conmon."""

    name = "podman"
    keeper = "conmon"
    mapping = ("--uidmap=0:100000:65536", "--gidmap=0:100000:65536")
    removal = ("rm", "--force", "--volumes", "--time=0")
    # The program that runs a command as Podman's user.
    prefix: tuple[str, ...] = ()

    def __init__(self, machine: Machine, runtime: str) -> None:
        super().__init__(machine, runtime)
        self.program = (*self.prefix, "podman", f"--runtime={runtime}")

    def once(self, *command: str, input: str = "", **wish: Any) -> Done:
        """Run a container in the foreground. On a busy machine conmon may read the output of a short program before it
        accepts Podman's connection, and then only the log has it: so a success without output is tried again."""
        done = super().once(*command, input=input, **wish)
        return done if done.code or done.out else super().once(*command, input=input, **wish)

    @classmethod
    def up(cls, machine: Machine) -> str:
        # The machine has no systemd and no journal; a container can't raise the machine's rlimits.
        machine.write(
            CONTAINERS,
            """
[containers]
default_ulimits = []
pids_limit = 0

[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime_supports_json = ["pyrunc", "crun", "runc"]
runtime_supports_nocgroups = ["pyrunc", "crun"]
runtime_supports_nocgroup = ["pyrunc", "crun"]

[engine.runtimes]
pyrunc = ["/usr/local/bin/pyrunc"]
runc = ["/usr/sbin/runc", "/usr/bin/runc"]
crun = ["/usr/bin/crun"]
""",
        )
        done = machine.run(*cls.prefix, "podman", "load", "--input", "/var/tmp/busybox.tar")
        assert done.code == 0, done.said
        return machine.run(*cls.prefix, "podman", "version", "--format", "{{.Client.Version}}").out.strip()

    def healthy(self, box: Box) -> bool:
        # Podman's timers need systemd: run the check here.
        return self.call(*self.program, "healthcheck", "run", box.name).code == 0

    def checkpoint(self, box: Box) -> Box:
        for word in ("checkpoint", "restore"):
            done = self.call(*self.program, "container", word, box.name)
            assert done.code == 0, f"podman {word}: {done.said}"
        return box
