"""scripts/demo.sh, which `make demo` runs (N9)."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.rootless import RootlessRuntime
from tests.support.runtime import REPOSITORY, Runtime

DEMO = REPOSITORY / "scripts/demo.sh"


def wrapper(command: list[str], folder: Path) -> Path:
    """The command as a program of one word, as the demo wants it."""
    program = folder / "pyrunc"
    program.write_text(f'#!/bin/sh\nexec {" ".join(command)} "$@"\n')
    program.chmod(0o755)
    return program


def run(words: list[str], runtime: Runtime, folder: Path) -> str:
    """The demo's output without a terminal; its files are in a directory of its own."""
    environment = runtime.environment({"TMPDIR": str(folder)})
    with (folder / "out").open("w") as file:
        code = subprocess.run(
            words, env=environment, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT, check=False,
            cwd=REPOSITORY, timeout=300, start_new_session=True,
        ).returncode  # fmt: skip
    text = (folder / "out").read_text()
    assert code == 0, text
    return text


def check(text: str) -> None:
    """Check the part of the demo that every user sees."""
    assert "Hello from host pyrunc, process 1, user 0" in text
    for words in ("$ pyrunc run ", "$ pyrunc state", "$ pyrunc plan\n", "WAITING"):
        assert words in text
    # The demo ends with a broken bundle, its errors, and the step of its plan that would fail.
    last = text[text.index("# A bundle with mistakes") :]
    assert len(re.findall(r"^config.json:\d+: error: ", last, re.MULTILINE)) == 3
    assert len(re.findall(r"^ +\^ fails: ", last, re.MULTILINE)) == 3
    assert last.index("level=error") < last.index("$ pyrunc validate") < last.index("$ pyrunc plan")
    shown = [line for line in text.splitlines() if re.match(r" +\d+  ", line)]
    assert len(shown) < 40
    assert "Traceback" not in text
    assert "Usage" not in text


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    if shutil.which("busybox") != "/bin/busybox" and not Path("/bin/busybox").exists():
        pytest.skip("needs busybox (Debian package busybox-static)")
    place = tmp_path / "demo"
    place.mkdir()
    return place


def test_n9_the_demo(runtime: Runtime, folder: Path) -> None:
    text = run([str(DEMO), str(wrapper(runtime.command, folder))], runtime, folder)
    check(text)
    for command in ("exec", "ps", "pause", "resume", "update --pids-limit", "kill", "delete"):
        assert f"$ pyrunc {command} " in text
    assert re.search(r"^demo-\d+ +\d+ +paused ", text, re.MULTILINE)
    assert sorted(path.name for path in folder.iterdir()) == ["out", "pyrunc"]


def test_n9_as_an_ordinary_user_it_shows_rootless_containers(rootless: RootlessRuntime) -> None:
    folder = rootless.home
    program = wrapper(rootless.own_command, folder)
    text = run([*rootless.as_user(), str(DEMO), str(program)], rootless, folder)
    check(text)
    assert "ps, pause and update take a cgroup, which this user has not" in text
    assert "$ pyrunc pause" not in text
    assert sorted(path.name for path in folder.iterdir()) == ["out", "pyrunc"]


def test_n9_what_forbids_it_is_said_before_anything_is_built(folder: Path) -> None:
    """`make demo` asks first: here for a user who may not make user namespaces, and one who may not write here."""
    for name, script in (("unshare", "exit 1"), ("id", "echo 1000")):
        (folder / name).write_text(f"#!/bin/sh\n{script}\n")
        (folder / name).chmod(0o755)
    environment = {"PATH": f"{folder}:/usr/bin:/bin"}
    done = subprocess.run([DEMO, "--check"], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "make demo runs as root" in done.stderr
    rule = subprocess.run(
        ["make", "-n", "demo"], cwd=REPOSITORY, capture_output=True, text=True, check=True
    ).stdout.splitlines()  # fmt: skip
    assert rule[0] == "scripts/demo.sh --check"
    assert subprocess.run([DEMO, "--check"], check=False).returncode == 0
