"""linux.seccomp: the steps that compile, map and load the filter.

A loaded filter judges the init's own calls too, so nearly all steps come before it. The filter is loaded after the wait
for the start, and a profile need not allow the calls of pyrunc's init. There are two exceptions. With SCMP_ACT_NOTIFY
the agent gets its descriptor when the container is created, so the filter is loaded before `ready`. Without
no_new_privs the kernel wants CAP_SYS_ADMIN (seccomp(2)): the init drops it after the filter is loaded. So, as with
runc, `capset` is the only call besides `execve` that a profile has to allow for the init.
"""

from __future__ import annotations

from ..._generated import steps
from ...errors import PyruncError, pointer
from ..seccomp.constants import FLAGS, NEW_LISTENER, NOTIFY, WAIT_KILLABLE_RECV
from ..spec.annotations import BPF_DATA
from .capabilities import drop_held, held_for_restriction

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from .capabilities import CapabilitySets
    from .context import Context

_POINTER = "/linux/seccomp"
_SLOT = "seccomp"
# seccomp(2): WAIT_KILLABLE_RECV came with Linux 5.19, all others before the oldest kernel that pyrunc supports.
_WAIT_KILLABLE_KERNEL = (5, 19)


def compile_profile(context: Context) -> None:
    """Add the runtime's step that compiles the filter or takes it from the cache. It comes before the first effect: in
    the launcher it may hand the command over to the ordinary build, which starts again."""
    profile = context.linux.get("seccomp")
    context.profile = profile
    raw = context.annotated(BPF_DATA)
    if raw:
        context.runtime_step(steps.raw_seccomp(slot=_SLOT, data=raw), pointer=pointer("annotations", BPF_DATA))
        return
    if profile:
        names: set[str] = set().union(*[rule["names"] for rule in profile.get("syscalls") or ()])
        context.runtime_step(
            steps.compile_seccomp(slot=_SLOT, default_action=profile["defaultAction"], syscalls=len(names)),
            pointer=_POINTER,
        )


class Filter:
    """The steps that load a filter.

    notifies: the filter has a listener: it is loaded before `ready`, otherwise after the wait for the start.
    held: capabilities that the init keeps until then although the configuration does not grant them.
    """

    __slots__ = ("_context", "_profile", "_sets", "_words", "held", "notifies")

    def __init__(self, context: Context, sets: CapabilitySets | None) -> None:
        profile = context.linux.get("seccomp")
        self._words = profile.get("flags") if profile else None
        if context.annotated(BPF_DATA):
            # The filter of the annotation replaces the profile, of which only the flags are used, as with crun.
            profile = None
        self._profile = profile
        self._context = context
        self._sets = sets
        rules = profile.get("syscalls") if profile else None
        self.notifies = any([rule["action"] == NOTIFY for rule in rules or ()])
        self.held = held_for_restriction(context, sets)

    def map(self) -> None:
        """Map the filter, so that a waiting container does not hold its descriptor."""
        self._context.init_step(steps.map_seccomp(filter=_SLOT), pointer=_POINTER)

    def load(self) -> None:
        """Load the filter, and drop the capabilities that were held for it."""
        context, sets = self._context, self._sets
        context.filter_flags = self._flags()
        context.init_step(steps.seccomp(flags=context.filter_flags, notify=self.notifies), pointer=_POINTER)
        profile = self._profile
        if self.notifies and profile is not None:
            metadata = profile.get("listenerMetadata") or ""
            context.on_request(
                "seccomp",
                steps.send_listener(path=profile["listenerPath"], metadata=metadata),
                pointer=_POINTER + "/listenerPath",
            )
        if self.held:
            drop_held(context, sets, _POINTER)

    def _flags(self) -> int:
        """seccomp(2)'s flags: those of the configuration; by default SPEC_ALLOW, as with runc."""
        words: Sequence[str] = ("SECCOMP_FILTER_FLAG_SPEC_ALLOW",) if self._words is None else self._words
        flags = NEW_LISTENER if self.notifies else 0
        for index, word in enumerate(words):
            if word == WAIT_KILLABLE_RECV and self._context.facts.kernel < _WAIT_KILLABLE_KERNEL:
                raise PyruncError(
                    f"seccomp flag {word} is not supported by this kernel",
                    pointer=f"{_POINTER}/flags/{index}",
                    hint="Linux 5.19 has it",
                )
            flags |= FLAGS[word]
        return flags
