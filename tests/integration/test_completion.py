"""Completion in real shells at a terminal (N8): what TAB makes of a line, and that the shell prints nothing else into
it.

Each test types a line and TAB, then goes to the line's beginning and puts `echo LINE:` there, so that the shell prints
the completed line. If there are several candidates, a shell shows their list.
"""

from __future__ import annotations

import os
import pty
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.runtime import REPOSITORY, Runtime
from tests.support.terminals import read_until

_START = {
    "bash": ["bash", "--norc", "--noprofile", "-i"],
    "zsh": ["zsh", "-f", "-i"],
    "fish": ["fish", "--no-config", "-i"],
}
_SETUP = {
    "bash": "PS1='PROMPT> '; bind 'set show-all-if-ambiguous on'; bind 'set enable-bracketed-paste off'",
    "zsh": "unsetopt zle_bracketed_paste 2>/dev/null; unset zle_bracketed_paste; PS1='PROMPT> '; setopt no_prompt_sp; "
    "autoload -Uz compinit; compinit -D -u",
    "fish": "function fish_prompt; echo 'PROMPT> '; end; set -g fish_greeting; set -g fish_autosuggestion_enabled 0",
}
_ESCAPES = re.compile(rb"\x1b(\[[0-9;?<>=!]*[A-Za-z@]|\][^\x07\x1b]*(\x07|\x1b\\)|[()][A-Z0-9]|[=>78cM])|\x0f|\r|\x07")


class Shell:
    """An interactive shell with the command's completion, at a pty."""

    def __init__(self, name: str, script: Path, folder: Path, path: str) -> None:
        environment = {
            "PATH": path, "HOME": str(folder), "TERM": "xterm", "LC_ALL": "C.UTF-8", "COLUMNS": "200", "LINES": "60",
        }  # fmt: skip
        self.master, slave = pty.openpty()
        self.process = subprocess.Popen(
            ["setsid", "--ctty", *_START[name]], stdin=slave, stdout=slave, stderr=slave, env=environment, cwd=folder
        )
        os.close(slave)
        os.set_blocking(self.master, False)
        self.send(f"{_SETUP[name]}; source {script}; echo REA''DY\n")
        self.until("^READY")
        self.settle()

    def send(self, text: str) -> None:
        os.write(self.master, text.encode())

    def until(self, pattern: str) -> str:
        """Read the shell's output until it matches this regular expression."""
        wanted = re.compile(pattern.encode(), re.MULTILINE)
        text = read_until(self.master, lambda data: wanted.search(_ESCAPES.sub(b"", data)) is not None)
        return _ESCAPES.sub(b"", text).decode("utf-8", "replace")

    def settle(self) -> str:
        """Read the shell's output until it has printed nothing for a while."""
        text, quiet = b"", time.monotonic() + 0.2
        while time.monotonic() < quiet:
            try:
                text += os.read(self.master, 65536)
                quiet = time.monotonic() + 0.2
            except BlockingIOError:
                time.sleep(0.02)
        return _ESCAPES.sub(b"", text).decode("utf-8", "replace")

    def complete(self, line: str, sign: str = "") -> tuple[str, str]:
        """Type a line and TAB. Returns the completed line, and the whole output. sign: a part of the list of candidates
        to wait for."""
        self.send(line + "\t")
        shown = self.until(f"^{re.escape(sign)}|[ \n]{re.escape(sign)}") if sign else ""
        shown += self.settle() if sign else ""
        self.send("\x01echo LINE: \x05 :END\n")
        text = self.until("^LINE: .*:END\n")
        self.settle()
        return re.findall(r"^LINE: (.*?) +:END$", text, re.MULTILINE)[-1], shown + text

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.master)


