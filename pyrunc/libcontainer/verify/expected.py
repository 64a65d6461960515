"""A container's plan, compiled again from its state directory (saved_config.py)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..._generated import validators
from ...errors import PyruncError
from .. import SPEC_VERSION, saved_config
from ..compile.launch import compile_launch
from ..plan import host
from ..plan.options import LaunchOptions
from ..statedir import EXEC_FILE, DamagedError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..._generated.spec_types import Linux, Process, Spec
    from ..plan.host import HostFacts
    from ..plan.model import LaunchPlan, Step
    from ..saved_config import Saved
    from ..state import Record
    from ..statedir import StateDir


class Expected:
    """The expected state of a container.

    spec: the configuration with the `linux.resources` of the last `update`, without `hooks` and without annotations
        that pyrunc ignores. plan: that of the launch without the cgroup's limits. device_paths: those of linux.devices.
    """

    def __init__(self, record: Record, spec: Spec, plan: LaunchPlan, facts: HostFacts) -> None:
        self.record = record
        self.spec = spec
        self.plan = plan
        self.facts = facts

    @property
    def linux(self) -> Linux:
        """The spec's `linux`."""
        return self.spec["linux"]

    @property
    def process(self) -> Process:
        """The spec's `process`."""
        return self.spec["process"]

    def has(self, type: str) -> bool:
        """Whether the container has a namespace of this type other than the runtime's."""
        return any(entry["type"] == type for entry in self.linux.get("namespaces") or ())

    def steps(self, *kinds: str) -> Iterator[Step]:
        """The plan's steps of these kinds, the runtime's and the init's, in order."""
        for step in self.plan.steps():
            if step.kind in kinds:
                yield step

    def step(self, *kinds: str) -> Step | None:
        """The first of `steps`."""
        return next(self.steps(*kinds), None)


def of(place: StateDir, root: str, record: Record) -> Expected:
    """The expected state of the container of an open state directory. Raises PyruncError."""
    kept = saved_config.load(place)
    rest = kept.get("rest")
    if rest is None:
        raise PyruncError(
            "the container's plan can't be made again",
            hint="an earlier version of pyrunc created it, and kept only a part of its configuration",
        )
    spec = _spec(place, kept, rest)
    facts = host.gather(landlock=True)
    options = LaunchOptions(
        id=record.id,
        root=root,
        bundle=record.bundle,
        command="run",
        no_pivot=bool(rest.get("noPivot")),
        no_new_keyring=bool(kept["noNewKeyring"]),
        notify_socket="kept" if rest.get("notify") else "",
        # Only because mounts depend on the cgroup: its limits are compared without the plan (cgroupchecks.py).
        cgroup_manager="cgroupfs" if record.cgroup else "disabled",
        rootless=rest.get("rootless"),
        isolation=kept.get("isolation", ""),
    )
    unlimited: Any = {name: value for name, value in spec["linux"].items() if name not in ("resources", "cgroupsPath")}
    plan = compile_launch({**spec, "linux": unlimited}, options, facts)
    return Expected(record, spec, plan, facts)


def _spec(place: StateDir, kept: Saved, rest: Any) -> Spec:
    """The configuration, put together. Raises DamagedError."""
    damaged = f"{place.path}/{EXEC_FILE} is damaged: rest"
    if type(rest) is not dict or type(rest.get("linux", {})) is not dict:
        raise DamagedError(f"{damaged} has a wrong value")
    spec: Any = {
        "ociVersion": SPEC_VERSION,
        **{name: rest[name] for name in ("domainname", "hostname") if name in rest},
        "mounts": kept.get("mounts", []),
        "process": kept["process"],
        "root": kept["root"],
        "linux": {**rest.get("linux", {}), **kept["linux"]},
        "annotations": kept.get("annotations", {}),
    }
    violation = validators.config(spec)
    validators.unknown.clear()
    if violation is not None:
        raise DamagedError(f"{damaged} has a wrong value at {violation[0]}")
    judged: Spec = spec
    return judged
