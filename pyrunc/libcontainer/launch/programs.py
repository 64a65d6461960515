"""Why a program can't be executed: its file, and the interpreter that it needs, as far as the host can see
(inside.py)."""

from __future__ import annotations

import posix

from .inside import FOUND, LOOP, MISSING, NOT_DIRECTORY, UNKNOWN

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .inside import Found, Inside

_HEAD = 4096
_INTERPRETERS = 5  # a script's interpreter may be a script: exec_binprm() of the kernel's fs/exec.c
_PT_INTERP = 3
_S_IFREG = 0o100000
# e_machine of elf(5)
_MACHINES = {
    2: "sparc", 3: "i386", 8: "mips", 20: "ppc", 21: "ppc64", 22: "s390x", 40: "arm", 62: "x86_64", 183: "aarch64",
    243: "riscv64", 258: "loongarch64",
}  # fmt: skip
# The other machine whose programs a machine executes.
_ALSO = {"x86_64": ("i386",), "aarch64": ("arm",)}


class Trouble:
    """The reason why a program can't be executed. message: runc's words. hint: what was found, and what to do.

    late: only the execve fails, not `create`. pointer: the field that is the cause, "" if it is the step's.
    """

    __slots__ = ("hint", "late", "message", "pointer")

    def __init__(self, message: str, hint: str, late: bool = False, pointer: str = "") -> None:
        self.message = message
        self.hint = hint
        self.late = late
        self.pointer = pointer


def trouble(inside: Inside, name: str, path: str, cwd: str = "/") -> Trouble | None:
    """The reason why the container can't execute a program; None if none is known.

    name: process.args[0]. path: the value of PATH, in which a name without a slash is searched.
    """
    if "/" in name:
        found = inside.find(name, cwd)
        if found.state == FOUND:
            return _of_file(inside, name, found, quoted=True)
        return _not_found(name, found)
    message = f'exec: "{name}": executable file not found in $PATH'
    if not name:
        return Trouble(message, "the name of the program is empty")
    links = []
    for directory in path.split(":") if path else ():
        found = inside.find(f"{directory or '.'}/{name}", cwd)
        if found.state == UNKNOWN:
            return None
        if found.state == FOUND and not found.is_directory and found.mode & 0o111:
            return _of_file(inside, found.path, found)
        if found.state == FOUND or found.link == found.path or found.state == LOOP or _is_dangling(found):
            links.append((f"{directory}/{name}", found))
    if not links:
        return Trouble(message, _searched(inside, name, path, cwd))
    place, found = links[0]
    if found.state == LOOP:
        return Trouble(f'exec: "{name}": too many levels of symbolic links', f"{place} is a loop of symbolic links")
    if found.state == FOUND:
        what = "is a directory" if found.is_directory else "is not executable: chmod a+x"
        return Trouble(message, f"{place} {what}")
    return Trouble(message, f"{place} is a symbolic link to {found.target}, which is not in the container")


def _is_dangling(found: Found) -> bool:
    return found.state == MISSING and bool(found.link)


def _searched(inside: Inside, name: str, path: str, cwd: str) -> str:
    """Why a name is in no directory of PATH."""
    words = name.split()
    if len(words) > 1 and trouble(inside, words[0], path, cwd) is None:
        return f"one entry of process.args is one word: {_listed(words)}"
    if not path:
        return "process.env has no PATH: name the program by its whole path, or add PATH"
    known = [directory for directory in path.split(":") if inside.find(directory, cwd).is_directory]
    if not known:
        return f"none of the directories of PATH ({path}) is in the rootfs {inside.rootfs}"
    if name == "bash" and trouble(inside, "sh", path, cwd) is None:
        return "the container has sh"
    return f"it is in none of {path}, the PATH of process.env"


def _listed(words: list[str]) -> str:
    return "[" + ", ".join([f'"{word}"' for word in words]) + "]"


def _not_found(name: str, found: Found) -> Trouble | None:
    words = name.split()
    if found.state == LOOP:
        message = f'exec: "{name}": too many levels of symbolic links'
        return Trouble(message, f"{found.link} is a loop of symbolic links")
    if found.state == NOT_DIRECTORY:
        return Trouble(f'exec: "{name}": stat {name}: not a directory', f"{found.path} is a file")
    if found.state != MISSING:
        return None
    message = f'exec: "{name}": stat {name}: no such file or directory'
    if found.link:
        return Trouble(message, f"{found.link} is a symbolic link to {found.target}: {found.path} is not there")
    if len(words) > 1:
        return Trouble(message, f"one entry of process.args is one word: {_listed(words)}")
    return Trouble(message, f"{found.path} is not in the container")


