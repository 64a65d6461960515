"""Neither the container nor the waiting init has a descriptor of the runtime or its caller (CVE-2024-21626)."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.bundle import Bundle
from tests.support.host import files_of
from tests.support.runtime import Runtime

INIT_MAY_HAVE = re.compile(
    r"socket:\[\d+\]|anon_inode:.*|/|/proc|/proc/\d+.*|pipe:\[\d+\]|/dev/pts/\d+|/dev/ptmx|/memfd:.*"
)


@pytest.mark.purev2
def test_container_has_three_descriptors(runtime: Runtime, bundle: Bundle) -> None:
    container = runtime.started(bundle.args("sleep", "1000"))
    assert sorted(files_of(container.pid)) == [0, 1, 2]


@pytest.mark.purev2
@pytest.mark.own("its init is Go's and holds more")
def test_waiting_init_has_nothing_foreign(runtime: Runtime, bundle: Bundle) -> None:
    """COMPAT, Descriptors. The caller has a directory of the host open, and so has pyrunc while it works."""
    bundle.write()
    prefix = ["/bin/sh", "-c", 'exec 7</etc 8</etc/passwd; exec "$@"', "sh"]
    id = runtime.new_id()
    result = runtime("create", "--bundle", bundle.path, id, prefix=prefix)
    assert result.code == 0, result
    found = files_of(runtime.state(id)["pid"])
    for number in (0, 1, 2):
        found.pop(number)
    for name in found.values():
        assert INIT_MAY_HAVE.fullmatch(name), found
        assert "/etc" not in name


@pytest.mark.own("its init is Go's")
def test_descriptors_of_the_waiting_init_are_close_on_exec(runtime: Runtime, bundle: Bundle) -> None:
    container = runtime.container(bundle)
    for number, target in files_of(container.pid).items():
        if number > 2:
            with contextlib.suppress(FileNotFoundError):
                info = Path(f"/proc/{container.pid}/fdinfo/{number}").read_text()
                flags = int(next(line.split()[1] for line in info.splitlines() if line.startswith("flags:")), 8)
                assert flags & os.O_CLOEXEC, f"{number} is {target}"


def test_standard_streams_are_the_caller_s(runtime: Runtime, bundle: Bundle) -> None:
    container = runtime.container(bundle)
    found = files_of(container.pid)
    assert found[1] == str(container.out)
    assert found[2] == str(container.out.with_suffix(".err"))


@pytest.mark.parametrize("log", [False, True], ids=["no log", "log"])
def test_closed_standard_streams(runtime: Runtime, bundle: Bundle, log: bool) -> None:
    """A caller with closed streams: no descriptor of the runtime gets their numbers in the container, which may write
    to them."""
    bundle.sh("ls -l /proc/self/fd > /tmp/fds; echo out; echo err >&2; echo $? >> /tmp/fds").write()
    prefix = ["/bin/sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh"]
    flags = ["--log", str(runtime.work / "log")] if log else []
    result = runtime(*flags, "run", "--bundle", bundle.path, runtime.new_id(), prefix=prefix)
    assert result.code == 0
    assert (bundle.rootfs / "tmp/fds").read_text().endswith("\n0\n")
    assert not log or (runtime.work / "log").read_text() == ""
    listing = (bundle.rootfs / "tmp/fds").read_text()
    for line in listing.splitlines():
        if " -> " in line:
            target = line.rpartition(" -> ")[2]
            own = target.endswith("/tmp/fds")
            assert own or not target.startswith(("socket", "anon_inode", "/memfd", str(runtime.work)))


OPENED = re.compile(r"^(?!pipe2|socketpair).* = [012]$|\[[012], \d+\]|\[\d+, [012]\]")  # a number, or a pair of them
CLOSED = ["/bin/sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh"]


@pytest.mark.own("it is about pyrunc's own files")
@pytest.mark.parametrize("flags", [(), ("--debug",)], ids=["plain", "debug"])
def test_what_a_command_opens_becomes_no_standard_stream(
    runtime: Runtime, bundle: Bundle, tmp_path: Path, flags: tuple[str, ...]
) -> None:
    """What it writes to a closed stream would reach that file or socket: the ledger, the journal, the init."""
    if shutil.which("strace") is None:
        pytest.skip("needs strace")
    container = runtime.container(bundle.args("sleep", "1000"))
    id, trace = container.id, tmp_path / "trace"
    calls = "pipe2,open,openat,openat2,socket,socketpair,accept4,dup,pidfd_open,memfd_create,epoll_create1"
    for words in (
        ("state", id), ("start", id), ("ps", id), ("pause", id), ("resume", id), ("list",), ("features",),
        ("exec", "--detach", id, "true"), ("kill", id, "KILL"), ("delete", "--force", id), ("gc",),
    ):  # fmt: skip
        command = ["strace", "-qq", "-o", str(trace), "-e", f"trace={calls}", *CLOSED, *runtime.argv(*flags, *words)]
        subprocess.run(command, env=runtime.environment(), check=False, cwd=runtime.work)
        # Before that, the shell and the interpreter read what they need to start.
        _, held, lines = trace.read_text().rpartition('"/dev/null", O_RDONLY|O_CLOEXEC) = 2\n')
        assert held, words
        taken = [line for line in lines.splitlines() if OPENED.search(line) and '"/dev/null"' not in line]
        assert taken == [], words


@pytest.mark.own("it is Go's, not this small")
def test_waiting_init_is_small(runtime: Runtime, bundle: Bundle) -> None:
    """At most 128 KB PSS: 88 to 100 with Debian 12's musl and compiler, 104 with Debian 13's. crun's has 1000."""
    container = runtime.container(bundle)
    rollup = Path(f"/proc/{container.pid}/smaps_rollup").read_text()
    pss = int(next(line.split()[1] for line in rollup.splitlines() if line.startswith("Pss:")))
    assert pss <= 128


@pytest.mark.own("it is called runc:[2:INIT]")
def test_waiting_init_s_name(runtime: Runtime, bundle: Bundle) -> None:
    container = runtime.container(bundle)
    assert Path(f"/proc/{container.pid}/comm").read_text() == "pyrunc:[init]\n"
    assert b"\0" not in Path(f"/proc/{container.pid}/environ").read_bytes().strip(b"\0")
