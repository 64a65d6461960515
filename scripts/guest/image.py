"""The guest's root file system: Debian's packages, this directory's `files`, and nothing else. It has the host's
release, from the archive that the host's apt uses."""

from __future__ import annotations

import os
import platform
from pathlib import Path

from cache import PRIVATE_MOUNTS, GuestError, cached, command, disk

HERE = Path(__file__).resolve().parent
FILES = HERE / "files"

# Free space on the disk for what the tests write, in bytes.
SPARE = 2 << 30

# Units that a guest for tests has no use for, or that a test starts itself.
MASKED = (
    "apt-daily.timer", "apt-daily-upgrade.timer", "containerd.service", "docker.service", "docker.socket",
    "dpkg-db-backup.timer", "e2scrub_all.timer", "e2scrub_reap.service",
    "fstrim.timer", "getty@.service", "serial-getty@.service", "systemd-firstboot.service", "systemd-pstore.service",
)  # fmt: skip


def release() -> str:
    """The code name of the host's Debian release. Raises GuestError if the host is not a Debian."""
    facts = platform.freedesktop_os_release()
    if facts.get("ID") != "debian" or "VERSION_CODENAME" not in facts:
        raise GuestError(f"the guest is of the host's Debian release, and this is {facts.get('PRETTY_NAME')}")
    return facts["VERSION_CODENAME"]


def packages() -> list[str]:
    """The packages that mmdebstrap is asked to install in the image; GUEST_PACKAGES names more."""
    lines = (HERE / "packages").read_text().splitlines()
    wanted = [line for line in lines if line and not line.startswith("#")]
    return [*wanted, *os.environ.get("GUEST_PACKAGES", "").split()]


def sources(codename: str) -> list[str]:
    """The archive from which the host's apt has this release, as sources.list(5) lines. Raises GuestError if its lists
    lack it.
    """
    suites = {codename, f"{codename}-updates", f"{codename}-security"}
    found: list[str] = []
    for update in (False, True):
        if update:
            # The lists of a fresh machine are empty.
            command("apt-get", "update", "-qq", what="apt-get update")
        lines = command(
            "apt-get", "indextargets", "--format", "$(ORIGIN) $(CODENAME) $(COMPONENT) $(REPO_URI) $(RELEASE)",
            "Created-By: Packages", what="asking apt for its sources",
        )  # fmt: skip
        for line in lines.splitlines():
            words = line.split(" ")
            if len(words) == 5 and words[0] == "Debian" and words[1] in suites and words[2] == "main":
                found.append(f"deb {words[3]} {words[4]} main")
        if any(line.endswith(f" {codename} main") for line in found):
            return list(dict.fromkeys(found))
    raise GuestError(f"apt knows no archive of Debian {codename}: nothing to make the guest's image from")


def network_options() -> str:
    """The host's settings of how apt fetches, such as a proxy, as apt.conf(5) lines."""
    wanted = ("Acquire::http", "Acquire::https", "Acquire::Retries", "Acquire::Check-")
    lines = command("apt-config", "dump", "Acquire", what="asking apt for its settings").splitlines()
    return "".join(line + "\n" for line in lines if line.startswith(wanted))


def make(target: Path) -> None:
    """Make target/root.ext4 in about a minute."""
    codename = release()
    root, options, archive = target / "root", target / "apt.conf", target / "sources.list"
    options.write_text(network_options())
    archive.write_text("\n".join(sources(codename)) + "\n")
    excluded = [f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in ("doc", "info", "locale", "man")]
    command(
        *PRIVATE_MOUNTS, "mmdebstrap", "--mode=root", "--format=directory", "--variant=minbase",
        f"--aptopt={options}", *excluded,
        "--include=" + ",".join(packages()),
        "--customize-hook=chroot \"$1\" useradd --create-home --uid 1000 --shell /bin/bash tester",
        codename, root, archive, what="making the guest's image with mmdebstrap",
    )  # fmt: skip
    command("cp", "-a", "--no-preserve=ownership", f"{FILES}/.", root, what="copying the guest's files")
    (root / "etc/hostname").write_text("guest\n")
    (root / "etc/hosts").write_text("127.0.0.1 localhost guest\n")
    # Without a machine id systemd takes the boot for the first one and presets all units.
    (root / "etc/machine-id").write_text("70797275" * 4 + "\n")
    (root / "etc/resolv.conf").unlink(missing_ok=True)
    units = root / "etc/systemd/system"
    for name in MASKED:
        for link in units.rglob(name):
            link.unlink()
        (units / name).symlink_to("/dev/null")
    (units / "multi-user.target.wants").mkdir(exist_ok=True)
    (units / "multi-user.target.wants/pyrunc-guest.service").symlink_to("../pyrunc-guest.service")
    for name in ("lib/modules", "pyrunc", *(f"usr/local/lib/{path.name}/dist-packages" for path in _pythons(root))):
        (root / name).mkdir(parents=True, exist_ok=True)
    disk(root, target / "root.ext4", SPARE)
    command("rm", "-rf", root, what="removing the guest's files")


def _pythons(root: Path) -> list[Path]:
    return list((root / "usr/lib").glob("python3.[0-9]*"))


def image() -> Path:
    """The disk with the guest's root file system."""
    parts: list[str | bytes] = [release(), os.uname().machine, Path(__file__).read_bytes(), *packages()]
    for file in sorted(path for path in FILES.rglob("*") if path.is_file()):
        parts += [str(file.relative_to(FILES)), file.read_bytes()]
    return cached("image", parts, make) / "root.ext4"
