"""Carries a LaunchPlan out: the runtime's steps, the clone, the answers to the init's requests.

`create` returns when the init is ready, which is when the container is created; `finish` goes on from there. If
anything fails on the way, the ledger undoes it: the init is killed, the cgroup, the pid file and the state directory
are removed.
"""

from __future__ import annotations

import time

from ... import log
from ...errors import START_FAILED, PyruncError
from .. import saved_config, state
from ..kernel import interrupts
from ..plan import wire
from .foreground import Foreground
from .handlers import HANDLERS
from .model import Launch

# The exit code of a program that a seccomp filter has ended: 128 + SIGSYS.
_SIGSYS_CODE = 159
# With this flag of linux.seccomp the kernel also records the calls that the filter fails with an errno, and a program
# that fails within so many seconds may have failed because of one.
_RECORDED, _FIRST_SECONDS = "SECCOMP_FILTER_FLAG_LOG", 1.5

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ..._generated.spec_types import Spec
    from ..plan.host import HostFacts
    from ..plan.model import LaunchPlan, Step
    from ..plan.options import LaunchOptions
    from .foreground import Foreground
    from .relay import Relay


def create(
    plan: LaunchPlan,
    spec: Spec,
    options: LaunchOptions,
    facts: HostFacts,
    fault: tuple[int, int] = (-1, 0),
) -> Launch:
    """Carry out the plan of a container up to the init's READY, which is not answered yet.

    The caller answers it; the state directory stays locked.
    fault: (step, kind) to be raised by an init that was built for tests (docs/architecture.md, The wire).
    Raises PyruncError, everything undone.
    """
    record = state.new_record(
        spec, id=options.id, bundle=options.bundle, cgroup=plan.cgroup, unit=plan.unit, user_unit=plan.user_unit
    )
    launch = Launch(plan, record, options, facts, fault)
    add_timeline(launch)

    def save() -> None:
        # The init works meanwhile, and does not wait for this.
        saved_config.save(launch.state_dir_fd, spec, options)
        launch.state_tmp_name = state.write_tmp(launch.state_dir_fd, record)

    reach_ready(launch, save)
    return launch


def add_timeline(launch: Launch) -> None:
    """Have the launch's steps timed, if the command asks for that."""
    if launch.options.timeline:
        from .timeline import Timeline

        launch.timeline = Timeline(launch.options.timeline)


def reach_ready(launch: Launch, after_clone: Callable[[], None] | None = None) -> None:
    """Carry out the runtime's steps and serve the init until it is ready.

    after_clone: called after the plan's steps beside the init. Raises PyruncError, everything undone.
    """
    served = launch.plan.served
    awaited = "maps" if "maps" in served else "cgroup" if "cgroup" in served else ""

    def beside() -> None:
        run_steps(launch, launch.plan.beside)
        if after_clone is not None:
            after_clone()

    interrupts.hold()
    try:
        log_plan(launch)
        run_steps(launch, launch.plan.prepare)
        if awaited == "maps":
            # The init asks for its id maps first, and waits for them: they are there when it does.
            run_steps(launch, served["maps"], launch.error_prefix)
        elif not awaited:
            beside()
        serve(launch, awaited, beside if awaited else None, "maps")
        launch.close_network()
    except BaseException as error:
        launch.fail(error)
        raise


def finish(
    launch: Launch,
    relay: Relay | None,
    on_running: Callable[[], None] | None = None,
    on_end: Callable[[], None] | None = None,
) -> int:
    """Let a ready init execute the program and, unless the command detaches, wait for its end.

    relay: the relay of the user's terminal, or None; it is closed. on_running: called when the program runs; if it
    raises an exception, the launch fails. on_end: called after the program's end, or when it can't be waited for any
    longer. Returns the exit code: the process's, 128 + n if signal n ended it, 0 if detached. If something fails before
    the program runs or in `on_running`, everything is undone and PyruncError is raised.
    """
    foreground = None
    try:
        if launch.options.detach:
            launch.answer()
            while launch.receive() is not None:
                continue
        else:
            foreground = Foreground(launch, relay)
            foreground.start()
        launch.init.close_sync()
        if on_running is not None:
            on_running()
        launch.write_timeline()
        launch.release()
    except BaseException as error:
        if relay is not None:
            relay.close()
        launch.fail(error)
        raise
    if foreground is None:
        if launch.notify is not None:
            launch.notify.begin(launch.init.pid)
            launch.notify.wait_ready(launch.init.pidfd)
            launch.notify.close()
        return 0
    return wait(launch, foreground, relay, on_end)


