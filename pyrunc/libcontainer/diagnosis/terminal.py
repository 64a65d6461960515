"""A failure for a terminal, with its line of config.json. Only failures import this module.

A terminal shows three lines: the cause, the place, the hint. If the file is no JSON, the wrong line follows the second
one, with a caret. Elsewhere a failure is one line (errors.PyruncError.line).
"""

from __future__ import annotations

import posix

from ...errors import PyruncError, join
from ...jsontext import places
from ..kernel import fileio
from ..spec import inputs
from ..statedir import STATE_FILE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ...jsontext import Place

_LONGEST_FILE = 16 << 20
_LONGEST_EXCERPT = 60
_FEW = 5
_RED, _BOLD, _PLAIN = "\x1b[31m", "\x1b[1m", "\x1b[0m"


def locate(error: PyruncError) -> None:
    """Find the line of the error's pointer in its document, if both are known. A document that can't be read, or has
    changed, is ignored: the pointer names the place too."""
    if error.message.endswith("not available") and ': controller "' in error.message:
        reason, cure = controller(error.message.rsplit('"', 2)[1])
        error.hint = f"{reason}: {cure}" if cure else reason or error.hint
    if error.place is None and error.pointer and error.document is not None:
        error.place = lines_of(error.document[1], (error.pointer,)).get(error.pointer)


def controller(name: str) -> tuple[str, str]:
    """Why cgroup v2 does not have a controller, by /proc/cgroups and the mounts, and what to do about it; "" if they
    have no reason (cgroups(7))."""
    from ..kernel.mountinfo import v1_mounts

    of_v1 = {"io": "blkio"}.get(name, name)
    try:
        lines = [line.split() for line in fileio.read_file("/proc/cgroups").split("\n") if line and line[0] != "#"]
        mounts = v1_mounts(of_v1)
    except OSError:
        return "", ""
    for found, hierarchy, _, enabled in lines:
        if found != of_v1:
            continue
        if enabled == "0":
            return f"the kernel has the {name} controller switched off", f"boot without cgroup_disable={name}"
        if hierarchy != "0":
            at = f" at {mounts[0]}" if mounts else ""
            reason = f"the controller {name} is mounted on cgroup v1{at}, and pyrunc uses cgroup v2"
            return reason, "boot with systemd.unified_cgroup_hierarchy=1"
        return f"the kernel has the {name} controller, and the cgroup v2 hierarchy as it is seen here does not", ""
    return (f"the kernel has no {name} controller" if lines else ""), ""


def lines_of(path: str, pointers: tuple[str, ...]) -> dict[str, Place]:
    """The places of pointers in a JSON file; {} if they are unknown."""
    try:
        data = inputs.kept(path)
        return places((_content(path) if data is None else data).decode(), pointers)
    except (OSError, UnicodeDecodeError, ValueError):
        return {}


def _content(path: str) -> bytes:
    fd = posix.open(path, posix.O_RDONLY | posix.O_NONBLOCK | posix.O_NOCTTY | posix.O_CLOEXEC)
    try:
        data = b""
        while (chunk := posix.read(fd, 1 << 16)) and len(data) < _LONGEST_FILE:
            data += chunk
        return data
    finally:
        posix.close(fd)


def missing_id_hint(root: str, id: str) -> str:
    """The hint for the id of a missing container: the id that was meant, or how to list the ids."""
    try:
        names = sorted([name for name in posix.listdir(root) if name[0] not in ":." and _is_container(root, name)])
    except FileNotFoundError:
        return "the directory does not exist: --root of a command must be that of the create"
    except OSError:
        return ""
    begun = [name for name in names if name.startswith(id) and name != id]
    if len(begun) == 1:
        return f"an id can't be shortened: did you mean {begun[0]}?"
    if not names:
        return "it has no containers: --root of a command must be that of the create"
    if len(names) <= _FEW:
        return "there are: " + ", ".join(names)
    return "list shows which there are"


def _is_container(root: str, name: str) -> bool:
    """Whether a name in the state root is a container's, as far as can be seen."""
    try:
        posix.stat(f"{root}/{name}/{STATE_FILE}")
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True
    return True


def on_terminal(error: PyruncError, coloured: bool = False) -> str:
    """The failure for a terminal, each line with its newline: error, where, hint. Unknown parts are left out."""
    cause = join([error.reason(error.lead)])
    lines = [_labelled("error", cause, _RED if coloured else "", coloured)]
    where = _where(error)
    if where:
        lines.append(_labelled("where", where, "", coloured))
        lines += _caret(error)
    if error.hint:
        lines.append(_labelled(" hint", join([error.hint]), "", coloured))
    return "".join([line + "\n" for line in lines])


def _labelled(label: str, text: str, colour: str, coloured: bool) -> str:
    return f"{colour or _BOLD}{label}:{_PLAIN} {text}" if coloured else f"{label}: {text}"


def _where(error: PyruncError) -> str:
    """`config.json:47  /process/cwd  "cwd": "/nowhere"  (step chdir)`."""
    words = []
    document, place = error.document, error.place
    if place is not None and document is not None:
        words.append(f"{document[0]}:{place.line}" + ("" if error.pointer else f":{place.column}"))
    if error.pointer:
        words.append(error.pointer)
    elif error.origin:
        words.append("the command line: " + error.origin)
    if error.pointer and place is not None:
        opens = place.text.rstrip().endswith(("{", "["))
        words.append(_short(place.begins if opens else place.text))
    if error.step:
        words.append(f"(step {error.step})" if words else f"step {error.step}")
    return "  ".join([join([word]) for word in words])


def _short(text: str) -> str:
    text = join([text])
    return text if len(text) <= _LONGEST_EXCERPT else text[: _LONGEST_EXCERPT - 3] + "..."


def _caret(error: PyruncError) -> list[str]:
    """The line that is no JSON, and a caret below the wrong character."""
    if error.place is None or error.pointer:
        return []
    text, index = error.place.excerpt()
    shown = "".join([char if char.isprintable() else " " for char in text])
    if not shown.strip():
        return []
    number = str(error.place.line)
    return [f"{number:>6} | {shown.rstrip()}", " " * 6 + " | " + " " * index + "^"]
