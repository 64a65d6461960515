"""Run a shell command in a clone of the tree on a Debian for arm64, which qemu-user emulates: `arm64.py COMMAND`, root.

It is for what a cross compiler can't make: the launcher's snapshot and the wheel are made by running what was built.
Wheels that the command leaves in build/dist are copied to the tree's. There is no clone3(2) in qemu-user, so no
container runs there.

The machine is a directory of unpacked packages (mmdebstrap's variant `extract`), so no program of it runs while it is
made. It is entered in a new user namespace, which has a binfmt_misc of its own (Linux 6.7): the kernel finds qemu for
the programs of this machine, and the host's settings stay as they are.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from checkout import CLONE, clone
from debian import COPIED, archive, network

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "guest"))

from cache import PRIVATE_MOUNTS, REPOSITORY, GuestError, cached, command
from image import network_options, release

EMULATOR = "/usr/bin/qemu-aarch64-static"

# What `make wheel` needs, and what an unpacked Debian lacks of the essential packages.
PACKAGES = (
    "bash", "binutils", "ca-certificates", "coreutils", "dash", "diffutils", "dpkg-dev", "findutils", "gcc", "git",
    "grep", "gzip", "libc-bin", "libc6-dev", "libcap-dev", "libseccomp-dev", "linux-libc-dev", "make", "mawk",
    "musl-tools", "python3", "python3-dev", "python3-venv", "sed", "tar", "util-linux",
)  # fmt: skip

# Links and files that the packages' scripts would have made: path, target or content.
LINKS = {"usr/bin/awk": "mawk", "usr/bin/cc": "gcc"}
FILES = {"etc/passwd": "root:x:0:0:root:/root:/bin/sh\n", "etc/group": "root:x:0:\n"}

# ELF programs of 64 bits for AArch64 (binfmt_misc(5)): the kernel's documentation has the form. F opens the emulator
# now, before the root changes.
MAGIC = r"\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00"
MASK = r"\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff"
RULE = f":qemu-aarch64:M::{MAGIC}:{MASK}:{EMULATOR}:F"

# Waits until the ids are mapped, and executes a shell, which is root from then on.
FIRST = 'read line; exec sh -euc "$@"'
SECOND = """
mount -t binfmt_misc none /proc/sys/fs/binfmt_misc
printf %s "$2" > /proc/sys/fs/binfmt_misc/register
mount -t proc proc "$1/proc"
mount --rbind /dev "$1/dev"
exec chroot "$1" /bin/sh -euc "cd $3; $4"
"""


def make(target: Path) -> None:
    """Make target/root, in a minute."""
    root, options, lines = target / "root", target / "apt.conf", target / "sources.list"
    options.write_text(network_options())
    lines.write_text("\n".join(archive(release())) + "\n")
    command(
        *PRIVATE_MOUNTS, "mmdebstrap", "--mode=root", "--arch=arm64", "--variant=extract", f"--aptopt={options}",
        "--include=" + ",".join(PACKAGES), release(), root, lines, what="unpacking Debian for arm64",
    )  # fmt: skip
    for name, link in LINKS.items():
        (root / name).symlink_to(link)
    for name, content in FILES.items():
        (root / name).write_text(content)
    for name in ("dev", "proc", "root", "tmp"):
        (root / name).mkdir(exist_ok=True)
    shutil.copytree("/etc/ssl/certs", root / "etc/ssl/certs", dirs_exist_ok=True)


def enter(root: Path, words: str) -> int:
    """Run a shell command in the clone of the machine at `root`, and return its exit code."""
    environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "LANG": "C.UTF-8", **network()}
    environment |= {name: os.environ[name] for name in ("MAINTAINER", "HOMEPAGE") if name in os.environ}
    process = subprocess.Popen(
        [
            "setpriv", "--pdeathsig", "KILL", "unshare", "--user", "--mount", "--propagation", "private", "--pid",
            "--fork", "--kill-child", "sh", "-euc", FIRST, "sh", SECOND, "sh", root, RULE, CLONE, words,
        ],
        stdin=subprocess.PIPE, env=environment,
    )  # fmt: skip
    try:
        own = os.readlink("/proc/self/ns/user")
        while process.poll() is None and os.readlink(f"/proc/{process.pid}/ns/user") == own:
            time.sleep(0.01)
        for name in ("uid_map", "gid_map"):
            Path(f"/proc/{process.pid}/{name}").write_text("0 0 65536\n")
        process.communicate(b"\n")
        return process.returncode
    finally:
        process.kill()
        process.wait()


def main() -> int:
    """Run what sys.argv asks for."""
    if len(sys.argv) != 2 or os.geteuid() != 0:
        raise GuestError("usage, as root: arm64.py COMMAND")
    image = cached(f"arm64-{release()}", [Path(__file__).read_text(), *PACKAGES], make) / "root"
    work = Path(tempfile.mkdtemp(prefix="pyrunc-arm64-"))
    try:
        root = work / "root"
        command("cp", "-a", "--reflink=auto", image, root, what="copying the image")
        for name in COPIED:
            if os.path.exists(name):
                shutil.copy(name, root / name.lstrip("/"))
        clone(root / CLONE.lstrip("/"))
        code = enter(root, sys.argv[1])
        for wheel in (root / CLONE.lstrip("/") / "build/dist").glob("*.whl"):
            (REPOSITORY / "build/dist").mkdir(parents=True, exist_ok=True)
            shutil.copy(wheel, REPOSITORY / "build/dist")
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return code


if __name__ == "__main__":
    try:
        sys.exit(main())
    except GuestError as error:
        sys.exit(f"pyrunc-arm64: {error}")
