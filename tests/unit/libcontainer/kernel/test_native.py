"""The wrappers of csrc/native: their effect, and that each raises OSError with the errno."""

from __future__ import annotations

import errno
import fcntl
import os
import resource
import signal
import socket
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pyrunc.libcontainer.kernel import native
from tests.support.host import children, open_descriptors, wait_for

ROOT = Path(__file__).resolve().parents[4]
INIT = ROOT / "csrc" / "init"
ROOT_ONLY = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


def _is_cloexec(fd: int) -> bool:
    return bool(fcntl.fcntl(fd, fcntl.F_GETFD) & fcntl.FD_CLOEXEC)


def _image(tmp_path: Path, source: str) -> int:
    """A program of our own in the init's place, built from C."""
    path = tmp_path / "program"
    command = ["gcc", "-static", "-O1", "-D_GNU_SOURCE", f"-I{INIT}", "-o", path, "-xc", "-"]
    joining = [INIT / "join.c", INIT / "decode.c"]
    subprocess.run([str(word) for word in (*command, *joining)], input=source, text=True, check=True)
    image = os.memfd_create("program")
    os.write(image, path.read_bytes())
    return image


# Writes its argv, environment size, open descriptors and uid to argv[1], and waits for one byte, its exit code.
_PROGRAM = r"""
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
extern char **environ;
void join_namespaces(void);
int main(int argc, char **argv)
{
    join_namespaces();
    char text[4096] = "";
    int fd = atoi(argv[1]), n = 0;
    for (int i = 0; i < argc; i++) n += sprintf(text + n, "%s ", argv[i]);
    n += sprintf(text + n, "| %d |", environ[0] != NULL);
    for (int i = 0; i < 1024; i++) if (dup2(i, i) == i) n += sprintf(text + n, " %d", i);
    n += sprintf(text + n, " | %d", (int)getpid());
    if (write(fd, text, n) != n) return 99;
    char code = 98;
    if (read(fd, &code, 1) != 1) return 97;
    return code;
}
"""


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> int:
    return _image(tmp_path_factory.mktemp("program"), _PROGRAM)


class Child:
    """One clone of the program: its output, and its end."""

    def __init__(self, image: int, flags: int = 0, joins: tuple[tuple[int, int], ...] = (), preserve: int = 0) -> None:
        self.ours, theirs = native.socketpair()
        self.pid, self.pidfd = native.clone_init(
            flags, -1, joins, image, [theirs], ["pyrunc:[init]", str(theirs), "last word"], preserve
        )
        os.close(theirs)
        self.theirs = theirs
        self.told = native.recv(self.ours, 4096)[0].decode().split("|")

    def end(self, code: int) -> int:
        native.send(self.ours, bytes([code]))
        result = os.waitid(os.P_PIDFD, self.pidfd, os.WEXITED)
        os.close(self.ours)
        os.close(self.pidfd)
        assert result is not None
        assert result.si_pid == self.pid
        return result.si_status


def test_clone_init_executes_the_image_as_our_child(program: int) -> None:
    with open("/dev/null") as leaked:
        os.set_inheritable(leaked.fileno(), True)
        child = Child(program)
        try:
            assert child.told[0].split() == ["pyrunc:[init]", str(child.theirs), "last", "word"]
            assert child.told[1].strip() == "0", "the environment is empty"
            assert [int(fd) for fd in child.told[2].split()] == [0, 1, 2, child.theirs]
            assert os.readlink(f"/proc/{child.pid}/exe").startswith("/memfd:")
            stat = Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()
            assert int(stat[1]) == os.getpid()
            assert _is_cloexec(child.pidfd)
        finally:
            assert child.end(42) == 42


def test_clone_init_keeps_the_preserved_descriptors(program: int) -> None:
    # In a separate process, since the descriptors' numbers matter.
    code = """
import os, sys
from pyrunc.libcontainer.kernel import native
for fd in (3, 4, 5):
    os.dup2(1, fd)
ours, theirs = native.socketpair()
pid, _ = native.clone_init(0, -1, (), int(sys.argv[1]), [theirs], ["x", str(theirs)], 2)
print(theirs, *native.recv(ours, 4096)[0].decode().split("|")[2].split())
native.send(ours, b"\\0")
os.waitpid(pid, 0)
"""
    image = fcntl.fcntl(program, fcntl.F_DUPFD, 40)  # out of the way of 3 to 5
    command = [sys.executable, "-c", code, str(image)]
    done = subprocess.run(command, pass_fds=[image], capture_output=True, text=True, check=True)
    os.close(image)
    theirs, *there = done.stdout.split()
    assert there == ["0", "1", "2", "3", "4", theirs]


