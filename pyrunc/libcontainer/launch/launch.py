"""Carries a LaunchPlan out: the runtime's steps, the clone, and the answers to the init's requests.

`launch` ends when the init is ready, which is when the container is created. What fails before is undone through the
ledger, as if never attempted: the init is killed, the cgroup, the pid file and the state directory are removed.
"""

from __future__ import annotations

import _signal
import posix

from ... import log
from ...errors import INIT_FAILED, START_FAILED, PyruncError, errno_text, prefixed
from .. import saved_config, state
from ..kernel import interrupts, native
from ..plan import wire
from . import lifecycle_hooks
from .handlers import HANDLERS
from .ledger import Ledger

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from ..plan.host import HostFacts
    from ..plan.model import LaunchPlan, Step
    from ..plan.options import LaunchOptions
    from .notify import Notify
    from .scene import Scene
    from .timeline import Timeline


class Launched:
    """A launch at work, and then the container that it made. The runtime's step handlers fill it.

    record: what state.json holds. seccomp: the configuration's linux.seccomp, {} for none.
    ledger: None until the state directory is made. lock: the state directory.
    draft: the name of the written state.json until the container is created; "" before.
    handed: descriptors that are made for the clone alone: the init's end of `sync`, its program.
    slots: descriptors for the plan's `fd` fields. pid, pidfd: the init; pid is 0 until it is cloned.
    idmaps: user namespaces whose id maps are those of mounts, until the clone, or until the init's request is served.
    received: a mount that the init has sent with its request, or -1.
    sync: the socket that it talks on; -1 before and after. cgroup_fd: its cgroup, or -1; cgroup_made: whether
        this start has made it.
    listener: the seccomp listener's number in the init, once the init has told it; else -1.
    own_oom_score_adj: the runtime's, where it has to be restored after the clone; else None.
    console_socket: where the pty's master goes, or -1. master: the pty's master where it is to be relayed, or -1.
    network: the container's network namespace while devices are moved into it, or -1: it must not end before they are
        moved back. network_pin: the path at which it is mounted for as long, "" where it is not.
    claim: the claim on the container's cgroup, or -1; a command that outlives the creation lets go of it.
    notify: the relay of the container's notifications, or None.
    plan_fd, times_at: the plan's memfd and where in it the init stores its times.
    """

    __slots__ = (
        "cgroup_fd", "cgroup_made", "claim", "console_socket", "draft", "facts", "fault", "handed", "idmaps",
        "ledger", "listener", "lock", "master", "network", "network_pin", "notify", "options", "own_oom_score_adj",
        "pid", "pidfd", "plan", "plan_fd", "received", "record", "seccomp", "slots", "sync", "timeline", "times_at",
    )  # fmt: skip

    def __init__(
        self,
        plan: LaunchPlan,
        record: state.Record,
        options: LaunchOptions,
        facts: HostFacts,
        fault: tuple[int, int] = (-1, 0),
    ) -> None:
        self.plan = plan
        self.record = record
        self.options = options
        self.facts = facts
        self.fault = fault
        self.ledger: Ledger | None = None
        self.lock = -1
        self.draft = ""
        self.seccomp: dict[str, Any] = {}
        self.slots: dict[str, int] = {}
        self.idmaps: dict[str, int] = {}
        self.handed: list[int] = []
        self.cgroup_fd = -1
        self.cgroup_made = False
        self.claim = -1
        self.console_socket = -1
        self.master = -1
        self.received = -1
        self.listener = -1
        self.network = -1
        self.network_pin = ""
        self.notify: Notify | None = None
        self.own_oom_score_adj: int | None = None
        self.pid = 0
        self.pidfd = -1
        self.sync = -1
        self.plan_fd = -1
        self.times_at = 0
        self.timeline: Timeline | None = None

    @property
    def is_filtered(self) -> bool:
        """Whether the program runs under a seccomp filter of the configuration."""
        return any([step.kind == "seccomp" for step in self.plan.init])

    @property
    def words(self) -> str:
        """runc's words before what fails once the init is at work."""
        return INIT_FAILED

    @property
    def clone_words(self) -> str:
        """runc's words before what fails in the clone."""
        return START_FAILED

    @property
    def agent_state(self) -> str:
        """The container's state for a seccomp agent, as JSON."""
        return self.record.hook_state("creating")

    def scene(self) -> Scene:
        """Where a step of the init has failed, for a look at the cause."""
        from . import scene

        return scene.of_launch(self.plan, self.seccomp)

    @property
    def written(self) -> Ledger:
        """The ledger; every step with an effect comes after the one that makes the state directory."""
        assert self.ledger is not None
        return self.ledger

    def receive(self, waited: bool = False) -> wire.Message | None:
        """The init's next message; None at the end of file, which is its exec or its death.

        A pty's master that comes with the message is kept in `master`, a mount in `received`. waited: the caller has
        waited for it, and serves the signals itself.
        Raises PyruncError for an ERROR message, Interrupted for a signal.
        """
        while not (waited or interrupts.poll([self.sync])):
            continue
        try:
            data, fds = native.recv(self.sync, wire.MESSAGE_SIZE, 1)
        except ConnectionResetError:
            return None
        if not data:
            return None
        message = wire.decode_message(data)
        if fds:
            if message.detail == "send_console":
                self.master = fds[0]
            else:
                self.received = fds[0]
        if message.type == wire.ERROR:
            self.make_room()
            from . import errors as launch_errors

            if self.timeline is not None:
                self.timeline.fail(self.plan, message.step, message.error, launch_errors.signal_named(message.detail))
            steps = self.plan.init
            step = steps[message.step] if 0 <= message.step < len(steps) else None
            raise launch_errors.of_init(
                step, message.error, message.detail, self.record.cgroup, self.words, self.scene()
            )
        return message

    def answer(self) -> None:
        """Let the init go on. Raises PyruncError where it has died."""
        try:
            native.send(self.sync, wire.GO_ON)
        except (BrokenPipeError, ConnectionResetError) as error:
            raise death(self) from error

    def close_sync(self) -> None:
        """Leave the conversation."""
        self._close("sync")

    def close_claim(self) -> None:
        """Let go of the claim on the cgroup: the init is in it, so that others find it in use."""
        self._close("claim")

    def close_network(self) -> None:
        """Let go of the network namespace, which then lives as long as the container. Raises OSError."""
        self._close("network")
        if self.network_pin:
            from . import netdevices

            netdevices.unpin(self.network_pin)
            self.network_pin = ""

    def kill(self) -> None:
        """Kill the init and reap it; nothing happens where there is none (any more)."""
        if self.pidfd < 0:
            return
        try:
            _signal.pidfd_send_signal(self.pidfd, _signal.SIGKILL)
        except ProcessLookupError:
            pass  # it has ended, and only waits to be reaped
        try:
            self.wait()
        except ChildProcessError:
            self._close("pidfd")  # it was reaped already

    def wait(self) -> posix.waitid_result:
        """Wait for the init's end and reap it."""
        result = posix.waitid(posix.P_PIDFD, self.pidfd, posix.WEXITED)
        assert result is not None
        self._close("pidfd")
        return result

    def _close(self, name: str) -> None:
        """Close the descriptor of this name, if it is open. It is forgotten first: close(2) has closed it in any case,
        and the number may be another file's afterwards. Raises OSError."""
        fd = getattr(self, name)
        setattr(self, name, -1)
        if fd >= 0:
            posix.close(fd)

    def make_room(self) -> None:
        """Close what a launch that has failed does not need any more, so that its descriptors serve for the explanation
        and the undoing: those may be what has run out. To be called before a module is imported for either.

        Raises nothing: what can't be closed is closed all the same (close(2)), and no cause of the failure.
        """
        fds = {*self.slots.values(), *self.idmaps.values(), *self.handed, self.cgroup_fd, self.console_socket}
        self.slots.clear()
        self.idmaps.clear()
        self.handed.clear()
        self.cgroup_fd = self.console_socket = -1
        for fd in fds:
            try:
                if fd >= 0:
                    posix.close(fd)
            except OSError as error:
                log.debug(f"closing descriptor {fd}: {errno_text(error.errno or 0)}")
        if self.ledger is not None:
            self.ledger.close()

    def undo(self) -> None:
        """Make it as if the launch had never been attempted. One part that fails keeps none of the others from being
        undone. Raises the first failure: PyruncError or OSError."""
        failures: list[PyruncError | OSError] = []
        for part in (self._give_devices_back, self.close_network, self.close_sync, self.kill, self._undo_written):
            try:
                part()
            except (PyruncError, OSError) as failure:
                failures.append(failure)
        if failures:
            raise failures[0]

    def _give_devices_back(self) -> None:
        if self.network >= 0:
            from . import netdevices

            netdevices.give_all_back(reversed(self.written.entries), self.network)

    def _undo_written(self) -> None:
        self._close("plan_fd")
        notify, self.notify = self.notify, None
        if notify is not None:
            notify.close()
        ledger, self.ledger = self.ledger, None
        if ledger is not None:
            ledger.undo()

    def take_times(self) -> None:
        """Add the init's times to the timeline, if there is one, while the plan's memfd is open. Raises OSError."""
        if self.timeline is not None and self.plan_fd >= 0 and not self.timeline.has_init:
            self.timeline.add_init(self.plan, self.plan_fd, self.times_at)

    def write_timeline(self) -> None:
        """Write the timeline's file, if one was asked for, again where hooks have come to it. Raises OSError, once."""
        self.take_times()
        timeline, self.timeline = self.timeline, None
        if timeline is not None:
            timeline.write()
            self.timeline = timeline

    def poststop(self) -> None:
        """Run the poststop hooks, and add them to the timeline. What fails is logged."""
        lifecycle_hooks.poststop(self.record, self.timeline)
        if self.timeline is not None and "poststop" in self.record.hooks:
            self.try_timeline()

    def try_timeline(self) -> None:
        """Write the timeline; where that fails, a warning says so."""
        try:
            self.write_timeline()
        except OSError as failure:
            log.warning(prefixed("writing the timeline", failure).line())


