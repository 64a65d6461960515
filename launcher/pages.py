"""Find the parts of the snapshot that commands use: `pages.py order|table PROGRAM … OUTPUT`.

A process that wakes from the snapshot writes to every object that it uses, since CPython keeps an object's reference
count in the object, and the kernel copies each page that is written to. This script runs PROGRAM until it sleeps, with
commands that need no privileges and have no effect: one for each of SETS. For the order it also carries out the lives
of containers whose program ends at once, in a temporary directory: as root in a cgroup, for other users without one.

`order PROGRAM OUTPUT`: PROGRAM is the launcher that watches its heap (launcher/heap.c). It reports which blocks of
memory it reads and writes. OUTPUT gets their order in the snapshot: blocks that the same commands write to are
together, and so are those that the same commands read.

`table PROGRAM ORDER OUTPUT`: PROGRAM is a launcher with its snapshot, made in this ORDER, and without this table.
/proc/PID/pagemap has the pages that the process has copied (proc(5)). OUTPUT gets for each of SETS a bit for each page,
also for those of the blocks that its commands write to later. The launcher writes to these pages before it reads them
(launcher/snapshot.c): if a page is read first, one fault maps the page and its neighbours from the file, and the first
write causes another fault, which copies the page.

If the script can't determine a set (a kernel without pagemap, a machine without cgroup2), it uses the first set or an
empty one, and prints the reason on stderr: such a launcher works, but is slower.

Run this script with the interpreter that is linked.
"""

from __future__ import annotations

import fcntl
import itertools
import json
import os
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import types
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pyrunc._generated.spec_types import Spec

ROOT = Path(__file__).resolve().parent.parent

# The sets of pages, in the order of launcher/snapshot.c: the pages that all commands write to, those of commands about
# an existing container, those of `create` and `run`, those of `update`, and those of `exec`.
SETS = ("others", "container", "launch", "update", "exec")
# The server of containerd's shim has no table of pages, as it lives long and a fault more at its start does not count.
# But its blocks are neighbours too, so that a pod's shim copies few pages.
SHIM = len(SETS)
# A start with a configuration as engines write it. The additional blocks that it writes to are together, but are not
# copied in advance: which start it is depends on the configuration.
ENGINE = SHIM + 1
# The blocks that are changed when the shim gives memory back (launcher/snapshot.c, snapshot_rest): their pages stay
# private, so they are together too.
CHANGED = ENGINE + 1
# From the lowest to the highest bit of an area's number, by which the areas are ordered: the blocks that stay changed
# are one piece, and those of `run` are two.
_BITS = (ENGINE, SHIM, *(SETS.index(name) for name in ("update", "others", "container", "exec", "launch")), CHANGED)
SHIM_NAME = "containerd-shim-pyrunc-v2"
# The descriptor of the shim's socket (pyrunc/shim/runtime.py).
LISTENER = 3
# The bytes of one set: SET_BYTES of snapshot.c.
SET_BYTES = 1024
PAGE = 4096
# The variables around the section (launcher/snapshot.ld).
BEGIN, END = "snapshot_begin", "snapshot_end"
SECONDS = 60.0
ENVIRONMENT = {"TZ": "UTC0"}
# How many consecutive looks must find the same pages.
LOOKS = 30

# As in launcher/heap.c: the descriptor to which a program that is watched writes; the largest block that has a place in
# the order; the number of areas; the unit of sizes. A message has a block's number, its units, and how it is used.
WATCH, LARGE, AREAS, UNIT = 9, 16384, 512, 16
_USE = struct.Struct("=IHH")
READ, WRITTEN, KEPT, END_OF_CHANGES = 0, 1, 2, 0xFFFF

# The bits of a pagemap entry: in memory, in swap, of a file.
_PRESENT, _SWAPPED, _OF_FILE = 1 << 63, 1 << 62, 1 << 61

ID = "x"
_NOBODY = "pyrunc: can't start the ordinary build"
# No process has this number (/proc/sys/kernel/pid_max is at most 2^22).
_NO_PID = (1 << 31) - 1