def test_clone_init_makes_namespaces(program: int) -> None:
    flags = native.CLONE_NEWUSER | native.CLONE_NEWPID | native.CLONE_NEWUTS
    child = Child(program, flags)
    try:
        assert child.told[3].strip() == "1", "the first process of its pid namespace"
        for name in ("user", "pid", "uts"):
            assert os.readlink(f"/proc/{child.pid}/ns/{name}") != os.readlink(f"/proc/self/ns/{name}")
        assert os.readlink(f"/proc/{child.pid}/ns/net") == os.readlink("/proc/self/ns/net")
    finally:
        assert child.end(0) == 0


@ROOT_ONLY
@pytest.mark.parametrize(
    ("flags", "is_own"), [(native.CLONE_NEWNET, True), (native.CLONE_NEWNET | native.CLONE_NEWUSER, True), (0, False)]
)
def test_a_network_namespace_made_ahead_is_used_where_it_fits(program: int, flags: int, is_own: bool) -> None:
    before, threads = open_descriptors(), set(os.listdir("/proc/self/task"))
    native.begin_network()
    native.begin_network()  # once is enough
    child = Child(program, flags)
    try:
        assert (os.readlink(f"/proc/{child.pid}/ns/net") != os.readlink("/proc/self/ns/net")) == is_own
        with open(f"/proc/{child.pid}/ns/net") as net:
            owner = fcntl.ioctl(net, 0xB701)  # NS_GET_USERNS
        assert os.fstat(owner).st_ino == os.stat(f"/proc/{child.pid}/ns/user").st_ino
        os.close(owner)
    finally:
        assert child.end(0) == 0
    assert open_descriptors() == before
    # The kernel tells of a thread's end before it takes the thread out of the list.
    wait_for("the thread's end", lambda: set(os.listdir("/proc/self/task")) <= threads)


@ROOT_ONLY
def test_clone_init_joins_every_type_and_stays_our_child(program: int) -> None:
    flags = {
        "user": native.CLONE_NEWUSER,
        "mnt": native.CLONE_NEWNS,
        "pid": native.CLONE_NEWPID,
        "net": native.CLONE_NEWNET,
        "ipc": native.CLONE_NEWIPC,
        "uts": native.CLONE_NEWUTS,
        "cgroup": native.CLONE_NEWCGROUP,
    }
    every = 0
    for flag in flags.values():
        every |= flag
    target = Child(program, every)
    fds = {name: os.open(f"/proc/{target.pid}/ns/{name}", os.O_RDONLY) for name in flags}
    try:
        # The mount namespace comes first here and must be entered last all the same.
        child = Child(program, 0, tuple((fds[name], flags[name]) for name in ("mnt", "user", "net", "pid", "cgroup")))
        try:
            for name in ("user", "mnt", "pid", "net", "cgroup"):
                assert os.readlink(f"/proc/{child.pid}/ns/{name}") == os.readlink(f"/proc/{target.pid}/ns/{name}")
            assert os.readlink(f"/proc/{child.pid}/ns/uts") == os.readlink("/proc/self/ns/uts")
            assert child.told[3].strip() == "2"
            stat = Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()
            assert int(stat[1]) == os.getpid()
            assert _is_cloexec(child.pidfd)
        finally:
            assert child.end(7) == 7
    finally:
        assert target.end(0) == 0
        for fd in fds.values():
            os.close(fd)


@ROOT_ONLY
def test_clone_init_joins_namespaces_beside_which_nobody_can_look_into_the_runtime(program: int) -> None:
    flags = {"net": native.CLONE_NEWNET, "ipc": native.CLONE_NEWIPC, "uts": native.CLONE_NEWUTS}
    target = Child(program, native.CLONE_NEWNET | native.CLONE_NEWIPC | native.CLONE_NEWUTS)
    joins = tuple((os.open(f"/proc/{target.pid}/ns/{name}", os.O_RDONLY), flag) for name, flag in flags.items())
    try:
        child = Child(program, native.CLONE_NEWPID | native.CLONE_NEWNS, joins)
        try:
            for name in flags:
                assert os.readlink(f"/proc/{child.pid}/ns/{name}") == os.readlink(f"/proc/{target.pid}/ns/{name}")
            assert child.told[3].strip() == "1", "the first process of its pid namespace"
            assert child.told[1].strip() == "0", "the environment is empty"
            assert [int(fd) for fd in child.told[2].split()] == [0, 1, 2, child.theirs]
        finally:
            assert child.end(0) == 0
    finally:
        assert target.end(0) == 0
        for fd, _ in joins:
            os.close(fd)


@ROOT_ONLY
def test_clone_init_joins_a_time_namespace(program: int) -> None:
    # setns refuses a process that shares its memory (EUSERS).
    sleeper = subprocess.Popen(["unshare", "--time", "--fork", "sleep", "60"])
    try:
        while not (children := Path(f"/proc/{sleeper.pid}/task/{sleeper.pid}/children").read_text().split()):
            os.sched_yield()
        fd = os.open(f"/proc/{children[0]}/ns/time", os.O_RDONLY)
        child = Child(program, native.CLONE_NEWUTS, ((fd, native.CLONE_NEWTIME),))
        try:
            assert os.readlink(f"/proc/{child.pid}/ns/time") == os.readlink(f"/proc/{children[0]}/ns/time")
        finally:
            assert child.end(3) == 3
            os.close(fd)
    finally:
        os.kill(int(children[0]), signal.SIGKILL)
        sleeper.wait()


