"""process.capabilities as bit sets, with the kernel's rules about them."""

from __future__ import annotations

import errno

from ...report import errno_text
from ..capabilities import NAMES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .context import Context

_BITS: dict[str, int] = {name: 1 << number for number, name in enumerate(NAMES)}


class CapabilitySets:
    """The five sets of capabilities(7), as bit sets."""

    __slots__ = ("ambient", "bounding", "effective", "inheritable", "permitted")

    def __init__(self) -> None:
        self.bounding = 0
        self.effective = 0
        self.inheritable = 0
        self.permitted = 0
        self.ambient = 0


def capability_sets(context: Context) -> CapabilitySets | None:
    """The sets of process.capabilities, those that are absent empty (CVE-2022-29162); None where there is none.

    What the kernel does not know or would refuse whatever the runtime's own rights is left out with a warning, since a
    runtime should not fail for what can't be granted (config.md, "Linux Process"). capset(2) wants effective
    capabilities to be permitted and inheritable ones to be in the bounding set; PR_CAP_AMBIENT_RAISE wants ambient
    ones to be both permitted and inheritable.
    """
    config = context.process.get("capabilities")
    if config is None:
        return None
    sets = CapabilitySets()
    unknown: list[str] = []
    known_bits = (2 << context.facts.cap_last_cap) - 1
    for name in CapabilitySets.__slots__:
        bits = 0
        for word in config.get(name) or ():
            bit = _BITS.get(word, 0) & known_bits
            if not bit and word not in unknown:
                unknown.append(word)
            bits |= bit
        setattr(sets, name, bits)
    if unknown:
        context.warnings.append(f"ignoring unknown or unavailable capabilities: [{' '.join(sorted(unknown))}]")
    sets.inheritable = _granted(context, "inheritable", sets.inheritable, sets.bounding)
    sets.effective = _granted(context, "effective", sets.effective, sets.permitted)
    sets.ambient = _granted(context, "ambient", sets.ambient, sets.permitted & sets.inheritable)
    return sets


def _granted(context: Context, name: str, bits: int, grantable: int) -> int:
    """The part of a set that the kernel grants; a warning for each other capability, in runc's words."""
    refused = bits & ~grantable
    if refused:
        for word, bit in _BITS.items():
            if refused & bit:
                context.warnings.append(f"can't raise {name} capability {word}: {errno_text(errno.EPERM)}")
    return bits & grantable
