"""scene: what pyrunc finds out after a failure (N6)."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import pytest

from pyrunc.libcontainer.kernel import privileges
from pyrunc.libcontainer.launch import scene
from pyrunc.libcontainer.launch.inside import Inside
from pyrunc.libcontainer.plan.model import LaunchPlan, Step
from pyrunc.libcontainer.seccomp.checks import refuses


@pytest.fixture
def rootfs(tmp_path: Path) -> Path:
    (tmp_path / "rootfs/dir").mkdir(parents=True)
    (tmp_path / "rootfs/file").write_text("")
    (tmp_path / "rootfs/loop").symlink_to("loop")
    return tmp_path / "rootfs"


def test_part_of_a_path_that_is_missing(tmp_path: Path) -> None:
    assert scene.missing_part(str(tmp_path)) == ""
    assert scene.missing_part(f"{tmp_path}/a/b/c") == f"{tmp_path}/a is not on the host"
    (tmp_path / "link").symlink_to("gone")
    assert scene.missing_part(f"{tmp_path}/link").endswith("/link is a symbolic link to gone, which is not on the host")
    (tmp_path / "loop").symlink_to("loop")
    assert scene.missing_part(f"{tmp_path}/loop").endswith("/loop is a loop of symbolic links on the host")
    (tmp_path / "file").write_text("")
    assert "is a file, not a directory" in scene.missing_part(f"{tmp_path}/file/x")


def test_a_file_on_a_directory_and_the_other_way_round(rootfs: Path, tmp_path: Path) -> None:
    inside = Inside(str(rootfs))
    found = scene.of_bind(str(rootfs / "file"), inside, "/dir", errno.EINVAL)
    assert found is not None
    assert found.hint == f"{rootfs}/file is a file, and /dir in the container a directory"
    found = scene.of_bind(str(tmp_path), inside, "/file", errno.ENOTDIR)
    assert found is not None
    assert found.hint == f"{tmp_path} is a directory, and /file in the container a file"
    assert scene.of_bind(str(tmp_path), inside, "/dir", errno.EINVAL) is None
    assert scene.of_bind(str(tmp_path), inside, "/new", errno.EINVAL) is None


@pytest.mark.parametrize(("path", "hint"), [("/file", "/file is a file"), ("/loop", "/loop is a loop"), ("/dir", "")])
def test_a_working_directory(rootfs: Path, path: str, hint: str) -> None:
    found = scene.of_directory(Inside(str(rootfs)), path)
    assert (found.hint if found else "").startswith(hint)
    assert bool(found) is bool(hint)


def test_a_mount_is_judged_by_what_was_mounted_before_it(rootfs: Path, tmp_path: Path) -> None:
    def bind(source: str) -> Step:
        return Step("rootfs", "bind", (source, None, "/dir", 0, 0, 0, 0, 0, 0, 0))

    bad = bind(str(rootfs / "file"))
    plan = LaunchPlan((), (Step("rootfs", "rootfs", (str(rootfs), None)), bad, bind(str(tmp_path))), {})
    found = scene.find_cause(bad, errno.EINVAL, scene.of_launch(plan))
    assert found is not None
    assert found.hint.endswith("/dir in the container a directory")


def test_a_remount_of_what_is_no_mount(rootfs: Path) -> None:
    (rootfs / "link").symlink_to("dir")
    remounts = [Step("rootfs", "remount", (target, 1, 0, 0, 0, 0)) for target in ("/dir", "/link", "/proc", "/")]
    mounted = Step("rootfs", "mount", ("proc", "proc", "/proc", (), 0, 0, 0, 0))
    plan = LaunchPlan((), (Step("rootfs", "rootfs", (str(rootfs), None)), mounted, *remounts), {})
    found = [scene.find_cause(step, errno.EINVAL, scene.of_launch(plan)) for step in remounts]
    assert [trouble.hint.partition(":")[0] if trouble else "" for trouble in found] == [
        "nothing is mounted at /dir",
        "nothing is mounted at /link",
        "",
        "",
    ]
    assert scene.find_cause(remounts[0], errno.EPERM, scene.of_launch(plan)) is None


def test_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(privileges, "capabilities", lambda: 0)
    monkeypatch.setattr(scene, "own_limit", lambda resource: 100)
    assert scene.limit_refused(6, 100) == ""
    assert scene.limit_refused(6, 101) == "the runtime's own hard limit is 100, and it lacks CAP_SYS_RESOURCE"
    assert "/proc/sys/fs/nr_open" in scene.limit_refused(7, 1 << 40)
    monkeypatch.setattr(privileges, "capabilities", lambda: 1 << 24)
    assert scene.limit_refused(6, 101) == ""


def test_own_limits_are_read() -> None:
    import resource

    for number in range(16):
        hard = resource.getrlimit(number)[1]
        assert scene.own_limit(number) == (None if hard == resource.RLIM_INFINITY else hard)


@pytest.mark.parametrize(
    ("default", "rules", "refused"),
    [
        ("SCMP_ACT_ALLOW", [], ""),
        ("SCMP_ACT_ERRNO", [], "SCMP_ACT_ERRNO"),
        ("SCMP_ACT_ERRNO", [(["read", "execve"], "SCMP_ACT_ALLOW")], ""),
        ("SCMP_ACT_ALLOW", [(["execve"], "SCMP_ACT_KILL_PROCESS")], "SCMP_ACT_KILL_PROCESS"),
        ("SCMP_ACT_LOG", [(["execve"], "SCMP_ACT_NOTIFY")], ""),
    ],
)
def test_what_a_profile_refuses(default: str, rules: list[tuple[list[str], str]], refused: str) -> None:
    profile: Any = {
        "defaultAction": default,
        "syscalls": [{"names": names, "action": action} for names, action in rules],
    }
    assert refuses(profile, "execve") == refused
    step = Step("start", "execute", (("x",), ()), "/process/args")
    found = scene.find_cause(step, errno.EPERM, scene.Scene(None, "x", "", "/", profile))
    assert bool(found) is (refused == "SCMP_ACT_ERRNO"), "others stop the process, and no step fails"


@pytest.mark.parametrize(
    ("word", "meant"),
    [("nosuidd", "nosuid"), ("nosiud", "nosuid"), ("nsuid", "nosuid"), ("nozuid", "nosuid"), ("nothing", "")],
)
def test_near_words(word: str, meant: str) -> None:
    assert scene.near(word, ("ro", "nosuid", "nodev")) == meant