def test_clone_init_names_the_call_that_failed(program: int) -> None:
    def failure(joins: tuple[tuple[int, int], ...], image: int, inherit: list[int], flags: int = 0) -> tuple[int, str]:
        before = open_descriptors(), set(children(os.getpid()))
        with pytest.raises(native.CloneError) as caught:
            native.clone_init(flags, -1, joins, image, inherit, ["x"], 0)
        assert (open_descriptors(), set(children(os.getpid()))) == before
        assert caught.value.strerror
        return caught.value.errno or 0, caught.value.call

    ours, theirs = native.socketpair()
    uts = os.open("/proc/self/ns/uts", os.O_RDONLY)
    assert failure((), ours, [theirs]) == (errno.EACCES, "execveat")
    assert failure((), program, [theirs, 4095]) == (errno.EBADF, "fcntl")
    assert failure(((uts, native.CLONE_NEWNET),), program, [theirs]) == (errno.EINVAL, "setns")
    assert failure((), program, [theirs], native.CLONE_NEWUSER | 0x200) == (errno.EINVAL, "clone3")
    for fd in (ours, theirs, uts):
        os.close(fd)


def test_init_image_is_sealed_and_executable() -> None:
    fd = native.init_image()
    try:
        assert os.pread(fd, 4, 0) == b"\x7fELF"
        assert os.fstat(fd).st_mode & 0o111
        for change in (lambda: os.pwrite(fd, b"x", 0), lambda: os.truncate(fd, 0), lambda: os.truncate(fd, 1 << 22)):
            with pytest.raises(PermissionError):
                change()
        with pytest.raises(PermissionError):
            fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE)
        assert _is_cloexec(fd)
    finally:
        os.close(fd)


# Makes the image as if memfd_create(2) failed, executes it, and tries to write to it while it does not run.
_IMAGE_ON_TMPFS = """
import errno, os, sys
sys.path.insert(0, sys.argv[1])
from pyrunc.libcontainer.kernel import native
from pyrunc._core import lib
class Lib:
    def __getattr__(self, name):
        return (lambda: -errno.EACCES) if name == "pyrunc_init_image" else getattr(lib, name)
native._lib = Lib()
before = os.listdir("/proc/self/fd"), open("/proc/self/mountinfo").read()
image = native.init_image()
print(os.pread(image, 4, 0), oct(os.fstat(image).st_mode), os.get_inheritable(image))
for change in (lambda: os.open(f"/proc/self/fd/{image}", os.O_RDWR), lambda: os.fchmod(image, 0o777)):
    try:
        change()
    except OSError as error:
        print(error.errno in (errno.EROFS, errno.EACCES))
ours, theirs = native.socketpair()
pid, pidfd = native.clone_init(0, -1, (), image, [theirs], ["init"], 0)
print(os.waitpid(pid, 0)[1])  # an init without a socket ends with 1
for fd in (image, ours, theirs, pidfd):
    os.close(fd)
print((os.listdir("/proc/self/fd"), open("/proc/self/mountinfo").read()) == before)
"""


@pytest.mark.parametrize("user", [0, 1000])
def test_init_image_without_memfds_can_t_be_written_either(user: int) -> None:
    """F4, CVE-2019-5736: root mounts the tmpfs; for another user it is mounted in a user namespace."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to be both")
    words = [sys.executable, "-m", "tests.support.asuser", "--uid", "1000", "--reach"] if user else []
    if user:
        words += [os.path.realpath(sys.executable), sys.prefix, str(ROOT), "--"]
    words += [sys.executable, "-c", _IMAGE_ON_TMPFS, str(ROOT)]
    done = subprocess.run(words, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.stdout.split("\n")[:-1] == ["b'\\x7fELF' 0o100555 False", "True", "True", "256", "True"], done.stderr


def test_memfd_holds_the_data_and_zeros_behind_it() -> None:
    fd = native.memfd("plan", b"abc", 4096)
    try:
        assert os.read(fd, 8192) == b"abc" + bytes(4093)
        assert os.readlink(f"/proc/self/fd/{fd}").startswith("/memfd:plan")
    finally:
        os.close(fd)


def test_a11_memfds_are_sealed() -> None:
    """A11: nobody can write to one without room; one with room, as for the init's times, keeps its size."""
    whole, with_room = native.memfd("plan", b"abc"), native.memfd("plan", b"abc", 4096)
    try:
        for fd in (whole, with_room):
            with pytest.raises(PermissionError):
                os.ftruncate(fd, 1)
            with pytest.raises(PermissionError):
                os.ftruncate(fd, 8192)
            with pytest.raises(PermissionError):
                fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE)
        with pytest.raises(PermissionError):
            os.pwrite(whole, b"x", 0)
        with pytest.raises(PermissionError), open(f"/proc/self/fd/{whole}", "r+b", buffering=0) as again:
            again.write(b"x")
        assert os.pwrite(with_room, b"x", 8) == 1
    finally:
        os.close(whole)
        os.close(with_room)


