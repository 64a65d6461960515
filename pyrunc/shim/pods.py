"""A pod's sandbox: the configuration of the process that holds its namespaces, and the files its containers share. Hot.

containerd's CRI plugin leaves both to a shim that keeps sandboxes: a container of such a pod joins the namespaces of
the sandbox's process by its pid, and has the pod's /etc/hostname, /etc/hosts, /etc/resolv.conf and /dev/shm only if the
shim gives it them. Fields and numbers are those of k8s.io/cri-api; the pod's process is configured as containerd does
with a pause image, as far as the containers can see it.
"""

from __future__ import annotations

import errno
import posix

from .. import jsonio, log
from .._generated.pause import PROGRAM
from ..errors import PyruncError
from ..libcontainer.kernel import fileio, native
from . import mounts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..protobuf import Message
    from .model import Container
    from .ttrpc import Call

# The parent of the pods' directories; each of containerd's namespaces has its own below it. They are not in the bundle,
# because the root of a user namespace can't enter a directory above it.
DIRECTORY = "/run/containerd-shim-pyrunc-v2"

# NamespaceMode of the CRI
_OF_POD, _OF_NODE = 0, 2
# How often to make directories that others remove meanwhile.
_ATTEMPTS = 100
# The user of the pod's process, that of the usual pause image.
_USER = 65535
# The oom_score_adj that containerd gives to a pod's process.
_OOM_SCORE = -998
_CAPABILITIES = ("bounding", "effective", "inheritable", "permitted", "ambient")
_SHM_BYTES = 64 << 20
_ROOT_BYTES = 256 << 10
_FILES_BYTES = 1 << 20
# mount(2)
_MS_NOSUID, _MS_NODEV, _MS_NOEXEC = 0x2, 0x4, 0x8
_SPEC_VERSION = "1.2.0"
SANDBOX_ID, CONTAINER_TYPE = "io.kubernetes.cri.sandbox-id", "io.kubernetes.cri.container-type"
# The files of a pod, and their paths in its containers.
_FILES = {"hostname": "/etc/hostname", "hosts": "/etc/hosts", "resolv.conf": "/etc/resolv.conf"}
_SHM = "/dev/shm"
# The sysctls that containerd 2 sets by default for a pod with its own network namespace (enable_unprivileged_ports,
# enable_unprivileged_icmp).
_PORTS, _PING = "net.ipv4.ip_unprivileged_port_start", "net.ipv4.ping_group_range"


class Pod:
    """The CRI's request for a sandbox: a PodSandboxConfig, with the absent parts filled in.

    on_host: which of "network", "pid" and "ipc" are the node's. uids, gids: the mappings of its user namespace as in
    config.json; empty without one.
    """

    __slots__ = ("cgroup_parent", "config", "gids", "hostname", "on_host", "sysctls", "uids", "user")

    def __init__(self, config: Message) -> None:
        """Raises PyruncError for a user namespace that is neither the node's nor the pod's."""
        linux = config["linux"] or {"cgroup_parent": "", "security_context": None, "sysctls": {}}
        security = linux["security_context"] or {"namespace_options": None, "run_as_user": None, "run_as_group": None}
        modes = security["namespace_options"] or {"network": 0, "pid": 0, "ipc": 0, "userns_options": None}
        self.config = config
        self.hostname: str = config["hostname"]
        self.cgroup_parent: str = linux["cgroup_parent"]
        self.sysctls: dict[str, str] = dict(linux["sysctls"])
        self.on_host = [kind for kind in ("network", "pid", "ipc") if modes[kind] == _OF_NODE]
        self.uids: list[dict[str, int]] = []
        self.gids: list[dict[str, int]] = []
        users = modes["userns_options"]
        if users is not None and users["mode"] == _OF_POD:
            self.uids, self.gids = _mappings(users["uids"]), _mappings(users["gids"])
            if not (self.uids and self.gids):
                raise PyruncError("the pod's user namespace has no mappings")
        elif users is not None and users["mode"] != _OF_NODE:
            raise PyruncError(f"the pod's user namespace has the mode {users['mode']}; 0 (pod) and 2 (node) are known")
        self.user = _user(security, self.uids, self.gids)


