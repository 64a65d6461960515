"""The ways to boot the image: User-Mode Linux, and QEMU without KVM. Each gives a command line."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from cache import GuestError, cached, command, disk
from initramfs import pack

# The image's first program, and the arguments that tell it its disks and the terminal that the host reads.
INIT = "init=/usr/lib/pyrunc-guest/init"

UML = Path("/usr/bin/linux.uml")
UML_MODULES = Path("/usr/lib/uml/modules")
UML_MEMORY = 1 << 30

# The library that is preloaded into UML, and the command that compiles it.
UML_PRELOADED = Path(__file__).resolve().parent / "xstate.c"
UML_PRELOADED_COMPILER = ("gcc", "-std=c11", "-Wall", "-Wextra", "-Werror", "-O2", "-shared", "-fPIC")

# The line of a kernel that has panicked. It may not end then.
PANIC = b"Kernel panic - not syncing"

# A pid namespace of its own: however a guest ends, all of its processes end with it.
GUARD = ("setpriv", "--pdeathsig", "KILL", "unshare", "--pid", "--fork", "--kill-child", "--mount-proc", "--net")

KERNEL = "linux-image-amd64"
# The modules that a kernel needs to reach the root file system.
INITIAL_MODULES = ("virtio_pci", "virtio_blk", "ext4")

# The initramfs's program; modules are in the order of insmod.
INITIAL_INIT = """#!/bin/busybox sh
for module in /modules/*; do /bin/busybox insmod $module; done
/bin/busybox mount -t devtmpfs devtmpfs /dev
/bin/busybox mount -t ext4 /dev/vda /root
/bin/busybox mount --move /dev /root/dev
exec /bin/busybox switch_root /root /usr/lib/pyrunc-guest/init
"""


def uml_kernel(work: Path) -> tuple[list[str], dict[str, str]]:
    """User-Mode Linux, the kernel as a program, with a console and nothing else; and its environment.

    `work` is a directory for its files.
    """

    def make(target: Path) -> None:
        command(*UML_PRELOADED_COMPILER, "-o", target / "xstate.so", UML_PRELOADED, what=f"compiling {UML_PRELOADED}")

    preloaded = cached("uml-xstate", [UML_PRELOADED.read_bytes(), *UML_PRELOADED_COMPILER], make) / "xstate.so"
    args = [
        str(UML), f"mem={UML_MEMORY >> 20}M", f"uml_dir={work}", "umid=guest", "con=null", "con0=null,fd:1",
        "TERM=dumb",
    ]  # fmt: skip
    return args, {"TMPDIR": _memory_directory(work), "LD_PRELOAD": str(preloaded)}


def uml(work: Path, image: Path, site: Path, tree: Path, channel: int) -> tuple[list[str], dict[str, str]]:
    """User-Mode Linux: cpu, io, memory and pids controllers, one processor."""
    facts = UML.stat()

    def make(target: Path) -> None:
        disk(UML_MODULES, target / "modules.ext4")

    modules = cached("uml-modules", [f"{facts.st_size} {facts.st_mtime_ns}"], make) / "modules.ext4"
    args, environment = uml_kernel(work)
    args += [
        f"ubd0={work}/root.cow,{image}", f"ubd1r={site}", f"ubd2r={modules}", f"ubd3={tree}",
        "ssl=null", f"ssl0=null,fd:{channel}", "root=/dev/ubda", "rw", INIT, "pyrunc.guest=uml", "pyrunc.channel=ttyS0",
        "pyrunc.disks=/dev/ubdb,/dev/ubdc,/dev/ubdd",
    ]  # fmt: skip
    return args, environment


def _memory_directory(work: Path) -> str:
    """A directory where UML can have a file as its memory: mapped executable, and larger than the guest's memory."""
    shared = Path("/dev/shm")
    if os.path.ismount(shared):
        facts = os.statvfs(shared)
        if not facts.f_flag & os.ST_NOEXEC and facts.f_bavail * facts.f_frsize >= 3 * UML_MEMORY:
            return str(shared)
    return str(work)


def qemu(work: Path, image: Path, site: Path, tree: Path, channel: int) -> tuple[list[str], dict[str, str]]:
    """QEMU with Debian's kernel: all controllers, two processors, ten to twenty times slower than the host.

    GUEST_ACCEL replaces software emulation, for example by `kvm` on a host that is known to support it.
    """
    kernel = _kernel()
    args = ["qemu-system-x86_64", "-accel", os.environ.get("GUEST_ACCEL") or "tcg,thread=multi", "-cpu", "max"]
    args += ["-smp", "2", "-m", "2048", "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"]
    args += ["-kernel", str(kernel / "vmlinuz"), "-initrd", str(kernel / "initrd"), "-append"]
    args += [
        "console=ttyS0 loglevel=4 rw TERM=dumb pyrunc.guest=qemu pyrunc.channel=ttyS1 "
        "pyrunc.disks=/dev/vdb,/dev/vdc,/dev/vdd panic=-1"
    ]
    args += ["-serial", f"file:{work}/serial", "-chardev", f"file,id=channel,path=/dev/fd/{channel}"]
    args += ["-serial", "chardev:channel"]
    for path in (image, site, kernel / "modules.ext4", tree):
        # Snapshot: QEMU writes to a temporary file, so several guests may use the image, even if another one (User-Mode
        # Linux too) has locked it.
        args += ["-drive", f"file={path},format=raw,if=virtio,snapshot=on,file.locking=off"]
    return args, {"TMPDIR": str(work)}


def _kernel() -> Path:
    """The directory with Debian's kernel, `vmlinuz`, `initrd` and `modules.ext4`.

    The package is unpacked: installing it would make this kernel the host's.
    """
    lines = command("apt-cache", "depends", "--important", KERNEL, what="looking for " + KERNEL).split()
    names = [line for line in lines if line.startswith("linux-image-")]
    if len(names) != 2:
        raise GuestError(f"apt has no {KERNEL}: apt-get update, or make test-guest GUEST=uml")
    version = command("apt-cache", "show", "--no-all-versions", names[1], what="looking for " + names[1])

    def make(target: Path) -> None:
        command("apt-get", "download", "-qq", names[1], cwd=target, what=f"downloading {names[1]}")
        package = next(target.glob("*.deb"))
        root = target / "unpacked"
        command("dpkg-deb", "-x", package, root, what=f"unpacking {package.name}")
        package.unlink()
        shutil.move(next((root / "boot").glob("vmlinuz-*")), target / "vmlinuz")
        library = next(path for path in (root / "lib/modules", root / "usr/lib/modules") if path.is_dir())
        release = next(library.iterdir()).name
        command("depmod", "-b", library.parent.parent, release, what="listing the kernel's modules")
        _initrd(target / "initrd", library.parent.parent, release)
        disk(library, target / "modules.ext4")
        shutil.rmtree(root)

    return cached("kernel", [version, INITIAL_INIT, *INITIAL_MODULES], make)


def _initrd(target: Path, root: Path, release: str) -> None:
    """Write an initramfs of busybox and a few modules."""
    lines = command(
        "modprobe", "-d", root, "-S", release, "-a", "--show-depends", *INITIAL_MODULES, what="looking for modules"
    ).splitlines()
    paths = dict.fromkeys(line.split()[1] for line in lines if line.startswith("insmod "))
    files: dict[str, bytes | None] = dict.fromkeys(("bin", "dev", "modules", "root"))
    files["bin/busybox"] = Path("/bin/busybox").read_bytes()
    files["init"] = INITIAL_INIT.encode()
    for number, path in enumerate(paths):
        files[f"modules/{number:02}-{Path(path).name}"] = Path(path).read_bytes()
    target.write_bytes(pack(files))


Machine = Callable[[Path, Path, Path, Path, int], tuple[list[str], dict[str, str]]]
MACHINES: dict[str, Machine] = {"uml": uml, "qemu": qemu}
