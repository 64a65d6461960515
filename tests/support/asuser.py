"""Run a command as an ordinary user: `python -m tests.support.asuser OPTIONS -- COMMAND…`, by root.

The user has no capabilities, but may gain them as any user may: by a setuid program, in a user namespace. The command
has a mount namespace of its own, which adds what the machine lacks and changes nothing of the machine: the user's name
and subordinate ids, and a way to the interpreter and the sources, which may be in root's own directory.

OPTIONS: --uid N; --groups N…, the user's supplementary groups; --etc DIRECTORY, whose passwd, subuid and subgid replace
those of /etc; --cgroup DIRECTORY, to start in; --reach PATH…, what the user must be able to reach; --no-new-privs.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

_CLONE_NEWNS = 0x00020000
_MS_BIND = 0x1000
_MS_REC = 0x4000
_MS_PRIVATE = 1 << 18
_PR_SET_NO_NEW_PRIVS = 38

_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> None:
    if result != 0:
        raise OSError(ctypes.get_errno(), f"{what}: {os.strerror(ctypes.get_errno())}")


def _mount(source: str, target: str, fstype: str | None, flags: int, data: str = "") -> None:
    kind = fstype.encode() if fstype else None
    _check(_libc.mount(source.encode(), target.encode(), kind, flags, data.encode()), f"mounting {target}")


def _closed(path: Path) -> Path | None:
    """The directory above `path` that other users may not enter; None if they may enter all."""
    for folder in reversed(path.parents):
        if not folder.stat().st_mode & stat.S_IXOTH:
            return folder
    return None


def _open_way(path: Path) -> None:
    """Cover a closed directory with an open one, which contains only the next step to `path`."""
    closed = _closed(path)
    if closed is None:
        return
    inner = closed / path.relative_to(closed).parts[0]
    with tempfile.TemporaryDirectory() as aside:
        _mount(str(inner), aside, None, _MS_BIND | _MS_REC)
        _mount("tmpfs", str(closed), "tmpfs", 0, "mode=755")
        inner.mkdir()
        _mount(aside, str(inner), None, _MS_BIND | _MS_REC)
        subprocess.run(["umount", "-l", aside], check=True)


def main(arguments: list[str]) -> None:
    """Become that user and execute the command."""
    at = arguments.index("--")
    parser = argparse.ArgumentParser()
    parser.add_argument("--uid", type=int, required=True)
    parser.add_argument("--groups", type=int, nargs="*", default=[])
    parser.add_argument("--etc", type=Path)
    parser.add_argument("--cgroup", type=Path)
    parser.add_argument("--reach", type=Path, nargs="*", default=[])
    parser.add_argument("--no-new-privs", action="store_true")
    options = parser.parse_args(arguments[:at])
    _check(_libc.unshare(_CLONE_NEWNS), "unshare")
    _mount("none", "/", None, _MS_REC | _MS_PRIVATE)
    for path in options.reach:
        _open_way(path)
    for name in ("passwd", "subuid", "subgid"):
        if options.etc and (options.etc / name).exists():
            _mount(str(options.etc / name), f"/etc/{name}", None, _MS_BIND)
    if options.cgroup:
        (options.cgroup / "cgroup.procs").write_text(str(os.getpid()))
    os.setgroups(options.groups)
    os.setresgid(options.uid, options.uid, options.uid)
    os.setresuid(options.uid, options.uid, options.uid)
    if options.no_new_privs:
        _check(_libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "prctl")
    os.execvp(arguments[at + 1], arguments[at + 1 :])


if __name__ == "__main__":
    main(sys.argv[1:])
