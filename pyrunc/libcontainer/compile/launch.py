"""The plan of a container's launch, for `create` and `run`."""

from __future__ import annotations

from ..._generated import steps
from ...errors import PyruncError
from .cgroup import compile_cgroup
from .context import Context
from .namespaces import clone_flags, compile_namespaces, open_joined
from .process import compile_process
from .rootfs import compile_rootfs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..._generated.spec_types import Spec
    from ..plan.host import HostFacts
    from ..plan.model import LaunchPlan
    from ..plan.options import LaunchOptions

_LABELS = frozenset(("apparmorProfile", "selinuxLabel"))


def compile_launch(spec: Spec, options: LaunchOptions, facts: HostFacts) -> LaunchPlan:
    """The plan that launches the container of a validated spec (spec.load).

    The runtime fills these slots before the clone: `namespace:TYPE`, `source:N` (N is the mount's index), `start`,
    `seccomp`.
    It answers the requests `maps`, `oom_score_adj`, `create_runtime`, `limits`.
    Raises PyruncError with the JSON pointer of what can't be carried out.
    """
    context = Context(spec, options, facts)
    if facts.euid != 0 and not context.userns:
        raise PyruncError(
            "rootless container requires user namespaces",
            pointer="/linux/namespaces",
            hint="pyrunc spec --rootless makes such a configuration",
        )
    if context.linux.get("seccomp") or context.annotated("run.oci.seccomp_bpf_data"):
        from .seccomp import compile_profile

        compile_profile(context)
    context.runtime_step(steps.state_dir(path=options.state_dir))
    if options.notify_socket:
        from .notify import compile_notify

        compile_notify(context)
    if not _LABELS.isdisjoint(context.process) or "mountLabel" in context.linux:
        from .labels import require_modules

        require_modules(context)
    if options.cgroup_manager == "systemd":
        from .systemd import compile_scope

        compile_scope(context)
    else:
        compile_cgroup(context)
    if "intelRdt" in context.linux:
        from .rdt import compile_rdt

        compile_rdt(context)
    join = open_joined(context)
    if options.console_socket:
        context.runtime_step(steps.console_socket(path=options.console_socket), pointer="/process/terminal")
    compile_namespaces(context)
    compile_rootfs(context)
    compile_process(context)
    if options.command == "create":
        context.runtime_step(steps.start_socket(path=options.state_dir + "/start.sock"))
    # systemd makes the cgroup only with a process to put into it (compile/systemd.py).
    cgroup = "" if options.cgroup_manager == "systemd" else context.cgroup
    context.runtime_step(steps.clone(flags=clone_flags(context), cgroup=cgroup, join=join), pointer="/linux/namespaces")
    return context.plan()
