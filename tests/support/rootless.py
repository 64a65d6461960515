"""The runtime's command, run as an ordinary user runs it."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from tests.support import host
from tests.support.bundle import Bundle, Config, own
from tests.support.runtime import REPOSITORY, Result, Runtime

UID = 1000
SUBUID = 200000
SUBGID = 300000
SUBORDINATES = 65536

ONE_ID: list[Config] = [{"containerID": 0, "hostID": UID, "size": 1}]


class RootlessRuntime(Runtime):
    """A runtime whose commands all run as the user UID, who has subordinate ids and no privileges.

    Its state root and its bundles are directories of that user. options: further options of asuser.py; a test may
    change them at any time.
    """

    def __init__(self, work: Path, template: Path) -> None:
        super().__init__(work, template)
        self.own_command = self.command
        self.etc = work / "etc"
        self.etc.mkdir()
        self.options: list[str] = []
        (self.etc / "passwd").write_text(f"root:x:0:0:root:/root:/bin/sh\ntester:x:{UID}:{UID}::/tmp:/bin/sh\n")
        self.subordinates(f"tester:{SUBUID}:{SUBORDINATES}\n", f"tester:{SUBGID}:{SUBORDINATES}\n")
        self.home = work / "home"
        for folder in (work, self.home, self.root):
            folder.mkdir(exist_ok=True)
            os.chown(folder, UID, UID)

    def subordinates(self, uids: str, gids: str) -> None:
        """Set the user's /etc/subuid and /etc/subgid."""
        (self.etc / "subuid").write_text(uids)
        (self.etc / "subgid").write_text(gids)

    def as_user(self) -> list[str]:
        """The command line that runs the words behind it as the user."""
        reach = [REPOSITORY, Path(os.path.realpath(sys.executable)), Path(self.own_command[0])]
        paths = [str(path) for path in reach if path.is_absolute()]
        options = ["--uid", str(UID), "--etc", str(self.etc), *self.options, "--reach", *paths]
        return [sys.executable, "-m", "tests.support.asuser", *options, "--"]

    def __call__(self, *args: str | Path, inside: tuple[str, ...] = (), **more: object) -> Result:
        """Run one command as the user; `inside`: words before the command, such as unshare's."""
        self.command = [*self.as_user(), *inside, *self.own_command]
        return super().__call__(*args, **more)  # type: ignore[arg-type]

    def bundle(self, name: str = "bundle") -> Bundle:
        """A new bundle of the user: a container with the user's one id as root, and nothing that needs more."""
        bundle = super().bundle(name)
        own(bundle.path, UID)
        bundle.namespace("user")
        bundle.linux.update(uidMappings=ONE_ID, gidMappings=ONE_ID)
        bundle.mounts[2]["options"].remove("gid=5")
        return bundle

    def subordinate_ids(self, bundle: Bundle) -> Bundle:
        """Map the user's subordinate ids too, from 1 on."""
        for kind, first in (("uid", SUBUID), ("gid", SUBGID)):
            more = {"containerID": 1, "hostID": first, "size": SUBORDINATES}
            bundle.linux[kind + "Mappings"] = [*ONE_ID, more]
        return bundle


class Delegated:
    """A cgroup that is delegated to the user, with the controllers that its parent enables, and a cgroup below it in
    which the runtime's commands start. above: the directory to make it in; the hierarchy's root by default."""

    def __init__(self, runtime: RootlessRuntime, above: Path | None = None) -> None:
        self.path = (above or Path(host.cgroup2_mount())) / (runtime.token + "-delegated")
        self.shell = self.path / "shell"
        for folder in (self.path, self.shell):
            folder.mkdir()
            for name in (".", "cgroup.procs", "cgroup.subtree_control", "cgroup.threads"):
                os.chown(folder / name, UID, UID)
        self.runtime = runtime
        runtime.options += ["--cgroup", str(self.shell)]

    def leave(self) -> None:
        """Let the commands start outside of the delegated cgroup."""
        self.runtime.options = []

    def remove(self) -> None:
        """Remove the rest of the cgroup once the commands in it have ended."""
        self.leave()
        host.wait_for("the commands to end", lambda: not (self.shell / "cgroup.procs").read_text())
        for folder, _, _ in os.walk(self.path, topdown=False):
            os.rmdir(folder)


def reachable(runtime: RootlessRuntime) -> str:
    """Why the user can't run the command here; "" if the user can."""
    if not shutil.which("newuidmap"):
        return "needs newuidmap (package uidmap)"
    result = runtime("--version", with_root=False)
    return "" if result.code == 0 else f"an ordinary user can't run the command: {result.last_line}"
