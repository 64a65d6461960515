"""The hooks of the container's life after its creation, poststart and poststop (config.md, POSIX-platform Hooks)."""

from __future__ import annotations

from .. import log
from ..report import PyruncError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .state import Record


def poststart(record: Record) -> None:
    """Run the poststart hooks. Raises PyruncError for the first that fails; the caller stops the container."""
    if "poststart" in record.hooks:
        from . import hooks

        files = hooks.outputs(record.annotations)
        hooks.run_hooks(record.hooks["poststart"], "poststart", record.hook_state("running"), files)


def poststop(record: Record) -> None:
    """Run all poststop hooks; what fails is logged as a warning, since the container is gone all the same."""
    for index, hook in enumerate(record.hooks.get("poststop", ())):
        from . import hooks

        try:
            hooks.run_hook(hook, "poststop", index, record.hook_state("stopped"), hooks.outputs(record.annotations))
        except PyruncError as error:
            log.warning(error.line())
