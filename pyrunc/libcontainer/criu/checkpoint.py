"""`checkpoint`: dump a running container by CRIU, and delete it unless it should go on running.

After a failure the container is as before: CRIU restores the state of the processes, a cgroup that it has frozen is
thawed, and its images are removed. Its log stays.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
from typing import TYPE_CHECKING, Any

from ... import log
from ...errors import PyruncError, errno_text, pointer, prefixed
from .. import deletion, lookup, process, saved_config, state
from ..cgroup import files
from ..kernel import interrupts, native
from ..plan.host import LANDLOCK
from ..spec.annotations import CRIU_CONFIG
from ..state import Record
from ..statedir import StateDir
from . import external, rpc, swrk
from .options import CriuOptions

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..saved_config import Saved

_LOG = "dump.log"
# The level that runc uses: debug.
_LOG_LEVEL = 4
_DEATH_MS = 1000
_SERVING_MS = 500
# runc's file, which administrators have written for containers.
_CONFIG = "/etc/criu/runc.conf"


def checkpoint(root: str, id: str, options: CriuOptions) -> None:
    """Dump the container's processes to `options.images`. If that fails, raises PyruncError; the container is as
    before."""
    path = state.directory(root, id)
    interrupts.hold()
    place, record = lookup.locked(path)
    try:
        found = state.status(path, record)
        if found not in ("running", "paused"):
            raise PyruncError(f"Container cannot be checkpointed in {found} state")  # wording of runc
        kept = saved_config.load(place)
        if "mounts" not in kept:
            raise PyruncError(
                f"the container's mounts are not known: {place.path} was made by an earlier version of pyrunc",
                hint="a container that is created anew can be checkpointed",
            )
        if not any(entry["type"] == "mount" for entry in kept["linux"].get("namespaces") or ()):
            raise PyruncError("a container without a mount namespace can't be checkpointed")
        refuse_landlock(kept.get("annotations", {}))
        _check_status_fd(options)
        program = swrk.find()
        swrk.require_version(program)
        if options.pre_dump:
            swrk.require_feature(program, "mem_track")
        if options.lazy_pages:
            swrk.require_feature(program, "lazy_pages")
        _dump(program, place, record, kept, options)
        if not options.leave_running and not options.pre_dump:
            _delete(place, record)
    finally:
        place.close()


def refuse_landlock(annotations: Mapping[str, str]) -> None:
    """Raise PyruncError for a container with a Landlock ruleset: CRIU does not dump it, so what is restored would be
    free of it."""
    if LANDLOCK in annotations:
        raise PyruncError(
            "a container with a Landlock ruleset can't be checkpointed or restored",
            pointer=pointer("annotations", LANDLOCK),
            hint="CRIU does not know Landlock: the restored processes would not be under the ruleset",
        )


def _delete(place: StateDir, record: Record) -> None:
    """Delete the container, which CRIU has ended. The dump exists, so a failure is a warning, as with runc."""
    try:
        deletion.kill_and_wait(place, record)
        deletion.destroy(place, record, deletion.whole(place).entries)
    except (PyruncError, OSError) as error:
        log.warning(prefixed(f"deleting {record.id} after its checkpoint", error).line())


def _check_status_fd(options: CriuOptions) -> None:
    """Raise PyruncError in runc's words if --status-fd is no writable descriptor."""
    if not options.lazy_pages or options.status_fd == -1:
        return
    what = f"invalid --status-fd argument {options.status_fd}"
    try:
        flags = fcntl.fcntl(options.status_fd, fcntl.F_GETFL)
    except (OSError, OverflowError, ValueError) as error:
        number = error.errno or 0 if isinstance(error, OSError) else errno.EBADF
        raise PyruncError(what, errno=number) from error
    if flags & os.O_ACCMODE == os.O_RDONLY:
        raise PyruncError(f"{what}: not writable")


def _dump(program: str, place: StateDir, record: Record, kept: Saved, options: CriuOptions) -> None:
    images = open_directory(options.images, make=True)
    work = -1
    criu = None
    before = set(os.listdir(images))
    was_frozen = bool(record.cgroup) and files.is_frozen(record.cgroup)
    done = False
    stages = _Stages(options)
    try:
        if options.work:
            work = open_directory(options.work, make=True)
        opts = _options(place, record, kept, options, images, work)
        if not options.pre_dump:
            names = external.streams(record.pid, kept["pipes"], kept["files"])
            opts["external"] += [name for name in names if name.startswith("file[")]
            _write_descriptors(images, names)
        criu = swrk.Criu(program, keys=False)
        criu.log = os.path.join(options.log_directory, _LOG)
        criu.perform(rpc.PRE_DUMP if options.pre_dump else rpc.DUMP, stages, opts=opts)
        done = True
    finally:
        if criu is not None:
            criu.close(_SERVING_MS if stages.serves else swrk.CURE_MS)
        if not done:
            ended = stages.whole and _has_ended(record)
            _as_before(record, was_frozen, images, set(os.listdir(images)) if ended else before)
        for fd in (images, work):
            if fd >= 0:
                os.close(fd)


