"""newuidmap and newgidmap: privileged programs that map the ids which /etc/subuid and /etc/subgid give to a user.

Source: newuidmap(1), newgidmap(1), subuid(5). Imported only by the step map_by_tool, and for a user namespace without
mappings.
"""

from __future__ import annotations

import posix

from ...errors import PyruncError, errno_text
from ..kernel import native
from ..kernel.fileio import read_file
from ..statedir import owner_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..._generated.spec_types import IDMapping, Spec

_POINTERS = {"uid_map": "/linux/uidMappings", "gid_map": "/linux/gidMappings"}
_SUBORDINATES = {"uid_map": "/etc/subuid", "gid_map": "/etc/subgid"}
_ADD = {"uid_map": "--add-subuids", "gid_map": "--add-subgids"}
_SETUID = 0o4000  # S_ISUID
_ST_NOSUID = 2  # statvfs(3)


def write_map(tool: str, pid: int, file: str, lines: Sequence[str]) -> None:
    """Have the tool write a map.

    tool: the program's path. pid: the init, as the runtime's PID namespace numbers it. file: `uid_map` or `gid_map`.
    lines: `CONTAINER_ID HOST_ID SIZE` each. Raises PyruncError with the tool's message, the pointer of the mappings,
    and a hint.
    """
    words = [tool, str(pid)]
    for line in lines:
        words += line.split(" ")
    try:
        status, said = _run(words)
    except OSError as error:
        raise PyruncError(f"running {tool}", pointer=_POINTERS[file], errno=error.errno or 0) from error
    if status == 0:
        return
    from .hooks import status_text

    name = tool.rpartition("/")[2]
    raise PyruncError(
        f"{name}: {said.removeprefix(name + ': ') or status_text(status)}",
        pointer=_POINTERS[file],
        hint=_hint(tool, file),
    )


def fill_mappings(spec: Spec, euid: int, egid: int) -> None:
    """Give a new user namespace without mappings those that crun gives it: the process's id is the runtime's own, and
    the others are what /etc/subuid and /etc/subgid give to the runtime's user, from id 0 on.

    euid, egid: the runtime's. A file that can't be read gives nothing.
    """
    linux = spec.get("linux") or {}
    if not any([entry["type"] == "user" and not entry.get("path") for entry in linux.get("namespaces") or ()]):
        return
    user = spec["process"].get("user") or {}
    if not linux.get("uidMappings"):
        linux["uidMappings"] = _default_mappings(user.get("uid") or 0, euid, *subordinate("/etc/subuid", euid))
    if not linux.get("gidMappings"):
        linux["gidMappings"] = _default_mappings(user.get("gid") or 0, egid, *subordinate("/etc/subgid", euid))


def _default_mappings(inside: int, own: int, first: int, count: int) -> list[IDMapping]:
    """The id `inside` is the runtime's own; below and above it are `count` ids of the host from `first` on."""
    if not count:
        return [{"containerID": 0, "hostID": own, "size": 1}]
    below = min(inside, count)
    rows = [(0, first, below), (inside, own, 1), (inside + 1, first + below, count - below)]
    return [{"containerID": row[0], "hostID": row[1], "size": row[2]} for row in rows if row[2]]


def subordinate(file: str, euid: int) -> tuple[int, int]:
    """The first range that a file as subuid(5) describes it gives to a user: (first id, count); (0, 0) for none."""
    found = ranges_of(file, (owner_name(euid), str(euid)))
    return found[0] if found else (0, 0)


def ranges_of(file: str, users: Sequence[str]) -> list[tuple[int, int]]:
    """The ranges that a file as subuid(5) describes it gives to the first of some users that has any: (first id,
    count). [] if none has, or the file can't be read."""
    try:
        text = read_file(file)
    except OSError:
        return []
    for user in users:
        found = [range.partition("-") for range in _ranges(text, (user,))]
        if found:
            return [(int(first), int(last) - int(first) + 1) for first, _, last in found]
    return []


def _run(words: list[str]) -> tuple[int, str]:
    """Run a program to its end. Returns its wait status and the end of its output, on one line. Raises OSError."""
    from .hooks import Output, wait

    reader, writer = posix.pipe2(posix.O_CLOEXEC)
    try:
        posix.set_blocking(reader, False)
        pid = native.spawn(
            words[0],
            words,
            posix.environ,
            [
                (posix.POSIX_SPAWN_OPEN, 0, "/dev/null", posix.O_RDONLY, 0),
                (posix.POSIX_SPAWN_DUP2, writer, 1),
                (posix.POSIX_SPAWN_DUP2, writer, 2),
            ],
        )
        posix.close(writer)
        writer = -1
        output = Output(reader)
        status = wait(pid, [output], 0)
    finally:
        posix.close(reader)
        if writer >= 0:
            posix.close(writer)
    assert status is not None, "without a timeout nothing is killed"
    return status, output.text()


def _hint(tool: str, file: str) -> str:
    """Why the tool may have refused, as far as the runtime can see it; else the user's ranges."""
    if "\nNoNewPrivs:\t1" in read_file("/proc/self/status"):
        return f"the runtime was started with no_new_privs, under which {tool} gains no privileges"
    if posix.statvfs(tool).f_flag & _ST_NOSUID:
        return f"{tool} is on a file system that is mounted nosuid, and so gains no privileges"
    if not posix.stat(tool).st_mode & _SETUID and not _has_capabilities(tool):
        return f"{tool} has neither the setuid bit nor file capabilities: install its package again"
    user = owner_name(posix.geteuid())
    subordinates = _SUBORDINATES[file]
    try:
        ranges = _ranges(read_file(subordinates), (user, str(posix.geteuid())))
    except OSError as error:
        return f"{subordinates}: {errno_text(error.errno or 0)}"
    if not ranges and user.startswith("#"):
        return f"{subordinates} has no range for uid {posix.geteuid()}, which has no name in /etc/passwd: add the user"
    if not ranges:
        return f"{subordinates} has no range for {user}: usermod {_ADD[file]} 100000-165535 {user}"
    return f"{subordinates} gives {user} only {' and '.join(ranges)}"


def _has_capabilities(path: str) -> bool:
    try:
        posix.getxattr(path, "security.capability")
    except OSError:
        return False
    return True


def _ranges(text: str, users: Sequence[str]) -> list[str]:
    """The ranges that a file as subuid(5) describes it gives to a user, known by name or number: `100000-165535`."""
    found = []
    for line in text.splitlines():
        user, _, rest = line.strip().partition(":")
        first, _, count = rest.partition(":")
        if user in users and first.isdigit() and count.isdigit() and int(count):
            found.append(f"{first}-{int(first) + int(count) - 1}")
    return found
