"""CRI-O's calls of conmon and of the runtime, replayed: no package of CRI-O can be had.

The calls are those of CRI-O's runtime for OCI runtimes, internal/oci/runtime_oci.go of cri-o/cri-o: conmon creates a
container and runs a probe (ExecSync); CRI-O itself calls the runtime's start, state, kill, pause, resume, update,
checkpoint, exec for a streamed session, and delete. conmon gets an environment with nothing but PATH, a pipe from
which it takes one byte when its cgroup is set, and a pipe to which it writes the pid or the exit code. Namespaces of a
pod are files on which namespaces are mounted, as CRI-O's pinns makes them.
"""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from typing import Any

from tests.engines.engine import BUSYBOX, GRACE, Box, Engine, Wish
from tests.engines.machine import PATH, Done, Machine, wait_for

# Where CRI-O keeps its files, by its configuration's defaults.
IMAGE = "/var/lib/containers/crio-image"
BUNDLES = "/var/lib/containers/crio"
EXITS = "/run/crio/exits"
SOCKETS = "/run/crio"
PINNED = "/run/crio/ns"

# Runs conmon as CRI-O does, and prints what conmon writes to its pipe.
DRIVER = """
import os, socket, subprocess, sys
sync, theirs = socket.socketpair()
start, gate = socket.socketpair()
names = {"_OCI_SYNCPIPE": str(theirs.fileno()), "_OCI_STARTPIPE": str(gate.fileno()), "PATH": os.environ["PATH"]}
conmon = subprocess.Popen(sys.argv[1:], pass_fds=[theirs.fileno(), gate.fileno()], env=names, stdin=subprocess.DEVNULL)
theirs.close()
gate.close()
start.sendall(bytes(1))
conmon.wait()
print(sync.makefile().readline().strip() or '{"pid": -1, "exit_code": -1, "message": "conmon has written nothing"}')
"""

KINDS = {"pid": "pid", "network": "net", "ipc": "ipc", "uts": "uts", "cgroup": "cgroup", "mount": "mnt", "user": "user"}

STATES = {"running": "running", "paused": "paused", "stopped": "exited", "created": "created"}

# The capabilities of CRI-O's default.
CAPABILITIES = ("CHOWN", "DAC_OVERRIDE", "FSETID", "FOWNER", "SETGID", "SETUID", "SETPCAP", "NET_BIND_SERVICE", "KILL")

MOUNTS = (
    ("/proc", "proc", "proc", ("nosuid", "noexec", "nodev")),
    ("/dev", "tmpfs", "tmpfs", ("nosuid", "strictatime", "mode=755", "size=65536k")),
    ("/dev/pts", "devpts", "devpts", ("nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5")),
    ("/dev/mqueue", "mqueue", "mqueue", ("nosuid", "noexec", "nodev")),
    ("/sys", "sysfs", "sysfs", ("nosuid", "noexec", "nodev", "ro")),
    ("/sys/fs/cgroup", "cgroup", "cgroup", ("nosuid", "noexec", "nodev", "relatime", "ro")),
    ("/dev/shm", "bind", "/dev/shm", ("rw", "bind")),
    ("/etc/hosts", "bind", "/etc/hosts", ("ro", "bind", "nodev", "nosuid", "noexec")),
)