class _Stages:
    """The actions at CRIU's stages: write to --status-fd when lazy pages are served, and let no signal interrupt the
    end.

    whole: all images exist, and CRIU may end the processes. serves: it waits for a client of lazy pages, without a
        timeout, and handles nothing else.
    """

    def __init__(self, options: CriuOptions) -> None:
        self.whole = self.serves = False
        self._lazy = options.lazy_pages
        self._status_fd = options.status_fd if options.lazy_pages else -1

    def __call__(self, stage: str, pid: int, fds: list[int]) -> None:
        log.debug(f"criu: {stage}")
        if stage == "post-dump":
            interrupts.deliver_pending()
            if not self._lazy:
                interrupts.close()
            self.whole = True
        if stage == "status-ready":
            self.serves = True
        if stage == "status-ready" and self._status_fd >= 0:
            try:
                os.write(self._status_fd, b"\0")
                os.close(self._status_fd)
            except OSError as error:
                log.warning(f"writing to --status-fd {self._status_fd}: {errno_text(error.errno or 0)}")
            self._status_fd = -1


def _has_ended(record: Record) -> bool:
    """Whether CRIU has ended the container, which takes a moment."""
    pidfd = process.open_process(record.pid, record.startTime)
    if pidfd < 0:
        return True
    try:
        return bool(native.poll([pidfd], _DEATH_MS))
    finally:
        os.close(pidfd)


def _as_before(record: Record, was_frozen: bool, images: int, before: set[str]) -> None:
    """Undo the effects of a failed dump. Failures of this are warnings.

    before: the names in the images' directory that stay.
    """
    try:
        if record.cgroup and not was_frozen and process.find(record.pid, record.startTime) is not None:
            files.thaw(record.cgroup)
    except PyruncError as error:
        log.warning(error.line())
    for name in os.listdir(images):
        if name not in before and name != _LOG:
            try:
                os.unlink(name, dir_fd=images)
            except OSError as error:
                log.warning(prefixed("removing what the failed checkpoint has made", error).line())


def open_directory(path: str, make: bool = False) -> int:
    """A descriptor of a directory. A missing one is made with mode 0700 if it should be. Raises PyruncError."""
    try:
        if make:
            os.makedirs(path, mode=0o700, exist_ok=True)
        return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileExistsError as error:
        raise PyruncError(f"open {path}", errno=errno.ENOTDIR) from error
    except OSError as error:
        raise PyruncError(f"open {path}", errno=error.errno or 0) from error


def _write_descriptors(images: int, names: list[str]) -> None:
    """Write the names of the standard streams in runc's form. A restore replaces them by its own."""
    state.replace(external.DESCRIPTORS, json.dumps(names), 0o600, dir_fd=images)


def _options(
    place: StateDir, record: Record, kept: Saved, options: CriuOptions, images: int, work: int
) -> dict[str, Any]:
    """criu_opts of the dump."""
    opts = common_options(options, record.annotations, images, work, _LOG)
    opts.update(
        pid=record.pid,
        root=record.rootfs,
        leave_running=options.leave_running,
        tcp_skip_in_flight=options.tcp_skip_in_flight,
        link_remap=options.link_remap,
        external=external.dumped_namespaces(kept["linux"].get("namespaces") or (), record.pid),
        freeze_cgroup=record.cgroup or None,
        network_lock=_network_lock(options.network_lock),
    )
    if options.page_server is not None:
        address, port = options.page_server
        opts["ps"] = {"address": address, "port": port}
    if options.parent:
        opts.update(parent_img=options.parent, track_mem=True)
    if not options.pre_dump:
        container = os.open(f"/proc/{record.pid}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            opts["ext_mnt"] = external.dumped_mounts(kept, container, place.has("notify"))
        finally:
            os.close(container)
    return opts


def _network_lock(asked: str) -> int | None:
    """How CRIU locks the network: by --network-lock, else by nftables, which is built in, if its default
    iptables-restore is missing; None for the default of CRIU or its configuration."""
    if not asked and swrk.which("iptables-restore") is None:
        asked = "nftables"
    return rpc.NETWORK_LOCKS.get(asked)


def common_options(
    options: CriuOptions, annotations: dict[str, str], images: int, work: int, log_file: str
) -> dict[str, Any]:
    """The criu_opts that dump and restore share. images, work: descriptors; work is -1 for none."""
    config = annotations.get(CRIU_CONFIG, _CONFIG)
    return {
        "images_dir_fd": images,
        "work_dir_fd": work if work >= 0 else None,
        "log_level": _LOG_LEVEL,
        "log_file": log_file,
        "manage_cgroups": True,
        "manage_cgroups_mode": rpc.CGROUP_MODES[options.cgroup_mode],
        "notify_scripts": True,
        "orphan_pts_master": True,
        "empty_ns": options.empty_ns,
        "shell_job": options.shell_job,
        "tcp_established": options.tcp_established,
        "ext_unix_sk": options.ext_unix_sk,
        "file_locks": options.file_locks,
        "auto_dedup": options.auto_dedup,
        "lazy_pages": options.lazy_pages,
        "config_file": config or None,
    }
