"""Files under --root: which are trusted, who acts on them, and that reading commands change nothing."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import host
from tests.support.bundle import Bundle
from tests.support.runtime import Container, Result, Runtime

pytestmark = pytest.mark.own("the state directory is pyrunc's")

OTHER = 1000
# Calls that change a file system, or other things of the host.
WRITING = (
    "creat,mkdir,mkdirat,rmdir,unlink,unlinkat,rename,renameat,renameat2,link,linkat,symlink,symlinkat,truncate,"
    "ftruncate,chmod,fchmod,fchmodat,chown,fchown,lchown,fchownat,mknod,mknodat,utimensat,setxattr,fsetxattr,"
    "removexattr,mount,umount2,bind,kill,tgkill,pidfd_send_signal,open,openat,openat2"
)
WRITES_A_FILE = re.compile(r"O_(WRONLY|RDWR|CREAT|TRUNC)")


def snapshot(root: Path) -> list[tuple[str, int, int, bytes]]:
    """Everything under a directory: paths, modes, times of change, contents."""
    found = []
    for path in sorted(root.rglob("*")):
        status = path.lstat()
        data = path.read_bytes() if path.is_file() and not path.is_symlink() else b""
        found.append((str(path), status.st_mode, status.st_ctime_ns, data))
    return found


@pytest.fixture
def victim_process() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(["sleep", "1000"])
    yield process
    process.kill()
    process.wait()


def start_time(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])


class Trap:
    """A state root of another user, whose ledgers name a file, a process and a cgroup of root's."""

    def __init__(self, runtime: Runtime, process: subprocess.Popen[bytes], owner: int) -> None:
        self.process = process
        self.file = runtime.work / "victim"
        self.file.write_text("4711")
        self.cgroup = Path(host.cgroup2_mount(), runtime.token)
        self.cgroup.mkdir()
        runtime.root.mkdir(mode=0o755)
        effects = [
            {"effect": "pid_file", "path": str(self.file), "content": "4711"},
            {"effect": "pid_file", "path": str(self.file)},
            {"effect": "process", "pid": process.pid, "startTime": start_time(process.pid)},
            {"effect": "cgroup", "path": str(self.cgroup)},
        ]
        record = {
            "ociVersion": "1.2.0", "id": "", "pid": process.pid, "startTime": start_time(process.pid),
            "bundle": "/bundle", "rootfs": "/bundle/rootfs", "created": "2026-01-01T00:00:00Z", "annotations": {},
            "owner": 0, "cgroup": str(self.cgroup), "systemd": {}, "ownPids": False, "startSteps": [],
            "hooks": {"poststop": [{"path": "/bin/rm", "args": ["rm", str(self.file)]}]},
        }  # fmt: skip
        for id in ("dead", "living"):
            path = runtime.root / id
            path.mkdir(mode=0o1711)
            path.chmod(0o1711)
            first = {"effect": "state_dir", **record, "id": id, "pid": 0, "startTime": 0}
            (path / "ledger").write_text("".join(json.dumps(entry) + "\n" for entry in [first, *effects]))
            if id == "living":
                (path / "state.json").write_text(json.dumps({**record, "id": id}))
        for path in [runtime.root, *runtime.root.rglob("*")]:
            os.chown(path, owner, owner)

    def assert_unharmed(self) -> None:
        assert self.process.poll() is None
        assert self.file.read_text() == "4711"
        assert self.cgroup.exists()


@pytest.fixture
def trap(runtime: Runtime, victim_process: subprocess.Popen[bytes]) -> Iterator[Trap]:
    made = Trap(runtime, victim_process, OTHER)
    yield made
    made.cgroup.rmdir()
    shutil.rmtree(runtime.root)


