"""What an update is about to change, with the old values, in the file `update` of the state directory.

The file is written before the first change and removed after the last. Where an update fails it writes the old values
back itself; where it is killed, the next `update`, `gc` or `delete` of the container finds the file.
"""

from __future__ import annotations

import posix

from ... import jsonio
from ...errors import PyruncError, from_os_error
from .. import saved_config, state
from ..cgroup import devices, files, limits
from ..kernel.fileio import write_file
from ..statedir import UPDATE_FILE as FILE
from ..statedir import DamagedError, StateDir

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_VERSION = 1
_HALF = "the limits may be half changed: name all of them in another update"


class Journal:
    """The old values of one update.

    linux: the members of the saved configuration's `linux` that it changes, as they were. writes: (control file, text)
    that undo its writes, in the order of these. rules: the old device rules, empty where they stay. files: absolute
    paths of other files (resctrl) and their old texts. unit: the name of systemd's unit, "" for none; user: whether it
    is the user's systemd's; properties: the unit's old ones, as systemd/properties.py writes them.
    """

    __slots__ = ("files", "linux", "properties", "rules", "unit", "user", "writes")

    def __init__(self, linux: dict[str, Any]) -> None:
        self.linux = linux
        self.writes: list[tuple[str, str]] = []
        self.rules: tuple[str, ...] = ()
        self.files: list[tuple[str, str]] = []
        self.unit = ""
        self.user = False
        self.properties: tuple[str, ...] = ()

    def save(self, dirfd: int) -> None:
        """Write the file in the open state directory. Raises OSError."""
        fields = {name: getattr(self, name) for name in self.__slots__}
        state.replace(FILE, jsonio.dumps({"version": _VERSION, **fields}), 0o600, dir_fd=dirfd)

    def undo(self, dirfd: int, cgroup: str) -> None:
        """Write the old values back and remove the file.

        dirfd: the state directory. cgroup: the container's, "" for none. A value that can't be written back does not
        keep the others from being so. Raises PyruncError with the first failure, the file left.
        """
        failures: list[PyruncError] = []
        if self.properties:
            from ..systemd import update

            try:
                update.set_properties(self.unit, self.user, self.properties)
            except PyruncError as error:
                failures.append(error)
        if self.writes or self.rules:
            failures += self._undo_cgroup(cgroup)
        for path, text in reversed(self.files):
            try:
                write_file(path, text)
            except OSError as error:
                failures.append(from_os_error(error))
        try:
            saved_config.replace_linux(dirfd, self.linux)
        except OSError as error:
            failures.append(from_os_error(error))
        except PyruncError as error:
            failures.append(error)
        if failures:
            raise failures[0]
        remove(dirfd)

    def _undo_cgroup(self, cgroup: str) -> list[PyruncError]:
        """Write the control files in reverse, and replace the device rules; gives what failed."""
        try:
            fd = files.open_directory(cgroup)
        except FileNotFoundError:
            return []  # the container has ended
        # By file: one that is written more than once may refuse all writes but the last.
        refused: dict[str, PyruncError] = {}
        try:
            for file, text in reversed(self.writes):
                try:
                    limits.write(fd, file, text)
                except OSError as error:
                    refused[file] = PyruncError(f"writing {text.strip()} back to {file}", errno=error.errno or 0)
                else:
                    refused.pop(file, None)
            if self.rules:
                try:
                    devices.replace(fd, devices.assemble(self.rules))
                except PyruncError as error:
                    refused["devices"] = error
        finally:
            posix.close(fd)
        return list(refused.values())


def load(dirfd: int) -> Journal | None:
    """The journal that a killed update has left in the open state directory; None where there is none.

    Raises PyruncError for a file that is damaged, OSError.
    """
    try:
        text = StateDir(f"/proc/self/fd/{dirfd}", dirfd).read(FILE)
    except FileNotFoundError:
        return None
    except DamagedError as error:
        raise DamagedError(f"the record of an unfinished update is damaged: {error.message}", hint=_HALF) from error
    try:
        fields = jsonio.loads(text)
        found = Journal(dict(fields["linux"]))
        found.writes = [(str(file), str(value)) for file, value in fields["writes"]]
        found.rules = tuple([str(rule) for rule in fields["rules"]])
        found.files = [(str(path), str(value)) for path, value in fields["files"]]
        found.unit = str(fields["unit"])
        found.user = bool(fields["user"])
        found.properties = tuple([str(value) for value in fields["properties"]])
    except (KeyError, TypeError, ValueError) as error:
        raise DamagedError(f"the record of an unfinished update is damaged: {error}", hint=_HALF) from error
    return found


def recover(dirfd: int, cgroup: str) -> bool:
    """Undo an update that was killed; whether there was one. Raises PyruncError, OSError."""
    found = load(dirfd)
    if found is None:
        return False
    found.undo(dirfd, cgroup)
    return True


def remove(dirfd: int) -> None:
    """Remove the file. Raises OSError."""
    posix.unlink(FILE, dir_fd=dirfd)
