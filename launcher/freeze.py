"""Freeze pyrunc's hot modules: write the launcher's table of modules (launcher/importer.h) as C.

The walk starts at pyrunc.main, and at pyrunc.shim.main, and follows every import statement, also those in functions. It
compiles and marshals each module that it reaches. A reached module must be one of ours or one of EXTENSIONS; for any
other it raises an error that names the line, so a hot module can't depend on what the launcher lacks. The walk ends at
COLD modules: importing one hands the command over to the ordinary build, so a command must import it before it has had
an effect.

Run this script with the interpreter whose library is linked, since only the same version reads the code. Run it with
`-X no_debug_ranges`, since nothing in the launcher reads the columns of an expression.
"""

from __future__ import annotations

import argparse
import ast
import importlib.util
import marshal
import sys
from pathlib import Path
from types import CodeType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

ROOT = Path(__file__).resolve().parent.parent

ENTRY = "pyrunc.main"
# The entry of the launcher under the name of the shim (launcher.c).
SHIM = "pyrunc.shim.main"
# Runs before the snapshot is written (launcher/specialise.c), and is in no table.
SPECIALISE = "launcher.specialise"
# Imports the modules of commands by their names.
DISPATCHER = "pyrunc.commands.dispatch"

# The C modules of the launcher, each with its init function.
EXTENSIONS = {
    "_json": "PyInit__json",  # launcher/json.c
    "_launcher": "PyInit__launcher",  # launcher/launcher.c
    "_prctl": "PyInit__prctl",  # launcher/prctl.c
    "_signal": "PyInit__signal",
    "_socket": "PyInit__socket",
    "errno": "PyInit_errno",
    "fcntl": "PyInit_fcntl",
    "posix": "PyInit_posix",
    "pyrunc._core": "PyInit__core",  # launcher/ffi.c
    "pyrunc._wire": "PyInit__wire",  # csrc/wire/encode.c
    "select": "PyInit_select",
    "time": "PyInit_time",
}

# Those that the launcher brings itself.
OWN = {"_json", "_launcher", "_prctl", "pyrunc._core", "pyrunc._wire"}

# The interpreter imports these before anything else, so they need no entry.
GIVEN = {"builtins", "sys"}

# CPython's start imports these, and CPython does not hold them frozen.
CODECS = ("encodings", "encodings.aliases", "encodings.latin_1", "encodings.utf_8")

# Only the ordinary build has these packages and what is in them: click, jsonschema, the commands that people type,
# libseccomp, D-Bus.
COLD = {
    "pyrunc.cli.program", "pyrunc.commands.broker", "pyrunc.commands.bundle", "pyrunc.commands.checkpoint",
    "pyrunc.commands.doctor", "pyrunc.commands.eventstream", "pyrunc.commands.garbage", "pyrunc.commands.hooks",
    "pyrunc.commands.integrate",
    "pyrunc.commands.matching", "pyrunc.commands.mounts", "pyrunc.commands.pstable", "pyrunc.commands.seccomp",
    "pyrunc.commands.verify",
    "pyrunc.libcontainer.compile.systemd",
    "pyrunc.libcontainer.garbage", "pyrunc.libcontainer.launch.notify", "pyrunc.libcontainer.launch.systemd_scope",
    "pyrunc.libcontainer.seccomp.compiler", "pyrunc.libcontainer.spec.explain", "pyrunc.libcontainer.systemd",
}  # fmt: skip