COMMANDS = {
    "list": (["list"], 0),
    "list-json": (["list", "--format", "json"], 0),
    "state": (["state", "ID"], None),
    "kill": (["kill", "ID", "KILL"], 1),
    "kill-all": (["kill", "--all", "ID", "KILL"], 1),
    "start": (["start", "ID"], 1),
    "exec": (["exec", "ID", "true"], 255),
    "ps": (["ps", "--format", "json", "ID"], 1),
    "pause": (["pause", "ID"], 1),
    "resume": (["resume", "ID"], 1),
    "update": (["update", "--pids-limit", "5", "ID"], 1),
    "delete": (["delete", "ID"], 1),
    "delete-force": (["delete", "--force", "ID"], None),
    "create": (["create", "--bundle", "BUNDLE", "ID"], 1),
    "gc": (["gc"], 0),
}


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("id", ["dead", "living"])
def test_a1_another_user_s_ledger_is_carried_out_by_no_command(
    runtime: Runtime, bundle: Bundle, trap: Trap, command: str, id: str
) -> None:
    """A1: root's commands on a root directory of uid 1000."""
    words, code = COMMANDS[command]
    bundle.write()
    before = snapshot(runtime.root)
    result = runtime(*[{"ID": id, "BUNDLE": str(bundle.path)}.get(word, word) for word in words])
    trap.assert_unharmed()
    assert snapshot(runtime.root) == before
    assert code is None or result.code == code, result


def test_a1_another_user_s_container_is_shown_with_its_owner(runtime: Runtime, trap: Trap) -> None:
    shown = json.loads(runtime("list", "--format", "json").out)
    owner = shown[0].pop("owner")
    assert [(item["id"], item["status"]) for item in shown] == [("living", "running")]
    assert owner == runtime("list").out.splitlines()[1].split()[-1] != "root"
    assert runtime.state("living")["status"] == "running"
    result = runtime("delete", "--force", "living")
    assert result.code == 1
    assert re.search(r"living is not trusted: it belongs to \S+ \(run this command as", result.last_line), result


_BUSY_SOCKET = """
import ctypes, os, socket, sys
os.setgid({uid}), os.setuid({uid})
ctypes.CDLL(None).prctl(15, b"pyrunc:[init]")
listener = socket.socket(socket.AF_UNIX, socket.SOCK_{type})
listener.bind("{path}")
os.chmod("{path}", 0o777)
listener.listen(0)
waiting = socket.socket(socket.AF_UNIX, socket.SOCK_{type})
waiting.connect("{path}")
print("ready", flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("type", ["STREAM", "SEQPACKET"])
def test_a6_another_user_s_socket_does_not_hold_list_up(runtime: Runtime, trap: Trap, type: str) -> None:
    """A6, A1: `list` connected to the start socket with a stream socket, and waits there if the socket's queue is
    full.
    """
    path = runtime.root / "living"
    source = _BUSY_SOCKET.format(uid=OTHER, type=type, path=path / "start.sock")
    path.parent.parent.chmod(0o755)
    with subprocess.Popen(
        ["/usr/bin/python3", "-c", source], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd="/"
    ) as other:
        assert other.stdin is not None
        assert other.stdout is not None
        assert other.stdout.readline() == b"ready\n"
        record = json.loads((path / "state.json").read_text())
        record.update(pid=other.pid, startTime=start_time(other.pid), cgroup="")
        (path / "state.json").write_text(json.dumps(record))
        shown = json.loads(runtime("list", "--format", "json").out)
        assert [item["id"] for item in shown] == ["living"]
        assert runtime.state("living")["status"] == "created"


@pytest.mark.parametrize("mode", [0o777, 0o1777, 0o775])
def test_a1_what_others_may_write_to_is_not_believed(
    runtime: Runtime, victim_process: subprocess.Popen[bytes], mode: int
) -> None:
    """A1: root's own directory, to which anybody can have written."""
    trap = Trap(runtime, victim_process, 0)
    try:
        for id in ("dead", "living"):
            (runtime.root / id).chmod(mode)
        for words, _ in COMMANDS.values():
            runtime(*[{"ID": "living", "BUNDLE": "/none"}.get(word, word) for word in words])
        trap.assert_unharmed()
        assert "others may write to it" in runtime("delete", "--force", "living").last_line
    finally:
        trap.cgroup.rmdir()
        shutil.rmtree(runtime.root)


def test_a1_directories_that_are_exchanged_are_not_mixed_up(runtime: Runtime, bundle: Bundle) -> None:
    """A1: the owner of the state root can rename its entries, and put links in their place."""
    first = runtime.started(bundle.args("sleep", "1000"))
    other = f"{runtime.token}-x"
    (runtime.root / first.id).rename(runtime.root / other)
    try:
        (runtime.root / first.id).symlink_to(other)
        for id in (first.id, other):
            assert runtime("kill", id, "KILL").code == 1
            assert runtime("delete", "--force", id).code == (0 if id == first.id else 1)
        assert host.is_alive(first.pid)
        (runtime.root / first.id).unlink()
    finally:
        (runtime.root / other).rename(runtime.root / first.id)


