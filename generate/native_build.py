"""The cffi builder of `pyrunc._core`: csrc/native with the init's program as a byte array in it.

`setup.py` names `ffibuilder` (cffi_modules) and calls `write_image` when the init has been built.
"""

from __future__ import annotations

import re
from pathlib import Path

from cffi import FFI

from generate.cflags import COMPILE_ARGS

ROOT = Path(__file__).resolve().parent.parent
CSRC = ROOT / "csrc"
INIT = CSRC / "init" / "build" / "init"
NATIVE = CSRC / "native"
IMAGE_HEADER = NATIVE / "init_image.gen.h"


def declarations(header: str) -> str:
    """The part of native.h that cffi's parser reads: no preprocessor lines, no comments."""
    text = re.sub(r"/\*.*?\*/", "", header, flags=re.DOTALL)
    return "\n".join(line for line in text.splitlines() if not line.startswith("#"))


def write_image(init: Path, target: Path) -> None:
    """Write the program `init` as the C array `init_image`; leave the file alone if nothing changes."""
    data = init.read_bytes()
    lines = [",".join(map(str, data[at : at + 24])) for at in range(0, len(data), 24)]
    text = f"static const unsigned char init_image[{len(data)}] = {{\n" + ",\n".join(lines) + "\n};\n"
    if not target.exists() or target.read_text() != text:
        target.write_text(text)


def make_builder() -> FFI:
    """The FFI object that describes `pyrunc._core`."""
    builder = FFI()
    builder.cdef(declarations((NATIVE / "native.h").read_text()))
    builder.set_source(
        "pyrunc._core",
        '#include "native.h"',
        sources=sorted(str(path.relative_to(ROOT)) for path in NATIVE.glob("*.c")),
        include_dirs=["csrc/native"],
        depends=["csrc/native/native.h", "csrc/native/parent.h", "csrc/init/join.h", "csrc/native/init_image.gen.h"],
        extra_compile_args=COMPILE_ARGS,
    )
    return builder


ffibuilder = make_builder()
