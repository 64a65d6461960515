"""The options `--isolation`, `--network` and `--seccomp-profile`: read what they need, and change the configuration."""

from __future__ import annotations

import posix

from ...errors import PyruncError
from ..kernel.fileio import read_file
from ..launch.newidmap import ranges_of
from ..plan.host import id_map, in_userns
from ..spec import load
from . import sandbox

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..._generated.spec_types import Process, Seccomp, Spec
    from ..plan.options import LaunchOptions

# Whose ranges in /etc/subuid and /etc/subgid the sandboxes of root get: those of the user `containers`, as with
# Podman's --userns=auto, else root's own.
_USERS = ("containers", "root", "0")
# Without one, these: ids that shadow's defaults and systemd leave free (systemd's UIDS-GIDS).
DEFAULT_FIRST = 0x70000000
DEFAULT_COUNT = 0x10000000
_SLOT = 65536
_OPTION = "--seccomp-profile"


def apply(spec: Spec, options: LaunchOptions, euid: int) -> None:
    """Change a valid configuration by the options. The changes become notes of the plan.

    euid: the runtime's. Raises PyruncError.
    """
    profile = _profile(options.seccomp_profile) if options.seccomp_profile else None
    if not options.isolation:
        if options.network:
            raise PyruncError("--network needs --isolation sandbox", hint="without it config.json decides")
        if profile is not None:
            spec.setdefault("linux", {})["seccomp"] = profile
        return
    if options.isolation != sandbox.SANDBOX:
        raise PyruncError(f'unknown isolation "{options.isolation}"', hint="sandbox is known")
    network = options.network or sandbox.NETWORKS[0]
    if network not in sandbox.NETWORKS:
        raise PyruncError(f'unknown network "{network}"', hint="one of " + ", ".join(sandbox.NETWORKS))
    for flag, given in (("--no-pivot", options.no_pivot), ("--no-new-keyring", options.no_new_keyring)):
        if given:
            raise PyruncError(f"{flag} is refused in a sandbox", origin=flag, hint="leave it out")
    linux = spec.get("linux") or {}
    own = _own_ids() if euid == 0 else None
    maps = euid == 0 and own is None and not any([one["type"] == "user" for one in linux.get("namespaces") or ()])
    ids = _ids(options.id) if maps else own
    changes = sandbox.tighten(
        spec,
        network=network,
        profile=profile,
        ids=ids,
        rules=euid == 0 and not in_userns(),
        bundle=options.bundle,
        resolve=_resolved,
    )
    options.changes = tuple([f"sandbox: {change}" for change in changes])
    options.map_rootfs = maps


def added(options: LaunchOptions) -> tuple[str, ...]:
    """The types of the namespaces that `apply` adds if the configuration has none, so that it may have fields that need
    one, except mappings of a user namespace."""
    if options.isolation != sandbox.SANDBOX:
        return ()
    network = ("network",) if options.network in ("", sandbox.NETWORKS[0]) else ()
    return (*[name for name in sandbox.NAMESPACES if name != "user"], *network)


def _resolved(path: str) -> str:
    """A path of the host without symlinks; the path itself if there is nothing."""
    try:
        fd = posix.open(path, posix.O_PATH | posix.O_CLOEXEC)
    except OSError:
        return path
    try:
        return posix.readlink(f"/proc/self/fd/{fd}")
    finally:
        posix.close(fd)


def bound(process: Process) -> list[str]:
    """Tighten a process that `exec` starts in a sandbox. Returns what was changed."""
    return [f"/process{change}" for change in sandbox.bound_process(process)]


def _ids(id: str) -> sandbox.Ids:
    """The ids of a sandbox of root: one part of its range, by a hash of the container's id, so that most sandboxes
    have ids of their own."""
    return sandbox.Ids([(0, *_part("/etc/subuid", id))], [(0, *_part("/etc/subgid", id))])


def _own_ids() -> sandbox.Ids | None:
    """The ids for the root of a user namespace, such as that of unshare(1) -Ur: all ids of the namespace, each mapped
    to itself, because mounts can't be id-mapped there. None for the host's root. Raises PyruncError and OSError."""
    if not in_userns():
        return None
    maps = [id_map(read_file(f"/proc/self/{name}")) for name in ("uid_map", "gid_map")]
    if any([inside == outside == 0 for inside, outside, _ in maps[0]]):
        return None
    uids, gids = [[(inside, inside, count) for inside, _, count in each] for each in maps]
    return sandbox.Ids(uids, gids, has_root=True)


def _part(file: str, id: str) -> tuple[int, int]:
    found = ranges_of(file, _USERS)
    first, count = found[0] if found else (DEFAULT_FIRST, DEFAULT_COUNT)
    slots = count // _SLOT
    if not slots:
        return first, count
    number = 0
    for byte in id.encode():
        number = (number * 31 + byte) % 0xFFFFFFFB
    return first + number % slots * _SLOT, _SLOT


def _profile(path: str) -> Seccomp:
    """The profile in a file: a linux.seccomp. Raises PyruncError with the pointer in that file."""
    document = load.document("/", path)
    value = load.parse("/", path, _OPTION)
    whole: Any = {
        "ociVersion": "1.0.0",
        "process": {"args": ["true"], "cwd": "/", "user": {"uid": 0, "gid": 0}},
        "root": {"path": "rootfs"},
        "linux": {"seccomp": value, "namespaces": [{"type": "mount"}]},
    }
    try:
        if type(value) is dict:
            if "ociVersion" in value:
                raise PyruncError("the file is a config.json and no profile", hint="take its linux.seccomp")
            _refuse_dockers(value)
        load.validate(whole)
    except PyruncError as error:
        error.pointer = error.pointer.removeprefix("/linux/seccomp")
        error.document = document
        error.origin = _OPTION
        raise
    profile: Seccomp = whole["linux"]["seccomp"]
    return profile


def _refuse_dockers(value: dict[str, Any]) -> None:
    rules = value.get("syscalls")
    for index, rule in enumerate(rules if type(rules) is list else ()):
        if type(rule) is dict and (rule.get("includes") or rule.get("excludes")):
            raise PyruncError(
                "the profile has Docker's own form, in which rules depend on capabilities",
                pointer=f"/linux/seccomp/syscalls/{index}",
                hint="take the linux.seccomp of the config.json that the engine made from it",
            )