@pytest.mark.parametrize("command", ["list", "state", "gc", "delete", "create"])
def test_a2_what_is_none_of_ours_stays(runtime: Runtime, bundle: Bundle, command: str) -> None:
    """A2: empty directories, directories whose files have the names of ours, another runtime's state."""
    for name, files in {
        "mnt": (), "lost+found": (), "books": ("ledger", "a"), "accounts": ("ledger",), "sockets": ("start.sock",),
        "runc": ("state.json",), "deep": ("x/y",),
    }.items():  # fmt: skip
        for file in ("", *files):
            path = runtime.root / name / file
            path.parent.mkdir(parents=True, exist_ok=True)
            if file:
                path.write_text('{"id":"runc","init_process_pid":1}')
            else:
                path.mkdir(exist_ok=True)
    (runtime.root / "plain").write_text("x")
    (runtime.root / "link").symlink_to("mnt")
    bundle.write()
    before = snapshot(runtime.root)
    for name in ("mnt", "lost+found", "books", "accounts", "sockets", "runc", "deep", "plain", "link"):
        if command in ("list", "gc"):
            assert runtime(command).code == 0
            break
        words = ["create", "--bundle", str(bundle.path)] if command == "create" else [command]
        if command == "delete":
            words.append("--force")
        result = runtime(*words, name)
        assert result.code == (0 if command == "delete" and name != "runc" else 1), result
    assert snapshot(runtime.root) == before
    shutil.rmtree(runtime.root)


def looks(box: Container, stopped: Container) -> list[list[str]]:
    """Commands that only read, or find that there is nothing to do."""
    return [
        ["list"], ["list", "--quiet"], ["list", "--format", "json"], ["state", box.id], ["state", stopped.id],
        ["state", "none"], ["state", "dead"], ["ps", "--format", "json", box.id], ["features"], ["kill", "none"],
        ["kill", stopped.id, "KILL"], ["kill", "dead", "KILL"], ["exec", stopped.id, "true"], ["start", stopped.id],
        ["start", "none"], ["validate", str(box.bundle.path)], ["plan", "--bundle", str(box.bundle.path), "x"],
        ["gc", "--dry-run"], ["delete", box.id], ["delete", "none"], ["events", "--stats", box.id],
    ]  # fmt: skip


@pytest.fixture
def shown(runtime: Runtime, bundle: Bundle) -> Iterator[tuple[Container, Container]]:
    """A running and a stopped container, the remains of a killed create, and damaged and foreign entries."""
    box = runtime.started(bundle.args("sleep", "1000"))
    stopped = runtime.started(runtime.bundle("other").args("true"))
    stopped.wait()
    dead = runtime.root / "dead"
    dead.mkdir()
    dead.chmod(0o1711)
    (dead / "ledger").write_text('{"effect":"pid_file","path":"/none"}\n')
    damaged = runtime.root / "damaged"
    damaged.mkdir()
    (damaged / "state.json").write_text("[]")
    (runtime.root / "mnt").mkdir()
    yield box, stopped
    for path in (dead, damaged, runtime.root / "mnt"):
        shutil.rmtree(path)


def test_a1_looking_works_on_a_read_only_root(runtime: Runtime, shown: tuple[Container, Container]) -> None:
    """A1: each command gives the same result if nothing can be written, and none changes anything."""
    before = snapshot(runtime.root)
    script = f'mount --bind {runtime.root} {runtime.root} && mount -o remount,ro,bind {runtime.root} && exec "$@"'
    for words in looks(*shown):
        free = runtime(*words)
        locked = runtime(*words, prefix=["unshare", "-m", "--propagation", "private", "sh", "-c", script, "sh"])
        assert (locked.code, locked.out) == (free.code, free.out) or words[0] == "events", (free, locked)
        assert "read-only" not in locked.err, locked
        assert snapshot(runtime.root) == before, words
    assert host.is_alive(shown[0].pid)


