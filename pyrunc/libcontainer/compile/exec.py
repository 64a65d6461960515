"""The plan of `exec`: join the container's namespaces by the pidfd of its process, then the steps of any process.

There is no rootfs phase: the joined mount namespace has the container's root. The pid file is the only effect on the
host that has to be undone.
"""

from __future__ import annotations

import errno

from ..._generated import steps
from .console import compile_console
from .context import Context, Namespace
from .namespaces import compile_keyring
from .process import compile_process

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..._generated.spec_types import Spec
    from ..plan.host import HostFacts
    from ..plan.model import LaunchPlan
    from ..plan.options import LaunchOptions

# The slot of the pidfd.
_TARGET = "container"


class Target:
    """The container's process: its pid and start time, which identify it, and the directory of its cgroup.

    cgroup: "" if the new process joins none. exact_cgroup: the user named the cgroup, so no other one is tried if the
    kernel refuses it.
    unit: the unit of the user's systemd that has to move the process into the cgroup, because the runtime may not; ""
    for none. subcgroup: the cgroup below the unit's, "/…" or "".
    """

    __slots__ = ("cgroup", "exact_cgroup", "pid", "start_time", "subcgroup", "unit")

    def __init__(
        self,
        pid: int,
        start_time: int,
        cgroup: str = "",
        exact_cgroup: bool = False,
        *,
        unit: str = "",
        subcgroup: str = "",
    ) -> None:
        self.pid = pid
        self.start_time = start_time
        self.cgroup = cgroup
        self.exact_cgroup = exact_cgroup
        self.unit = unit
        self.subcgroup = subcgroup


def compile_exec(spec: Spec, target: Target, options: LaunchOptions, facts: HostFacts) -> LaunchPlan:
    """The plan that starts `spec["process"]` in the container that was created from the rest of the spec.

    facts.setgroups is that of the container's user namespace.
    Slots that the runtime fills before the clone: `container`, the pidfd of its process, and `seccomp`.
    Requests that it answers: `cgroup`, `limits`. Raises PyruncError with the JSON pointer of what can't be carried out.
    """
    context = Context(spec, options, facts)
    for namespace in context.namespaces.values():
        context.namespaces[namespace.type] = Namespace(namespace.type, _TARGET, namespace.pointer)
    if context.linux.get("seccomp") or context.annotated("run.oci.seccomp_bpf_data"):
        from .seccomp import compile_profile

        compile_profile(context)
    context.runtime_step(steps.open_process(slot=_TARGET, pid=target.pid, start_time=target.start_time))
    if context.process.get("apparmorProfile") or context.process.get("selinuxLabel"):
        from .labels import require_modules

        require_modules(context)
    if options.console_socket:
        context.runtime_step(steps.console_socket(path=options.console_socket), pointer="/process/terminal")
    if context.process.get("oomScoreAdj") is not None:
        # The init has only the container's procfs, if there is one, and may not be permitted to write its own files
        # there.
        context.runtime_step(
            steps.inherit_oom_score_adj(value=context.process["oomScoreAdj"]), pointer="/process/oomScoreAdj"
        )
    affinity = context.process.get("execCPUAffinity") or {}
    if affinity.get("initial"):
        context.runtime_step(
            steps.initial_cpu_affinity(cpus=_cpus(affinity["initial"])), pointer="/process/execCPUAffinity/initial"
        )
    _clone(context, target)
    if target.unit:
        context.on_request("cgroup", steps.systemd_attach(unit=target.unit, subcgroup=target.subcgroup))
    _enter(context)
    if affinity.get("final"):
        context.init_step(steps.cpu_affinity(cpus=_cpus(affinity["final"])), pointer="/process/execCPUAffinity/final")
    elif not affinity.get("initial"):
        # The container must not inherit the caller's CPU affinity.
        context.init_step(steps.cpu_affinity())
    compile_process(context)
    return context.plan()


def _clone(context: Context, target: Target) -> None:
    """Clone into the container's cgroup. The alternative is the cgroup of its process, as with runc: the container's
    cgroup may be gone, or may have no processes because it hands controllers out, and the process has moved to one
    below it."""
    join = tuple([f"{type}={_TARGET}" for type in context.namespaces])
    at = "/linux/namespaces"
    if target.unit or not target.cgroup or target.exact_cgroup:
        context.runtime_step(steps.clone(cgroup="" if target.unit else target.cgroup, join=join), pointer=at)
        return
    context.runtime_step(
        steps.clone(cgroup=target.cgroup, join=join), pointer=at, on_errno=(errno.EBUSY, errno.ENODEV, errno.ENOENT)
    )
    context.runtime_step(steps.clone(cgroup=f"/proc/{target.pid}/cgroup", join=join), pointer=at, fallback_level=1)


def _enter(context: Context) -> None:
    """The steps after the namespaces are joined and before the process's own steps."""
    # The container's processes see the init from the clone on (CVE-2016-9962); the clone itself has hidden it.
    context.init_step(steps.set_nondumpable())
    context.request("cgroup")
    if context.userns:
        context.init_step(steps.become_root(), pointer=context.namespaces["user"].pointer)
    if not context.options.no_new_keyring:
        compile_keyring(context)
    context.phase = "rootfs"
    if not context.has("mount"):
        context.init_step(steps.chroot(path=context.rootfs), pointer="/root/path")
    compile_console(context, mount=False)
    context.phase = "process"


def _cpus(text: str) -> tuple[str, ...]:
    from ..kernel.scheduling import indices

    return tuple([str(number) for number in indices(text)])
