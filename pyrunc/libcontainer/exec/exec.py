"""`exec`: another process in an existing container.

The container's state does not record it: the process belongs to its caller. If something fails before it runs, its init
is killed and the pid file is removed.
"""

from __future__ import annotations

import posix

from ... import launcher, log
from ...errors import START_FAILED, PyruncError
from .. import process, saved_config
from .. import state as store
from ..compile.exec import Target, compile_exec
from ..kernel.fileio import read_file
from ..launch.handlers import stopped
from ..launch.launch import add_timeline, finish, reach_ready
from ..launch.model import Launch
from ..lifecycle import prepare_fds
from ..lookup import existing_in, opened
from ..plan.host import LANDLOCK, gather
from ..state import Record
from ..statedir import DamagedError
from .process import process_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..compile.exec import Target
    from ..launch.scene import Scene
    from ..plan.host import HostFacts
    from ..plan.model import LaunchPlan
    from ..plan.options import ExecOptions
    from ..statedir import StateDir


class Joining(Launch):
    """The launch of another process. `record` stands for that process; `container` is the container's record."""

    __slots__ = ("container",)

    def __init__(
        self,
        plan: LaunchPlan,
        container: Record,
        options: ExecOptions,
        facts: HostFacts,
        fault: tuple[int, int] = (-1, 0),
    ) -> None:
        # Without the cgroup: earlier kills in it are not the cause of this failure.
        super().__init__(plan, Record({**container.values(), "cgroup": ""}), options, facts, fault)
        self.container = container

    @property
    def error_prefix(self) -> str:
        """runc's prefix for failures after the clone."""
        return START_FAILED

    def scene(self) -> Scene:
        """The scene of a failed step of the init: the container, whose files its process shows."""
        from ..launch import scene

        return scene.of_launch(self.plan, self.container.pid)

    @property
    def agent_state(self) -> str:
        """The container's state for a seccomp agent, as JSON."""
        return self.container.hook_state("running")

    def abandon(self) -> None:
        """Leave the process running. It ends with the container at the latest."""

    def fail(self, error: BaseException) -> None:
        """Undo a failed launch. Raises another PyruncError if the container has ended meanwhile, which is the cause
        then."""
        self.rollback()
        if isinstance(error, (PyruncError, OSError)) and _is_ending(self.container):
            raise stopped() from error


def execute(options: ExecOptions, fault: tuple[int, int] = (-1, 0)) -> int:
    """Start the process in the container and unless detached wait for its end.

    Returns the exit code: that of the process, 128 + n after signal n, 0 if detached. Raises PyruncError if the process
    could not be started, after it has undone everything.
    """
    path = store.directory(options.root, options.id)
    prepare_fds(options.preserve_fds)
    log.hold()
    place = opened(path)
    try:
        container = _container(place, options)
        try:
            joining = _compile(place, container, options, fault)
        except DamagedError as error:
            if _is_ending(container):  # it is being deleted
                raise stopped() from error
            raise
    finally:
        place.close()
    relay = None
    if joining.plan.terminal and not options.detach:
        from ..launch.relay import Relay

        relay = Relay()
    reach_ready(joining)
    return finish(joining, relay)


def _container(place: StateDir, options: ExecOptions) -> Record:
    """The record of a container, if a process can be started in it. Raises PyruncError in runc's words."""
    record = existing_in(place)
    status = store.status(place.path, record)
    if status == "stopped":
        raise stopped()
    if status == "paused" and not options.ignore_paused:
        raise PyruncError("cannot exec in a paused container", hint="use --ignore-paused to override")
    return record


def _compile(place: StateDir, container: Record, options: ExecOptions, fault: tuple[int, int]) -> Joining:
    kept = saved_config.load(place, mounts=False)
    options.bundle = container.bundle
    options.no_new_keyring = kept["noNewKeyring"]
    spec = saved_config.spec_of(kept)
    spec["process"] = process_of(spec, options)
    if kept.get("isolation"):
        from ..isolation.apply import bound

        for change in bound(spec["process"]):
            log.warning(f"sandbox: {change}")
    facts = gather(LANDLOCK in spec["annotations"])
    if any([namespace["type"] == "user" for namespace in kept["linux"].get("namespaces", ())]):
        facts.setgroups = _setgroups(container.pid)
    plan = compile_exec(spec, _target(container, options, facts), options, facts)
    joining = Joining(plan, container, options, facts, fault)
    add_timeline(joining)
    return joining


def _setgroups(pid: int) -> bool:
    """Whether the user namespace of a process allows setgroups(2) (user_namespaces(7))."""
    try:
        return read_file(f"/proc/{pid}/setgroups").strip() != "deny"
    except (FileNotFoundError, ProcessLookupError):
        raise stopped() from None


def _target(container: Record, options: ExecOptions, facts: HostFacts) -> Target:
    cgroup = container.cgroup
    if options.cgroup:
        cgroup = _sub_cgroup(cgroup, options.cgroup)
    target = Target(container.pid, container.startTime, cgroup, bool(options.cgroup))
    if container.systemd.get("user") and not _may_move(cgroup, facts):
        launcher.require("systemd")
        target.unit = container.systemd["unit"]
        target.subcgroup = cgroup[len(container.cgroup) :]
    return target


def _may_move(cgroup: str, facts: HostFacts) -> bool:
    """Whether the runtime may move a process from its own cgroup into another one: it needs write access to the
    cgroup.procs of their nearest common ancestor (cgroups(7), "Cgroup delegation containment rules")."""
    common = facts.cgroup_mount
    for own, other in zip(facts.cgroup_self.split("/")[1:], cgroup[len(common) :].split("/")[1:], strict=False):
        if own != other:
            break
        common += "/" + own
    return posix.access(common + "/cgroup.procs", posix.W_OK)


def _sub_cgroup(cgroup: str, asked: tuple[str, ...]) -> str:
    """The directory that `--cgroup` names below the container's. Raises PyruncError."""
    if not cgroup:
        raise PyruncError("can't join a sub cgroup of a container without a cgroup", hint="it was created without one")
    path = asked[0]
    if len(asked) > 1 or ":" in path:
        raise PyruncError(
            f"invalid --cgroup argument: {asked[-1]}", hint="one path; controllers in front of it are of cgroup v1"
        )
    names = [name for name in path.split("/") if name not in ("", ".")]
    if ".." in names:
        raise PyruncError(f"bad sub cgroup path: {path}")  # wording of runc
    return "/".join([cgroup, *names])


def _is_ending(container: Record) -> bool:
    return process.is_ending(container.pid, container.startTime)
