"""The runtime's steps: each has a handler of the right arity, and writes its effect to the ledger before it makes
it.
"""

from __future__ import annotations

import ast
import inspect
import os
import socket
import textwrap
from pathlib import Path
from typing import Any

import pytest

from pyrunc.errors import PyruncError
from pyrunc.libcontainer import state
from pyrunc.libcontainer.kernel import native
from pyrunc.libcontainer.launch import handlers, ledger
from pyrunc.libcontainer.plan.kinds import KINDS, RUNTIME_KINDS
from pyrunc.libcontainer.plan.model import Step
from tests.support.launches import launched
from tests.support.records import opened

HANDLERS = handlers.HANDLERS


# A value of a field in the plan, by the field's type on the wire.
PLAN_TYPES = {"u32": "int", "u64": "int", "i64": "int", "str": "str", "strv": "tuple[str, ...]"}


def registered() -> list[tuple[str, Any]]:
    """Each registration in the source of the module: the kind, and the function that must handle it."""
    tree = ast.parse(Path(handlers.__file__).read_text(encoding="utf-8"))
    found = []
    for node in tree.body:
        for decorator in getattr(node, "decorator_list", ()):
            assert isinstance(node, ast.FunctionDef)
            assert isinstance(decorator, ast.Call)
            assert isinstance(decorator.args[0], ast.Constant)
            found.append((str(decorator.args[0].value), getattr(handlers, node.name)))
    return found


def test_every_kind_of_the_runtime_has_one_handler() -> None:
    kinds = [kind for kind, _ in registered()]
    assert sorted(kinds) == sorted(kind.name for kind in RUNTIME_KINDS)
    assert set(HANDLERS) == set(kinds)


@pytest.mark.parametrize(("name", "function"), registered())
def test_a_handler_takes_fields_of_its_kind_that_it_uses(name: str, function: Any) -> None:
    kind = KINDS[name]
    types = {field: PLAN_TYPES[type] for field, type in kind.fields}
    types |= {field: type for field, type in kind.python_types.items() if type.endswith("None")}
    annotations = {parameter.removesuffix("_"): type for parameter, type in inspect.get_annotations(function).items()}
    assert annotations.pop("return") == "None"
    own = list(annotations)
    if own and annotations[own[0]] == "Launch":
        del annotations[own[0]]
    assert annotations.items() <= types.items()
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    assert set(inspect.signature(function).parameters) <= used


def test_a_handler_gets_the_arguments_that_it_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handlers, "HANDLERS", {})
    got: list[tuple[object, ...]] = []

    @handlers.handles("set_io_priority")
    def some(class_: int) -> None:
        got.append((class_,))

    handlers.HANDLERS["set_io_priority"]("launch", 1, 2)

    @handlers.handles("cgroup_owner")
    def behind(launch: object, uid: int) -> None:
        got.append((launch, uid))

    handlers.HANDLERS["cgroup_owner"]("launch", "/cgroup", 5)

    @handlers.handles("set_io_priority")
    def all_of_them(launch: object, class_: int, priority: int) -> None:
        got.append((launch, class_, priority))

    handlers.HANDLERS["set_io_priority"]("launch", 1, 2)
    assert handlers.HANDLERS["set_io_priority"] is all_of_them
    assert got == [(1,), ("launch", 5), ("launch", 1, 2)]
    del some, behind


