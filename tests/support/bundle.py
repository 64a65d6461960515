"""Bundles for the tests: a root file system of busybox, and a config.json that a test changes as it needs."""

from __future__ import annotations

import copy
import json
import os
import shutil
from pathlib import Path
from typing import Any

Config = Any

BUSYBOX = "/bin/busybox"

APPLETS = (
    "awk base64 basename cat chmod chown cp cut date dd df dirname echo env expr false find getopt grep head hexdump "
    "hostname id ifconfig ip kill ln ls md5sum mkdir mkfifo mknod mktemp mount mv nproc od ping printf ps pwd "
    "readlink realpath rm rmdir route sed seq setsid sh sleep sort stat stty tail tee test time timeout touch tr true "
    "tty umount uname uniq uptime wc which who xargs xxd yes"
).split()

# The directories that every image has. /mnt is empty, /etc and /srv have content, for tmpcopyup and binds.
DIRECTORIES = ("bin", "dev", "etc", "home/tester", "mnt", "proc", "root", "run", "srv", "sys", "tmp", "var/tmp")

PASSWD = "root:x:0:0:root:/root:/bin/sh\ntester:x:1000:1000::/home/tester:/bin/sh\n"
GROUP = "root:x:0:\ntty:x:5:\ntester:x:1000:\n"

# The capabilities that container engines give a process by default.
CAPABILITIES = [
    "CAP_AUDIT_WRITE", "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_MKNOD",
    "CAP_NET_BIND_SERVICE", "CAP_NET_RAW", "CAP_SETFCAP", "CAP_SETGID", "CAP_SETPCAP", "CAP_SETUID", "CAP_SYS_CHROOT",
]  # fmt: skip

BASE: Config = {
    "ociVersion": "1.0.2",
    "process": {
        "terminal": False,
        "user": {"uid": 0, "gid": 0},
        "args": ["true"],
        "env": ["PATH=/bin"],
        "cwd": "/",
        "capabilities": {"bounding": CAPABILITIES, "effective": CAPABILITIES, "permitted": CAPABILITIES},
        "noNewPrivileges": True,
    },
    "root": {"path": "rootfs"},
    "mounts": [
        {"destination": "/proc", "type": "proc", "source": "proc"},
        {
            "destination": "/dev",
            "type": "tmpfs",
            "source": "tmpfs",
            "options": ["nosuid", "strictatime", "mode=755", "size=65536k"],
        },
        {
            "destination": "/dev/pts",
            "type": "devpts",
            "source": "devpts",
            "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
        },
    ],
    "linux": {
        "namespaces": [{"type": "pid"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"}],
    },
}


def make_rootfs(path: Path) -> None:
    """Make the root file system that `copy_rootfs` copies. Needs busybox-static."""
    for name in DIRECTORIES:
        (path / name).mkdir(parents=True)
    shutil.copy(BUSYBOX, path / "bin/busybox")
    for applet in APPLETS:
        (path / "bin" / applet).symlink_to("busybox")
    (path / "etc/passwd").write_text(PASSWD)
    (path / "etc/group").write_text(GROUP)
    (path / "etc/os-release").write_text("ID=busybox\n")
    (path / "srv/file").write_text("from the image\n")
    (path / "tmp").chmod(0o1777)


def copy_rootfs(template: Path, target: Path) -> None:
    """A rootfs for one test: busybox is a hard link, everything else a copy."""

    def link(source: str, destination: str) -> str:
        if os.path.basename(source) == "busybox":
            os.link(source, destination)
            return destination
        return shutil.copy2(source, destination)

    shutil.copytree(template, target, symlinks=True, copy_function=link)


class Bundle:
    """A bundle directory: `config` is written as config.json by `write`, which the runtime's commands call.

    `path` is the bundle, `rootfs` its root file system.
    """

    def __init__(self, path: Path, template: Path) -> None:
        self.path = path
        self.rootfs = path / "rootfs"
        self.config: Config = copy.deepcopy(BASE)
        path.mkdir(mode=0o755)
        copy_rootfs(template, self.rootfs)

    @property
    def process(self) -> Config:
        """`process` of the config."""
        value: Config = self.config["process"]
        return value

    @property
    def linux(self) -> Config:
        """`linux` of the config."""
        value: Config = self.config["linux"]
        return value

    @property
    def mounts(self) -> list[Config]:
        """`mounts` of the config."""
        value: list[Config] = self.config["mounts"]
        return value

    def args(self, *args: str) -> Bundle:
        """Set the program."""
        self.process["args"] = list(args)
        return self

    def sh(self, script: str) -> Bundle:
        """Run a shell script as the container's process."""
        return self.args("/bin/sh", "-c", script)

    def mount(self, destination: str, type: str, source: str, *options: str) -> Bundle:
        """Add a mount."""
        self.mounts.append({"destination": destination, "type": type, "source": source, "options": list(options)})
        return self

    def namespace(self, type: str, path: str | None = None) -> Bundle:
        """Add a namespace, or replace the one of this type."""
        entry = {"type": type} if path is None else {"type": type, "path": path}
        self.linux["namespaces"] = [item for item in self.linux["namespaces"] if item["type"] != type] + [entry]
        return self

    def without_namespace(self, type: str) -> Bundle:
        """Remove a namespace: the container inherits the runtime's."""
        self.linux["namespaces"] = [item for item in self.linux["namespaces"] if item["type"] != type]
        return self

    def user_namespace(self, host: int = 100000, size: int = 65536) -> Bundle:
        """Add a user namespace whose ids 0 to size - 1 are the host's ids from `host` on, and give the rootfs to those
        ids.
        """
        self.namespace("user")
        mapping = [{"containerID": 0, "hostID": host, "size": size}]
        self.linux["uidMappings"] = mapping
        self.linux["gidMappings"] = mapping
        own(self.rootfs, host)
        return self

    def hook(self, kind: str, path: str | Path, *args: str, **more: Any) -> Bundle:
        """Add a hook; `args` begin with argv[0]."""
        entry: Config = {"path": str(path), **more}
        if args:
            entry["args"] = list(args)
        self.config.setdefault("hooks", {}).setdefault(kind, []).append(entry)
        return self

    def script(self, name: str, text: str) -> Path:
        """An executable shell script on the host, beside the rootfs."""
        path = self.path / name
        path.write_text("#!/bin/sh\n" + text)
        path.chmod(0o755)
        return path

    def write(self, name: str = "config.json") -> None:
        """Write config.json."""
        (self.path / name).write_text(json.dumps(self.config, indent=1))


def own(tree: Path, owner: int) -> None:
    """Give a tree to a user and the group of the same number. The shared busybox keeps its owner."""
    for folder, names, files in os.walk(tree):
        os.chown(folder, owner, owner)
        for name in names + files:
            if name != "busybox":
                os.lchown(os.path.join(folder, name), owner, owner)
