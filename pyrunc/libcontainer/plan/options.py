"""LaunchOptions: what the command line says of a launch, apart from config.json; and ExecOptions for an `exec`."""

from __future__ import annotations


class LaunchOptions:
    """The options of `create` and `run`, as runc names them.

    id: the container's id, checked by the command line.
    root: the directory that holds the state directories, absolute (`--root`).
    bundle: the bundle's directory, absolute.
    config: the configuration's file name, relative to the bundle or absolute.
    no_pivot: MS_MOVE and chroot in place of pivot_root (`--no-pivot`).
    no_new_keyring: keep the caller's session keyring.
    extra_env: what the process's environment gets besides the configuration's.
    preserve_fds: how many descriptors from 3 on the process inherits.
    console_socket: path of the socket that receives the pty's master; "" for none.
    notify_socket: the service manager's socket that NOTIFY_SOCKET names, a path or @NAME; "" for none.
    pid_file: path of the pid file; "" for none.
    pidfd_socket: path of the socket that receives a descriptor of the process; "" for none.
    detach, keep, no_subreaper: `run`'s flags of those names.
    command: "create", "run" or "exec".
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
        "extra_env",
        "id",
        "keep",
        "no_new_keyring",
        "no_pivot",
        "no_subreaper",
        "notify_socket",
        "pid_file",
        "pidfd_socket",
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
        notify_socket: str = "",
        pid_file: str = "",
        pidfd_socket: str = "",
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
        self.notify_socket = notify_socket
        self.pid_file = pid_file
        self.pidfd_socket = pidfd_socket
        self.detach = detach
        self.extra_env: tuple[str, ...] = ()
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


class ExecOptions(LaunchOptions):
    """The options of `exec`, as runc names them.

    args: the program and its arguments; () where `process` names them.
    process: path of a file with the whole process; "" where the process is the container's own but for the rest here.
    cwd, user, process_label, apparmor: "" to keep the container's. user: `UID` or `UID:GID`.
    env, cap, additional_gids: what is added to the container's.
    tty: give it a terminal. no_new_privs: None to keep the container's.
    cgroup: what `--cgroup` says, each time. ignore_paused: also where the container is paused.
    """

    __slots__ = (
        "additional_gids", "apparmor", "args", "cap", "cgroup", "cwd", "env", "ignore_paused", "no_new_privs",
        "process", "process_label", "tty", "user",
    )  # fmt: skip

    def __init__(
        self,
        *,
        id: str,
        args: tuple[str, ...] = (),
        root: str = "/run/pyrunc",
        additional_gids: tuple[int, ...] = (),
        apparmor: str = "",
        cap: tuple[str, ...] = (),
        cgroup: tuple[str, ...] = (),
        console_socket: str = "",
        cwd: str = "",
        detach: bool = False,
        env: tuple[str, ...] = (),
        ignore_paused: bool = False,
        no_new_privs: bool | None = None,
        pid_file: str = "",
        pidfd_socket: str = "",
        preserve_fds: int = 0,
        process: str = "",
        process_label: str = "",
        timeline: str = "",
        tty: bool = False,
        user: str = "",
    ) -> None:
        super().__init__(
            id=id,
            root=root,
            command="exec",
            console_socket=console_socket,
            detach=detach,
            no_subreaper=True,
            pid_file=pid_file,
            pidfd_socket=pidfd_socket,
            preserve_fds=preserve_fds,
            timeline=timeline,
        )
        self.additional_gids = additional_gids
        self.apparmor = apparmor
        self.args = args
        self.cap = cap
        self.cgroup = cgroup
        self.cwd = cwd
        self.env = env
        self.ignore_paused = ignore_paused
        self.no_new_privs = no_new_privs
        self.process = process
        self.process_label = process_label
        self.tty = tty
        self.user = user