class Sandbox:
    """The pod of this shim.

    status: "created", "starting", "ready", "stopped" or "failed". container: the one of its process, from its creation
        on.
    created_at, exited_at: nanoseconds since 1970, 0 before. waiting: the calls that are answered at its end.
    """

    __slots__ = (
        "bundle", "container", "created_at", "directory", "exit_status", "exited_at", "id", "netns", "pid", "pod",
        "status", "waiting",
    )  # fmt: skip

    def __init__(self, id: str, bundle: str, pod: Pod, netns: str, directory: str) -> None:
        self.id = id
        self.bundle = bundle
        self.pod = pod
        self.netns = netns
        self.directory = directory
        self.status = "created"
        self.container: Container | None = None
        self.pid = self.created_at = self.exited_at = self.exit_status = 0
        self.waiting: list[Call] = []


def _mappings(given: list[Message]) -> list[dict[str, int]]:
    """The CRI's mappings in the form of config.json."""
    return [{"containerID": it["container_id"], "hostID": it["host_id"], "size": it["length"]} for it in given]


def _user(security: Message, uids: list[dict[str, int]], gids: list[dict[str, int]]) -> dict[str, int]:
    """The user of the pod's process: the requested one, else one that owns no files."""
    if security["run_as_user"] is not None:
        group = security["run_as_group"]
        return {"uid": security["run_as_user"]["value"], "gid": group["value"] if group is not None else 0}
    mapped = [
        all([not maps or any([it["containerID"] <= _USER < it["containerID"] + it["size"] for it in maps])])
        for maps in (uids, gids)
    ]
    return {"uid": _USER if mapped[0] else 0, "gid": _USER if mapped[1] else 0}


def directory(namespace: str, id: str) -> str:
    """The directory of a pod's files."""
    return f"{DIRECTORY}/{namespace}/{id}"


def spec(pod: Pod, id: str, namespace: str, netns: str, userns: str, oom_score: int) -> dict[str, Any]:
    """The configuration of the sandbox's container.

    netns: the path of the network namespace; "" for a new one. userns: that of the user namespace; "" for a new one.
    """
    kinds = ["mount", "ipc", "pid"]
    if "network" not in pod.on_host:
        kinds += ["network", "uts"]  # with the node's network the host name is the node's too
    if pod.uids:
        kinds.append("user")
    paths = {"network": netns, "user": userns}
    namespaces = [
        {"type": kind, **({"path": paths[kind]} if paths.get(kind) else {})}
        for kind in kinds
        if kind not in pod.on_host
    ]
    linux: dict[str, Any] = {
        "namespaces": namespaces,
        "cgroupsPath": _cgroup(pod.cgroup_parent, namespace, id),
        "sysctl": _sysctls(pod),
        "resources": {"devices": [{"allow": False, "access": "rwm"}]},
    }
    if pod.uids:
        linux |= {"uidMappings": pod.uids, "gidMappings": pod.gids}
    found: dict[str, Any] = {
        "ociVersion": _SPEC_VERSION,
        "root": {"path": directory(namespace, id) + "/root", "readonly": True},
        "process": {
            "args": ["/pause"],
            "cwd": "/",
            "user": pod.user,
            "noNewPrivileges": True,
            "capabilities": {name: [] for name in _CAPABILITIES},
            "oomScoreAdj": oom_score,
        },
        "linux": linux,
        "annotations": _annotations(pod.config, id),
    }
    if pod.hostname and "network" not in pod.on_host:
        found["hostname"] = pod.hostname
    return found


def _cgroup(parent: str, namespace: str, id: str) -> str:
    """The member cgroupsPath, as containerd writes it."""
    last = parent.rstrip("/").rpartition("/")[2]
    if last.endswith(".slice"):
        return f"{last}:cri-containerd:{id}"
    return f"{parent.rstrip('/')}/{id}" if parent else f"/{namespace}/{id}"


def _sysctls(pod: Pod) -> dict[str, str]:
    """The pod's sysctls, with containerd's defaults."""
    if "network" in pod.on_host:
        return pod.sysctls
    defaults = {_PORTS: "0"}
    if not pod.uids:
        defaults[_PING] = "0 2147483647"
    return {**defaults, **pod.sysctls}


