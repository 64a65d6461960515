"""Id-mapped mounts: the owners that the container sees, and the owners of the files that it makes."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pyrunc.libcontainer.plan.host import kernel_version
from tests.support import host
from tests.support.bundle import Bundle
from tests.support.runtime import Runtime

pytestmark = pytest.mark.own("1.1 knows nothing of them")

OVERFLOW = int(Path("/proc/sys/kernel/overflowuid").read_text())


def maps(*rows: tuple[int, int, int]) -> list[dict[str, int]]:
    """Mappings by (containerID, hostID, size)."""
    return [dict(zip(("containerID", "hostID", "size"), row, strict=True)) for row in rows]


@pytest.fixture
def mounted(host_mount: Callable[..., Path], tmp_path: Path) -> Callable[[str], Path]:
    """A function that mounts a file system that can map ids on a new directory: tmpfs can since Linux 6.3."""

    def mount(name: str) -> Path:
        if kernel_version(os.uname().release) >= (6, 3):
            return host_mount(name)
        backing = tmp_path / name
        backing.mkdir(parents=True)
        return host_mount(name, "--bind", str(backing))

    return mount


@pytest.fixture
def source(mounted: Callable[[str], Path]) -> Path:
    """A directory of the host, of a file system that can map ids, with files of the users 0, 1 and 5."""
    path = mounted("source")
    path.chmod(0o777)
    for uid in (0, 1, 5):
        file = path / f"of{uid}"
        file.touch()
        os.chown(file, uid, uid + 10)
    return path


def mapped(bundle: Bundle, source: Path, *options: str, **more: Any) -> Bundle:
    """The bundle with the source on /mnt."""
    bundle.mount("/mnt", "bind", str(source), *(options or ("bind",)))
    bundle.mounts[-1].update(more)
    return bundle


STAT = "stat -c '%u:%g' /mnt/of0 /mnt/of1 /mnt/of5"


def test_the_mount_s_own_maps(runtime: Runtime, bundle: Bundle, source: Path) -> None:
    mapped(bundle, source, uidMappings=maps((0, 1000, 2)), gidMappings=maps((10, 2010, 6)))
    assert runtime.inside(bundle, STAT).split() == ["1000:2010", "1001:2011", f"{OVERFLOW}:2015"]
    assert (source / "of0").stat().st_uid == 0


def test_with_a_user_namespace(runtime: Runtime, bundle: Bundle, source: Path) -> None:
    """The ids of the mount on the host are the container's."""
    given = maps((0, 100000, 1000))
    mapped(bundle.user_namespace(), source, "bind", "idmap", uidMappings=given, gidMappings=given)
    assert runtime.inside(bundle, STAT).split() == ["0:10", "1:11", "5:15"]


@pytest.mark.parametrize("word", ["idmap", "ridmap"])
def test_the_maps_of_the_user_namespace(runtime: Runtime, bundle: Bundle, source: Path, word: str) -> None:
    mapped(bundle.user_namespace(), source, "bind", word)
    assert runtime.inside(bundle, STAT).split() == ["0:10", "1:11", "5:15"]


def test_without_a_map_the_user_namespace_sees_nobody_s(runtime: Runtime, bundle: Bundle, source: Path) -> None:
    mapped(bundle.user_namespace(), source)
    assert set(runtime.inside(bundle, STAT).split()) == {f"{OVERFLOW}:{OVERFLOW}"}


def test_files_that_the_container_makes(runtime: Runtime, bundle: Bundle, source: Path) -> None:
    mapped(bundle.user_namespace(), source, "bind", "idmap")
    runtime.inside(bundle, "echo x > /mnt/new; chown 7:8 /mnt/new")
    status = (source / "new").stat()
    assert (status.st_uid, status.st_gid) == (7, 8)


def test_an_unmapped_user_can_make_none(runtime: Runtime, bundle: Bundle, source: Path) -> None:
    mapped(bundle, source, uidMappings=maps((0, 100000, 10)), gidMappings=maps((0, 100000, 10)))
    result = runtime.run(bundle.sh("touch /mnt/new"), ok=False)
    assert "Value too large" in result.err


@pytest.fixture
def namespace_of_another() -> Iterator[str]:
    """The path of an existing user namespace with the maps of Bundle.user_namespace."""
    sleeper = subprocess.Popen(["unshare", "--user", "sleep", "100"])
    own = os.readlink("/proc/self/ns/user")
    host.wait_for("the user namespace", lambda: host.namespace(sleeper.pid, "user") != own)
    for file in ("uid_map", "gid_map"):
        Path(f"/proc/{sleeper.pid}/{file}").write_text("0 100000 65536\n")
    yield f"/proc/{sleeper.pid}/ns/user"
    sleeper.kill()
    sleeper.wait()


