"""LaunchOptions: the command-line options of a launch; and ExecOptions, those of an `exec`.

An option is declared here, with its type and default. The command line adds its spelling and help (cli/options.py).
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import dataclass_transform

    @dataclass_transform(kw_only_default=True)
    class _Options:
        """Tell type checkers that the classes below are dataclasses. Importing dataclasses costs too much at
        start-up."""


if not TYPE_CHECKING:

    class _Options:
        """The attributes that the class declares, with their defaults. Others are refused."""

        def __init_subclass__(cls):
            cls._names = frozenset(dir(cls))

        def __init__(self, *, id, **given):
            if not given.keys() <= self._names:
                unknown = [name for name in given if name not in self._names]
                raise AttributeError(f"{type(self).__name__} has no option {unknown[0]}")
            self.__dict__.update(given, id=id)

        def __setattr__(self, name, value):
            if name != "id" and not hasattr(type(self), name):
                raise AttributeError(f"{type(self).__name__} has no option {name}")
            object.__setattr__(self, name, value)


class LaunchOptions(_Options):
    """The options of `create` and `run`, as runc names them. Paths are absolute; "" stands for none."""

    id: str  # the container's id
    root: str = "/run/pyrunc"  # the directory that holds the state directories (`--root`)
    bundle: str = "/"  # the bundle's directory
    config: str = "config.json"  # the configuration's file name, relative to the bundle or absolute
    no_pivot: bool = False  # MS_MOVE and chroot instead of pivot_root
    no_new_keyring: bool = False  # keep the caller's session keyring
    extra_env: tuple[str, ...] = ()  # added to the environment of the configuration
    preserve_fds: int = 0  # how many descriptors from 3 on the process inherits
    console_socket: str = ""  # path of the socket that receives the pty's master
    notify_socket: str = ""  # the service manager's socket that NOTIFY_SOCKET names, a path or @NAME
    pid_file: str = ""
    pidfd_socket: str = ""  # path of the socket that receives a pidfd of the process
    detach: bool = False
    keep: bool = False
    no_subreaper: bool = False
    command: str = "create"  # "create", "run", "exec", "restore" or "update"
    cgroup_manager: str = "cgroupfs"  # "cgroupfs", "systemd" or "disabled"
    rootless: bool | None = None  # `--rootless`; None for automatic
    timeline: str = ""  # path of the Chrome trace to write
    isolation: str = ""  # "sandbox", or "" for what the configuration says
    network: str = ""  # of a sandbox: "none", "host" or "config"; "" is "none"
    seccomp_profile: str = ""  # path of a linux.seccomp that replaces the configuration's
    changes: tuple[str, ...] = ()  # what isolation has changed in the configuration
    map_rootfs: bool = False  # mount the rootfs with its ids mapped by the container's new user namespace

    @property
    def state_dir(self) -> str:
        """The container's state directory, `ROOT/ID`."""
        return self.root.rstrip("/") + "/" + self.id


class ExecOptions(LaunchOptions):
    """The options of `exec`, as runc names them. "" and None stand for the container's value."""

    command: str = "exec"
    no_subreaper: bool = True
    args: tuple[str, ...] = ()  # the program and its arguments; () if `process` has them
    process: str = ""  # path of a file that holds the whole process
    cwd: str = ""
    env: tuple[str, ...] = ()  # added to the container's
    user: str = ""  # `UID` or `UID:GID`
    additional_gids: tuple[int, ...] = ()  # added to the container's
    cap: tuple[str, ...] = ()  # capabilities, added to the container's
    apparmor: str = ""
    process_label: str = ""
    no_new_privs: bool | None = None
    tty: bool = False  # give it a terminal
    cgroup: tuple[str, ...] = ()  # the values of `--cgroup`
    ignore_paused: bool = False  # also if the container is paused
