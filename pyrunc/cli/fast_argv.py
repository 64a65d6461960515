"""The hot reader of the command line: what engines send a thousand times a minute, parsed without click.

The table in pyrunc/_generated/argv.py is made from the click commands at build time (generate/argv.py). What this
reader does not know (help, cold commands, mistakes) it leaves to click, which reads everything: it never reports an
error itself. Both readers follow Go's flag syntax, as runc's users write it:

- `-name` and `--name` are the same, for long and short names alike; a value is the next word or follows `=`
- of an option that stands several times the last one counts, or all of them where it takes a list
- a bool takes a value only after `=`
- `--` ends the options; a lone `-` is an argument
- options may stand behind arguments, except in commands that pass words on (kill)
"""

from __future__ import annotations

from .._generated.argv import COMMANDS, GLOBAL_DEFAULTS, GLOBAL_FLAGS, SHARED_FLAGS
from ..commands.settings import parse_bool

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Params = dict[str, Any]
    Readers = tuple[tuple[dict[str, tuple[str, int]], Params], ...]

# How a flag takes its value; the table's second column.
BOOL, TEXT, NUMBER, TEXTS, NUMBERS = 0, 1, 2, 3, 4


class _Unknown(Exception):
    """Something for click: the words are left to it."""


def parse(words: list[str]) -> tuple[Params, str, Params] | None:
    """Read the words after the program's name: global options, the command, its own options and arguments.

    The command is "version" where `--version` stands before it. Returns None for what click has to read.
    """
    options: Params = dict(GLOBAL_DEFAULTS)
    try:
        rest = _scan(words, ((GLOBAL_FLAGS, options),), 1)
        if options.pop("version"):
            return options, "version", {}
        if not rest or rest[0] not in COMMANDS:
            return None
        flags, defaults, arguments, least, stop = COMMANDS[rest[0]]
        params: Params = dict(defaults)
        values = _scan(rest[1:], ((flags, params), (SHARED_FLAGS, options)), stop)
        _place(values, arguments, least, params)
    except _Unknown:
        return None
    return options, rest[0], params


def _scan(words: list[str], readers: Readers, stop: int) -> list[str]:
    """Take the options out of the words and put them where their reader wants them; returns the arguments.

    stop: how many arguments end the options; 0 for any number.
    """
    arguments: list[str] = []
    at = 0
    while at < len(words):
        word = words[at]
        at += 1
        if word == "--":
            return arguments + words[at:]
        if len(word) < 2 or word[0] != "-":
            arguments.append(word)
            if len(arguments) == stop:
                return arguments + words[at:]
            continue
        name, equals, value = word[2 if word[1] == "-" else 1 :].partition("=")
        takers = [reader for reader in readers if name in reader[0]]
        if not takers:
            raise _Unknown
        flags, params = takers[0]
        param, kind = flags[name]
        if kind == BOOL:
            params[param] = _bool(value) if equals else True
            continue
        if not equals:
            if at == len(words):
                raise _Unknown
            value = words[at]
            at += 1
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
    """Plain decimal; the other ways in which Go reads a number are left to click."""
    if not text.isascii() or not text.isdigit() or (text[0] == "0" and text != "0") or len(text) > 9:
        raise _Unknown
    return int(text)


def _place(values: list[str], arguments: tuple[tuple[str, bool], ...], least: int, params: Params) -> None:
    """Name the arguments: each has one value, a last one that is marked so takes all that are left."""
    for name, many in arguments:
        if many:
            params[name] = tuple(values)
            least, values = least - len(values), []
        elif values:
            params[name] = values[0]
            least, values = least - 1, values[1:]
    if least > 0 or values:
        raise _Unknown
