"""The state directory: ids, the record, the lock, and the status that the kernel reports."""

from __future__ import annotations

import errno
import os
import posix
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from pyrunc import _wire, jsonio
from pyrunc.errors import PyruncError
from pyrunc.libcontainer import SPEC_VERSION, state
from pyrunc.libcontainer.kernel import native
from pyrunc.libcontainer.statedir import DamagedError
from tests.support.records import opened, record, record_of, saved, spec


@pytest.mark.parametrize("id", ["a", "A9_b+c-d.e", "...", "-", "x" * 255])
def test_legal_ids(id: str) -> None:
    assert state.directory("/run/pyrunc/", id) == "/run/pyrunc/" + id


@pytest.mark.parametrize("id", ["", ".", "..", "a/b", "../a", "a b", "a\n", "ä", "a:b", "x" * 256, "\u0663"])
def test_ids_that_are_none(id: str) -> None:
    with pytest.raises(PyruncError, match=r"container ID format|cannot be empty"):
        state.directory("/run/pyrunc", id)


def test_new_record_takes_from_the_spec_what_later_commands_need() -> None:
    hooks = {"poststart": [{"path": "/a"}], "poststop": [], "createRuntime": [{"path": "/b"}]}
    config = spec(
        hooks=hooks,
        annotations={"k": "v"},
        linux={"namespaces": [{"type": "mount"}, {"type": "pid", "path": "/proc/1/ns/pid"}]},
    )
    made = state.new_record(config, id="box", bundle="/bundle/", cgroup="/sys/fs/cgroup/box")
    assert made.hooks == {"poststart": [{"path": "/a"}]}
    assert made.rootfs == "/bundle/rootfs"
    assert made.annotations == {"k": "v"}
    assert made.ociVersion == "1.2.0"
    assert made.private_pid_namespace is False, "a joined pid namespace does not end with the container"
    config["linux"]["namespaces"][1] = {"type": "pid"}
    config["root"]["path"] = "/elsewhere"
    made = state.new_record(config, id="box", bundle="/bundle", cgroup="")
    assert (made.private_pid_namespace, made.rootfs) == (True, "/elsewhere")


def test_a_record_outlives_its_process(tmp_path: Path) -> None:
    made = record(17, 4711, "/sys/fs/cgroup/b\u00f6x")
    box = tmp_path / "box"
    box.mkdir()
    saved(box, made)
    saved(box, made)
    assert os.listdir(box) == ["state.json"]
    assert (box / "state.json").stat().st_mode & 0o777 == 0o600
    loaded = state.load(opened(box))
    assert loaded is not None
    assert loaded is not None
    assert loaded.values() == made.values()
    assert loaded.values()["version"] == state.FORMAT


def load(box: Path, text: str | None = None) -> state.Record | None:
    """The record that a state.json of this text gives."""
    box.mkdir(exist_ok=True)
    if text is not None:
        (box / "state.json").write_text(text)
        (box / "state.json").chmod(0o600)
    return state.load(opened(box))


def values(**changes: Any) -> Any:
    """The values of the container `box` in state.json, with these changes."""
    return {**record(17, 4711, "/sys/fs/cgroup/box").values(), **changes}


