"""The annotation `org.pyrunc.landlock`: the steps that build a Landlock ruleset and enforce it.

The ruleset is built when the container's root and mounts are complete, from descriptors that are opened beneath that
root: paths mean what the container sees, and no symlink of the image leads out. It is built before the user changes,
because a later user might not be permitted to pass a directory, and it is enforced where the seccomp filter is loaded,
directly before it: so a profile need not allow Landlock's calls, and a startContainer hook is bounded too.

A process of `exec` gets a ruleset of its own from the same rules. A path that is gone by then is left out, which allows
less.
"""

from __future__ import annotations

from ..._generated import steps
from ...errors import PyruncError
from ..kernel import landlock
from ..spec.landlock import AT, bits, read
from .capabilities import drop_held, held_for_restriction

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..spec.landlock import Named, Ruleset
    from .capabilities import CapabilitySets
    from .context import Context


class Landlock:
    """The steps of the annotation. held: capabilities that the init keeps until the enforcement although the
    configuration does not grant them; 0 if nothing is enforced.

    Raises PyruncError with a pointer into the annotation: a wrong value, or with `strict` what the kernel lacks.
    """

    __slots__ = ("_context", "_fs", "_net", "_ruleset", "_scoped", "_sets", "held")

    def __init__(self, context: Context, sets: CapabilitySets | None, text: str) -> None:
        ruleset, complaints = read(text)
        for at, message, hint in complaints:
            raise PyruncError(message, pointer=at, hint=hint)
        abi = context.facts.landlock
        if context.options.isolation and not abi:
            raise PyruncError(
                "a sandbox needs Landlock, which this kernel does not have",
                pointer=AT,
                origin="--isolation",
                hint="a kernel with CONFIG_SECURITY_LANDLOCK, and landlock in its lsm= list (pyrunc doctor)",
            )
        lacking = [
            one for asked in (ruleset.fs, ruleset.net, ruleset.scoped, ruleset.flags) for one in asked if one.abi > abi
        ]
        if lacking:
            _degrade(context, ruleset, lacking)
        self._context = context
        self._sets = sets
        self._ruleset = ruleset
        self._fs = bits(ruleset.fs) & landlock.known(landlock.FS, abi)
        self._net = bits(ruleset.net) & landlock.known(landlock.NET, abi)
        self._scoped = bits(ruleset.scoped) & landlock.known(landlock.SCOPES, abi)
        self.held = held_for_restriction(context, sets) if self._enforced else 0

    @property
    def _enforced(self) -> bool:
        return bool(self._fs or self._net or self._scoped)

    def build(self) -> None:
        """Add the steps that make the ruleset and its rules."""
        if not self._enforced:
            return
        context = self._context
        context.init_step(
            steps.landlock_ruleset(handled_fs=self._fs, handled_net=self._net, scoped=self._scoped),
            pointer=AT + "/ruleset",
        )
        for rule in self._ruleset.paths:
            if rule.access & self._fs:
                context.init_step(
                    steps.landlock_path(path=str(rule.object), access=rule.access & self._fs, if_there=context.is_exec),
                    pointer=rule.at,
                )
        for rule in self._ruleset.ports:
            if rule.access & self._net:
                context.init_step(
                    steps.landlock_port(port=int(rule.object), access=rule.access & self._net), pointer=rule.at
                )

    def enforce(self, *, drop: bool) -> None:
        """Add the step that enforces the ruleset. drop: drop the held capabilities then, since no filter follows."""
        if not self._enforced:
            return
        flags = bits(self._ruleset.flags) & landlock.known(landlock.FLAGS, self._context.facts.landlock)
        self._context.init_step(steps.landlock_restrict(flags=flags), pointer=AT)
        if drop and self.held:
            drop_held(self._context, self._sets, AT)


def _degrade(context: Context, ruleset: Ruleset, lacking: list[Named]) -> None:
    """Warn of what this kernel can't enforce; with `strict` refuse it."""
    abi = context.facts.landlock
    has = f"Landlock ABI {abi}" if abi else "no Landlock"
    first = lacking[0]
    since = f"ABI {first.abi}, Linux {landlock.RELEASES[first.abi]}"
    if ruleset.strict:
        hint = f"{first.word} came with {since}; without strict, the rest is enforced"
        if not abi:
            hint = "a kernel with CONFIG_SECURITY_LANDLOCK, and landlock in its lsm= list (pyrunc doctor)"
        raise PyruncError(f"{first.word} can't be enforced: this kernel has {has}", pointer=first.at, hint=hint)
    if context.is_exec:
        return  # `create` has warned
    words = ", ".join([one.word if not abi else f"{one.word} (ABI {one.abi})" for one in lacking])
    context.warnings.append(f"{AT}: not enforced, since this kernel has {has}: {words}")