def test_a1_looking_makes_no_writing_call(runtime: Runtime, shown: tuple[Container, Container]) -> None:
    """A1: under strace, of all commands that only read."""
    if shutil.which("strace") is None:
        pytest.skip("needs strace")
    log = runtime.work / "strace"
    for words in looks(*shown):
        # -E would also reach the command; the interpreter of an ordinary build must not write its cache.
        runtime(
            *words,
            prefix=["strace", "-f", "-qq", "-e", "signal=none", "-e", "trace=" + WRITING, "-o", str(log)],
            env={"PYTHONDONTWRITEBYTECODE": "1"},
        )
        for line in log.read_text().splitlines():
            if re.search(r"\b(open|openat|openat2)\(", line):
                assert WRITES_A_FILE.search(line) is None or "/dev/null" in line, (words, line)
            else:
                assert line.endswith(("+++", "---")), (words, line)


def damage(path: Path, how: str) -> None:
    path.unlink()
    if how == "fifo":
        os.mkfifo(path)
    elif how == "directory":
        path.mkdir()
    elif how == "link":
        path.symlink_to("/etc/passwd")
    else:
        path.write_bytes(how.encode("utf-8", "surrogateescape"))


@pytest.mark.parametrize("manager", ["cgroupfs", "disabled"])
@pytest.mark.parametrize("how", ["", "[]", "null", "\udcff", "fifo", "directory", "link"])
def test_f12_a_container_with_a_damaged_state_is_deleted_by_force(
    runtime: Runtime, bundle: Bundle, manager: str, how: str
) -> None:
    """F12, A6: killed and undone by its ledger; meanwhile the other containers are listed."""
    bundle.args("sleep", "1000").write()
    id = runtime.new_id()
    result = runtime("--cgroup-manager", manager, "run", "--detach", "--bundle", bundle.path, id)
    assert result.code == 0, result
    pid = runtime.state(id)["pid"]
    other = runtime.container(runtime.bundle("other").args("true"))
    damage(runtime.root / id / "state.json", how)
    listed = runtime("list", "--quiet")
    assert (listed.code, listed.out) == (0, other.id + "\n"), listed
    assert listed.err.count("\n") == 1
    assert "damaged" in listed.err
    for words in (["state", id], ["kill", id, "KILL"], ["delete", id], ["start", id]):
        result = runtime(*words)
        assert result.code == 1, result
        assert "damaged" in result.last_line, result
    assert host.is_alive(pid)
    assert runtime("delete", "--force", id).code == 0
    host.wait_for("its end", lambda: not host.is_alive(pid))
    other.delete("--force")
    runtime.assert_nothing_left()


def test_a6_a_container_of_the_released_version_is_known(runtime: Runtime, bundle: Bundle) -> None:
    """A6: its files have no version, its pid file no content, and its directory no mark. A later version has further
    members.
    """
    for change in (-1, 1):
        box = runtime.started(bundle.args("sleep", "1000"), "--pid-file", "pid")
        path = runtime.root / box.id
        for name in ("state.json", "exec.json"):
            values = json.loads((path / name).read_text())
            if change < 0:
                del values["version"]
            else:
                values.update(version="1.99", later={"x": [1]})
            (path / name).write_text(json.dumps(values))
        entries = [json.loads(line) for line in (path / "ledger").read_text().splitlines()]
        for entry in entries:
            for member in ("version", "content", "draft") if change < 0 else ():
                entry.pop(member, None)
            if change > 0:
                entry["later"] = 5
        (path / "ledger").write_text("".join(json.dumps(entry) + "\n" for entry in entries))
        if change < 0:
            path.chmod(0o711)
        assert box.status == "running"
        assert runtime("exec", box.id, "true").code == 0
        assert runtime("list", "--quiet").err == ""
        box.kill()
        box.wait()
        result = box.delete()
        assert result.err == ""
        runtime.assert_nothing_left()


def killed_at(runtime: Runtime, call: str, number: int, *words: str | Path) -> Result:
    """Run a command that SIGKILL ends at its Nth call of a kind."""
    strace = ["strace", "-qq", "-o", "/dev/null", "-e", f"trace={call}"]
    strace += ["-e", f"inject={call}:signal=KILL:when={number}"]
    return runtime(*words, prefix=strace)


