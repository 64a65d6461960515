"""The real command, run as an engine runs it: a new process for each call, its output in files.

PYRUNC_TEST_RUNTIME may name another command, such as runc, so that a test's expectation can be checked against it.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tests.support import host
from tests.support.bundle import Bundle

REPOSITORY = Path(__file__).resolve().parents[2]


class Result:
    """The result of a command: its exit code, and its stdout and stderr as text."""

    def __init__(self, command: list[str], code: int, out: str, err: str) -> None:
        self.command = command
        self.code = code
        self.out = out
        self.err = err

    @property
    def last_line(self) -> str:
        """The last line of stderr, which engines show."""
        lines = self.err.strip().splitlines()
        return lines[-1] if lines else ""

    def __repr__(self) -> str:
        return f"{shlex.join(self.command)} exited {self.code}\nstdout: {self.out}\nstderr: {self.err}"


class Runtime:
    """A runtime command with a state root of its own.

    work: the directory of the test. Its unique name is part of everything that the test makes: the containers' ids, the
    paths of their bundles, and so their mounts and cgroups.
    """

    def __init__(self, work: Path, template: Path) -> None:
        given = os.environ.get("PYRUNC_TEST_RUNTIME", "")
        self.command = shlex.split(given) if given else [sys.executable, "-m", "pyrunc"]
        # The command's name in its messages.
        self.name = os.path.basename(self.command[0]) if given else "pyrunc"
        self.is_own = self.name == "pyrunc"
        self.work = work
        self.token = work.name
        self.root = work / "root"
        self.template = template
        # Further variables in the environment of every command.
        self.variables: dict[str, str] = {}
        self.ids: list[str] = []
        self._count = 0

    def environment(self, extra: dict[str, str] | None = None) -> dict[str, str]:
        """The environment of a command: small and the same everywhere."""
        base = {"PATH": os.environ.get("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"), "PYTHONPATH": str(REPOSITORY)}
        return {**base, **self.variables, **(extra or {})}

    def argv(self, *args: str | Path) -> list[str]:
        """The command with its state root and arguments."""
        return [*self.command, "--root", str(self.root), *map(str, args)]

    def __call__(
        self,
        *args: str | Path,
        stdin: str | int = "",
        env: dict[str, str] | None = None,
        pass_fds: Iterable[int] = (),
        with_root: bool = True,
        cwd: Path | None = None,
        seconds: float = 60,
        prefix: Iterable[str] = (),
    ) -> Result:
        """Run one command to its end."""
        command = self.argv(*args) if with_root else [*self.command, *map(str, args)]
        command = [*prefix, *command]
        self._count += 1
        names = [self.work / f"{self._count}.{stream}" for stream in ("in", "out", "err")]
        if isinstance(stdin, str):
            names[0].write_text(stdin)
        with (
            open(names[0] if isinstance(stdin, str) else os.devnull, "rb") as source,
            open(names[1], "wb") as out,
            open(names[2], "wb") as err,
        ):
            # stdout and stderr are files: a created container keeps them open, and nobody waits for a file to close.
            process = subprocess.Popen(
                command,
                stdin=source if isinstance(stdin, str) else stdin,
                stdout=out,
                stderr=err,
                env=self.environment(env),
                pass_fds=tuple(pass_fds),
                cwd=cwd or self.work,
            )
            try:
                code = process.wait(seconds)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                raise AssertionError(
                    f"{shlex.join(command)} hung\n{names[1].read_text()}\n{names[2].read_text()}"
                ) from None
        return Result(command, code, _read(names[1]), _read(names[2]))

    def background(self, *args: str | Path, **more: Any) -> subprocess.Popen[bytes]:
        """Start a command and leave it running; its output goes to background.out and .err in the work directory."""
        with open(self.work / "background.out", "wb") as out, open(self.work / "background.err", "wb") as err:
            return subprocess.Popen(
                self.argv(*args),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                env=self.environment(),
                cwd=self.work,
                **more,
            )

    def bundle(self, name: str = "bundle") -> Bundle:
        """A new bundle."""
        return Bundle(self.work / name, self.template)

    def new_id(self) -> str:
        """An id that no other test uses. The container is deleted when the test ends."""
        self.ids.append(f"{self.token}-{len(self.ids)}")
        return self.ids[-1]

    def run(self, bundle: Bundle, *flags: str, ok: bool = True, id: str = "", **more: Any) -> Result:
        """Run `run` in the foreground. AssertionError if the exit code is not 0, unless `ok` is false."""
        bundle.write()
        result = self("run", "--bundle", bundle.path, *flags, id or self.new_id(), **more)
        assert not ok or result.code == 0, result
        return result

    def inside(self, bundle: Bundle, script: str, *flags: str) -> str:
        """The output of a shell script in the container."""
        return self.run(bundle.sh(script), *flags).out

    def refuse(self, bundle: Bundle, *flags: str, id: str = "", **more: Any) -> Result:
        """Run `create`, which must fail and leave nothing."""
        bundle.write()
        before = self.left_over()
        result = self("create", "--bundle", bundle.path, *flags, id or self.new_id(), **more)
        assert result.code != 0, result
        assert result.last_line, "a failure without a word"
        self.assert_nothing_left(before)
        return result

    def container(self, bundle: Bundle, *flags: str, **more: Any) -> Container:
        """A container that is created and not started."""
        bundle.write()
        id = self.new_id()
        result = self("create", "--bundle", bundle.path, *flags, id, **more)
        assert result.code == 0, result
        return Container(self, id, bundle, self.work / f"{self._count}.out")

    def started(self, bundle: Bundle, *flags: str, **more: Any) -> Container:
        """A container that is started."""
        container = self.container(bundle, *flags, **more)
        container.start()
        return container

    def state(self, id: str) -> dict[str, Any]:
        """The output of `state`. AssertionError if it fails."""
        result = self("state", id)
        assert result.code == 0, result
        value: dict[str, Any] = json.loads(result.out)
        return value

    def left_over(self) -> list[str]:
        """What the host still has of this test's containers: state directories, cgroups, mounts and processes."""
        # A name that begins with a colon is not a container's: the cache of seccomp filters.
        names = [name for name in (os.listdir(self.root) if self.root.exists() else []) if name[0] != ":"]
        found = ["state directory " + name for name in names]
        found += ["cgroup " + path for path in host.cgroups_of(self.token)]
        found += ["mount " + line for line in host.mounts_of(self.token)]
        return found + ["process " + line for line in host.processes_of(self.token)]

    def assert_nothing_left(self, besides: Iterable[str] = ()) -> None:
        """Assert that the host has nothing of this test's containers except what `left_over` returned before. Waits for
        what is being removed."""
        rest: list[str] = []

        def gone() -> bool:
            rest[:] = [line for line in self.left_over() if line not in besides]
            return not rest

        try:
            host.wait_for("nothing to be left", gone)
        except AssertionError:
            raise AssertionError("left on the host: " + "; ".join(rest)) from None

    def close(self) -> None:
        """Delete what the test made, and check that nothing is left."""
        for id in self.ids:
            result = self("delete", "--force", id)
            assert result.code == 0, result
        self.assert_nothing_left()


