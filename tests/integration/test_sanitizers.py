"""The init built with AddressSanitizer and UBSan, through representative bundles: any report fails the test.

The report goes to stderr and ends the init with exit code 99 (csrc/init/sanitize.c).
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.bundle import Bundle
from tests.support.init import build
from tests.support.runtime import Runtime

pytestmark = pytest.mark.own("the init is pyrunc's")

REPORTS = ("AddressSanitizer", "runtime error:", "UndefinedBehaviorSanitizer", "LeakSanitizer")

Prepare = Callable[[Runtime, Bundle], None]


@pytest.fixture(scope="module")
def sanitized() -> Path:
    """The init with both sanitizers."""
    return build("init-asan")


def run(runtime: Runtime, image: Path, *arguments: str) -> tuple[int, str, str]:
    """Run a command with that init: exit code, stdout, stderr. AssertionError for a sanitizer's report."""
    command = [sys.executable, "-m", "tests.support.harness", "--image", str(image), "--", "--root", str(runtime.root)]
    with open(runtime.work / "asan.out", "w+b") as out, open(runtime.work / "asan.err", "w+b") as err:
        code = subprocess.run(
            [*command, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            env=runtime.environment(),
            check=False,
            timeout=60,
        ).returncode
    text = (runtime.work / "asan.err").read_text(errors="replace")
    for word in REPORTS:
        assert word not in text, text
    assert code != 99, text
    return code, (runtime.work / "asan.out").read_text(errors="replace"), text


def plain(runtime: Runtime, bundle: Bundle) -> None:
    """The base config."""


def mounts(runtime: Runtime, bundle: Bundle) -> None:
    """Every kind of mount, missing targets, symlinks and copy-up."""
    source = runtime.work / "source"
    source.mkdir()
    (source / "file").write_text("x")
    (bundle.rootfs / "link").symlink_to("../../var")
    (bundle.rootfs / "dangling").symlink_to("/not/yet")
    for name in ("a", "b" * 200, "ü"):
        (bundle.rootfs / "srv" / name).mkdir()
        (bundle.rootfs / "srv" / name / "inner").symlink_to("/x" * 100)
    bundle.namespace("network")
    bundle.mount("/mnt", "bind", str(source), "rbind", "rro", "rslave")
    bundle.mount("/link/new/file", "bind", str(source / "file"), "bind", "ro", "nosuid")
    bundle.mount("/dangling/deep", "tmpfs", "tmpfs", "size=64k", "mode=700")
    bundle.mount("/srv", "tmpfs", "tmpfs", "tmpcopyup", "ro", "shared")
    bundle.mount("/dev/mqueue", "mqueue", "mqueue", "nosuid")
    bundle.mount("/dev/shm", "tmpfs", "shm")
    bundle.mount("/dev/shm", "tmpfs", "shm", "remount", "noexec")
    bundle.mount("/sys", "sysfs", "sysfs", "ro")
    bundle.mount("/sys/fs/cgroup", "cgroup", "cgroup", "ro")
    bundle.config["root"]["readonly"] = True
    bundle.linux.update(
        maskedPaths=["/etc/passwd", "/proc/version", "/var", "/nowhere"],
        readonlyPaths=["/proc/sys", "/etc", "/nowhere"],
        rootfsPropagation="rshared",
    )


def process(runtime: Runtime, bundle: Bundle) -> None:
    """Everything about the process."""
    bundle.process.update(
        user={"uid": 1000, "gid": 1000, "additionalGids": list(range(2000, 2060)), "umask": 0o77},
        env=[f"V{number}=" + "x" * number for number in range(400)],
        cwd="/var/new/cwd",
        oomScoreAdj=500,
        rlimits=[{"type": "RLIMIT_NOFILE", "soft": 20, "hard": 30}, {"type": "RLIMIT_CORE", "soft": 0, "hard": 0}],
    )
    names = ["CAP_KILL", "CAP_NET_RAW"]
    bundle.process["capabilities"] = dict.fromkeys(
        ("bounding", "effective", "permitted", "inheritable", "ambient"), names
    )
    bundle.config.update(hostname="h" * 64, domainname="d" * 64)


def namespaces(runtime: Runtime, bundle: Bundle) -> None:
    """A user namespace with all others new, time offsets, sysctl and devices that are bound."""
    bundle.user_namespace()
    for type in ("network", "cgroup", "time"):
        bundle.namespace(type)
    bundle.linux.update(
        timeOffsets={"monotonic": {"secs": -5, "nanosecs": 1}, "boottime": {"secs": 5, "nanosecs": 999999999}},
        sysctl={"net.ipv4.ip_forward": "1", "kernel.msgmax": "4096"},
        devices=[{"path": "/dev/kmsg", "type": "c", "major": 1, "minor": 11, "fileMode": 0o600, "uid": 0, "gid": 0}],
    )


def hooks(runtime: Runtime, bundle: Bundle) -> None:
    """All hook kinds, with a state larger than a pipe."""
    bundle.config["annotations"] = {f"key{number}": "v" * 500 for number in range(300)}
    for kind in ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"):
        bundle.hook(kind, "/bin/sh", "sh", "-c", "cat > /dev/null; echo noise", env=["PATH=/bin", "A=" + "b" * 5000])
        bundle.hook(kind, "/bin/true", timeout=20)


RUNS: list[Prepare] = [plain, mounts, process, namespaces, hooks]


@pytest.mark.parametrize("prepare", RUNS, ids=[function.__name__ for function in RUNS])
@pytest.mark.parametrize("flags", [(), ("--no-pivot",)], ids=["pivot", "no-pivot"])
def test_run(runtime: Runtime, bundle: Bundle, sanitized: Path, prepare: Prepare, flags: tuple[str, ...]) -> None:
    prepare(runtime, bundle)
    bundle.args("/bin/echo", "ran").write()
    code, out, err = run(runtime, sanitized, "run", "--bundle", str(bundle.path), *flags, runtime.new_id())
    assert (code, out) == (0, "ran\n"), err
    runtime.assert_nothing_left()


@pytest.mark.parametrize("prepare", RUNS, ids=[function.__name__ for function in RUNS])
def test_create_and_start(runtime: Runtime, bundle: Bundle, sanitized: Path, prepare: Prepare) -> None:
    prepare(runtime, bundle)
    bundle.args("/bin/echo", "ran").write()
    id = runtime.new_id()
    code, _, err = run(runtime, sanitized, "create", "--bundle", str(bundle.path), id)
    assert code == 0, err
    assert runtime("start", id).code == 0
    # The container's streams are those of create.
    report = (runtime.work / "asan.err").read_text()
    assert not any(word in report for word in REPORTS), report


def missing_program(runtime: Runtime, bundle: Bundle) -> None:
    bundle.args("/no/such/program")


def program_of_a_bad_format(runtime: Runtime, bundle: Bundle) -> None:
    (bundle.rootfs / "bin/bad").write_bytes(b"\0\1\2\3")
    (bundle.rootfs / "bin/bad").chmod(0o755)
    bundle.args("/bin/bad")


def bad_mount(runtime: Runtime, bundle: Bundle) -> None:
    bundle.mount("/mnt/" + "x" * 250, "tmpfs", "tmpfs", "size=nonsense" * 50)


def too_long_target(runtime: Runtime, bundle: Bundle) -> None:
    bundle.mount("/mnt" + "/xx" * 1300, "tmpfs", "tmpfs")


def circle_of_links(runtime: Runtime, bundle: Bundle) -> None:
    (bundle.rootfs / "one").symlink_to("/two")
    (bundle.rootfs / "two").symlink_to("/one")
    bundle.mount("/one/x", "tmpfs", "tmpfs")


def failing_container_hook(runtime: Runtime, bundle: Bundle) -> None:
    bundle.hook("createContainer", "/bin/sh", "sh", "-c", "yes failing | head -c 100000 >&2; exit 7")


FAILURES: list[Prepare] = [
    missing_program, program_of_a_bad_format, bad_mount, too_long_target, circle_of_links, failing_container_hook,
]  # fmt: skip


@pytest.mark.parametrize("prepare", FAILURES, ids=[function.__name__ for function in FAILURES])
def test_failure(runtime: Runtime, bundle: Bundle, sanitized: Path, prepare: Prepare) -> None:
    prepare(runtime, bundle)
    bundle.write()
    code, _, err = run(runtime, sanitized, "run", "--bundle", str(bundle.path), runtime.new_id())
    assert code not in (0, 99)
    assert "pyrunc" in err
    runtime.assert_nothing_left()
