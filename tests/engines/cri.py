"""containerd's CRI plugin, by crictl: a box is a pod with one container."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tests.engines.docker import pairs
from tests.engines.engine import GRACE, PAUSE, Box, Engine, Wish
from tests.engines.machine import Done, Machine, wait_for

CONFIG = "/etc/containerd/config.toml"
NETWORK = "/etc/cni/net.d/10-engines.conflist"
LOGS = "/var/log/pods"

# The numbers of namespaces in the CRI.
OF_POD, OF_CONTAINER, OF_NODE = 0, 1, 2

# If a machine's cgroup2 has no cpu controller, the plugin's cpu.shares fail with every runtime. This program replaces
# the runtime, or pyrunc's shim: it removes from config.json the limits whose controllers are missing, and executes the
# program. containerd calls the shim's `start` in each bundle.
STRIP = """#!{python} -IS
import json, os, sys
with open("/sys/fs/cgroup/cgroup.controllers") as file:
    there = file.read().split()
absent = [key for name, keys in (("cpu", ["cpu"]), ("memory", ["memory"]), ("pids", ["pids"])) if name not in there
          for key in keys]
path = ""
if "create" in sys.argv and absent:
    path = sys.argv[sys.argv.index("--bundle") + 1] + "/config.json"
elif sys.argv[-1] == "start" and "-namespace" in sys.argv:
    path = "config.json"
if path and os.path.exists(path):  # a sandbox that the shim keeps has none
    with open(path) as file:
        config = json.load(file)
    for name in absent:
        config["linux"].get("resources", {{}}).pop(name, None)
    with open(path, "w") as file:
        json.dump(config, file)
os.execv("{runtime}", ["{runtime}"] + sys.argv[1:])
"""


# The runtime's handler with pyrunc's shim, the one whose shim keeps the sandboxes, and the shim.
SHIM, SANDBOX, SHIM_NAME = "pyrunc-shim", "pyrunc-sandbox", "containerd-shim-pyrunc-v2"


def stripped(machine: Machine, plugin: str) -> str:
    """The runtimes' tables of containerd's configuration, for a machine that may lack controllers."""
    text = ""
    for runtime in ("runc", "pyrunc"):
        program = f"/usr/local/libexec/{runtime}"
        machine.write(program, STRIP.format(python=machine.python, runtime=machine.which(runtime)), mode=0o755)
        text += f"""[plugins."{plugin}".containerd.runtimes.{runtime}]
  runtime_type = "io.containerd.runc.v2"
[plugins."{plugin}".containerd.runtimes.{runtime}.options]
  BinaryName = "{program}"
"""
    # pyrunc is a link into the tar that was unpacked (tree.py).
    program = f"{os.path.dirname(os.readlink(machine.path(machine.which('pyrunc'))))}/{SHIM_NAME}"
    machine.write(f"/usr/local/sbin/{SHIM_NAME}", STRIP.format(python=machine.python, runtime=program), mode=0o755)
    text += f"""[plugins."{plugin}".containerd.runtimes.{SHIM}]
  runtime_type = "io.containerd.pyrunc.v2"
"""
    if "grpc" in plugin:
        return text
    # Of containerd 2. No `start` is called for a container of such a pod, so its limits stay.
    return f"""{text}[plugins."{plugin}".containerd.runtimes.{SANDBOX}]
  runtime_type = "io.containerd.pyrunc.v2"
  sandboxer = "shim"
  disable_pause_image_pull = true
"""


def write_config(machine: Machine, version: int, tables: Callable[[Machine, str], str] = stripped) -> None:
    """Configure containerd: a runtime handler for each runtime.

    version: that of the file's format, 2 or 3. tables: the handlers' tables, by the machine and the plugin's name.
    """
    plugin = "io.containerd.grpc.v1.cri" if version == 2 else "io.containerd.cri.v1.runtime"
    images = plugin if version == 2 else "io.containerd.cri.v1.images"
    sandbox = f'sandbox_image = "{PAUSE}"' if version == 2 else ""
    text = f"""version = {version}