# Modules that are not in the snapshot: the launcher runs their frozen code when a command imports them. They explain a
# failure, or carry out what few configurations ask for. In the snapshot they would make every command larger.
ON_DEMAND = {
    "pyrunc.commands.events", "pyrunc.jsontext",
    "pyrunc.libcontainer.cgroup.stats", "pyrunc.libcontainer.compile.labels", "pyrunc.libcontainer.compile.landlock",
    "pyrunc.libcontainer.compile.notify", "pyrunc.libcontainer.compile.overlay", "pyrunc.libcontainer.compile.rdt",
    "pyrunc.libcontainer.compile.scheduling", "pyrunc.libcontainer.compile.update",
    "pyrunc.libcontainer.diagnosis.terminal", "pyrunc.libcontainer.holder",
    "pyrunc.libcontainer.isolation.apply", "pyrunc.libcontainer.isolation.calls",
    "pyrunc.libcontainer.isolation.sandbox", "pyrunc.libcontainer.kernel.hostmounts",
    "pyrunc.libcontainer.kernel.landlock",
    "pyrunc.libcontainer.kernel.lsm", "pyrunc.libcontainer.kernel.mountinfo", "pyrunc.libcontainer.kernel.netlink",
    "pyrunc.libcontainer.kernel.privileges", "pyrunc.libcontainer.kernel.procfs", "pyrunc.libcontainer.kernel.resctrl",
    "pyrunc.libcontainer.kernel.scheduling", "pyrunc.libcontainer.launch.clone_errors",
    "pyrunc._generated.syscalls", "pyrunc.libcontainer.launch.blame",
    "pyrunc.libcontainer.launch.errors", "pyrunc.libcontainer.launch.inside", "pyrunc.libcontainer.launch.netdevices",
    "pyrunc.libcontainer.launch.newidmap", "pyrunc.libcontainer.launch.programs", "pyrunc.libcontainer.launch.scene",
    "pyrunc.libcontainer.launch.timeline", "pyrunc.libcontainer.plan.kinds", "pyrunc.libcontainer.spec.annotations",
    "pyrunc.libcontainer.spec.field_checks", "pyrunc.libcontainer.spec.foreign",
    "pyrunc.libcontainer.spec.idmap_option", "pyrunc.libcontainer.spec.landlock", "pyrunc.libcontainer.spec.nearest",
    "pyrunc.libcontainer.update.mounts", "pyrunc.libcontainer.update.session", "pyrunc.libcontainer.update.words",
}  # fmt: skip

# Modules of the snapshot that a container's usual life does not import. They are placed behind all others, so that the
# pages that every command touches hold little of them.
LAST = (
    "_socket", "fcntl", "select", "pyrunc._generated.shim_messages", "pyrunc.protobuf", "pyrunc.shim",
    "pyrunc.commands.processes", "pyrunc.libcontainer.cgroup.controllers", "pyrunc.libcontainer.cgroup.limits",
    "pyrunc.libcontainer.cgroup.resources", "pyrunc.libcontainer.compile.idmaps",
    "pyrunc.libcontainer.compile.seccomp", "pyrunc.libcontainer.kernel.userns", "pyrunc.libcontainer.launch.console",
    "pyrunc.libcontainer.launch.hooks", "pyrunc.libcontainer.launch.relay", "pyrunc.libcontainer.launch.streams",
    "pyrunc.libcontainer.processes", "pyrunc.libcontainer.seccomp",
    "pyrunc.libcontainer.update", "pyrunc.libcontainer.update.journal", "pyrunc.libcontainer.update.merge",
    "pyrunc.libcontainer.update.recovery",
    "pyrunc.libcontainer.update.apply", "pyrunc.commands.update",
)  # fmt: skip


class FreezeError(Exception):
    """A hot module can't be frozen; the text names the file and the line."""


def is_cold(name: str) -> bool:
    """Whether a module is one of COLD, or in a package that is."""
    parts = name.split(".")
    return any(".".join(parts[:end]) in COLD for end in range(1, len(parts) + 1))


class Stripper(ast.NodeTransformer):
    """Remove what only type checkers read: annotations, the blocks under TYPE_CHECKING, `from __future__`."""

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.AST | None:
        """Drop `from __future__ import annotations`, which would be an import at run time too."""
        return None if node.module == "__future__" else node

    def visit_If(self, node: ast.If) -> ast.AST | None:
        """Drop `if TYPE_CHECKING:`."""
        if isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            return None
        return self.generic_visit(node)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        """Drop the annotation of the result."""
        node.returns = None
        return self.generic_visit(node)

    def visit_arg(self, node: ast.arg) -> ast.AST:
        """Drop a parameter's annotation."""
        node.annotation = None
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        """Write `x: int = 1` as `x = 1`, and drop `x: int`."""
        if node.value is None:
            return ast.copy_location(ast.Pass(), node)
        assign = ast.Assign(targets=[node.target], value=node.value)
        return self.generic_visit(ast.copy_location(assign, node))


def source_of(name: str, root: Path = ROOT) -> Path | None:
    """The file of one of our modules, or None if no module has that name."""
    base = root.joinpath(*name.split("."))
    for path in (base.with_name(base.name + ".py"), base / "__init__.py"):
        if path.is_file():
            return path
    return None


def survives_absence(node: ast.AST) -> bool:
    """Whether this is `try: import x … except ImportError`: the module works without x."""
    return (
        isinstance(node, ast.Try)
        and isinstance(node.body[0], ast.Import | ast.ImportFrom)
        and any(isinstance(h.type, ast.Name) and h.type.id == "ImportError" for h in node.handlers)
    )


