"""Make the wheel whose `pyrunc` is the launcher: `wheel.py --launcher FILE --work DIRECTORY [--maintainer NAME]
[--homepage URL] TARGET`.

It begins with the wheel of the ordinary build. The extension modules in it use the stable ABI, so that one wheel suits
CPython 3.11 and later. auditwheel copies libseccomp into it and finds out which manylinux it is for. Then this script
adds

    scripts/pyrunc          the launcher, a static program
    scripts/pyrunc-python   the ordinary build's script: its first line names the environment's interpreter, and the
                            launcher reads that name there
    scripts/containerd-shim-pyrunc-v2    a script that executes the launcher by this name
    _prctl.abi3.so          launcher/prctl.c, in the place of python-prctl, which has no wheels and needs a compiler

Run it with an interpreter that has the packages of the extra `dist` (pyproject.toml). It builds with that interpreter.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

# The installer replaces the first line (binary distribution format).
SCRIPT = """\
#!python
# The ordinary build of pyrunc. The launcher beside this file reads the first line, and has this interpreter run what it
# can't do itself.
from pyrunc.__main__ import run

run()
"""

# The shim: the launcher by another name, which a wheel has no links for. The server that it starts is the launcher.
SHIM = "containerd-shim-pyrunc-v2"
SHIM_SCRIPT = f"""\
#!python
# containerd's shim: the launcher beside this file, by the name that tells it so.
import os
import sys

os.execv(os.path.join(os.path.dirname(os.path.abspath(sys.argv[0])), "pyrunc"), ["{SHIM}", *sys.argv[1:]])
"""

# Left out of the metadata: the script of the ordinary build, and the requirement that _prctl.abi3.so replaces.
ENTRY_POINTS = "entry_points.txt"
REPLACED = re.compile(r"^Requires-Dist: python-prctl\b.*\n", re.MULTILINE)

LIMITED_API = "0x030b0000"  # 3.11


def run(*words: str | Path, cwd: Path = ROOT) -> str:
    """Run a command and return its output. Raises SystemExit with the output if the command fails."""
    tools = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        words, cwd=cwd, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL,
        env={**os.environ, "PATH": tools, "CFLAGS": "-g0 " + os.environ.get("CFLAGS", "")},
    )  # fmt: skip
    if done.returncode:
        sys.exit(f"pyrunc: no wheel: {words[0]} failed\n{done.stdout}{done.stderr}")
    return done.stdout


def only(folder: Path, pattern: str) -> Path:
    """The only file in a directory that matches a pattern."""
    (found,) = folder.glob(pattern)
    return found


def ordinary(work: Path) -> Path:
    """The wheel of the ordinary build, for every CPython from 3.11 on and the manylinux that auditwheel finds."""
    # Remove what setuptools has left there: it would add modules that no longer exist.
    for left in [ROOT / "build/lib", *(ROOT / "build").glob("lib.*"), *(ROOT / "build").glob("temp.*")]:
        shutil.rmtree(left, ignore_errors=True)
    run(sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-cache-dir", "-w", work / "raw", ".")
    run(
        sys.executable,
        "-m",
        "wheel",
        "tags",
        "--remove",
        "--python-tag=cp311",
        "--abi-tag=abi3",
        only(work / "raw", "*.whl"),
    )
    run(sys.executable, "-m", "auditwheel", "repair", "-w", work / "repaired", only(work / "raw", "*.whl"))
    return only(work / "repaired", "*.whl")


def add_programs(tree: Path, launcher: Path, version: str) -> None:
    """Put the launcher and the script where an installer looks for scripts."""
    scripts = tree / f"pyrunc-{version}.data" / "scripts"
    scripts.mkdir(parents=True)
    shutil.copyfile(launcher, scripts / "pyrunc")
    (scripts / "pyrunc-python").write_text(SCRIPT)
    (scripts / SHIM).write_text(SHIM_SCRIPT)
    for path in scripts.iterdir():
        path.chmod(0o755)


def add_prctl(tree: Path) -> None:
    """Compile launcher/prctl.c with the stable ABI."""
    run(
        os.environ.get("CC", "cc"), "-shared", "-fPIC", "-O2", "-Wall", "-Wextra", "-Werror", "-s",
        f"-DPy_LIMITED_API={LIMITED_API}", f"-I{sysconfig.get_path('include')}", "-o", tree / "_prctl.abi3.so",
        ROOT / "launcher/prctl.c",
    )  # fmt: skip


def published(maintainer: str, homepage: str) -> str:
    """The lines of the metadata that name who publishes the wheel (core metadata specification). maintainer: empty or
    `Name <address>`. An address in the domain `invalid`, which nobody has (RFC 2606), stands for nobody.
    """
    known = maintainer and not maintainer.endswith(".invalid>")
    lines = ["Maintainer-email: " + maintainer] if known else []
    lines += ["Project-URL: Homepage, " + homepage] if homepage else []
    return "".join(f"{line}\n" for line in lines)


def edit_metadata(folder: Path, publisher: str = "") -> None:
    """Edit the wheel's metadata: leave out the lines that no longer hold, and add those of `published`."""
    (folder / ENTRY_POINTS).unlink()
    metadata = folder / "METADATA"
    text, count = REPLACED.subn("", metadata.read_text())
    if count != 1:
        sys.exit(f"pyrunc: no wheel: {metadata} names python-prctl {count} times")
    metadata.write_text(re.sub(r"(?m)^(Name: .*\n)", lambda found: found[0] + publisher, text, count=1))


def make(launcher: Path, work: Path, target: Path, publisher: str = "") -> Path:
    """Make the wheel in `target` and return its path. publisher: lines of `published`."""
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    run(sys.executable, "-m", "wheel", "unpack", "-d", work / "tree", ordinary(work))
    tree = only(work / "tree", "*")
    information = only(tree, "*.dist-info")
    add_programs(tree, launcher, information.name.removeprefix("pyrunc-").removesuffix(".dist-info"))
    add_prctl(tree)
    edit_metadata(information, publisher)
    for program in [*tree.rglob("*.so*"), *tree.glob("*.data/scripts/pyrunc")]:
        run("strip", "--strip-unneeded", "--remove-section=.comment", program)
    target.mkdir(parents=True, exist_ok=True)
    for old in target.glob("pyrunc-*.whl"):
        old.unlink()
    run(sys.executable, "-m", "wheel", "pack", "-d", target, tree)
    return only(target, "pyrunc-*.whl")


def main() -> None:
    """Read the command line and make the wheel."""
    parser = argparse.ArgumentParser(description="Make the wheel whose command is the launcher.")
    parser.add_argument("--launcher", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True, help="an own directory; it is made anew")
    parser.add_argument("--maintainer", default="", help="who publishes it: Name <address>")
    parser.add_argument("--homepage", default="")
    parser.add_argument("target", type=Path)
    args = parser.parse_args()
    publisher = published(args.maintainer, args.homepage)
    print(make(args.launcher.resolve(), args.work.resolve(), args.target.resolve(), publisher))


if __name__ == "__main__":
    main()
