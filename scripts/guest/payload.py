"""The disks that the guest gets beside its image: the Python packages, and the project's tree, built."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from pathlib import Path

from cache import REPOSITORY, GuestError, cached, command, disk

# The guest's python3 is Debian's, and this interpreter must be the same: what is compiled here runs there.
PYTHON = "/usr/bin/python3"

# Packages that developers need and no test in the guest does.
NOT_WANTED = ("mypy", "ruff")

# pip and setuptools keep their settings; pyrunc gets none.
BUILD_ENVIRONMENT = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}


def site() -> Path:
    """The directory with `site.ext4`, the Python packages as a disk, and `venv`, their virtual environment."""
    lines = command(PYTHON, REPOSITORY / "scripts/requirements.py", what="reading pyproject.toml").splitlines()
    wanted = [line for line in lines if not line.startswith(NOT_WANTED)]

    def make(target: Path) -> None:
        venv = target / "venv"
        command(PYTHON, "-m", "venv", venv, what="making a virtual environment", env=BUILD_ENVIRONMENT)
        command(
            venv / "bin/python", "-m", "pip", "install", "-q", "--disable-pip-version-check", *wanted,
            what="installing Python packages", env=BUILD_ENVIRONMENT,
        )  # fmt: skip
        disk(next(venv.glob("lib/python3*/site-packages")), target / "site.ext4")

    return cached("site", [sys.version, os.uname().machine, *wanted], make)


def installed() -> Path:
    """The directory below which `make install` puts the launcher, built for the guest's Python."""
    root = REPOSITORY / "build/launcher/root"
    environment = {key: value for key, value in BUILD_ENVIRONMENT.items() if not key.startswith("MAKE")}
    command(
        "make", "-C", REPOSITORY, "install", "PREFIX=/usr", f"DESTDIR={root}", f"LAUNCHER_PYTHON={PYTHON}",
        what="installing the launcher for the guest", env=environment,
    )  # fmt: skip
    return root


def tree_disk(work: Path, venv: Path, arguments: list[str], launcher: bool) -> Path:
    """Make the disk with the working tree, built, and pytest's arguments. `work` is this run's directory.

    launcher: add the installed launcher too, and have the tests drive it in place of the ordinary build.
    """
    tree = work / "payload/tree"
    names = command(
        "git", "-c", f"safe.directory={REPOSITORY}", "-C", REPOSITORY, "ls-files", "-z", "-co", "--exclude-standard",
        what="listing the project's files",
    ).split("\0")  # fmt: skip
    for name in filter(None, names):
        target = tree / name
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            shutil.copy2(REPOSITORY / name, target, follow_symlinks=False)
        except FileNotFoundError:
            continue  # removed, but git does not know it yet
    # cached() renames the venv after it is made: only its python works, its scripts do not.
    command(
        venv / "bin/python", "setup.py", "-q", "build_ext", "--inplace",
        what="building pyrunc for the guest", cwd=tree, env=BUILD_ENVIRONMENT,
    )  # fmt: skip
    command(
        "make", "-C", tree / "csrc/init", "build/init-faults", f"PYTHON={venv / 'bin/python'}",
        what="building the init that the tests let fail", env=BUILD_ENVIRONMENT,
    )  # fmt: skip
    command(venv / "bin/python", "-m", "compileall", "-q", tree / "pyrunc", what="compiling pyrunc's modules")
    for name in os.environ.get("GUEST_BRINGS", "").split():
        # Programs and data for the guest, in /pyrunc/brought.
        command("cp", "-a", "--no-preserve=ownership", "-t", _directory(work / "payload/brought"), REPOSITORY / name,
                what=f"copying {name} for the guest")  # fmt: skip
    (work / "payload/arguments").write_text(shlex.join(arguments) + "\n")
    environment = ""
    if launcher:
        shutil.copytree(installed(), work / "payload/root", symlinks=True)
        environment = "export PYRUNC_TEST_RUNTIME=/pyrunc/root/usr/bin/pyrunc\n"
    (work / "payload/environment").write_text(environment)
    target = work / "tree.ext4"
    disk(work / "payload", target)
    shutil.rmtree(work / "payload")
    return target


def _directory(path: Path) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    return path


def check_python() -> None:
    """Raise GuestError if this interpreter is not the one that the guest has too."""
    if Path(sys.executable).resolve() != Path(PYTHON).resolve():
        raise GuestError(f"to be run by {PYTHON}, which is the guest's too, not by {sys.executable}")