def test_load_finds_none_and_tells_damage(tmp_path: Path) -> None:
    box = tmp_path / "box"
    assert load(box) is None
    for text in ("{", '{"id": "x"}'):
        with pytest.raises(PyruncError, match="damaged"):
            load(box, text)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "line 1, column 1"), ("[]", "not an object"), ("5", "not an object"), ("null", "not an object"),
        ('"x"', "not an object"), ("true", "not an object"), ("[" * 100_000, "nested too deeply"), ("\udcff", "line 1"),
    ],
)  # fmt: skip
def test_a6_what_is_no_state_is_told(tmp_path: Path, text: str, reason: str) -> None:
    """A6: any JSON, and any other text, in state.json."""
    box = tmp_path / "box"
    box.mkdir()
    (box / "state.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(DamagedError, match=f"the container's state in .* is damaged: .*{reason}"):
        load(box)


WRONG: list[Any] = [None, 5, -1, 1.5, True, "text", "/p\0", [], [5], {}, {"a": 5}, {"a": [5]}, 1 << 70]
RIGHT: dict[str, list[Any]] = {
    "annotations": [{}], "bundle": [], "cgroup": [], "created": ["text"], "hooks": [{}], "id": [],
    "ociVersion": ["text"], "ownPids": [True], "owner": [5], "pid": [5], "rootfs": [], "startSteps": [[]],
    "startTime": [5], "systemd": [{}], "version": [],
}  # fmt: skip


@pytest.mark.parametrize("entry", ["[" * 11 + "]" * 11, '{"a":' * 400 + "1" + "}" * 400, "1e999"])
def test_a6_an_update_that_could_not_be_shown_is_told(tmp_path: Path, entry: str) -> None:
    text = jsonio.dumps(values(updated="@")).replace('"@"', '{"mounts":[' + entry + "]}")
    with pytest.raises(DamagedError, match=r"is damaged: (updated is not lists|.* too large)"):
        load(tmp_path / "box", text)


@pytest.mark.parametrize("name", sorted(RIGHT))
def test_a6_a_wrong_value_anywhere_is_told(tmp_path: Path, name: str) -> None:
    """A6: each member with a value of each wrong type."""
    for value in WRONG:
        text = jsonio.dumps(values(**{name: value}))
        if any(value is right or (value == right and type(value) is type(right)) for right in RIGHT[name]):
            assert load(tmp_path / "box", text) is not None
        else:
            with pytest.raises(DamagedError, match="is damaged"):
                load(tmp_path / "box", text)


GLANCED: list[Any] = [
    "", "/p", "p/", "a\0", 0, (1 << 31) - 1, 1 << 31, (1 << 64) - 1, 1 << 64, False, {"a": "text"}, {"a": []},
    {"a": [], "b": 1}, {"unit": "x", "user": True}, {"unit": "x"}, {"user": True}, {"unit": "a\0", "user": False},
    {"unit": "x", "user": 1}, {"unit": 5, "user": True}, [[1, "execute", [], "/process"]], [[1, "execute", []]],
    [[True, "execute", [], "/process"]], [[1, "execute", {}, "/process"]], [[1, "execute", [], None]],
    [[1, None, [], ""]], [(1, "execute", [], "/process")],
]  # fmt: skip


def test_the_glance_at_a_record_sees_what_the_table_of_its_members_says() -> None:
    """The table is used only if the check in C finds something, so that must find at least as much. It leaves hooks
    and updates to the table."""
    whole = values()
    assert _wire.is_record(whole)
    assert not _wire.is_record({})
    for name, is_right, _ in state._FIELDS:
        assert not _wire.is_record({key: value for key, value in whole.items() if key != name})
        for value in [*WRONG, *GLANCED]:
            right = is_right(value) and (name not in ("hooks", "updated") or not value)
            assert _wire.is_record({**whole, name: value}) == right, (name, value)
    hooks = {"poststop": [{"path": "/hook"}]}
    assert not _wire.is_record({**whole, "hooks": hooks})
    assert state.judged({**whole, "hooks": hooks}, whole["id"]).hooks == hooks
    with pytest.raises(TypeError):
        _wire.is_record([])  # type: ignore[arg-type]


def test_a_record_takes_each_member_and_misses_none() -> None:
    """csrc/wire/record.c has the names a second time."""
    whole = {**values(), **{name: object() for name in state._defaults()}}
    made = state.Record(whole)
    assert made.values() == {**whole, "version": state.FORMAT}
    made.pid = 7
    assert made.values()["pid"] == 7
    for name in whole:
        if name != "version":
            with pytest.raises(KeyError, match=name):
                state.Record({key: value for key, value in whole.items() if key != name})
    record_type: Any = state.Record
    arguments: list[tuple[Any, ...]] = [(), ([],), (whole, whole)]
    for wrong in arguments:
        with pytest.raises(TypeError):
            record_type(*wrong)
    with pytest.raises(TypeError):
        record_type(values=whole)


@pytest.mark.parametrize(
    "inner",
    [
        {"hooks": {"poststop": [{"path": "relative"}]}}, {"hooks": {"poststop": [{"args": ["x"]}]}},
        {"hooks": {"poststop": [{"path": "/x", "args": "x"}]}}, {"hooks": {"poststop": [{"path": "/x", "env": [1]}]}},
        {"hooks": {"poststop": [{"path": "/x", "timeout": "1"}]}}, {"hooks": {"poststop": {}}},
        {"startSteps": [[1, "execute", [], 5]]}, {"startSteps": [[1, "execute", []]]}, {"startSteps": [{}]},
        {"systemd": {"unit": "x.scope"}}, {"systemd": {"unit": 5, "user": True}}, {"annotations": {"a": None}},
    ],
)  # fmt: skip
def test_a6_a_wrong_value_deep_inside_is_told(tmp_path: Path, inner: Any) -> None:
    with pytest.raises(DamagedError, match="is damaged"):
        load(tmp_path / "box", jsonio.dumps(values(**inner)))


def test_a6_states_of_the_neighbouring_versions_are_read(tmp_path: Path) -> None:
    """A6: the previous release has no version; a later minor version has members that this one does not know."""
    box = tmp_path / "box"
    first = values()
    del first["version"]
    later = {**values(version="1.9"), "checkpoint": {"x": [1]}}
    least = {name: first[name] for name in ("id", "pid", "startTime", "bundle")}
    for one in (first, later, least):
        loaded = load(box, jsonio.dumps(one))
        assert loaded is not None
        assert (loaded.pid, loaded.startTime, loaded.bundle) == (17, 4711, "/bundle")
    assert loaded is not None
    assert loaded.values() == {
        **values(), "annotations": {}, "cgroup": "", "created": "", "ociVersion": SPEC_VERSION, "owner": 0,
        "ownPids": False, "rootfs": "",
    }  # fmt: skip
    for version in ("2.0", "0.9", "x", ""):
        with pytest.raises(DamagedError, match=r"reads 1\.2"):
            load(box, jsonio.dumps(values(version=version)))


def test_a6_the_state_of_another_container_is_not_believed(tmp_path: Path) -> None:
    """A6, A1: the owner of the state root can rename the directories in it."""
    with pytest.raises(DamagedError, match="it is the state of 'other'"):
        load(tmp_path / "box", jsonio.dumps(values(id="other")))


def test_ids_of_a_root(tmp_path: Path) -> None:
    for name in ("b", "a-1.x_+", "c" * 255):
        (tmp_path / name).mkdir()
    assert state.ids(str(tmp_path)) == ["a-1.x_+", "b", "c" * 255]
    for name in (":compiled", "a b", "é", "x~"):
        (tmp_path / name).mkdir()
        assert state.ids(str(tmp_path)) == ["a-1.x_+", "b", "c" * 255]
        (tmp_path / name).rmdir()
    with pytest.raises(FileNotFoundError):
        state.ids(str(tmp_path / "none"))


def test_the_glance_at_a_container_sees_what_a_look_sees(tmp_path: Path) -> None:
    """`list` reads a state with one call of C; where that finds anything unusual, the look at the open directory
    says what."""
    made = record()
    (tmp_path / "box").mkdir()
    saved(tmp_path / "box", made)
    root = os.open(tmp_path, os.O_PATH)
    try:
        found = state.load_own(root, "box")
        assert found is not None
        assert found.values() == made.values()
        (tmp_path / "box").rename(tmp_path / "other")
        assert state.load_own(root, "other") is None  # it has another id
        (tmp_path / "other" / "state.json").write_text("{")
        assert state.load_own(root, "other") is None
        assert state.load_own(root, "none") is None
    finally:
        os.close(root)


def test_describe_has_runcs_fields_in_runcs_order() -> None:
    made = record(17)
    made.annotations = {"k": "v"}
    fields = ["ociVersion", "id", "pid", "status", "bundle", "rootfs", "created", "annotations", "owner"]
    assert list(made.describe("running", "root")) == fields
    assert made.describe("running")["pid"] == 17
    assert made.describe("stopped")["pid"] == 0
    made.annotations = {}
    assert "annotations" not in made.describe("running")


def test_hook_state_has_the_specifications_fields() -> None:
    made = record(17)
    made.annotations = {"k": "v"}
    assert '"status":"creating","pid":17,"bundle":"/bundle","annotations":{"k":"v"}' in made.hook_state("creating")
    assert '"pid"' not in made.hook_state("stopped")


def test_now_is_rfc_3339_in_utc_with_nanoseconds(monkeypatch: pytest.MonkeyPatch) -> None:
    for nanoseconds, text in ((0, "Z"), (120, ".00000012Z"), (500_000_000, ".5Z")):
        monkeypatch.setattr(time, "time_ns", lambda extra=nanoseconds: 1_700_000_000 * 10**9 + extra)
        assert state.now() == "2023-11-14T22:13:20" + text


class TestStatus:
    @pytest.fixture
    def child(self) -> Any:
        child = subprocess.Popen(["sleep", "60"])
        yield child
        child.kill()
        child.wait()

    def test_running(self, child: Any, tmp_path: Path) -> None:
        assert state.status(str(tmp_path), record_of(child.pid)) == "running"

    def test_a_stale_socket_makes_no_created_container(self, child: Any, tmp_path: Path) -> None:
        (tmp_path / "start.sock").touch()
        assert state.status(str(tmp_path), record_of(child.pid)) == "running"

    def test_created_is_an_init_with_a_socket(self, tmp_path: Path) -> None:
        one, two = socket.socketpair()
        child = os.fork()
        if child == 0:
            one.close()
            Path("/proc/self/comm").write_text("pyrunc:[init]")
            two.send(b"x")
            two.recv(1)
            os._exit(0)
        two.close()
        one.recv(1)
        made = record_of(child)
        try:
            assert state.status(str(tmp_path), made) == "running"
            with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
                listener.bind(str(tmp_path / "start.sock"))
                listener.listen()
                listener.setblocking(False)
                assert state.status(str(tmp_path), made) == "created"
                with pytest.raises(BlockingIOError):  # nobody has connected to find that out
                    listener.accept()
            # F11: a program that has taken the init's name, and a socket that a killed `start` has left
            assert state.status(str(tmp_path), made) == "running"
        finally:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)

    def test_a_process_that_listens_in_the_init_s_place_makes_no_created_container(
        self, child: Any, tmp_path: Path
    ) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
            listener.bind(str(tmp_path / "start.sock"))
            listener.listen()
            assert state.status(str(tmp_path), record_of(child.pid)) == "running"
            made = record_of(child.pid)
            child.kill()
            child.wait()
            assert state.status(str(tmp_path), made) == "stopped"
            shared = state.Shared()
            assert state.status(str(tmp_path), made, shared) == "stopped"
            shared.close()

    def test_without_the_permission_to_ask_the_name_decides(
        self, child: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """unix(7): EACCES of connect(2), for a socket of another user."""
        (tmp_path / "start.sock").touch()
        monkeypatch.setattr(native, "ask_socket", lambda fd, path: errno.EACCES)
        made = record_of(child.pid)
        assert state.status(str(tmp_path), made) == "running"
        monkeypatch.setattr(state, "INIT_NAME", Path(f"/proc/{child.pid}/comm").read_text().strip())
        assert state.status(str(tmp_path), made) == "created"

    def test_paused_is_a_frozen_cgroup(self, child: Any, tmp_path: Path) -> None:
        made = record_of(child.pid)
        made.cgroup = str(tmp_path)
        for events, status in (("populated 1\nfrozen 1\n", "paused"), ("populated 1\nfrozen 0\n", "running")):
            (tmp_path / "cgroup.events").write_text(events)
            assert state.status(str(tmp_path), made) == status

    @pytest.mark.parametrize("number", [errno.ENODEV, errno.ENOENT])
    def test_a7_a_cgroup_that_goes_meanwhile_is_not_frozen(
        self, child: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
    ) -> None:
        """A7: the cgroup is removed between the open of its file and the read, which gives ENODEV."""
        made = record_of(child.pid)
        made.cgroup = str(tmp_path)
        (tmp_path / "cgroup.events").write_text("frozen 1\n")

        def is_frozen(cgroup: str) -> bool:
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr(native, "is_frozen", is_frozen)
        assert state.status(str(tmp_path), made) == "running"

    def test_a1_a_fifo_in_a_cgroup_s_place_does_not_hang(self, child: Any, tmp_path: Path) -> None:
        """A1: another user's record can name any path."""
        made = record_of(child.pid)
        made.cgroup = str(tmp_path)
        os.mkfifo(tmp_path / "cgroup.events")
        assert state.status(str(tmp_path), made) == "running"

    def test_stopped_when_gone_a_zombie_or_another_process(self, child: Any, tmp_path: Path) -> None:
        made = record_of(child.pid)
        made.startTime -= 1
        assert state.status(str(tmp_path), made) == "stopped"
        made.startTime += 1
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert state.status(str(tmp_path), made) == "stopped"
        child.wait()
        assert state.status(str(tmp_path), made) == "stopped"


def test_replace_leaves_the_old_file_and_no_draft_on_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "pid"
    state.replace(str(path), "1", 0o644)
    with monkeypatch.context() as patched:
        patched.setattr(posix, "rename", lambda *a, **k: (_ for _ in ()).throw(OSError(28, "full")))
        with pytest.raises(OSError, match="full"):
            state.replace(str(path), "2", 0o644)
    assert path.read_text() == "1"
    assert os.listdir(tmp_path) == ["pid"]


def test_make_root_takes_what_another_has_just_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """F9: two commands that are the first ones in a root, at the same time."""
    root = str(tmp_path / "a/root")
    mkdir = posix.mkdir

    def after_another(path: str, mode: int) -> None:
        mkdir(path, mode)
        if path == str(tmp_path / "a"):
            mkdir(root, mode)

    monkeypatch.setattr(posix, "mkdir", after_another)
    state.make_root(root)
    assert Path(root).is_dir()


def test_make_root_makes_what_is_missing(tmp_path: Path) -> None:
    root = tmp_path / "a" / "b" / "c"
    state.make_root(str(root))
    state.make_root(str(root))
    assert root.stat().st_mode & 0o777 == 0o700
