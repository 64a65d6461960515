"""The shim's short commands: `start`, which starts a server or finds the pod's, `delete`, and -info. Hot.

containerd runs them in the bundle and reads what they print: 2.3 and later send BootstrapParams and read a
BootstrapResult, 1.7 to 2.2 set MAX_SHIM_VERSION and read JSON, 1.6 reads an address.
"""

from __future__ import annotations

import _signal
import errno
import posix
from _socket import AF_UNIX, SOCK_CLOEXEC, SOCK_STREAM, socket

from .. import jsonio
from .._generated.build import COMMIT, VERSION
from .._generated.shim_messages import FULL
from ..errors import PyruncError
from ..libcontainer.kernel import fileio, native
from ..libcontainer.plan.host import gather
from ..protobuf import MalformedError
from . import containers, messages, mounts, options, pods, runtime, starts
from .digest import sha256
from .model import check_id

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..protobuf import Message

NAME = "io.containerd.pyrunc.v2"
SOCKETS = "/run/containerd/s"
# The annotations that name the group of containers of one shim; the first one present counts.
GROUPS = ("io.containerd.runc.v2.group", pods.SANDBOX_ID)
# The file in the bundle with the address, which containerd 1.6 reads after a restart.
ADDRESS = "address"

_TASK_VERSION = 3
_LARGEST_INPUT = 10 << 20
_LARGEST_OOM_SCORE = 1000
_SIGKILL = 9
_KILLED = 128 + _SIGKILL
_COMMAND_SECONDS = 5.0
_MAKING = ("create", "restore")
_FEATURES = "types.containerd.io/opencontainers/runtime-spec/1/features/Features"


class Flags:
    """The shim's command line, which is Go's: `-name value`, `-name=value`, with one or two dashes.

    action: the first word that is no flag, "" for the server.
    """

    __slots__ = ("action", "address", "bundle", "debug", "id", "info", "namespace", "publish_binary", "version")

    def __init__(self) -> None:
        self.action = self.address = self.bundle = self.id = self.namespace = self.publish_binary = ""
        self.debug = self.info = self.version = False


_TEXTS = {
    "address": "address", "bundle": "bundle", "debug-socket": "", "id": "id", "namespace": "namespace",
    "publish-binary": "publish_binary", "socket": "",
}  # fmt: skip
_BOOLS = {"debug": "debug", "info": "info", "v": "version", "version": "version"}


def parse(words: list[str]) -> Flags:
    """Read the command line. Raises PyruncError."""
    flags = Flags()
    rest = list(words)
    while rest and rest[0].startswith("-") and rest[0] not in ("-", "--"):
        name, equals, value = rest.pop(0).lstrip("-").partition("=")
        if name in _BOOLS:
            setattr(flags, _BOOLS[name], value.lower() not in ("false", "f", "0") if equals else True)
        elif name in _TEXTS:
            if not equals:
                if not rest:
                    raise PyruncError(f"flag needs an argument: -{name}")
                value = rest.pop(0)
            if not _TEXTS[name]:
                raise PyruncError(f"-{name} is not supported: the server's socket is that of `start`")
            setattr(flags, _TEXTS[name], value)
        else:
            raise PyruncError(f"flag provided but not defined: -{name}", hint="see containerd-shim-pyrunc-v2(8)")
    flags.action = rest[0] if rest else ""
    return flags


def start(flags: Flags) -> bytes:
    """`start`: start a server, or find the pod's. Returns what containerd reads. Raises PyruncError, OSError and
    MalformedError."""
    params, box = _parameters(flags, _read_all(0))
    group = _group(flags.id)
    folder = (params and params["socket_dir"]) or SOCKETS
    address = f"{folder}/{sha256('/'.join((flags.address, flags.namespace, group)).encode())}"
    listener = _listen(address)
    server = 0
    try:
        if listener is not None:
            given = options.read(box)
            if not pods.is_there("config.json"):
                options.save(".", given)  # a sandbox gets them only here
            server = _serve(flags, listener, given)
        _write(ADDRESS, "unix://" + address)
    except BaseException:
        # A failed `start` must end its server: containerd does not know of it, and never asks it to end.
        if server:
            posix.kill(server, _SIGKILL)
        if listener is not None:
            posix.unlink(address)
        raise
    finally:
        if listener is not None:
            listener.close()
    return _answer("unix://" + address, params is not None)


def _parameters(flags: Flags, data: bytes) -> tuple[Message | None, Message | None]:
    """containerd's BootstrapParams (None from an earlier containerd), and the Any with the options. Raises
    MalformedError."""
    if not data:
        return None, None
    try:
        params = messages.decode("BootstrapParams", data)
    except MalformedError:
        params = None
    # An Any of an earlier containerd may be readable as parameters, so they count only if they have the id and
    # namespace of the command line.
    if params is not None and (params["instance_id"], params["namespace"]) == (flags.id, flags.namespace):
        wanted = (FULL["Options"], FULL["NamedOptions"])
        boxes = [entry["value"] for entry in params["extensions"] if entry["value"] is not None]
        return params, next((box for box in boxes if messages.type_of(box) in wanted), None)
    return None, messages.decode("Any", data)


