"""The build: the init, what is generated, and the cffi module. Everything else is in pyproject.toml.

A build runs, in this order: `make -C csrc init` (the static init, by musl-gcc), generate/*.py (validators, argv
table), and the compiler for `pyrunc._core`, which holds the init's program.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

from setuptools import setup
from setuptools.command.build_ext import build_ext
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
GENERATED = ROOT / "pyrunc" / "_generated"
SCHEMAS = ROOT / "spec-schemas"

sys.path.insert(0, str(ROOT))

# What the build needs of the system: the probe, what it is, and the Debian package that has it.
TOOLS = (("gcc", "gcc"), ("musl-gcc", "musl-tools"), ("make", "make"))
HEADERS = (
    ("/usr/include/sys/capability.h", "the libcap headers (for python-prctl)", "libcap-dev"),
    (sysconfig.get_path("include") + "/Python.h", "the Python headers", "python3-dev"),
    ("/usr/include/linux/openat2.h", "the kernel's headers", "linux-libc-dev"),
)


def check_tools() -> None:
    """Stop with the names of the Debian packages where a part of the tool chain is missing."""
    missing = [(tool, package) for tool, package in TOOLS if shutil.which(tool) is None]
    missing += [(what, package) for path, what, package in HEADERS if not Path(path).exists()]
    if missing:
        wants = ", ".join(what for what, _ in missing)
        packages = " ".join(package for _, package in missing)
        raise SystemExit(f"pyrunc: missing for the build: {wants}; on Debian: apt-get install {packages}")


def generate() -> None:
    """Build the init and write pyrunc/_generated and the headers under csrc."""
    from generate.native_build import IMAGE_HEADER, INIT, write_image

    subprocess.run(["make", "-C", str(ROOT / "csrc"), "init", f"PYTHON={sys.executable}"], check=True)
    write_image(INIT, IMAGE_HEADER)
    for script in ("validators", "argv"):
        subprocess.run([sys.executable, str(ROOT / "generate" / f"{script}.py")], check=True, cwd=ROOT)
    schemas = GENERATED / "schemas"
    schemas.mkdir(parents=True, exist_ok=True)
    (GENERATED / "__init__.py").touch()
    for schema in SCHEMAS.glob("*.json"):
        shutil.copyfile(schema, schemas / schema.name)


class BuildModules(build_py):
    """build_py with what is generated made first."""

    def run(self) -> None:
        generate()
        # Only now are the generated modules there to be found.
        self.distribution.packages = packages()
        self.packages = self.distribution.packages
        super().run()


class BuildCore(build_ext):
    """build_ext with the init built first (`setup.py build_ext --inplace` runs no build_py)."""

    def run(self) -> None:
        if self.inplace and not self.distribution.have_run.get("build_py"):
            generate()
        super().run()


def packages() -> list[str]:
    """pyrunc and the packages in it."""
    from setuptools import find_namespace_packages

    found = find_namespace_packages(str(ROOT), include=["pyrunc", "pyrunc.*"])
    return sorted({name for name in found if "__pycache__" not in name} | {"pyrunc._generated"})


check_tools()
setup(
    packages=packages(),
    package_data={"pyrunc._generated": ["schemas/*.json"]},
    cffi_modules=["generate/native_build.py:ffibuilder"],
    cmdclass={"build_py": BuildModules, "build_ext": BuildCore},
)