@pytest.mark.parametrize("call", ["unlinkat", "rmdir", "openat"])
def test_a4_a_delete_that_is_killed_leaves_an_id_that_can_be_used(runtime: Runtime, bundle: Bundle, call: str) -> None:
    """A4: by delete, by gc or by a create of the id, in turn."""
    if shutil.which("strace") is None:
        pytest.skip("needs strace, which kills")
    bundle.args("sleep", "1000").write()
    id = runtime.new_id()
    for number in range(1, 200):
        assert runtime("create", "--bundle", bundle.path, id).code == 0
        # The interpreter makes most of the opens.
        result = killed_at(runtime, call, number * 7 if call == "openat" else number, "delete", "--force", id)
        if result.code == 0:
            break
        assert runtime("list").code == 0
        after = [["gc"], ["delete", "--force", id], ["create", "--bundle", str(bundle.path), id]][number % 3]
        result = runtime(*after)
        told = runtime("state", id)
        if after[0] == "create":
            assert result.code == 0 or told.code == 0, (result, told)
        elif after[0] == "gc":
            assert result.code == 0, result
        if told.code == 0:
            assert runtime("delete", "--force", id).code == 0
        runtime.assert_nothing_left()
    assert runtime("delete", "--force", id).code == 0
    runtime.assert_nothing_left()


def test_a4_gc_finishes_a_create_that_was_killed(runtime: Runtime, bundle: Bundle) -> None:
    """Its cgroups, its process, its pid file and its directory, each with a line; not those of others."""
    bundle.linux["cgroupsPath"] = f"/{runtime.token}/above/own"
    ready = runtime.work / "ready"
    bundle.hook("createRuntime", bundle.script("wait", f"touch {ready}; exec sleep 100\n"))
    other = runtime.started(runtime.bundle("other").args("sleep", "1000"))
    bundle.write()
    id = runtime.new_id()
    process = runtime.background("create", "--bundle", bundle.path, id, start_new_session=True)
    host.wait_for("the hook", ready.exists)
    assert runtime("gc").out == "", "a create at work is not touched"
    process.send_signal(signal.SIGKILL)
    process.wait()
    os.killpg(process.pid, signal.SIGKILL)
    listed = runtime("list", "--quiet")
    assert listed.out == other.id + "\n"
    assert f"container {id} was left behind by a command that was killed" in listed.err
    dry = runtime("gc", "--dry-run")
    assert dry.code == 0
    assert f"{id}: would undo: state directory" in dry.out
    done = runtime("gc")
    assert done.code == 0, done
    for what in ("cgroup .*/above/own", "cgroup .*/above", f"cgroup .*/{runtime.token}", "state directory .*"):
        assert re.search(rf"^{id}: undone: {what}$", done.out, re.MULTILINE), done
    assert other.status == "running"
    assert runtime("gc").out == ""
    other.delete("--force")
    runtime.assert_nothing_left()


@pytest.mark.parametrize("shape", ["deep", "wide", "threaded", "odd"])
def test_a5_a_container_s_own_cgroups_do_not_keep_it_from_being_deleted(
    runtime: Runtime, bundle: Bundle, shape: str
) -> None:
    """A5: cgroups nested deeper than a path is long, many siblings, threaded ones, odd names; processes in them."""
    bundle.linux["cgroupsPath"] = f"/{runtime.token}-own"
    box = runtime.started(bundle.args("sh", "-c", "sleep 1000 & sleep 1000"))
    top = Path(host.cgroup2_mount(), f"{runtime.token}-own")
    if shape == "deep":
        fd = os.open(top, os.O_RDONLY)
        for _ in range(40):
            os.mkdir("d" * 200, dir_fd=fd)
            inner = os.open("d" * 200, os.O_RDONLY, dir_fd=fd)
            os.close(fd)
            fd = inner
        with open(os.open("cgroup.procs", os.O_WRONLY, dir_fd=fd), "w") as procs:
            procs.write(str(box.pid))
        os.close(fd)
    elif shape == "wide":
        for number in range(500):
            (top / str(number)).mkdir()
    elif shape == "threaded":
        (top / "threads").mkdir()
        (top / "threads" / "cgroup.type").write_text("threaded")
        (top / "threads" / "cgroup.threads").write_text(str(box.pid))
    else:
        for name in ("a b", "\u00e9\u2028", "-rf", "..."):
            (top / name / "inner").mkdir(parents=True)
        (top / "-rf" / "inner" / "cgroup.procs").write_text(str(box.pid))
        (top / "-rf" / "cgroup.freeze").write_text("1")
    pids = json.loads(runtime("ps", "--format", "json", box.id).out)
    assert box.pid in pids
    result = runtime("delete", "--force", box.id)
    assert (result.code, result.err) == (0, ""), result
    runtime.assert_nothing_left()
    host.wait_for("the end", lambda: not any(host.is_alive(pid) for pid in pids))