def launch(
    plan: LaunchPlan,
    spec: dict[str, Any],
    options: LaunchOptions,
    facts: HostFacts,
    fault: tuple[int, int] = (-1, 0),
) -> Launched:
    """Carry out the plan up to the init's READY, which is not answered yet: the container is created.

    The caller answers (with `run` that is the start) and then has the conversation, if it goes on, and the lock.
    fault: (step, kind) to be raised by an init that was built for tests (docs/architecture.md, The wire).
    Raises PyruncError, everything undone.
    """
    cgroup, systemd = cgroup_of(plan)
    record = state.new_record(spec, id=options.id, bundle=options.bundle, cgroup=cgroup, systemd=systemd)
    launched = Launched(plan, record, options, facts, fault)
    launched.seccomp = spec.get("linux", {}).get("seccomp", {})
    if options.timeline:
        from .timeline import Timeline

        launched.timeline = Timeline(options.timeline)
    interrupts.hold()
    try:
        announce(launched)
        carry_out(launched, plan.prepare)
        # The init is at work from here on, and does not wait for this.
        saved_config.save(launched.lock, spec, options)
        launched.draft = state.draft(launched.lock, record)
        serve(launched)
        launched.close_network()
    except BaseException:
        abandon(launched)
        raise
    return launched


def cgroup_of(plan: LaunchPlan) -> tuple[str, dict[str, Any]]:
    """The cgroup that the plan makes and, where systemd is to make it, the unit, as the record has them."""
    for step in plan.prepare:
        if step.kind == "cgroup_create":
            return str(step.args[0]), {}
    for step in plan.served.get("cgroup", ()):
        if step.kind == "systemd_scope":
            return str(step.arg("path")), {"unit": step.arg("unit"), "user": step.arg("manager") == "user"}
    return "", {}