@pytest.fixture(scope="module", params=["bash", "zsh", "fish"])
def shell(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    name = request.param
    if shutil.which(name) is None:
        pytest.skip(f"needs {name} (Debian package {name})")
    folder = tmp_path_factory.mktemp(name)
    for part in ("bundle-one/sub", "elsewhere", "bin"):
        (folder / part).mkdir(parents=True)
    (folder / "limits.json").touch()
    for id in ("alpha", "beta", ":cgroups", ".old"):
        (folder / "state" / id).mkdir(parents=True)
    command = os.environ.get("PYRUNC_TEST_RUNTIME") or f"{sys.executable} -m pyrunc"
    launcher = folder / "bin/pyrunc"
    launcher.write_text(f'#!/bin/sh\nexport PYTHONPATH={REPOSITORY}\nexec {command} "$@"\n')
    launcher.chmod(0o755)
    source = subprocess.run(
        [launcher], env={**os.environ, "_PYRUNC_COMPLETE": f"{name}_source"}, capture_output=True, text=True, check=True
    )
    assert source.stderr == ""
    (folder / "script").write_text(source.stdout)
    found = Shell(name, folder / "script", folder, f"{folder}/bin:{os.environ['PATH']}")
    yield found
    found.close()


# A line, and what TAB makes of it.
@pytest.mark.parametrize(
    ("line", "result"),
    [
        ("pyrunc run --bun", "pyrunc run --bundle"),
        ("pyrunc valid", "pyrunc validate"),
        ("pyrunc --root state state al", "pyrunc --root state state alpha"),
        ("pyrunc --root state delete alpha be", "pyrunc --root state delete alpha beta"),
        ("pyrunc --root=state exec --tty be", "pyrunc --root=state exec --tty beta"),
        ("pyrunc --cgroup-manager sy", "pyrunc --cgroup-manager systemd"),
        ("pyrunc --root state kill alpha KI", "pyrunc --root state kill alpha KILL"),
        ("pyrunc run --bundle bun", "pyrunc run --bundle bundle-one/"),
        ("pyrunc run --bundle=bun", "pyrunc run --bundle=bundle-one/"),
        ("pyrunc update -r lim", "pyrunc update -r limits.json"),
        ("pyrunc list --format=j", "pyrunc list --format=json"),
        # no candidates: the line stays
        ("pyrunc nonsense --bun", "pyrunc nonsense --bun"),
        ("pyrunc run --root", "pyrunc run --root"),
        ("pyrunc run --bundle lim", "pyrunc run --bundle lim"),
    ],
)
def test_n8_what_tab_makes_of_a_line(shell: Shell, line: str, result: str) -> None:
    made, shown = shell.complete(line)
    # Zsh removes the slash if something else follows.
    assert made.rstrip("/") == result.rstrip("/")
    for word in ("Usage", "Error:", "level=", "Traceback", "Try "):
        assert word not in shown


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("pyrunc --root state state ", ["alpha", "beta"]),
        ("pyrunc --cgroup-manager ", ["cgroupfs", "systemd", "disabled"]),
        ("pyrunc --root state kill alpha ", ["KILL", "TERM", "USR1"]),
        ("pyrunc plan --format ", ["table", "json", "tree"]),
        ("pyrunc run --bundle ", ["bundle-one", "elsewhere"]),
        ("pyrunc update -r ", ["limits.json", "bundle-one"]),
    ],
)
def test_n8_candidates_are_listed_and_nothing_else(shell: Shell, line: str, words: list[str]) -> None:
    _, shown = shell.complete(line, words[0])
    for word in words:
        assert word in shown
    for word in ("Usage", "Error:", "level=", ":cgroups", "Traceback"):
        assert word not in shown


def test_n8_completion_makes_nothing(runtime: Runtime, tmp_path: Path) -> None:
    """Completion reads the usual root and does not make it."""
    environment = {**os.environ, "XDG_RUNTIME_DIR": str(tmp_path), "USER": "somebody"}
    environment |= {"_PYRUNC_COMPLETE": "bash_complete", "COMP_WORDS": "pyrunc\nstate\n", "COMP_CWORD": "2"}
    done = subprocess.run(runtime.argv()[:1] if runtime.argv()[0].endswith("pyrunc") else
                          [sys.executable, "-m", "pyrunc"], env=environment, cwd=REPOSITORY, capture_output=True,
                          text=True, check=False)  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert list(tmp_path.iterdir()) == []