def _group(id: str) -> str:
    """The id of the group of containers that share a shim: the pod's id, or the container's own. Raises PyruncError."""
    try:
        config = jsonio.loads(fileio.read_file("config.json"))
    except FileNotFoundError:
        return id  # a sandbox, whose configuration does not exist yet (sandbox.py)
    except (OSError, ValueError) as error:
        raise PyruncError(f"config.json of the bundle: {error}") from error
    annotations = config.get("annotations") if type(config) is dict else None
    for name in GROUPS:
        if type(annotations) is dict and type(annotations.get(name)) is str:
            found: str = annotations[name]
            return found
    return id


def _listen(path: str) -> socket | None:
    """A listening socket; None if a server listens there already. Raises OSError."""
    folder = path.rpartition("/")[0]
    for at in range(1, len(folder) + 1):
        if at == len(folder) or folder[at] == "/":
            try:
                posix.mkdir(folder[:at], 0o700)
            except FileExistsError:
                continue
    listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC)
    # Two containers of a pod may start at the same time: one makes the socket, and the other one finds it served.
    # Without a lock, the second one could find the socket between bind and listen, and take it for that of a killed
    # shim.
    lock = _lock(folder)
    try:
        posix.fchmod(listener.fileno(), 0o600)  # the mode of the file that bind makes
        try:
            listener.bind(path)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            if is_served(path):
                listener.close()
                return None
            posix.unlink(path)  # of a shim that was killed
            listener.bind(path)
        listener.listen(_BACKLOG)
    finally:
        posix.close(lock)
    return listener


def _lock(folder: str) -> int:
    """Lock the directory of the sockets, until the descriptor is closed. Raises OSError."""
    fd = posix.open(folder, posix.O_RDONLY | posix.O_DIRECTORY | posix.O_CLOEXEC)
    native.flock(fd, True, True)
    return fd


_BACKLOG = 4096


def is_served(path: str) -> bool:
    """Whether a server listens at a path. Raises OSError."""
    asking = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC)
    try:
        asking.setblocking(False)
        asking.connect(path)
    except BlockingIOError:
        return True  # its queue is full
    except (ConnectionRefusedError, FileNotFoundError):
        return False
    finally:
        asking.close()
    return True


def _serve(flags: Flags, listener: socket, given: Message) -> int:
    """Start the server with the listener as its descriptor 3. Returns its pid. Raises OSError and PyruncError."""
    path, words = runtime.own_program(runtime.SHIM)
    words += ["-namespace", flags.namespace, "-id", flags.id, "-address", flags.address]
    if flags.publish_binary:
        words += ["-publish-binary", flags.publish_binary]
    if flags.debug:
        words.append("-debug")
    env = dict(posix.environ)
    pid = runtime.spawn(words, path=path, env=env, listener=listener.fileno())
    try:
        if given["shim_cgroup"]:
            _join_cgroup(pid, given["shim_cgroup"])
        _adjust_oom_score(pid)
    except (OSError, PyruncError):
        posix.kill(pid, _SIGKILL)
        raise
    return pid


def _join_cgroup(pid: int, cgroup: str) -> None:
    """Move the server into the cgroup of the options (ShimCgroup). Raises PyruncError."""
    path = f"{gather().cgroup_mount}/{cgroup.lstrip('/')}"
    try:
        fileio.write_file(path + "/cgroup.procs", str(pid))
    except OSError as error:
        raise PyruncError(f"failed to join cgroup {cgroup}", errno=error.errno or 0) from error


def _adjust_oom_score(pid: int) -> None:
    """containerd's own score + 1, so that the kernel kills the shim first. Raises OSError."""
    score = int(fileio.read_file(f"/proc/{posix.getppid()}/oom_score_adj")) + 1
    fileio.write_file(f"/proc/{pid}/oom_score_adj", str(min(score, _LARGEST_OOM_SCORE)))


def _answer(address: str, is_message: bool) -> bytes:
    result = {"version": _TASK_VERSION, "address": address, "protocol": "ttrpc"}
    if is_message:
        return messages.encode("BootstrapResult", result)
    highest = posix.environ.get(b"MAX_SHIM_VERSION", b"")
    if highest.isdigit():
        return jsonio.dumps({**result, "version": min(_TASK_VERSION, int(highest))}).encode()
    return address.encode()