def announce(launched: Launched) -> None:
    """Log the plan's warnings, and at level debug its notes and steps."""
    plan, id = launched.plan, launched.options.id
    for warning in plan.warnings:
        log.warning(warning)
    if log.debugging():
        for note in plan.notes:
            log.debug(f"plan of {id}: {note}")
        for step in plan.steps():
            log.debug(f"plan of {id}: {step.actor}: {step.kind} {step.pointer}".rstrip())


def abandon(launched: Launched) -> None:
    """Undo a failed launch, and run the poststop hooks where there was a container already."""
    give_up(launched)
    if launched.pid:
        launched.poststop()


def give_up(launched: Launched) -> None:
    """Undo what failed; what fails in that is logged, so that the first cause is what the command reports."""
    interrupts.close()
    launched.make_room()
    for part in (launched.take_times, launched.undo):
        try:
            part()
        except (PyruncError, OSError) as failure:
            what = f"undoing the failed {launched.options.command} of {launched.options.id}"
            log.warning(prefixed(what, failure).line())
    launched.try_timeline()  # last: its file is the caller's, and may take its time


def carry_out(launched: Launched, steps: Iterable[Step], prefix: str = "") -> None:
    """Carry out the runtime's steps in order. Raises PyruncError that names the step, with `prefix` before its text.

    A step of a higher level is carried out only where the one that it stands in for has failed as it was expected.
    """
    timeline = launched.timeline
    open_failures: set[int] = set()  # the levels at which a step has failed and is not made up for yet
    for step in steps:
        if step.level:
            if step.level - 1 not in open_failures:
                continue
            open_failures.remove(step.level - 1)
        try:
            if timeline is None:
                HANDLERS[step.kind](launched, *step.args)
            else:
                timeline.carry_out(step, HANDLERS[step.kind], launched, *step.args)
        except interrupts.Interrupted:
            raise
        except (PyruncError, OSError) as error:
            # Once the init is born, what fails in the step is not what an alternative to the clone is for.
            if error.errno in step.on_errno and not (step.kind == "clone" and launched.pid):
                open_failures.add(step.level)
                continue
            launched.make_room()
            from . import errors as launch_errors

            if step.kind == "clone":
                prefix = launched.clone_words
            raise launch_errors.of_runtime(step, error, prefix) from error


def serve(launched: Launched) -> None:
    """Answer the init's requests until it is ready. Raises PyruncError, also where the init dies."""
    served = launched.plan.served
    while True:
        message = launched.receive()
        if message is None:
            raise death(launched)
        if message.type == wire.LISTENER:
            # No answer: the init is on its way into the filter, behind which nobody may be able to hear one.
            launched.listener = wire.listener(message)
            carry_out(launched, served["seccomp"], launched.words)
            continue
        ready = message.type == wire.READY
        steps = served.get("ready" if ready else message.detail)
        if steps:
            # What the other cgroup manager does before the clone is no part of the init's work.
            carry_out(launched, steps, START_FAILED if message.detail == "cgroup" else launched.words)
        if ready:
            return
        launched.answer()


def death(launched: Launched) -> PyruncError:
    """The error of an init that ended without a message; it is reaped."""
    launched.make_room()
    from . import errors as launch_errors

    result = launched.wait()
    return launch_errors.of_death(
        result.si_code, result.si_status, launched.record.cgroup, launched.words, launched.seccomp
    )