[plugins."{plugin}"]
  {sandbox}
  stream_server_address = "127.0.0.1"
  restrict_oom_score_adj = true
[plugins."{images}".registry]
  config_path = "/etc/containerd/certs.d"
[plugins."{plugin}".containerd]
  default_runtime_name = "runc"
[plugins."{plugin}".cni]
  bin_dir{"s" if version == 3 else ""} = {'["/usr/lib/cni"]' if version == 3 else '"/usr/lib/cni"'}
"""
    if version == 3:
        text += f'[plugins."io.containerd.cri.v1.images".pinned_images]\n  sandbox = "{PAUSE}"\n'
    machine.write(CONFIG, text + tables(machine, plugin))
    # containerd looks up all names in the registry on the loopback (images.REGISTRY), if that runs.
    machine.write(
        "/etc/containerd/certs.d/_default/hosts.toml",
        '[host."http://127.0.0.1:5000"]\n  capabilities = ["pull", "resolve"]\n',
    )
    machine.write(
        NETWORK,
        json.dumps(
            {
                "cniVersion": "0.4.0",
                "name": "engines",
                "plugins": [
                    {
                        "type": "bridge",
                        "bridge": "cni0",
                        "isGateway": True,
                        "ipMasq": False,
                        "ipam": {
                            "type": "host-local",
                            "ranges": [[{"subnet": "10.77.0.0/16"}]],
                            "routes": [{"dst": "0.0.0.0/0"}],
                        },
                    },
                    {"type": "portmap", "capabilities": {"portMappings": True}},
                ],
            }
        ),
    )
    machine.write("/etc/crictl.yaml", "runtime-endpoint: unix:///run/containerd/containerd.sock\ntimeout: 30\n")


class Pod:
    """A pod's id, and its configuration, which crictl needs again for each container."""

    def __init__(self, id: str, config: str) -> None:
        self.id = id
        self.config = config


