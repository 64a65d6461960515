"""The mounts of a root file system: options, long overlays, and what is refused. The mounts themselves are in
tests/shim."""

from __future__ import annotations

from pathlib import Path

import pytest

from pyrunc.errors import PyruncError
from pyrunc.libcontainer.kernel import native
from pyrunc.shim import mounts

Calls = list[tuple[str, str, str, int, str]]


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Calls:
    """The calls of mount(2), which do nothing."""
    found: Calls = []
    monkeypatch.setattr(native, "mount", lambda *args: found.append(args))
    monkeypatch.setattr("posix.chdir", lambda path: found.append((path, "", "", 0, "")))
    return found


def entry(kind: str, options: list[str], target: str = "") -> dict[str, object]:
    return {"type": kind, "source": "s", "target": target, "options": options}


def test_flags_and_data(calls: Calls) -> None:
    mounts.mount_all([entry("ext4", ["ro", "rw", "nosuid", "data=ordered", "barrier"])], "/r")
    assert calls == [("s", "/r", "ext4", 0x2, "data=ordered,barrier")]


def test_a_bind_mount_gets_its_flags_by_a_second_call(calls: Calls) -> None:
    mounts.mount_all([entry("bind", ["rbind", "ro"])], "/r")
    assert calls == [("s", "/r", "bind", 0x5000, ""), ("", "/r", "", 0x5021, "")]


def test_long_options_of_an_overlay_are_relative(calls: Calls) -> None:
    here = Path.cwd()
    layers = [f"/var/lib/snapshots/{number}/fs" for number in range(400)]
    mounts.mount_all([entry("overlay", ["index=off", "lowerdir=" + ":".join(layers)])], "/r")
    assert [call[0] for call in calls][:2] == ["/var/lib/snapshots", "s"]
    assert calls[1][4].startswith("index=off,lowerdir=0/fs:1/fs:")
    assert len(calls) == 2
    assert Path.cwd() == here


def test_a_target_below_the_root(calls: Calls) -> None:
    mounts.mount_all([entry("tmpfs", [], "/etc")], "/r")
    assert calls[0][1] == "/r/etc"


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (entry("bind", ["X-mount.mkdir"]), "it is for mount"),
        (entry("bind", ["X-containerd.mkdir.path=/x"]), "mount manager, which has not taken it out"),
        (entry("fuse.x", []), "needs a helper"),
        (entry("fuse3.x", []), "needs a helper"),
        (entry("bind", ["uidmap=0:1:x", "gidmap=0:1:1"]), "mappings are CONTAINER:HOST:SIZE"),
        (entry("bind", ["uidmap=0:1:1", "gidmap=0:1"]), "mappings are CONTAINER:HOST:SIZE"),
        (entry("overlay", ["uidmap=0:1:1", "gidmap=0:1:1"]), "has no lowerdir"),
        (entry("x", [], "../../etc"), "outside the root file system"),
    ],
)
def test_what_is_refused(calls: Calls, monkeypatch: pytest.MonkeyPatch, bad: dict[str, object], why: str) -> None:
    """With the reason."""
    unmounted: list[str] = []
    monkeypatch.setattr(mounts, "unmount", unmounted.append)
    with pytest.raises(PyruncError, match=why):
        mounts.mount_all([entry("tmpfs", []), bad], "/r")
    assert unmounted == ["/r"]


def test_one_mapping_alone_has_no_effect(calls: Calls) -> None:
    """As with containerd."""
    mounts.mount_all([entry("ext4", ["uidmap=0:1:1", "data"])], "/r")
    assert calls == [("s", "/r", "ext4", 0, "data")]


def test_a_failed_mount_names_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object) -> None:
        raise OSError(22, "")

    monkeypatch.setattr(native, "mount", fail)
    monkeypatch.setattr(mounts, "unmount", lambda path: None)
    with pytest.raises(PyruncError, match="mount ext4 s on /r: invalid argument"):
        mounts.mount_all([entry("ext4", [])], "/r")


def test_nothing_mounted_is_no_error(capfd: pytest.CaptureFixture[str]) -> None:
    mounts.unmount("/nonexistent")
    assert capfd.readouterr().err == ""
