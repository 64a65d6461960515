"""Go's flag syntax for click: the arguments are rewritten, so click sees each option once, as `--name=value`.

See pyrunc/cli/fast_argv.py for the rules. The errors have runc's wording.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import click

from ..commands.settings import NEVER_EMPTY, parse_bool

# Options of the program that have no effect after a command.
LOCAL = ("version", "help")

# The key in click's context for flags that were set to false, which click can't express.
_OFF = "pyrunc.off"

# The program's options, the command, and the command's own options and arguments.
Read = tuple[dict[str, Any], str, dict[str, Any]]


def choices(*words: str) -> Callable[[click.Context, click.Parameter, str], list[str]]:
    """For `shell_complete`: the possible values; completion offers those with the typed beginning."""

    def matching(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
        return [word for word in words if word.startswith(incomplete)]

    return matching


class GoNumber(click.ParamType[int]):
    """A number as Go's flag package reads it: decimal, 0x, 0o, 0b, a leading 0 for octal, `_` between digits."""

    name = "value"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Parse the number. Raises click.UsageError in Go's words."""
        text = str(value)
        digits = text.lstrip("+-")
        octal = digits[:1] == "0" and digits[1:2].isdigit()
        try:
            number = int(text, 8 if octal else 0)
        except ValueError:
            number = 2**63
        if not text.isascii() or text != text.strip() or not -(2**63) <= number < 2**63:
            name = param.opts[0].lstrip("-") if param else ""
            raise click.UsageError(f'invalid value "{text}" for flag -{name}: parse error', ctx)
        return number


class ColdOption(click.Option):
    """An option that the fast reader does not know: click reads such a command line, in the ordinary build."""


class GoCommand(click.Command):
    """A command with Go's flag syntax.

    stop_after: options end after this many arguments; 0 for no such limit.
    """

    def __init__(self, name: str, params: list[click.Parameter], help: str, stop_after: int = 0) -> None:
        super().__init__(name, params=params, help=help, callback=hand_over)
        self.stop_after = stop_after

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Rewrite the options and count the arguments. Click does the rest. Raises click.UsageError."""
        options, values = rewrite(ctx, args, self.stop_after)
        if "--help" not in options:
            check_count(ctx, len(values))
        return super().parse_args(ctx, [*options, "--", *values])


class GoGroup(click.Group):
    """The program: its options end at the command's name. Without a command it prints its help."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Rewrite the options before the command. Click does the rest. Raises click.UsageError."""
        options, rest = rewrite(ctx, args, 1)
        if not rest and "--version" not in options:
            options.append("--help")
        return super().parse_args(ctx, [*options, "--", *rest])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of a name; `h` is `help`, as with runc."""
        return super().get_command(ctx, "help" if cmd_name == "h" else cmd_name)


@click.pass_context
def hand_over(ctx: click.Context, /, **params: Any) -> Read:
    """The callback of every command: return the result in the form of pyrunc.cli.fast_argv.parse."""
    options = {name: value for name, value in ctx.find_root().params.items() if name not in LOCAL}
    return options, str(ctx.command.name), {**params, **dict.fromkeys(params.keys() & ctx.meta[_OFF], False)}


def rewrite(ctx: click.Context, words: Sequence[str], stop_after: int) -> tuple[list[str], list[str]]:
    """Split the command line into options in click's spelling, each once, and arguments.

    Options of the program are accepted after a command too, and go to the program's context.
    Raises click.UsageError for an option that is unknown or has no value.
    """
    own, shared = _options(ctx, ctx.command), {}
    if ctx.parent is not None:
        program = ctx.find_root()
        options = _options(program, program.command)
        shared = {name: option for name, option in options.items() if option.name not in LOCAL}
    found: dict[str, list[str | bool]] = {}
    off = ctx.meta.setdefault(_OFF, set())
    arguments: list[str] = []
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if word == "--":
            arguments += rest
            break
        if len(word) < 2 or word[0] != "-":
            arguments.append(word)
            if len(arguments) == stop_after:
                arguments += rest
                break
            continue
        option, value = _take(ctx, word, rest, own, shared)
        if option in own.values():
            found[option.opts[0]] = [*found.get(option.opts[0], ()), value] if option.multiple else [value]
            (off.add if value is False else off.discard)(option.name)
        elif option.name is not None:
            ctx.find_root().params[option.name] = value
    return [_spell(name, value) for name, values in found.items() for value in values if value is not False], arguments


def _options(ctx: click.Context, command: click.Command) -> dict[str, click.Option]:
    """A command's options by all of their names, without dashes."""
    found = {}
    for param in command.get_params(ctx):
        if isinstance(param, click.Option):
            for spelling in param.opts:
                found[spelling.lstrip("-")] = param
    return found


def _take(
    ctx: click.Context,
    word: str,
    rest: list[str],
    own: dict[str, click.Option],
    shared: dict[str, click.Option],
) -> tuple[click.Option, str | bool]:
    """The option of an argument, and its value. If that is the next argument, it is removed from `rest`."""
    body = word[2:] if word.startswith("--") else word[1:]
    name, equals, value = body.partition("=")
    if not name or name.startswith("-"):
        raise click.UsageError(f"bad flag syntax: {word}", ctx)
    option = own.get(name) or shared.get(name)
    if option is None:
        raise click.UsageError(f"flag provided but not defined: -{name}", ctx)
    if option.is_flag:
        truth = parse_bool(value) if equals else True
        if truth is None:
            raise click.UsageError(f'invalid boolean value "{value}" for -{name}: parse error', ctx)
        return option, truth
    if not equals:
        if not rest:
            raise click.UsageError(f"flag needs an argument: -{name}", ctx)
        value = rest.pop(0)
    if not value and option.name in NEVER_EMPTY:
        raise click.UsageError(f"flag -{name} has an empty value", ctx)
    return option, value


def _spell(name: str, value: str | bool) -> str:
    return name if value is True else f"{name}={value}"


def check_count(ctx: click.Context, count: int) -> None:
    """Raise click.UsageError in runc's words if a command has too few or too many arguments."""
    arguments = [param for param in ctx.command.get_params(ctx) if isinstance(param, click.Argument)]
    min_args = sum(argument.required for argument in arguments)
    most = None if any(argument.nargs == -1 for argument in arguments) else len(arguments)
    if count < min_args or (most is not None and count > most):
        wanted = f"a minimum of {min_args}" if count < min_args else f"a maximum of {most}"
        if min_args == most:
            wanted = f"exactly {min_args}"
        program = ctx.find_root().info_name
        raise click.UsageError(f'{program}: "{ctx.command.name}" requires {wanted} argument(s)', ctx)
