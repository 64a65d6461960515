"""The commands that README.md tells a new user to type work as they are written (N10)."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from pyrunc.engines.lines import ENGINES, Wish, lines
from tests.support import host
from tests.support.bundle import BUSYBOX
from tests.support.runtime import REPOSITORY, Runtime

README = (REPOSITORY / "README.md").read_text()

INSTALLED = "/usr/local/bin/pyrunc"


def blocks(language: str) -> list[str]:
    """The fenced blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def test_the_recipe_of_a_bundle_makes_one_that_runs(runtime: Runtime, tmp_path: Path) -> None:
    if not Path(BUSYBOX).exists():
        pytest.skip(f"needs {BUSYBOX} (package busybox-static)")
    (recipe,) = blocks("sh")
    # The tested command replaces the installed one, and a program that ends replaces the shell at a terminal.
    (tmp_path / "bin").mkdir()
    command = tmp_path / "bin/pyrunc"
    command.write_text(f'#!/bin/sh\nexec {shlex.join(runtime.argv())} "$@"\n')
    command.chmod(0o755)
    change = (
        """sed -i 's/"terminal": true/"terminal": false/; s/"sh"/"sh", "-c", "ls bin | grep -x busybox"/' config.json"""
    )
    recipe = recipe.replace("pyrunc spec\n", f"pyrunc spec\n{change}\n")
    recipe = recipe.replace("run first", f"run {runtime.new_id()}")
    assert change in recipe
    environment = {**runtime.environment(), "PATH": f"{command.parent}:{os.environ['PATH']}"}
    with (tmp_path / "out").open("w") as out, (tmp_path / "err").open("w") as err:
        done = subprocess.run(
            ["sh", "-e", "-c", recipe], cwd=tmp_path, env=environment, stdin=subprocess.DEVNULL, stdout=out, stderr=err,
            check=False,
        )  # fmt: skip
    assert (done.returncode, (tmp_path / "out").read_text()) == (0, "busybox\n"), (tmp_path / "err").read_text()


def test_the_configuration_of_docker_names_the_installed_command() -> None:
    (text,) = blocks("json")
    assert json.loads(text)["runtimes"] == {"pyrunc": {"path": INSTALLED}}


def test_the_configurations_of_podman_and_containerd_are_those_of_integrate() -> None:
    podman, containerd = (tomllib.loads(text) for text in blocks("toml"))
    wish = Wish(INSTALLED)
    assert podman == tomllib.loads(lines(ENGINES["podman"], wish, {}))
    assert containerd == tomllib.loads(lines(ENGINES["containerd"], wish, {"version": 2}))


def test_every_command_of_make_is_there() -> None:
    """`make NAME` in the page is a rule of the Makefile."""
    rules = "".join(
        path.read_text() for path in [REPOSITORY / "Makefile", *REPOSITORY.glob("*.mk"), *REPOSITORY.glob("*/*.mk")]
    )
    names = set(re.findall(r"(?:`|^    |&& |# )make ([a-z][a-z-]+)", README, re.MULTILINE))
    assert {"install", "uninstall", "dist", "test", "demo"} <= names
    targets = {word for line in re.findall(r"^([^\n:=\t]+):", rules, re.MULTILINE) for word in line.split()}
    assert names - targets == set()


def test_every_command_of_pyrunc_is_there(runtime: Runtime) -> None:
    names = sorted(set(re.findall(r"^    pyrunc (?:--\S+ )?([a-z]+)\b", README, re.MULTILINE)))
    assert {"create", "start", "plan", "validate"} <= set(names)
    for name in names:
        done = subprocess.run(
            [sys.executable, "-m", "pyrunc", name, "--help"], cwd=REPOSITORY, capture_output=True, check=False
        )
        assert done.returncode == 0, name


def test_the_steps_of_run_one_by_one(runtime: Runtime, tmp_path: Path) -> None:
    """Each line, as it is written, in a bundle that `spec` has written."""
    if not Path(BUSYBOX).exists():
        pytest.skip(f"needs {BUSYBOX} (package busybox-static)")
    lines = re.search(r"^    sed -i .*?^    pyrunc list$", README, re.MULTILINE | re.DOTALL)
    assert lines is not None
    (tmp_path / "bin").mkdir()
    command = tmp_path / "bin/pyrunc"
    command.write_text(f'#!/bin/sh\nexec {shlex.join(runtime.argv())} "$@"\n')
    command.chmod(0o755)
    bundle = runtime.bundle().path
    (bundle / "config.json").unlink(missing_ok=True)
    # No directories but those of the recipe: config.json has a root that is read-only.
    (recipe,) = blocks("sh")
    made = [Path(path).relative_to("bundle/rootfs").parts[0] for path in re.findall(r"bundle/rootfs/\S+", recipe)]
    for path in (bundle / "rootfs").iterdir():
        if path.name not in made:
            shutil.rmtree(path)
    environment = {**runtime.environment(), "PATH": f"{command.parent}:{os.environ['PATH']}"}
    failed = {}
    id = runtime.new_id()
    with (tmp_path / "out").open("w") as out:
        for line in ["pyrunc spec", *lines.group().splitlines()]:
            words = ["sh", "-c", re.sub(r"\bsecond\b", id, line.strip())]
            code = subprocess.run(
                words, cwd=bundle, env=environment, check=False, stdin=subprocess.DEVNULL, stdout=out, stderr=out
            ).returncode
            if code:
                failed[line] = code
            if " kill " in line:
                host.wait_for("the container to end", lambda: runtime.state(id)["status"] == "stopped")
    text = (tmp_path / "out").read_text()
    # A limit's controller may be missing.
    assert all("--pids-limit" in line for line in failed), text
    assert not failed or 'controller \\"pids\\" not available' in text
    assert '"status": "created"' in text
