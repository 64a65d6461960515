"""`restore`: a container that CRIU makes out of a checkpoint, as the plan of compile/restore.py prepares it.

What fails before the processes run is undone as in a launch: CRIU, which is in the container's cgroup, is killed with
all that it has made. A runtime that is killed leaves a CRIU that finds its socket closed and gives up, and a ledger.
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
from .checkpoint import common_options, open_directory
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
# What CRIU has made is killed with the container's cgroup: it need not undo it itself.
_PATIENCE_MS = 3000
# How long CRIU may take to let what it has restored run. No signal comes in then, and CRIU 4.2 may wait without end for
# a process that it has killed itself.
_RESUME_S = 30


def restore(options: LaunchOptions, criu_options: CriuOptions) -> int:
    """Restore the container and, unless detached, wait for its end and delete it.

    Gives the exit code: the process's, 128 + n where signal n ended it, 0 where detached. Raises PyruncError,
    everything undone.
    """
    spec = lifecycle.prepare(options)
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
    """What the standard streams of the checkpoint were (external.streams). Raises PyruncError."""
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
    if names is None:  # as Go writes no names
        return []
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise PyruncError(f"{at} is no list of names")
    return names


class Restoration:
    """A restore at work. launch: the container as far as it is there. foreground, relay: None where it is detached,
    and relay where it has no terminal."""

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
        """Do what the plan says, and have CRIU restore the processes, which run then. Raises PyruncError.

        streams: what the standard streams of the checkpoint were (external.streams).
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
        """Where the root file system is mounted for CRIU, in a mount namespace of its own."""
        return f"{self.launch.options.state_dir}/{_ROOT}"

    def _options_of(self, mounts: list[MountPoint], streams: list[str]) -> dict[str, Any]:
        """criu_opts of the restore. Raises PyruncError."""
        launch, options = self.launch, self._options
        # Behind the namespaces come the directories (_start).
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
            # A terminal from outside is this command's own, unless the container is to have one.
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
        """The configuration's mounts whose mount points may be missing. Raises PyruncError for one that would not be
        restored as it was."""
        found = []
        for index, entry in enumerate(self._spec.get("mounts") or ()):
            mount = Mount(index, entry)
            if mount.options.remount or mount.type == "cgroup2":
                continue  # on a mount that is there, or on /sys, where the mount point is there
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
        """Start CRIU in the container's cgroup, where all that it makes is born."""
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
        """Take a process down in the ledger, which no cgroup would be killed with."""
        found = process.stat(pid)
        if found is not None:
            self.launch.ledger.record("process", pid=pid, startTime=found.start_time)

    def _at_stage(self, stage: str, pid: int, fds: list[int]) -> None:
        """What the runtime does at CRIU's stages. Raises PyruncError, at which CRIU gives up."""
        log.debug(f"criu: {stage} {pid or ''}".rstrip())
        if stage == "setup-namespaces":
            self._at_namespaces(pid)
        elif stage == "orphan-pts-master":
            self._at_terminal(fds)
        elif stage == "post-restore":
            self._at_restored(pid)

    def _know(self, pid: int) -> None:
        """Take the pid that CRIU tells for the container's process, where it is a child of ours (rst_sibling)."""
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
        """The container's namespaces are there, and nothing in them."""
        self._know(pid)
        run_steps(self.launch, self.launch.plan.served.get("namespaces", ()))

    def _at_terminal(self, fds: list[int]) -> None:
        """The master of the container's terminal has come."""
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
        """All is there, and stands still until this is answered: the container is recorded."""
        launch = self.launch
        self._know(pid)
        self._check_cgroup()
        self._check_terminal()
        saved_config.save(launch.state_dir_fd, _with_time_namespace(self._spec, pid), launch.options)
        interrupts.look()
        interrupts.close()
        if not launch.options.detach:
            # Who sees the container running may send a signal, which is the process's.
            self.foreground = Foreground(launch, self.relay)
        run_steps(launch, launch.plan.served.get("ready", ()))
        launch.close_network()
        self._restored = True
        assert self._criu is not None
        self._criu.patience_s = _RESUME_S

    def _check_cgroup(self) -> None:
        """Raise PyruncError where CRIU has put the process elsewhere: it could not be paused, limited or killed."""
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
        """Raise PyruncError where a terminal is waited for that the checkpoint does not have."""
        launch = self.launch
        waits = launch.console_socket >= 0 or (self.relay is not None and launch.init.master < 0)
        if not waits:
            return
        if self._options.shell_job and self.relay is not None:
            self.relay.close()  # it is this command's own terminal that the container has
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
    """The cgroups of a process as CRIU is to take them for the root of those in the checkpoint."""
    roots = []
    for line in read_file(f"/proc/{pid}/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        roots.append({"ctrl": controllers, "path": path})
    return roots


def _with_time_namespace(spec: Spec, pid: int) -> Spec:
    """The configuration with the time namespace that CRIU restores processes into, so that `exec` joins it."""
    linux = spec.get("linux") or {}
    namespaces = linux.get("namespaces") or []
    try:
        own, its = (os.readlink(f"/proc/{which}/ns/time") for which in ("self", pid))
    except OSError:
        return spec  # a kernel without them
    if own == its or any(entry["type"] == "time" for entry in namespaces):
        return spec
    return {**spec, "linux": {**linux, "namespaces": [*namespaces, {"type": "time"}]}}
