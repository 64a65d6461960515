"""Make csrc/init/steps.gen.h from the table of step kinds: python3 generate/steps.py [OUTPUT]; with a name that ends in
.py, the module pyrunc/_generated/steps.py: what carrying out a plan needs of the table, as constants.

The header holds, for the kinds that the init carries out: an enum of their numbers on the wire, a struct of each
kind's fields, the declaration of its function, and, where the including file asks by a macro, the table by which
decode.c reads the fields (STEPS_FIELDS) and the dispatcher by which init.c calls the functions (STEPS_DISPATCH).
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from pyrunc.libcontainer.plan.kinds import INIT_KINDS, KINDS, NUMBERS, Kind  # noqa: E402
from pyrunc.libcontainer.spec import mount_options  # noqa: E402

# C type of a field, by its type in the table
C_TYPES = {
    "u32": "uint32_t ",
    "u64": "uint64_t ",
    "i64": "int64_t ",
    "str": "const char *",
    "strv": "struct strv ",
    "fd": "int ",
}


def _struct(kind: Kind) -> str:
    members = "".join(f"    {C_TYPES[type_]}{name};\n" for name, type_ in kind.fields)
    # ISO C has no empty struct
    return f"/* {kind.doc} */\nstruct step_{kind.name} {{\n{members or '    char unused;' + chr(10)}}};\n"


def _fields(kind: Kind) -> str:
    rows = "".join(
        f"    {{FIELD_{type_.upper()}, offsetof(struct step_{kind.name}, {name})}},\n" for name, type_ in kind.fields
    )
    return f"static const struct field fields_{kind.name}[] = {{\n{rows}}};\n"


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


def module() -> str:
    """The text of pyrunc/_generated/steps.py. Each value is a constant, so that importing it makes nothing."""
    numbers = "".join(f"    {name!r}: {number},\n" for name, number in NUMBERS.items())
    fields = "".join(f"    {kind.name!r}: {kind.fields!r},\n" for kind in KINDS.values())
    return (
        '"""Made by generate/steps.py from pyrunc/libcontainer/plan/kinds.py: don\'t edit."""\n\n'
        f"# The init's kinds: their numbers on the wire.\nNUMBERS: dict[str, int] = {{\n{numbers}}}\n\n"
        "# The fields of every kind: name and type.\n"
        f"FIELDS: dict[str, tuple[tuple[str, str], ...]] = {{\n{fields}}}\n"
    )


def main(argv: list[str]) -> int:
    """Write the header or the module to the path given, or the header to csrc/init/steps.gen.h."""
    output = Path(argv[1]) if len(argv) > 1 else ROOT / "csrc" / "init" / "steps.gen.h"
    draft = output.with_suffix(f".{os.getpid()}")
    draft.write_text(module() if output.suffix == ".py" else header(INIT_KINDS), encoding="utf-8")
    draft.replace(output)  # whole at once, for a compiler that runs at the same time
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
