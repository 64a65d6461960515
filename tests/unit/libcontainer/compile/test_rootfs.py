"""The rootfs phase: its order, propagation, the terminal, read-only and masked paths."""

from __future__ import annotations

from typing import Any

import pytest

from pyrunc.errors import PyruncError
from pyrunc.libcontainer.kernel.constants import MS_PRIVATE, MS_REC, MS_SHARED, MS_SLAVE, MS_UNBINDABLE
from tests.support.plans import compiled, find, kinds, minimal, values, with_linux, with_process


def test_the_whole_order() -> None:
    spec = with_linux("network", maskedPaths=["/proc/kcore"], readonlyPaths=["/proc/sys"], rootfsPropagation="shared")
    spec["linux"]["sysctl"] = {"net.core.somaxconn": "1"}
    spec["root"]["readonly"] = True
    spec["process"].update(terminal=True, cwd="/work")
    spec["mounts"] = [{"destination": "/tmp", "type": "tmpfs", "options": ["ro"]}]
    spec["hooks"] = {name: [{"path": "/h"}] for name in ("createRuntime", "createContainer")}
    plan = compiled(spec)
    order = [step.kind for step in plan.steps() if step.phase == "rootfs"]
    once = [kind for index, kind in enumerate(order) if kind not in order[:index]]
    assert once == [
        "propagation",
        "parent_private",
        "rootfs",
        "mount",
        "mknod",
        "bind_device",
        "symlink",
        "console",
        "send_console",
        "receive_console",
        "make_cwd",
        "request",
        "runtime_hook",
        "container_hook",
        "sysctl",
        "readonly_path",
        "mask_path",
        "seal_mount",
        "readonly_rootfs",
        "pivot_root",
        "root_propagation",
    ]


@pytest.mark.parametrize(
    ("word", "at_start", "parent_private", "at_end"),
    [
        ("", (MS_SLAVE, 1), True, None),
        ("slave", (MS_SLAVE, 1), False, None),
        ("rslave", (MS_SLAVE, 1), False, None),
        ("private", (MS_PRIVATE, 0), True, None),
        ("rprivate", (MS_PRIVATE, 1), True, None),
        ("shared", (MS_SHARED, 0), True, (MS_SHARED, 0)),
        ("rshared", (MS_SHARED, 1), True, (MS_SHARED, 1)),
        ("unbindable", (MS_PRIVATE, 1), True, (MS_UNBINDABLE, 0)),
        ("runbindable", (MS_PRIVATE, 1), True, (MS_UNBINDABLE, 1)),
    ],
)
def test_propagation(
    word: str, at_start: tuple[int, int], parent_private: bool, at_end: tuple[int, int] | None
) -> None:
    plan = compiled(with_linux(rootfsPropagation=word))
    assert [step.args for step in find(plan, "propagation")] == [at_start]
    assert bool(find(plan, "parent_private")) is parent_private
    assert [step.args for step in find(plan, "root_propagation")] == ([at_end] if at_end else [])
    pointer = "/linux/rootfsPropagation" if word else ""
    assert {step.pointer for step in find(plan, "propagation", "root_propagation")} == {pointer}


def test_without_pivot_root_the_root_is_moved() -> None:
    assert find(compiled(minimal(), no_pivot=True), "move_root", "pivot_root")[0].kind == "move_root"
    assert find(compiled(minimal()), "move_root", "pivot_root")[0].kind == "pivot_root"


@pytest.mark.parametrize("word", ["private", "rprivate"])
def test_private_is_not_safe_without_pivot_root(word: str) -> None:
    with pytest.raises(PyruncError, match="not safe without pivot_root") as caught:
        compiled(with_linux(rootfsPropagation=word), no_pivot=True)
    assert caught.value.pointer == "/linux/rootfsPropagation"


def chrooted(**process: Any) -> Any:
    spec = with_process(**process)
    spec["linux"]["namespaces"] = [{"type": "pid"}, {"type": "network"}]
    return spec


def test_without_a_mount_namespace_there_is_a_chroot_and_no_mount() -> None:
    spec = chrooted(cwd="/work")
    spec["hooks"] = {name: [{"path": "/h"}] for name in ("createRuntime", "createContainer")}
    spec["linux"]["sysctl"] = {"net.core.somaxconn": "1"}
    plan = compiled(spec)
    order = [step.kind for step in plan.steps() if step.phase == "rootfs"]
    assert order == ["request", "runtime_hook", "container_hook", "sysctl", "chroot", "make_cwd"]
    assert values(find(plan, "chroot")[0], "path") == ("/bundle/rootfs",)


