"""A broker that runs, for tests with real containers."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from tests.support import host
from tests.support.runtime import Runtime

# A policy with everything.
ALL = {
    "mknod": {},
    "mount": {"types": ["tmpfs", "proc", "overlay"], "targets": ["/mnt", "/tmp"], "maxSize": "1m"},
    "sysinfo": {},
    "connect": {
        "networks": [{"cidr": "127.0.0.1/32"}, {"cidr": "::1/128"}],
        "unix": ["/run/good/*", "/srv/server", "@pyrunc-good*"],
        "datagrams": True,
    },
    "bind": {"networks": [{"cidr": "127.0.0.1/32"}], "unix": ["/run/good/*"]},
}


class Broker:
    """A broker that runs, with its log."""

    def __init__(self, runtime: Runtime, policies: dict[str, Any]) -> None:
        self.runtime = runtime
        self.path = runtime.work / "broker.sock"
        self.config = runtime.work / "broker.json"
        self.config.write_text(json.dumps({"policies": policies}))
        self._log = runtime.work / "broker.log"
        self.process = subprocess.Popen(
            runtime.argv("--log", self._log, "broker", "--socket", self.path, "--config", self.config),
            env=runtime.environment(),
            stdin=subprocess.DEVNULL,
        )
        host.wait_for("the broker to listen", lambda: "the broker listens at" in self.log())

    def log(self) -> str:
        return self._log.read_text() if self._log.exists() else ""

    def until_logged(self, *texts: str, times: int = 1) -> None:
        """Wait until one of these texts is in the log so many times. A refusal is logged after its answer."""
        host.wait_for(f"{texts} in the log", lambda: any(self.log().count(text) >= times for text in texts))

    def profile(self, *flags: str) -> Any:
        done = self.runtime("broker", "--socket", self.path, "--config", self.config, "--print-profile", *flags)
        assert done.code == 0, done
        return json.loads(done.out)

    def agents(self) -> list[int]:
        path = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return [int(word) for word in path.read_text().split()]

    def close(self) -> None:
        self.process.terminate()
        assert self.process.wait(60) == 0, self.log()
        assert "internal error" not in self.log()
