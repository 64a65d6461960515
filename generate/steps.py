"""Make csrc/init/steps.gen.h from the table of step kinds: python3 generate/steps.py [OUTPUT]. If OUTPUT ends in .py,
make the module pyrunc/_generated/steps.py and its stub steps.pyi instead. The module has the parts of the table that
are needed to carry out a plan, as constants, and for each kind a constructor.

A constructor takes the kind's fields by keyword and returns an operation: the kind's name and its arguments in the
order of the fields. Context (libcontainer/compile/context.py) puts it into a plan as a Step. The stub has the types, so
that mypy finds a forgotten or misspelt field, and a step that is given to the wrong side.

The header is about the kinds that the init carries out. It has an enum of their numbers on the wire, a struct of each
kind's fields and the declaration of each kind's function. If the including file asks by a macro, the header also has
the table by which decode.c reads the fields (STEPS_FIELDS) and the dispatcher by which init.c calls the functions
(STEPS_DISPATCH).
"""

from __future__ import annotations

import os
import sys
from keyword import iskeyword
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from pyrunc.libcontainer.kernel import landlock  # noqa: E402
from pyrunc.libcontainer.plan.kinds import INIT, INIT_KINDS, KINDS, NUMBERS, RUNTIME, Kind  # noqa: E402
from pyrunc.libcontainer.spec import mount_options  # noqa: E402

# The C type of a field, by its type in the table.
C_TYPES = {
    "u32": "uint32_t ",
    "u64": "uint64_t ",
    "i64": "int64_t ",
    "str": "const char *",
    "strv": "struct strv ",
    "fd": "int ",
}

_MADE = "Made by generate/steps.py from pyrunc/libcontainer/plan/kinds.py: don't edit."

# The type that a constructor returns, by the side that carries the step out.
_OPERATIONS = {RUNTIME: "RuntimeOperation", INIT: "InitOperation"}

# The value of an optional argument that is left out, by its type in Python.
_ZEROS = {
    "int": "0", "bool": "False", "str": "''", "tuple[str, ...]": "()", "str | None": "None",
    "tuple[str, ...] | None": "None",
}  # fmt: skip


def _struct(kind: Kind) -> str:
    members = "".join(f"    {C_TYPES[type_]}{name};\n" for name, type_ in kind.fields)
    # ISO C has no empty struct
    return f"/* {kind.doc} */\nstruct step_{kind.name} {{\n{members or '    char unused;' + chr(10)}}};\n"


def _fields(kind: Kind) -> str:
    rows = "".join(
        f"    {{FIELD_{type_.upper()}, offsetof(struct step_{kind.name}, {name})}},\n" for name, type_ in kind.fields
    )
    return f"static const struct field fields_{kind.name}[] = {{\n{rows}}};\n"


def _listed(words: tuple[str, ...]) -> str:
    return f"{', '.join(words[:-1])} and {words[-1]}"


def header(kinds: tuple[Kind, ...]) -> str:
    """The text of steps.gen.h."""
    enum = "".join(f"    STEP_{kind.name.upper()},\n" for kind in kinds)
    bits = "".join(f"    {name} = {getattr(mount_options, name)},\n" for name in mount_options.LINK_BITS)
    declarations = "".join(f"int step_{k.name}(struct init *init, const struct step_{k.name} *step);\n" for k in kinds)
    members = "".join(f"    struct step_{kind.name} {kind.name};\n" for kind in kinds)
    rows = "".join(
        f"    [STEP_{k.name.upper()}] = "
        + (f"{{fields_{k.name}, {len(k.fields)}, sizeof(struct step_{k.name})}},\n" if k.fields else "{NULL, 0, 0},\n")
        for k in kinds
    )
    cases = "".join(f"    case STEP_{k.name.upper()}:\n        return step_{k.name}(init, fields);\n" for k in kinds)
    return "\n".join(
        [
            "/* Made by generate/steps.py from pyrunc/libcontainer/plan/kinds.py: don't edit. */",
            "#ifndef PYRUNC_STEPS_GEN_H\n#define PYRUNC_STEPS_GEN_H\n",
            f"enum step_kind {{\n{enum}    STEP_KINDS\n}};\n",
            f"/* the bits of `links` in a `bind` step (spec/mount_options.py) */\nenum {{\n{bits}}};\n",
            "/* the rights of a Landlock rule for a file that is no directory (kernel/landlock.py), their names */\n"
            f"#define LANDLOCK_OF_FILES UINT64_C({landlock.bits(landlock.FS, landlock.OF_FILES):#x})\n"
            f'#define LANDLOCK_NAMES_OF_FILES "{_listed(landlock.OF_FILES)}"\n',
            *(_struct(kind) for kind in kinds),
            f"union step_fields {{\n{members}}};\n",
            declarations,
            "#ifdef STEPS_FIELDS",
            *(_fields(kind) for kind in kinds if kind.fields),
            "static const struct {\n    const struct field *fields;\n    uint16_t count;\n"
            "    uint16_t size; /* of the structure */\n"
            f"}} kinds[STEP_KINDS] = {{\n{rows}}};",
            "#endif\n",
            "#ifdef STEPS_DISPATCH",
            "static int dispatch(struct init *init, enum step_kind kind, const void *fields)\n{\n"
            f"    switch (kind) {{\n{cases}    case STEP_KINDS:\n        break;\n    }}\n    return -EINVAL;\n}}",
            "#endif\n",
            "#endif\n",
        ]
    )