def test_without_a_mount_namespace_the_mounts_hang_below_the_rootfs_on_itself() -> None:
    spec = chrooted()
    spec["mounts"] = [{"destination": "/dev", "type": "tmpfs", "options": ["ro"]}]
    plan = compiled(spec)
    assert values(find(plan, "host_mounts")[0], "rootfs") == ("/bundle/rootfs",)
    assert values(find(plan, "remount")[0], "target", "propagation") == ("/", MS_PRIVATE | MS_REC)
    order = [kind for kind in kinds(plan) if kind in ("rootfs", "remount", "mount", "mknod", "seal_mount", "chroot")]
    assert list(dict.fromkeys(order)) == ["rootfs", "remount", "mount", "mknod", "seal_mount", "chroot"]


def test_a_container_s_dev_is_not_filled_where_it_has_no_mount_namespace() -> None:
    spec = chrooted()
    spec["mounts"] = [{"destination": "/dev", "source": "/dev", "options": ["rbind"]}]
    assert not find(compiled(spec), "mknod")


def test_the_terminal_in_a_chroot_is_not_bound_on_dev_console() -> None:
    plan = compiled(chrooted(terminal=True))
    assert kinds(plan).index("chroot") < kinds(plan).index("console")
    assert values(find(plan, "console")[0], "mount") == (0,)


def test_a_joined_mount_namespace_gets_the_rootfs_too() -> None:
    spec = minimal()
    spec["linux"]["namespaces"] = [{"type": "mount", "path": "/proc/7/ns/mnt"}]
    assert find(compiled(spec), "pivot_root")


def test_the_terminal() -> None:
    spec = with_process(terminal=True, consoleSize={"width": 80, "height": 25})
    plan = compiled(spec)
    assert values(find(plan, "console")[0], "ptmx", "width", "height", "mount") == ("/dev/pts/ptmx", 80, 25, 1)
    assert [step.args for step in plan.served["send_console"]] == [(1,)]
    assert not find(plan, "reopen_null", "new_session")
    assert find(plan, "terminal_stdio")


def test_the_console_size_is_ignored_without_a_terminal() -> None:
    plan = compiled(with_process(consoleSize={"width": 80, "height": 25}))
    assert not find(plan, "console", "send_console", "terminal_stdio", "console_socket")


@pytest.mark.parametrize("options", [{"command": "create"}, {"detach": True}], ids=["create", "run --detach"])
def test_who_does_not_stay_must_give_the_terminal_away(options: dict[str, Any]) -> None:
    with pytest.raises(PyruncError) as caught:
        compiled(with_process(terminal=True), **options)
    assert caught.value.message == "cannot allocate tty if pyrunc will detach without setting console socket"
    plan = compiled(with_process(terminal=True), console_socket="/run/c.sock", **options)
    assert [step.args for step in find(plan, "console_socket")] == [("/run/c.sock",)]
    assert [step.args for step in plan.served["send_console"]] == [(0,)]


@pytest.mark.parametrize(
    ("terminal", "options"), [(False, {"command": "create"}), (False, {"detach": True}), (True, {}), (False, {})]
)
def test_a_console_socket_that_nobody_needs(terminal: bool, options: dict[str, Any]) -> None:
    with pytest.raises(PyruncError) as caught:
        compiled(with_process(terminal=terminal), console_socket="/run/c.sock", **options)
    assert caught.value.message == "cannot use console socket if pyrunc will not detach or allocate tty"


def test_read_only_and_masked_paths_in_listed_order() -> None:
    plan = compiled(with_linux(readonlyPaths=["/b", "/a"], maskedPaths=["/d", "/c"]))
    assert [(step.kind, *step.args, step.pointer) for step in find(plan, "readonly_path", "mask_path")] == [
        ("readonly_path", "/b", "/linux/readonlyPaths/0"),
        ("readonly_path", "/a", "/linux/readonlyPaths/1"),
        ("mask_path", "/d", "/linux/maskedPaths/0"),
        ("mask_path", "/c", "/linux/maskedPaths/1"),
    ]


@pytest.mark.parametrize("readonly", [True, False])
def test_a_read_only_rootfs(readonly: bool) -> None:
    plan = compiled(minimal(root={"path": "rootfs", "readonly": readonly}))
    assert bool(find(plan, "readonly_rootfs")) is readonly


def test_the_working_directory_is_made_before_the_root_is_read_only() -> None:
    spec = with_process(cwd="/work")
    spec["root"]["readonly"] = True
    plan = compiled(spec)
    assert values(find(plan, "make_cwd")[0], "path") == ("/work",)
    assert kinds(plan).index("make_cwd") < kinds(plan).index("readonly_rootfs")
