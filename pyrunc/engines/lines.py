"""The entries that each engine needs in its configuration to start pyrunc, and the file.

Sources: containerd's docs/cri/config.md and its configuration versions 2 and 3, dockerd(8), containers.conf(5),
crio.conf(5).
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ..errors import PyruncError
from . import documents
from .changes import Change, Choice, Entry, Member, Tree, Usual, apply, at

NAME = "pyrunc"

# The plugin that has the runtimes, by the version of containerd's file; containerd 2.x reads both.
CRI_PLUGINS = {2: "io.containerd.grpc.v1.cri", 3: "io.containerd.cri.v1.runtime"}

# The shim of containerd that runs runc, or the program that BinaryName names.
RUNC_SHIM = "io.containerd.runc.v2"

# Podman's defaults if no file has these lists (containers.conf(5)): Podman 4 and 5 together, a name that a version does
# not know is without effect. A list in a file replaces the default, so pyrunc's list has these names too. The page
# calls the last list runtime_supports_nocgroups; Podman 4 and 5 read it without the s.
PODMAN_LISTS = {
    "runtime_supports_json": ("crun", "runc", "kata", "runsc", "youki", "krun", "ocijail"),
    "runtime_supports_nocgroups": ("crun", "krun"),
    "runtime_supports_nocgroup": ("crun", "krun"),
}
PODMAN_SHARED = Path("/usr/share/containers/containers.conf")

KUBELET = Path("/var/lib/kubelet/config.yaml")
CRIO = Path("/etc/crio")
_SECONDS = 30


@dataclass(frozen=True)
class Wish:
    """The caller's wishes: the path of the command; whether it becomes the default runtime; whether systemd makes the
    cgroups (None: as the engine's configuration says)."""

    program: str
    default: bool = False
    systemd: bool | None = None


@dataclass(frozen=True)
class Engine:
    """An engine. form: of its file; places: where that may be, the one to be made last; own: the same below
    $XDG_CONFIG_HOME for a user who is not root, () where the engine runs as root only; after: the command that makes it
    read the file again, "" if it reads the file at every command; changes: the entries that it needs, for the file's
    tree."""

    name: str
    form: str
    places: tuple[str, ...]
    own: tuple[str, ...]
    after: str
    changes: Callable[[Wish, Tree], list[Change]]


def containerd_changes(wish: Wish, tree: Tree) -> list[Change]:
    """The handler `pyrunc` of the CRI plugin. PyruncError for a file of another version than 2 or 3."""
    version = tree.get("version")
    found: list[Change] = []
    if version is None and not tree:
        version = containerd_version()
        found.append(Choice(("version",), version))
    plugin = CRI_PLUGINS.get(version if isinstance(version, int) else 0)
    if plugin is None:
        what = "has no `version`, so it is of version 1" if version is None else f"is of version {version}"
        hint = "2 and 3 are known; `containerd config migrate` (containerd 2) prints it as version 3"
        raise PyruncError(f"containerd's configuration {what}", hint=hint)
    runtimes = ("plugins", plugin, "containerd", "runtimes")
    systemd = wish.systemd if wish.systemd is not None else _systemd_as_runc(tree, runtimes)
    options = {"BinaryName": wish.program, "SystemdCgroup": systemd}
    found.append(Entry((*runtimes, NAME), {"runtime_type": RUNC_SHIM, "options": options}))
    # containerd 1.x has runc by default as long as no file has a table of runtimes. Without the default runtime, its
    # CRI plugin does not load ("no corresponding runtime configured"). containerd 2.x adds the file's runtimes to its
    # own.
    if version == min(CRI_PLUGINS) and not set(at(tree, runtimes) or ()) - {NAME}:
        found.append(Usual((*runtimes, "runc"), {"runtime_type": RUNC_SHIM}))
    if wish.default:
        found.append(Choice((*runtimes[:-1], "default_runtime_name"), NAME))
    return found


def containerd_version() -> int:
    """The version of a new file: 3 for an installed containerd 2.x, else 2."""
    try:
        done = subprocess.run(
            ["containerd", "--version"], capture_output=True, text=True, check=False, timeout=_SECONDS
        )
    except (OSError, subprocess.TimeoutExpired):
        return 2
    match = re.search(r"\bv?(\d+)\.\d+\.\d+", done.stdout)
    return 3 if match is not None and int(match[1]) >= 2 else 2


def _systemd_as_runc(tree: Tree, runtimes: tuple[str, ...]) -> bool:
    """Whether systemd makes the cgroups: all runtimes of a node, and the kubelet, must agree. The setting of runc in
    this file, else that of the kubelet's file, else no, containerd's default."""
    for name in ("runc", *(at(tree, runtimes) or ())):
        value = at(tree, (*runtimes, name, "options", "SystemdCgroup"))
        if isinstance(value, bool):
            return value
    try:
        return re.search(r"^cgroupDriver:\s*systemd\s*$", KUBELET.read_text(), re.MULTILINE) is not None
    except OSError:
        return False


def remark(engine: Engine, tree: Tree) -> str:
    """The entry of a file because of which pyrunc's lines have no effect; "" for none."""
    disabled = tree.get("disabled_plugins") if engine.name == "containerd" else None
    if isinstance(disabled, list) and {"cri", *CRI_PLUGINS.values()} & set(disabled):
        return "disabled_plugins has the CRI plugin: these lines are for Kubernetes, which needs it"
    return ""


def docker_changes(wish: Wish, tree: Tree) -> list[Change]:
    """The runtime for `docker run --runtime pyrunc`."""
    found: list[Change] = [Entry(("runtimes", NAME), {"path": wish.program})]
    return [*found, Choice(("default-runtime",), NAME)] if wish.default else found


def podman_changes(wish: Wish, tree: Tree) -> list[Change]:
    """The runtime, and its name in the lists of runtimes that write JSON logs and support containers without a
    cgroup."""
    shared = _shared_lists()
    found: list[Change] = [Entry(("engine", "runtimes", NAME), [wish.program])]
    found += [Member(("engine", key), NAME, shared.get(key) or usual) for key, usual in PODMAN_LISTS.items()]
    return [*found, Choice(("engine", "runtime"), NAME)] if wish.default else found


def _shared_lists() -> dict[str, tuple[str, ...]]:
    """The lists of PODMAN_LISTS that the distribution's file sets, which pyrunc's would replace."""
    try:
        engine = documents.parse(documents.TOML, PODMAN_SHARED.read_text(), str(PODMAN_SHARED)).get("engine", {})
    except (OSError, UnicodeDecodeError):
        return {}
    return {key: tuple(engine[key]) for key in PODMAN_LISTS if isinstance(engine.get(key), list)}


def crio_changes(wish: Wish, tree: Tree) -> list[Change]:
    """The handler `pyrunc`; its monitor is that of the other handlers."""
    value = {"runtime_path": wish.program, "runtime_type": "oci", "runtime_root": "/run/pyrunc"}
    monitor = _crio_monitor()
    if monitor:
        value["monitor_path"] = monitor
    found: list[Change] = [Entry(("crio", "runtime", "runtimes", NAME), value)]
    return [*found, Choice(("crio", "runtime", "default_runtime"), NAME)] if wish.default else found


def _crio_monitor() -> str:
    """The monitor_path of a handler in CRI-O's files; "" if none names one: CRI-O then searches conmon in $PATH."""
    for path in [CRIO / "crio.conf", *sorted((CRIO / "crio.conf.d").glob("*.conf"))]:
        try:
            tree = documents.parse(documents.TOML, path.read_text(), str(path))
        except (OSError, UnicodeDecodeError):
            continue
        for handler in (at(tree, ("crio", "runtime", "runtimes")) or {}).values():
            if isinstance(handler, dict) and handler.get("monitor_path"):
                return str(handler["monitor_path"])
    return ""


ENGINES = {
    engine.name: engine
    for engine in (
        Engine(
            "containerd", documents.TOML, ("/etc/containerd/config.toml",), ("containerd/config.toml",),
            "systemctl restart containerd", containerd_changes,
        ),
        Engine(
            "docker", documents.JSON, ("/etc/docker/daemon.json",), ("docker/daemon.json",),
            "systemctl reload docker", docker_changes,
        ),
        # A containers.conf in /etc hides the distribution's with Podman 6, a file in containers.conf.d does not.
        Engine(
            "podman", documents.TOML,
            ("/etc/containers/containers.conf", "/etc/containers/containers.conf.d/pyrunc.conf"),
            ("containers/containers.conf", "containers/containers.conf.d/pyrunc.conf"), "", podman_changes,
        ),
        Engine(
            "crio", documents.TOML, ("/etc/crio/crio.conf.d/99-pyrunc.conf",), (),
            "systemctl restart crio", crio_changes,
        ),
    )
}  # fmt: skip


def places(engine: Engine) -> list[Path]:
    """The possible paths of the engine's file for the calling user. Raises PyruncError if the engine runs as root
    only."""
    if os.geteuid() == 0:
        return [Path(place) for place in engine.places]
    if not engine.own:
        raise PyruncError(f"{engine.name} runs as root only", hint="run this as root, or name the file by --file")
    home = os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
    return [Path(home, place) for place in engine.own]


def place(engine: Engine) -> Path:
    """The file to change: the first existing one, else the one to make."""
    found = places(engine)
    return next((path for path in found if os.path.lexists(path)), found[-1])


def lines(engine: Engine, wish: Wish, tree: Tree) -> str:
    """The lines that a file needs, as text in its form. tree: the file's present content."""
    wanted: dict[str, object] = {}
    apply(wanted, engine.changes(wish, tree))
    return documents.layout(engine.form, wanted)


def everything(engine: Engine, tree: Tree) -> list[Change]:
    """All changes that pyrunc may have made in a file with this tree, with any wishes."""
    wish = Wish("/", default=True, systemd=False)
    if engine.name != "containerd":
        return engine.changes(wish, tree)
    # The file may have another version by now.
    return [change for version in CRI_PLUGINS for change in engine.changes(wish, {"version": version})]
