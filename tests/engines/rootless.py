"""Podman of a user who is not root: with a cgroup that the user owns, as systemd delegates it, and without."""

from __future__ import annotations

from collections.abc import Sequence

from tests.engines.docker import Podman
from tests.engines.engine import Box, Wish
from tests.engines.machine import Machine

USER = "tester"
ID = 1000

# A group of the user's that has no id in the user namespace.
SHARED = 5000

# The program that runs a command as the user.
AS_USER = "/usr/local/bin/as-user"

STORAGE = """
[storage]
driver = "overlay"
runroot = "/run/containers/storage"
graphroot = "/var/lib/containers/storage"
rootless_storage_path = "/var/lib/containers/user"
"""

# The cgroup of the user's manager, by the name that systemd gives it, and the one of the user's processes in it.
MANAGER = f"user.slice/user-{ID}.slice/user@{ID}.service"
SESSION = f"{MANAGER}/session"


class Rootless(Podman):
    """Podman run by a user, in a cgroup of root's."""

    name = "podman, rootless"
    prefix = (AS_USER,)
    # Root of the container is the first subordinate id.
    mapping = ("--uidmap=0:1:60000", "--gidmap=0:1:60000")
    # The cgroup in which the user's commands run.
    session_cgroup = "init"

    @classmethod
    def up(cls, machine: Machine) -> str:
        script = f"""
groupadd --gid {SHARED} shared
useradd --create-home --uid {ID} --groups shared {USER}
install -d -o {USER} /run/user/{ID} /var/lib/containers/user /srv /srv/volume
chmod 1777 /srv
mkdir /dev/net
mknod -m 666 /dev/net/tun c 10 200
"""
        done = machine.run("sh", "-euc", script)
        assert done.code == 0, done.said
        cls.delegate(machine)
        machine.write("/etc/containers/storage.conf", STORAGE)
        machine.write(
            AS_USER,
            f"""#!/bin/sh
echo $$ > /sys/fs/cgroup/{cls.session_cgroup}/cgroup.procs || exit
cd /home/{USER} || exit
export HOME=/home/{USER} USER={USER} XDG_RUNTIME_DIR=/run/user/{ID}
exec setpriv --reuid={ID} --regid={ID} --init-groups "$@"
""",
            0o755,
        )
        return super().up(machine)

    @classmethod
    def delegate(cls, machine: Machine) -> None:
        """Give the user cgroups. Here: none."""

    def checkpoint(self, box: Box) -> Box:
        return self.lacks("checkpoint: it needs root")


class Delegated(Rootless):
    """The same with a cgroup that the user owns."""

    name = "podman, rootless, with a cgroup of the user's"
    session_cgroup = SESSION

    @classmethod
    def delegate(cls, machine: Machine) -> None:
        """Make the cgroups, and give the user the files that systemd gives to a unit with Delegate=yes."""
        files = " ".join(f"cgroup.{name}" for name in ("procs", "threads", "subtree_control"))
        script = f"""
for place in {MANAGER} {SESSION}; do
    mkdir -p /sys/fs/cgroup/$place
    cd /sys/fs/cgroup/$place
    chown {USER} . {files}
done
"""
        done = machine.run("sh", "-euc", script)
        assert done.code == 0, done.said

    def run_words(self, name: str, command: Sequence[str], wish: Wish, detach: bool) -> list[str]:
        words = super().run_words(name, command, wish, detach)
        place = words.index("run") + 1
        # Without systemd, rootless Podman names a cgroup only if it is asked for one.
        return [*words[:place], f"--cgroup-parent=/{MANAGER}", *words[place:]]