def _parameter(name: str) -> str:
    return name + "_" if iskeyword(name) else name


def _constructor(kind: Kind) -> str:
    """Write the constructor of a kind's operation. The hot path calls it, so it does nothing else."""
    parameters, args = [], []
    for field, _ in kind.fields:
        name, type_ = _parameter(field), kind.python_types[field]
        parameters.append(f"{name}={_ZEROS[type_]}" if field in kind.optional else name)
        args.append(f"1 if {name} else 0" if type_ == "bool" else name)
    signature = "*, " + ", ".join(parameters) if parameters else ""
    values = f"({', '.join(args)},)" if args else "()"
    return f"def {kind.name}({signature}):\n    return {kind.name!r}, {values}\n"


def _declaration(kind: Kind) -> str:
    """Write a constructor's declaration for the stub."""
    parameters = [
        f"{_parameter(field)}: {kind.python_types[field]}" + (" = ..." if field in kind.optional else "")
        for field, _ in kind.fields
    ]
    signature = "*, " + ", ".join(parameters) if parameters else ""
    doc = kind.doc[0].upper() + kind.doc[1:]
    return f'def {kind.name}({signature}) -> {_OPERATIONS[kind.actor]}:\n    """{doc}."""\n'


def module() -> str:
    """The text of pyrunc/_generated/steps.py. Importing that module only makes constants and functions."""
    numbers = "".join(f"    {name!r}: {number},\n" for name, number in NUMBERS.items())
    fields = "".join(f"    {kind.name!r}: {kind.fields!r},\n" for kind in KINDS.values())
    constructors = "\n\n".join(_constructor(kind) for kind in KINDS.values())
    return (
        f'"""{_MADE}"""\n\n'
        f"# The init's kinds: their numbers on the wire.\nNUMBERS = {{\n{numbers}}}\n\n"
        f"# The fields of every kind: name and type.\nFIELDS = {{\n{fields}}}\n\n\n"
        f"# The types of these are in steps.pyi.\n{constructors}"
    )


def stub() -> str:
    """The text of pyrunc/_generated/steps.pyi."""
    constructors = "\n".join(_declaration(kind) for kind in KINDS.values())
    return (
        f'"""{_MADE}"""\n\nfrom typing import NewType\n\nfrom ..libcontainer.plan.model import Arg\n\n'
        "NUMBERS: dict[str, int]\nFIELDS: dict[str, tuple[tuple[str, str], ...]]\n\n"
        "# A kind and its arguments, for one of the two sides.\n"
        + "".join(f'{name} = NewType("{name}", tuple[str, tuple[Arg, ...]])\n' for name in _OPERATIONS.values())
        + f"\n{constructors}"
    )


def _write(path: Path, text: str) -> None:
    """Write a file and rename it into place: a compiler that runs at the same time reads the old text or the new
    one.
    """
    draft = path.with_suffix(f".{os.getpid()}")
    draft.write_text(text, encoding="utf-8")
    draft.replace(path)


def main(argv: list[str]) -> int:
    """Write the header, or the module and its stub, to the path in argv; without a path, the header to
    csrc/init/steps.gen.h.
    """
    output = Path(argv[1]) if len(argv) > 1 else ROOT / "csrc" / "init" / "steps.gen.h"
    if output.suffix == ".py":
        _write(output.with_suffix(".pyi"), stub())
        _write(output, module())
    else:
        _write(output, header(INIT_KINDS))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
