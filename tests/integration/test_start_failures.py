"""B7: a program that can't be executed at `start`: the container's own log has the reason, and `start` prints it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.support.bundle import Bundle
from tests.support.runtime import Container, Runtime


def created(runtime: Runtime, bundle: Bundle) -> tuple[Container, Path]:
    """A created container, and the file that is its stderr."""
    container = runtime.container(bundle)
    return container, container.out.with_suffix(".err")


CASES = {
    "interpreter": ("#!/no/such/shell\n", 0o755, "no such file or directory"),
    "format": ("\x7fELF nonsense", 0o755, "exec format error"),
    "interpreter that is a directory": ("#!/srv\n", 0o755, "permission denied"),
    "link loop": ("#!/loop\n", 0o755, "too many levels of symbolic links"),
}


@pytest.mark.parametrize("case", CASES)
def test_b7_the_container_s_stderr_has_one_line(runtime: Runtime, bundle: Bundle, case: str) -> None:
    """B7: the text that users look for in their container's log."""
    text, mode, reason = CASES[case]
    program = bundle.rootfs / "run.sh"
    program.write_text(text)
    program.chmod(mode)
    (bundle.rootfs / "loop").symlink_to("loop")
    container, stderr = created(runtime, bundle.args("/run.sh"))
    before = stderr.read_text()
    result = runtime("start", container.id)
    assert result.code == 1
    assert f"exec /run.sh: {reason}" in result.last_line
    assert stderr.read_text() == before + f"exec /run.sh: {reason}\n"
    assert container.status == "stopped"


def test_b7_a_program_that_goes_away_before_the_start(runtime: Runtime, bundle: Bundle) -> None:
    """B7: the message has the path that was found in PATH."""
    program = bundle.rootfs / "srv/program"
    program.write_bytes((bundle.rootfs / "bin/busybox").read_bytes())
    program.chmod(0o755)
    bundle.process["env"] = ["PATH=/srv"]
    container, stderr = created(runtime, bundle.args("program"))
    program.unlink()
    assert runtime("start", container.id).code == 1
    assert stderr.read_text() == "exec /srv/program: no such file or directory\n"


def test_b7_the_reason_is_said_once_by_run(runtime: Runtime, bundle: Bundle) -> None:
    """B7: the command's stderr is also the container's: the line is printed once."""
    program = bundle.rootfs / "run.sh"
    program.write_text("#!/no/such/shell\n")
    program.chmod(0o755)
    result = runtime.run(bundle.args("/run.sh"), ok=False)
    assert result.err.count("exec /run.sh: no such file or directory") == 1


@pytest.mark.parametrize("reader", [True, False])
def test_b7_a_stderr_that_takes_nothing_holds_nobody_up(runtime: Runtime, bundle: Bundle, reader: bool) -> None:
    """B7: a full pipe, and a pipe without a reader."""
    program = bundle.rootfs / "run.sh"
    program.write_text("#!/no/such/shell\n")
    program.chmod(0o755)
    bundle.args("/run.sh").write()
    ours, theirs = os.pipe()
    os.set_blocking(theirs, False)
    try:
        while reader:
            os.write(theirs, bytes(4096))
    except BlockingIOError:
        os.set_blocking(theirs, True)
    id = runtime.new_id()
    command = runtime.argv("create", "--bundle", bundle.path, id)
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=theirs, check=False)
    assert done.returncode == 0
    os.close(theirs)
    if not reader:
        os.close(ours)
    result = runtime("start", id)
    assert result.code == 1
    assert "exec /run.sh: no such file or directory" in result.last_line
    assert runtime.state(id)["status"] == "stopped"
    if reader:
        os.close(ours)
