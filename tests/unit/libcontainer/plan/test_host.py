"""host: the facts and the texts from which they are read."""

from __future__ import annotations

import errno
import os
import platform
import posix
from pathlib import Path
from types import SimpleNamespace

import pytest

from pyrunc.errors import PyruncError
from pyrunc.libcontainer.kernel import native
from pyrunc.libcontainer.plan import host

MOUNTINFO = """\
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
30 22 0:26 / /sys/fs/cgroup ro,nosuid shared:9 - tmpfs tmpfs ro,mode=755
31 30 0:27 / /mnt/with\\040space rw shared:10 - cgroup2 cgroup2 rw
32 30 0:28 / /sys/fs/cgroup/cpu rw shared:11 - cgroup cgroup rw,cpu
33 30 0:27 / /mnt/again rw - cgroup2 none rw
"""


@pytest.mark.parametrize(
    ("release", "version"),
    [("6.1.0-18-amd64", (6, 1)), ("5.14", (5, 14)), ("5.4.0", (5, 4)), ("10.20rc1", (10, 20)), ("6.18+", (6, 18))],
)
def test_kernel_version(release: str, version: tuple[int, int]) -> None:
    assert host.kernel_version(release) == version


@pytest.mark.parametrize("release", ["", "linux", "6", "6.", "x.y", "6.x"])
def test_kernel_version_refuses(release: str) -> None:
    with pytest.raises(PyruncError, match="version"):
        host.kernel_version(release)


def _with_uname(monkeypatch: pytest.MonkeyPatch, release: str, machine: str) -> None:
    fake = SimpleNamespace(release=release, machine=machine)
    monkeypatch.setattr(host, "posix", SimpleNamespace(uname=lambda: fake, geteuid=os.geteuid, getegid=os.getegid))


def test_an_old_kernel_is_one_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    _with_uname(monkeypatch, "5.13.19", "x86_64")
    with pytest.raises(PyruncError) as caught:
        host.gather()
    assert caught.value.line() == "Linux 5.13.19 is too old: pyrunc needs 5.14 or later"


def test_another_machine_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    _with_uname(monkeypatch, "6.1.0", "riscv64")
    with pytest.raises(PyruncError, match="riscv64 is not supported"):
        host.gather()


def test_the_facts_for_limits_are_those_of_gather() -> None:
    all, limits = host.gather(), host.gather_limits()
    for name in ("euid", "in_userns", "cgroup_mount", "cgroup_pure", "controllers"):
        assert getattr(limits, name) == getattr(all, name), name


def test_own_cgroup() -> None:
    assert host.own_cgroup("9:cpu:/x\n1:name=systemd:/y\n0::/user.slice/a:b\n") == "/user.slice/a:b"
    assert host.own_cgroup("0::/gone (deleted)\n") == "/gone"
    assert host.own_cgroup("1:cpu:/x\n") == ""


def test_in_userns() -> None:
    assert host.in_userns() == (os.readlink("/proc/self/ns/user") != "user:[4026531837]")


def test_f5_a_user_namespace_that_maps_every_id_to_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """F5: PrivateUsers=full has the same maps as the first user namespace, but not its rights."""
    monkeypatch.setattr(host, "posix", SimpleNamespace(stat=lambda path: SimpleNamespace(st_ino=4026532000)))
    assert host.in_userns()


def test_f5_the_capabilities_without_proc_sys(monkeypatch: pytest.MonkeyPatch) -> None:
    """F5: ProcSubset=pid hides /proc/sys."""
    known = int(Path("/proc/sys/kernel/cap_last_cap").read_text())

    def read_file(path: str) -> str:
        raise FileNotFoundError(errno.ENOENT, path)

    monkeypatch.setattr(host, "read_file", read_file)
    assert host._cap_last_cap() == known


def test_id_map() -> None:
    assert host.id_map("         0       1000          1\n         1     100000      65536\n") == (
        (0, 1000, 1), (1, 100000, 65536),
    )  # fmt: skip
    assert host.id_map("") == ()


def test_the_mapping_tools_are_found_in_path_or_where_they_usually_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host, "_TOOL_DIRECTORIES", (str(tmp_path / "usual"),))
    monkeypatch.chdir(tmp_path)
    for name in ("first", "second", "usual"):
        tool = tmp_path / name / "newuidmap"
        tool.parent.mkdir()
        tool.touch(0o755)

    def found(path: str) -> str:
        monkeypatch.setattr(posix, "environ", {b"PATH": path.encode()})
        return host._find_tool("newuidmap").removeprefix(f"{tmp_path}/")

    assert found(f"{tmp_path}/none:{tmp_path}/second:{tmp_path}/first") == "second/newuidmap"
    assert found("") == "usual/newuidmap"
    assert found("first:") == "usual/newuidmap", "a relative entry"
    (tmp_path / "usual/newuidmap").chmod(0o644)
    assert found("") == ""


def test_a_delegated_cgroup_takes_its_cgroup_procs_too(monkeypatch: pytest.MonkeyPatch) -> None:
    writable = {"/c"}
    monkeypatch.setattr(host, "posix", SimpleNamespace(W_OK=2, access=lambda path, mode: path in writable))
    assert host._is_delegated("/c", False)
    assert not host._is_delegated("/c", True)
    writable.add("/c/cgroup.procs")
    assert host._is_delegated("/c", True)
    assert not host._is_delegated("/d", False)


def test_the_mount_table_is_read_only_when_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    files = {"/proc/self/mountinfo": MOUNTINFO, "/mnt/again/cgroup.controllers": "cpu memory\n"}

    def read_file(path: str) -> str:
        read.append(path)
        if path in files:
            return files[path]
        raise FileNotFoundError(2, "no such file")

    monkeypatch.setattr(host, "read_file", read_file)
    assert host._find_cgroup2() == ("/mnt/again", ("cpu", "memory"))
    files["/sys/fs/cgroup/unified/cgroup.controllers"] = "\n"
    read.clear()
    assert host._find_cgroup2() == ("/sys/fs/cgroup/unified", ())
    assert "/proc/self/mountinfo" not in read
    files.clear()
    files["/proc/self/mountinfo"] = ""
    assert host._find_cgroup2() == ("", ())


def test_an_unreadable_hierarchy_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def read_file(path: str) -> str:
        raise OSError(5, "input/output error")

    monkeypatch.setattr(host, "read_file", read_file)
    with pytest.raises(PyruncError, match=r"/sys/fs/cgroup/cgroup\.controllers: input/output error"):
        host._find_cgroup2()


def test_gather_here() -> None:
    facts = host.gather()
    assert (facts.euid, facts.egid) == (os.geteuid(), os.getegid())
    assert facts.machine == platform.machine()
    assert facts.kernel >= (5, 14)
    assert facts.cap_last_cap >= 40
    if facts.cgroup_mount:
        assert os.path.exists(facts.cgroup_mount + "/cgroup.procs")
        assert facts.cgroup_self.startswith("/")
    assert facts.cgroup_pure == (facts.cgroup_mount == "/sys/fs/cgroup")


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM])
def test_a_kernel_without_landlock_has_the_abi_0(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def refuse() -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(native, "landlock_abi", refuse)
    assert host.landlock_abi() == 0
    assert host.gather(landlock=True).landlock == 0


def test_landlock_is_asked_for_only_where_it_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    def ask() -> int:
        raise OSError(errno.EINVAL, "asked")

    monkeypatch.setattr(native, "landlock_abi", ask)
    assert host.gather().landlock == 0
    with pytest.raises(PyruncError, match="landlock_create_ruleset"):
        host.gather(landlock=True)