def _of_file(inside: Inside, name: str, found: Found, quoted: bool = False) -> Trouble | None:
    """What is wrong with an existing file."""
    if found.is_directory:
        return Trouble(f'exec: "{name}": is a directory', f"{found.path} is a directory, not a program")
    if not found.mode & 0o111:
        if not quoted:
            return None
        return Trouble(f'exec: "{name}": permission denied', f"{found.path} is not executable: chmod a+x")
    return _of_content(inside, name, found)


def _of_content(inside: Inside, name: str, found: Found) -> Trouble | None:
    """Why execve(2) will refuse a file's content, or the interpreters that it names."""
    missing = f"exec {name}: no such file or directory"
    for _ in range(_INTERPRETERS):
        head = _head(found)
        if head is None:
            return None
        what, interpreter = _kind(head, found)
        if what:
            return Trouble(f"exec {name}: exec format error", f"{found.path} {what}", late=True)
        if not interpreter:
            return None
        if interpreter.endswith("\r"):
            hint = f"the first line of {found.path} ends in a carriage return: give the file line ends of Unix"
            return Trouble(missing, hint, late=True)
        script, found = found, inside.find(interpreter)
        if found.state == UNKNOWN:
            return None
        if found.state in (MISSING, NOT_DIRECTORY):
            link = f" ({found.link} is a link to {found.target})" if found.link else ""
            return Trouble(missing, f"the interpreter of {script.path}, {interpreter}{link}, is not there", late=True)
        if found.state == LOOP:
            hint = f"the interpreter of {script.path}, {interpreter}, is a loop of symbolic links"
            return Trouble(f"exec {name}: too many levels of symbolic links", hint, late=True)
        if found.is_directory or not found.mode & 0o111:
            hint = f"the interpreter of {script.path}, {interpreter}, is not executable"
            return Trouble(f"exec {name}: permission denied", hint, late=True)
    return None


def _head(found: Found) -> bytes | None:
    """The first bytes of a regular file; None if they can't be read."""
    if found.mode & 0o170000 != _S_IFREG:
        return None
    try:
        fd = posix.open(found.host, posix.O_RDONLY | posix.O_NONBLOCK | posix.O_NOFOLLOW | posix.O_CLOEXEC)
    except OSError:
        return None
    try:
        return posix.read(fd, _HEAD)
    except OSError:
        return None
    finally:
        posix.close(fd)


def _kind(head: bytes, found: Found) -> tuple[str, str]:
    """What is wrong with a program according to its first bytes, and the interpreter that it names; "" for none."""
    if head.startswith(b"#!"):
        line = head[2:].split(b"\n", 1)[0].decode("utf-8", "surrogateescape").strip(" \t")
        word = line.split(" ")[0].split("\t")[0]
        return ("", word) if word else ("names no interpreter behind #!", "")
    if not head.startswith(b"\x7fELF"):
        return ("is empty" if not head else "is neither a program (ELF) nor a script that begins with #!"), ""
    if len(head) < 64:
        return "is a truncated program", ""
    order = "big" if head[5] == 2 else "little"
    number = int.from_bytes(head[18:20], "big" if order == "big" else "little")
    built = _MACHINES.get(number, f"machine {number}")
    machine = posix.uname().machine
    if built != machine and built not in _ALSO.get(machine, ()) and not _is_registered():
        return f"is built for {built}, and this machine is {machine}", ""
    return "", _elf_interpreter(head, head[4] == 2, order == "big")


def _is_registered() -> bool:
    """Whether binfmt_misc may have a handler for programs of other machines."""
    try:
        return len(posix.listdir("/proc/sys/fs/binfmt_misc")) > 2
    except OSError:
        return False


def _elf_interpreter(head: bytes, is_64: bool, big: bool) -> str:
    """The PT_INTERP of an ELF file, if it is within the first bytes (elf(5)); "" for none."""

    def number(at: int, size: int) -> int:
        return int.from_bytes(head[at : at + size], "big" if big else "little")

    table, size, count = (
        (number(32, 8), number(54, 2), number(56, 2)) if is_64 else (number(28, 4), number(42, 2), number(44, 2))
    )
    for index in range(count):
        at = table + index * size
        if number(at, 4) != _PT_INTERP:
            continue
        offset, length = (number(at + 8, 8), number(at + 32, 8)) if is_64 else (number(at + 4, 4), number(at + 16, 4))
        if offset + length <= len(head):
            return head[offset : offset + length].rstrip(b"\0").decode("utf-8", "surrogateescape")
    return ""