class Crio(Engine):
    """Debian's conmon, driven as CRI-O drives it."""

    name = "crio"
    keeper = "conmon"

    def __init__(self, machine: Machine, runtime: str) -> None:
        super().__init__(machine, runtime)
        self.configs: dict[str, dict[str, Any]] = {}

    @classmethod
    def up(cls, machine: Machine) -> str:
        root = machine.path(IMAGE)
        root.mkdir(parents=True)
        with tarfile.open(machine.path("/var/tmp/busybox.tar")) as archive:
            (layer,) = (name for name in archive.getnames() if name.endswith("layer.tar"))
            file = archive.extractfile(layer)
            assert file is not None
            with tarfile.open(fileobj=io.BytesIO(file.read())) as tar:
                tar.extractall(root, filter="fully_trusted")
        done = machine.run("mkdir", "-p", EXITS, PINNED, BUNDLES)
        assert done.code == 0, done.said
        return machine.run("conmon", "--version").out.split()[2]

    # ---- the configuration ----

    def config(self, name: str, command: Sequence[str], wish: Wish) -> dict[str, Any]:
        """The config.json of a container, with the parts that CRI-O's has."""
        for what, present in (
            ("image but busybox", wish.image != BUSYBOX), ("init", wish.init), ("restart", wish.restart),
            ("health checks", wish.health), ("network of its own", wish.network == "bridge"),
            ("user by name", wish.user.isalpha()), ("privileged", wish.privileged), ("limits", wish.limits),
        ):  # fmt: skip
            if present:
                self.lacks(what)
        names = {*CAPABILITIES, *(cap.removeprefix("CAP_") for cap in wish.cap_add)}
        names -= names if "ALL" in wish.cap_drop else {cap.removeprefix("CAP_") for cap in wish.cap_drop}
        capabilities = sorted(f"CAP_{cap}" for cap in names)
        user, _, group = (wish.user or "0:0").partition(":")
        mounts = [
            {"destination": where, "type": kind, "source": source, "options": [*options]}
            for where, kind, source, options in MOUNTS
        ]
        for volume in wish.volumes:
            source, target, *more = volume.split(":")
            options = ["rbind", "rprivate", more[0] if more else "rw"]
            mounts.append({"destination": target, "type": "bind", "source": source, "options": options})
        for place in wish.tmpfs:
            target, _, options_text = place.partition(":")
            options = ["nosuid", "nodev", *filter(None, options_text.split(","))]
            mounts.append({"destination": target, "type": "tmpfs", "source": "tmpfs", "options": options})
        linux: dict[str, Any] = {
            "namespaces": self.namespaces(wish),
            "cgroupsPath": f"/kubepods.slice/crio-{name}",
            "maskedPaths": ["/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/sys/firmware"],
            "readonlyPaths": ["/proc/asound", "/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
            "resources": {"devices": [{"allow": False, "access": "rwm"}]},
            "sysctl": dict(wish.sysctls),
        }
        for device in wish.devices:
            found = self.machine.path(device).stat()
            number = {"type": "c", "major": found.st_rdev >> 8, "minor": found.st_rdev & 255}
            linux.setdefault("devices", []).append({"path": device, **number, "fileMode": 0o666, "uid": 0, "gid": 0})
            linux["resources"]["devices"].append({"allow": True, "access": "rwm", **number})
        if wish.profile not in ("", "unconfined"):
            linux["seccomp"] = json.loads(self.machine.path(wish.profile).read_text())
        if wish.mapped:
            ids = [{"containerID": 0, "hostID": 100000, "size": 65536}]
            linux |= {"uidMappings": ids, "gidMappings": ids}
        return {
            "ociVersion": "1.0.2-dev",
            "process": {
                "terminal": wish.tty,
                "user": {"uid": int(user), "gid": int(group or 0), "additionalGids": [int(n) for n in wish.groups]},
                "args": list(command),
                "env": [f"PATH={PATH}", *(f"{key}={value}" for key, value in wish.environment.items())],
                "cwd": wish.directory or "/",
                "capabilities": dict.fromkeys(("bounding", "effective", "permitted"), capabilities),
                "rlimits": [limit(text) for text in wish.ulimits],
                "noNewPrivileges": wish.no_new_privileges,
            },
            "root": {"path": f"{BUNDLES}/{name}/rootfs", "readonly": wish.read_only},
            "hostname": "" if wish.uts == "host" else wish.hostname or "engines-pod",
            "mounts": mounts,
            "annotations": {"io.kubernetes.cri-o.ContainerType": "container", "io.container.manager": "cri-o"},
            "linux": linux,
        }  # fmt: skip

    def namespaces(self, wish: Wish) -> list[dict[str, str]]:
        """The namespaces of a container: network, ipc and uts are files, as of a pod."""
        wanted = {"pid": wish.pid, "network": wish.network, "ipc": wish.ipc, "uts": wish.uts, "mount": ""}
        wanted |= {"cgroup": wish.cgroupns} if wish.cgroupns != "host" else {}
        wanted |= {"user": ""} if wish.mapped else {}
        found = []
        for kind, value in wanted.items():
            if value == "host":
                continue
            path = ""
            if value.startswith("box:"):
                path = f"/proc/{self.pid(Box(self, value.removeprefix('box:')))}/ns/{KINDS[kind]}"
            elif kind in ("network", "ipc", "uts") and not wish.mapped:
                path = self.pinned(kind)
            found.append({"type": kind, **({"path": path} if path else {})})
        return found

    def pinned(self, kind: str) -> str:
        """A new namespace on a file."""
        path = f"{PINNED}/{self.new_name()}-{kind}"
        done = self.machine.run("sh", "-euc", f": > {path}; exec unshare --{KINDS[kind]}={path} true")
        assert done.code == 0, done.said
        return path

    # ---- containers ----

    def runtime_words(self, *words: str) -> list[str]:
        """A command line of the runtime, as CRI-O writes it."""
        return [self.machine.which(self.runtime), "--root", f"/run/{self.runtime}-crio", *words]

    def conmon(self, name: str, *words: str, seconds: float = 60) -> tuple[dict[str, Any], str]:
        """Run conmon; returns what it writes to its pipe, and its stderr."""
        common = [
            "conmon", "-c", name, "-n", f"k8s_{name}", "-r", self.machine.which(self.runtime), "--log-level", "info",
            "--runtime-arg", f"--root=/run/{self.runtime}-crio", "--socket-dir-path", SOCKETS,
        ]  # fmt: skip
        done = self.machine.run(self.machine.python, "-c", DRIVER, *common, *words, seconds=seconds)
        assert done.code == 0, done.said
        return json.loads(done.out.splitlines()[-1]), done.err

    def create(self, box: Box, *more: str) -> None:
        """Have conmon create the container of a bundle. AssertionError with its message if that fails."""
        bundle = f"{BUNDLES}/{box.name}"
        said, errors = self.conmon(
            box.name, "-b", bundle, "--exit-dir", EXITS, "-l", f"{bundle}/log", "-P", f"{bundle}/conmon-pidfile",
            "-p", f"{bundle}/pidfile", "--persist-dir", bundle, "--syslog", "-u", box.name,
            *(["-t"] if self.configs[box.name]["process"]["terminal"] else []), *more,
        )  # fmt: skip
        assert said["pid"] > 0, f"conmon: {said} {errors}"
        assert said["pid"] == int(self.machine.path(f"{bundle}/pidfile").read_text())

    def box(self, *command: str, **wish: Any) -> Box:
        box = Box(self, self.new_name())
        self.boxes.append(box)
        config = self.config(box.name, command, Wish(**wish))
        self.configs[box.name] = config
        bundle = f"{BUNDLES}/{box.name}"
        options = f"lowerdir={IMAGE},upperdir={bundle}/upper,workdir={bundle}/work"
        script = f"cd {bundle}; mkdir upper work rootfs; mount -t overlay -o {options} overlay rootfs"
        script += "; chown -R 100000:100000 rootfs" if config["linux"].get("uidMappings") else ""
        self.machine.write(f"{bundle}/config.json", json.dumps(config))
        done = self.machine.run("sh", "-euc", script)
        assert done.code == 0, done.said
        self.create(box)
        self.must("start", box.name)
        return box

    def once(self, *command: str, input: str = "", **wish: Any) -> Done:
        if input or wish.get("tty"):
            self.lacks("client at a terminal or with stdin: attach is CRI-O's own")
        box = self.box(*command, **wish)
        code = self.exit_code(box)
        logs = self.logs(box)
        return Done(code, logs.out, logs.err)

    def run_words(self, name: str, command: Sequence[str], wish: Wish, detach: bool) -> list[str]:
        self.lacks("client at a terminal or with stdin: attach is CRI-O's own")

    def must(self, *words: str, input: str = "") -> str:
        """The output of a call of the runtime, which must succeed."""
        done = self.call(*self.runtime_words(*words), input=input)
        assert done.code == 0, f"{' '.join(words)}: {done.said}"
        return done.out

    def process(self, box: Box, command: Sequence[str], wish: Mapping[str, object]) -> str:
        """The file with the process of an exec: the container's, with another command."""
        unknown = set(wish) - {"tty", "detach"}
        if unknown or wish.get("detach"):
            self.lacks(f"exec with {', '.join(sorted(unknown)) or 'detach'}: the CRI's has only a command")
        path = f"/var/tmp/{self.new_name()}.json"
        process = {**self.configs[box.name]["process"], "args": list(command), "terminal": bool(wish.get("tty"))}
        self.machine.write(path, json.dumps(process))
        return path

    def exec_words(self, box: Box, command: Sequence[str], wish: Mapping[str, object]) -> list[str]:
        # A streamed session: CRI-O gives the runtime its own pipes or terminal.
        return self.runtime_words("exec", "--process", self.process(box, command, wish), box.name)

    def exec(self, box: Box, command: Sequence[str], input: str, wish: Mapping[str, object]) -> Done:
        if input:
            return self.call(*self.exec_words(box, command, wish), input=input)
        log = f"/var/tmp/{self.new_name()}.log"
        self.machine.write(log, "")
        said, errors = self.conmon(
            box.name, "-p", f"{log}.pid", "-e", "-l", log, "--sync", "--log-global-size-max", str(16 << 20),
            "--exec-process-spec", self.process(box, command, wish),
        )  # fmt: skip
        if said["exit_code"] == -1:
            return Done(-1, "", f"{said.get('message', '')} {errors}")
        return Done(said["exit_code"], *parsed(self.machine.path(log).read_text(errors="replace")))

    def status(self, box: Box) -> dict[str, Any] | None:
        """What `state` says; None if there is no such container."""
        done = self.call(*self.runtime_words("state", box.name))
        return json.loads(done.out) if done.code == 0 else None

    def state(self, box: Box) -> str:
        found = self.status(box)
        return STATES[found["status"]] if found else ""

    def pid(self, box: Box) -> int:
        found = self.status(box)
        assert found is not None, f"there is no {box.name}"
        return int(found["pid"])

    def exit_code(self, box: Box) -> int:
        path = self.machine.path(f"{EXITS}/{box.name}")
        wait_for(path.exists, f"conmon has not written {EXITS}/{box.name}", 60)
        return int(path.read_text())

    def logs(self, box: Box) -> Done:
        return Done(0, *parsed(self.machine.path(f"{BUNDLES}/{box.name}/log").read_text(errors="replace")))

    def act(self, box: Box, word: str, more: Sequence[str]) -> Done:
        if word == "remove":
            return self.remove(box)
        if word == "stop":
            return self.stop(box)
        if word == "restart":
            self.lacks("restart")
        return self.call(*self.runtime_words(word, box.name, *(name.removeprefix("SIG") for name in more)))

    def stop(self, box: Box) -> Done:
        """SIGTERM, then SIGKILL, each by the runtime's kill."""
        done = self.call(*self.runtime_words("kill", box.name, "TERM"))
        try:
            wait_for(lambda: self.state(box) != "running", "it has not ended", GRACE)
        except AssertionError:
            return self.call(*self.runtime_words("kill", box.name, "KILL"))
        # After the end, CRI-O takes these words for success.
        again = self.call(*self.runtime_words("kill", box.name, "KILL"))
        known = ("container not running", "no such process", "invalid process")
        assert again.code == 0 or any(text in again.err for text in known), again.said
        return done

    def remove(self, box: Box) -> Done:
        done = self.call(*self.runtime_words("delete", "--force", box.name))
        bundle = f"{BUNDLES}/{box.name}"
        self.machine.run("sh", "-c", f"umount {bundle}/rootfs; rm -rf {bundle} {EXITS}/{box.name}")
        return done

    def update(self, box: Box, limits: Mapping[str, str]) -> Done:
        resources = {"memory": {"limit": int(limits["memory"].removesuffix("m")) << 20}}
        return self.call(*self.runtime_words("update", "--resources", "-", box.name), input=json.dumps(resources))

    def checkpoint(self, box: Box) -> Box:
        bundle = f"{BUNDLES}/{box.name}"
        self.must("checkpoint", "--file-locks", "--image-path", f"{bundle}/checkpoint", "--work-path", bundle, box.name)
        self.must("delete", "--force", box.name)
        self.machine.run("sh", "-c", f"cd {bundle} && rm -f attach ctl winsz; rm -f {EXITS}/{box.name}")
        self.create(box, "--restore", f"{bundle}/checkpoint")
        return box


def limit(text: str) -> dict[str, object]:
    """A resource limit, from NAME=SOFT:HARD."""
    name, _, values = text.partition("=")
    soft, _, hard = values.partition(":")
    return {"type": f"RLIMIT_{name.upper()}", "soft": int(soft), "hard": int(hard)}


def parsed(log: str) -> tuple[str, str]:
    """Both streams of a log in the CRI's form: TIME STREAM F|P TEXT, where P is a part of a line."""
    streams = {"stdout": "", "stderr": ""}
    for line in log.splitlines():
        _, stream, tag, text = line.split(" ", 3)
        streams[stream] += text + ("\n" if tag == "F" else "")
    return streams["stdout"], streams["stderr"]
