"""A process in the container's namespaces that changes its mounts and devices, and the runtime's answers to it.

Each effect is in the journal before it is made: the process sends a request before it makes a file or attaches a mount,
and goes on when the runtime has recorded it. It dies with the runtime. The journal has its pid and start time, so a
command that undoes the update can make sure that it has ended.
"""

from __future__ import annotations

import posix

from ...errors import PyruncError
from .. import process
from ..compile.update import COMMIT, Changes, compile_change
from ..kernel import native
from ..kernel.fileio import read_file
from ..kernel.mountinfo import unescape
from ..launch.launch import run_steps
from ..launch.model import Launch
from ..plan import wire
from ..plan.options import LaunchOptions
from ..saved_config import spec_of
from ..state import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from ..plan.host import HostFacts
    from ..plan.model import LaunchPlan
    from ..saved_config import Saved

    # (id in mountinfo, the unique id or 0, path in the container)
    Identity = tuple[int, int, str]

_RESOLVE = native.RESOLVE_IN_ROOT | native.RESOLVE_NO_MAGICLINKS
_ATTEMPTS = 128  # of a look-up that a rename elsewhere interrupts, as in csrc/init/paths.c


class Container:
    """The container to change. record: as in state.json. root: the state root. kept: the saved configuration."""

    __slots__ = ("facts", "kept", "record", "root")

    def __init__(self, record: Record, root: str, kept: Saved, facts: HostFacts) -> None:
        self.record = record
        self.root = root
        self.kept = kept
        self.facts = facts


class Witness:
    """The calls that a session makes before it goes on; here they do nothing.

    began: the process's pid and start time. made: the path of a file, directory or node, before it is made.
    attached: the ids of a mount, before it is attached.
    """

    __slots__ = ()

    def began(self, pid: int, start_time: int) -> None:
        """Before the process does anything."""

    def made(self, path: str) -> None:
        """Before something is made."""

    def attached(self, id: int, unique: int) -> None:
        """Before a mount is attached."""

    def done(self, pid: int) -> None:
        """All is made and attached, as the process with this pid sees it."""

    def commit(self) -> None:
        """Before anything is removed or unmounted."""


class Session(Launch):
    """A process that works in a container. record stands for that process. copies: receives the mounts that it
    sends."""

    __slots__ = ("container", "copies", "witness")

    def __init__(
        self, plan: LaunchPlan, container: Container, options: LaunchOptions, witness: Witness, copies: list[int]
    ) -> None:
        super().__init__(plan, Record({**container.record.values(), "cgroup": ""}), options, container.facts)
        self.container = container
        self.witness = witness
        self.copies = copies

    @property
    def error_prefix(self) -> str:
        """Nothing: the message begins with what failed."""
        return ""

    @property
    def clone_error_prefix(self) -> str:
        """Nothing, likewise."""
        return ""

    def end(self) -> None:
        """Kill and reap the process unless it has ended, and close all descriptors but the copies."""
        self.make_room()
        self.init.close_sync()
        self.init.close_plan()
        self.init.close_received()
        self.init.kill()


def compiled(container: Container, changes: Changes) -> tuple[LaunchPlan, LaunchOptions]:
    """The plan of the changes, and its options. Raises PyruncError for changes that can't be compiled."""
    record = container.record
    options = LaunchOptions(id=record.id, root=container.root, bundle=record.bundle, command="update")
    try:
        plan = compile_change(spec_of(container.kept), record.pid, record.startTime, changes, options, container.facts)
    except PyruncError as error:
        error.pointer = ""  # of an entry that no file has
        raise
    return plan, options


def run(
    container: Container,
    changes: Changes,
    witness: Witness,
    *,
    slots: dict[str, int] | None = None,
    copies: list[int] | None = None,
    look: Callable[[int, int], None] | None = None,
) -> None:
    """Carry changes out.

    slots: descriptors of mounts, by the slots of `changes.restored`; they are closed. copies: receives the descriptors
        of the mounts of `changes.copied`. look: called with a descriptor of the container's root and the pid of the
        process, before the first change. Raises PyruncError and OSError after the process has ended. Its changes stay;
        the witness knows them.
    """
    session: Session | None = None
    slots = slots or {}
    try:
        plan, options = compiled(container, changes)
        session = Session(plan, container, options, witness, [] if copies is None else copies)
        session.slots, slots = slots, {}
        run_steps(session, plan.prepare)
        witness.began(session.init.pid, session.record.startTime)
        _serve(session, look)
    except PyruncError as error:
        error.pointer = ""  # of an entry that no file has
        raise
    finally:
        for fd in slots.values():
            posix.close(fd)
        if session is not None:
            session.end()


