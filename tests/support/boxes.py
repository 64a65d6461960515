"""Containers whose process is an ordinary one, for unit tests of the life-cycle."""

from __future__ import annotations

import subprocess
from pathlib import Path

from pyrunc.libcontainer import process
from pyrunc.libcontainer.launch import ledger

from .records import opened, record_of, saved


class Box:
    """A container in the state directory ROOT/box whose process is `sleep` under another command name."""

    def __init__(self, root: Path, name: str = "sleep") -> None:
        self.root = str(root)
        self.path = root / "box"
        self.path.mkdir()
        program = self.path / name
        program.symlink_to("/bin/sleep")
        self.process = subprocess.Popen(["sleep", "60"], executable=program)
        while (found := process.stat(self.process.pid)) is None or found.name != name:
            continue
        self.record = record_of(self.process.pid)
        ledger.Ledger(opened(self.path)).close()
        self.save()

    def save(self) -> None:
        saved(self.path, self.record)

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
