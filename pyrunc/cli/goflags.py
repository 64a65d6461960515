"""Go's flag syntax for click: words are rewritten so that click sees each option once, as `--name=value`.

See pyrunc/cli/fast_argv.py for the rules. The errors are worded as runc's users know them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import click

from ..commands.settings import parse_bool

# Options of the program that have no meaning behind a command.
LOCAL = ("version", "help")

# Under this name click's context has the flags that were put off, for which click has no spelling.
_OFF = "pyrunc.off"

# The program's options, the command, and the command's own options and arguments.
Read = tuple[dict[str, Any], str, dict[str, Any]]


def choices(*words: str) -> Callable[[click.Context, click.Parameter, str], list[str]]:
    """For `shell_complete`: the words that a value may be, of which those are offered that begin as the value does."""

    def matching(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
        return [word for word in words if word.startswith(incomplete)]

    return matching


class GoNumber(click.ParamType[int]):
    """A number as Go's flag package reads it: decimal, 0x, 0o, 0b, a leading 0 for octal, `_` between digits."""

    name = "value"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """The number; raises click.UsageError in Go's words."""
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
    """An option that the hot reader does not know: words that have it are left to click, and so to the ordinary build,
    before anything has been done."""


class GoCommand(click.Command):
    """A command whose words follow Go's flag syntax.

    stop_after: how many arguments end the options; 0 for any number.
    """

    def __init__(self, name: str, params: list[click.Parameter], help: str, stop_after: int = 0) -> None:
        super().__init__(name, params=params, help=help, callback=hand_over)
        self.stop_after = stop_after

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Rewrite the words and count the arguments; click does the rest. Raises click.UsageError."""
        options, values = rewrite(ctx, args, self.stop_after)
        if "--help" not in options:
            check_count(ctx, len(values))
        return super().parse_args(ctx, [*options, "--", *values])


class GoGroup(click.Group):
    """The program: its options end at the command's name. Without a command it prints its help."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Rewrite the words up to the command; click does the rest. Raises click.UsageError."""
        options, rest = rewrite(ctx, args, 1)
        if not rest and "--version" not in options:
            options.append("--help")
        return super().parse_args(ctx, [*options, "--", *rest])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of a name; `h` is `help`, as with runc."""
        return super().get_command(ctx, "help" if cmd_name == "h" else cmd_name)


@click.pass_context
def hand_over(ctx: click.Context, /, **params: Any) -> Read:
    """The callback of every command: what was read, as pyrunc.cli.fast_argv.parse returns it."""
    options = {name: value for name, value in ctx.find_root().params.items() if name not in LOCAL}
    return options, str(ctx.command.name), {**params, **dict.fromkeys(params.keys() & ctx.meta[_OFF], False)}


def rewrite(ctx: click.Context, words: Sequence[str], stop_after: int) -> tuple[list[str], list[str]]:
    """Part the words into options in click's spelling, each once, and arguments.

    Options of the program are taken behind a command too and go to the program's own context.
    Raises click.UsageError for an option that is unknown or lacks its value.
    """
    own, shared = _options(ctx, ctx.command), {}
    if ctx.parent is not None:
        program = ctx.find_root()
        shared = {name: option for name, option in _options(program, program.command).items() if name not in LOCAL}
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
    """A command's options by each of their names, without dashes."""
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
    """The option that a word means and its value, which may be the next word: that is taken off `rest`."""
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
    return option, value


def _spell(name: str, value: str | bool) -> str:
    return name if value is True else f"{name}={value}"


def check_count(ctx: click.Context, count: int) -> None:
    """Raise click.UsageError in runc's words where a command has too few or too many arguments."""
    arguments = [param for param in ctx.command.get_params(ctx) if isinstance(param, click.Argument)]
    min_args = sum(argument.required for argument in arguments)
    most = None if any(argument.nargs == -1 for argument in arguments) else len(arguments)
    if count < min_args or (most is not None and count > most):
        wanted = f"a minimum of {min_args}" if count < min_args else f"a maximum of {most}"
        if min_args == most:
            wanted = f"exactly {min_args}"
        program = ctx.find_root().info_name
        raise click.UsageError(f'{program}: "{ctx.command.name}" requires {wanted} argument(s)', ctx)
