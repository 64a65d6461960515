"""The mount table: lines of /proc/PID/mountinfo (proc_pid_mountinfo(5))."""

from __future__ import annotations

from .fileio import read_file

# The characters of a path that the table writes as octal numbers. The backslash is escaped first.
_ESCAPES = (("\\", "\\134"), (" ", "\\040"), ("\t", "\\011"), ("\n", "\\012"))
_DIGITS = "01234567"


def escape(path: str) -> str:
    """A path as the mount table writes it."""
    for character, code in _ESCAPES:
        path = path.replace(character, code)
    return path


def unescape(text: str) -> str:
    """Undo the escapes in a field of the mount table. Fields other than paths have more escaped characters."""
    first, *rest = text.split("\\")
    return first + "".join([_octal(part) for part in rest])


def _octal(part: str) -> str:
    """The text after a backslash, with three octal digits replaced by their character."""
    digits = part[:3]
    if len(digits) == 3 and digits[0] in "0123" and digits[1] in _DIGITS and digits[2] in _DIGITS:
        return chr(int(digits, 8)) + part[3:]
    return "\\" + part


def mount_points(mountinfo: str, fstype: str) -> list[str]:
    """The mount points of a file system type in the text of a mount table, in table order."""
    points = []
    for line in mountinfo.split("\n"):
        before, dash, after = line.partition(" - ")
        if dash and after.startswith(fstype + " "):
            points.append(unescape(before.split(" ")[4]))
    return points


def v1_mounts(controller: str) -> list[str]:
    """The mount points of a cgroup v1 controller. Raises OSError."""
    points = []
    for line in read_file("/proc/self/mountinfo").split("\n"):
        before, dash, after = line.partition(" - ")
        if dash and after.startswith("cgroup ") and controller in after.split(" ")[-1].split(","):
            points.append(unescape(before.split(" ")[4]))
    return points
