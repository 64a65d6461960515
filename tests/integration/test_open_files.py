"""Launches that take more descriptors than the caller's soft limit allows, and the caller's descriptors."""

from __future__ import annotations

import fcntl
import os
import resource
import subprocess
from collections.abc import Iterator

import pytest

from tests.support import host
from tests.support.bundle import Bundle
from tests.support.runtime import Runtime

ULIMIT = "ulimit -Sn; ulimit -Hn"


def limited(soft: int, hard: int | None = None) -> list[str]:
    """A prefix that gives a command a soft limit of open files, and a hard limit of `hard`, or the test's own."""
    lower = f"ulimit -Hn {hard} && " if hard is not None else ""
    return ["/bin/bash", "-c", f'ulimit -Sn {soft} && {lower}exec "$@"', "bash"]


def many_sources(bundle: Bundle, count: int) -> Bundle:
    """Bind mounts with their ids mapped, whose sources the runtime opens."""
    source = bundle.path / "source"
    source.mkdir()
    (source / "file").touch()
    mapping = [{"containerID": 0, "hostID": 100000, "size": 65536}]
    for number in range(count):
        bundle.mount(f"/mnt/{number}", "bind", str(source), "bind")
        bundle.mounts[-1].update(uidMappings=mapping, gidMappings=mapping)
    return bundle


def own_limits(soft: int) -> list[str]:
    """What a program that starts with this soft limit prints for ULIMIT."""
    done = subprocess.run([*limited(soft), "/bin/sh", "-c", ULIMIT], capture_output=True, text=True, check=True)
    return done.stdout.split()


@pytest.mark.own("runc raises its limit too; the number of its container's open files differs")
@pytest.mark.parametrize("count", [70, 1100])
def test_f7_many_sources_under_a_low_soft_limit(runtime: Runtime, bundle: Bundle, count: int) -> None:
    """F7: the runtime raises its own limit; the container and each kind of hook have the caller's, soft and hard."""
    soft = 64 if count < 100 else 1024
    many_sources(bundle, count)
    out = bundle.path / "limits"
    script = bundle.script("hook", f"({ULIMIT}; echo $0 $1) >> {out}\n")
    for kind in ("prestart", "createRuntime", "createContainer", "poststart", "poststop"):
        bundle.hook(kind, script, "hook", kind)
    own = own_limits(soft)
    found = runtime.run(bundle.sh(f"{ULIMIT}; stat -c %u /mnt/{count - 1}/file"), prefix=limited(soft)).out
    assert found.split() == [*own, "100000"]
    words = out.read_text().split()
    assert [words[at : at + 2] for at in range(0, len(words), 4)] == [own] * 5


def test_f7_limits_of_the_configuration_win(runtime: Runtime, bundle: Bundle) -> None:
    many_sources(bundle, 70)
    bundle.process["rlimits"] = [{"type": "RLIMIT_NOFILE", "soft": 50, "hard": 60}]
    (bundle.rootfs / "hook").write_text(f"#!/bin/sh\n({ULIMIT}) > /limits\n")
    (bundle.rootfs / "hook").chmod(0o755)
    bundle.hook("startContainer", "/hook")
    assert runtime.run(bundle.sh(ULIMIT), prefix=limited(64)).out.split() == ["50", "60"]
    assert (bundle.rootfs / "limits").read_text().split() == ["50", "60"]


def test_f7_in_a_user_namespace(runtime: Runtime, bundle: Bundle) -> None:
    """The runtime also opens sources that the init can't reach."""
    bundle.user_namespace()
    source = bundle.path / "source"
    source.mkdir()
    for number in range(70):
        bundle.mount(f"/mnt/{number}", "bind", str(source), "bind")
    (bundle.rootfs / "mnt").chmod(0o777)
    assert runtime.run(bundle.sh(ULIMIT), prefix=limited(64)).out.split() == own_limits(64)


@pytest.mark.parametrize("soft", [20, 64])
def test_f7_create_start_and_exec(runtime: Runtime, bundle: Bundle, soft: int) -> None:
    """A created container, and a process of `exec`, have the caller's limits too."""
    many_sources(bundle.args("sleep", "1000"), 70)
    container = runtime.container(bundle, prefix=limited(soft))
    limits = resource.prlimit(container.pid, resource.RLIMIT_NOFILE)
    assert [str(limit) for limit in limits] == own_limits(soft)
    container.start()
    result = runtime("exec", container.id, "sh", "-c", ULIMIT, prefix=limited(soft))
    assert result.out.split() == own_limits(soft), result


