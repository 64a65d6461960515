"""`restore`: CRIU makes a container from a checkpoint; the plan of compile/restore.py has the runtime's part.

If something fails before the processes run, everything is undone as in a launch: CRIU is in the container's cgroup and
is killed with its processes. If the runtime is killed, CRIU finds its socket closed and gives up, and the ledger stays.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

from ... import log
from ...errors import PyruncError
from .. import lifecycle, process, saved_config, state
from ..compile.mount import Mount
from ..compile.restore import compile_restore
from ..kernel import interrupts
from ..kernel.fileio import read_file, write_file
from ..launch.foreground import Foreground
from ..launch.launch import log_plan, run_steps, wait
from ..launch.model import Launch
from ..launch.relay import Relay
from ..plan.host import own_cgroup
from . import external, rootfs, rpc, swrk
from .checkpoint import common_options, open_directory, refuse_landlock
from .options import CriuOptions
from .rootfs import MountPoint

if TYPE_CHECKING:
    from ..._generated.spec_types import Linux, Spec
    from ..plan.options import LaunchOptions

_LOG = "restore.log"
_ROOT = "criu-root"
_NOTIFY = "notify"
# A descriptors.json has three names.
_LARGEST_DESCRIPTORS = 1 << 16
# CRIU's processes are killed with the container's cgroup: CRIU need not undo them itself.
_PATIENCE_MS = 3000
# How long CRIU may take to resume the restored processes. No signal is delivered meanwhile, and CRIU 4.2 may wait
# forever for a process that it has killed itself.
_RESUME_S = 30


def restore(options: LaunchOptions, criu_options: CriuOptions) -> int:
    """Restore the container and, unless detached, wait for its end and delete it.

    Returns the exit code: that of the process, 128 + n after signal n, 0 if detached. Undoes everything before it
    raises PyruncError.
    """
    spec = lifecycle.prepare(options)
    refuse_landlock(spec.get("annotations") or {})
    program = swrk.find()
    swrk.require_version(program)
    streams = _read_descriptors(criu_options.images)
    facts = lifecycle.host_facts(spec, options)
    plan = compile_restore(spec, options, facts)
    record = state.new_record(
        spec, id=options.id, bundle=options.bundle, cgroup=plan.cgroup, unit=plan.unit, user_unit=plan.user_unit
    )
    relay = Relay() if spec["process"].get("terminal") and not options.detach else None
    launch = Launch(plan, record, options, facts)
    work = Restoration(launch, spec, criu_options, relay)
    interrupts.hold()
    try:
        work.run(program, streams)
    except BaseException as error:
        work.close()
        if relay is not None:
            relay.close()
        launch.fail(error)
        raise
    launch.release()
    if work.foreground is None:
        return 0
    return wait(launch, work.foreground, work.relay, lambda: lifecycle.on_end(launch))


def _read_descriptors(images: str) -> list[str]:
    """The names of the checkpoint's standard streams (external.streams). Raises PyruncError."""
    at = os.path.join(images, external.DESCRIPTORS)
    try:
        fd = os.open(at, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(fd, "rb") as file:
            names = json.loads(file.read(_LARGEST_DESCRIPTORS))
    except OSError as error:
        hint = "--image-path names the directory that checkpoint has written"
        raise PyruncError(f"open {at}", errno=error.errno or 0, hint=hint) from error
    except ValueError as error:
        raise PyruncError(f"{at} can't be understood: {error}") from error
    if names is None:  # Go writes null for no names
        return []
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise PyruncError(f"{at} is no list of names")
    return names


class Restoration:
    """A running restore. launch: the container so far. foreground, relay: None if it is detached; relay also without a
    terminal."""

    def __init__(self, launch: Launch, spec: Spec, options: CriuOptions, relay: Relay | None) -> None:
        self.launch = launch
        self.relay = relay
        self.foreground: Foreground | None = None
        self._spec = spec
        self._linux: Linux = spec.get("linux") or {}
        self._options = options
        self._criu: swrk.Criu | None = None
        self._restored = False

    def run(self, program: str, streams: list[str]) -> None:
        """Carry out the plan, and have CRIU restore and resume the processes. Raises PyruncError.

        streams: the names of the checkpoint's standard streams (external.streams).
        """
        launch = self.launch
        mounts = self._mount_points()
        opts = self._options_of(mounts, streams)
        if self._options.work:
            os.close(open_directory(self._options.work, make=True))
        log_plan(launch)
        run_steps(launch, launch.plan.prepare)
        for name in (_ROOT, _NOTIFY):
            os.mkdir(name, 0o755, dir_fd=launch.state_dir_fd)
        criu = self._start(program, mounts)
        opts["cg_root"] = _cgroup_roots(criu.pid)
        criu.perform(rpc.RESTORE, self._at_stage, opts=opts)
        if not self._restored:
            raise PyruncError("CRIU has restored nothing, and says that it has")
        status = criu.end()
        if status != 0:
            log.debug(f"criu: wait status {status}")
        launch.make_room()

    @property
    def _root(self) -> str:
        """The mount point of the root file system in CRIU's own mount namespace."""
        return f"{self.launch.options.state_dir}/{_ROOT}"

    def _options_of(self, mounts: list[MountPoint], streams: list[str]) -> dict[str, Any]:
        """criu_opts of the restore. Raises PyruncError."""
        launch, options = self.launch, self._options
        # The directories follow the namespaces (_start).
        images = swrk.FIRST_FD + len(self._by_descriptor)
        work = images + 1 if options.work else -1
        opts = common_options(options, launch.record.annotations, images, work, _LOG)
        binds = [(mount.destination, mount.source) for mount in mounts if mount.source]
        devices = [device["path"] for device in self._linux.get("devices") or ()]
        notify = f"{launch.options.state_dir}/{_NOTIFY}"
        masked = bool(self._linux.get("maskedPaths"))
        by_descriptor = [
            {"key": external.NAMESPACES[kind][1], "fd": fd}
            for fd, kind in enumerate(self._by_descriptor, swrk.FIRST_FD)
        ]
        opts.update(
            root=self._root,
            evasive_devices=True,
            rst_sibling=True,
            tcp_close=options.tcp_close,
            # A terminal from outside is this command's own, unless the container has its own one.
            orphan_pts_master=bool(self._spec["process"].get("terminal")) or not options.shell_job,
            join_ns=external.joined_namespaces(self._linux.get("namespaces") or ()),
            lsm_profile=options.lsm_profile or None,
            lsm_mount_context=options.lsm_mount_context or None,
            ext_mnt=external.restored_mounts(binds, devices, masked, launch.record.rootfs, notify),
            inherit_fd=[*external.inherited(streams), *by_descriptor],
        )
        return opts

    @property
    def _by_descriptor(self) -> list[str]:
        """The types of the namespaces that CRIU gets as descriptors, from swrk.FIRST_FD on."""
        namespaces = self._linux.get("namespaces") or ()
        return [entry["type"] for entry in namespaces if entry.get("path") and entry["type"] in external.NAMESPACES]

    def _mount_points(self) -> list[MountPoint]:
        """The configuration's mounts whose mount points may be missing. Raises PyruncError for a mount that CRIU would
        not restore correctly."""
        found = []
        for index, entry in enumerate(self._spec.get("mounts") or ()):
            mount = Mount(index, entry)
            if mount.options.remount or mount.type == "cgroup2":
                continue  # on another mount, or on /sys: the mount point exists
            if mount.id_map:
                raise PyruncError(
                    "id-mapped mounts can't be restored",
                    pointer=mount.pointer,
                    hint="CRIU would bind it without its map",
                )
            source = mount.source if mount.is_bind else ""
            if source and not source.startswith("/"):
                source = f"{self.launch.options.bundle.rstrip('/')}/{source}"
            found.append(MountPoint(mount.target, source, mount.pointer))
        return found

    def _start(self, program: str, mounts: list[MountPoint]) -> swrk.Criu:
        """Start CRIU in the container's cgroup, so all of its processes are in it."""
        launch, options = self.launch, self._options
        record = launch.record

        def prepare() -> list[int]:
            rootfs.prepare(record.rootfs, self._root, mounts)
            return [open_directory(path) for path in (options.images, options.work) if path]

        fds = [launch.slots["namespace:" + kind] for kind in self._by_descriptor]
        criu = self._criu = swrk.Criu(program, stdio=True, fds=fds, prepare=prepare)
        criu.log = os.path.join(options.log_directory, _LOG)
        launch.init.pid = criu.pid
        if not record.cgroup:
            self._record_process(criu.pid)
        elif not record.systemd:
            write_file(record.cgroup + "/cgroup.procs", str(criu.pid))
        run_steps(launch, launch.plan.served.get("cgroup", ()))
        launch.close_claim()
        return criu

    def _record_process(self, pid: int) -> None:
        """Record a process in the ledger if it has no cgroup that would be killed."""
        found = process.stat(pid)
        if found is not None:
            self.launch.ledger.record("process", pid=pid, startTime=found.start_time)

    def _at_stage(self, stage: str, pid: int, fds: list[int]) -> None:
        """The runtime's part of CRIU's stages. Raises PyruncError, and then CRIU gives up."""
        log.debug(f"criu: {stage} {pid or ''}".rstrip())
        if stage == "setup-namespaces":
            self._at_namespaces(pid)
        elif stage == "orphan-pts-master":
            self._at_terminal(fds)
        elif stage == "post-restore":
            self._at_restored(pid)

    def _know(self, pid: int) -> None:
        """Accept CRIU's pid of the container's process only if it is a child of the runtime (rst_sibling)."""
        launch = self.launch
        if pid and pid == launch.record.pid:
            return
        pidfd = process.open_pidfd(pid) if pid else -1
        try:
            if pidfd < 0:
                raise ChildProcessError
            os.waitid(os.P_PIDFD, pidfd, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            found = process.stat(pid)
            if found is None:
                raise ChildProcessError
        except ChildProcessError as error:
            if pidfd >= 0:
                os.close(pidfd)
            raise PyruncError(f"CRIU has told the pid {pid}, which is no process that it has restored") from error
        if launch.init.pidfd >= 0:
            os.close(launch.init.pidfd)
        launch.init.pid, launch.init.pidfd = pid, pidfd
        launch.record.pid, launch.record.startTime = pid, found.start_time
        if not launch.record.cgroup:
            self._record_process(pid)

    def _at_namespaces(self, pid: int) -> None:
        """The container's namespaces exist and are empty."""
        self._know(pid)
        run_steps(self.launch, self.launch.plan.served.get("namespaces", ()))

    def _at_terminal(self, fds: list[int]) -> None:
        """CRIU has sent the master of the container's terminal."""
        steps = self.launch.plan.served.get("send_console")
        if not steps:
            raise PyruncError(
                "the checkpoint has a terminal, and process.terminal is false",
                pointer="/process/terminal",
                hint="restore with the configuration of the container that was dumped",
            )
        if not fds or self.launch.init.master >= 0:
            raise PyruncError("CRIU has sent no terminal, and says that it has")
        self.launch.init.master = fds.pop()
        run_steps(self.launch, steps)

    def _at_restored(self, pid: int) -> None:
        """All is restored, and waits for the answer: record the container."""
        launch = self.launch
        self._know(pid)
        self._check_cgroup()
        self._check_terminal()
        saved_config.save(launch.state_dir_fd, _with_time_namespace(self._spec, pid), launch.options)
        interrupts.deliver_pending()
        interrupts.close()
        if not launch.options.detach:
            # From now on others may see the container running, and signals are for its process.
            self.foreground = Foreground(launch, self.relay)
        run_steps(launch, launch.plan.served.get("ready", ()))
        launch.close_network()
        self._restored = True
        assert self._criu is not None
        self._criu.patience_s = _RESUME_S

    def _check_cgroup(self) -> None:
        """Raise PyruncError if CRIU has put the process into another cgroup: it could not be paused, limited or
        killed."""
        record = self.launch.record
        if not record.cgroup:
            return
        found = self.launch.facts.cgroup_mount + own_cgroup(read_file(f"/proc/{record.pid}/cgroup"))
        if not (found + "/").startswith(record.cgroup + "/"):
            raise PyruncError(
                f"CRIU has put the container into the cgroup {found}, and not into {record.cgroup}",
                pointer="/linux/cgroupsPath" if self._linux.get("cgroupsPath") else "",
                hint="--manage-cgroups-mode ignore leaves it where it is born",
            )

    def _check_terminal(self) -> None:
        """Raise PyruncError if a terminal is expected that the checkpoint does not have."""
        launch = self.launch
        waits = launch.console_socket >= 0 or (self.relay is not None and launch.init.master < 0)
        if not waits:
            return
        if self._options.shell_job and self.relay is not None:
            self.relay.close()  # the container has this command's own terminal
            self.relay = None
            return
        raise PyruncError(
            "process.terminal is true, and the checkpoint has no terminal",
            pointer="/process/terminal",
            hint="restore with the configuration of the container that was dumped",
        )

    def close(self) -> None:
        """End CRIU, after a failure."""
        if self._criu is not None:
            self._criu.close(_PATIENCE_MS)


def _cgroup_roots(pid: int) -> list[dict[str, str]]:
    """The cgroups of a process, as the roots for the cgroups of the checkpoint."""
    roots = []
    for line in read_file(f"/proc/{pid}/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        roots.append({"ctrl": controllers, "path": path})
    return roots


def _with_time_namespace(spec: Spec, pid: int) -> Spec:
    """The configuration with CRIU's time namespace for the restored processes, so `exec` joins it."""
    linux = spec.get("linux") or {}
    namespaces = linux.get("namespaces") or []
    try:
        own, its = (os.readlink(f"/proc/{which}/ns/time") for which in ("self", pid))
    except OSError:
        return spec  # a kernel without them
    if own == its or any(entry["type"] == "time" for entry in namespaces):
        return spec
    return {**spec, "linux": {**linux, "namespaces": [*namespaces, {"type": "time"}]}}
