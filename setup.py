"""The build: the init, the generated files, and the C modules. Everything else is in pyproject.toml.

A build runs, in this order: `make -C csrc/init init` (the static init, by musl-gcc), `make -C csrc/pause`,
generate/*.py (validators, types, argv table), and the compiler for `pyrunc._core`, which holds the init's program,
`pyrunc._seccomp` and `pyrunc._wire`.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

from setuptools import Extension, find_packages, setup
from setuptools.command.build_ext import build_ext
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
GENERATED = ROOT / "pyrunc" / "_generated"

sys.path.insert(0, str(ROOT))

# What the build needs of the system: the probe, its name, and the Debian package that has it.
TOOLS = (("gcc", "gcc"), ("musl-gcc", "musl-tools"), ("make", "make"))
HEADERS = (
    ("/usr/include/sys/capability.h", "the libcap headers (for python-prctl)", "libcap-dev"),
    (sysconfig.get_path("include") + "/Python.h", "the Python headers", "python3-dev"),
    ("/usr/include/linux/openat2.h", "the kernel's headers", "linux-libc-dev"),
    ("/usr/include/seccomp.h", "the libseccomp headers", "libseccomp-dev"),
)


def check_tools() -> None:
    """If a part of the tool chain is missing, stop with the names of the Debian packages."""
    missing = [(tool, package) for tool, package in TOOLS if shutil.which(tool) is None]
    missing += [(what, package) for path, what, package in HEADERS if not Path(path).exists()]
    if missing:
        wants = ", ".join(what for what, _ in missing)
        packages = " ".join(package for _, package in missing)
        raise SystemExit(f"pyrunc: missing for the build: {wants}; on Debian: apt-get install {packages}")


def generate() -> None:
    """Build the init and write pyrunc/_generated and the headers under csrc."""
    from generate.native_build import IMAGE_HEADER, INIT, write_image

    subprocess.run(["make", "-C", str(ROOT / "csrc" / "init"), "init", f"PYTHON={sys.executable}"], check=True)
    write_image(INIT, IMAGE_HEADER)
    subprocess.run(["make", "-C", str(ROOT / "csrc" / "pause"), "pause"], check=True)
    # validators.py writes the schemas too, as Python literals: the package has no other copy of spec-schemas.
    for script in ("validators", "spec_types", "core_stub", "argv", "shim_messages", "pause", "syscalls"):
        subprocess.run([sys.executable, str(ROOT / "generate" / f"{script}.py")], check=True, cwd=ROOT)
    subprocess.run([sys.executable, str(ROOT / "generate/steps.py"), str(GENERATED / "steps.py")], check=True)


class BuildModules(build_py):
    """build_py that first makes the generated files."""

    def run(self) -> None:
        generate()
        super().run()


class BuildCore(build_ext):
    """build_ext that first builds the init (`setup.py build_ext --inplace` runs no build_py)."""

    def run(self) -> None:
        if self.inplace and not self.distribution.have_run.get("build_py"):
            generate()
        super().run()


def packages() -> list[str]:
    """pyrunc and its packages; makes that of the generated modules, so that it can be listed."""
    GENERATED.mkdir(exist_ok=True)
    (GENERATED / "__init__.py").touch()
    return find_packages(str(ROOT), include=["pyrunc", "pyrunc.*"])


def wire() -> Extension:
    """`pyrunc._wire`, one shared object for every version of Python."""
    from generate.cflags import COMPILE_ARGS

    headers = ["csrc/init/decode.h", "csrc/init/steps.gen.h", "csrc/wire/attributes.h", "csrc/wire/record.h"]
    sources = ["csrc/wire/encode.c", "csrc/wire/record.c"]
    return Extension("pyrunc._wire", sources, depends=headers, extra_compile_args=COMPILE_ARGS, py_limited_api=True)


check_tools()
setup(
    packages=packages(),
    cffi_modules=["generate/native_build.py:ffibuilder", "generate/seccomp_build.py:ffibuilder"],
    ext_modules=[wire()],
    cmdclass={"build_py": BuildModules, "build_ext": BuildCore},
)
