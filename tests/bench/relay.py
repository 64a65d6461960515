"""The relay's throughput: a container with a terminal writes, and a foreground `run` passes its output on into a
pipe.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from pathlib import Path

from tests.bench.bundles import BUSYBOX, config
from tests.bench.runtimes import Failed, Runtime

MIB = 1 << 20
_READ = 1 << 20


def bundle(work: Path, mebibytes: int) -> Path:
    """The bundle of a container that writes `mib` MiB to its terminal, 64 KiB at a time. Raises OSError."""
    path = work / "relay"
    (path / "rootfs/bin").mkdir(parents=True)
    for name in ("proc", "dev", "sys"):
        (path / "rootfs" / name).mkdir()
    shutil.copy(BUSYBOX, path / "rootfs/bin/busybox")
    spec = config()
    spec["process"]["terminal"] = True
    spec["process"]["args"] = ["/bin/busybox", "dd", "if=/dev/zero", "bs=65536", f"count={mebibytes * 16}"]
    (path / "config.json").write_text(json.dumps(spec))
    return path


def throughput(runtime: Runtime, path: Path, id: str, mebibytes: int) -> float:
    """Run the container on a terminal, its output in a pipe. Returns the MiB/s from its first byte to its last.

    Raises Failed if the command fails or some of the output is missing.
    """
    master, slave = os.openpty()
    reader, writer = os.pipe()
    line = [*runtime.command, "--root", str(runtime.root), "run", "--bundle", str(path), id]
    with runtime.output.open("wb") as errors:
        # runc looks for the terminal at standard error, crun at standard input.
        process = subprocess.Popen(line, stdin=slave, stdout=writer, stderr=slave)
        os.close(writer)
        got, begin = len(os.read(reader, 1)), time.monotonic()
        while data := os.read(reader, _READ):
            got += len(data)
        seconds = time.monotonic() - begin
        code = process.wait()
        os.set_blocking(master, False)
        try:
            errors.write(os.read(master, 65536))
        except OSError:
            pass  # it has printed nothing
    for fd in (reader, master, slave):
        os.close(fd)
    if code != 0 or got < mebibytes * MIB:
        raise Failed(f"{' '.join(line)} exited {code} after {got} bytes:\n{runtime.output.read_text(errors='replace')}")
    return got / MIB / seconds
