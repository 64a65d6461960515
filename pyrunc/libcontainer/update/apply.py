"""Carries an update out: compiles the changes as `create` compiles limits, and writes them, all or none.

Some limits depend on others (memory and swap, quota and burst), so the changes are merged into the resources that the
container has, and the writes of what was named are taken from the whole.
"""

from __future__ import annotations

import posix

from ... import log
from ...errors import PyruncError
from .. import lookup, saved_config, state
from ..cgroup import controllers, devices, files, limits, readback, resources
from ..kernel import resctrl
from ..kernel.fileio import read_file
from ..launch.launch import install_interrupt_handlers
from ..spec import load
from . import journal
from .merge import is_named, merge, named_places, without_unset

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from ..cgroup.resources import Write
    from ..plan.host import HostFacts
    from ..state import Record


class Target:
    """The container that is to be updated, locked until `close`.

    place: its state directory. Raises PyruncError where there is none.
    """

    __slots__ = ("path", "place", "record")

    def __init__(self, root: str, id: str) -> None:
        self.path = state.directory(root, id)
        self.place, self.record = lookup.locked(self.path)
        if self.record.systemd:
            # The launcher hands the command over here, before it has read anything from stdin.
            from .. import systemd  # noqa: F401

    def close(self) -> None:
        """Unlock it."""
        self.place.close()

    def change(self, changes: dict[str, Any], schemata: Sequence[str], *, by_options: bool) -> None:
        """Change the limits, all or none.

        changes: as linux.resources, without nulls. schemata: lines for the container's class of service (Intel RDT).
        by_options: the changes are from options, so that an error has no JSON pointer.
        Raises PyruncError, OSError; every limit is as before then.
        """
        from ..plan.host import gather

        try:
            load.validate_resources(changes)
            if state.status(self.path, self.record) == "stopped":
                raise PyruncError("container not running")
            if journal.recover(self.place.fd, self.record.cgroup):
                log.warning("an update that was killed has been undone")
            kept = saved_config.load(self.place)
            old = kept["linux"].get("resources") or {}
            wanted = without_unset(changes)
            merged = merge(old, wanted)
            if wanted and not self.record.cgroup:
                raise PyruncError("can't limit a container without a cgroup", hint="it was created without one")
            _apply(self, kept, merged, wanted, gather(), schemata)
        except PyruncError as error:
            if by_options:
                error.pointer = ""
            raise


def _apply(
    target: Target,
    kept: dict[str, Any],
    merged: dict[str, Any],
    wanted: dict[str, Any],
    facts: HostFacts,
    schemata: Sequence[str],
) -> None:
    """Compile the changes, record the old values, make the changes. Raises PyruncError and OSError, all undone.

    kept: the saved configuration. merged: the resources after the changes. wanted: the changes.
    """
    linux, record, dirfd = kept["linux"], target.record, target.place.fd
    old = linux.get("resources") or {}
    made = resources.limits(merged, facts, at="")
    for warning in made.warnings:
        log.warning(warning)
    places = named_places(old, merged, wanted)
    writes = [write for write in made.writes if is_named(write.pointer, places)]
    changed: dict[str, Any] = {"resources": merged}
    found = journal.Journal({"resources": linux.get("resources")})
    if schemata:
        found.linux["intelRdt"] = linux.get("intelRdt")
        changed["intelRdt"] = _with_schemata(linux.get("intelRdt"), schemata)
        path = _schemata_file(linux["intelRdt"], record.id)
        found.files.append((path, read_file(path)))
    program = b""
    if "devices" in wanted and wanted["devices"] != (old.get("devices") or []):
        if facts.euid != 0 or facts.in_userns:
            raise PyruncError("device rules can't be changed without root of the host", pointer="/devices")
        program = devices.assemble(devices.rules_for(wanted["devices"], kept["devicePaths"]))
        found.rules = devices.rules_for(old.get("devices") or [], kept["devicePaths"])
    properties: list[str] = []
    if record.systemd:
        from ..systemd import update as unit

        writes, properties = unit.limit_properties(writes, record.systemd)
        found.unit, found.user = record.systemd["unit"], record.systemd["user"]
        found.properties = unit.previous(found.unit, found.user, properties)
    cgroup_fd = files.open_directory(record.cgroup) if record.cgroup else -1
    try:
        if writes:
            needed = {write.controller: write.pointer for write in reversed(writes) if write.controller}
            controllers.enable(record.cgroup, facts.cgroup_mount, needed, ())
        if made.memory_check and "memory" in wanted:
            limits.check_memory(cgroup_fd, *made.memory_check)
        for write in writes:
            text = readback.previous(cgroup_fd, write.file, write.value)
            if text is not None:
                found.writes.append((write.file, text))
        found.save(dirfd)
        install_interrupt_handlers()
        try:
            if properties:
                unit.set_properties(found.unit, found.user, properties)
            _write_limits(cgroup_fd, writes)
            if program:
                devices.replace(cgroup_fd, program)
            for path, _ in found.files:
                resctrl.write_schemata(path, schemata)
            saved_config.replace_linux(dirfd, changed)
            journal.remove(dirfd)
        except BaseException:
            _undo(found, dirfd, record)
            raise
    finally:
        if cgroup_fd >= 0:
            posix.close(cgroup_fd)


def _undo(found: journal.Journal, dirfd: int, record: Record) -> None:
    """Undo a failed update; what fails in that is logged, so that the first cause is what the command reports."""
    try:
        found.undo(dirfd, record.cgroup)
    except (PyruncError, OSError) as failure:
        log.warning(f"undoing the failed update of {record.id}: {failure}")


def _write_limits(cgroup_fd: int, writes: Sequence[Write]) -> None:
    """Write the control files in order. Raises PyruncError that names the field of the one that is refused.

    A write of level 1 is made only where the one of level 0 before it has failed as it was expected.
    """
    failed = False
    for write in writes:
        if write.level and not failed:
            continue
        failed = False
        try:
            limits.write(cgroup_fd, write.file, write.value, write.optional)
        except OSError as error:
            if error.errno in write.on_errno:
                failed = True
                continue
            raise PyruncError(
                f"failed to write {write.value.strip()!r} to {write.file}",
                pointer=write.pointer,
                errno=error.errno or 0,
            ) from error


def _with_schemata(rdt: dict[str, Any] | None, schemata: Sequence[str]) -> dict[str, Any]:
    """linux.intelRdt with other schemata. Raises PyruncError where the container has no class of service."""
    if rdt is None:
        raise PyruncError(
            "the container has no class of service in resctrl", hint="its configuration has no linux.intelRdt"
        )
    changed = dict(rdt)
    for line in schemata:
        changed["memBwSchema" if line.startswith("MB:") else "l3CacheSchema"] = line
    return changed


def _schemata_file(rdt: dict[str, Any], id: str) -> str:
    return resctrl.clos_path(resctrl.root(), rdt.get("closID") or id) + "/schemata"