def delete(flags: Flags) -> bytes:
    """`delete`: remove what is left of a container whose shim has ended, also after a clean end. Returns the
    DeleteResponse. Raises OSError."""
    bundle = f"{posix.getcwd().rpartition('/')[0]}/{check_id(flags.id)}"
    given = options.saved(bundle)
    root = f"{given['root'] or runtime.DEFAULT_ROOT}/{flags.namespace}"
    try:
        pid = runtime.read_pid(f"{bundle}/{starts.PID_FILE}")
    except (OSError, ValueError):
        pid = 0
    if pods.is_there(f"{bundle}/{options.FILE}"):
        _end_commands(bundle)
    if pods.is_there(f"{root}/{flags.id}"):
        path, words = runtime.own_program(runtime.RUNTIME)
        words += ["--root", root]
        if given["systemd_cgroup"]:
            words.append("--systemd-cgroup")
        # Its messages go to the standard error of this process, which containerd logs.
        child = runtime.spawn([*words, "delete", "--force", flags.id], (-1, -1, 2), path=path)
        posix.waitpid(child, 0)
    mounts.unmount(bundle + "/rootfs")
    pods.remove(pods.directory(flags.namespace, flags.id))
    _remove_socket(bundle)
    noted = containers.noted_exit(bundle)
    status, at = noted if noted is not None else (_KILLED, messages.now())
    exited = messages.timestamp(at)
    return messages.encode("DeleteResponse", {"pid": pid, "exit_status": status, "exited_at": exited})


def _end_commands(bundle: str) -> None:
    """End the commands of the runtime that a killed shim has left and that make the container, with their hooks: they
    would go on after the container is deleted. Other commands may go on, such as a `delete` that runs hooks. Raises
    OSError."""
    from ..libcontainer import holder

    for name in posix.listdir("/proc"):
        if name.isdigit() and _is_command(name, bundle):
            try:
                pidfd = posix.pidfd_open(int(name))
            except ProcessLookupError:
                continue
            try:
                if _is_command(name, bundle):  # checked again: now the descriptor is surely the command's
                    holder.kill_tree(int(name))
                    _signal.pidfd_send_signal(pidfd, _SIGKILL)
                    native.poll([pidfd], int(_COMMAND_SECONDS * 1000))
            except ProcessLookupError:
                pass
            finally:
                posix.close(pidfd)


def _is_command(pid: str, bundle: str) -> bool:
    """Whether a process is a `create` or `restore` that a shim has started for a bundle: its log is there
    (runtime.Runtime.run)."""
    try:
        words = fileio.read_file(f"/proc/{pid}/cmdline").split("\0")
        at = words.index("--log") + 1
        command = next((word for word in words[at + 3 :] if word != "--systemd-cgroup"), "")
        place = words[at].rpartition("/log-")[0]
        return command in _MAKING and _identity(place) == _identity(bundle)
    except (OSError, ValueError, IndexError):
        return False  # it has ended, or is another program


def _remove_socket(bundle: str) -> None:
    """Remove the socket of a killed shim, unless a pod's shim still listens on it. Raises OSError."""
    try:
        path = fileio.read_file(f"{bundle}/{ADDRESS}").removeprefix("unix://")
        lock = _lock(path.rpartition("/")[0])
        try:
            if not is_served(path):
                _remove_brokers(path)
                posix.unlink(path)
        finally:
            posix.close(lock)
    except FileNotFoundError:
        return


def _remove_brokers(path: str) -> None:
    """Remove the sockets of brokers that were killed with their shim (brokers.py). Raises OSError."""
    folder, _, name = path.rpartition("/")
    for found in posix.listdir(folder):
        if found.startswith(name + "."):
            try:
                posix.unlink(f"{folder}/{found}")
            except FileNotFoundError:
                continue


def info() -> bytes:
    """`-info`: the RuntimeInfo, with the runtime's features. Raises OSError and MalformedError."""
    data = _read_all(0)
    box = messages.decode("Any", data) if data else None
    path, words = runtime.own_program(runtime.RUNTIME)
    reader, writer = posix.pipe2(posix.O_CLOEXEC)
    child = runtime.spawn([*words, "features"], (-1, writer, 2), path=path)
    posix.close(writer)
    features = _read_all(reader)
    posix.close(reader)
    posix.waitpid(child, 0)
    return messages.encode(
        "RuntimeInfo",
        {
            "name": NAME,
            "version": {"version": VERSION, "revision": COMMIT},
            "options": box,
            "features": {"type_url": _FEATURES, "value": features} if features else None,
        },
    )


def _identity(path: str) -> tuple[int, int]:
    """The device and inode of a directory, which identify it under any name. Raises OSError."""
    found = posix.stat(path)
    return found.st_dev, found.st_ino


def _read_all(fd: int) -> bytes:
    """Read to the end. Raises OSError, EFBIG above 10 MiB."""
    parts: list[bytes] = []
    size = 0
    while chunk := posix.read(fd, 1 << 16):
        parts.append(chunk)
        size += len(chunk)
        if size > _LARGEST_INPUT:
            raise OSError(errno.EFBIG, posix.strerror(errno.EFBIG))
    return b"".join(parts)


def _write(path: str, text: str) -> None:
    fd = posix.open(path, posix.O_WRONLY | posix.O_CREAT | posix.O_TRUNC | posix.O_CLOEXEC, 0o644)
    try:
        fileio.write_whole(fd, text, path)
    finally:
        posix.close(fd)