def test_f7_ordinary_launches_do_not_raise_anything(runtime: Runtime, bundle: Bundle) -> None:
    """The usual soft limit is enough for the usual container."""
    bundle.write()
    result = runtime("plan", "--bundle", bundle.path, "--format", "json", prefix=limited(1024))
    assert result.code == 0, result
    assert "open_files" not in result.out


@pytest.fixture
def opened() -> Iterator[int]:
    """A descriptor of the caller, 40 or above, that every program it starts would inherit."""
    with open("/etc/passwd", "rb") as file:
        fd = fcntl.fcntl(file.fileno(), fcntl.F_DUPFD, 40)
    yield fd
    os.close(fd)


def test_a11_runtime_hooks_inherit_no_descriptor(runtime: Runtime, bundle: Bundle, opened: int) -> None:
    """A11: hooks in the runtime's namespaces have only the standard streams, also those of `start` and `delete`."""
    out = bundle.path / "fds"
    script = bundle.script("hook", f"ls -l /proc/self/fd >> {out}; echo end >> {out}\n")
    kinds = ("prestart", "createRuntime", "createContainer", "poststart", "poststop")
    for kind in kinds:
        bundle.hook(kind, script)
    bundle.write()
    id = runtime.new_id()
    for words in (("create", "--bundle", str(bundle.path), id), ("start", id), ("delete", "--force", id)):
        result = runtime(*words, pass_fds=[opened])
        assert result.code == 0, result
    listing = out.read_text()
    assert listing.count("end") == len(kinds)
    assert "passwd" not in listing
    numbers = {int(line.split(" -> ")[0].split()[-1]) for line in listing.splitlines() if " -> " in line}
    assert max(numbers) <= 3, listing  # 3 is ls's own


@pytest.mark.parametrize("count", ["2147483645", "2147483647", "2147483648", "99999999999", "9223372036854775807"])
def test_a11_more_preserved_descriptors_than_there_can_be(
    runtime: Runtime, bundle: Bundle, opened: int, count: str
) -> None:
    """A11: the sum with the standard streams does not overflow, and no descriptor gets in. Also for `exec`."""
    bundle.sh(f"ls /proc/self/fd; cat /proc/self/fd/{opened}").write()
    living = runtime.started(runtime.bundle("living").args("sleep", "1000"))
    commands = (
        ("run", "--preserve-fds", count, "--bundle", str(bundle.path), runtime.new_id()),
        ("exec", "--preserve-fds", count, living.id, "cat", f"/proc/self/fd/{opened}"),
    )
    for words in commands:
        result = runtime(*words, pass_fds=[opened])
        assert result.code != 0
        assert result.out == ""
        assert "unable to stat preserved-fd 0" in result.last_line, result
        assert len(result.err.splitlines()) == 1


@pytest.mark.parametrize("count", ["99999999999", "9" * 5000, "0" * 5000 + "7", "2147483647"])
def test_a11_listen_fds_that_nobody_has(runtime: Runtime, bundle: Bundle, count: str) -> None:
    """A11: any digits in LISTEN_FDS: if a promised descriptor is missing, the error is one line."""
    bundle.write()
    prefix = ["/bin/sh", "-c", 'LISTEN_PID=$$ exec "$@"', "sh"]
    words = ("run", "--bundle", str(bundle.path), runtime.new_id())
    result = runtime(*words, env={"LISTEN_FDS": count}, prefix=prefix)
    assert result.code == 1, result
    assert "unable to stat preserved-fd 0" in result.last_line
    assert len(result.err.splitlines()) == 1


@pytest.mark.parametrize("count", ["", "-1", "1e3", "0x10", " 3", "٣", "three"])
def test_a11_listen_fds_that_is_no_number(runtime: Runtime, bundle: Bundle, count: str) -> None:
    """The value is ignored, as by sd_listen_fds(3) and runc."""
    bundle.write()
    prefix = ["/bin/sh", "-c", 'LISTEN_PID=$$ exec "$@"', "sh"]
    words = ("run", "--bundle", str(bundle.path), runtime.new_id())
    result = runtime(*words, env={"LISTEN_FDS": count}, prefix=prefix)
    assert (result.code, result.err) == (0, "")


def test_a11_nothing_is_opened_in_a_low_number(runtime: Runtime, bundle: Bundle) -> None:
    """The preserved descriptors are the caller's open ones, and no others."""
    bundle.sh("cat <&3; cat <&4")
    first, second = runtime.work / "first", runtime.work / "second"
    first.write_text("one\n")
    second.write_text("two\n")
    prefix = ["/bin/sh", "-c", f'exec 3<{first} 4<{second}; exec "$@"', "sh"]
    assert runtime.run(bundle, "--preserve-fds", "2", prefix=prefix).out == "one\ntwo\n"
    assert host.processes_of(runtime.token) == []
