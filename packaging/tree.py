"""Lay out an installation: the launcher, and the ordinary build that it hands cold commands to.

    PREFIX/bin/pyrunc                 the launcher
    PREFIX/bin/containerd-shim-pyrunc-v2    a link to it
    PREFIX/lib/pyrunc/bin/python3     the interpreter of the ordinary build
    PREFIX/lib/pyrunc/modules/        pyrunc and its dependencies: all that this interpreter can import besides the
                                      standard library
    PREFIX/lib/pyrunc/lib/            only with --bundle: the standard library and the shared libraries it needs

The launcher finds these files from its own path, so the tree can be moved. Without --bundle the interpreter is a
symbolic link to the host's. This script makes the tree beside its place and runs it there; the tree replaces an earlier
one only if it works.

A package gets no symbols (--strip). A Debian package gets no compiled modules (--sources), which are compiled where it
is installed. Two trees of the same sources are equal, byte for byte.

Usage: tree.py [--bundle PYTHON] [--strip] [--sources] --launcher FILE --modules DIRECTORY ROOT PREFIX
"""

from __future__ import annotations

import argparse
import compileall
import py_compile
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent))

from check import CheckError, check

# The name under which the launcher is containerd's shim.
SHIM = "containerd-shim-pyrunc-v2"

# Parts of the standard library that the ordinary build never imports; they are half of it.
UNUSED = (
    "config-*", "__pycache__", "ensurepip", "idlelib", "lib2to3", "pydoc_data", "test", "tkinter", "turtledemo", "venv",
    "dist-packages", "site-packages", "sitecustomize.py", "usercustomize.py", "EXTERNALLY-MANAGED",
)  # fmt: skip

# The parts of the C library, which is the host's (and linux-vdso, the kernel's own).
C_LIBRARY = re.compile(r"^(ld-linux|libc|libm|libdl|libpthread|librt|libutil|libresolv|linux-vdso)\b")

# Small libraries that extension modules may need besides; they are copied. An extension that needs any other library is
# left out.
COPIED_LIBRARIES = re.compile(r"^(libffi|libcap|libseccomp|libgcc_s|libpython3|libexpat|libz)\b")

# Left out of the modules: scripts for people, the tests of pyrunc's dependencies, and pip's notes of how it has
# installed them (direct_url.json has the directory of the sources).
LEFT_OUT = ("__pycache__", "bin", "tests", "benchmarks", "direct_url.json", "REQUESTED", "INSTALLER")


def libraries(path: Path) -> dict[str, Path]:
    """The shared libraries that a file needs besides the C library: their names and where they are."""
    output = subprocess.run(["ldd", path], capture_output=True, text=True, check=True).stdout
    found = {name: Path(place) for name, place in re.findall(r"^\s*(\S+) => (\S+)", output, re.MULTILINE)}
    return {name: place for name, place in found.items() if not C_LIBRARY.match(name)}


def bundle_interpreter(python: Path, home: Path, shown: Path) -> None:
    """Copy an interpreter, the standard library and the shared libraries that both need. shown: the name that
    tracebacks give to `home`."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    (home / "bin").mkdir(parents=True)
    shutil.copy2(python, home / "bin" / "python3")
    standard = home / "lib" / version
    shutil.copytree(sysconfig.get_path("stdlib"), standard, ignore=shutil.ignore_patterns(*UNUSED))
    for extension in (standard / "lib-dynload").glob("*.so"):
        if not all(COPIED_LIBRARIES.match(name) for name in libraries(extension)):
            extension.unlink()
    compile_tree(standard, shown / "lib" / version)


def copy_libraries(home: Path) -> None:
    """Put the libraries that extension modules need where the bundled interpreter looks for them."""
    for extension in [home / "bin" / "python3", *home.rglob("*.so")]:
        for name, place in libraries(extension).items():
            if not COPIED_LIBRARIES.match(name):
                raise SystemExit(f"{extension} needs {name}, which is not bundled")
            if home not in place.parents:
                shutil.copy2(place, home / "lib" / name)


def compile_tree(directory: Path, shown: Path) -> None:
    """Compile all modules; tracebacks name them under `shown`. A module that can't be compiled here is for another
    version.
    """
    compileall.compile_dir(
        directory, quiet=2, stripdir=str(directory), prependdir=str(shown), maxlevels=20,
        invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
    )  # fmt: skip


def bare_records(modules: Path) -> None:
    """Write each RECORD anew: only files that exist, and no digests, since stripping changes files."""
    for record in modules.glob("*.dist-info/RECORD"):
        names = [line.rsplit(",", 2)[0] for line in record.read_text().splitlines()]
        record.write_text("".join([f"{name},,\n" for name in names if (modules / name.strip('"')).exists()]))


def strip(paths: Iterable[Path]) -> None:
    """Take the symbols out of programs and extension modules."""
    for path in paths:
        subprocess.run(["strip", "--strip-unneeded", "--remove-section=.comment", path], check=True)


class Parts(NamedTuple):
    """The parts of a tree. launcher: the program; modules: the directory of the ordinary build; bundled: the
    interpreter to copy, None for a link to the host's; stripped: without symbols; compiled: with compiled modules."""

    launcher: Path
    modules: Path
    bundled: Path | None = None
    stripped: bool = False
    compiled: bool = True


