"""process.capabilities as bit sets, with the kernel's rules about them."""

from __future__ import annotations

from ..._generated import steps
from ..kernel.constants import CAPABILITIES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal

    from .context import Context

# The members of process.capabilities, and of CapabilitySets.
_SETS: tuple[Literal["ambient", "bounding", "effective", "inheritable", "permitted"], ...] = (
    "ambient", "bounding", "effective", "inheritable", "permitted",
)  # fmt: skip
_BITS: dict[str, int] = {name: 1 << number for number, name in enumerate(CAPABILITIES)}
_SYS_ADMIN = _BITS["CAP_SYS_ADMIN"]


class CapabilitySets:
    """The five sets of capabilities(7), as bit sets."""

    __slots__ = _SETS

    def __init__(self) -> None:
        self.bounding = 0
        self.effective = 0
        self.inheritable = 0
        self.permitted = 0
        self.ambient = 0


def capability_sets(context: Context) -> CapabilitySets | None:
    """The sets of process.capabilities; absent sets are empty (CVE-2022-29162). None without process.capabilities.

    A runtime should not fail for a capability that it can't grant (config.md, "Linux Process"). So capabilities that
    the kernel does not know, or refuses to any caller, are left out with a warning. capset(2) wants effective
    capabilities to be permitted, and inheritable ones to be in the bounding set. PR_CAP_AMBIENT_RAISE wants ambient
    ones to be permitted and inheritable. In the runtime's own user namespace the container gets no capability that the
    runtime lacks. Permitted capabilities outside of the bounding set end at the execve.
    """
    config = context.process.get("capabilities")
    if config is None:
        return None
    sets = CapabilitySets()
    unknown: set[str] = set()
    known = {*CAPABILITIES[: context.facts.cap_last_cap + 1]}
    for name in _SETS:
        words = {*(config.get(name) or ())}
        unknown |= words - known
        setattr(sets, name, sum(map(_BITS.__getitem__, words & known)))
    if unknown:
        from ..spec.nearest import nearest

        whole = ["CAP_" + word.upper().removeprefix("CAP_") for word in unknown]
        meant = sorted({nearest(word, _BITS) for word in whole} - unknown - {""})
        hint = f"; did you mean {', '.join(meant)}?" if meant else ""
        context.warnings.append(f"ignoring unknown or unavailable capabilities: [{' '.join(sorted(unknown))}]{hint}")
    if not context.userns:  # in another user namespace the init has all
        _without_missing(context, sets)
    for name in ("permitted", "effective"):
        outside = getattr(sets, name) & ~sets.bounding
        if outside:
            context.warnings.append(f"ignoring {name} capabilities that are not in the bounding set: {_list(outside)}")
    sets.inheritable = _within(context, "inheritable", sets.inheritable, sets.bounding, "in the bounding set")
    sets.effective = _within(context, "effective", sets.effective, sets.permitted, "permitted")
    sets.ambient = _within(
        context, "ambient", sets.ambient, sets.permitted & sets.inheritable, "permitted and inheritable"
    )
    return sets


def _without_missing(context: Context, sets: CapabilitySets) -> None:
    missing = 0
    for name in _SETS:
        bits = getattr(sets, name)
        missing |= bits & ~context.facts.capabilities
        setattr(sets, name, bits & context.facts.capabilities)
    if missing:
        context.warnings.append(f"ignoring capabilities that the runtime itself does not have: {_list(missing)}")


def _list(bits: int) -> str:
    return f"[{' '.join([name for name, bit in _BITS.items() if bits & bit])}]"


def _within(context: Context, name: str, bits: int, allowed: int, what: str) -> int:
    """The bits that are allowed. Warns of the others, in runc's words if runc has a warning for them."""
    outside = bits & ~allowed
    for number, capability in enumerate(CAPABILITIES) if outside else ():
        if outside >> number & 1:
            context.warnings.append(f"can't raise {name} capability {capability}: it is not {what}")
    return bits & allowed


def held_for_restriction(context: Context, sets: CapabilitySets | None) -> int:
    """The capabilities that the init keeps until it has restricted itself by a seccomp filter or a Landlock ruleset,
    although the configuration does not grant them. Without no_new_privs the kernel wants CAP_SYS_ADMIN for both
    (seccomp(2), landlock_restrict_self(2))."""
    if context.process.get("noNewPrivileges"):
        return 0
    # Without `capabilities` in the configuration, root has all of them and other users have no effective ones.
    has = 0 if (context.process.get("user") or {}).get("uid", 0) else _SYS_ADMIN
    if sets is not None:
        has = sets.effective & sets.permitted
    return _SYS_ADMIN & ~has


def drop_held(context: Context, sets: CapabilitySets | None, pointer: str) -> None:
    """Add the step that drops the held capabilities. pointer: what they were held for."""
    if sets is None:
        context.init_step(steps.capabilities(effective=0, permitted=0, inheritable=0), pointer=pointer)
    else:
        context.init_step(
            steps.capabilities(effective=sets.effective, permitted=sets.permitted, inheritable=sets.inheritable),
            pointer="/process/capabilities",
        )