def absolute(node: ast.ImportFrom, name: str, is_package: bool) -> str:
    """The absolute name of the module from which `from … import` in the module `name` imports (PEP 328)."""
    above = name.split(".")[: len(name.split(".")) - node.level + is_package] if node.level else []
    return ".".join([*above, *([node.module] if node.module else [])])


def make_absolute(tree: ast.Module, name: str, is_package: bool) -> None:
    """Write every relative import by its absolute name, so that the launcher need not compute it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level:
            node.module, node.level = absolute(node, name, is_package), 0


def imports_of(tree: ast.Module, name: str, is_package: bool, root: Path = ROOT) -> list[tuple[int, str]]:
    """The absolute names that a module imports, with their lines. `from package import x` names x too if x is a module.

    Importing a module imports its packages, so the result names these too. It leaves out a module that the importer
    works without, unless it is one of EXTENSIONS or COLD: without those the launcher would behave differently from the
    ordinary build.
    """
    found: list[tuple[int, str]] = []
    guarded = {id(node) for attempt in ast.walk(tree) if survives_absence(attempt) for node in ast.walk(attempt)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = absolute(node, name, is_package)
            children = [f"{base}.{alias.name}" for alias in node.names]
            names = [base, *(child for child in children if child in EXTENSIONS or source_of(child, root))]
        else:
            continue
        for full in names:
            if id(node) in guarded and not is_cold(full) and full not in EXTENSIONS:
                continue
            parts = full.split(".")
            found.extend((node.lineno, ".".join(parts[:end])) for end in range(1, len(parts) + 1))
    return found


def commands_of(name: str, root: Path = ROOT) -> list[str]:
    """The modules that the dispatcher imports by the table of generate/argv.py; none for any other module."""
    if name != DISPATCHER:
        return []
    for node in ast.parse((root / "pyrunc/_generated/argv.py").read_text()).body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.target.id == "MODULES":
            assert node.value is not None
            return [f"pyrunc.commands.{module}" for module in sorted(set(ast.literal_eval(node.value).values()))]
    raise FreezeError("pyrunc/_generated/argv.py: it has no MODULES")


def reach(entry: str = ENTRY, root: Path = ROOT) -> dict[str, tuple[ast.Module, bool] | None]:
    """All modules that the launcher needs, by name: the stripped tree and whether it is a package.

    The value of a COLD module and of an extension is None. Raises FreezeError for an import that the launcher lacks.
    """
    modules: dict[str, tuple[ast.Module, bool] | None] = {}
    waiting = [
        (entry, "the entry"),
        *([(SHIM, "the shim's entry")] if entry == ENTRY and source_of(SHIM, root) else []),
    ]
    while waiting:
        name, importer = waiting.pop()
        if name in modules or name in GIVEN:
            continue
        if name in EXTENSIONS or is_cold(name):
            modules[name] = None
            continue
        path = source_of(name, root)
        if path is None or name.partition(".")[0] != entry.partition(".")[0]:
            raise FreezeError(f"{importer}: the launcher has no module {name}")
        tree = ast.fix_missing_locations(Stripper().visit(ast.parse(path.read_text(), str(path))))
        is_package = path.name == "__init__.py"
        modules[name] = (tree, is_package)
        relative = path.relative_to(root)
        waiting += [(full, f"{relative}:{line}") for line, full in imports_of(tree, name, is_package, root)]
        waiting += [(full, str(relative)) for full in commands_of(name, root)]
        make_absolute(tree, name, is_package)
        above = name.rpartition(".")[0]
        if above:
            waiting.append((above, str(relative)))
    return modules


def compiled(name: str, tree: ast.Module, is_package: bool) -> CodeType:
    """A module's code, without docstrings; tracebacks name its file from the repository's root."""
    path = name.replace(".", "/") + ("/__init__.py" if is_package else ".py")
    code: CodeType = compile(tree, path, "exec", optimize=2, dont_inherit=True)
    return code


def array(name: str, data: bytes) -> str:
    """Bytes as a C array."""
    lines = [",".join(map(str, data[at : at + 32])) for at in range(0, len(data), 32)]
    return f"static const unsigned char {name}[] = {{\n" + ",\n".join(lines) + "\n};"


def codecs() -> list[str]:
    """The C source of CPython's own table of frozen modules: those of the package encodings that CPython's start
    imports.
    """
    declarations, rows = [], []
    for number, name in enumerate(CODECS):
        spec = importlib.util.find_spec(name)
        if spec is None or spec.origin is None:
            raise FreezeError(f"{sys.executable} has no module {name}")
        tree = ast.parse(Path(spec.origin).read_text())
        is_package = spec.submodule_search_locations is not None
        declarations.append(array(f"codec_{number}", marshal.dumps(compiled(name, tree, is_package))))
        code = f".code = codec_{number}, .size = sizeof codec_{number}, .is_package = {int(is_package)}"
        rows.append(f'    {{.name = "{name}", {code}}},')
    return [*declarations, "", "const struct _frozen frozen_codecs[] = {", *rows, "    {.name = NULL},", "};"]


def specialiser(modules: dict[str, tuple[ast.Module, bool] | None], root: Path = ROOT) -> list[str]:
    """The C source of SPECIALISE; without code if there is no such module. Raises FreezeError if it imports a module
    that the snapshot does not hold."""
    path = source_of(SPECIALISE, root)
    if path is None:
        return [f'const struct frozen_module frozen_specialise = {{.name = "{SPECIALISE}"}};']
    tree = ast.fix_missing_locations(Stripper().visit(ast.parse(path.read_text(), str(path))))
    for line, name in imports_of(tree, SPECIALISE, False, root):
        if name in ON_DEMAND or (name not in EXTENSIONS and modules.get(name) is None):
            raise FreezeError(f"{path.relative_to(root)}:{line}: the snapshot has no module {name}")
    return [
        array("specialise_code", marshal.dumps(compiled(SPECIALISE, tree, False))),
        "const struct frozen_module frozen_specialise = {",
        f'    .name = "{SPECIALISE}", .kind = FROZEN_MODULE, .marshalled = specialise_code,',
        "    .size = sizeof specialise_code,",
        "};",
    ]


def table(modules: dict[str, tuple[ast.Module, bool] | None], more: Iterable[str] = ()) -> str:
    """The C source of the table. more: lines of C that stand behind it."""
    declarations, rows = [], []
    names = sorted(modules)
    held = [number for number, name in enumerate(names) if not is_cold(name) and name not in ON_DEMAND]
    held.sort(key=lambda number: (names[number].startswith(LAST), number))
    for number, (name, module) in enumerate(sorted(modules.items())):
        if module is None and is_cold(name):
            rows.append(f'{{.name = "{name}", .kind = FROZEN_COLD}}')
        elif module is None:
            declarations.append(f"PyObject *{EXTENSIONS[name]}(void);")
            rows.append(f'{{.name = "{name}", .kind = FROZEN_EXTENSION, .init = {EXTENSIONS[name]}}}')
        else:
            data = marshal.dumps(compiled(name, *module))
            declarations.append(array(f"code_{number}", data))
            code = f".marshalled = code_{number}, .size = sizeof code_{number}"
            rows.append(f'{{.name = "{name}", .kind = FROZEN_MODULE, {code}}}')
    return "\n".join(
        [
            f"/* Made by launcher/freeze.py with Python {sys.version.split()[0]}. */",
            '#include "importer.h"',
            "",
            f"#if PY_MAJOR_VERSION != {sys.version_info.major} || PY_MINOR_VERSION != {sys.version_info.minor}",
            "#error frozen by another Python than the one that is linked",
            "#endif",
            *declarations,
            "",
            *codecs(),
            "",
            "const struct frozen_module frozen_modules[] = {",
            *(f"    {row}," for row in rows),
            "};",
            f"const unsigned short frozen_held[] = {{{', '.join(map(str, held))}}};",
            "const size_t frozen_held_count = sizeof frozen_held / sizeof frozen_held[0];",
            "const size_t frozen_module_count = sizeof frozen_modules / sizeof frozen_modules[0];",
            *more,
            "",
        ]
    )


def check_interpreter() -> None:
    """Raises FreezeError if the interpreter, whose library is linked, lacks one of EXTENSIONS.

    CPython's own build has some as shared objects only, and the linker would find no function of that name.
    """
    lacking = sorted(EXTENSIONS.keys() - OWN - set(sys.builtin_module_names))
    if lacking:
        raise FreezeError(
            f"{sys.executable} has no built-in {' and no built-in '.join(lacking)}, which the launcher needs: build "
            "CPython with it (Modules/Setup.local), or name another interpreter by LAUNCHER_PYTHON"
        )


def main() -> None:
    """Write the table to the file that the command line names."""
    parser = argparse.ArgumentParser(description="Freeze pyrunc's hot modules for the launcher.")
    parser.add_argument("output", type=Path)
    parser.add_argument("--root", type=Path, default=ROOT, help="the directory that holds the package")
    args = parser.parse_args()
    try:
        check_interpreter()
        modules = reach(root=args.root)
        text = table(modules, specialiser(modules, args.root))
    except FreezeError as error:
        raise SystemExit(f"freeze: {error}") from error
    args.output.write_text(text)


if __name__ == "__main__":
    main()