def bit(index: int) -> int:
    """The bit of a set, SHIM or ENGINE in an area's number."""
    return 1 << _BITS.index(index)


class PagesError(Exception):
    """The pages of a set could not be found out; the text says why."""


def section(program: Path, begin: str = BEGIN) -> range:
    """The addresses of the snapshot, from a variable on. Raises CalledProcessError and KeyError."""
    lines = subprocess.run(["nm", str(program)], capture_output=True, text=True, check=True).stdout.splitlines()
    symbols = {words[2]: int(words[0], 16) for words in map(str.split, lines) if len(words) == 3}
    return range(symbols[begin], symbols[END])


class Subject:
    """A program that is inspected while it carries out commands."""

    def __init__(self, program: Path) -> None:
        self.program = program.resolve()

    def found(self, pid: int) -> Any:
        """The numbers that the process `pid` has used by now. Raises PagesError, OSError."""
        raise NotImplementedError

    def used(self, words: list[str], output: int) -> Any:
        """What a command has used by the time it sleeps. Raises PagesError, OSError."""
        with subprocess.Popen(
            [self.program, *words], env=ENVIRONMENT, cwd="/", stdin=subprocess.DEVNULL, stdout=output,
            stderr=subprocess.PIPE, pass_fds=self.descriptors(),
        ) as process:  # fmt: skip
            try:
                wait(process)
                found = self.found(process.pid)
                unchanged = 0
                while unchanged < LOOKS:  # a command that waits for a lock tries it again and again
                    time.sleep(0.001)
                    if unchanged == LOOKS - 1:
                        wait(process)  # on a busy machine it may have waited for a processor during the earlier looks
                    before, found = found, self.found(process.pid)
                    unchanged = unchanged + 1 if found == before else 0
                wait(process)  # the pagemap of a process that has ended is empty
                return found
            finally:
                process.kill()

    def finished(self, *words: str, said: str = "") -> Any:
        """What a command has used at its end. said: the beginning of its error message; "" for none. Raises PagesError,
        OSError."""
        # Not a pipe: a container that waits for its start keeps it open.
        with tempfile.TemporaryFile() as errors:
            try:
                done = subprocess.run(
                    [self.program, *words], env=ENVIRONMENT, cwd="/", stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL, stderr=errors, pass_fds=self.descriptors(), timeout=SECONDS, check=False,
                )  # fmt: skip
            except subprocess.TimeoutExpired as error:
                raise PagesError(str(error)) from None
            errors.seek(0)
            text = errors.read().decode(errors="replace").strip()
        if not text.startswith(said) or bool(text) != bool(said) or done.returncode < 0:
            raise PagesError(f"{' '.join(words)}: {done.returncode} {text}")
        return self.found(0)

    def descriptors(self) -> tuple[int, ...]:
        """The descriptors that the process gets."""
        return ()


class Pages(Subject):
    """A launcher with its snapshot: the numbers of the pages that it has copied."""

    def __init__(self, program: Path) -> None:
        super().__init__(program)
        self.addresses = section(program)

    def found(self, pid: int) -> set[int]:
        """As in Subject."""
        return copied(pid, self.addresses)


