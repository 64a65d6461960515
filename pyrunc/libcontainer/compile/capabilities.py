"""process.capabilities as bit sets, with the kernel's rules about them."""

from __future__ import annotations

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

    What the kernel does not know or would refuse whatever the runtime's own rights is left out, since a runtime should
    warn and not fail for what can't be granted (config.md, "Linux Process"): capset(2) wants effective capabilities
    to be permitted and inheritable ones to be in the bounding set; PR_CAP_AMBIENT_RAISE wants ambient ones to be both
    permitted and inheritable. The checks of the spec have warned of that; what this kernel lacks is warned of here.
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
            if not bit and word in _BITS and word not in unknown:
                unknown.append(word)
            bits |= bit
        setattr(sets, name, bits)
    if unknown:
        context.warnings.append(f"ignoring unknown or unavailable capabilities: [{' '.join(sorted(unknown))}]")
    sets.inheritable &= sets.bounding
    sets.effective &= sets.permitted
    sets.ambient &= sets.permitted & sets.inheritable
    return sets
