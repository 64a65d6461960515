"""The checks of fields that few configurations have. Only those import this module (checks.py has the pointers).

FIELD_CHECKS has a function for each field of process and linux. It gets a `CheckContext`.
"""

from __future__ import annotations

from ...errors import pointer
from ..kernel.scheduling import indices
from .problems import check_ranges, shorten

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Literal

    from ..._generated.spec_types import MountEntry
    from .problems import CheckContext

_REAL_TIME = ("SCHED_FIFO", "SCHED_RR")
_DEADLINE: tuple[Literal["runtime", "deadline", "period"], ...] = ("runtime", "deadline", "period")

# set_mempolicy(2): the modes without nodes, and the modes that need at least one.
_WITHOUT_NODES = ("MPOL_DEFAULT", "MPOL_LOCAL")
_WITH_NODES = ("MPOL_BIND", "MPOL_INTERLEAVE", "MPOL_WEIGHTED_INTERLEAVE", "MPOL_PREFERRED_MANY")
_LAST_NODE = 1023

_AFFINITIES: tuple[Literal["initial", "final"], ...] = ("initial", "final")

_IF_NAME_BYTES = 15  # IFNAMSIZ without the NUL

# What resctrl has besides classes of service.
_RESCTRL_NAMES = (".", "..", "info", "mon_groups", "mon_data")


def _scheduler(look: CheckContext) -> None:
    """Values that sched_setattr(2) would refuse with a bare EINVAL. The first two messages are runc's."""
    scheduler = look.process["scheduler"]
    at = "/process/scheduler"
    policy = scheduler["policy"]
    priority = scheduler.get("priority", 0)
    if policy not in _REAL_TIME and priority:
        look.error(
            at + "/priority",
            "scheduler.priority can only be specified for SCHED_FIFO or SCHED_RR policy",
            "leave priority out, or take a real-time policy",
        )
    if policy in _REAL_TIME and not 1 <= priority <= 99:
        look.error(at + "/priority", f"{policy} takes a priority of 1 to 99, not {priority}", "99 is the highest")
    times = [scheduler.get(name, 0) for name in _DEADLINE]
    if policy != "SCHED_DEADLINE":
        for name, value in zip(_DEADLINE, times, strict=True):
            if value:
                look.error(
                    f"{at}/{name}",
                    "scheduler runtime/deadline/period can only be specified for SCHED_DEADLINE policy",
                    "leave it out, or take the policy SCHED_DEADLINE",
                )
        return
    runtime, deadline, period = times
    if not 0 < runtime <= deadline <= (period or deadline):
        look.error(
            at,
            f"SCHED_DEADLINE takes 0 < runtime <= deadline <= period, not {runtime}, {deadline}, {period}",
            "all three are in nanoseconds",
        )


def _cpu_affinity(look: CheckContext) -> None:
    affinity = look.process["execCPUAffinity"]
    for name in _AFFINITIES:
        value = affinity.get(name)
        if value is not None:
            _list(look, f"/process/execCPUAffinity/{name}", value, f"bad CPUAffinity.{name.capitalize()}")


def _list(look: CheckContext, at: str, value: str, what: str) -> list[int]:
    """The numbers of a list such as 0-2,5; reports an error and returns none if it is not a list."""
    try:
        return indices(value)
    except ValueError as error:
        look.error(at, f"{what} {shorten(value)}: {error}", "a list is such as 0-3,7, each range upwards")
        return []


def _memory_policy(look: CheckContext) -> None:
    """set_mempolicy(2), in runc's words."""
    policy = look.linux["memoryPolicy"]
    at = "/linux/memoryPolicy/nodes"
    mode = policy["mode"]
    before = len(look.found)
    nodes = _list(look, at, policy.get("nodes", ""), "invalid memory policy nodes")
    if len(look.found) > before:
        return
    if nodes and nodes[-1] > _LAST_NODE:
        look.error(
            at,
            f"invalid memory policy nodes: {nodes[-1]} is above {_LAST_NODE}, the kernel's last",
            "nodes of this machine are in /sys/devices/system/node",
        )
    elif mode in _WITHOUT_NODES and nodes:
        look.error(at, f"invalid memory policy: {mode} mode requires 0 nodes but got {len(nodes)}", "leave nodes out")
    elif mode in _WITH_NODES and not nodes:
        look.error(
            at, f"invalid memory policy: {mode} mode requires at least one node but got 0", "name nodes, such as 0-1"
        )


def _personality(look: CheckContext) -> None:
    for index, word in enumerate(look.linux["personality"].get("flags", ())):
        # The specification defines no value yet, so every value is invalid (config.md, "Valid values").
        look.error(
            f"/linux/personality/flags/{index}",
            f"personality flag {shorten(word)} is not supported",
            "leave it out: the specification has no flag yet",
        )


