"""The options `--mount`, `--umount`, `--device` and `--device-rm` as entries of config.json. Pure, except that a device
of the host is inspected."""

from __future__ import annotations

import posix

from ...errors import PyruncError
from ...paths import clean
from ..spec.mount_options import parse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Literal

    from ..._generated.spec_types import DeviceEntry, DeviceRule, MountEntry
    from ..compile.update import Device

MOUNT, UMOUNT, DEVICE, DEVICE_RM = "--mount", "--umount", "--device", "--device-rm"
# The types of mounts that can be made and removed in a running container.
TYPES = ("bind", "tmpfs")
_SOURCE = ("source", "src")
_TARGET = ("target", "destination", "dst")
_READ_ONLY = ("ro", "readonly")
# Docker's names for options of a tmpfs.
_TMPFS = {"tmpfs-size": "size", "tmpfs-mode": "mode"}
_ACCESS = "rwm"
_S_IFMT = 0o170000
_DEVICE_TYPES: dict[int, Literal["c", "b"]] = {0o020000: "c", 0o060000: "b"}
# Every container has these (config-linux.md, "Default Devices").
_DEFAULTS = (
    "/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty", "/dev/console", "/dev/ptmx",
)  # fmt: skip


class Asked:
    """The requested changes. mounts: entries as in config.json; umounts: paths of the container; devices: entries as
    linux.devices, with `access` and the host's path as `source`; removals: paths of devices in the container."""

    __slots__ = ("cwd", "devices", "mounts", "removals", "umounts")

    def __init__(
        self,
        mounts: Sequence[str] = (),
        umounts: Sequence[str] = (),
        devices: Sequence[str] = (),
        removals: Sequence[str] = (),
        *,
        cwd: str,
    ) -> None:
        """Read the options. cwd: the directory at which relative sources start. Raises PyruncError."""
        self.cwd = cwd
        self.mounts = [mount(text, cwd) for text in mounts]
        self.umounts = [place(text, UMOUNT) for text in umounts]
        self.devices = [device(text) for text in devices]
        self.removals = [_removable(text) for text in removals]
        self._check()

    def add_entries(self, entries: Sequence[MountEntry]) -> None:
        """Request mounts by entries that are valid in config.json. Raises PyruncError."""
        self.mounts += [_usable(entry, self.cwd) for entry in entries]
        self._check()

    def remove_entries(self, entries: Sequence[MountEntry]) -> None:
        """Request that the mounts on the entries' destinations are removed. Raises PyruncError."""
        self.umounts += [place("/" + entry["destination"].lstrip("/"), UMOUNT) for entry in entries]
        self._check()

    def _check(self) -> None:
        for paths, option in (
            ([*[entry["destination"] for entry in self.mounts], *self.umounts], UMOUNT),
            ([*[entry["path"] for entry in self.devices], *self.removals], DEVICE_RM),
        ):
            twice = _twice(paths)
            if twice:
                raise PyruncError(f"{twice} is named twice", origin=option, hint="update it in two calls")

    def __bool__(self) -> bool:
        return bool(self.mounts or self.umounts or self.devices or self.removals)


def _twice(paths: Sequence[str]) -> str:
    seen: set[str] = set()
    for path in paths:
        if path in seen:
            return path
        seen.add(path)
    return ""


def place(path: str, option: str) -> str:
    """A clean path of the container. Raises PyruncError for a path that is not absolute."""
    if not path.startswith("/"):
        raise PyruncError(f'"{path}" is not an absolute path of the container', origin=option)
    cleaned = clean(path)
    if cleaned == "/":
        raise PyruncError("the root of a running container can't be changed", origin=option)
    return cleaned


def fields(text: str) -> list[str]:
    """The fields of a line of CSV, as Docker and Podman have it: a field in quotes may have commas; "" is a quote.

    Raises ValueError.
    """
    found, field, quoted, at = [], "", False, 0
    while at < len(text):
        char = text[at]
        at += 1
        if char == '"' and quoted and text[at : at + 1] == '"':
            field += char
            at += 1
        elif char == '"' and (quoted or not field):
            quoted = not quoted
        elif char == "," and not quoted:
            found.append(field)
            field = ""
        else:
            field += char
    if quoted:
        raise ValueError("a quote is not closed")
    return [*found, field]