def _annotations(config: Message, id: str) -> dict[str, str]:
    """The annotations that containerd gives to a pod's process."""
    names = config["metadata"] or {"name": "", "uid": "", "namespace": ""}
    return {
        SANDBOX_ID: id,
        CONTAINER_TYPE: "sandbox",
        "io.kubernetes.cri.sandbox-namespace": names["namespace"],
        "io.kubernetes.cri.sandbox-uid": names["uid"],
        "io.kubernetes.cri.sandbox-name": names["name"],
        "io.kubernetes.cri.sandbox-log-directory": config["log_directory"],
    }


def oom_score() -> int:
    """The oom_score_adj of a pod's process: containerd's, or the lowest that the kernel permits this process to set.
    Raises OSError."""
    own = "/proc/self/oom_score_adj"
    before = fileio.read_file(own)
    try:
        fileio.write_file(own, str(_OOM_SCORE))
    except PermissionError:
        return max(_OOM_SCORE, int(before) - 1)  # the shim's own is one more (bootstrap.py)
    fileio.write_file(own, before)
    return _OOM_SCORE


def user_namespace(netns: str) -> int:
    """A descriptor of the user namespace that owns a network namespace. Raises PyruncError."""
    from ..libcontainer.kernel import userns

    try:
        return userns.owner(netns)
    except OSError as error:
        raise PyruncError(f"the user namespace of {netns}", errno=error.errno or 0) from error


def write_files(pod: Pod, path: str) -> None:
    """Make the directory of a pod: its process's root, its files, and its /dev/shm unless that is the node's. Raises
    PyruncError; the caller removes the directory by `remove`."""
    what = path
    try:
        _make_directory(path)
        # A separate file system: a container may write to these files, and would fill the host's /run.
        native.mount("pod", path, "tmpfs", _MS_NOSUID | _MS_NODEV | _MS_NOEXEC, f"mode=700,size={_FILES_BYTES}")
        if pod.uids:  # the root of the pod's user namespace has to enter it
            posix.chown(path, 0, pod.gids[0]["hostID"])
            posix.chmod(path, 0o710)
        what = path + "/root"
        _make(what, 0o755)
        # /run often has the options noexec and nodev.
        native.mount("pause", what, "tmpfs", _MS_NOSUID, f"mode=755,size={_ROOT_BYTES}")
        what = path + "/root/pause"
        if pod.uids:  # for the directory /dev
            posix.chown(path + "/root", pod.uids[0]["hostID"], pod.gids[0]["hostID"])
        _write(what, PROGRAM, 0o755)
        for name, text in _texts(pod).items():
            what = f"{path}/{name}"
            _write(what, text.encode("utf-8", "surrogateescape"), 0o644)
        if "ipc" not in pod.on_host:
            what = path + "/shm"
            _make(what, 0o700)
            native.mount("shm", what, "tmpfs", _MS_NOSUID | _MS_NODEV | _MS_NOEXEC, f"mode=1777,size={_SHM_BYTES}")
    except OSError as error:
        raise PyruncError(f"the files of the pod: {what}", errno=error.errno or 0) from error


def _make_directory(path: str) -> None:
    """Make the directory of a pod and those above it. Another shim may remove these, as those of the last pod, before
    this pod is in them. Raises OSError."""
    for attempt in range(_ATTEMPTS):
        try:
            for above in (DIRECTORY, path.rpartition("/")[0]):
                _make(above, 0o711)
            _make(path, 0o700)
            return
        except FileNotFoundError:
            if attempt + 1 == _ATTEMPTS:
                raise


def _make(path: str, mode: int) -> None:
    """Make a directory with a mode, independent of the umask; an existing one is kept. Raises OSError."""
    try:
        posix.mkdir(path, mode)
    except FileExistsError:
        return
    posix.chmod(path, mode)


def _write(path: str, data: bytes, mode: int) -> None:
    """Raises OSError."""
    fd = posix.open(path, posix.O_WRONLY | posix.O_CREAT | posix.O_TRUNC | posix.O_CLOEXEC, mode)
    try:
        posix.fchmod(fd, mode)
        fileio.write_bytes(fd, data, path)
    finally:
        posix.close(fd)


