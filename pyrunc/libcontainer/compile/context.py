"""Context: the state that the parts of the compiler share while they make one plan."""

from __future__ import annotations

from ..._generated import steps
from ...paths import clean
from ..plan.model import LaunchPlan, Step

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    from ..._generated.spec_types import IDMapping, Linux, Process, Seccomp, Spec
    from ..._generated.steps import InitOperation, RuntimeOperation
    from ..plan.host import HostFacts
    from ..plan.options import LaunchOptions

    class AddStep(Protocol):
        """Context.runtime_step, or Context.on_request for one request."""

        def __call__(
            self,
            operation: RuntimeOperation,
            *,
            pointer: str = "",
            fallback_level: int = 0,
            on_errno: tuple[int, ...] = (),
        ) -> None: ...


class Namespace:
    """One entry of linux.namespaces: its type, the path to join ("" to make a new one), its JSON pointer."""

    __slots__ = ("path", "pointer", "type")

    def __init__(self, type: str, path: str, pointer: str) -> None:
        self.type = type
        self.path = path
        self.pointer = pointer


class Context:
    """The inputs of a compilation and the steps so far.

    phase: the phase of the steps that `init_step` adds.
    linux, process: the spec's members of these names.
    namespaces: linux.namespaces by type; `new(type)` and `has(type)` ask it.
    userns: the container's process is in another user namespace than the runtime.
    rootless: the value of `--rootless`; by default whether the runtime is not the host's root. A rootless container
        gets a cgroup only if the runtime may make one, as with runc.
    notes: decisions that depend on the facts of the host, for `pyrunc plan` and the log.
    rootfs: absolute path of the root file system.
    cgroup, unit, user_unit, profile, filter_flags, limit_pointers: as LaunchPlan has them.
    """

    __slots__ = (
        "beside",
        "cgroup",
        "facts",
        "filter_flags",
        "init",
        "limit_pointers",
        "linux",
        "namespaces",
        "notes",
        "options",
        "phase",
        "prepare",
        "process",
        "profile",
        "rootfs",
        "rootless",
        "served",
        "spec",
        "unit",
        "user_unit",
        "userns",
        "warnings",
    )

    def __init__(self, spec: Spec, options: LaunchOptions, facts: HostFacts) -> None:
        self.spec = spec
        self.options = options
        self.facts = facts
        self.linux: Linux = spec.get("linux") or {}
        self.process: Process = spec["process"]
        self.namespaces = _namespaces(self.linux)
        self.userns = "user" in self.namespaces
        judged = facts.euid != 0 or facts.in_userns
        self.rootless = judged if options.rootless is None else options.rootless
        self.rootfs = clean(self.from_bundle(spec["root"]["path"]))
        self.cgroup = self.unit = ""
        self.user_unit = False
        self.profile: Seccomp | None = None
        self.filter_flags: int | None = None
        self.limit_pointers: dict[str, str] = {}
        self.phase = "namespaces"
        self.prepare: list[Step] = []
        self.beside: list[Step] = []
        self.init: list[Step] = []
        self.served: dict[str, list[Step]] = {}
        self.warnings: list[str] = []
        self.notes: list[str] = list(options.changes)

    @property
    def is_exec(self) -> bool:
        """Whether this is the plan of another process in an existing container."""
        return self.options.command == "exec"

    @property
    def is_update(self) -> bool:
        """Whether this is the plan of a change to an existing container."""
        return self.options.command == "update"

    def new(self, type: str) -> bool:
        """Whether the container gets a new namespace of this type."""
        namespace = self.namespaces.get(type)
        return namespace is not None and not namespace.path

    def has(self, type: str) -> bool:
        """Whether the container has a namespace of this type other than the runtime's, new or joined."""
        return type in self.namespaces

    def mappings(self, kind: str) -> list[IDMapping]:
        """linux.uidMappings, or linux.gidMappings; empty where there are none. kind: `uid` or `gid`."""
        return (self.linux.get("uidMappings") if kind == "uid" else self.linux.get("gidMappings")) or []

    def annotated(self, name: str) -> str:
        """The value of an annotation; "" without it."""
        return (self.spec.get("annotations") or {}).get(name, "")

    def from_bundle(self, path: str) -> str:
        """A host path of the configuration as an absolute path; relative paths start at the bundle."""
        return path if path.startswith("/") else self.options.bundle.rstrip("/") + "/" + path

    def runtime_step(
        self, operation: RuntimeOperation, *, pointer: str = "", fallback_level: int = 0, on_errno: tuple[int, ...] = ()
    ) -> None:
        """Add a step of the runtime before the clone, or the clone itself. The keywords are those of Step."""
        kind, args = operation
        phase = "clone" if kind == "clone" else "prepare"
        self.prepare.append(Step(phase, kind, args, pointer, fallback_level, on_errno))

    def step_beside(
        self, operation: RuntimeOperation, *, pointer: str = "", fallback_level: int = 0, on_errno: tuple[int, ...] = ()
    ) -> None:
        """Add a step of the runtime after the clone, while the init works. The keywords are those of Step."""
        kind, args = operation
        self.beside.append(Step("clone", kind, args, pointer, fallback_level, on_errno))

    def init_step(
        self, operation: InitOperation, *, pointer: str = "", fallback_level: int = 0, on_errno: tuple[int, ...] = ()
    ) -> None:
        """Add a step of the init, in the current phase."""
        kind, args = operation
        self.init.append(Step(self.phase, kind, args, pointer, fallback_level, on_errno))

    def on_request(
        self,
        what: str,
        operation: RuntimeOperation,
        *,
        pointer: str = "",
        fallback_level: int = 0,
        on_errno: tuple[int, ...] = (),
    ) -> None:
        """Add a step of the runtime that answers the init's request `what`."""
        kind, args = operation
        step = Step(self.phase, kind, args, pointer, fallback_level, on_errno)
        self.served.setdefault(what, []).append(step)

    def request(self, what: str, pointer: str = "") -> None:
        """Add the init's request if the runtime has a step for it. The default pointer is that of the step."""
        if what in self.served:
            self.init_step(steps.request(what=what), pointer=pointer or self.served[what][0].pointer)

    def plan(self) -> LaunchPlan:
        """The finished plan."""
        return LaunchPlan(
            tuple(self.prepare),
            tuple(self.init),
            {what: tuple(answer) for what, answer in self.served.items()},
            bool(self.process.get("terminal")),
            tuple(self.warnings),
            tuple(self.notes),
            beside=tuple(self.beside),
            cgroup=self.cgroup,
            unit=self.unit,
            user_unit=self.user_unit,
            profile=self.profile,
            filter_flags=self.filter_flags,
            limit_pointers=self.limit_pointers,
        )


def _namespaces(linux: Linux) -> dict[str, Namespace]:
    """linux.namespaces by type, in listed order."""
    found: dict[str, Namespace] = {}
    for index, entry in enumerate(linux.get("namespaces") or ()):
        found[entry["type"]] = Namespace(entry["type"], entry.get("path") or "", f"/linux/namespaces/{index}")
    return found