def _serve(session: Session, look: Callable[[int, int], None] | None) -> None:
    """Answer the process's requests until it ends. Raises PyruncError, OSError."""
    served = session.plan.served
    while True:
        message = session.receive()
        if message is None:
            raise session.death()
        if message.type == wire.READY:
            session.witness.done(session.init.pid)
            session.answer()
            while session.receive() is not None:
                continue
            return
        what, _, name = message.detail.partition("/")
        fd, session.init.received = session.init.received, -1
        try:
            if what == "root" and look is not None:
                look(fd, session.init.pid)
            elif what == "make":
                _told_of_made(session.witness, fd, name)
            elif what == "attach":
                id, unique, _ = native.mount_id(fd)
                session.witness.attached(id, unique)
            elif what == "copy":
                session.copies.append(fd)
                fd = -1
            elif what == COMMIT:
                session.witness.done(session.init.pid)
                session.witness.commit()
            elif what in served or message.detail in served:
                run_steps(session, served[message.detail])
        finally:
            if fd >= 0:
                posix.close(fd)
        session.answer()


def _told_of_made(witness: Witness, directory: int, name: str) -> None:
    if exists(directory, name):
        return
    witness.made(path_of(directory).rstrip("/") + "/" + name)


def exists(directory: int, name: str) -> bool:
    """Whether a directory has a name, of a file of any type. Raises OSError."""
    try:
        posix.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def path_of(fd: int) -> str:
    """The path of an open file in its mount namespace. Raises OSError."""
    return posix.readlink(f"/proc/self/fd/{fd}")


def open_inside(root: int, path: str, *, follow: bool) -> int:
    """Open (O_PATH) a path of the container, by a descriptor of its root.

    follow: whether symbolic links are followed; they stay in the root. Raises OSError.
    """
    flags = posix.O_PATH | posix.O_CLOEXEC | (0 if follow else posix.O_NOFOLLOW)
    rules = _RESOLVE if follow else _RESOLVE | native.RESOLVE_NO_SYMLINKS
    for _ in range(_ATTEMPTS):
        try:
            return native.openat2(root, path, flags, 0, rules)
        except BlockingIOError:  # EAGAIN: a rename happened meanwhile
            continue
    return native.openat2(root, path, flags, 0, rules)


def open_parent(root: int, path: str) -> tuple[int, str]:
    """An open descriptor of a path's directory, without symbolic links, and the path's last part. Raises OSError."""
    parent, _, name = path.rpartition("/")
    return open_inside(root, parent or "/", follow=False), name


def mounts_of(pid: int) -> dict[int, str]:
    """The mounts in a process's mount namespace: paths by id. proc_pid_mountinfo(5). Raises OSError."""
    found = {}
    for line in read_file(f"/proc/{pid}/mountinfo").splitlines():
        words = line.split(" ")
        found[int(words[0])] = unescape(words[4])
    return found


def find(root: int, mounts: dict[int, str], identity: Identity) -> str:
    """The path of a mount now; "" if it is unmounted. Raises PyruncError if another one is mounted over it.

    root: the container's root. mounts: the result of `mounts_of`.
    """
    id, unique, _ = identity
    if id not in mounts:
        return ""
    try:
        fd = open_inside(root, mounts[id], follow=False)
    except OSError as error:
        raise PyruncError(f"looking for what is mounted on {mounts[id]}", errno=error.errno or 0) from error
    try:
        other, its_unique, _ = native.mount_id(fd)
    finally:
        posix.close(fd)
    if (other, its_unique) == (id, unique):
        return mounts[id]
    if other == id:
        return ""  # another mount has this id by now
    raise PyruncError(f"something else is mounted over what update has mounted on {mounts[id]}")


def still(pid: int, start_time: int) -> None:
    """Kill a process that an update has left, and wait for its end. Raises OSError."""
    pidfd = process.open_process(pid, start_time)
    if pidfd < 0:
        return
    try:
        process.send_signal(pid, start_time)
        native.poll([pidfd], native.PATIENCE_MS)
    finally:
        posix.close(pidfd)