class Container:
    """A container that the runtime has created. `output` is what it has written to stdout."""

    def __init__(self, runtime: Runtime, id: str, bundle: Bundle, out: Path) -> None:
        self.runtime = runtime
        self.id = id
        self.bundle = bundle
        self.out = out
        self.pid: int = self.state()["pid"]

    def state(self) -> dict[str, Any]:
        """The output of `state`."""
        return self.runtime.state(self.id)

    @property
    def status(self) -> str:
        """The status in the output of `state`."""
        status: str = self.state()["status"]
        return status

    def start(self) -> None:
        """Run `start`, which must work."""
        result = self.runtime("start", self.id)
        assert result.code == 0, result

    def kill(self, signal: str = "KILL", *flags: str) -> Result:
        """Run `kill`, which must work."""
        result = self.runtime("kill", *flags, self.id, signal)
        assert result.code == 0, result
        return result

    def delete(self, *flags: str) -> Result:
        """Run `delete`, which must work."""
        result = self.runtime("delete", *flags, self.id)
        assert result.code == 0, result
        return result

    def wait(self) -> None:
        """Wait until the container's process has ended."""
        host.wait_for(f"the process of {self.id} to end", lambda: not host.is_alive(self.pid))

    @property
    def output(self) -> str:
        """What the container has written to stdout so far."""
        return _read(self.out)

    def finish(self) -> str:
        """Start the container, wait for its end, and return its output."""
        self.start()
        self.wait()
        return self.output


def _read(path: Path) -> str:
    return path.read_text(errors="surrogateescape")