def wait(launch: Launch, foreground: Foreground, relay: Relay | None, on_end: Callable[[], None] | None = None) -> int:
    """Wait for the end of a program that runs in the foreground. Returns its exit code. Arguments as for `finish`.

    Raises OSError, with the process abandoned (Launch.abandon).
    """
    profile = launch.plan.profile
    begun = time.monotonic() if profile is not None and _RECORDED in (profile.get("flags") or ()) else 0.0
    try:
        try:
            code = foreground.wait()
            if code == _SIGSYS_CODE and launch.is_filtered:
                from . import blame

                blame.log_killed(launch.init.pid, launch.record.startTime, profile)
            elif code and begun and profile is not None and time.monotonic() - begun < _FIRST_SECONDS:
                from . import blame

                blame.log_refused(launch.init.pid, profile, code, time.monotonic() - begun)
        except OSError:
            launch.abandon()
            raise
        finally:
            if on_end is not None:
                on_end()
        foreground.close()
    finally:
        if relay is not None:
            relay.close()
    return code


def log_plan(launch: Launch) -> None:
    """Log the plan's warnings, and at level debug its notes and steps."""
    plan, id = launch.plan, launch.options.id
    for warning in plan.warnings:
        log.warning(warning)
    if log.debugging():
        for note in plan.notes:
            log.debug(f"plan of {id}: {note}")
        for step in plan.steps():
            log.debug(f"plan of {id}: {step.actor}: {step.kind} {step.pointer}".rstrip())


def run_steps(launch: Launch, steps: Iterable[Step], prefix: str = "") -> None:
    """Carry out steps of the runtime in order. Raises PyruncError that names the step, with `prefix` before its text,
    or, if the init has ended, what has ended it.

    A step of a level above 0 is an alternative: it runs only if a step of the level below has failed with one of the
    errnos that the plan expects there.
    """
    timeline = launch.timeline
    open_failures: set[int] = set()  # the levels at which a step has failed and no alternative has succeeded yet
    for step in steps:
        if step.fallback_level:
            if step.fallback_level - 1 not in open_failures:
                continue
            open_failures.remove(step.fallback_level - 1)
        try:
            if timeline is None:
                HANDLERS[step.kind](launch, *step.args)
            else:
                timeline.run_step(step, HANDLERS[step.kind], launch, *step.args)
        except interrupts.Interrupted:
            raise
        except (PyruncError, OSError) as error:
            # An alternative to `clone` is for a failed clone, not for what fails in that step after the clone.
            if error.errno in step.on_errno and not (step.kind == "clone" and launch.init.pid):
                open_failures.add(step.fallback_level)
                continue
            launch.make_room()
            from . import errors as launch_errors

            if step.kind == "clone":
                prefix = launch.clone_error_prefix
            failure = launch_errors.runtime_step_failed(step, error, prefix)
            raise launch.cause_of(failure) from error


def serve(launch: Launch, awaited: str = "", after: Callable[[], None] | None = None, carried_out: str = "") -> None:
    """Answer the init's requests until it is ready. Raises PyruncError, also if the init dies.

    after: called after the answer to the request `awaited`, or before that to another message that comes first.
    carried_out: the request whose steps have been carried out already.
    """
    served = launch.plan.served
    while True:
        message = launch.receive()
        if message is None:
            raise launch.death()
        if after is not None and message.detail != awaited:
            after()
            after = None
        if message.type == wire.LISTENER:
            # Not answered: the init enters the filter now, and may be unable to read an answer before its agent runs.
            launch.init.listener = wire.listener(message)
            run_steps(launch, served["seccomp"], launch.error_prefix)
            continue
        ready = message.type == wire.READY
        steps = served.get("ready" if ready else message.detail)
        if steps and (ready or message.detail != carried_out):
            # The request `cgroup` stands for what the cgroupfs manager does before the clone: its errors are no
            # failure of the init.
            run_steps(launch, steps, START_FAILED if message.detail == "cgroup" else launch.error_prefix)
        if ready:
            return
        launch.answer()
        if after is not None:
            after()
            after = None
