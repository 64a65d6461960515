"""The container's scope: systemd starts it with the init in it. Cold.

The unit is recorded in the ledger after systemd has made it: before that, a unit of its name is another's and must not
be stopped. A runtime that is killed in between leaves a scope that holds only the init. The init ends when its runtime
does, and the scope with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ...errors import PyruncError, pointer
from ..cgroup import files
from ..kernel.fileio import read_file
from ..plan.host import own_cgroup
from ..systemd.manager import Manager, StartFailed
from ..systemd.properties import PREFIX, file_of, typed

if TYPE_CHECKING:
    from .model import Launch

_STARTING = "unable to apply cgroup configuration: unable to start unit"  # wording of runc


def start(launch: Launch, unit: str, path: str, user: bool, properties: Sequence[str]) -> None:
    """Have systemd make the unit with the init in it, and open the unit's cgroup at `path`.

    properties: as properties.py writes them. Raises PyruncError and OSError.
    """
    values = typed(properties)
    values.insert(0, ("PIDs", ("au", [launch.init.pid])))
    with Manager(user) as manager:
        try:
            manager.start_scope(unit, values)
        except StartFailed as error:
            raise PyruncError(
                f'{_STARTING} "{unit}": {error.text}', pointer=_cause(launch, error.text, values), hint=error.hint
            ) from error
    launch.ledger.record("systemd_unit", unit=unit, user=user, path=path)
    inside = own_cgroup(read_file(f"/proc/{launch.init.pid}/cgroup"))
    if launch.facts.cgroup_mount + inside != path:
        raise PyruncError(
            f"systemd has put the container into the cgroup {inside}, and not into {path}",
            hint="an annotation for Slice? The slice is named by linux.cgroupsPath",
        )
    launch.cgroup_fd = files.open_directory(path)


def attach(pid: int, unit: str, subcgroup: str) -> None:
    """Have the user's systemd move a process into a unit, or into the cgroup `subcgroup` ("/…") below it. Raises
    PyruncError."""
    with Manager(True) as manager:
        manager.attach(unit, subcgroup, pid)


def _cause(launch: Launch, text: str, values: Sequence[tuple[str, object]]) -> str:
    """The pointer of the field that requested the property which systemd's error text names; "" if it names none."""
    words = text.replace(",", " ").replace(":", " ").split()
    name = next((name for name, _ in values if name in words), "")
    for other in (name, name.removesuffix("USec") + "Sec"):
        if PREFIX + other in launch.record.annotations:
            return pointer("annotations", PREFIX + other)
    files = file_of(name) if name else ()
    return next((pointer for file, pointer in launch.plan.limit_pointers.items() if file in files), "")
