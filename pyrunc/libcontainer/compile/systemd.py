"""The container's cgroup as a transient scope of systemd. Cold.

A scope starts with a process in it. Only systemd may put one there: a user can't move a process out of the session. So
the init is cloned without a cgroup and requests it first of all. The runtime's answer has the steps that come before
the clone with cgroupfs.
"""

from __future__ import annotations

from functools import partial

from ..._generated import steps
from ...errors import PyruncError
from ..cgroup.resources import limits
from ..systemd import properties
from ..systemd.unit import AT, expand, unit_for
from .cgroup import RESOURCES, compile_limits, compile_rules, is_limited
from .context import Context

REQUEST = "cgroup"


def compile_scope(context: Context) -> None:
    """Add the init's request for its scope, and the steps of the answer.

    Raises PyruncError for a cgroupsPath, an annotation or limits that can't be carried out.
    """
    facts, systemd = context.facts, context.facts.systemd
    assert systemd is not None, "the launch has asked systemd"
    spec_path = context.linux.get("cgroupsPath") or ""
    unit = unit_for(spec_path, context.options.id, systemd.user)
    if not facts.cgroup_mount:
        raise PyruncError("no cgroup v2 hierarchy is mounted", pointer=AT, hint="boot with cgroup v2")
    context.cgroup = facts.cgroup_mount + systemd.cgroup + expand(unit.slice) + "/" + unit.name
    wanted = [*properties.scope_properties(unit), *properties.annotated(context.spec.get("annotations") or {})]
    resources = context.linux.get("resources") or {}
    made = limits(resources, facts, RESOURCES) if is_limited(resources) else None
    writes = properties.rounded(made.writes) if made else []
    wanted += properties.limit_properties(writes, systemd)
    context.unit, context.user_unit = unit.name, systemd.user
    put = partial(context.on_request, REQUEST)
    put(
        steps.systemd_scope(
            unit=unit.name,
            path=context.cgroup,
            manager="user" if systemd.user else "system",
            properties=tuple(wanted),
        ),
        pointer=AT if spec_path else "",
    )
    if made:
        # systemd has enabled the controllers that it delegates. Enable the others that are needed.
        compile_limits(context, put, made, writes, made.controllers)
    compile_rules(context, put)
    context.request(REQUEST)
