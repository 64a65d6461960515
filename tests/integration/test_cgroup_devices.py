"""cgroup.devices in the kernel: the verifier accepts the programs, and they apply to processes in the cgroup. Needs
root.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator

import pytest

from pyrunc.errors import PyruncError
from pyrunc.libcontainer.cgroup import devices, files
from pyrunc.libcontainer.plan import host
from tests import purev2

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


@pytest.fixture
def base() -> Iterator[str]:
    facts = host.gather()
    if not facts.cgroup_mount:
        pytest.skip("no cgroup2 hierarchy here")
    path = f"{facts.cgroup_mount}/pyrunc-test-devices-{os.getpid()}"
    files.create(path, lambda directory: None)
    yield path
    files.kill(path)
    files.remove(path)


def _attach(cgroup: str, rules: list[str]) -> None:
    fd = os.open(cgroup, os.O_RDONLY | os.O_DIRECTORY)
    try:
        devices.replace(fd, devices.assemble(rules))
    finally:
        os.close(fd)


def _try_in(cgroup: str, path: str, flags: int) -> int:
    """errno of an open of `path` by a process in the cgroup."""
    pid = os.fork()
    if pid == 0:
        status = 255
        try:
            with open(cgroup + "/cgroup.procs", "w") as file:
                file.write("0")
            os.close(os.open(path, flags))
            status = 0
        except OSError as error:
            status = error.errno or 255
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def _is_enforced(cgroup: str) -> None:
    _attach(cgroup, ["a * * rwm deny", "c 1 3 rwm allow", "c 1 5 r allow"])
    assert _try_in(cgroup, "/dev/null", os.O_RDWR) == 0
    assert _try_in(cgroup, "/dev/zero", os.O_RDONLY) == 0
    assert _try_in(cgroup, "/dev/zero", os.O_RDWR) == errno.EPERM
    assert _try_in(cgroup, "/dev/full", os.O_RDONLY) == errno.EPERM
    assert _try_in(cgroup, "/proc/self/status", os.O_RDONLY) == 0
    # outside of the cgroup nothing changes
    os.close(os.open("/dev/full", os.O_RDONLY))


def test_is_enforced(base: str) -> None:
    _is_enforced(base)


def test_is_enforced_where_cgroup2_is_alone(base: str) -> None:
    purev2.run(lambda: _is_enforced("/sys/fs/cgroup/" + base.rpartition("/")[2]))


def test_whether_a_program_is_the_attached_one(base: str) -> None:
    rules = ["a * * rwm deny", "c 1 3 rwm allow"]
    fd = os.open(base, os.O_RDONLY | os.O_DIRECTORY)
    try:
        assert devices.has(fd, devices.assemble(rules)) is None
        _attach(base, rules)
        assert devices.has(fd, devices.assemble(rules)) is True
        assert devices.has(fd, devices.assemble([*rules, "c 1 5 rwm allow"])) is False
    finally:
        os.close(fd)


def test_denying_a_part_of_the_access_denies_the_whole(base: str) -> None:
    _attach(base, ["a * * rwm allow", "c 1 5 w deny"])
    assert _try_in(base, "/dev/zero", os.O_RDONLY) == 0
    assert _try_in(base, "/dev/zero", os.O_WRONLY) == errno.EPERM
    assert _try_in(base, "/dev/zero", os.O_RDWR) == errno.EPERM


def test_the_default_rules_serve_the_default_devices(base: str) -> None:
    _attach(base, list(devices.rules_for([{"allow": False, "access": "rwm"}])))
    for name in ("null", "zero", "full", "random", "urandom"):
        assert _try_in(base, "/dev/" + name, os.O_RDWR) == 0
    if os.path.exists("/dev/kmsg"):
        assert _try_in(base, "/dev/kmsg", os.O_RDONLY) == errno.EPERM


def test_new_rules_take_the_place_of_the_old_ones(base: str) -> None:
    """By effect, and without a gap: a process in the cgroup tries all the time, and what both sets of rules deny stays
    denied.
    """
    _attach(base, ["a * * rwm deny", "c 1 3 rwm allow"])
    assert _try_in(base, "/dev/null", os.O_RDONLY) == 0
    pid = os.fork()
    if pid == 0:
        opened = 0
        with open(base + "/cgroup.procs", "w") as file:
            file.write("0")
        while os.getppid() != 1 and not os.path.exists(base + "/end"):
            try:
                os.close(os.open("/dev/full", os.O_RDONLY))
                opened = 1
            except PermissionError:
                pass
        os._exit(opened)
    for _ in range(200):
        _attach(base, ["a * * rwm deny", "c 1 5 rwm allow"])
        _attach(base, ["a * * rwm deny", "c 1 5 r allow"])
    os.mkdir(base + "/end")
    try:
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    finally:
        os.rmdir(base + "/end")
    assert _try_in(base, "/dev/null", os.O_RDONLY) == errno.EPERM
    assert _try_in(base, "/dev/zero", os.O_RDONLY) == 0
    assert _try_in(base, "/dev/zero", os.O_RDWR) == errno.EPERM


def test_a_program_of_another_stays(base: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(devices, "_NAME", b"another")
        _attach(base, ["a * * rwm allow", "c 1 7 rwm deny"])
    for _ in range(2):
        _attach(base, ["a * * rwm allow", "c 1 5 rwm deny"])
    assert _try_in(base, "/dev/full", os.O_RDONLY) == errno.EPERM
    assert _try_in(base, "/dev/zero", os.O_RDONLY) == errno.EPERM
    assert _try_in(base, "/dev/null", os.O_RDONLY) == 0


def test_a_childs_program_adds_to_its_parents(base: str) -> None:
    child = base + "/child"
    files.create(child, lambda directory: None)
    _attach(base, ["a * * rwm allow", "c 1 7 rwm deny"])
    _attach(child, ["c 1 7 rwm allow", "c 1 3 rwm allow"])
    assert _try_in(child, "/dev/null", os.O_RDONLY) == 0
    assert _try_in(child, "/dev/full", os.O_RDONLY) == errno.EPERM
    assert _try_in(child, "/dev/zero", os.O_RDONLY) == errno.EPERM


@pytest.mark.parametrize(
    "rules",
    [
        pytest.param([], id="none"),
        pytest.param(["a * * rwm allow"], id="allow all"),
        pytest.param(["a * * rw allow", "a * * r deny"], id="only parts"),
        pytest.param(
            [
                devices.format_rule("abc"[n % 3], n % 50 - 1, n % 70 - 1, ("r", "wm", "rwm", "rw")[n % 4], n % 5 != 0)
                for n in range(1000)
            ],
            id="a thousand",
        ),
    ],
)
def test_the_verifier_takes_it(base: str, rules: list[str]) -> None:
    _attach(base, rules)


def test_the_verifier_explains_a_refusal(base: str) -> None:
    fd = os.open(base, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with pytest.raises(PyruncError, match=r"loading the device rules \(.*R0 !read_ok") as caught:
            devices.attach(fd, bytes([0x95]) + bytes(7))
    finally:
        os.close(fd)
    assert caught.value.errno == errno.EACCES


def test_what_is_no_cgroup_is_refused() -> None:
    fd = os.open("/proc", os.O_RDONLY | os.O_DIRECTORY)
    try:
        with pytest.raises(PyruncError, match="attaching the device rules to the cgroup"):
            devices.attach(fd, devices.assemble([]))
        with pytest.raises(PyruncError, match="looking for the cgroup's device rules"):
            devices.replace(fd, devices.assemble([]))
    finally:
        os.close(fd)
