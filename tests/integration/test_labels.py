"""process.apparmorProfile, process.selinuxLabel, linux.mountLabel: clear errors if the security module is not active.

tests/guest has tests of their effect."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from tests.integration.test_init_steps import init, inside, mount, ran, refused, rootfs
from tests.support.bundle import Bundle
from tests.support.init import run, shell, step
from tests.support.runtime import Runtime

__all__ = ["init", "rootfs"]

LABEL = "system_u:object_r:container_file_t:s0:c1,c2"

own = pytest.mark.own("it words it otherwise")


def is_at_work(module: str) -> bool:
    if module == "AppArmor":
        switch = Path("/sys/module/apparmor/parameters/enabled")
        return switch.exists() and switch.read_text().startswith("Y")
    return Path("/sys/fs/selinux/enforce").exists()


@own
@pytest.mark.parametrize(
    ("parent", "field", "value", "module"),
    [
        ("process", "apparmorProfile", "some-profile", "AppArmor"),
        ("process", "selinuxLabel", "system_u:system_r:container_t:s0", "SELinux"),
        ("linux", "mountLabel", LABEL, "SELinux"),
    ],
)
def test_absent_module(runtime: Runtime, bundle: Bundle, parent: str, field: str, value: str, module: str) -> None:
    if is_at_work(module):
        pytest.skip(f"{module} is at work here")
    bundle.config[parent][field] = value
    line = runtime.refuse(bundle).last_line
    assert f"{module.lower()} " in line
    assert "is disabled or not supported" in line
    assert f" at /{parent}/{field}; " in line


@own
def test_an_empty_label_is_none(runtime: Runtime, bundle: Bundle) -> None:
    bundle.process.update(apparmorProfile="", selinuxLabel="")
    bundle.linux["mountLabel"] = ""
    runtime.run(bundle)


# -- the init's steps, as far as they go without the module


def test_the_label_goes_to_the_process_s_own_file(init: Path) -> None:
    if any(map(is_at_work, ("AppArmor", "SELinux"))):
        pytest.skip("a security module is at work here, and would take the label")
    outcome = run(init, step("security_label", attribute="exec", label="no:such:label"), shell("true"))
    refused(outcome, errno.EINVAL, "write no:such:label to /proc/", "/attr/exec")
    refused(run(init, step("security_label", attribute="none", label="x"), shell("true")), errno.ENOENT, "/attr/none")


def test_a_label_is_written_to_the_host_s_procfs_only(init: Path, rootfs: Path) -> None:
    """CVE-2019-16884, CVE-2025-52881: the image's /proc receives no label."""
    catch = rootfs / "proc/self/attr"
    catch.mkdir(parents=True)
    (catch / "none").write_text("")
    outcome = inside(init, rootfs, step("security_label", attribute="none", label="caught"))
    refused(outcome, errno.ENOENT, "/attr/none")
    assert (catch / "none").read_text() == ""


def test_label_of_a_directory(init: Path, rootfs: Path) -> None:
    """A file system stores the attribute whether or not SELinux reads it."""
    if is_at_work("SELinux"):
        pytest.skip("SELinux is at work here, and has the last word on its labels")
    (rootfs / "link").symlink_to("/srv")
    ran(inside(init, rootfs, step("file_label", path="/link", label=LABEL)))
    assert os.getxattr(rootfs / "srv", "security.selinux") == LABEL.encode()
    refused(inside(init, rootfs, step("file_label", path="/etc/passwd", label=LABEL)), errno.ENOTDIR)


def test_a_context_reaches_the_file_system(init: Path, rootfs: Path) -> None:
    if is_at_work("SELinux"):
        pytest.skip("SELinux is at work here, and knows the option")
    refused(inside(init, rootfs, step("mask_label", label=LABEL)), errno.EINVAL, "context=" + LABEL)
    refused(inside(init, rootfs, mount("tmpfs", "/mnt", "context=" + LABEL)), errno.EINVAL, "context=" + LABEL)
