"""Write the launcher's binding of csrc/native/native.h with the functions of launcher/ffi.h: one wrapper for each
function, one table for each struct.

In the ordinary build cffi does this. This script knows only the few types that native.h uses; any other type is an
error.

Usage: bindings.py OUTPUT
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

HEADER = Path(__file__).resolve().parent.parent / "csrc" / "native" / "native.h"

# # The conversion of a Python number to each C type.
NUMBERS = {
    "int": "ffi_signed({0}, INT_MIN, INT_MAX)",
    "unsigned int": "ffi_unsigned({0}, UINT_MAX)",
    "int64_t": "ffi_signed({0}, INT64_MIN, INT64_MAX)",
    "uint64_t": "ffi_unsigned({0}, UINT64_MAX)",
    "size_t": "ffi_unsigned({0}, SIZE_MAX)",
}
POINTERS = {"char *": "ffi_text({0})", "void *": "ffi_text({0})", "int *": "ffi_numbers({0})"}
FIELD_KINDS = {"int": "FFI_INT", "uint64_t": "FFI_U64"}
RESULTS = {"int": "PyLong_FromLong", "int64_t": "PyLong_FromLongLong", "size_t": "PyLong_FromSize_t"}


def split_declaration(text: str) -> tuple[str, str]:
    """Split `const char *path` and `int pair[2]` into type and name: ("char *", "path"), ("int *", "pair")."""
    match = re.fullmatch(r"(?:const )?(.*?[ *])(\w+)(\[\d*\])?", " ".join(text.split()))
    if match is None:
        raise ValueError(f"native.h: can't read {text!r}")
    kind = match[1].strip()
    return (kind + " *" if match[3] else kind), match[2]


def functions(header: str) -> list[tuple[str, str, list[str]]]:
    """The functions as (result type, name, parameter types)."""
    found = []
    for result, name, parameters in re.findall(r"^(\w+) (\w+)\(([^)]*)\);", header, re.MULTILINE):
        words = [] if parameters == "void" else parameters.split(",")
        found.append((result, name, [split_declaration(word)[0] for word in words]))
    return found


def structs(header: str) -> list[tuple[str, list[tuple[str, str]]]]:
    """The structures as (name, fields as (type, name))."""
    found = []
    for name, body in re.findall(r"^(struct \w+) \{(.*?)^\};", header, re.MULTILINE | re.DOTALL):
        found.append((name, [split_declaration(field) for field in body.split(";") if field.strip()]))
    return found


def argument(kind: str, number: int) -> tuple[str, str]:
    """Declare the wrapper's local variable for an argument, and say what the wrapper passes to the C function."""
    source = f"args[{number}]"
    if kind in NUMBERS:
        return f"    {kind} a{number} = ({kind}){NUMBERS[kind].format(source)};", f"a{number}"
    if kind in POINTERS:
        return f"    FFI_ADDRESS a{number} = {POINTERS[kind].format(source)};", f"a{number}.address"
    if kind.startswith("struct ") and kind.endswith(" *"):
        return f'    FFI_ADDRESS a{number} = ffi_structure({source}, "{kind[:-2]}");', f"a{number}.address"
    raise ValueError(f"native.h: no conversion for {kind}")


def wrapper(result: str, name: str, parameters: list[str]) -> str:
    """Write the function that Python calls for one C function."""
    declarations = [argument(kind, number) for number, kind in enumerate(parameters)]
    passed = ", ".join(expression for _, expression in declarations)
    return "\n".join(
        [
            f"static PyObject *call_{name}(PyObject *self, PyObject *const *args, Py_ssize_t count)",
            "{",
            "    (void)self;",
            "    (void)args;",
            f"    if (!ffi_counts(count, {len(parameters)}))",
            "        return NULL;",
            *(declaration for declaration, _ in declarations),
            f"    return PyErr_Occurred() ? NULL : {RESULTS[result]}({name}({passed}));",
            "}",
        ]
    )


def field_row(struct: str, kind: str, name: str) -> str:
    """Write one field's row of a structure's table."""
    shape = "FFI_POINTER" if kind.endswith("*") else FIELD_KINDS[kind]
    return f'    {{"{name}", {shape}, offsetof({struct}, {name})}},'


def source(header: str) -> str:
    """The C source for a header's text."""
    header = re.sub(r"/\*.*?\*/", "", header, flags=re.DOTALL)
    parts = [
        "/* Made by launcher/bindings.py from native.h. */",
        '#include "ffi.h"',
        '#include "native.h"',
        "#include <limits.h>",
    ]
    rows, methods = [], []
    for name, fields in structs(header):
        table = name.replace("struct ", "fields_")
        parts.append(
            "\n".join([f"static const struct ffi_field {table}[] = {{", *(field_row(name, *f) for f in fields), "};"])
        )
        rows.append(f'    {{"{name}", sizeof({name}), {table}, {len(fields)}}},')
    for result, name, parameters in functions(header):
        parts.append(wrapper(result, name, parameters))
        methods.append(f'    {{"{name}", (PyCFunction)(void (*)(void))call_{name}, METH_FASTCALL, NULL}},')
    parts.append("\n".join(["const struct ffi_struct ffi_structs[] = {", *rows, "};"]))
    parts.append(f"const size_t ffi_struct_count = {len(rows)};")
    parts.append("\n".join(["PyMethodDef ffi_functions[] = {", *methods, "    {NULL, NULL, 0, NULL},", "};"]))
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(source(HEADER.read_text()))