def together(runtime: Runtime, *lines: list[str]) -> list[Result]:
    """Run commands at the same time."""
    running = []
    for number, words in enumerate(lines):
        with open(runtime.work / f"together.{number}", "wb") as err, open(os.devnull, "r+b") as null:
            running.append(
                subprocess.Popen(runtime.argv(*words), stdin=null, stdout=null, stderr=err, env=runtime.environment())
            )
    codes = [process.wait(60) for process in running]
    return [
        Result(words, code, "", (runtime.work / f"together.{number}").read_text())
        for number, (words, code) in enumerate(zip(lines, codes, strict=True))
    ]


def test_a7_of_two_creates_with_one_cgroup_the_second_is_refused(runtime: Runtime, bundle: Bundle) -> None:
    """A7: always, and the refused one leaves the other's cgroup alone."""
    bundle.linux["cgroupsPath"] = f"/{runtime.token}/one"
    bundle.args("sleep", "1000").write()
    ids = [runtime.new_id(), runtime.new_id()]
    for _ in range(15):
        results = together(runtime, *[["create", "--bundle", str(bundle.path), id] for id in ids])
        assert sorted(result.code for result in results) == [0, 1], results
        lost = next(result for result in results if result.code)
        assert "container's cgroup is not empty" in lost.err
        won = next(result for result in results if not result.code).command[-1]
        assert runtime("start", won).code == 0
        assert runtime.state(won)["status"] == "running"
        assert runtime("delete", "--force", won).code == 0
        runtime.assert_nothing_left()


def test_a7_a_create_within_another_s_mkdir_has_the_cgroup(runtime: Runtime, bundle: Bundle) -> None:
    """A7: the one that made the cgroup finds the other's init in it, is refused, and leaves it alone."""
    if shutil.which("strace") is None:
        pytest.skip("needs strace, which delays a call")
    bundle.linux["cgroupsPath"] = f"/{runtime.token}/one"
    bundle.args("sleep", "1000").write()
    group = Path(host.cgroup2_mount(), runtime.token, "one")
    late, other = runtime.new_id(), runtime.new_id()
    # The first is stopped at the end of its mkdir of the cgroup.
    strace = [
        "strace",
        "-qq",
        "-o",
        os.devnull,
        "-P",
        str(group),
        "-e",
        "trace=mkdir",
        "-e",
        "inject=mkdir:signal=STOP",
    ]
    with open(runtime.work / "late", "wb") as err, open(os.devnull, "r+b") as null:
        process = subprocess.Popen(
            [*strace, *runtime.argv("create", "--bundle", str(bundle.path), late)],
            stdin=null, stdout=null, stderr=err, env=runtime.environment(),
        )  # fmt: skip
    host.wait_for("the cgroup", group.is_dir)
    assert runtime("create", "--bundle", str(bundle.path), other).code == 0
    ((pid, (_, state)),) = host.children(process.pid).items()
    assert state in "tT", "the first is not stopped"
    os.kill(pid, signal.SIGCONT)
    assert process.wait(60) == 1
    assert "container's cgroup is not empty: 1 process(es) found" in (runtime.work / "late").read_text()
    assert runtime("start", other).code == 0
    assert runtime.state(other)["status"] == "running"
    assert runtime("delete", "--force", other).code == 0
    runtime.assert_nothing_left()


def test_a7_of_creates_of_one_id_all_but_one_hear_that_it_exists(runtime: Runtime, bundle: Bundle) -> None:
    """A7: in runc's words, in any order of events."""
    bundle.args("sleep", "1000").write()
    id = runtime.new_id()
    for _ in range(8):
        results = together(runtime, *[["create", "--bundle", str(bundle.path), id]] * 6)
        assert sorted(result.code for result in results) == [0, 1, 1, 1, 1, 1], results
        for result in results:
            assert result.code == 0 or "container with given ID already exists" in result.err, result
        assert runtime("delete", "--force", id).code == 0
        runtime.assert_nothing_left()


@pytest.mark.parametrize(("kind", "command"), [("createRuntime", "create"), ("prestart", "run"), ("poststart", "start"),
                                               ("poststart", "run")])  # fmt: skip
