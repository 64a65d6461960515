"""Make pyrunc/_core.pyi, the types of the cffi module, from csrc/native/native.h.

python generate/core_stub.py [OUTPUT]

cffi checks the types of a call when it is made; with this stub, mypy checks them before. The stub has each function
with its parameters, each structure with its fields, and the part of `ffi` that libcontainer/kernel/native.py uses.
Bytes are no valid argument for a parameter that C writes to.
"""

from __future__ import annotations

import re
import sys
from keyword import iskeyword
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from generate.native_build import NATIVE, declarations  # noqa: E402

OUTPUT = ROOT / "pyrunc" / "_core.pyi"

# The Python types of parameters, fields and results, by their C types; an array counts as a pointer.
TYPES = {
    "int": "int", "unsigned int": "int", "int64_t": "int", "uint64_t": "int", "size_t": "int",
    "const char *": "bytes | Characters", "char *": "Characters",
    "const void *": "bytes | Memory", "void *": "Memory",
    "const int *": "Sequence[int] | Numbers", "int *": "Numbers",
}  # fmt: skip

HEADER = '''"""Made by generate/core_stub.py from csrc/native/native.h: do not edit."""

from collections.abc import Iterator, Sequence
from typing import Literal, overload

class Characters:
    """char[]"""

    def __iter__(self) -> Iterator[bytes]: ...

class Numbers:
    """int[]"""

    def __getitem__(self, index: int) -> int: ...

class Memory:
    """The memory of an object of Python's."""

class Address:
    def __int__(self) -> int: ...

class Buffer:
    def __buffer__(self, flags: int, /) -> memoryview: ...
'''

FFI = """class _FFI:
{structures}
    @overload
    def new(self, cdecl: Literal["char[]"], init: int | bytes) -> Characters: ...
    @overload
    def new(self, cdecl: Literal["int[]"], init: int | Sequence[int]) -> Numbers: ...
    @overload
    def new(self, cdecl: Literal["int *", "int[2]"]) -> Numbers: ...
    def buffer(self, cdata: Characters, size: int) -> Buffer: ...
    @overload
    def from_buffer(self, python_buffer: bytes | bytearray) -> Memory: ...
    @overload
    def from_buffer(self, python_buffer: bytearray, *, require_writable: Literal[True]) -> Memory: ...
    def cast(self, cdecl: Literal["uintptr_t"], source: Memory) -> Address: ...

ffi: _FFI
lib: _Lib
"""


class UntypedError(Exception):
    """The header has a declaration that this generator has no type for."""


def _declared(text: str) -> tuple[str, str]:
    """The name that `const char *path` or `int pair[2]` declares, and its type in Python."""
    match = re.fullmatch(r"(.*?[ *])(\w+)(\[\d*\])?", " ".join(text.split()))
    if match is None:
        raise UntypedError(text)
    kind = match[1].strip() + (" *" if match[3] else "")
    structure = re.fullmatch(r"struct (\w+) \*", kind)
    if structure is None and kind not in TYPES:
        raise UntypedError(f"{text.strip()}: {kind}")
    name = match[2] + "_" if iskeyword(match[2]) else match[2]
    return name, structure[1] if structure else TYPES[kind]


def _structure(name: str, body: str) -> str:
    # Bytes are valid where the C type is const, since they live as long as the call. A structure's pointer has to live
    # longer, so its const is dropped here.
    fields = [_declared(field.replace("const ", "")) for field in body.split(";") if field.strip()]
    return f"class {name}:\n" + "".join(f"    {field}: {kind}\n" for field, kind in fields)


def _function(result: str, name: str, parameters: str) -> str:
    declared = [] if parameters == "void" else [_declared(word) for word in parameters.split(",")]
    words = "".join(f", {parameter}: {kind}" for parameter, kind in declared)
    # cffi's functions take no keywords.
    return f"    def {name}(self{words}{', /' if words else ''}) -> {TYPES[result]}: ...\n"


def stub(header: str) -> str:
    """The text of pyrunc/_core.pyi for the text of the header. Raises UntypedError."""
    text = declarations(header)
    structures = re.findall(r"^struct (\w+) \{(.*?)^\};", text, re.MULTILINE | re.DOTALL)
    functions = re.findall(r"^(\w+) (\w+)\(([^)]*)\);", text, re.MULTILINE)
    made = "\n".join(
        f'    @overload\n    def new(self, cdecl: Literal["struct {name} *"]) -> {name}: ...' for name, _ in structures
    )
    parts = [HEADER, *(_structure(*structure) for structure in structures)]
    parts.append("class _Lib:\n" + "".join(_function(*function) for function in functions))
    return "\n".join([*parts, FFI.format(structures=made)])


def main(arguments: list[str]) -> int:
    """Write the stub if its text has changed."""
    output = Path(arguments[0]) if arguments else OUTPUT
    text = stub((NATIVE / "native.h").read_text("utf-8"))
    if not output.is_file() or output.read_text("utf-8") != text:
        output.write_text(text, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
