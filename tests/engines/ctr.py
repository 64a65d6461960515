"""containerd, by its own client ctr."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tests.engines.docker import pairs
from tests.engines.engine import GRACE, Box, Engine, Wish
from tests.engines.machine import Done, Machine, wait_for

CONFIG = "/etc/containerd/config.toml"


class Ctr(Engine):
    """The machine's containerd; `ctr run --runc-binary`."""

    name = "ctr"
    keeper = "containerd-shim-runc-v2"

    @classmethod
    def up(cls, machine: Machine) -> str:
        cls.start(machine)
        done = machine.run("ctr", "image", "import", "/var/tmp/busybox.tar")
        assert done.code == 0, done.said
        return machine.run("containerd", "--version").out.split()[2]

    @staticmethod
    def start(machine: Machine) -> None:
        """Start containerd and wait until it answers."""
        machine.start("containerd", "containerd")
        wait_for(lambda: machine.run("ctr", "version").code == 0, "containerd does not answer", 60)

    def run_words(self, name: str, command: Sequence[str], wish: Wish, detach: bool) -> list[str]:
        # The default of 1024 shares needs the controller.
        words = ["ctr", "run", f"--runc-binary={self.machine.which(self.runtime)}", "--cpu-shares=0"]
        words += ["--detach", f"--log-uri=file:///var/tmp/{name}.log"] if detach and not wish.tty else []
        words += ["--detach"] if detach and wish.tty else []
        for option, on in (
            ("--rm", wish.remove and not detach), ("--tty", wish.tty),
            (f"--cwd={wish.directory}", wish.directory), ("--read-only", wish.read_only),
            ("--privileged", wish.privileged), ("--net-host", wish.network == "host"),
            (f"--seccomp-profile={wish.profile}", wish.profile and wish.profile != "unconfined"),
            ("--seccomp", wish.profile != "unconfined"),
            ("--uidmap=0:100000:65536", wish.mapped), ("--gidmap=0:100000:65536", wish.mapped),
        ):  # fmt: skip
            words += [option] if on else []
        for what, present in (
            ("init", wish.init), ("ulimits", wish.ulimits), ("sysctls", wish.sysctls), ("restart", wish.restart),
            ("health checks", wish.health), ("groups", wish.groups), ("bridge", wish.network == "bridge"),
            ("pid namespace of the host", wish.pid == "host"), ("UTS namespace of the host", wish.uts),
            ("ipc namespace of the host", wish.ipc == "host"), ("cgroup namespaces", wish.cgroupns),
            ("hostname", wish.hostname), ("user for run", wish.user), ("limits of processes", "pids" in wish.limits),
            ("word for all capabilities", "ALL" in wish.cap_drop),
            ("no-new-privileges to turn on: it is the default", wish.no_new_privileges),
        ):  # fmt: skip
            if present:
                self.lacks(what)
        for option, values in (
            ("--env", [f"{key}={value}" for key, value in wish.environment.items()]), ("--device", wish.devices),
            ("--cap-add", wish.cap_add), ("--cap-drop", wish.cap_drop), ("--mount", [mount(v) for v in wish.volumes]),
            ("--mount", [memory(v) for v in wish.tmpfs]),
            ("--with-ns", [self.joined(kind, where) for kind, where in spaces(wish)]),
        ):  # fmt: skip
            words += [f"{option}={value}" for value in values]
        if "memory" in wish.limits:
            words.append(f"--memory-limit={int(wish.limits['memory'].removesuffix('m')) << 20}")
        words += [f"--cpus={wish.limits['cpus']}"] if "cpus" in wish.limits else []
        return [*words, wish.image, name, *command]

    def joined(self, kind: str, where: str) -> str:
        """The namespace of another container."""
        pid = self.pid(Box(self, where.removeprefix("box:")))
        return f"{kind}:/proc/{pid}/ns/{'net' if kind == 'network' else kind}"

    def exec_words(self, box: Box, command: Sequence[str], wish: Mapping[str, object]) -> list[str]:
        words = ["ctr", "task", "exec", f"--exec-id={self.new_name()}"]
        words += ["--detach"] if wish.get("detach") else []
        words += ["--tty"] if wish.get("tty") else []
        words += [f"--cwd={wish['directory']}"] if "directory" in wish else []
        words += [f"--user={wish['user']}"] if "user" in wish else []
        if wish.get("privileged"):
            self.lacks("privileged exec")
        if pairs(wish):
            self.lacks("environment for exec")
        return [*words, box.name, *command]

    def once(self, *command: str, input: str = "", **wish: Any) -> Done:
        def run() -> Done:
            name = self.new_name()
            words = self.run_words(name, command, Wish(**{"remove": True, **wish}), detach=False)
            return self.fed(words, f"ctr task ls | grep -q '^{name} .*RUNNING'", input)

        return until_heard(run)

    def exec(self, box: Box, command: Sequence[str], input: str, wish: Mapping[str, object]) -> Done:
        def run() -> Done:
            # The box's own process is the first line after the heading.
            return self.fed(
                self.exec_words(box, command, wish), f"ctr task ps {box.name} | sed 1,2d | grep -q .", input
            )

        return run() if wish.get("detach") else until_heard(run)

    def fed(self, words: Sequence[str], running: str, input: str) -> Done:
        """Run a command of ctr. If there is input, it ends only when the container's process runs, which the shell
        command `running` tells: an end of stdin that comes earlier is lost, because ctr asks the shim to close the
        process's stdin only from then on.
        """
        if not input:
            return self.call(*words)
        script = f'{{ cat; timeout 30 sh -c "until {running}; do sleep 0.1; done"; }} | exec "$@"'
        return self.call("sh", "-c", script, "sh", *words, input=input)

    def row(self, box: Box) -> list[str]:
        """The words of the box's line of `ctr task ls`."""
        for line in self.call("ctr", "task", "ls").out.splitlines()[1:]:
            if line.split()[0] == box.name:
                return line.split()
        return []

    def state(self, box: Box) -> str:
        row = self.row(box)
        return {"RUNNING": "running", "STOPPED": "exited", "PAUSED": "paused"}.get(row[2], row[2]) if row else ""

    def pid(self, box: Box) -> int:
        return int(self.row(box)[1])

    def exit_code(self, box: Box) -> int:
        box.becomes("exited")
        said = self.call("ctr", "task", "rm", box.name).err
        # ctr prints a warning if the exit code is not 0.
        return int(said.rpartition("exit code ")[2].split()[0].strip('"')) if "exit code " in said else 0

    def logs(self, box: Box) -> Done:
        path = self.machine.path(f"/var/tmp/{box.name}.log")
        return Done(0, path.read_text() if path.exists() else "", "")

    def act(self, box: Box, word: str, more: Sequence[str]) -> Done:
        if word == "remove":
            self.call("ctr", "task", "rm", "--force", box.name)
            return self.call("ctr", "container", "rm", box.name)
        if word == "stop":
            self.call("ctr", "task", "kill", "--signal=SIGTERM", box.name)
            try:
                box.becomes("exited", GRACE)
            except AssertionError:
                self.call("ctr", "task", "kill", "--signal=SIGKILL", box.name)
                box.becomes("exited")
            return Done(0, "", "")
        if word == "restart":
            self.lacks("restart")
        return self.call("ctr", "task", word, *(f"--signal={signal}" for signal in more), box.name)

    def top(self, box: Box) -> Done:
        return self.call("ctr", "task", "ps", box.name)

    def stats(self, box: Box) -> Done:
        return self.call("ctr", "task", "metrics", box.name)

    def checkpoint(self, box: Box) -> Box:
        done = self.call("ctr", "container", "checkpoint", "--task", "--rw", box.name, f"localhost/{box.name}:point")
        assert done.code == 0, f"ctr container checkpoint: {done.said}"
        box.do("remove")
        done = self.call("ctr", "container", "restore", "--live", "--rw", box.name, f"localhost/{box.name}:point")
        assert done.code == 0, f"ctr container restore: {done.said}"
        return box

    def restart_daemon(self) -> None:
        self.machine.kill(self.machine.pids("containerd"))
        wait_for(lambda: not self.machine.pids("containerd"), "containerd is still there")
        self.start(self.machine)


def until_heard(run: Callable[[], Done]) -> Done:
    """The result of a command of ctr that has printed something, or the third one that has not.

    When the process has ended, ctr gives up a FIFO that it has not opened yet, and what the process wrote is lost. On a
    busy machine that happens with every runtime.
    """
    for _ in range(2):
        done = run()
        if done.out or done.err:
            return done
    return run()


def spaces(wish: Wish) -> list[tuple[str, str]]:
    """The namespaces of other containers to join, by ctr's names."""
    given = (("pid", wish.pid), ("ipc", wish.ipc), ("network", wish.network))
    return [(kind, where) for kind, where in given if where.startswith("box:")]


def mount(volume: str) -> str:
    """A volume as an option of --mount."""
    source, target, *options = volume.split(":")
    return f"type=bind,src={source},dst={target},options=rbind:{options[0] if options else 'rw'}"


def memory(tmpfs: str) -> str:
    """A tmpfs as an option of --mount."""
    target, _, options = tmpfs.partition(":")
    return f"type=tmpfs,src=tmpfs,dst={target},options={options.replace(',', ':') or 'rw'}"