def test_a10_delete_by_force_ends_a_command_whose_hook_hangs(
    runtime: Runtime, bundle: Bundle, kind: str, command: str
) -> None:
    """A10: it ends the hook with all processes that it has started and the container, and undoes what the command has
    made.
    """
    ready = runtime.work / "ready"
    seconds = str(987_000_000 + os.getpid())  # identifies this test's processes
    script = bundle.script("hang", f"touch {ready}; sleep {seconds} & sleep {seconds}; true\n")
    bundle.args("sleep", "1000").hook(kind, script)
    bundle.write()
    id = runtime.new_id()
    if command == "start":
        assert runtime("create", "--bundle", bundle.path, id).code == 0
    words = ["start", id] if command == "start" else [command, "--bundle", str(bundle.path), id]
    process = runtime.background(*words)
    try:
        host.wait_for("the hook", ready.exists)
        result = runtime("delete", "--force", id)
        assert (result.code, result.err) == (0, ""), result
        assert process.wait(60) != 0
        host.wait_for("the end", lambda: not host.processes_of(seconds))
        runtime.assert_nothing_left()
    finally:
        process.kill()
        process.wait()


def test_a10_without_force_the_wait_ends_and_names_the_command(runtime: Runtime, bundle: Bundle) -> None:
    """A10: start and delete wait a while, and name the command."""
    ready = runtime.work / "ready"
    bundle.args("sleep", "1000").hook("poststart", bundle.script("hang", f"touch {ready}; exec sleep 1000\n"))
    box = runtime.container(bundle)
    process = runtime.background("start", box.id)
    try:
        host.wait_for("the hook", ready.exists)
        for words in (["delete", box.id], ["start", box.id]):
            result = runtime(*words)
            assert result.code == 1
            assert f"container {box.id} is in use (process {process.pid} is at work on it: " in result.last_line
            assert f"start {box.id}" in result.last_line
        assert box.status == "running"
    finally:
        box.delete("--force")
        process.wait()


@pytest.mark.parametrize("umask", ["0", "022", "0777"])
def test_a11_the_start_socket_is_its_owner_s_alone(runtime: Runtime, bundle: Bundle, umask: str) -> None:
    """A11: under any umask of the caller, nobody else can start the container or delay `start`."""
    bundle.args("sleep", "1000").write()
    id = runtime.new_id()
    result = runtime("create", "--bundle", bundle.path, id, prefix=["sh", "-c", f'umask {umask}; exec "$@"', "sh"])
    assert result.code == 0, result
    mode = (runtime.root / id / "start.sock").stat().st_mode & 0o777
    assert mode == 0o600 & ~int(umask, 8)
    assert runtime("start", id).code == 0


@pytest.mark.parametrize("call", ["write", "openat", "mkdir"])
def test_a11_a_full_disk_leaves_no_state_directory(runtime: Runtime, bundle: Bundle, call: str) -> None:
    """A11: ENOSPC at each call of a create of one kind."""
    if shutil.which("strace") is None:
        pytest.skip("needs strace, which injects")
    bundle.args("sleep", "1000").write()
    runtime.root.mkdir()
    id = runtime.new_id()
    for number in (1, 2, 3) if call == "mkdir" else (1, 2):
        path = runtime.root / id
        strace = ["strace", "-qq", "-o", "/dev/null", "-P", str(path / "ledger"), "-P", str(path)]
        strace += ["-e", f"trace={call}", "-e", f"inject={call}:error=ENOSPC:when={number}"]
        result = runtime("create", "--bundle", bundle.path, id, prefix=strace)
        if result.code == 0:
            assert number > 1
            assert runtime("delete", "--force", id).code == 0
        else:
            assert "no space left on device" in result.last_line
        runtime.assert_nothing_left()


@pytest.mark.parametrize("how", ["cut", "flipped", "empty", "binary"])
def test_a11_a_damaged_filter_in_the_cache_is_as_good_as_none(runtime: Runtime, bundle: Bundle, how: str) -> None:
    """A11: the filter is compiled again."""
    bundle.linux["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW"}
    bundle.args("true")
    runtime.run(bundle)
    (file,) = (runtime.root / ":seccomp").iterdir()
    good = file.read_bytes()
    lines = good.split(b"\n")
    lines[4] = (b"f" if lines[4][:1] != b"f" else b"0") + lines[4][1:]
    file.write_bytes({"cut": good[:-30], "flipped": b"\n".join(lines), "empty": b"", "binary": b"\xff" * 99}[how])
    result = runtime.run(bundle)
    assert result.err == ""
    assert file.read_bytes() == good
