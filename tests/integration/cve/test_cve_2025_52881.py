"""CVE-2025-52881: what the runtime writes below /proc for the container (sysctl, labels, limits) must reach that file
and no other, whatever is mounted or linked there.

The runtime writes through a descriptor after it has checked that it is a procfs. Below it, the runtime follows no
symlink and crosses no other mount.

Seen to fail: with the resolve flags and the check of the file system taken out of proc_open_file in csrc/init/proc.c
(test_procfs_of_the_runtime_that_is_mounted_over), and with guard_proc of csrc/init/mounts.c
(test_sysctl_behind_a_mount).
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.support.bundle import Bundle
from tests.support.runtime import Runtime


@pytest.mark.parametrize("destination", ["/proc/sys/net", "/link/sys/net", "/link/../proc/sys/net"])
def test_sysctl_behind_a_mount(runtime: Runtime, bundle: Bundle, destination: str) -> None:
    """A volume on a part of /proc/sys would catch the write: the mount is refused."""
    volume = runtime.work / "volume"
    (volume / "ipv4").mkdir(parents=True)
    (volume / "ipv4/ip_forward").write_text("caught nothing\n")
    (bundle.rootfs / "link").symlink_to("/proc")
    bundle.namespace("network")
    bundle.linux["sysctl"] = {"net.ipv4.ip_forward": "1"}
    bundle.mount(destination, "bind", str(volume), "bind")
    runtime.refuse(bundle)
    assert (volume / "ipv4/ip_forward").read_text() == "caught nothing\n"


def test_sysctl_of_a_procfs_by_a_volume(runtime: Runtime, bundle: Bundle) -> None:
    """The image has no procfs, and the attacker's directory is bound in its place: the write reaches the kernel's
    file.
    """
    volume = runtime.work / "volume"
    (volume / "sys/net/ipv4").mkdir(parents=True)
    (volume / "sys/net/ipv4/ip_forward").write_text("caught nothing\n")
    (volume / "self").symlink_to("/")
    bundle.namespace("network")
    bundle.linux["sysctl"] = {"net.ipv4.ip_forward": "1"}
    bundle.mounts[0] = {"destination": "/proc", "type": "bind", "source": str(volume), "options": ["bind"]}
    result = runtime.run(bundle, ok=False)
    assert result.code != 0
    assert (volume / "sys/net/ipv4/ip_forward").read_text() == "caught nothing\n"


def test_without_procfs_the_write_still_reaches_the_kernel(runtime: Runtime, bundle: Bundle) -> None:
    """The config has no procfs: the init writes sysctls through the runtime's own descriptor."""
    if not runtime.is_own:
        pytest.skip("not of runc: it writes by path, so it fails without a procfs")
    fake = bundle.rootfs / "proc/sys/net/ipv4"
    fake.mkdir(parents=True)
    (fake / "ip_default_ttl").write_text("caught nothing\n")
    bundle.namespace("network")
    bundle.linux["sysctl"] = {"net.ipv4.ip_default_ttl": "77"}
    del bundle.mounts[0]
    record = runtime.work / "ttl"
    bundle.hook(
        "createRuntime", "/bin/sh", "sh", "-c",
        "pid=$(sed 's/.*\"pid\": *\\([0-9]*\\).*/\\1/'); "
        f"nsenter -t $pid -n cat /proc/sys/net/ipv4/ip_default_ttl > {record}",
    )  # fmt: skip
    runtime.run(bundle.args("true"))
    assert (fake / "ip_default_ttl").read_text() == "caught nothing\n"
    before = Path("/proc/sys/net/ipv4/ip_default_ttl").read_text()
    assert before != "77\n"


@pytest.mark.own("1.1 sets this one by hostname only")
def test_procfs_of_the_runtime_that_is_mounted_over(runtime: Runtime, bundle: Bundle) -> None:
    """The end of the attack's race: another file is mounted on the file to be written. The init then writes to a procfs
    of its own."""
    caught = runtime.work / "caught"
    caught.write_text("nothing\n")
    bundle.linux["sysctl"] = {"kernel.domainname": "written"}
    path = "/proc/sys/kernel/domainname"
    subprocess.run(["mount", "--bind", str(caught), path], check=True)
    try:
        said = runtime.inside(bundle, "cat /proc/sys/kernel/domainname")
    finally:
        subprocess.run(["umount", "--lazy", path], check=True)
    assert (caught.read_text(), said) == ("nothing\n", "written\n")


def test_oom_score_adj_behind_a_mount(runtime: Runtime, bundle: Bundle) -> None:
    (runtime.work / "file").write_text("caught nothing\n")
    bundle.process["oomScoreAdj"] = 123
    bundle.mount("/proc/self/oom_score_adj", "bind", str(runtime.work / "file"), "bind")
    runtime.run(bundle, ok=False)
    assert (runtime.work / "file").read_text() == "caught nothing\n"


def test_masked_and_readonly_paths_below_proc(runtime: Runtime, bundle: Bundle) -> None:
    """/proc/self is a symlink: masking a path through it masks nothing of another process."""
    bundle.linux["readonlyPaths"] = ["/proc/sys"]
    bundle.linux["maskedPaths"] = ["/proc/version"]
    out = runtime.inside(bundle, "( echo x > /proc/sys/kernel/domainname ) 2>&1; stat -c %t:%T /proc/version")
    assert "Read-only file system" in out
    assert out.endswith("1:3\n")
