"""The launcher's snapshot (docs/launcher.md): what is in it must not depend on who makes it, or when."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.runtime import REPOSITORY

LINKED = REPOSITORY / "build/launcher/pyrunc.linked"


@pytest.fixture
def linked() -> Path:
    if not LINKED.exists():
        pytest.skip("needs `make launcher` with a static library of CPython 3.11")
    return LINKED


def test_nothing_is_asked_of_the_machine_while_it_is_made(linked: Path, tmp_path: Path) -> None:
    """No file, no id, no time: the hot modules only define things when they are imported."""
    if shutil.which("strace") is None:
        pytest.skip("needs strace")
    trace = tmp_path / "trace"
    with open(tmp_path / "section", "wb") as section:
        subprocess.run(
            ["strace", "-qq", "-o", trace, "-e", "trace=%file,getpid,getuid,geteuid,getegid,uname", linked],
            stdout=section, stdin=subprocess.DEVNULL, env={"TZ": "UTC0"}, check=True,
        )  # fmt: skip
    # The C library's own start, and the launcher's; and the C library's look at the time zone, for the module `time`.
    calls = [line.partition("(")[0] for line in trace.read_text().splitlines() if "/zoneinfo/UTC0" not in line]
    assert calls == ["execve", "readlink", "getcwd"]


def test_who_builds_it_is_not_in_it(linked: Path) -> None:
    assert str(REPOSITORY).encode() not in linked.with_name("pyrunc.section").read_bytes()
