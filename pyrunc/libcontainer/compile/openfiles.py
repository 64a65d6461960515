"""The runtime's own limit of open files, where a launch takes more descriptors than the caller's soft limit allows.

A module of its own, since it is about a plan as a whole: the descriptors that the steps open, and the hooks among them.
"""

from __future__ import annotations

from ..._generated import steps
from ..kernel.constants import RLIMITS
from ..plan.model import Step

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .context import Context

# What stays open until the clone, and in the init until the process's own limits are set.
_OPENING = ("open_source", "open_mapped_source", "make_idmap", "open_namespace")
# The runtime's other descriptors, and the init's: its registers for mounts, a hook's pipes, a path's components.
_OTHERS = 128
_AFTER = ("state_dir", "open_process")


def raise_open_files(context: Context) -> None:
    """Have the runtime raise its soft limit of open files where the plan's steps so far take more, and its hard limit
    allows that. The init, which inherits the raised limit, then gives the container the caller's: before its first
    hook, or here, where the other limits follow."""
    soft, hard = context.facts.open_files
    opened = len([step for step in context.prepare if step.kind in _OPENING])
    needed = min(_OTHERS + context.options.preserve_fds + opened, hard)
    if soft >= needed:
        return
    # The launcher may hand the command over before this step, and what it hands it over to asks for the limit again.
    at = [step.kind in _AFTER for step in context.prepare].index(True) + 1
    context.prepare.insert(at, Step("prepare", *steps.open_files(limit=needed)))
    place, phase = len(context.init), context.phase
    for number, step in enumerate(context.init):
        if step.kind == "container_hook":
            place, phase = number, step.phase
            break
    context.init[place:place] = [
        Step(phase, *steps.close_sources()),
        Step(phase, *steps.rlimit(resource=RLIMITS["RLIMIT_NOFILE"], soft=soft, hard=hard)),
    ]
