"""Recognise files that were given instead of a runtime's config.json, for errors. Only failures import this module."""

from __future__ import annotations

import posix

from ... import jsonio
from ...errors import PyruncError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_MAKE = "unpack the image to a bundle first (umoci unpack), or have an engine run it"
_SPEC = "`pyrunc spec` writes one to start from"
# How many files are looked at for a configuration, and of which size.
_FILES, _LARGEST = 8, 1 << 20
_S_IFMT, _S_IFREG = 0o170000, 0o100000
_ROOTFS = ("bin", "etc", "usr")


def missing_config(bundle: str, config: str) -> PyruncError:
    """The error that a bundle has no config.json, in runc's words, with a hint from what the directory has."""
    message = f"JSON specification file {config} not found"  # wording of runc
    if config.startswith("/"):
        return PyruncError(message, hint="--config names it")
    directory = bundle.rstrip("/") or "/"
    message += " in " + directory
    try:
        names = posix.listdir(directory)
        above = posix.listdir(directory + "/..")
    except (FileNotFoundError, NotADirectoryError):
        return PyruncError(message, hint=f"there is no directory {directory}")
    except OSError:
        return PyruncError(message, hint=_SPEC)
    if "oci-layout" in names or "index.json" in names or "manifest.json" in names:
        return PyruncError(message, hint="this is an image, not a bundle: " + _MAKE)
    if config in above and any([name in names for name in _ROOTFS]):
        return PyruncError(message, hint="this is a root file system: the bundle is the directory above")
    files = sorted([name for name in names if name.endswith(".json")])[:_FILES]
    others = [name for name in files if _is_configuration(f"{directory}/{name}")] if config not in names else []
    if len(others) == 1:
        return PyruncError(message, hint=f"--config {others[0]} takes the file that is there; {_SPEC}")
    return PyruncError(message, hint=_SPEC)


def _is_configuration(path: str) -> bool:
    """Whether a file looks like a runtime's configuration: a regular file, an object with the members that one must
    have."""
    try:
        fd = posix.open(path, posix.O_RDONLY | posix.O_NONBLOCK | posix.O_CLOEXEC)
    except OSError:
        return False
    try:
        st = posix.fstat(fd)
        if st.st_mode & _S_IFMT != _S_IFREG or st.st_size > _LARGEST:
            return False
        value = jsonio.loads(posix.read(fd, _LARGEST).decode())
    except (OSError, ValueError):
        return False
    finally:
        posix.close(fd)
    return type(value) is dict and "ociVersion" in value and type(value.get("root")) is dict


def refuse_foreign(value: Any) -> None:
    """Raise PyruncError if a document is a known kind of file that is no runtime configuration."""
    kind = _kind(value)
    if kind:
        raise PyruncError(f"this is {kind}, not a runtime's configuration", hint=_hint(kind))


def _hint(kind: str) -> str:
    return _MAKE if "image" in kind else _SPEC


def _kind(value: Any) -> str:
    """What a document is by its members (image-spec, config.md, manifest.md; docker inspect); "" where unknown."""
    if type(value) is list:
        if value and type(value[0]) is dict:
            if "Id" in value[0] and "Config" in value[0]:
                return "the output of an engine's inspect"
            if "Layers" in value[0]:
                return "an image's manifest"
        return ""
    if type(value) is not dict or ("ociVersion" in value and "process" in value):
        return ""
    if type(value.get("rootfs")) is dict and ("config" in value or "history" in value or "architecture" in value):
        return "an image's configuration"
    if "layers" in value or "manifests" in value:
        return "an image's manifest"
    if "services" in value or "apiVersion" in value:
        return "a file for an engine or a cluster"
    if "args" in value and "process" not in value and ("cwd" in value or "env" in value):
        return "a process, such as exec --process takes"
    if "bundle" in value and "status" in value:
        return "the output of state"
    return ""