def _intel_rdt(look: CheckContext) -> None:
    """closID must name a directory directly below resctrl, and none of resctrl's own. The message is runc's."""
    name = look.linux["intelRdt"].get("closID", "")
    if name in _RESCTRL_NAMES or (name != "/" and "/" in name):
        look.error(
            "/linux/intelRdt/closID",
            f"invalid intelRdt.ClosID {shorten(name)}",
            "one name without slashes, or / for the default class",
        )


def _net_devices(look: CheckContext) -> None:
    """Names as the kernel takes them (dev_valid_name, net/core/dev.c), and a namespace to move the devices to."""
    devices = look.linux["netDevices"]
    if devices and "network" not in look.namespaces:
        # Wording of runc.
        look.error(
            "/linux/netDevices",
            "unable to move network devices without a NET namespace",
            "add a namespace of type network to linux.namespaces",
        )
    first: dict[str, str] = {}
    for name, device in devices.items():
        at = pointer("linux", "netDevices", name)
        new_name = device.get("name") or name
        if not _is_device_name(name) or "%" in name:
            look.error(
                at,
                f"invalid network device name {shorten(name)}",
                "a name of the host has at most 15 bytes, without slash, colon and space",
            )
        elif not _is_device_name(new_name) or new_name.count("%") != new_name.count("%d") or new_name.count("%") > 1:
            look.error(
                at + "/name",
                f"invalid network device name {shorten(new_name)}",
                "a name has at most 15 bytes, without slash, colon and space; %d stands for a number",
            )
        elif "%" not in new_name and first.setdefault(new_name, at) != at:
            look.error(
                at,
                f"{shorten(new_name)} is the name of {first[new_name]} in the container too",
                "each device needs a name of its own",
            )


def _is_device_name(name: str) -> bool:
    if not name or name in (".", "..") or len(name.encode("utf-8", "surrogateescape")) > _IF_NAME_BYTES:
        return False
    return not any(sign in "/:" or sign.isspace() for sign in name)


def id_mapped_mount(look: CheckContext, mount: MountEntry, at: str) -> None:
    """Check an id-mapped mount: it has mappings, or the option idmap or ridmap. The messages are runc's."""
    options = mount.get("options", ())
    if mount.get("type") != "bind" and "bind" not in options and "rbind" not in options:
        look.error(
            at,
            "id-mapped mounts are only supported for bind-mounts",
            "leave the mapping out, or make it a bind mount",
        )
    elif "remount" in options:
        look.error(
            at + "/options", "the ids of a mount can't be mapped by a remount", "map them where the mount is made"
        )
    ranges = [index for index, word in enumerate(options) if word.startswith(("idmap=", "ridmap="))]
    if ranges:
        _id_map_option(look, mount, f"{at}/options/{ranges[-1]}", len(ranges))
        return
    if "uidMappings" not in mount:
        if "user" not in look.namespaces:
            look.error(
                at,
                "id-mapped mounts must have both uid and gid mappings specified, or the container a user namespace",
                "give the mount uidMappings and gidMappings",
            )
        return
    name: Literal["uidMappings", "gidMappings"]
    for name in ("uidMappings", "gidMappings"):
        if not mount[name]:
            look.error(
                f"{at}/{name}",
                "id-mapped mounts must have both uid and gid mappings specified",
                "say which ids of the source are which ids in the container",
            )
        else:
            check_ranges(look, mount[name], f"{at}/{name}")


def _id_map_option(look: CheckContext, mount: MountEntry, at: str, count: int) -> None:
    """crun's `idmap=uids=…;gids=…`: a mount has one mapping, which the kernel must accept."""
    from .idmap_option import parse_ranges

    if count > 1 or "uidMappings" in mount:
        look.error(at, "the ids of a mount are mapped twice", "leave all but one of the mappings out")
        return
    word = mount["options"][int(at.rpartition("/")[2])]
    try:
        both = parse_ranges(word.partition("=")[2], look.linux)
    except ValueError as error:
        look.error(at, str(error), "such as idmap=uids=0-100000-65536;gids=0-100000-65536")
        return
    for entries in both:
        check_ranges(look, entries, at)


FIELD_CHECKS: dict[str, Callable[[CheckContext], None]] = {
    "scheduler": _scheduler,
    "execCPUAffinity": _cpu_affinity,
    "intelRdt": _intel_rdt,
    "memoryPolicy": _memory_policy,
    "netDevices": _net_devices,
    "personality": _personality,
}
