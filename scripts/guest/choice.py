"""Choose the guest to boot: User-Mode Linux if a probe shows that it can run programs on this machine, else QEMU."""

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

# The time for the probe, in seconds. On an idle machine it takes one.
PROBE_SECONDS = 60

# The probe's only program starts a second program, so that a process is forked, executed and waited for.
RUNS = "pyrunc-guest: a program runs"
PROBE_INIT = f"""#!/bin/busybox sh
/bin/busybox echo '{RUNS}'
exec /bin/busybox poweroff -f
"""


def choose(wanted: str, why_not_uml: Callable[[], str | None]) -> tuple[str, str]:
    """The machine, "uml" or "qemu", and the reason. `wanted` may name one; otherwise why_not_uml() decides."""
    if wanted != AUTO:
        return wanted, f"GUEST={wanted}"
    reason = why_not_uml()
    if reason is None:
        return "uml", "a probe shows that it runs on this machine"
    return "qemu", f"User-Mode Linux does not run on this machine: {reason}"


def why_not_uml() -> str | None:
    """The reason in one line why User-Mode Linux can't run programs here; None if it can."""
    if not install("uml"):
        return "its packages could not be installed"
    with tempfile.TemporaryDirectory(prefix="pyrunc-guest-probe-") as name:
        return probe(Path(name))


def install(machine: str) -> bool:
    """Install the Debian packages that this machine needs. Returns False if that failed, with the reason on stderr."""
    environment = {**os.environ, "PYTHON": sys.executable}
    done = subprocess.run([str(REPOSITORY / "scripts/packages.sh"), f"guest-{machine}"], env=environment, check=False)
    return done.returncode == 0


def probe(work: Path) -> str | None:
    """Boot User-Mode Linux for only two programs. Returns None if they ran, else the reason why they did not.

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
        # setpriv(1) and unshare(1) end the kernel when they are killed.
        kernel.kill()
        kernel.wait()
    return failure(output.read_text(errors="replace"))


def failure(console: str) -> str | None:
    """Why the probe's program did not run, from the output on its console; None if it ran."""
    lines = [line.strip() for line in console.splitlines() if line.strip()]
    if RUNS in lines:
        return None
    panic = next((number for number, line in enumerate(lines) if PANIC.decode() in line), None)
    if panic is None:
        return lines[-1] if lines else "it printed nothing"
    # The panic says that the first process was killed; the line before it names the signal.
    if panic > 0 and "failed" in lines[panic - 1]:
        return lines[panic - 1]
    return lines[panic]