def test_the_maps_of_a_user_namespace_that_is_joined(
    runtime: Runtime, bundle: Bundle, source: Path, namespace_of_another: str
) -> None:
    bundle.user_namespace().namespace("user", namespace_of_another)
    for kind in ("uidMappings", "gidMappings"):
        del bundle.linux[kind]
    mapped(bundle, source, "bind", "idmap")
    assert runtime.inside(bundle, STAT).split() == ["0:10", "1:11", "5:15"]


@pytest.fixture
def tree(source: Path, mounted: Callable[[str], Path]) -> Path:
    """The source with another file system on its directory `below`."""
    mounted("source/below")
    (source / "below/file").touch()
    return source


@pytest.mark.parametrize(("options", "below"), [(("rbind", "idmap"), 0), (("rbind", "ridmap"), 1000), (("rbind",), 0)])
def test_what_is_mounted_below(
    runtime: Runtime, bundle: Bundle, tree: Path, options: tuple[str, ...], below: int
) -> None:
    given = maps((0, 1000, 100))
    mapped(bundle, tree, *options, uidMappings=given, gidMappings=given)
    assert runtime.inside(bundle, "stat -c %u /mnt/of0 /mnt/below/file").split() == ["1000", str(below)]


def test_the_same_source_with_different_maps(runtime: Runtime, bundle: Bundle, source: Path) -> None:
    (bundle.rootfs / "opt").mkdir()
    for target, first in (("/mnt", 1000), ("/opt", 2000), ("/srv", 0)):
        bundle.mount(target, "bind", str(source), "bind")
        if first:
            bundle.mounts[-1].update(uidMappings=maps((0, first, 10)), gidMappings=maps((0, first, 20)))
    out = runtime.inside(bundle, "stat -c %u:%g /mnt/of1 /opt/of1 /srv/of1")
    assert out.split() == ["1001:1011", "2001:2011", "1:11"]


def test_other_options_hold_too(runtime: Runtime, bundle: Bundle, source: Path) -> None:
    given = maps((0, 1000, 100))
    mapped(bundle, source, "bind", "ro", "nosuid", "rshared", uidMappings=given, gidMappings=given)
    found = host.mount_at(runtime.inside(bundle, "cat /proc/self/mountinfo"), "/mnt")
    assert found.options >= {"ro", "nosuid", "idmapped"}
    assert found.propagation == {"shared", "master"}


def test_nothing_mounted_in_it_reaches_the_host(runtime: Runtime, bundle: Bundle, source: Path) -> None:
    (source / "dir").mkdir()
    capabilities = bundle.process["capabilities"]
    for name in capabilities:
        capabilities[name] = [*capabilities[name], "CAP_SYS_ADMIN"]
    given = maps((0, 0, 100))
    mapped(bundle, source, uidMappings=given, gidMappings=given)
    runtime.inside(bundle, "mount -t tmpfs none /mnt/dir && touch /mnt/dir/caught")
    assert list((source / "dir").iterdir()) == []


def test_the_container_gets_no_descriptor_of_it(runtime: Runtime, bundle: Bundle, source: Path) -> None:
    given = maps((0, 1000, 100))
    mapped(bundle, source, uidMappings=given, gidMappings=given)
    container = runtime.container(bundle.args("sleep", "100"))
    held = [os.readlink(path) for path in Path(f"/proc/{container.pid}/fd").iterdir()]
    assert not [name for name in held if name.startswith("user:") or str(source) in name]


def test_file_system_that_can_not_map_ids(runtime: Runtime, bundle: Bundle) -> None:
    given = maps((0, 1000, 100))
    mapped(bundle, Path("/proc"), uidMappings=given, gidMappings=given)
    line = runtime.refuse(bundle).last_line
    assert "mount_setattr(MOUNT_ATTR_IDMAP) /proc: invalid argument (step open_mapped_source, config.json:" in line


def test_missing_source(runtime: Runtime, bundle: Bundle) -> None:
    given = maps((0, 1000, 100))
    mapped(bundle, runtime.work / "none", uidMappings=given, gidMappings=given)
    assert "no such file or directory (step open_mapped_source, config.json:" in runtime.refuse(bundle).last_line


@pytest.mark.parametrize(
    ("type", "options", "more", "message"),
    [
        ("tmpfs", (), dict.fromkeys(("uidMappings", "gidMappings"), maps((0, 0, 1))), "only supported for bind-mounts"),
        ("bind", ("bind", "idmap"), {}, "id-mapped mounts must have both uid and gid mappings specified"),
        ("bind", ("bind",), {"uidMappings": maps((0, 0, 1))}, "/mounts/3/gidMappings"),
    ],
)
def test_refused(
    runtime: Runtime, bundle: Bundle, type: str, options: tuple[str, ...], more: dict[str, Any], message: str
) -> None:
    bundle.mount("/mnt", type, "/srv", *options)
    bundle.mounts[-1].update(more)
    assert message in runtime.refuse(bundle).last_line