def lay_out(top: Path, prefix: Path, parts: Parts) -> None:
    """Make the tree in `top`, an empty directory; tracebacks name its files under `prefix`."""
    launcher, modules, bundled = parts.launcher, parts.modules, parts.bundled
    home = top / "lib" / "pyrunc"
    if bundled is not None:
        bundle_interpreter(bundled, home, prefix / "lib" / "pyrunc")
    else:
        (home / "bin").mkdir(parents=True)
        (home / "bin" / "python3").symlink_to(Path(sys.executable).resolve())
    shutil.copytree(modules, home / "modules", ignore=shutil.ignore_patterns(*LEFT_OUT))
    bare_records(home / "modules")
    if parts.compiled:
        compile_tree(home / "modules", prefix / "lib" / "pyrunc" / "modules")
    if bundled is not None:
        copy_libraries(home)
    (top / "bin").mkdir()
    shutil.copyfile(launcher, top / "bin" / "pyrunc")
    (top / "bin" / "pyrunc").chmod(0o755)
    (top / "bin" / SHIM).symlink_to("pyrunc")
    if parts.stripped:
        programs = [home / "bin" / "python3"] if bundled is not None else []
        strip([top / "bin" / "pyrunc", *programs, *sorted(home.rglob("*.so*"))])


def move_in(tree: Path, top: Path) -> None:
    """Put a tree in its place. The launcher and its link come last, by rename: a running launcher keeps its file."""
    old = top / "lib" / "pyrunc"
    if old.exists():
        old.rename(tree / "old")
    for name in ("lib/pyrunc", "bin/pyrunc", f"bin/{SHIM}"):
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).rename(top / name)


def install(top: Path, prefix: Path, parts: Parts) -> None:
    """Make the tree, run its launcher, and put the tree into `top`. If the launcher does not work, raises CheckError
    and leaves `top` unchanged.
    """
    top.mkdir(parents=True, exist_ok=True)
    tree = Path(tempfile.mkdtemp(prefix=".pyrunc-", dir=top))
    try:
        lay_out(tree, prefix, parts)
        check(tree / "bin" / "pyrunc", installed=True)
        move_in(tree, top)
    finally:
        shutil.rmtree(tree)


def main() -> None:
    """Read the command line and lay the tree out."""
    parser = argparse.ArgumentParser(description="Lay out an installation of pyrunc.")
    parser.add_argument("--bundle", type=Path, help="the interpreter to copy, with its standard library")
    parser.add_argument("--strip", action="store_true", help="without symbols")
    parser.add_argument("--sources", action="store_true", help="without compiled modules")
    parser.add_argument("--launcher", type=Path, required=True)
    parser.add_argument("--modules", type=Path, required=True)
    parser.add_argument("root", type=Path)
    parser.add_argument("prefix", type=Path)
    args = parser.parse_args()
    try:
        parts = Parts(args.launcher, args.modules, args.bundle, args.strip, not args.sources)
        install(args.root / args.prefix.relative_to("/"), args.prefix, parts)
    except CheckError as error:
        sys.exit(f"pyrunc: not installed, since what was built does not work: {error}")


if __name__ == "__main__":
    main()
