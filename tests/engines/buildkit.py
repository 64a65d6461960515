"""BuildKit's own worker, which calls the runtime's `run`, by buildctl and Dockerfiles."""

from __future__ import annotations

import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path

from tests.engines.checks import fails
from tests.engines.engine import Engine
from tests.engines.images import layer
from tests.engines.machine import Done, Machine, wait_for
from tests.engines.tree import PROGRAMS, install, stand_ins

# The context of all builds: the busybox image's files as a tar, and what a check adds.
CONTEXT = "/srv/context"
BASE = "FROM scratch AS base\nADD busybox.tar /\nENV PATH=/bin:/usr/bin\n"
RESULT = "/var/tmp/result.tar"


class BuildKit(Engine):
    """One buildkitd for each runtime, with its own state and socket."""

    name = "buildkit"

    @classmethod
    def up(cls, machine: Machine) -> str:
        install(machine, PROGRAMS / "buildkit")
        machine.write(f"{CONTEXT}/given", "given\n")
        machine.path(f"{CONTEXT}/busybox.tar").write_bytes(layer(stand_ins(machine)[0]))
        return machine.run("buildkitd", "--version").out.split()[2]

    @property
    def address(self) -> str:
        """The daemon's socket."""
        return f"unix:///run/buildkit-{self.runtime}.sock"

    def start(self) -> None:
        """Start the daemon, if it does not run, and wait until it answers."""
        if self.machine.pids("buildkitd", f"--addr={self.address}"):
            return
        self.machine.start(
            f"buildkitd-{self.runtime}", "buildkitd", f"--addr={self.address}", "--containerd-worker=false",
            f"--oci-worker-binary={self.machine.which(self.runtime)}", "--oci-worker-net=host",
            f"--root=/var/lib/containerd/buildkit-{self.runtime}", "--allow-insecure-entitlement=security.insecure",
            "--allow-insecure-entitlement=network.host",
        )  # fmt: skip
        words = ("buildctl", f"--addr={self.address}", "debug", "workers")
        wait_for(lambda: self.machine.run(*words).code == 0, "buildkitd does not answer", 60)

    def build(self, text: str, *options: str, seconds: float = 120) -> Done:
        """Build a Dockerfile on top of the base; the result's files are in RESULT."""
        self.start()
        self.machine.write(f"{CONTEXT}/Dockerfile", BASE + text)
        return self.machine.run(
            "buildctl", f"--addr={self.address}", "build", "--frontend=dockerfile.v0", f"--local=context={CONTEXT}",
            f"--local=dockerfile={CONTEXT}", f"--output=type=tar,dest={RESULT}", "--progress=plain", "--no-cache",
            *options, seconds=seconds,
        )  # fmt: skip

    def files(self, text: str, *options: str) -> Mapping[str, str]:
        """The small files of a build's result. AssertionError with the output if it fails."""
        done = self.build(text, *options)
        assert done.code == 0, done.said
        return contents(self.machine.path(RESULT))


def contents(path: Path) -> dict[str, str]:
    """The text of a tar's small files."""
    found = {}
    with tarfile.open(path) as tar:
        for entry in tar:
            file = tar.extractfile(entry) if entry.isfile() and entry.size < 10000 else None
            if file is not None:
                found[entry.name] = file.read().decode(errors="replace")
    return found


Check = Callable[[BuildKit], None]

CHECKS: dict[str, Check] = {}


def check(function: Check) -> Check:
    """Put a check into the table, under its name."""
    CHECKS[function.__name__] = function
    return function


@check
def buildkit_run(buildkit: BuildKit) -> None:
    """RUN: users, variables, directory, two stages."""
    text = """FROM base AS first
RUN echo built > /built && id -u > /who
USER 1000:1000
ENV A=1
WORKDIR /tmp
RUN id -u > /tmp/who && echo $A > /tmp/a && pwd > /tmp/pwd
FROM scratch
COPY --from=first /built /who /
COPY --from=first /tmp /tmp
"""
    found = buildkit.files(text)
    wanted = {"built": "built\n", "who": "0\n", "tmp/who": "1000\n", "tmp/a": "1\n", "tmp/pwd": "/tmp\n"}
    assert {name: found.get(name) for name in wanted} == wanted


@check
def buildkit_mounts(buildkit: BuildKit) -> None:
    """RUN --mount of each kind."""
    buildkit.machine.write("/srv/word", "secret\n")
    text = """FROM base
RUN --mount=type=tmpfs,target=/scratch,size=1048576 --mount=type=cache,target=/cache \\
    --mount=type=bind,source=given,target=/given --mount=type=secret,id=word,target=/word \\
    grep ' /scratch tmpfs' /proc/mounts > /mounts && touch /cache/file && cat /given /word > /result
"""
    found = buildkit.files(text, "--secret=id=word,src=/srv/word")
    assert found["result"] == "given\nsecret\n"
    assert "size=1024k" in found["mounts"]


@check
def buildkit_privileges(buildkit: BuildKit) -> None:
    """RUN --security=insecure has the daemon's capabilities and no filter; an ordinary RUN has a filter."""
    text = """FROM base
RUN grep -E 'Seccomp:|CapEff|NoNewPrivs' /proc/self/status > /plain
RUN --security=insecure grep -E 'Seccomp:|CapEff' /proc/self/status > /insecure
"""
    found = buildkit.files(text, "--allow=security.insecure")
    assert "Seccomp:\t2" in found["plain"]
    assert "Seccomp:\t0" in found["insecure"]
    mine = buildkit.machine.run("grep", "CapBnd", "/proc/self/status").out.split()[1]
    assert mine in found["insecure"]


@check
def buildkit_network(buildkit: BuildKit) -> None:
    """RUN --network=none and host."""
    text = """FROM base
RUN --network=none ls /sys/class/net > /none && readlink /proc/self/ns/net > /own
RUN --network=host readlink /proc/self/ns/net > /host
"""
    found = buildkit.files(text, "--allow=network.host")
    assert found["none"].split() == ["lo"]
    assert found["own"] != found["host"]


@check
def buildkit_failure(buildkit: BuildKit) -> None:
    """The exit code of a RUN, and the message about a missing program, are shown; the next build works."""
    fails(buildkit.build("FROM base\nRUN exit 9\n"), "exit code: 9")
    fails(buildkit.build('FROM base\nRUN ["nosuchprogram"]\n'), "executable file not found in $PATH")
    assert buildkit.files("FROM base\nRUN echo well > /well\n")["well"] == "well\n"


@check
def buildkit_parallel(buildkit: BuildKit) -> None:
    """Ten stages at once."""
    stages = "".join(f"FROM base AS s{n}\nRUN sleep 1; echo {n} > /out{n}\n" for n in range(10))
    copies = "".join(f"COPY --from=s{n} /out{n} /\n" for n in range(10))
    found = buildkit.files(f"{stages}FROM scratch\n{copies}")
    assert [found[f"out{n}"] for n in range(10)] == [f"{n}\n" for n in range(10)]


@check
def buildkit_cancelled(buildkit: BuildKit) -> None:
    """A build that its client gives up: the container's processes are gone."""
    done = buildkit.build("FROM base\nRUN sleep 7654\n", seconds=8)
    assert done.code != 0
    buildkit.machine.kill(buildkit.machine.pids("buildctl"), 2)
    wait_for(lambda: not buildkit.machine.pids("sleep", "7654"), "the container is still there")
