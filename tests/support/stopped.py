"""Commands of pyrunc that wait within a step, and others that run meanwhile."""

from __future__ import annotations

import json
import os
import subprocess
import sys

from tests.support import host
from tests.support.runtime import Runtime


class Stopped:
    """A command of pyrunc that waits before a function is called for the first time."""

    def __init__(self, runtime: Runtime, module: str, name: str, *words: str) -> None:
        self.file = runtime.work / f"waits-{module}.{name}"
        self.err = runtime.work / f"stderr-{module}.{name}"
        fault = ["--wait-before", module, name, str(self.file), "--", "--root", str(runtime.root)]
        with open(self.err, "wb") as err, open(os.devnull, "r+b") as null:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.support.harness", *fault, *words],
                stdin=null, stdout=null, stderr=err, env=runtime.environment(), cwd=runtime.work,
            )  # fmt: skip
        host.wait_for(f"{words} to come to {name}", self.file.exists)

    def go_on(self) -> int:
        """Let it call the function, and return its exit code."""
        self.file.unlink()
        return self.process.wait(60)

    @property
    def message(self) -> str:
        return self.err.read_text()


class Beside:
    """Commands that run one after the other while another one is stopped, which they may have to wait for."""

    def __init__(self, runtime: Runtime, *commands: list[str]) -> None:
        self.log = runtime.work / "beside"
        self.lines = [runtime.argv(*words) for words in commands]
        script = "import json, subprocess, sys\nfor words in json.loads(sys.argv[1]): subprocess.run(words, check=True)"
        with open(self.log, "wb") as log, open(os.devnull, "r+b") as null:
            self.process = subprocess.Popen(
                [sys.executable, "-c", script, json.dumps(self.lines)],
                stdin=null, stdout=null, stderr=log, env=runtime.environment(), cwd=runtime.work,
            )  # fmt: skip

    def give_time(self) -> None:
        """Wait for the end of the commands, or, if they wait for the one that is stopped, a second."""
        try:
            self.process.wait(1)
        except subprocess.TimeoutExpired:
            return

    def end(self) -> None:
        """Wait until all have succeeded."""
        assert self.process.wait(60) == 0, self.log.read_text()
