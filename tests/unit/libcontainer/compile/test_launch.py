"""compile_launch: the order of a plan's effects, and the effect of the command line's options."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pyrunc.errors import PyruncError
from pyrunc.libcontainer.plan.host import HostFacts
from tests.support.plans import compiled, find, kinds, minimal, values, with_linux, with_process

ROOT = Path(__file__).resolve().parents[4]


def test_the_runtime_prepares_in_this_order() -> None:
    spec = with_linux("user", "pid")
    spec["process"]["terminal"] = True
    spec["linux"]["namespaces"].append({"type": "network", "path": "/run/netns/a"})
    spec["mounts"] = [{"destination": "/data", "source": "/srv", "options": ["bind"]}]
    plan = compiled(spec, command="create", console_socket="/run/c.sock")
    assert [step.kind for step in plan.prepare] == [
        "state_dir",
        "cgroup_create",
        "open_namespace",
        "console_socket",
        "open_source",
        "start_socket",
        "clone",
    ]
    assert [step.kind for step in plan.beside] == ["cgroup_devices"]


def test_run_has_no_start_socket_and_waits_for_the_runtime_alone() -> None:
    plan = compiled(minimal(), command="run")
    assert not find(plan, "start_socket")
    assert values(find(plan, "await_start")[0], "listener") == (None,)


def test_create_waits_at_the_start_socket() -> None:
    plan = compiled(minimal(), command="create", root="/r")
    assert values(find(plan, "start_socket")[0], "path") == ("/r/box/start.sock",)
    assert values(find(plan, "await_start")[0], "listener") == ("start",)


def test_a_rootless_runtime_needs_a_user_namespace() -> None:
    with pytest.raises(PyruncError) as caught:
        compiled(minimal(), HostFacts(euid=1000))
    assert caught.value.message == "rootless container requires user namespaces"
    assert caught.value.pointer == "/linux/namespaces"


@pytest.mark.parametrize("path", ["/srv/rootfs", "rootfs", "sub/../rootfs", "/srv/./rootfs/"])
def test_the_rootfs_is_absolute_and_clean(path: str) -> None:
    plan = compiled(minimal(root={"path": path}), bundle="/srv")
    assert values(find(plan, "rootfs")[0], "path") == ("/srv/rootfs",)
    assert values(find(plan, "parent_private")[0], "path") == ("/srv/rootfs",)


def test_the_state_directory_and_the_state_are_those_of_the_id() -> None:
    plan = compiled(minimal(), id="web", root="/run/x", pid_file="/tmp/web.pid")
    assert values(find(plan, "state_dir")[0], "path") == ("/run/x/web",)
    assert values(find(plan, "save_state")[0], "path") == ("/run/x/web/state.json",)
    assert values(find(plan, "write_pid_file")[0], "path") == ("/tmp/web.pid",)
    assert kinds(plan).index("save_state") < kinds(plan).index("write_pid_file")


def test_nothing_is_written_where_no_pid_file_is_wanted() -> None:
    assert not find(compiled(minimal()), "write_pid_file")


@pytest.mark.parametrize(("preserved", "first"), [(0, 3), (4, 7)])
def test_preserved_descriptors_begin_at_3(preserved: int, first: int) -> None:
    assert values(find(compiled(minimal(), preserve_fds=preserved), "keep_fds")[0], "first") == (first,)


def test_terminal_is_told() -> None:
    assert compiled(with_process(terminal=True)).terminal
    assert not compiled(minimal()).terminal


def test_the_spec_is_left_as_it_was() -> None:
    spec: dict[str, Any] = with_linux("user", "time", "cgroup")
    before = repr(spec)
    compiled(spec)
    assert repr(spec) == before


def test_compiling_needs_no_module_of_the_standard_library() -> None:
    """The launcher has only built-in modules and pyrunc's own."""
    program = (
        "import sys; before = set(sys.modules)\n"
        "import pyrunc.libcontainer.compile\n"
        "print(*sorted(name for name in set(sys.modules) - before if not name.startswith('pyrunc')))"
    )
    found = subprocess.run(
        [sys.executable, "-I", "-S", "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r})\n{program}"],
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    assert set(found) <= {"__future__", "errno", "posix", "time", "_json", "_signal"}
