"""The launch plan: `compile` makes it from config.json, `launch` carries it out, `pyrunc plan` prints it."""

from __future__ import annotations

from ... import _wire
from ..._generated.steps import FIELDS, NUMBERS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..._generated.spec_types import Seccomp

    Arg = str | int | tuple[str, ...] | None

# The phases in the order in which they happen. Each step belongs to one.
PHASES = ("prepare", "clone", "namespaces", "rootfs", "process", "ready", "start")

# The slot of the socket on which the init of `create` waits for the start.
START_SLOT = "start"


class Step(_wire.Step):
    """One step of a plan. A plan has some 70, so their attributes are in C (csrc/wire/encode.c).

    phase: one of PHASES. kind: its name in plan/kinds.py.
    args: one value a field of the kind, in its order (str, int, tuple of str, or None for an empty `fd`).
    pointer: JSON pointer (RFC 6901) of the config field that caused the step; "" for none.
    fallback_level: 0 for a step that always runs. A step of level n runs only if an earlier step of level n - 1 failed
        with one of its `on_errno`. If it succeeds, that failure no longer counts.
    """

    __slots__ = ()

    @property
    def actor(self) -> str:
        """Who carries the step out: `runtime` or `init`."""
        return "init" if self.kind in NUMBERS else "runtime"

    def arg(self, name: str) -> Arg:
        """The value of the field called `name`. Raises KeyError if the kind has no such field."""
        for (field, _), value in zip(FIELDS[self.kind], self.args, strict=True):
            if field == name:
                return value
        raise KeyError(name)


class LaunchPlan:
    """A compiled container launch.

    prepare: the runtime's steps up to and including the clone.
    init: the init's steps in order.
    beside: the runtime's steps after the clone, while the init works. They are done before the runtime answers the
        init's first request. If that is one that the init makes at once (`maps`, `cgroup`), they are done after it.
    served: the runtime's steps that answer the init, by the `what` of each `request`, or by "send_console", "ready" and
        "seccomp" (the runtime takes the listener without an answer).
    terminal: whether the process gets a pty.
    warnings: parts of the configuration without effect, if the specification wants only a warning.
    notes: decisions by the facts of the host that no step shows.
    cgroup: absolute directory of the cgroup that the steps make; "" for none.
    unit: the systemd unit that has the cgroup; "" for none. user_unit: it is one of the user's manager.
    profile: linux.seccomp, which the step compile_seccomp compiles; {} for none.
    filter_flags: the flags with which the init loads a seccomp filter (seccomp(2)); None without a filter.
    limit_pointers: the JSON pointers of limits, by their control file.
    """

    __slots__ = (
        "beside", "cgroup", "filter_flags", "init", "limit_pointers", "notes", "prepare", "profile", "served",
        "terminal", "unit", "user_unit", "warnings",
    )  # fmt: skip

    def __init__(
        self,
        prepare: tuple[Step, ...],
        init: tuple[Step, ...],
        served: dict[str, tuple[Step, ...]],
        terminal: bool = False,
        warnings: tuple[str, ...] = (),
        notes: tuple[str, ...] = (),
        *,
        beside: tuple[Step, ...] = (),
        cgroup: str = "",
        unit: str = "",
        user_unit: bool = False,
        profile: Seccomp | None = None,
        filter_flags: int | None = None,
        limit_pointers: dict[str, str] | None = None,
    ) -> None:
        self.prepare = prepare
        self.beside = beside
        self.init = init
        self.served = served
        self.terminal = terminal
        self.warnings = warnings
        self.notes = notes
        self.cgroup = cgroup
        self.unit = unit
        self.user_unit = user_unit
        self.profile = profile
        self.filter_flags = filter_flags
        self.limit_pointers: dict[str, str] = limit_pointers or {}

    def start_steps(self) -> list[tuple[int, Step]]:
        """The init's steps from the wait for the start on, with their numbers."""
        return [(number, step) for number, step in enumerate(self.init) if step.phase == "start"]

    def steps(self) -> Iterator[Step]:
        """All steps in order. The runtime's answers follow the init's request."""
        yield from self.prepare
        yield from self.beside
        for step in self.init:
            assert step.kind in NUMBERS
            yield step
            if step.kind == "request":
                yield from self.served.get(str(step.args[0]), ())
            elif step.kind in ("send_console", "ready", "seccomp"):
                yield from self.served.get(step.kind, ())