def _texts(pod: Pod) -> dict[str, str]:
    """The contents of the files by their names. Missing files of the host are left out."""
    found = {"hostname": (pod.hostname or posix.uname().nodename) + "\n"}
    dns = pod.config["dns_config"]
    if dns is not None:
        lines = [f"search {' '.join(dns['searches'])}\n"] if dns["searches"] else []
        lines += [f"nameserver {server}\n" for server in dns["servers"]]
        lines += [f"options {' '.join(dns['options'])}\n"] if dns["options"] else []
        found["resolv.conf"] = "".join(lines)
    for name in ("hosts", "resolv.conf"):
        if name not in found:
            try:
                found[name] = fileio.read_file(_FILES[name])
            except FileNotFoundError:
                continue
    return found


def remove(path: str) -> None:
    """Remove a pod's directory, if there is one. Failures are logged."""
    if not is_there(path):
        return
    for mounted in (path + "/shm", path + "/root", path):
        mounts.unmount(mounted)
    try:
        _remove(path)
    except OSError as error:
        log.warning(f"removing the files of a pod, {path}: {error}")
    for above in (path.rpartition("/")[0], DIRECTORY):
        try:
            posix.rmdir(above)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.ENOENT, errno.EBUSY):
                log.warning(f"removing {above}: {error}")
            return


def _remove(path: str) -> None:
    """Remove a directory and its content; a mount in it is an error (EBUSY). Raises OSError."""
    for entry in posix.scandir(path):
        if entry.is_dir(follow_symlinks=False):
            _remove(entry.path)
        else:
            posix.unlink(entry.path)
    posix.rmdir(path)


def join(bundle: str, id: str, path: str) -> None:
    """Give a container of the pod `id` those of the pod's files that its configuration does not mount itself.

    bundle: the container's. path: the pod's directory. Raises PyruncError. A container of another pod, or of none, is
    left alone.
    """
    file = f"{bundle}/config.json"
    try:
        config = jsonio.loads(fileio.read_file(file))
        if not _is_member(config, id):
            return
        wanted = [it for it in config.get("mounts") or [] if not _is_default_shm(it, path)]
        there = {it["destination"] for it in wanted}
        mode = "ro" if (config.get("root") or {}).get("readonly") else "rw"
        for name, target in {**_FILES, "shm": _SHM}.items():
            if target not in there and is_there(f"{path}/{name}"):
                wanted.append(_bind(f"{path}/{name}", target, "rw" if name == "shm" else mode, config))
        config["mounts"] = wanted
        _write(file + ".new", jsonio.dumps(config).encode(), 0o600)
        posix.rename(file + ".new", file)
    except OSError as error:
        raise PyruncError(f"giving the container the pod's files: {file}", errno=error.errno or 0) from error
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise PyruncError(f"giving the container the pod's files: {file}: {error}") from error


def _is_member(config: Any, id: str) -> bool:
    annotations = config.get("annotations") or {}
    return annotations.get(SANDBOX_ID) == id and annotations.get(CONTAINER_TYPE) == "container"


def _is_default_shm(entry: Any, path: str) -> bool:
    """Whether a mount is the /dev/shm that containerd gives to every container, and the pod has its own."""
    return entry["destination"] == _SHM and entry.get("type") == "tmpfs" and is_there(path + "/shm")


def is_there(path: str) -> bool:
    """Whether a path exists. Raises OSError."""
    try:
        posix.lstat(path)
    except FileNotFoundError:
        return False
    return True


def _bind(source: str, target: str, mode: str, config: Any) -> dict[str, Any]:
    """An entry for a bind mount. In a user namespace the pod's root owns the files, as with containerd; every user may
    write to /dev/shm."""
    entry = {"destination": target, "type": "bind", "source": source, "options": ["rbind", "rprivate", mode]}
    linux = config.get("linux") or {}
    if target != _SHM and linux.get("uidMappings"):
        entry |= {"uidMappings": linux["uidMappings"], "gidMappings": linux.get("gidMappings") or []}
    return entry
