"""One launch: its plan and options, its open descriptors, and its effects, which are undone if it fails."""

from __future__ import annotations

import errno
import posix

from ... import log
from ...errors import INIT_FAILED, START_FAILED, PyruncError, errno_text, prefixed
from ..cgroup import claims
from ..kernel import interrupts, native
from ..plan import wire
from . import lifecycle_hooks
from .init_process import InitProcess
from .ledger import Ledger, MemoryLedger

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..plan.host import HostFacts
    from ..plan.model import LaunchPlan
    from ..plan.options import LaunchOptions
    from ..state import Record
    from .notify import Notify
    from .scene import Scene
    from .timeline import Timeline

# The errnos for a process, namespace, descriptor or socket that is gone, and how long a process whose end has begun may
# take on a busy machine.
_GONE = (
    errno.ESRCH, errno.ENOENT, errno.ENODEV, errno.EBADF, errno.EINVAL, errno.EPIPE, errno.ECONNRESET, errno.ECHILD,
)  # fmt: skip
_ENDING_MS = 10_000


class Launch:
    """A launch from its compiled plan to the container that it made. The step handlers fill it.

    plan, options, facts: what is carried out. fault: for an init built for tests (docs/architecture.md, The wire).
    record: what state.json holds.
    init: the container's init. timeline: the times of the steps, or None.
    ledger: the effects to undo; in memory until the state directory exists. state_dir_fd: the open state directory, -1
        before.
    state_tmp_name: the name of the temporary file that becomes state.json when the container is created; "" before it
        is written.
    slots: descriptors for the plan's `fd` fields, until the clone.
    idmaps: user namespaces that hold the id maps of mounts, until the clone or until the init's request for them.
    cgroup_fd: the init's cgroup, or -1. cgroup_made: whether this launch made it.
    claim: the lock on the cgroup (cgroup.claims.take), or -1.
    console_socket: the socket that the pty's master is sent to, or -1.
    network: the container's network namespace while devices are moved into it, or -1: it must exist until they are
        moved back. network_pin: the path on which it is mounted meanwhile, "" for none.
    notify: the relay of the container's notifications, or None.
    own_oom_score_adj: the runtime's own, which is restored after the clone; None if it was not changed.
    """

    __slots__ = (
        "cgroup_fd", "cgroup_made", "claim", "console_socket", "facts", "fault", "idmaps", "init", "ledger", "network",
        "network_pin", "notify", "options", "own_oom_score_adj", "plan", "record", "slots", "state_dir_fd",
        "state_tmp_name", "timeline",
    )  # fmt: skip

    def __init__(
        self,
        plan: LaunchPlan,
        record: Record,
        options: LaunchOptions,
        facts: HostFacts,
        fault: tuple[int, int] = (-1, 0),
    ) -> None:
        self.plan = plan
        self.record = record
        self.options = options
        self.facts = facts
        self.fault = fault
        self.init = InitProcess()
        self.timeline: Timeline | None = None
        self.ledger: Ledger = MemoryLedger()
        self.state_dir_fd = -1
        self.state_tmp_name = ""
        self.slots: dict[str, int] = {}
        self.idmaps: dict[str, int] = {}
        self.cgroup_fd = -1
        self.cgroup_made = False
        self.claim = -1
        self.console_socket = -1
        self.network = -1
        self.network_pin = ""
        self.notify: Notify | None = None
        self.own_oom_score_adj: int | None = None

    @property
    def is_filtered(self) -> bool:
        """Whether the program runs under a seccomp filter of the configuration."""
        return self.plan.filter_flags is not None

    @property
    def error_prefix(self) -> str:
        """runc's words before the message of what fails after the clone."""
        return INIT_FAILED

    @property
    def clone_error_prefix(self) -> str:
        """runc's words before the message of a failed clone."""
        return START_FAILED

    @property
    def agent_state(self) -> str:
        """The container's state for a seccomp agent, as JSON."""
        return self.record.hook_state("creating")

    def scene(self) -> Scene:
        """The scene of a failed step of the init, in which the cause is looked for (scene.py)."""
        from . import scene

        return scene.of_launch(self.plan)

    def receive(self, waited: bool = False) -> wire.Message | None:
        """Wait for the init's next message; None at the end of file, which is its exec or its death.

        waited: as for InitProcess.receive. Raises PyruncError for an ERROR message and for an init
        that has died instead of reading the last answer, Interrupted for a signal.
        """
        try:
            message = self.init.receive(waited)
        except ConnectionResetError as error:
            raise self.death() from error
        if message is None or message.type != wire.ERROR:
            return message
        self.make_room()
        from . import errors as launch_errors

        if self.timeline is not None:
            self.timeline.fail(self.plan, message.step, message.error, launch_errors.signal_named(message.detail))
        steps = self.plan.init
        step = steps[message.step] if 0 <= message.step < len(steps) else None
        raise launch_errors.init_step_failed(
            step, message.error, message.detail, self.record.cgroup, self.error_prefix, self.scene()
        )

    def answer(self) -> None:
        """Let the init go on. Raises PyruncError if it has died."""
        try:
            self.init.answer()
        except (BrokenPipeError, ConnectionResetError) as error:
            raise self.death() from error

    def death(self) -> PyruncError:
        """The error of an init that ended without an ERROR message. The init is reaped."""
        self.make_room()
        from . import errors as launch_errors

        result = self.init.wait()
        return launch_errors.init_died(
            result.si_code,
            result.si_status,
            self.record.cgroup,
            self.error_prefix,
            self.plan.profile,
            result.si_pid,
            self.record.startTime,
        )

    def cause_of(self, failure: PyruncError) -> PyruncError:
        """The error to report for a failed step of the runtime. If the init has ended, that is its end or its own last
        report, with the step's failure after it: most of the runtime's steps need a living init."""
        init = self.init
        # The end of a killed process may have begun: its files in /proc are gone, and it is no zombie yet.
        patience = _ENDING_MS if failure.errno in _GONE and init.is_ending() else 0
        if init.pidfd < 0 or not native.poll([init.pidfd], patience):
            return failure
        try:
            # It may have sent the reason for its end. A message is there already or never comes, so this does not wait.
            while init.sync >= 0 and native.poll([init.sync], 0) and self.receive(waited=True) is not None:
                continue
            end = self.death()
        except PyruncError as reported:
            end = reported
        from . import errors as launch_errors

        return launch_errors.ended_beside(end, failure)

    def close_network(self) -> None:
        """Close the network namespace, which then exists as long as the container. Raises OSError."""
        fd, self.network = self.network, -1
        if fd >= 0:
            posix.close(fd)
        if self.network_pin:
            from . import netdevices

            netdevices.unpin(self.network_pin)
            self.network_pin = ""

    def close_claim(self) -> None:
        """Release the lock on the cgroup: the init is in it now, so other commands find it in use. Raises OSError."""
        fd, self.claim = self.claim, -1
        if fd >= 0:
            posix.close(fd)

    def release(self) -> None:
        """Let other commands act on the container: they may delete it, and create another one of its id. The open state
        directory stays this container's. Raises OSError."""
        self.close_claim()
        self.ledger.unlock()

    def make_room(self) -> None:
        """Close the descriptors that a failed launch no longer needs: explaining and undoing the failure open files and
        import modules, and descriptors may be what has run out. Call it before such an import.

        Raises nothing: close(2) frees a number even where it fails, and that is not why the launch failed.
        """
        fds = {*self.slots.values(), *self.idmaps.values(), self.cgroup_fd, self.console_socket}
        self.slots.clear()
        self.idmaps.clear()
        self.cgroup_fd = self.console_socket = -1
        for fd in fds:
            try:
                if fd >= 0:
                    posix.close(fd)
            except OSError as error:
                log.debug(f"closing descriptor {fd}: {errno_text(error.errno or 0)}")
        self.ledger.close()

    def undo(self) -> None:
        """Undo all effects of the launch, as if it had never been attempted. If one part fails, the others are still
        undone. Raises the first failure: PyruncError or OSError."""
        failures: list[PyruncError | OSError] = []
        parts = (
            self._move_devices_back, self.close_network, self.init.close_sync, self.init.kill, self._undo_ledger,
            self._leave_cgroup,
        )  # fmt: skip
        for part in parts:
            try:
                part()
            except (PyruncError, OSError) as failure:
                failures.append(failure)
        if failures:
            raise failures[0]

    def _move_devices_back(self) -> None:
        if self.network >= 0:
            from . import netdevices

            netdevices.move_all_back(reversed(self.ledger.entries), self.network)

    def _undo_ledger(self) -> None:
        self.init.close_plan()
        notify, self.notify = self.notify, None
        if notify is not None:
            notify.close()
        ledger, self.ledger = self.ledger, MemoryLedger()
        ledger.undo(self.claim >= 0)

    def _leave_cgroup(self) -> None:
        """Release the claim, and remove a cgroup that another container has abandoned."""
        cgroup = self.record.cgroup
        if self.claim >= 0:
            self.close_claim()
            claims.remove_parents(cgroup, itself=True)

    def rollback(self) -> None:
        """Undo a failed launch. Failures of this are logged, so that the command reports the first cause."""
        interrupts.close()
        self.make_room()
        for part in (self.take_times, self.undo):
            try:
                part()
            except (PyruncError, OSError) as failure:
                what = f"undoing the failed {self.options.command} of {self.options.id}"
                log.warning(prefixed(what, failure).line())
        self.try_timeline()  # last: the file is the caller's, and a write to it may take a while

    def fail(self, error: BaseException) -> None:
        """Undo a launch that has failed with `error`, and run the poststop hooks if the container was created already.

        A subclass may raise another error, which the command reports instead.
        """
        self.rollback()
        if self.init.pid:
            self.poststop()

    def take_times(self) -> None:
        """Add the init's times to the timeline, if there is one, while the plan's memfd is open. Raises OSError."""
        if self.timeline is not None and self.init.plan_fd >= 0 and not self.timeline.has_init:
            self.timeline.add_init(self.plan, self.init.plan_fd, self.init.times_at)

    def abandon(self) -> None:
        """Kill the process, since this command can't relay its output, forward its signals and wait for its end any
        longer. Raises OSError."""
        self.init.kill()

    def write_timeline(self) -> None:
        """Write the timeline's file, if one was asked for; again after later hooks. Raises OSError, once."""
        self.take_times()
        timeline, self.timeline = self.timeline, None
        if timeline is not None:
            timeline.write()
            self.timeline = timeline

    def poststop(self) -> None:
        """Run the poststop hooks, and add them to the timeline. A failure is logged."""
        lifecycle_hooks.poststop(self.record, self.timeline)
        if self.timeline is not None and "poststop" in self.record.hooks:
            self.try_timeline()

    def try_timeline(self) -> None:
        """Write the timeline; log a warning if that fails."""
        try:
            self.write_timeline()
        except OSError as failure:
            log.warning(prefixed("writing the timeline", failure).line())
