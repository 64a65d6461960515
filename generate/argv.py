"""Make pyrunc/_generated/argv.py, the table of the fast argv reader, from the click commands; and build.py beside it.

Run at build time: `python generate/argv.py`. build.py holds the version (from pyproject.toml), the commit, and a digest
of what makes seccomp filters.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import click

ROOT = Path(__file__).resolve().parent.parent
GENERATED = ROOT / "pyrunc" / "_generated"

# The commands that the fast argv reader reads: those whose start-up time counts.
HOT = ("create", "start", "state", "kill", "delete", "run", "exec", "list", "ps", "pause", "resume", "update", "events")

BOOL, TEXT, NUMBER, TEXTS, NUMBERS = range(5)


def flags(command: click.Command) -> dict[str, tuple[str, int]]:
    """A command's hot options, by each of their names without dashes: (parameter, how the option takes its value)."""
    from pyrunc.cli.goflags import ColdOption, GoNumber

    table = {}
    for param in command.params:
        if isinstance(param, click.Option) and not isinstance(param, ColdOption):
            kind = BOOL if param.is_flag else NUMBER if isinstance(param.type, GoNumber) else TEXT
            if param.multiple:
                kind = NUMBERS if kind == NUMBER else TEXTS
            for spelling in param.opts:
                table[spelling.lstrip("-")] = (str(param.name), kind)
    return table


def defaults(command: click.Command) -> dict[str, Any]:
    """The value that click gives to each optional parameter that is not on the command line."""
    context = click.Context(command)
    return {
        str(param.name): param.get_default(context)
        for param in command.params
        if isinstance(param, click.Option) or not (param.required or param.nargs == -1)
    }


def arguments(command: click.Command) -> tuple[tuple[str, bool], ...]:
    """A command's arguments in order: (parameter, whether it takes all arguments that are left)."""
    return tuple((str(param.name), param.nargs == -1) for param in command.params if isinstance(param, click.Argument))


def table() -> str:
    """The text of pyrunc/_generated/argv.py."""
    from pyrunc.cli.goflags import LOCAL, GoCommand
    from pyrunc.cli.program import GROUPS, program

    rows = []
    for name in HOT:
        command = program.commands[name]
        assert isinstance(command, GoCommand)
        min_args = sum(param.required for param in command.params if isinstance(param, click.Argument))
        row = (flags(command), defaults(command), arguments(command), min_args, command.stop_after)
        rows.append(f"    {name!r}: {row!r},\n")
    own = flags(program)
    modules = {str(command.name): group.__name__.rpartition(".")[2] for group in GROUPS for command in group.COMMANDS}
    shared = {name: entry for name, entry in own.items() if entry[0] not in LOCAL}
    return (
        '"""Made by generate/argv.py from the click commands: do not edit."""\n\n'
        "from __future__ import annotations\n\n"
        "TYPE_CHECKING = False\n"
        "if TYPE_CHECKING:\n"
        "    Flags = dict[str, tuple[str, int]]\n"
        "    Defaults = dict[str, bool | int | str | tuple[()] | None]\n\n"
        "# option: (parameter, how it takes its value)\n"
        f"GLOBAL_FLAGS: Flags = {own!r}\n"
        f"SHARED_FLAGS: Flags = {shared!r}\n"
        f"GLOBAL_DEFAULTS: Defaults = {defaults(program)!r}\n"
        "# command: (flags, defaults, arguments, how many are required, how many end the options)\n"
        "COMMANDS: dict[str, tuple[Flags, Defaults, tuple[tuple[str, bool], ...], int, int]] = {\n"
        + "".join(rows)
        + "}\n\n"
        "# Each command's module in pyrunc.commands; launcher/freeze.py reads it too.\n"
        f"MODULES: dict[str, str] = {modules!r}\n"
    )


def build_facts() -> str:
    """The text of pyrunc/_generated/build.py."""
    with (ROOT / "pyproject.toml").open("rb") as file:
        version = tomllib.load(file)["project"]["version"]
    facts = f"VERSION = {version!r}\nCOMMIT = {commit()!r}\nFILTERS = {filters()!r}\n"
    return f'"""Made by generate/argv.py: what this build is of."""\n\n{facts}'


def filters() -> str:
    """A digest of the modules that make a filter of a profile: filters in a cache are of one digest.

    The commit would not do: parts of a build that are made before and after a change elsewhere would have two of them.
    """
    digest = hashlib.sha256()
    for path in sorted((ROOT / "pyrunc/libcontainer/seccomp").glob("*.py")):
        digest.update(f"{path.name}\0".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def commit() -> str:
    """The tree's commit, with `-dirty` appended if tracked files differ from it; "unknown" outside git."""
    # Without .git here, git would answer for a repository that happens to contain the sources.
    if not (ROOT / ".git").exists():
        return "unknown"
    try:
        answer = subprocess.run(
            ["git", "-c", f"safe.directory={ROOT}", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return answer.stdout.strip()


def main() -> None:
    """Write both modules if their text has changed."""
    sys.path.insert(0, str(ROOT))
    GENERATED.mkdir(parents=True, exist_ok=True)
    for name, text in (("argv.py", table()), ("build.py", build_facts())):
        path = GENERATED / name
        if not path.exists() or path.read_text() != text:
            path.write_text(text)
    (GENERATED / "__init__.py").touch()


if __name__ == "__main__":
    main()
