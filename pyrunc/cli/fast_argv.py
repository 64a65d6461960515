"""The fast reader of the command line: it parses the commands that engines call all the time, without click.

generate/argv.py makes its table, pyrunc/_generated/argv.py, from the click commands at build time. The reader leaves
help, cold commands and mistakes to click, which reads every command line. It never reports an error itself. Both
readers follow Go's flag syntax, as runc's users write it:

- `-name` and `--name` are the same, for long and short names; a value is the next argument or follows `=`
- if an option is given several times, the last one counts, or all of them if it takes a list
- a bool takes a value only after `=`
- `--` ends the options; a lone `-` is an argument
- options may follow arguments, except in commands that pass arguments on (kill)
"""

from __future__ import annotations

from .._generated.argv import COMMANDS, GLOBAL_DEFAULTS, GLOBAL_FLAGS, SHARED_FLAGS
from ..commands.settings import NEVER_EMPTY, parse_bool

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Params = dict[str, Any]
    Readers = tuple[tuple[dict[str, tuple[str, int]], Params], ...]

# The kinds of options: the second column of the table.
BOOL, TEXT, NUMBER, TEXTS, NUMBERS = 0, 1, 2, 3, 4


class _Unknown(Exception):
    """This reader does not know an argument: click has to read the command line."""


def parse(args: list[str]) -> tuple[Params, str, Params] | None:
    """Read the arguments after the program's name. Returns the global options, the command and its parameters.

    `--version` before the command makes the command "version". Returns None if click has to read the arguments.
    """
    options: Params = dict(GLOBAL_DEFAULTS)
    try:
        rest = _scan(args, ((GLOBAL_FLAGS, options),), 1)
        if options.pop("version"):
            return options, "version", {}
        if not rest or rest[0] not in COMMANDS:
            return None
        flags, defaults, arguments, min_args, stop_after = COMMANDS[rest[0]]
        params: Params = dict(defaults)
        values = _scan(rest[1:], ((flags, params), (SHARED_FLAGS, options)), stop_after)
        _place(values, arguments, min_args, params)
    except _Unknown:
        return None
    return options, rest[0], params


def _scan(args: list[str], readers: Readers, stop_after: int) -> list[str]:
    """Store each option in the parameters of the first reader that knows it. Returns the positional arguments.

    stop_after: options end after this many positional arguments; 0 for no such limit.
    """
    arguments: list[str] = []
    at = 0
    while at < len(args):
        arg = args[at]
        at += 1
        if arg == "--":
            return arguments + args[at:]
        if len(arg) < 2 or arg[0] != "-":
            arguments.append(arg)
            if len(arguments) == stop_after:
                return arguments + args[at:]
            continue
        name, equals, value = arg[2 if arg[1] == "-" else 1 :].partition("=")
        matches = [reader for reader in readers if name in reader[0]]
        if not matches:
            raise _Unknown
        flags, params = matches[0]
        param, kind = flags[name]
        if kind == BOOL:
            params[param] = _bool(value) if equals else True
            continue
        if not equals:
            if at == len(args):
                raise _Unknown
            value = args[at]
            at += 1
        if not value and param in NEVER_EMPTY:
            raise _Unknown
        if kind in (TEXTS, NUMBERS):
            params[param] += (_number(value) if kind == NUMBERS else value,)
        else:
            params[param] = _number(value) if kind == NUMBER else value
    return arguments


def _bool(text: str) -> bool:
    value = parse_bool(text)
    if value is None:
        raise _Unknown
    return value


def _number(text: str) -> int:
    """Read a plain decimal number. Click reads the other forms that Go accepts."""
    if not text.isascii() or not text.isdigit() or (text[0] == "0" and text != "0") or len(text) > 9:
        raise _Unknown
    return int(text)


def _place(values: list[str], arguments: tuple[tuple[str, bool], ...], min_args: int, params: Params) -> None:
    """Store each value under the name of its argument. A last argument marked `many` takes all that are left."""
    for name, many in arguments:
        if many:
            params[name] = tuple(values)
            min_args, values = min_args - len(values), []
        elif values:
            params[name] = values[0]
            min_args, values = min_args - 1, values[1:]
    if min_args > 0 or values:
        raise _Unknown
