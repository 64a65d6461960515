"""Results that are made once and kept outside the tree, each under the hash of its inputs."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pyrunc-guest"

# Prefix for a command that mounts something, mmdebstrap: if it is killed, its mounts go with its namespace. On the host
# they would stay, among them the host's own /dev/shm, and the next attempt would remove the files in them.
PRIVATE_MOUNTS = ("unshare", "--mount", "--propagation", "private")

# An entry that nobody has used for so many seconds is removed.
UNUSED = 30 * 24 * 3600


class GuestError(Exception):
    """Why there can be no guest, for the person who asked for one."""


def command(*args: str | Path, what: str, **options: object) -> str:
    """Run a command to its end and return its stdout. Raises GuestError with its output if it fails."""
    try:
        done = subprocess.run([str(arg) for arg in args], capture_output=True, text=True, check=True, **options)  # type: ignore[call-overload]
    except OSError as error:
        raise GuestError(f"{what}: {error}") from error
    except subprocess.CalledProcessError as error:
        raise GuestError(f"{what}: exit code {error.returncode}\n{error.stdout}{error.stderr}".rstrip()) from error
    text: str = done.stdout
    return text


def cached(kind: str, parts: Iterable[str | bytes], make: Callable[[Path], None]) -> Path:
    """The directory that `make` has filled for these inputs, now or earlier. `make` gets an empty directory."""
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        digest.update(b"%d:" % len(data) + data)
    CACHE.mkdir(parents=True, exist_ok=True)
    path = CACHE / f"{kind}-{digest.hexdigest()[:16]}"
    with open(CACHE / f"{kind}.lock", "w") as lock:
        # Another run may be making it.
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.exists():
            for name in CACHE.glob(f"{kind}-*.part"):
                shutil.rmtree(name)
            part_made = Path(tempfile.mkdtemp(prefix=f"{kind}-", suffix=".part", dir=CACHE))
            try:
                start = time.monotonic()
                print(f"pyrunc-guest: making {path}", flush=True)
                make(part_made)
                part_made.rename(path)
                print(f"pyrunc-guest: made in {time.monotonic() - start:.0f} s", flush=True)
            finally:
                shutil.rmtree(part_made, ignore_errors=True)
        os.utime(path)
        for other in CACHE.glob(f"{kind}-*"):
            if time.time() - other.stat().st_mtime > UNUSED:
                shutil.rmtree(other)
    return path


def disk(source: Path, target: Path, more: int = 64 << 20) -> None:
    """Make an ext4 image of a directory's content, with `more` bytes of free space. The file is sparse."""
    used = sum(file.lstat().st_blocks * 512 + 4096 for file in source.rglob("*"))
    command(
        "mke2fs", "-q", "-t", "ext4", "-O", "^has_journal", "-E", "lazy_itable_init=1", "-m", "0", "-d", source, target,
        f"{(used * 5 // 4 + more) >> 20}M", what=f"making a disk of {source}",
    )  # fmt: skip