def test_a11_spawn_passes_the_standard_streams_and_the_caller_s_limit(tmp_path: Path) -> None:
    """A11, F7: no other open descriptor, inheritable or not; the soft limit from before it was raised."""
    code = (
        "import os, resource; from pyrunc.libcontainer.kernel import native\n"
        "soft, hard = native.open_files(); assert (soft, hard) == (64, resource.getrlimit(resource.RLIMIT_NOFILE)[1])\n"
        "os.dup2(1, 40); native.raise_open_files(100)\n"
        "pid = native.spawn('/bin/sh', ['sh', '-c', 'ls /proc/self/fd; ulimit -Sn'], os.environb, [])\n"
        "assert os.waitpid(pid, 0)[1] == 0; assert native.open_files() == (100, hard)\n"
    )
    command = ["/bin/bash", "-c", 'ulimit -Sn 64 && exec "$@"', "bash", sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.split() == ["0", "1", "2", "3", "64"]  # 3 is the listing's own


def test_a11_preserved_descriptors_are_counted_without_overflow() -> None:
    for count in (2**31 - 1, 2**31 - 3, 2**31 - 4):
        assert 3 <= native.prepare_fds(count) < 2**20


def test_prepare_fds_opens_closed_standard_streams_and_finds_gaps() -> None:
    code = (
        "import os; from pyrunc.libcontainer.kernel import native; os.close(0); os.close(2); os.closerange(3, 64);"
        "os.dup2(1, 3); os.dup2(1, 4); os.dup2(1, 5, inheritable=False); os.dup2(1, 6);"
        "print(native.prepare_fds(2), native.prepare_fds(4),"
        "os.readlink('/proc/self/fd/0'), os.readlink('/proc/self/fd/2'))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["0", "5", "/dev/null", "/dev/null"]


def test_openat2_keeps_to_the_rules(tmp_path: Path) -> None:
    (tmp_path / "inside").write_text("in")
    (tmp_path / "link").symlink_to("/../../inside")
    dirfd = os.open(tmp_path, os.O_PATH)
    try:
        fd = native.openat2(dirfd, "link", os.O_RDONLY, 0, native.RESOLVE_IN_ROOT)
        assert os.read(fd, 10) == b"in"
        assert _is_cloexec(fd)
        os.close(fd)
        with pytest.raises(OSError) as caught:
            native.openat2(dirfd, "link", os.O_RDONLY, 0, native.RESOLVE_NO_SYMLINKS)
        assert (caught.value.errno, caught.value.strerror) == (errno.ELOOP, os.strerror(errno.ELOOP))
    finally:
        os.close(dirfd)


@ROOT_ONLY
def test_open_tree_clones_a_mount(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    fd = native.open_tree(native.AT_FDCWD, str(tmp_path), native.OPEN_TREE_CLONE | native.AT_RECURSIVE)
    try:
        assert os.stat("file", dir_fd=fd).st_size == 1
        assert _is_cloexec(fd)
    finally:
        os.close(fd)
    with pytest.raises(FileNotFoundError):
        native.open_tree(native.AT_FDCWD, str(tmp_path / "none"), 0)


def test_setns_refuses_what_is_no_namespace(tmp_path: Path) -> None:
    fd = os.open(tmp_path, os.O_RDONLY)
    try:
        with pytest.raises(OSError) as caught:
            native.setns(fd, native.CLONE_NEWNET)
        assert caught.value.errno == errno.EINVAL
    finally:
        os.close(fd)


def test_fs_magic_tells_the_file_system() -> None:
    for path, magic in (("/proc/self/status", native.PROC_SUPER_MAGIC), ("/proc/self/ns/net", native.NSFS_MAGIC)):
        fd = os.open(path, os.O_RDONLY)
        assert native.fs_magic(fd) == magic
        os.close(fd)
    with pytest.raises(OSError) as caught:
        native.fs_magic(-1)
    assert caught.value.errno == errno.EBADF


def test_flock_excludes(tmp_path: Path) -> None:
    one, two = (os.open(tmp_path, os.O_RDONLY) for _ in range(2))
    native.flock(one, exclusive=True, wait=True)
    with pytest.raises(BlockingIOError):
        native.flock(two, exclusive=False, wait=False)
    os.close(one)
    native.flock(two, exclusive=True, wait=False)
    os.close(two)


def test_prlimit_sets_another_process_limit() -> None:
    sleeper = subprocess.Popen(["sleep", "60"])
    try:
        native.prlimit(sleeper.pid, resource.RLIMIT_CORE, 0, 0)
        assert resource.prlimit(sleeper.pid, resource.RLIMIT_CORE) == (0, 0)
        with pytest.raises(OSError) as caught:
            native.prlimit(sleeper.pid, resource.RLIMIT_CORE, 2, 1)
        assert caught.value.errno == errno.EINVAL
    finally:
        sleeper.kill()
        sleeper.wait()


@pytest.mark.parametrize(
    ("name", "kind"), [("net", native.CLONE_NEWNET), ("mnt", native.CLONE_NEWNS), ("user", native.CLONE_NEWUSER)]
)
def test_namespace_type(name: str, kind: int) -> None:
    with open(f"/proc/self/ns/{name}") as file:
        assert native.namespace_type(file.fileno()) == kind
    with open("/dev/null") as file, pytest.raises(OSError) as caught:
        native.namespace_type(file.fileno())
    assert caught.value.errno == errno.ENOTTY


def test_scheduling_of_another_process() -> None:
    sleeper = subprocess.Popen(["sleep", "60"], start_new_session=True)
    try:
        native.sched_setattr(sleeper.pid, os.SCHED_BATCH, 0, 5, 0, 0, 0, 0)
        assert os.sched_getscheduler(sleeper.pid) == os.SCHED_BATCH
        assert os.getpriority(os.PRIO_PROCESS, sleeper.pid) == 5
        assert native.sched_getattr(sleeper.pid)[:4] == (os.SCHED_BATCH, 0, 5, 0)
        native.sched_setattr(sleeper.pid, os.SCHED_BATCH, 1, -3, 0, 0, 0, 0)
        assert native.sched_getattr(sleeper.pid)[:4] == (os.SCHED_BATCH, 1, -3, 0)
        native.ioprio_set(sleeper.pid, 2, 5)
        assert native.ioprio_get(sleeper.pid) == (2, 5)
        native.ioprio_set(sleeper.pid, 3, 0)
        assert native.ioprio_get(sleeper.pid)[0] == 3
        with pytest.raises(OSError) as caught:
            native.sched_setattr(sleeper.pid, os.SCHED_FIFO, 0, 0, 100, 0, 0, 0)
        assert caught.value.errno == errno.EINVAL
        with pytest.raises(OSError) as caught:
            native.ioprio_set(sleeper.pid, 4, 0)
        assert caught.value.errno == errno.EINVAL
    finally:
        sleeper.kill()
        sleeper.wait()


def test_bpf_raises_for_a_command_that_is_none() -> None:
    with pytest.raises(OSError) as caught:
        native.bpf(100_000, bytearray(8))
    assert caught.value.errno in (errno.EINVAL, errno.EPERM)


def test_sockets_at_paths_longer_than_the_address(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 120)
    deep.mkdir()
    path = str(deep / "s")
    listener = native.listen(path)
    client = native.connect(path)
    server, _ = socket.socket(fileno=os.dup(listener)).accept()
    native.send(client, b"S")
    assert server.recv(10) == b"S"
    for fd in (listener, client):
        assert _is_cloexec(fd)
        os.close(fd)
    server.close()
    with pytest.raises(ConnectionRefusedError):
        native.connect(path)
    with pytest.raises(FileNotFoundError):
        native.connect(str(deep / "none"))
    with pytest.raises(OSError, match="File name too long"):
        native.listen("x" * 200)


def test_peer_is_the_process_that_listened_last(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(str(tmp_path / "socket"))
        listener.listen()
        pids = [os.getpid()]
        for _ in range(2):
            connection = native.connect(str(tmp_path / "socket"))
            assert native.peer(connection) == pids[-1]
            os.close(connection)
            pids.append(os.fork())
            if not pids[-1]:
                listener.listen()
                os._exit(0)
            os.waitpid(pids[-1], 0)


def test_connect_takes_the_socket_type(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(tmp_path / "console"))
        listener.listen()
        os.close(native.connect(str(tmp_path / "console"), stream=True))
        with pytest.raises(OSError, match="Protocol wrong type"):
            native.connect(str(tmp_path / "console"))


def test_send_and_recv_pass_descriptors_and_keep_messages_apart() -> None:
    one, two = native.socketpair()
    read, write = os.pipe()
    native.send(one, b"first", [read, write])
    native.send(one, b"second")
    data, fds = native.recv(two, 100, 2)
    assert data == b"first"
    assert all(_is_cloexec(fd) for fd in fds)
    os.write(fds[1], b"through")
    assert os.read(read, 10) == b"through"
    assert native.recv(two, 100) == (b"second", [])
    os.close(one)
    assert native.recv(two, 100) == (b"", [])
    with pytest.raises(BrokenPipeError):  # and no SIGPIPE
        native.send(two, b"x")
    for fd in (two, read, write, *fds):
        os.close(fd)


def test_recv_closes_what_it_was_not_to_get() -> None:
    one, two = native.socketpair()
    before = open_descriptors()
    for data, fds, size, most in ((b"x", [0, 1], 10, 1), (b"too long", [0], 3, 1), (b"x", [0], 10, 0)):
        native.send(one, data, fds)
        with pytest.raises(OSError) as caught:
            native.recv(two, size, most)
        assert caught.value.errno == errno.EMSGSIZE
        assert open_descriptors() == before
    os.close(one)
    os.close(two)


def test_signal_ignored() -> None:
    for disposition, ignored in ((signal.SIG_IGN, True), (signal.SIG_DFL, False), (lambda *_: None, False)):
        before = signal.signal(signal.SIGUSR2, disposition)
        try:
            assert native.signal_ignored(signal.SIGUSR2) is ignored
        finally:
            signal.signal(signal.SIGUSR2, before)
    with pytest.raises(OSError, match="Invalid argument"):
        native.signal_ignored(65)


def test_recv_goes_on_after_a_signal_whose_handler_returns() -> None:
    one, two = native.socketpair()
    seen = []

    def handler(number: int, frame: object) -> None:
        seen.append(number)
        native.send(one, b"from the handler")

    before = signal.signal(signal.SIGALRM, handler)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        assert native.recv(two, 100)[0] == b"from the handler"
        assert seen == [signal.SIGALRM]
    finally:
        signal.signal(signal.SIGALRM, before)
        os.close(one)
        os.close(two)


def test_poll_tells_what_is_ready() -> None:
    read, write = os.pipe()
    other, far = os.pipe()
    assert native.poll([read, other], 0) == []
    os.write(write, b"x")
    os.close(far)
    assert native.poll([read, other], -1) == [read, other]
    assert native.poll_both([], [write], 0) == ([], [write])
    for fd in (read, write, other):
        os.close(fd)


def test_poll_tells_the_one_that_is_ready() -> None:
    read, write = os.pipe()
    other, far = os.pipe()
    os.write(far, b"x")
    assert native.poll((read, other), 0) == [other]
    assert native.poll([], 0) == []
    for fd in (read, write, other, far):
        os.close(fd)


@pytest.mark.parametrize(
    ("name", "sent", "sure"),
    [
        ("pyrunc:[init]", b"", True), ("sleep", b"", False), ("sleep", b"error", False), ("slee", b"", True),
        ("sleepy", b"", True), ("pyrunc:[init]", b"error", False),
    ],
)  # fmt: skip
def test_an_execve_is_seen_by_the_end_of_the_socket_and_the_name(name: str, sent: bytes, sure: bool) -> None:
    """A process that still has the init's name, or has sent a message, is left to the caller."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, subprocess.Popen(["sleep", "60"]) as child:
        while Path(f"/proc/{child.pid}/comm").read_text() != "sleep\n":
            time.sleep(0.001)
        if sent:
            theirs.send(sent)
        theirs.close()
        assert native.await_execve(ours.fileno(), child.pid, name) is sure
        assert ours.recv(100) == sent  # the message is still there
        child.kill()
        child.wait()
        assert native.await_execve(ours.fileno(), child.pid, name) is False  # there is no such process


def test_a_signal_ends_the_wait_for_an_execve() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    before = signal.signal(signal.SIGALRM, lambda *_: None)
    try:
        # Again and again: the first one may come before the wait.
        signal.setitimer(signal.ITIMER_REAL, 0.02, 0.02)
        assert native.await_execve(ours.fileno(), os.getpid(), "none") is False
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        ours.close()
        theirs.close()


def test_signalfd_reads_blocked_signals() -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
    try:
        fd = native.signalfd(native.signal_bits([signal.SIGUSR1, signal.SIGUSR2]))
        # To this thread: a thread that another test has left has not blocked it.
        signal.pthread_kill(threading.get_ident(), signal.SIGUSR1)
        assert int.from_bytes(os.read(fd, 128)[:4], "little") == signal.SIGUSR1
        os.close(fd)
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGUSR1])


def test_terminals_are_made_raw_and_restored() -> None:
    master, slave = os.openpty()
    before = termios.tcgetattr(slave)
    saved = native.tty_raw(slave)
    assert not termios.tcgetattr(slave)[3] & (termios.ICANON | termios.ECHO)
    native.tty_restore(slave, saved)
    assert termios.tcgetattr(slave) == before
    with open("/dev/null") as null, pytest.raises(OSError) as caught:
        native.tty_raw(null.fileno())
    assert caught.value.errno == errno.ENOTTY
    with pytest.raises(OSError):
        native.tty_restore(slave, b"too short")
    os.close(master)
    os.close(slave)


def test_window_sizes_are_copied() -> None:
    pairs = [os.openpty(), os.openpty()]
    fcntl.ioctl(pairs[0][1], termios.TIOCSWINSZ, struct.pack("HHHH", 17, 93, 0, 0))
    native.copy_winsize(pairs[0][0], pairs[1][0])
    assert os.get_terminal_size(pairs[1][1]) == (93, 17)
    with pytest.raises(OSError):
        native.copy_winsize(pairs[0][0], -1)
    for pair in pairs:
        for fd in pair:
            os.close(fd)


def test_an_abstract_name_begins_with_an_at_sign() -> None:
    name = f"pyrunc-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind("\0" + name)
        listener.listen()
        os.close(native.connect("@" + name, stream=True))
    with pytest.raises(ConnectionRefusedError):
        native.connect("@" + name, stream=True)
    ours = native.listen("@" + name)
    os.close(native.connect("@" + name))
    os.close(ours)


def test_pidfd_getfd_copies_a_descriptor() -> None:
    pidfd = os.pidfd_open(os.getpid())
    reader, writer = os.pipe()
    copy = native.pidfd_getfd(pidfd, reader)
    assert os.path.samestat(os.fstat(copy), os.fstat(reader))
    assert not os.get_inheritable(copy)
    for fd in (reader, writer, copy):
        os.close(fd)
    with pytest.raises(OSError) as raised:
        native.pidfd_getfd(pidfd, reader)
    assert raised.value.errno == errno.EBADF
    os.close(pidfd)


def test_copy_moves_what_there_is_and_says_why_it_ended() -> None:
    source, into = os.pipe2(os.O_NONBLOCK)
    out, target = os.pipe2(os.O_NONBLOCK)
    os.write(into, b"abcdef")
    assert native.Copier(4).copy(source, target, 4, 8) == (b"", errno.EAGAIN, 0)
    assert os.read(out, 100) == b"abcdef"
    os.write(into, b"abcdef")
    assert native.Copier(2).copy(source, target, 2, 2) == (b"", 0, 0)
    assert os.read(out, 100) == b"abcd"
    os.close(into)
    assert native.Copier(100).copy(source, target, 100, 8) == (b"", errno.EAGAIN, 0)
    assert os.read(out, 100) == b"ef"
    for fd in (source, out, target):
        os.close(fd)


@pytest.mark.parametrize(("room", "turns", "written"), [(4, 8, 4), (8, 8, 2), (11, 8, 2), (100, 8, 1), (100, 2, 1)])
def test_copy_writes_together_what_there_is_and_has_room(room: int, turns: int, written: int) -> None:
    """Each write of a SOCK_SEQPACKET socket is a message of its own."""
    source, into = os.pipe2(os.O_NONBLOCK)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        ours.setblocking(False)
        theirs.setblocking(False)
        os.write(into, b"abcdefghijklmn")
        rest, read_errno, write_errno = native.Copier(room).copy(source, ours.fileno(), 4, turns)
        assert (rest, read_errno, write_errno) == (b"", errno.EAGAIN if turns > 2 else 0, 0)
        messages = [theirs.recv(100) for _ in range(written)]
        with pytest.raises(BlockingIOError):
            theirs.recv(100)
    assert b"".join(messages) == (b"abcdefghijklmn" if turns > 2 else b"abcdefgh")
    os.close(source)
    os.close(into)


def test_copy_of_a_pty_s_output_waits_for_more_and_ends_when_there_is_none() -> None:
    master, slave = os.openpty()
    native.tty_raw(slave)
    os.set_blocking(master, False)
    out, target = os.pipe2(os.O_NONBLOCK)
    edges = native.epoll()
    native.epoll_watch(edges, master, native.EPOLLIN | native.EPOLLET)
    copier = native.Copier(8192, edges)
    for _ in range(3):
        os.write(slave, b"x" * 5000)
        got = 0
        while got < 5000:
            native.poll([master], -1)
            assert copier.copy(master, target, 1024, 64) == (b"", errno.EAGAIN, 0)
            got += len(os.read(out, 8192))
    for fd in (master, slave, out, target, edges):
        os.close(fd)


def test_copy_gives_back_what_has_no_room() -> None:
    source, into = os.pipe2(os.O_NONBLOCK)
    out, target = os.pipe2(os.O_NONBLOCK)
    fcntl.fcntl(target, fcntl.F_SETPIPE_SZ, 4096)
    os.write(into, b"a" * 4000 + b"b" * 4000)
    rest, read_errno, write_errno = native.Copier(8000).copy(source, target, 8000, 8)
    assert (read_errno, write_errno) == (0, errno.EAGAIN)
    assert os.read(out, 8192) + rest == b"a" * 4000 + b"b" * 4000
    os.close(out)
    os.write(into, b"x")
    try:
        assert native.Copier(8000).copy(source, target, 8000, 8) == (b"x", 0, errno.EPIPE)
    finally:
        for fd in (source, into, target):
            os.close(fd)


def test_copy_of_a_hung_up_terminal() -> None:
    master, slave = os.openpty()
    out, target = os.pipe()
    os.set_blocking(master, False)
    os.write(slave, b"last")
    os.close(slave)
    assert native.Copier(4096).copy(master, target, 4096, 8) == (b"", errno.EIO, 0)
    assert os.read(out, 10) == b"last"
    for fd in (master, out, target):
        os.close(fd)


def test_a_record_of_the_kernel_is_read_at_once() -> None:
    """proc(5): one read gets the whole file, also for a process with the longest name."""
    text = native.read_record("/proc/self/stat")
    assert text.startswith(f"{os.getpid()} (")
    assert text.endswith("\n")
    assert len(text.rpartition(")")[2].split()) == 50


def test_a_record_may_have_any_bytes(tmp_path: Path) -> None:
    (tmp_path / "record").write_bytes(b"na\xefve")
    assert native.read_record(str(tmp_path / "record")) == "na\udcefve"
    with pytest.raises(FileNotFoundError):
        native.read_record(str(tmp_path / "none"))


@pytest.mark.parametrize(
    ("events", "frozen"),
    [("populated 1\nfrozen 1\n", True), ("populated 0\nfrozen 0\n", False), ("", False), ("x" * 5000, False)],
)
def test_whether_a_cgroup_is_frozen(tmp_path: Path, events: str, frozen: bool) -> None:
    (tmp_path / "cgroup").mkdir()
    (tmp_path / "cgroup/cgroup.events").write_text(events)
    assert native.is_frozen(str(tmp_path / "cgroup")) is frozen
    fd = os.open(tmp_path, os.O_PATH)
    try:
        assert native.is_frozen("./cgroup", fd) is frozen
    finally:
        os.close(fd)


def test_a_cgroup_without_an_answer_is_told_and_a_fifo_does_not_hang(tmp_path: Path) -> None:
    """A1: another user's record can name any path."""
    with pytest.raises(FileNotFoundError):
        native.is_frozen(str(tmp_path))
    with pytest.raises(OSError, match="too long"):
        native.is_frozen("/" + "x/" * 2100)
    (tmp_path / "cgroup.events").symlink_to("fifo")
    with pytest.raises(OSError, match="symbolic"):
        native.is_frozen(str(tmp_path))
    (tmp_path / "cgroup.events").unlink()
    os.mkfifo(tmp_path / "cgroup.events")
    assert native.is_frozen(str(tmp_path)) is False


def _as_it_is(place: Path) -> None:
    pass


def _longest(place: Path) -> None:
    (place / "file").write_text("x" * 8191)


READ = [_as_it_is, _longest]


def _symlink(place: Path) -> None:
    (place / "file").rename(place / "other")
    (place / "file").symlink_to("other")


def _symlink_to_the_directory(place: Path) -> None:
    place.rename(place.with_name("other"))
    place.symlink_to("other")


def _no_directory(place: Path) -> None:
    place.rename(place.with_name("other"))
    place.touch()


def _hard_link(place: Path) -> None:
    os.link(place / "file", place / "other")


def _fifo(place: Path) -> None:
    (place / "file").unlink()
    os.mkfifo(place / "file", 0o600)


def _directory(place: Path) -> None:
    (place / "file").unlink()
    (place / "file").mkdir()


def _missing(place: Path) -> None:
    (place / "file").unlink()


def _group_may_write(place: Path) -> None:
    (place / "file").chmod(0o660)


def _others_may_write_to_the_directory(place: Path) -> None:
    place.chmod(0o757)


def _too_large(place: Path) -> None:
    (place / "file").write_text("x" * 8192)


def _anothers(place: Path) -> None:
    os.chown(place / "file", 1234, -1)


def _anothers_directory(place: Path) -> None:
    os.chown(place, 1234, -1)


NOT_READ = [
    _symlink, _symlink_to_the_directory, _no_directory, _hard_link, _fifo, _directory, _missing, _group_may_write,
    _others_may_write_to_the_directory, _too_large, pytest.param(_anothers, marks=ROOT_ONLY),
    pytest.param(_anothers_directory, marks=ROOT_ONLY),
]  # fmt: skip


@pytest.mark.parametrize("change", [*READ, *NOT_READ])
def test_a_file_of_one_s_own_is_read_and_no_other(tmp_path: Path, change: Callable[[Path], None]) -> None:
    """A1: what may be another user's is left to the code that says why it is refused."""
    place = tmp_path / "id"
    place.mkdir(0o755)
    (place / "file").write_text("é")
    (place / "file").chmod(0o600)
    change(place)
    fd = os.open(tmp_path, os.O_PATH)
    try:
        if change in READ:
            assert native.read_own(fd, "id", "file") == (place / "file").read_text()
            assert native.read_own(fd, "id", "file", native.room()) == (place / "file").read_text()
        else:
            with pytest.raises(OSError, match="Errno"):
                native.read_own(fd, "id", "file")
    finally:
        os.close(fd)
