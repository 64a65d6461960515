"""Carry out an update: compile the changes as `create` compiles limits, and write them, all or none.

Some limits depend on others (memory and swap, quota and burst). So the changes are merged into the container's
resources, the result is compiled, and the writes for the named fields are carried out.
"""

from __future__ import annotations

import posix

from ... import launcher, log
from ...errors import PyruncError, cut, prefixed
from .. import lookup, ownership, saved_config, state
from ..cgroup import controllers, devices, files, limits, resources
from ..kernel import interrupts
from ..kernel.fileio import read_file
from ..plan import host
from ..spec import load
from . import journal, recovery
from .merge import is_named, merge, named_places, without_unset

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..._generated.spec_types import IntelRdt, Linux, Resources
    from ..cgroup.resources import Write
    from ..plan.host import HostFacts
    from . import mounts
    from .words import Asked


class Target:
    """The container to update, locked until `close`.

    place: its state directory. Raises PyruncError if there is none.
    """

    __slots__ = ("path", "place", "record")

    def __init__(self, root: str, id: str) -> None:
        self.path = state.directory(root, id)
        self.place, self.record = lookup.locked(self.path)
        if self.record.systemd:
            launcher.require("systemd")  # before anything is read from stdin

    def close(self) -> None:
        """Unlock it."""
        self.place.close()

    def change(self, changes: Resources, schemata: Sequence[str], asked: Asked | None = None) -> None:
        """Change limits, mounts and devices, all or none.

        changes: as linux.resources, without nulls. schemata: lines for the container's class of service (Intel RDT).
        asked: mounts and devices. Raises PyruncError or OSError after it has undone everything.
        """
        load.validate_resources(changes)
        if state.status(self.path, self.record) == "stopped":
            raise PyruncError("container not running")
        interrupts.hold()
        recovered = recovery.recover(self.place, self.record)
        if recovered:
            log.warning(f"an update that was killed has been {recovered}")
        facts = host.gather() if asked else host.gather_limits()
        _Change(self, facts, changes, schemata, asked).carry_out()


