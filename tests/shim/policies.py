"""The administrator's policies for brokers, in one file for all tests that run at a time."""

from __future__ import annotations

import contextlib
import fcntl
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

CONFIG = Path("/etc/pyrunc/broker.json")
POLICIES = {"nodes": {"mknod": {"devices": ["null"]}}, "info": {"sysinfo": {}}}
BROKER = "org.pyrunc.broker"


def write(value: Any) -> None:
    """Replace the file."""
    new = CONFIG.with_suffix(".new")
    new.write_text(json.dumps({"policies": value}))
    new.rename(CONFIG)


@contextlib.contextmanager
def given() -> Iterator[None]:
    """The file with POLICIES, for one test at a time."""
    with open(CONFIG.with_name("lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        write(POLICIES)
        try:
            yield
        finally:
            CONFIG.unlink(missing_ok=True)
