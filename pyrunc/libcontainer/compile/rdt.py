"""linux.intelRdt: the container's class of service. Only configurations with it import this module."""

from __future__ import annotations

from ..._generated import steps
from ..kernel.resctrl import FIND, OWN, SHARED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .context import Context

_POINTER = "/linux/intelRdt"


def compile_rdt(context: Context) -> None:
    """Make the class of service and the monitoring group.

    The rules are those of config-linux.md, "IntelRdt".
    """
    rdt = context.linux["intelRdt"]
    name = rdt.get("closID") or ""
    schemata = tuple(
        [line for line in (rdt.get("l3CacheSchema"), rdt.get("memBwSchema"), *(rdt.get("schemata") or ())) if line]
    )
    if not name:
        make = OWN
    else:
        make = SHARED if schemata else FIND
    clos, group = _names(context)
    context.runtime_step(steps.resctrl_group(clos=clos, make=make, schemata=schemata), pointer=_POINTER)
    if group:
        context.runtime_step(steps.resctrl_monitor(clos=clos, group=group), pointer=_POINTER + "/enableMonitoring")


def assign(context: Context, request: str = "limits") -> None:
    """Have the runtime put the init into the groups. The program and its children stay in them."""
    clos, group = _names(context)
    context.on_request(request, steps.resctrl_assign(clos=clos, group=group), pointer=_POINTER)


def _names(context: Context) -> tuple[str, str]:
    """The class of service, and the monitoring group or ""."""
    rdt = context.linux["intelRdt"]
    id = context.options.id
    return rdt.get("closID") or id, id if rdt.get("enableMonitoring") else ""
