"""The runtime's options: runc's Options message, or a TOML table of the CRI plugin's configuration. Hot.

containerd's CRI plugin knows runc's own runtime types. For another type it sends the table `options` of the runtime as
TOML (runtimeoptions.v1.Options: config_body, or the file config_path).
"""

from __future__ import annotations

import posix

from .. import jsonio
from .._generated.shim_messages import FULL
from ..errors import PyruncError
from ..libcontainer.kernel import fileio
from . import messages

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..protobuf import Message

# The fields of Options that the shim reads, by the names of the CRI plugin's table, which ignores case. CriuImagePath
# and TaskApiAddress are for containerd itself.
NAMES = {
    "nopivotroot": "no_pivot_root", "nonewkeyring": "no_new_keyring", "shimcgroup": "shim_cgroup", "iouid": "io_uid",
    "iogid": "io_gid", "binaryname": "binary_name", "root": "root", "systemdcgroup": "systemd_cgroup",
    "criuworkpath": "criu_work_path",
}  # fmt: skip
# The options in a bundle, for `delete` and for the sandbox, with their defaults.
FILE = "options.json"
_KEPT = {"root": "", "systemd_cgroup": False, "no_pivot_root": False, "no_new_keyring": False}


def read(box: Message | None) -> Message:
    """The fields of Options in an Any. Raises MalformedError, and PyruncError for a value of another type."""
    if box is None or messages.type_of(box) != FULL["NamedOptions"]:
        return messages.unpack("Options", box)
    named = messages.unpack("NamedOptions", box)
    options = messages.decode("Options", b"")
    text = named["config_body"].decode("utf-8", "replace")
    if not text and named["config_path"]:
        try:
            text = fileio.read_file(named["config_path"])
        except OSError as error:
            raise PyruncError(f"open {named['config_path']}", errno=error.errno or 0) from error
    for number, given in enumerate(text.splitlines(), 1):
        line = given.strip()
        if not line or line[0] in "#[":
            continue
        name, _, value = [part.strip() for part in line.partition("=")]
        field = NAMES.get(name.strip('"').lower().replace("_", ""))
        if field is None:
            continue  # an option of a later version
        found = _value(value)
        if type(found) is not type(options[field]):
            raise PyruncError(f"the runtime's options, line {number}: {name} can't be {value}")
        options[field] = found
    return options


def _value(text: str) -> Any:
    """A bool, a whole number or a text of one line; None for anything else."""
    if text[:1] == "'":
        inner, quote, _ = text[1:].partition("'")
        return inner if quote else None
    if text[:1] != '"':
        text = text.partition("#")[0].strip()
    else:
        end = text.find('"', 1)
        while end > 0 and text[end - 1] == "\\":
            end = text.find('"', end + 1)
        text = text[: end + 1]
    try:
        found = jsonio.loads(text)
    except ValueError:
        return None
    return found if type(found) in (bool, int, str) else None


def save(bundle: str, options: Message) -> None:
    """Write what `delete` and the sandbox need into the bundle. Raises PyruncError."""
    write(f"{bundle}/{FILE}", jsonio.dumps({name: options[name] for name in _KEPT}))


def write(path: str, text: str) -> None:
    """Write a file in a bundle. Raises PyruncError."""
    try:
        fd = posix.open(path, posix.O_WRONLY | posix.O_CREAT | posix.O_TRUNC | posix.O_CLOEXEC, 0o600)
        try:
            fileio.write_whole(fd, text, path)
        finally:
            posix.close(fd)
    except OSError as error:
        raise PyruncError(f"writing {path}", errno=error.errno or 0) from error


def forget(bundle: str) -> None:
    """Remove the file once the container is deleted: `delete` then has nothing to remove."""
    try:
        posix.unlink(f"{bundle}/{FILE}")
    except OSError:
        return  # if the bundle is not gone, `delete` finds no container


def saved(bundle: str) -> Message:
    """The saved options; the defaults if there are none, or if they are damaged. Raises OSError."""
    try:
        found = jsonio.loads(fileio.read_file(f"{bundle}/{FILE}"))
    except (FileNotFoundError, ValueError):
        found = {}
    kept = found if type(found) is dict else {}
    return {name: kept[name] if type(kept.get(name)) is type(default) else default for name, default in _KEPT.items()}
