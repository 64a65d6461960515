"""The clone of the init: into its new namespaces, those that it joins, and its cgroup."""

from __future__ import annotations

import errno
import posix

from ...errors import PyruncError
from .. import process, state
from ..cgroup import files
from ..kernel import native
from ..kernel.constants import CLONE_FLAGS, NS_FILES
from ..plan import wire
from ..plan.host import cgroup_directory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .model import Launch

# How often to look for a living thread whose namespaces can be joined.
_THREAD_ATTEMPTS = 20
_THREAD_POLL_MS = 1


def clone(launch: Launch, flags: int, cgroup: str, join: tuple[str, ...]) -> None:
    """Carry out the step `clone`: start the init with its plan, and fill `launch.init`.

    Raises PyruncError, the descriptors of the attempt closed, so that another cgroup may be tried; OSError.
    """
    init, plan, slots = launch.init, launch.plan, launch.slots
    if launch.cgroup_fd < 0:
        launch.cgroup_fd = _open_cgroup(launch, cgroup)
    handed: list[int] = []  # made for the init alone: its end of the socket, its program
    try:
        init.sync, theirs = native.socketpair()
        handed.append(theirs)
        timed = launch.timeline is not None
        blob = wire.encode(plan, slots, timeline=timed, fault=launch.fault)
        init.times_at = wire.times_offset(len(blob))
        init.plan_fd = native.memfd("pyrunc-plan", blob, init.times_at + 16 * len(plan.init) if timed else 0)
        image = _image()
        handed.append(image)
        init.pid, init.pidfd = _clone_init(launch, flags, join, image, theirs)
    except native.CloneError as error:
        from . import clone_errors

        failure = clone_errors.explain(launch, error, flags, cgroup, join)
        init.close_sync()
        init.close_plan()
        fd, launch.cgroup_fd = launch.cgroup_fd, -1
        _close([fd] if fd >= 0 else [])
        raise failure from error
    finally:
        # Close the runtime's copy of the init's socket: otherwise its own end never gets an end of file when the init
        # executes a program or dies.
        _close(handed)
    _close([*{*slots.values()}, *launch.idmaps.values()])
    slots.clear()
    launch.idmaps.clear()


def _open_cgroup(launch: Launch, cgroup: str) -> int:
    """A descriptor of the cgroup to clone into, or -1. `/proc/PID/cgroup` stands for the cgroup of that process."""
    if not cgroup:
        return -1
    try:
        return files.open_directory(cgroup_directory(launch.facts, cgroup))
    except OSError as error:
        at = "/linux/cgroupsPath"
        raise PyruncError(f"can't open cgroup {cgroup}", pointer=at, errno=error.errno or 0) from error


def _image() -> int:
    try:
        return native.init_image()
    except OSError as error:
        from . import clone_errors

        raise clone_errors.image_failed(error) from error


def _clone_init(launch: Launch, flags: int, join: tuple[str, ...], image: int, theirs: int) -> tuple[int, int]:
    """The pid and the pidfd of the init. Raises native.CloneError."""
    slots = launch.slots
    pairs = [pair.split("=") for pair in join]
    joins = [(slots[slot], CLONE_FLAGS[kind]) for kind, slot in pairs]
    joined = {fd for fd, _ in joins}
    inherit = [theirs, launch.init.plan_fd, *[fd for fd in slots.values() if fd not in joined]]
    args = [state.INIT_NAME, str(theirs), str(launch.init.plan_fd)]
    preserved = launch.options.preserve_fds
    try:
        return native.clone_init(flags, launch.cgroup_fd, joins, image, inherit, args, preserved)
    except native.CloneError as error:
        if error.call != "setns" or error.errno != errno.ESRCH or "container" not in slots:
            raise
        # The container's first thread has ended and left its namespaces. Other threads of the process may live.
        joins = _by_living_thread(launch, [kind for kind, _ in pairs])
        if not joins:
            raise
    try:
        return native.clone_init(flags, launch.cgroup_fd, joins, image, inherit, args, preserved)
    finally:
        _close([fd for fd, _ in joins])


def _by_living_thread(launch: Launch, kinds: list[str]) -> list[tuple[int, int]]:
    """Open the namespaces of these kinds of a living thread of the process in the slot `container`: descriptors and
    types; none if the process has ended. Raises OSError."""
    [pid] = [int(str(step.arg("pid"))) for step in launch.plan.prepare if step.kind == "open_process"]
    for _ in range(_THREAD_ATTEMPTS):
        fds = _open_namespaces(pid, process.living_thread(pid), kinds)
        # Checked last: if the process still lives, its pid was not reused meanwhile.
        if native.poll([launch.slots["container"]], 0 if fds else _THREAD_POLL_MS):
            _close(fds)
            break
        if fds:
            return list(zip(fds, [CLONE_FLAGS[kind] for kind in kinds], strict=True))
    return []


def _open_namespaces(pid: int, thread: int, kinds: list[str]) -> list[int]:
    """Open a thread's namespaces; gives none if the thread has ended. Raises OSError."""
    fds: list[int] = []
    for kind in kinds if thread else ():
        path = f"/proc/{pid}/task/{thread}/ns/{NS_FILES[kind]}"
        try:
            fds.append(posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC))
        except (FileNotFoundError, ProcessLookupError):
            _close(fds)
            return []
    return fds


def _close(fds: list[int]) -> None:
    for fd in fds:
        posix.close(fd)
