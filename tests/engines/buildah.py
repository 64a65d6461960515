"""buildah run and buildah build, which call the runtime without conmon; as root and as a user."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tests.engines.checks import fails, succeeds
from tests.engines.docker import Podman
from tests.engines.engine import BUSYBOX
from tests.engines.machine import Done
from tests.engines.rootless import USER

Check = Callable[[Podman], None]

CHECKS: dict[str, Check] = {}

# By default buildah raises these limits where root runs it, which takes CAP_SYS_RESOURCE.
LIMITS = ("--ulimit=nofile=1000:1000", "--ulimit=nproc=1000:1000")

# The image that a check builds.
BUILT = "localhost/by-buildah"


def check(function: Check) -> Check:
    """Put a check into the table, under its name."""
    CHECKS[function.__name__] = function
    return function


def buildah(podman: Podman, *words: str, input: str = "") -> Done:
    """Run a command of buildah, as Podman's user."""
    return podman.call(*podman.prefix, "buildah", *words, input=input)


def isolation(podman: Podman) -> tuple[str, ...]:
    """The options with which buildah uses an OCI runtime."""
    return ("--isolation=oci", f"--runtime={podman.machine.which(podman.runtime)}")


@contextmanager
def working(podman: Podman) -> Iterator[str]:
    """A working container of buildah."""
    name = podman.new_name()
    succeeds(buildah(podman, "from", *LIMITS, f"--name={name}", BUSYBOX))
    try:
        yield name
    finally:
        buildah(podman, "rm", name)


@check
def buildah_run(podman: Podman) -> None:
    """buildah run: output, stdin, exit code; users, variables, directory, capabilities, volumes."""
    podman.machine.write("/srv/given/file", "given\n")
    run = ("run", *isolation(podman), "--network=none")
    with working(podman) as name:
        assert succeeds(buildah(podman, *run, name, "--", "sh", "-c", "echo out")) == "out\n"
        assert succeeds(buildah(podman, *run, name, "--", "cat", input="one\ntwo\n")) == "one\ntwo\n"
        assert buildah(podman, *run, name, "--", "sh", "-c", "exit 7").code == 7
        options = ("--user=1000:1000", "--env=A=1", "--workingdir=/tmp", "--volume=/srv/given:/given:ro")
        script = "id -u; echo $A; pwd; cat /given/file; touch /given/x 2>&1"
        out = buildah(podman, *run, *options, name, "--", "sh", "-c", script).out
        assert out.startswith("1000\n1\n/tmp\ngiven\n"), out
        assert "Read-only file system" in out
        words = ("grep", "CapEff", "/proc/self/status")
        before, after = (
            int(succeeds(buildah(podman, *run, option, name, "--", *words)).split()[1], 16)
            for option in ("--cap-drop=CAP_NET_ADMIN", "--cap-add=CAP_NET_ADMIN")
        )
        assert (before & 1 << 12, after & 1 << 12) == (0, 1 << 12)


@check
def buildah_run_missing_program(podman: Podman) -> None:
    """buildah run of what is not there, and of what can't be executed."""
    run = ("run", *isolation(podman), "--network=none")
    with working(podman) as name:
        fails(buildah(podman, *run, name, "--", "nosuchprogram"), "executable file not found in $PATH")
        fails(buildah(podman, *run, name, "--", "/etc/passwd"), "permission denied")


@check
def buildah_run_terminal(podman: Podman) -> None:
    """buildah run --terminal: the runtime hands the terminal over by its console socket."""
    with working(podman) as name:
        words = ("run", *isolation(podman), "--network=none", "--terminal", name, "--", "sh", "-c", "test -t 1 && tty")
        assert "/dev/" in succeeds(buildah(podman, *words))


@check
def buildah_build(podman: Podman) -> None:
    """buildah build: two stages, RUN with mounts of each kind, as another user; the image is run."""
    text = f"""FROM {BUSYBOX} AS first
RUN --mount=type=tmpfs,target=/scratch --mount=type=cache,target=/cache \\
    --mount=type=bind,source=given,target=/given --mount=type=secret,id=word,target=/word \\
    grep -q ' /scratch tmpfs' /proc/mounts && touch /cache/file && cat /given /word > /result
FROM {BUSYBOX}
COPY --from=first /result /result
USER 1000:1000
RUN id -u > /tmp/who
ENTRYPOINT ["cat", "/result", "/tmp/who"]
"""
    for name, content in (("Containerfile", text), ("given", "given\n"), ("word", "secret\n")):
        podman.machine.write(f"/srv/stages/{name}", content)
    if podman.prefix:
        succeeds(podman.machine.run("chown", "-R", USER, "/srv/stages"))  # buildah opens what it binds
    tag = f"{BUILT}-{podman.runtime}"
    options = (
        *isolation(podman),
        *LIMITS,
        "--network=none",
        "--no-cache",
        "--secret=id=word,src=/srv/stages/word",
        f"--tag={tag}",
    )
    succeeds(buildah(podman, "build", *options, "/srv/stages"))
    done = podman.call(*podman.program, "run", "--rm", "--network=none", tag)
    assert succeeds(done) == "given\nsecret\n1000\n"


@check
def buildah_build_that_fails(podman: Podman) -> None:
    """buildah build: the exit code of a RUN is in the message, and no container is left."""
    podman.machine.write("/srv/failing/Containerfile", f"FROM {BUSYBOX}\nRUN exit 9\n")
    done = buildah(podman, "build", *isolation(podman), *LIMITS, "--network=none", "--no-cache", "/srv/failing")
    fails(done, "exit status 9")
    assert not podman.machine.pids("buildah")