class Cri(Engine):
    """crictl, with the runtime's handler."""

    name = "cri"
    keeper = "containerd-shim-runc-v2"

    def __init__(self, machine: Machine, runtime: str) -> None:
        super().__init__(machine, runtime)
        self.pods: dict[str, Pod] = {}
        self.ids: dict[str, str] = {}

    # The machine's images, and the tables of its runtimes.
    images: Sequence[str] = ("busybox", "pause", "nginx")
    tables: Callable[[Machine, str], str] = staticmethod(stripped)

    @classmethod
    def up(cls, machine: Machine) -> str:
        version = machine.run("containerd", "--version").out.split()[2]
        write_config(machine, 3 if version.lstrip("v").startswith("2") else 2, cls.tables)
        cls.start(machine)
        for image in cls.images:
            done = machine.run("ctr", "--namespace=k8s.io", "image", "import", f"/var/tmp/{image}.tar")
            assert done.code == 0, done.said
        return version

    @staticmethod
    def start(machine: Machine) -> None:
        """Start containerd and wait until its plugin is ready."""
        machine.start("containerd", "containerd")
        wait_for(lambda: machine.run("crictl", "version").code == 0, "containerd does not answer", 60)

    def handler(self) -> str:
        """The name of the runtime's handler."""
        return self.runtime

    def write(self, name: str, value: object) -> str:
        """Write a JSON file for crictl and return its path."""
        path = f"/var/tmp/cri/{name}.json"
        self.machine.write(path, json.dumps(value))
        return path

    def must(self, *words: str, seconds: float = 60) -> str:
        """The output of crictl. AssertionError with its message if it fails."""
        done = self.call("crictl", *words, seconds=seconds)
        assert done.code == 0, f"crictl {words[0]}: {done.said}"
        return done.out.strip()

    @staticmethod
    def cgroup_parent(name: str) -> str:
        """The cgroup of a pod."""
        return f"/kubepods/pod{name}"

    def pod(self, name: str, wish: Wish) -> Pod:
        """Start a pod."""
        context: dict[str, Any] = {"namespace_options": namespaces(wish)}
        if wish.privileged:
            context["privileged"] = True
        config = {
            "metadata": {"name": name, "namespace": "engines", "uid": name, "attempt": 0},
            "hostname": "" if wish.network == "host" else wish.hostname or name,
            "log_directory": f"{LOGS}/{name}",
            "linux": {
                "cgroup_parent": self.cgroup_parent(name),
                "security_context": context,
                "sysctls": dict(wish.sysctls),
            },
        }
        path = self.write(f"{name}-pod", config)
        pod = Pod(self.must("runp", f"--runtime={self.handler()}", path), path)
        self.pods[name] = pod
        return pod

    def container(self, name: str, pod: Pod, command: Sequence[str], wish: Wish) -> str:
        """Start a container in a pod and return its id."""
        for word, on in (
            ("init", wish.init), ("ulimits", wish.ulimits), ("restart", wish.restart), ("health checks", wish.health),
            ("tmpfs", wish.tmpfs), ("cgroup namespaces to choose", wish.cgroupns), ("user namespace here", wish.mapped),
            ("UTS namespace of the node but with its network", wish.uts),
            ("limits of processes in a container", "pids" in wish.limits),
        ):  # fmt: skip
            if on:
                self.lacks(word)
        context: dict[str, Any] = {
            "namespace_options": namespaces(wish),
            "capabilities": {"add_capabilities": short(wish.cap_add), "drop_capabilities": short(wish.cap_drop)},
            "readonly_rootfs": wish.read_only,
            "privileged": wish.privileged,
            "no_new_privs": wish.no_new_privileges,
            "supplemental_groups": [int(group) for group in wish.groups],
        }
        user, _, group = wish.user.partition(":")
        if user.isdigit():
            context["run_as_user"] = {"value": int(user)}
        elif user:
            context["run_as_username"] = user
        if group:
            context["run_as_group"] = {"value": int(group)}
        if wish.profile == "unconfined":
            context["seccomp"] = {"profile_type": 1}
        elif wish.profile:
            context["seccomp"] = {"profile_type": 2, "localhost_ref": wish.profile}
        config = {
            "metadata": {"name": name},
            "image": {"image": wish.image},
            "command": list(command),
            "working_dir": wish.directory,
            "envs": [{"key": key, "value": value} for key, value in wish.environment.items()],
            "mounts": [volume(text) for text in wish.volumes],
            "devices": [{"host_path": path, "container_path": path, "permissions": "rwm"} for path in wish.devices],
            "log_path": f"{name}.log",
            "tty": wish.tty,
            "stdin": wish.stdin,
            "linux": {"security_context": context, "resources": resources(wish.limits)},
        }
        id = self.must("create", pod.id, self.write(name, config), pod.config)
        self.ids[name] = id
        self.must("start", id)
        return id

    def box(self, *command: str, **wish: Any) -> Box:
        given = Wish(**wish)
        box = Box(self, self.new_name())
        self.boxes.append(box)
        # The namespace of another box is that of its pod.
        others = {
            where.removeprefix("box:") for where in (given.network, given.pid, given.ipc) if where.startswith("box:")
        }
        pod = self.pods[others.pop()] if others else self.pod(box.name, given)
        self.container(box.name, pod, command, given)
        return box

    def once(self, *command: str, input: str = "", **wish: Any) -> Done:
        if input:
            self.lacks("run in the foreground")
        box = self.box(*command, **wish)
        code = self.exit_code(box)
        return self.logs(box)._replace(code=code)

    def run_words(self, name: str, command: Sequence[str], wish: Wish, detach: bool) -> list[str]:
        return self.lacks("run in the foreground")

    def exec_words(self, box: Box, command: Sequence[str], wish: Mapping[str, object]) -> list[str]:
        for word in ("user", "directory", "privileged", "detach"):
            if wish.get(word):
                self.lacks(f"{word} for exec")
        if pairs(wish):
            self.lacks("environment for exec")
        words = ["crictl", "exec", "--interactive", *(["--tty"] if wish.get("tty") else [])]
        return [*words, self.ids[box.name], *command]

    def exec(self, box: Box, command: Sequence[str], input: str, wish: Mapping[str, object]) -> Done:
        words = self.exec_words(box, command, wish)
        if not input and not wish.get("tty"):
            words.remove("--interactive")
        done = self.call(*words, input=input)
        # crictl's own exit code is 1; the command's is in its message.
        _, found, number = done.err.rpartition("exit code ")
        return done._replace(code=int(number.split()[0].strip('"'))) if found and done.code else done

    def inspect(self, box: Box) -> dict[str, Any]:
        """Run `crictl inspect`; empty if there is no such container."""
        done = self.call("crictl", "inspect", self.ids.get(box.name, box.name))
        value: dict[str, Any] = json.loads(done.out) if done.code == 0 else {}
        return value

    def state(self, box: Box) -> str:
        found = str(self.inspect(box).get("status", {}).get("state", ""))
        return {"CONTAINER_RUNNING": "running", "CONTAINER_EXITED": "exited"}.get(found, found)

    def pid(self, box: Box) -> int:
        return int(self.inspect(box)["info"]["pid"])

    def exit_code(self, box: Box) -> int:
        box.becomes("exited")
        return int(self.inspect(box)["status"].get("exitCode", 0))

    def address(self, box: Box) -> str:
        """The address of the box's pod."""
        found = json.loads(self.must("inspectp", self.pods[box.name].id))
        return str(found["status"]["network"]["ip"])

    def logs(self, box: Box) -> Done:
        return self.call("crictl", "logs", self.ids[box.name])

    def act(self, box: Box, word: str, more: Sequence[str]) -> Done:
        if word == "remove":
            pod = self.pods.pop(box.name, None)
            id = self.ids.pop(box.name, "")
            if pod is not None:
                return self.call("crictl", "rmp", "--force", pod.id)
            return self.call("crictl", "rm", "--force", id) if id else Done(0, "", "")
        if word == "stop":
            return self.call("crictl", "stop", f"--timeout={GRACE}", self.ids[box.name])
        return self.lacks(word)

    def stats(self, box: Box) -> Done:
        return self.call("crictl", "stats", "--id", self.ids[box.name])

    def update(self, box: Box, limits: Mapping[str, str]) -> Done:
        if set(limits) != {"memory"}:
            self.lacks("update of these limits")
        memory = resources(limits)["memory_limit_in_bytes"]
        return self.call("crictl", "update", f"--memory={memory}", self.ids[box.name])

    def oom_killed(self, box: Box) -> bool:
        return bool(self.inspect(box)["status"].get("reason") == "OOMKilled")

    def restart_daemon(self) -> None:
        self.machine.kill(self.machine.pids("containerd"))
        wait_for(lambda: not self.machine.pids("containerd"), "containerd is still there")
        self.start(self.machine)


def namespaces(wish: Wish) -> dict[str, int]:
    """The pod's and container's namespace options."""
    network = OF_NODE if wish.network == "host" else OF_POD
    pid = OF_NODE if wish.pid == "host" else OF_POD if wish.pid else OF_CONTAINER
    return {"network": network, "pid": pid, "ipc": OF_NODE if wish.ipc == "host" else OF_POD}


def short(capabilities: Sequence[str]) -> list[str]:
    """The names of capabilities in the CRI's form."""
    return [name.removeprefix("CAP_") for name in capabilities]


def volume(text: str) -> dict[str, object]:
    """A volume as a mount of the CRI."""
    source, target, *options = text.split(":")
    return {"host_path": source, "container_path": target, "readonly": "ro" in options}


def resources(limits: Mapping[str, str]) -> dict[str, int]:
    """Limits in the CRI's form."""
    found = {}
    if "memory" in limits:
        found["memory_limit_in_bytes"] = int(limits["memory"].removesuffix("m")) << 20
    if "cpus" in limits:
        found |= {"cpu_period": 100000, "cpu_quota": int(float(limits["cpus"]) * 100000)}
    return found