class Blocks(Subject):
    """A launcher that watches its heap: its reports on the blocks that it has used, in the order of their first use.

    number: units, and READ, WRITTEN or KEPT: written to and not as it was.
    """

    def __init__(self, program: Path, report: int) -> None:
        super().__init__(program)
        self.report = report

    def used(self, words: list[str], output: int) -> Any:
        """As in Subject."""
        os.ftruncate(self.report, 0)
        return super().used(words, output)

    def finished(self, *words: str, said: str = "") -> Any:
        """As in Subject."""
        os.ftruncate(self.report, 0)
        return super().finished(*words, said=said)

    def found(self, pid: int) -> dict[int, tuple[int, int]]:
        """As in Subject."""
        blocks: dict[int, tuple[int, int]] = {}
        for number, units, kind in self.messages():
            if kind != END_OF_CHANGES:
                blocks[number] = (units, max(kind, blocks.get(number, (0, READ))[1]))
        return blocks

    def messages(self) -> list[tuple[int, int, int]]:
        """All reports of the program by now."""
        data = os.pread(self.report, os.fstat(self.report).st_size, 0)
        return list(_USE.iter_unpack(data[: len(data) // _USE.size * _USE.size]))

    def changes(self) -> None:
        """Wait until the program has reported which blocks it has changed. Raises PagesError."""
        deadline = time.monotonic() + SECONDS
        while all(kind != END_OF_CHANGES for _, _, kind in self.messages()):
            if time.monotonic() > deadline:
                raise PagesError("the shim does not give memory back")
            time.sleep(0.05)

    def descriptors(self) -> tuple[int, ...]:
        """As in Subject."""
        return (self.report,)


def wait(process: subprocess.Popen[bytes]) -> None:
    """Wait until a process sleeps. Raises PagesError if it ends, or works for too long."""
    deadline = time.monotonic() + SECONDS
    while True:
        letter = Path(f"/proc/{process.pid}/stat").read_text().rpartition(") ")[2][0]
        if letter == "S":
            return
        if letter == "Z":
            said = process.stderr.read().decode(errors="replace").strip() if process.stderr else ""
            raise PagesError(f"{' '.join(map(str, process.args))}: {said}")  # type: ignore[arg-type]
        if time.monotonic() > deadline:
            raise PagesError(f"process {process.pid} works for more than {SECONDS:.0f} s")
        time.sleep(0.001)


def copied(pid: int, addresses: range) -> set[int]:
    """The process's own pages between two addresses. Raises PagesError without a pagemap."""
    try:
        with open(f"/proc/{pid}/pagemap", "rb", buffering=0) as file:
            data = os.pread(file.fileno(), len(addresses) // PAGE * 8, addresses.start // PAGE * 8)
    except FileNotFoundError:
        raise PagesError("the kernel has no /proc/PID/pagemap") from None
    entries = [int.from_bytes(data[at : at + 8], sys.byteorder) for at in range(0, len(data), 8)]
    return {n for n, entry in enumerate(entries) if entry & (_PRESENT | _SWAPPED) and not entry & _OF_FILE}


def full_pipe() -> tuple[int, int]:
    """The two ends of a full pipe: a process that writes to it sleeps. Raises OSError."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    try:
        while os.write(writer, bytes(PAGE)):
            continue
    except BlockingIOError:
        os.set_blocking(writer, True)
    return reader, writer


def configuration() -> Spec:
    """The configuration that `pyrunc spec` writes; for a user other than root, that of `spec --rootless`."""
    sys.path.insert(0, str(ROOT))
    from pyrunc.libcontainer.spec import example

    spec = example.example() if os.geteuid() == 0 else example.rootless_example()
    spec["process"]["terminal"] = False
    spec["linux"].pop("resources", None)
    return spec


def write_container(path: Path, pid: int = _NO_PID, start_time: int = 1, cgroup: str = "") -> None:
    """Make a container's state directory; without arguments, that of a stopped container. Raises OSError."""
    record: dict[str, Any] = {
        "ociVersion": "1.0.2", "id": ID, "bundle": "/", "rootfs": "/rootfs", "created": "2000-01-01T00:00:00Z",
        "pid": pid, "startTime": start_time, "owner": os.geteuid(), "cgroup": cgroup, "annotations": {}, "hooks": {},
        "startSteps": [],
    }  # fmt: skip
    path.mkdir(parents=True)
    path.chmod(0o711)
    (path / "state.json").write_text(json.dumps(record))
    spec = configuration()
    (path / "exec.json").write_text(json.dumps({name: spec[name] for name in ("process", "root", "mounts", "linux")}))


def before_output(subject: Subject, words: list[str]) -> Any:
    """What a command uses before it prints. Raises PagesError, OSError."""
    reader, writer = full_pipe()
    try:
        return subject.used(words, writer)
    finally:
        os.close(reader)
        os.close(writer)


def others(subject: Subject, work: Path) -> Any:
    """What `list` uses before it prints nothing. Raises PagesError, OSError."""
    (work / "empty").mkdir()
    return before_output(subject, ["--root", str(work / "empty"), "list"])


def container(subject: Subject, work: Path) -> Any:
    """What `state` of a stopped container uses before it prints. Raises PagesError, OSError."""
    write_container(work / "stopped" / ID)
    return before_output(subject, ["--root", str(work / "stopped"), "state", ID])


def launch(subject: Subject, work: Path) -> Any:
    """What `run` uses before it waits for another command that has locked its state directory. By then
    `run` has compiled the plan and has made nothing. Raises PagesError, OSError."""
    (work / "bundle/rootfs").mkdir(parents=True)
    (work / "bundle/config.json").write_text(json.dumps(configuration()))
    taken = work / "busy" / ID
    taken.mkdir(parents=True)
    lock = os.open(taken, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        words = ["--root", str(work / "busy"), "run", "--bundle", str(work / "bundle"), ID]
        return subject.used(words, subprocess.DEVNULL)
    finally:
        os.close(lock)


def update(subject: Subject, work: Path) -> Any:
    """What `update` uses before it reads the old value of a limit, from a FIFO. By then `update` has
    compiled the limits. This process stands for the container's process. Raises PagesError, OSError."""
    cgroup = work / "cgroup"
    cgroup.mkdir()
    (cgroup / "cgroup.events").write_text("populated 1\nfrozen 0\n")
    (cgroup / "cgroup.controllers").write_text("")
    os.mkfifo(cgroup / "cgroup.max.depth")
    start_time = int(Path("/proc/self/stat").read_text().rpartition(") ")[2].split()[19])
    write_container(work / "running" / ID, os.getpid(), start_time, str(cgroup))
    (work / "changes").write_text(json.dumps({"unified": {"cgroup.max.depth": "100"}}))
    words = ["--root", str(work / "running"), "update", "--resources", str(work / "changes"), ID]
    return subject.used(words, subprocess.DEVNULL)


def bitmap(pages: set[int]) -> bytes:
    """SET_BYTES bytes with a bit for each page. Pages beyond them are left out."""
    bits = bytearray(SET_BYTES)
    for page in pages:
        if page < SET_BYTES * 8:
            bits[page // 8] |= 1 << page % 8
    return bytes(bits)


def sets(subject: Subject) -> list[Any]:
    """What the commands of SETS but `exec` use; the first set's or nothing for one that can't be found out. Raises
    OSError."""
    found: list[Any] = []
    with tempfile.TemporaryDirectory() as name:
        for find in (others, container, launch, update):
            try:
                found.append(find(subject, Path(name)))
            except PagesError as error:
                print(f"pyrunc: nothing is known of {find.__name__}: {error}", file=sys.stderr)
                found.append(found[0] if found else {})
    return found


def as_engines(spec: Spec, volume: Path) -> None:
    """Add to a configuration what engines have in theirs, except for a profile. volume: the source of its volumes."""
    for number, options in enumerate((["rbind", "rprivate", "rw"], ["rbind", "rprivate", "ro"], ["bind", "nosuid"])):
        spec["mounts"].append(
            {"destination": f"/volumes/{number}", "type": "bind", "source": str(volume), "options": options}
        )
    capabilities = ["CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_MKNOD", "CAP_NET_RAW", "CAP_SETUID"]
    spec["process"]["capabilities"] = {
        "bounding": capabilities, "effective": capabilities, "permitted": capabilities,
    }  # fmt: skip
    spec["process"]["oomScoreAdj"] = 0
    spec["process"]["noNewPrivileges"] = False
    spec["linux"]["cgroupsPath"] = f"/pyrunc-build-{os.getpid()}/{ID}"


def add_profile(spec: Spec) -> None:
    """Add a seccomp profile to a configuration."""
    spec["linux"]["seccomp"] = {
        "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 1,
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
        "syscalls": [
            {"names": ["read", "write", "openat"], "action": "SCMP_ACT_ALLOW"},
            {"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38},
            {
                "names": ["clone"], "action": "SCMP_ACT_ALLOW",
                "args": [{"index": 0, "value": 0x7E020000, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ"}],
            },
        ],
    }  # fmt: skip


def cache_filter(root: Path, spec: Spec) -> None:
    """Put a filter that allows all into the cache of a state root, for the profile of a configuration: so a start takes
    it from there, as nearly every start does. Raises OSError."""
    # This interpreter lacks cffi. Of the C core the cache needs only the checksum.
    core = types.ModuleType("pyrunc._core")
    core.ffi = core.lib = None  # type: ignore[attr-defined]
    sys.modules.setdefault(core.__name__, core)
    from pyrunc.libcontainer.kernel import native
    from pyrunc.libcontainer.seccomp import cache

    native.checksum = checksum
    major, minor = os.uname().release.split(".")[:2]
    allow = struct.pack("=HBBI", 0x06, 0, 0, 0x7FFF0000)  # BPF_RET | BPF_K, SECCOMP_RET_ALLOW
    cache.store(str(root), spec["linux"]["seccomp"], (int(major), int(minor)), allow, sys.executable)


def checksum(data: bytes) -> int:
    """pyrunc_checksum of csrc/native/files.c."""
    words = [int.from_bytes(data[at : at + 8], sys.byteorder) for at in range(0, len(data), 8)]
    value = 0xCBF29CE484222325
    for word in (*words, len(data)):
        value = (value ^ word) * 0x100000001B3 & (1 << 64) - 1
        value ^= value >> 32
    return value >> 1


def make_bundle(bundle: Path) -> Path:
    """Make the root file system of `life_configuration`. Raises OSError."""
    (bundle / "rootfs").mkdir(parents=True)
    for name in ("proc", "dev", "sys"):
        (bundle / "rootfs" / name).mkdir()
    # It ends at once, because it gets no plan.
    shutil.copy(ROOT / "csrc/init/build/init", bundle / "rootfs/program")
    return bundle


def life_configuration() -> Spec:
    """That of `configuration` with the program of `make_bundle`."""
    spec = configuration()
    spec["process"]["args"] = ["/program"]
    return spec


def in_user_namespace(spec: Spec) -> dict[str, Any]:
    """A configuration with a user namespace besides, whose ids are the host's, and a tmpfs."""
    linux = dict(spec["linux"])
    linux["namespaces"] = [*spec["linux"]["namespaces"], {"type": "user"}]
    linux["uidMappings"] = linux["gidMappings"] = [{"containerID": 0, "hostID": 0, "size": 65536}]
    options = ["nosuid", "nodev", "mode=755", "size=1024k"]
    volume = {"destination": "/volumes/3", "type": "tmpfs", "source": "tmpfs", "options": options}
    return {**spec, "linux": linux, "mounts": [*spec["mounts"], volume]}


# Those that containerd's CRI plugin gives a container.
_ANNOTATIONS = (
    "container-type", "sandbox-id", "container-name", "image-name", "sandbox-name", "sandbox-namespace", "sandbox-uid",
)  # fmt: skip


def in_pod(spec: Spec) -> dict[str, Any]:
    """A configuration that joins namespaces, which are those of this process."""
    types = {"network": "net", "ipc": "ipc", "uts": "uts"}
    own = [{"type": name, "path": f"/proc/{os.getpid()}/ns/{file}"} for name, file in types.items()]
    others = [entry for entry in spec["linux"]["namespaces"] if entry["type"] not in types]
    masked = [*spec["linux"].get("maskedPaths", []), "/sys/devices/virtual/powercap"]
    changed = {key: value for key, value in spec.items() if key != "hostname"}
    changed["annotations"] = {f"io.kubernetes.cri.{name}": ID for name in _ANNOTATIONS}
    return {**changed, "linux": {**spec["linux"], "namespaces": [*others, *own], "maskedPaths": masked}}


def with_devices(spec: Spec) -> dict[str, Any]:
    """A configuration with rules for devices, and more for its process."""
    rules = [
        {"allow": False, "access": "rwm"},
        {"allow": True, "type": "c", "major": 1, "minor": 5, "access": "rwm"},
        {"allow": True, "type": "c", "major": 136, "access": "rwm"},
    ]
    limits = [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}]
    user = {"uid": 0, "gid": 0, "additionalGids": [0, 10]}
    process = {**spec["process"], "user": user, "rlimits": limits}
    return {**spec, "process": process, "linux": {**spec["linux"], "resources": {"devices": rules}}}


def variant(subject: Subject, words: list[str], name: str) -> list[tuple[int, Any]]:
    """What a `run` with the configuration NAME.json uses; nothing where it is refused. Raises OSError."""
    try:
        return [(ENGINE, subject.finished(*words, "--config", f"{name}.json"))]
    except PagesError as error:
        print(f"pyrunc: nothing is known of the configuration {name}: {error}", file=sys.stderr)
        return []


def variant_exec(subject: Subject, before: list[str], bundle: Path, id: str, name: str) -> list[tuple[int, Any]]:
    """What an `exec` uses in a container with the configuration NAME.json; nothing where it is refused. Raises
    OSError."""
    try:
        subject.finished(*before, "create", "--bundle", str(bundle), "--config", f"{name}.json", id)
        return [(SETS.index("exec"), subject.finished(*before, "exec", id, "/program"))]
    except PagesError as error:
        print(f"pyrunc: nothing is known of exec with the configuration {name}: {error}", file=sys.stderr)
        return []
    finally:
        remove(subject, [*before, "delete", "--force", id])


def remove(subject: Subject, words: list[str]) -> None:
    """Carry out a command, whatever it says."""
    subprocess.run(
        [subject.program, *words], check=False, capture_output=True, stdin=subprocess.DEVNULL,
        pass_fds=subject.descriptors(),
    )  # fmt: skip


def life(subject: Subject, work: Path) -> list[tuple[int, Any]]:
    """What the commands of a container's life use, each with the index of its set. Raises PagesError, OSError."""
    launches, others = SETS.index("launch"), SETS.index("container")
    bundle = make_bundle(work / "life")
    spec = life_configuration()
    spec["mounts"].append({"destination": "/volume", "type": "bind", "source": str(bundle), "options": ["rbind", "ro"]})
    (bundle / "config.json").write_text(json.dumps(spec))
    as_engines(spec, bundle)
    (bundle / "engine.json").write_text(json.dumps(spec))
    variants = {"user": in_user_namespace(spec), "pod": in_pod(spec), "devices": with_devices(spec)}
    for name, changed in variants.items():
        (bundle / f"{name}.json").write_text(json.dumps(changed))
    add_profile(spec)
    (bundle / "filtered.json").write_text(json.dumps(spec))
    spec["linux"]["seccomp"]["defaultErrnoRet"] = 38  # another one, which is in the cache
    (bundle / "cached.json").write_text(json.dumps(spec))
    cache_filter(work / "lives", spec)
    manager = [] if os.geteuid() == 0 else ["--cgroup-manager", "disabled"]
    before, id = [*manager, "--root", str(work / "lives")], f"pyrunc-build-{os.getpid()}"
    try:
        return [
            (launches, subject.finished(*before, "run", "--bundle", str(bundle), id)),
            (ENGINE, subject.finished(*before, "run", "--config", "engine.json", "--bundle", str(bundle), id)),
            # Its filter is not in the cache, so the launcher would hand the command over to the ordinary build, which
            # this program lacks.
            (
                ENGINE,
                subject.finished(
                    *before, "run", "--config", "filtered.json", "--bundle", str(bundle), id, said=_NOBODY
                ),
            ),
            *itertools.chain(
                *[
                    variant(subject, [*before, "run", "--bundle", str(bundle), id], name)
                    for name in (*variants, "cached")
                ]
            ),
            (launches, subject.finished(*before, "create", "--bundle", str(bundle), id)),
            (others, subject.finished(*before, "state", id)),
            (SETS.index("exec"), subject.finished(*before, "exec", id, "/program")),
            (others, subject.finished(*before, "start", id)),
            (others, subject.finished(*before, "delete", "--force", id)),
            (launches, subject.finished(*before, "create", "--bundle", str(bundle), id)),
            (others, subject.finished(*before, "kill", id, "KILL")),
            (others, subject.finished(*before, "delete", "--force", id)),
            *itertools.chain(*[variant_exec(subject, before, bundle, id, name) for name in ("user", "cached")]),
        ]
    except PagesError:
        remove(subject, [*before, "delete", "--force", id])
        raise


def request(service: str, method: str, message: str, stream: int, **fields: Any) -> bytes:
    """A request to the shim, as bytes (pyrunc/shim/ttrpc.py)."""
    sys.path.insert(0, str(ROOT))
    from pyrunc.shim import messages

    payload = messages.encode(message, fields)
    data = messages.encode("Request", {"service": service, "method": method, "payload": payload})
    return struct.pack(">IIBB", len(data), stream, 1, 0) + data


def shim(subject: Blocks, work: Path) -> Any:
    """What the server of containerd's shim uses in the life of a container whose program ends at once, and what it has
    changed when it gives memory back. Where no container can be made, Create fails. Raises PagesError, OSError."""
    bundle = make_bundle(work / "shim")
    (bundle / "config.json").write_text(json.dumps(life_configuration()))
    listener, events = (socket.socket(socket.AF_UNIX) for _ in range(2))
    for name, made in (("shim.sock", listener), ("events.sock", events)):
        made.bind(str(work / name))
        made.listen()
    threading.Thread(target=take_events, args=[events], daemon=True).start()
    os.ftruncate(subject.report, 0)

    def give_listener() -> None:
        os.dup2(listener.fileno(), LISTENER)

    id, root = f"pyrunc-build-shim-{os.getpid()}", work / "shim-root"
    with subprocess.Popen(
        [SHIM_NAME, "-namespace", "build", "-id", id, "-address", "/nowhere"], executable=subject.program, cwd=bundle,
        env={**ENVIRONMENT, "TTRPC_ADDRESS": str(work / "events.sock")}, stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, pass_fds=(LISTENER, *subject.descriptors()),
        preexec_fn=give_listener,  # noqa: PLW1509
    ) as process:  # fmt: skip
        listener.close()
        try:
            with socket.socket(socket.AF_UNIX) as client:
                client.settimeout(SECONDS)
                client.connect(str(work / "shim.sock"))
                call_shim(client, process, id, bundle, root)
            subject.changes()
            return subject.found(process.pid)
        except (OSError, EOFError) as error:
            raise PagesError(f"the shim: {error}") from error
        finally:
            process.kill()
            subprocess.run(
                [subject.program, "--root", str(root / "build"), "delete", "--force", id], check=False,
                stdin=subprocess.DEVNULL, capture_output=True, env=ENVIRONMENT,
            )  # fmt: skip


def call_shim(client: socket.socket, process: subprocess.Popen[bytes], id: str, bundle: Path, root: Path) -> None:
    """Carry out the calls of a life, but for the end. A call that fails is answered too. Raises EOFError, OSError."""
    sys.path.insert(0, str(ROOT))
    from pyrunc.shim import messages

    options = {"type_url": "containerd.runc.v1.Options", "value": messages.encode("Options", {"root": str(root)})}
    calls: list[tuple[str, dict[str, Any]]] = [
        ("CreateTask", {"bundle": str(bundle), "options": options}), ("State", {}), ("Connect", {}), ("Start", {}),
        ("Wait", {}), ("State", {}),
    ]  # fmt: skip
    for number, (name, fields) in enumerate(calls):
        method = name.removesuffix("Task")
        data = request("containerd.task.v3.Task", method, name + "Request", 2 * number + 1, id=id, **fields)
        client.sendall(data)
        answer(client, process)


def take_events(listener: socket.socket) -> None:
    """containerd's event service: answer each event of one client, until it goes."""
    peer = listener.accept()[0].makefile("rwb", buffering=0)
    while len(head := peer.read(10)) == 10:
        length, stream, _, _ = struct.unpack(">IIBB", head)
        peer.read(length)
        peer.write(struct.pack(">IIBB", 0, stream, 2, 0))


def answer(client: socket.socket, process: subprocess.Popen[bytes]) -> None:
    """Read one answer. Raises EOFError if the shim has ended, OSError."""
    data = b""
    while len(data) < 10 or len(data) < 10 + int.from_bytes(data[:4], "big"):
        more = client.recv(65536)
        if not more:
            said = process.stderr.read().decode(errors="replace").strip() if process.stderr else ""
            raise EOFError(f"it has ended: {said}")
        data += more


def order(program: Path) -> bytes:
    """The order of the blocks: the bytes of each area; then, by their number, the blocks that have a place, each with
    its units and its area. Raises OSError."""
    with tempfile.TemporaryFile() as file, tempfile.TemporaryDirectory() as name:
        os.set_inheritable(os.dup2(file.fileno(), WATCH), True)
        fcntl.fcntl(WATCH, fcntl.F_SETFL, os.O_APPEND)
        subject = Blocks(program, WATCH)
        found = list(enumerate(sets(subject)))
        try:
            found += life(subject, Path(name))
        except PagesError as error:
            print(f"pyrunc: nothing is known of a container's life: {error}", file=sys.stderr)
        try:
            found.append((SHIM, shim(subject, Path(name))))
        except PagesError as error:
            print(f"pyrunc: nothing is known of the shim's server: {error}", file=sys.stderr)
    return arrange(found)


def arrange(found: list[tuple[int, dict[int, tuple[int, int]]]]) -> bytes:
    """The order of the blocks in these findings, each with the index of its set. Pure."""
    units: dict[int, int] = {}
    readers: dict[int, int] = {}
    writers: dict[int, int] = {}
    for index, blocks in found:
        for number, (size, kind) in blocks.items():
            units[number] = size
            users = readers if kind == READ else writers
            users[number] = users.get(number, 0) | bit(index) | (bit(CHANGED) if kind == KEPT else 0)
    for number, bits in writers.items():
        if bits & bit(SETS.index("launch")):
            writers[number] = bits & ~bit(ENGINE)
        elif bits == bit(ENGINE) and readers.get(number, bits) != bits:
            # The others that read it find such blocks beside each other. No reader has the bit CHANGED.
            writers[number] = AREAS // 2 + bit(CHANGED) + readers[number]
    sizes = [0] * AREAS
    places = bytearray()
    for number, size in sorted(units.items()):
        # All pages of an area of writers are copied, but of a large block few are written to.
        if size * UNIT <= (PAGE if number in writers else LARGE):
            # An area for each set of writers, and behind those an area for each set of readers of what no command
            # writes to, and of what only engines' starts write to.
            area = writers[number] if number in writers else AREAS // 2 + readers[number]
            sizes[area] += size * UNIT
            places += _USE.pack(number, size, area)
    return struct.pack(f"={AREAS}I", *sizes) + places


def table(program: Path, order: bytes) -> bytes:
    """The bitmaps of SETS. order: that in which the snapshot was made. Raises CalledProcessError, KeyError, OSError."""
    sizes = struct.unpack_from(f"={AREAS}I", order) if order else (0,) * AREAS
    at = section(program, "heap").start - section(program).start
    first = at // PAGE
    areas: list[set[int]] = [set() for _ in SETS]
    for users, size in enumerate(sizes[: AREAS // 2]):
        for index, pages in enumerate(areas):
            if users & bit(index) and size:
                pages |= set(range(at // PAGE, (at + size - 1) // PAGE + 1))
        at += size
    found = sets(Pages(program))
    # `exec` needs a container. It writes to the variables to which other starts write, and to what `state` writes to.
    launch = found[SETS.index("launch")]
    variables = {page for page in launch if page < first} | set(found[SETS.index("container")])
    found.append(variables if areas[SETS.index("exec")] else launch)
    return b"".join(bitmap(set(pages) | more) for pages, more in zip(found, areas, strict=True))


def main() -> None:
    """Read the command line, write what it asks for."""
    what, program, *given, output = sys.argv[1], *map(Path, sys.argv[2:])
    output.write_bytes(table(program, given[0].read_bytes()) if what == "table" else order(program))


if __name__ == "__main__":
    main()
