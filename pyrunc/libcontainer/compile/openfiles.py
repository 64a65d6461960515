"""The runtime's own limit of open files: a launch may need more descriptors than the caller's soft limit allows.

It is a separate module because it reads and changes a finished plan: the descriptors that the steps open, and hooks.
"""

from __future__ import annotations

from ..._generated import steps
from ..kernel.constants import RLIMITS
from ..plan.model import Step

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .context import Context

# Their descriptors stay open until the clone, and in the init until the process's own limits are set.
_OPENING = ("open_source", "open_mapped_source", "make_idmap", "open_namespace")
# The other descriptors of the runtime and the init: registers for mounts, pipes of a hook, components of a path.
_OTHERS = 128
_AFTER = ("state_dir", "open_process")


def raise_open_files(context: Context) -> None:
    """Raise the runtime's soft limit of open files if the plan's steps so far need more and the hard limit allows it.

    The init inherits the raised limit. It restores the caller's before the container's first hook, or else here, before
    the other limits.
    """
    soft, hard = context.facts.open_files
    opened = len([step for step in context.prepare if step.kind in _OPENING])
    needed = min(_OTHERS + context.options.preserve_fds + opened, hard)
    if soft >= needed:
        return
    # The launcher may hand the command over before this step. The ordinary build then reads the limit again.
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