class _Change:
    """One update. merged: the resources after it. wanted: the pointers of the fields to write."""

    __slots__ = (
        "facts",
        "files",
        "found",
        "kept",
        "linux",
        "made",
        "merged",
        "program",
        "schemata",
        "target",
        "wanted",
    )

    def __init__(
        self, target: Target, facts: HostFacts, changes: Resources, schemata: Sequence[str], asked: Asked | None
    ) -> None:
        """Find the changes and check them. Changes nothing. Raises PyruncError and OSError."""
        self.target = target
        self.facts = facts
        self.schemata = schemata
        self.kept = saved_config.load(target.place)
        self.found = journal.Journal({"resources": self.kept["linux"].get("resources")})
        self.wanted = without_unset(changes)
        if self.wanted and not target.record.cgroup:
            raise PyruncError("can't limit a container without a cgroup", hint="it was created without one")
        self.files = self._files(asked) if asked else None
        self.merged = merge(self._old, self.wanted)
        if asked:
            self._rules_of_devices(asked)
        self.linux: Linux = {"resources": self.merged}
        self.made = resources.limits(self.merged, facts, at="")
        for warning in self.made.warnings:
            log.warning(warning)
        self._prepare_schemata()
        self.program = self._prepare_rules()

    @property
    def _old(self) -> Resources:
        """The resources before the update."""
        return self.kept["linux"].get("resources") or {}

    @property
    def _has_rules(self) -> bool:
        """Whether the container's cgroup has device rules, by the condition of compile/cgroup.py."""
        return bool(self.target.record.cgroup) and self.facts.euid == 0 and not self.facts.in_userns

    def _files(self, asked: Asked) -> mounts.Update:
        from . import mounts
        from .session import Container

        record = self.target.record
        root = self.target.path.rpartition("/")[0] or "/"
        return mounts.Update(Container(record, root, self.kept, self.facts), asked, self.found, self.target.place.fd)

    def _rules_of_devices(self, asked: Asked) -> None:
        """Adapt the device rules to new and removed devices."""
        removed = self.files.removed if self.files is not None else []
        if (asked.devices or removed) and self._has_rules:
            from .words import rules_with

            self.wanted["devices"] = rules_with(self.merged.get("devices") or (), asked.devices, removed)
            self.merged["devices"] = self.wanted["devices"]

    def _prepare_schemata(self) -> None:
        if not self.schemata:
            return
        rdt = self.kept["linux"].get("intelRdt")
        self.found.linux["intelRdt"] = rdt
        self.linux["intelRdt"] = _with_schemata(rdt, self.schemata)
        path = _schemata_file(self.linux["intelRdt"], self.target.record.id)
        self.found.files.append((path, read_file(path)))

    def _prepare_rules(self) -> bytes:
        """The program of the new device rules; b"" if they do not change."""
        wanted, old = self.wanted, self._old
        if "devices" not in wanted or wanted["devices"] == (old.get("devices") or []):
            return b""
        if self.facts.euid != 0 or self.facts.in_userns:
            raise PyruncError("device rules can't be changed without root of the host", pointer="/devices")
        paths = self.kept["devicePaths"]
        self.found.rules = devices.rules_for(old.get("devices") or [], paths)
        return devices.assemble(devices.rules_for(wanted["devices"], paths))

    def carry_out(self) -> None:
        """Record the old values, and make the changes. Undoes everything before it raises PyruncError or OSError."""
        record, found = self.target.record, self.found
        places = named_places(self._old, self.merged, self.wanted)
        writes = [write for write in self.made.writes if is_named(write.pointer, places)]
        properties: list[str] = []
        if record.systemd:
            from ..systemd import update as unit

            writes, properties = unit.limit_properties(writes, record.systemd)
            found.unit, found.user = record.systemd["unit"], record.systemd["user"]
            found.properties = unit.previous(found.unit, found.user, properties)
        if record.cgroup:
            with ownership.hold(record.cgroup, self.target.place, record) as held:
                self._carry_out(held.found == ownership.OWN, writes, properties)
        else:
            self._carry_out(True, writes, properties)

    def _carry_out(self, is_own: bool, writes: Sequence[Write], properties: list[str]) -> None:
        """is_own: the cgroup is still the container's, if it has one."""
        record, found = self.target.record, self.found
        if not is_own:
            raise PyruncError("container not running")
        cgroup_fd = files.open_directory(record.cgroup) if record.cgroup else -1
        try:
            self._prepare_cgroup(cgroup_fd, writes)
            found.save(self.target.place.fd)
            try:
                if properties:
                    from ..systemd import update as unit

                    unit.set_properties(found.unit, found.user, properties)
                self._write(cgroup_fd, writes)
            except BaseException:
                self._undo()
                raise
        finally:
            if self.files is not None:
                self.files.close()
            if cgroup_fd >= 0:
                posix.close(cgroup_fd)

    def _prepare_cgroup(self, cgroup_fd: int, writes: Sequence[Write]) -> None:
        """Enable the controllers for the writes, and read the old values."""
        if writes:
            needed = {write.controller: write.pointer for write in reversed(writes) if write.controller}
            if needed:
                controllers.enable(self.target.record.cgroup, self.facts.cgroup_mount, needed, ())
        if self.made.memory_check and "memory" in self.wanted:
            limits.check_memory(cgroup_fd, *self.made.memory_check)
        for write in writes:
            text = limits.previous(cgroup_fd, write.file, write.value)
            if text is not None:
                self.found.writes.append((write.file, text))

    def _write(self, cgroup_fd: int, writes: Sequence[Write]) -> None:
        """Make the changes, and record them."""
        dirfd = self.target.place.fd
        _write_limits(cgroup_fd, writes)
        if self.program:
            devices.replace(cgroup_fd, self.program)
        for path, _ in self.found.files:
            from ..kernel import resctrl

            resctrl.write_schemata(path, self.schemata)
        if self.files is not None:
            self.files.carry_out(self.linux)
        self.found.record_changes(dirfd, self.target.record, self.linux, self.kept)
        journal.remove(dirfd)

    def _undo(self) -> None:
        """Undo a failed update. Failures of this are logged, so the command reports the first cause."""
        interrupts.close()
        record = self.target.record
        try:
            recovery.undo(self.found, self.target.place, record, self.files.copies if self.files is not None else [])
        except (PyruncError, OSError) as failure:
            log.warning(prefixed(f"undoing the failed update of {record.id}", failure).line())


def _write_limits(cgroup_fd: int, writes: Sequence[Write]) -> None:
    """Write the control files in order. Raises PyruncError with the field of a refused write.

    A write of fallback level 1 is made only if the write before it failed with one of its errnos.
    """
    failed = False
    for write in writes:
        if write.fallback_level and not failed:
            continue
        failed = False
        try:
            limits.write(cgroup_fd, write.file, write.value, write.optional)
        except OSError as error:
            if error.errno in write.on_errno:
                failed = True
                continue
            raise PyruncError(
                f"failed to write {cut(repr(write.value.strip()))} to {write.file}",
                pointer=write.pointer,
                errno=error.errno or 0,
            ) from error


def _with_schemata(rdt: IntelRdt | None, schemata: Sequence[str]) -> IntelRdt:
    """linux.intelRdt with new schemata. Raises PyruncError if the container has no class of service."""
    if rdt is None:
        # Wording of runc.
        raise PyruncError(
            "updating a non-existent Intel RDT configuration is not supported",
            hint="the container was created without linux.intelRdt",
        )
    changed: IntelRdt = {**rdt}
    for line in schemata:
        if line.startswith("MB:"):
            changed["memBwSchema"] = line
        else:
            changed["l3CacheSchema"] = line
    return changed


def _schemata_file(rdt: IntelRdt, id: str) -> str:
    from ..kernel import resctrl

    return resctrl.clos_path(resctrl.root(), rdt.get("closID") or id) + "/schemata"
