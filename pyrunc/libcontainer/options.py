"""LaunchOptions: what the command line says of a launch, apart from config.json."""

from __future__ import annotations


class LaunchOptions:
    """The options of `create` and `run`, as runc names them.

    id: the container's id, checked by the command line.
    root: the directory that holds the state directories, absolute (`--root`).
    bundle: the bundle's directory, absolute.
    config: the configuration's file name, relative to the bundle or absolute.
    no_pivot: MS_MOVE and chroot in place of pivot_root (`--no-pivot`).
    no_new_keyring: keep the caller's session keyring.
    preserve_fds: how many descriptors from 3 on the process inherits.
    console_socket: path of the socket that receives the pty's master; "" for none.
    pid_file: path of the pid file; "" for none.
    detach, keep, no_subreaper: `run`'s flags of those names.
    command: "create" or "run".
    cgroup_manager: "cgroupfs", "systemd" or "disabled".
    rootless: what `--rootless` says: True, False or None for automatic.
    timeline: path of the Chrome trace to write; "" for none.
    """

    __slots__ = (
        "bundle",
        "cgroup_manager",
        "command",
        "config",
        "console_socket",
        "detach",
        "id",
        "keep",
        "no_new_keyring",
        "no_pivot",
        "no_subreaper",
        "pid_file",
        "preserve_fds",
        "root",
        "rootless",
        "timeline",
    )

    def __init__(
        self,
        *,
        id: str,
        root: str = "/run/pyrunc",
        bundle: str = "/",
        config: str = "config.json",
        no_pivot: bool = False,
        no_new_keyring: bool = False,
        preserve_fds: int = 0,
        console_socket: str = "",
        pid_file: str = "",
        detach: bool = False,
        keep: bool = False,
        no_subreaper: bool = False,
        command: str = "create",
        cgroup_manager: str = "cgroupfs",
        rootless: bool | None = None,
        timeline: str = "",
    ) -> None:
        self.id = id
        self.root = root
        self.bundle = bundle
        self.config = config
        self.no_pivot = no_pivot
        self.no_new_keyring = no_new_keyring
        self.preserve_fds = preserve_fds
        self.console_socket = console_socket
        self.pid_file = pid_file
        self.detach = detach
        self.keep = keep
        self.no_subreaper = no_subreaper
        self.command = command
        self.cgroup_manager = cgroup_manager
        self.rootless = rootless
        self.timeline = timeline

    @property
    def state_dir(self) -> str:
        """The container's state directory, `ROOT/ID`."""
        return self.root.rstrip("/") + "/" + self.id
