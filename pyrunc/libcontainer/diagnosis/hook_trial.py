"""`hooks run`: try each hook of a bundle in its own container, which never runs its program. Cold.

Each hook runs by the steps of `run`: at the same moment of a launch, in the same namespaces, with the specification's
state on stdin (runtime.md, State). A failed hook does not stop the others. The container's id is made up. Parts of the
launch that others would notice are left out: the cgroup with its limits, network devices, the resctrl group, the
terminal.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..._generated import steps
from ...errors import PyruncError
from ..compile.launch import compile_launch
from ..launch import lifecycle_hooks
from ..launch.launch import create
from ..launch.model import Launch
from ..launch.newidmap import fill_mappings
from ..launch.timeline import HOOKS, Timeline
from ..plan import wire
from ..plan.host import gather
from ..plan.model import LaunchPlan, Step

if TYPE_CHECKING:
    from typing import Literal

    from ..._generated.spec_types import HookEntry, Hooks, Spec
    from ..plan.options import LaunchOptions

    Kind = Literal["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"]

# In the order in which a start calls them (config.md, POSIX-platform Hooks).
KINDS: tuple[Kind, ...] = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")
# The status in the state of hooks that are no steps of the plan.
_STATUS: dict[Kind, str] = {"poststart": "running", "poststop": "stopped"}
# Members of `linux` with effects outside of the container.
_BEYOND = ("cgroupsPath", "intelRdt", "netDevices", "resources")
# The request that replaces the execution of the program.
_TRIED = "hook_tried"


class Outcome:
    """The result of one hook.

    kind, index, path: identify it. seconds: how long it ran. end: `exit status 0`, `signal: killed`, or
    `not started: …`. error: the failure as a start would report it; None after success.
    """

    def __init__(self, event: dict[str, Any], error: PyruncError | None) -> None:
        """event: the hook's in a timeline."""
        args = event["args"]
        self.kind: str = args["hook"]
        self.index: int = args["index"]
        self.path: str = args["path"]
        self.end: str = args["end"]
        self.seconds: float = event["dur"] / 1_000_000
        self.error = error

    def to_dict(self) -> dict[str, Any]:
        """As a JSON object; `error` has the message with the end of what the hook wrote, or is null."""
        return {
            "kind": self.kind,
            "index": self.index,
            "path": self.path,
            "seconds": round(self.seconds, 6),
            "end": self.end,
            "error": self.error.line() if self.error is not None else None,
        }


def chosen(spec: Spec, kind: str, index: int) -> list[tuple[Kind, int]]:
    """The selected hooks of a configuration, by kind and index, in the order of a start.

    kind: "" for all kinds. index: -1 for all of the kind. Raises PyruncError if there is no such hook.
    """
    hooks: Hooks = spec.get("hooks") or {}
    if kind and kind not in KINDS:
        raise PyruncError(f'"{kind}" is no kind of hook', hint=", ".join(KINDS) + " are known")
    if index != -1 and not kind:
        raise PyruncError("--index counts the hooks of one kind", hint="which kind, says --kind")
    found = [(name, number) for name in KINDS if kind in ("", name) for number in range(len(hooks.get(name) or ()))]
    if index == -1:
        return found
    one = [hook for hook in found if hook == (kind, index)]
    if not one:
        raise PyruncError(f"there is no {kind} hook #{index}", hint=f"the configuration has {len(found)} of this kind")
    return one


def trials(spec: Spec, options: LaunchOptions, hooks: list[tuple[Kind, int]]) -> Iterator[Outcome]:
    """Try the hooks of a loaded configuration one after the other. The working directory must be the bundle.

    options: those of a `run`, with an id that is free and the cgroup manager "disabled".
    If the launch fails before the hook, it undoes everything and raises PyruncError.
    """
    with tempfile.TemporaryDirectory(prefix="pyrunc-hooks-") as directory:
        options.timeline = os.path.join(directory, "timeline")
        for kind, index in hooks:
            yield _trial(spec, options, kind, index)


def _trial(spec: Spec, options: LaunchOptions, kind: Kind, index: int) -> Outcome:
    facts = gather(landlock=True)
    hooks: Hooks = {}
    if kind not in _STATUS:
        hooks[kind] = spec["hooks"][kind]
    linux: Any = {name: value for name, value in (spec.get("linux") or {}).items() if name not in _BEYOND}
    alone: Spec = {**spec, "hooks": hooks, "linux": linux, "process": {**spec["process"], "terminal": False}}
    fill_mappings(alone, facts.euid, facts.egid)
    plan = compile_launch(alone, options, facts)
    _reduce(plan, index)
    try:
        launch = create(plan, alone, options, facts)
        try:
            if kind in _STATUS:
                return _of_life(launch, kind, index, spec["hooks"][kind][index])
            if kind == "startContainer":
                _go_on(launch)
        finally:
            launch.rollback()
    except PyruncError as error:
        event = _event(options.timeline)
        if event is None:
            raise
        return Outcome(event, error)
    event = _event(options.timeline)
    assert event is not None
    return Outcome(event, None)


def _reduce(plan: LaunchPlan, index: int) -> None:
    """Leave one hook in the plan, and a request in place of the program."""
    plan.served = {
        what: tuple(step for step in answer if not _is_other(step, index)) for what, answer in plan.served.items()
    }
    plan.init = tuple(
        Step(step.phase, *steps.request(what=_TRIED), pointer=step.pointer) if step.kind == "execute" else step
        for step in plan.init
        if not _is_other(step, index)
    )


def _is_other(step: Step, index: int) -> bool:
    return step.kind in HOOKS and step.arg("index") != index


def _go_on(launch: Launch) -> None:
    """Let the init go on from ready to the execution of the program. Raises PyruncError."""
    launch.answer()
    while True:
        message = launch.receive()
        if message is None:
            raise launch.death()
        if message.type == wire.REQUEST and message.detail == _TRIED:
            return


def _of_life(launch: Launch, kind: Kind, index: int, hook: HookEntry) -> Outcome:
    """Try a poststart hook while the container is ready, or a poststop hook after it is gone."""
    failure = None
    timeline = Timeline("")
    if kind == "poststop":
        launch.rollback()
    try:
        lifecycle_hooks.run(launch.record, kind, index, hook, _STATUS[kind], timeline)
    except PyruncError as error:
        failure = error
    return Outcome(timeline.events[0], failure)


def _event(path: str) -> dict[str, Any] | None:
    """The hook in the timeline of a launch, which is removed; None if the launch did not reach it."""
    file = Path(path)
    if not file.exists():
        return None
    events = json.loads(file.read_text(encoding="utf-8"))["traceEvents"]
    file.unlink()
    found: list[dict[str, Any]] = [event for event in events if event["name"] in HOOKS]
    return found[0] if found else None