def mount(text: str, cwd: str) -> MountEntry:
    """The entry of `mounts` that `type=bind,source=S,target=T[,option…]` asks for. Raises PyruncError.

    Without an option for it, a bind mount includes the mounts below its source and is private.
    """
    kind, source, target, options = "bind", "", "", []
    try:
        words = fields(text)
    except ValueError as error:
        raise PyruncError(f"{text}: {error}", origin=MOUNT) from error
    for word in words:
        name, equals, value = word.partition("=")
        if name == "type" and equals:
            kind = value
        elif name in _SOURCE and equals:
            source = value
        elif name in _TARGET and equals:
            target = value
        elif name in _READ_ONLY and (not equals or value in ("true", "1", "false", "0")):
            options.append("rw" if value in ("false", "0") else "ro")
        elif name == "bind-propagation" and equals:
            options.append(value)
        elif name in _TMPFS and equals:
            options.append(f"{_TMPFS[name]}={value}")
        elif word:
            options.append(word)
    if not target:
        raise PyruncError(f"{text}: it has no target", origin=MOUNT, hint="type=bind,source=PATH,target=PATH")
    if not target.startswith("/"):
        place(target, MOUNT)  # config.json may have a relative one
    entry: MountEntry = {"destination": target, "type": kind, "source": source, "options": options}
    if kind == "bind":
        parsed = parse(options)
        entry["options"] = [
            *([] if parsed.bind else ["rbind"]), *options, *([] if parsed.propagation else ["rprivate"])
        ]  # fmt: skip
    return _usable(entry, cwd)


def _usable(entry: MountEntry, cwd: str) -> MountEntry:
    """A copy of an entry with clean paths. Raises PyruncError if it can't be mounted in a running container."""
    options = entry.get("options") or ()
    parsed = parse(options)
    kind, source = entry.get("type") or "", entry.get("source") or ""
    if parsed.bind:
        kind = "bind"
    if kind not in TYPES:
        raise PyruncError(
            f'a mount of type "{kind}" can\'t be made in a running container', origin=MOUNT, hint="bind or tmpfs"
        )
    if parsed.remount:
        raise PyruncError("a mount of a running container can't be changed", origin=MOUNT, hint="unmount it first")
    if kind == "bind" and not source:
        raise PyruncError(f"the mount on {entry['destination']} has no source", origin=MOUNT)
    if kind == "bind" and not source.startswith("/"):
        source = clean(f"{cwd}/{source}")
    destination = place("/" + entry["destination"].lstrip("/"), MOUNT)
    return {**entry, "destination": destination, "type": kind, "source": source or kind, "options": list(options)}


def device(text: str) -> Device:
    """The entry of linux.devices that `PATH[:PATH IN THE CONTAINER[:ACCESS]]` asks for, with the mode and the owner of
    the host's node. Raises PyruncError if it is no device."""
    source, _, rest = text.partition(":")
    path, _, access = rest.partition(":")
    if path and not path.startswith("/") and not access:
        path, access = "", path  # PATH:ACCESS, as Docker has it
    access = access or _ACCESS
    if access.strip(_ACCESS):
        raise PyruncError(f'"{access}" is no access to a device', origin=DEVICE, hint="a composition of r, w and m")
    target = place(path or source, DEVICE)
    if target in _DEFAULTS:
        raise PyruncError(f"every container has a {target} of its own", origin=DEVICE)
    try:
        found = posix.stat(source)
    except OSError as error:
        raise PyruncError(f"device {source}", errno=error.errno or 0, origin=DEVICE) from error
    kind = _DEVICE_TYPES.get(found.st_mode & _S_IFMT)
    if kind is None:
        raise PyruncError(f"{source} is not a device", origin=DEVICE)
    return {
        "source": source,
        "path": target,
        "type": kind,
        "major": posix.major(found.st_rdev),
        "minor": posix.minor(found.st_rdev),
        "fileMode": found.st_mode & 0o777,
        "uid": found.st_uid,
        "gid": found.st_gid,
        "access": access,
    }


def _removable(text: str) -> str:
    path = place(text, DEVICE_RM)
    if path in _DEFAULTS:
        raise PyruncError(f"every container has a {path}", origin=DEVICE_RM)
    return path


def entry_of(asked: Device) -> DeviceEntry:
    """The entry of linux.devices alone."""
    return {
        "path": asked["path"],
        "type": asked["type"],
        "major": asked["major"],
        "minor": asked["minor"],
        "fileMode": asked["fileMode"],
        "uid": asked["uid"],
        "gid": asked["gid"],
    }


def rules_with(
    rules: Sequence[DeviceRule], added: Sequence[Device], removed: Sequence[DeviceEntry]
) -> list[DeviceRule]:
    """linux.resources.devices after devices are added and removed: earlier entries for exactly one of these devices are
    dropped."""
    changed = [(entry["type"], entry["major"], entry["minor"]) for entry in (*added, *removed)]
    kept = [rule for rule in rules if (rule.get("type"), rule.get("major"), rule.get("minor")) not in changed]
    kept += [_rule(False, entry, _ACCESS) for entry in removed]
    kept += [_rule(True, entry, entry["access"]) for entry in added]
    return kept


def _rule(allow: bool, entry: DeviceEntry, access: str) -> DeviceRule:
    return {
        "allow": allow,
        "type": "b" if entry["type"] == "b" else "c",
        "major": entry["major"],
        "minor": entry["minor"],
        "access": access,
    }
