"""The options of a mount that the broker carries out: those that are known to be harmless, and no others. Pure."""

from __future__ import annotations

import errno
from dataclasses import dataclass

from .config import size
from .model import Refusal

MAX_LAYERS = 64
# The default and the maximum of `nr_inodes`: one for so many bytes, but at least _FEW.
_BYTES_PER_FILE = 4096
_FEW = 1024
_HIDEPID = ("0", "1", "2", "4", "off", "noaccess", "invisible", "ptraceable")


@dataclass(frozen=True)
class Options:
    """values: options with a value. words: those without. layers: directories of the container, by option."""

    values: tuple[tuple[str, str], ...] = ()
    words: tuple[str, ...] = ()
    layers: tuple[tuple[str, tuple[str, ...]], ...] = ()


def parse(type: str, text: str, max_bytes: int) -> Options:
    """The options of a mount(2). type: tmpfs, proc or overlay. max_bytes: the largest tmpfs.

    Raises Refusal: EPERM for an option that is not known to be harmless, EINVAL for a value that is none.
    """
    given: dict[str, str | None] = {}
    for each in text.split(",") if text else ():
        key, has_value, value = each.partition("=")
        if key in given:
            raise Refusal(errno.EINVAL, f"the option {key} twice")
        given[key] = value if has_value else None
    if type == "tmpfs":
        return _tmpfs(given, max_bytes)
    return _proc(given) if type == "proc" else _overlay(given)


def _tmpfs(given: dict[str, str | None], max_bytes: int) -> Options:
    files = max(max_bytes // _BYTES_PER_FILE, _FEW)
    values = {"size": str(max_bytes), "nr_inodes": str(files)}
    for key, value in given.items():
        if key in ("size", "nr_inodes"):
            number = size(value or "")
            if number is None:
                raise Refusal(errno.EINVAL, f"the option {key}={value}")
            # 0 is no limit.
            if not 0 < number <= (max_bytes if key == "size" else files):
                raise Refusal(errno.EPERM, f"a tmpfs with {key}={value}")
            values[key] = str(number)
        elif key in ("mode", "uid", "gid"):
            values[key] = _digits(key, value)
        else:
            raise _unknown(key)
    return Options(tuple(values.items()))


def _proc(given: dict[str, str | None]) -> Options:
    values = {}
    for key, value in given.items():
        if key == "gid":
            values[key] = _digits(key, value)
        elif (key == "hidepid" and value in _HIDEPID) or (key == "subset" and value == "pid"):
            values[key] = value or ""
        else:
            raise _unknown(key)
    return Options(tuple(values.items()))


def _overlay(given: dict[str, str | None]) -> Options:
    layers = []
    words = []
    for key, value in given.items():
        if key == "userxattr" and value is None:
            words.append(key)
        elif key in ("lowerdir", "upperdir", "workdir"):
            paths = (value or "").split(":") if key == "lowerdir" else [value or ""]
            # A backslash makes a colon or comma part of a name: such names are not taken. Two colons are layers for
            # data only.
            if "\\" in (value or "") or "" in paths or len(paths) > MAX_LAYERS:
                raise Refusal(errno.EINVAL, f"the option {key}")
            layers.append((key, tuple(paths)))
        else:
            raise _unknown(key)
    return Options(words=tuple(words), layers=tuple(layers))


def _digits(key: str, value: str | None) -> str:
    if not value or not value.isascii() or not value.isdigit() or len(value) > 10:
        raise Refusal(errno.EINVAL, f"the option {key}={value}")
    return value


def _unknown(key: str) -> Refusal:
    return Refusal(errno.EPERM, f"the option {key}")