class TestStateDir:
    def test_claims_the_id_and_begins_the_ledger(self, tmp_path: Path) -> None:
        launch = launched(tmp_path)
        path = launch.options.state_dir
        HANDLERS["state_dir"](launch, path)
        assert os.stat(path).st_mode & 0o7777 == 0o1711
        entries = ledger.read(opened(path)).entries
        assert [entry["effect"] for entry in entries] == ["state_dir"]
        assert state.Record(entries[0]).values() == launch.record.values()
        assert opened(path).is_locked()
        os.close(launch.state_dir_fd)

    def test_refuses_an_id_that_is_taken(self, tmp_path: Path) -> None:
        launch, second = launched(tmp_path), launched(tmp_path)
        path = launch.options.state_dir
        HANDLERS["state_dir"](launch, path)
        for _ in range(2):  # while it is created, and afterwards
            with pytest.raises(PyruncError, match="container with given ID already exists"):
                HANDLERS["state_dir"](second, path)
            state.save(launch.state_dir_fd, launch.record)
        os.close(launch.state_dir_fd)
        with pytest.raises(PyruncError, match="already exists"):
            HANDLERS["state_dir"](second, path)

    def test_sweeps_what_a_dead_create_left(self, tmp_path: Path) -> None:
        dead = launched(tmp_path)
        path = dead.options.state_dir
        HANDLERS["state_dir"](dead, path)
        pid_file = tmp_path / "pid"
        pid_file.write_text("4711")
        dead.ledger.record("pid_file", path=str(pid_file), content="4711")
        os.close(dead.state_dir_fd)
        launch = launched(tmp_path)
        HANDLERS["state_dir"](launch, path)
        assert not pid_file.exists()
        assert len(ledger.read(opened(path)).entries) == 1
        os.close(launch.state_dir_fd)

    def test_tries_again_where_another_swept_it_before_the_lock(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        real = native.flock
        swept: list[Any] = []

        def lock(fd: int, exclusive: bool, wait: bool) -> None:
            if not swept:
                swept.append(fd)
                os.rmdir(launch.options.state_dir)
            real(fd, exclusive, wait)

        launch = launched(tmp_path)
        monkeypatch.setattr(native, "flock", lock)
        HANDLERS["state_dir"](launch, launch.options.state_dir)
        assert swept
        assert launch.state_dir_fd >= 0
        os.close(launch.state_dir_fd)


def test_start_socket_fills_its_slot_and_outlines_what_start_may_fail_at(tmp_path: Path) -> None:
    steps = (
        Step("ready", "ready"),
        Step("start", "await_start", ("start",)),
        Step("start", "execute", (("sh", "-c", "x"), ("A=1", "SECRET=2")), "/process/args"),
    )
    launch = launched(tmp_path, *steps)
    launch.state_dir_fd = os.open(tmp_path, os.O_RDONLY)
    HANDLERS["start_socket"](launch, str(tmp_path / "start.sock"))
    assert list(launch.slots) == ["start"]
    assert launch.record.startSteps == [
        [1, "await_start", ["start"], ""],
        [2, "execute", [("sh",), ("A=1",)], "/process/args"],
    ]
    os.close(launch.state_dir_fd)
    os.close(native.connect(str(tmp_path / "start.sock")))
    os.close(launch.slots["start"])


class TestOpenNamespace:
    @pytest.mark.parametrize(
        ("kind", "name"),
        [("network", "net"), ("mount", "mnt"), ("pid", "pid_for_children"), ("time", "time"), ("user", "user")],
    )
    def test_opens_what_is_of_the_type(self, tmp_path: Path, kind: str, name: str) -> None:
        launch = launched(tmp_path)
        HANDLERS["open_namespace"](launch, "namespace:x", kind, f"/proc/self/ns/{name}")
        assert native.fs_magic(launch.slots["namespace:x"]) == native.NSFS_MAGIC
        os.close(launch.slots["namespace:x"])

    @pytest.mark.parametrize("path", ["/proc/self/ns/uts", "/proc/self/status", "/dev/null"])
    def test_refuses_what_is_not(self, tmp_path: Path, path: str) -> None:
        with pytest.raises(PyruncError, match="is not a namespace of type network"):
            HANDLERS["open_namespace"](launched(tmp_path), "namespace:x", "network", path)

    def test_refuses_a_file_whose_name_looks_like_one(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "net:[4026531840]").touch()
        monkeypatch.chdir(tmp_path)
        with pytest.raises(PyruncError, match="is not a namespace"):
            HANDLERS["open_namespace"](launched(tmp_path), "namespace:x", "network", "net:[4026531840]")


def test_pid_file_is_in_the_ledger_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    launch = launched(tmp_path)
    HANDLERS["state_dir"](launch, launch.options.state_dir)
    launch.init.pid = 4711
    path = str(tmp_path / "pid")
    with monkeypatch.context() as patched:
        patched.setattr(state, "replace", lambda *args: (_ for _ in ()).throw(OSError(28, "full")))
        with pytest.raises(OSError, match="full"):
            HANDLERS["write_pid_file"](launch, path)
    entry = ledger.read(opened(launch.options.state_dir)).entries[-1]
    assert entry == {"effect": "pid_file", "path": path, "content": "4711", "draft": state.tmp_name(path)}
    HANDLERS["write_pid_file"](launch, path)
    assert Path(path).read_text() == "4711"
    os.close(launch.state_dir_fd)


def test_receive_console_passes_the_master_on_or_keeps_it(tmp_path: Path) -> None:
    launch = launched(tmp_path)
    with pytest.raises(PyruncError, match="no pty"):
        HANDLERS["receive_console"](launch, 1)
    launch.init.master = os.dup(0)
    HANDLERS["receive_console"](launch, 1)
    assert launch.init.master >= 0
    ours, theirs = socket.socketpair()
    launch.console_socket = theirs.detach()
    HANDLERS["receive_console"](launch, 0)
    assert (launch.init.master, launch.console_socket) == (-1, -1)
    fds = socket.recv_fds(ours, 100, 2)[1]
    assert len(fds) == 1
    os.close(fds[0])
    ours.close()
