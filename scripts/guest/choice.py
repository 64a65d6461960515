"""Which guest to boot: User-Mode Linux where it can run programs on this machine, which is tried, else QEMU."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from cache import REPOSITORY
from initramfs import pack
from machines import GUARD, PANIC, uml_kernel

NAMES = {"uml": "User-Mode Linux", "qemu": "QEMU"}
AUTO = "auto"

# How long the probe may take, in seconds. It takes one where nothing else runs.
PROBE_SECONDS = 60

# The probe's only program starts a second one, so that a process is forked, executed and waited for.
RUNS = "pyrunc-guest: a program runs"
PROBE_INIT = f"""#!/bin/busybox sh
/bin/busybox echo '{RUNS}'
exec /bin/busybox poweroff -f
"""


def choose(wanted: str, why_not_uml: Callable[[], str | None]) -> tuple[str, str]:
    """The machine, "uml" or "qemu", and why it is that one. `wanted` may name one; else why_not_uml() is called."""
    if wanted != AUTO:
        return wanted, f"GUEST={wanted}"
    reason = why_not_uml()
    if reason is None:
        return "uml", "a probe shows that it runs on this machine"
    return "qemu", f"User-Mode Linux does not run on this machine: {reason}"


def why_not_uml() -> str | None:
    """What keeps User-Mode Linux from running programs here, in one line; None where nothing does."""
    if not install("uml"):
        return "its packages could not be installed"
    with tempfile.TemporaryDirectory(prefix="pyrunc-guest-probe-") as name:
        return probe(Path(name))


def install(machine: str) -> bool:
    """Install the Debian packages that this machine needs. False where that failed, with the reason on stderr."""
    environment = {**os.environ, "PYTHON": sys.executable}
    done = subprocess.run([str(REPOSITORY / "scripts/packages.sh"), f"guest-{machine}"], env=environment, check=False)
    return done.returncode == 0


def probe(work: Path) -> str | None:
    """Boot User-Mode Linux for two programs and no more. None where they ran, else why they did not.

    `work` is an empty directory.
    """
    busybox = Path("/bin/busybox").read_bytes()
    initrd = work / "initrd"
    initrd.write_bytes(pack({"bin": None, "bin/busybox": busybox, "init": PROBE_INIT.encode()}))
    args, environment = uml_kernel(work)
    output = work / "console"
    with open(output, "wb") as console:
        kernel = subprocess.Popen(
            [*GUARD, *args, f"initrd={initrd}"], stdin=subprocess.DEVNULL, stdout=console, stderr=console,
            cwd=work, env={"PATH": os.environ.get("PATH", os.defpath), **environment}, start_new_session=True,
        )  # fmt: skip
    end = time.monotonic() + PROBE_SECONDS
    try:
        # A kernel that panics may not end.
        while kernel.poll() is None and PANIC not in output.read_bytes():
            if time.monotonic() > end:
                return f"its probe did not finish in {PROBE_SECONDS} s"
            time.sleep(0.1)
    finally:
        # setpriv(1) and unshare(1) have the kernel killed with them.
        kernel.kill()
        kernel.wait()
    return failure(output.read_text(errors="replace"))


def failure(console: str) -> str | None:
    """Why the probe's program did not run, out of what its console shows; None where it ran."""
    lines = [line.strip() for line in console.splitlines() if line.strip()]
    if RUNS in lines:
        return None
    panic = next((number for number, line in enumerate(lines) if PANIC.decode() in line), None)
    if panic is None:
        return lines[-1] if lines else "it printed nothing"
    # The panic is that the first process was killed; the line before it tells by what.
    if panic > 0 and "failed" in lines[panic - 1]:
        return lines[panic - 1]
    return lines[panic]
