"""Mistakes on the command line: one line with the error and the right form, also for options of engines."""

from __future__ import annotations

import difflib
from typing import Any

import click

from .. import log
from ..commands.settings import parse_bool
from ..errors import PyruncError

# runc's exit codes for an unknown command, and for other mistakes.
UNKNOWN_COMMAND = 3
WRONG = 1

# Commands of engines and similar names, with the commands of pyrunc that do the same.
_MEANT = {
    "attach": ("run", "exec"), "check": ("validate",), "container": ("list",), "destroy": ("delete",),
    "info": ("features",), "init": ("spec",), "inspect": ("state",), "lint": ("validate",), "ls": ("list",),
    "new": ("spec", "create"), "remove": ("delete",), "restart": ("kill", "start"),
    "rm": ("delete",), "signal": ("kill",), "status": ("state",), "stop": ("kill", "delete"), "top": ("ps",),
    "trace": ("plan",), "unpause": ("resume",),
}  # fmt: skip
_IMAGES = frozenset(("build", "commit", "images", "image", "import", "load", "pull", "push", "rmi", "save", "tag"))
_OF_ENGINES = {
    "logs": "a runtime keeps no logs: the output of the process is that of create or run",
    "version": "--version prints it",
    "network": "networks are an engine's matter; linux.namespaces and linux.netDevices are in config.json",
    "volume": "volumes are an engine's matter; mounts are in config.json",
    "compose": "services are an engine's matter; a runtime starts one container of a bundle",
    "cp": "copy to and from the bundle's root file system",
}

_TERMINAL = "process.terminal in config.json gives the container a terminal"
_LIMITS = "linux.resources in config.json has the limits"
_MOUNTS = "mounts in config.json has what is mounted"

# Options of engines by command, with what to do in pyrunc.
_LAUNCH = {
    **dict.fromkeys(("it", "ti", "i", "t", "interactive", "tty"), _TERMINAL),
    **dict.fromkeys(("v", "volume", "mount", "tmpfs"), _MOUNTS),
    **dict.fromkeys(("e", "env", "env-file"), "process.env in config.json has the environment"),
    **dict.fromkeys(("w", "workdir", "cwd"), "process.cwd in config.json is the working directory"),
    **dict.fromkeys(("u", "user"), "process.user in config.json has the ids"),
    **dict.fromkeys(("m", "memory", "cpus", "cpu-shares", "pids-limit"), _LIMITS),
    **dict.fromkeys(("cap-add", "cap-drop", "privileged"), "process.capabilities in config.json has them"),
    **dict.fromkeys(("h", "hostname"), "hostname in config.json names the container's host"),
    **dict.fromkeys(("p", "publish", "P"), "ports are an engine's matter: a runtime makes the network namespace only"),
    "device": "linux.devices in config.json has the devices",
    "entrypoint": "process.args in config.json is the program with its arguments",
    "net": "linux.namespaces in config.json says which network the container is in",
    "name": "the container's name is the argument behind the options",
    "read-only": "root.readonly in config.json makes the root file system read-only",
    "rootfs": "root.path in config.json is the root file system",
    "security-opt": "process.apparmorProfile, process.selinuxLabel and linux.seccomp are in config.json",
    "ulimit": "process.rlimits in config.json has the limits",
}  # fmt: skip
_FLAGS = {
    "run": {**_LAUNCH, "rm": "run deletes the container when its process has ended, unless --keep is given"},
    "create": {**_LAUNCH, "rm": "delete removes the container; run does so by itself", "d": "create is detached"},
    "exec": {
        **dict.fromkeys(("it", "ti", "i", "interactive"), "--tty gives it a terminal; stdin is passed on by itself"),
        **dict.fromkeys(("w", "workdir"), "--cwd is the working directory"),
        **dict.fromkeys(("privileged",), "--cap adds a capability"),
    },
    "kill": dict.fromkeys(("s", "signal"), "the signal stands behind the id: kill ID TERM"),
    "delete": dict.fromkeys(("a", "all"), "delete takes ids, which list --quiet prints"),
    "list": {
        **dict.fromkeys(("a", "all"), "list shows the stopped ones too"),
        **dict.fromkeys(("filter", "no-trunc"), "list --format json has everything"),
    },
    "start": dict.fromkeys(("a", "attach", "i", "interactive"), "run starts a container in the foreground"),
}
_ARGUMENTS = {
    "run": "run takes the id that the container is to have: its files and program are in the bundle "
    "(root.path and process.args of config.json)",
    "create": "create takes the id that the container is to have: its files and program are in the bundle "
    "(root.path and process.args of config.json)",
    "start": "it takes the id of one container, which list shows",
    "state": "it takes the id of one container, which list shows",
    "kill": "it takes the id of one container, which list shows, and a signal",
    "delete": "it takes the ids of containers, which list shows",
    "exec": "it takes the id of a container, which list shows, and the program with its arguments",
    "list": "it takes no ids: state shows one container",
}


class Mistake(PyruncError):
    """An invalid command line; its error is `message; hint`."""

    __slots__ = ()

    def line(self) -> str:
        """The mistake in one line."""
        return f"{self.message}; {self.hint}" if self.hint else self.message


def mistake(name: str, program: click.Group, words: list[str], error: click.UsageError) -> Mistake:
    """The mistake in a command line (without the program's name) that click has refused."""
    if isinstance(error, click.NoSuchCommand):
        return unknown_command(name, str(error.command_name), list(program.commands))
    context = error.ctx
    command = context.command.name if context is not None and context.parent is not None else ""
    help = f"see {name} {command} --help" if command else f"see {name} --help"
    message = error.format_message()
    hint = ""
    if message.endswith("argument(s)"):
        hint = _ARGUMENTS.get(command or "", "")
    elif message.startswith("flag provided but not defined: -"):
        hint = _flag(message.partition(": -")[2], command or "", context)
    return Mistake(message, hint=f"{hint}; {help}" if hint else help, exit_code=WRONG)


def unknown_command(name: str, word: str, commands: list[str]) -> Mistake:
    """The mistake of an unknown command, with the command that was probably meant."""
    near = [command for command in (word.casefold(), *_MEANT.get(word, ())) if command in commands]
    near = near or difflib.get_close_matches(word.casefold(), commands, 2, 0.68)
    if word in _OF_ENGINES:
        hint = _OF_ENGINES[word]
    elif word in _IMAGES:
        hint = f"images are an engine's matter: {name} runs bundles, {name} spec makes a config.json for one"
    elif near:
        hint = f"did you mean {' or '.join(near)}?"
    else:
        hint = f"see {name} --help"
    return Mistake(f'unknown command "{word}"', hint=hint, exit_code=UNKNOWN_COMMAND)


def _flag(flag: str, command: str, context: click.Context | None) -> str:
    """The hint for an unknown option."""
    known = _FLAGS.get(command, {})
    if flag in known:
        return known[flag]
    if command == "kill" and (flag.isdigit() or flag.removeprefix("SIG").isupper()):
        return f"the signal stands behind the id: kill ID {flag}"
    if context is None:
        return ""
    names = [
        spelling.lstrip("-")
        for param in context.command.get_params(context)
        if isinstance(param, click.Option)
        for spelling in param.opts
    ]
    if len(flag) > 1 and all(letter in names for letter in flag):
        return "flags of one letter stand alone: " + " ".join(["-" + letter for letter in flag])
    near = difflib.get_close_matches(flag, [name for name in names if len(name) > 1], 1, 0.7)
    return f"did you mean --{near[0]}?" if near else ""


def configure_log(program: click.Group, words: list[str], error: click.UsageError) -> None:
    """Set up the log by the valid options before the mistake. Raises OSError if it can't be written."""
    context = error.ctx
    root = context.find_root() if context is not None else None
    found = dict(root.params) if root is not None and "log" in root.params else _before_command(program, words)
    log_format = found.get("log_format") or "text"
    level = "debug" if found.get("debug") else found.get("log_level") or "info"
    log.configure(str(found.get("log") or ""), log_format, level if level in log.LEVELS else "info")


def _before_command(program: click.Group, words: list[str]) -> dict[str, Any]:
    """The program's options before the command; unknown ones are ignored."""
    options = {
        spelling.lstrip("-"): param
        for param in program.params
        if isinstance(param, click.Option)
        for spelling in param.opts
    }
    found: dict[str, Any] = {}
    rest = list(words)
    while rest and rest[0][:1] == "-" and rest[0] not in ("-", "--"):
        name, equals, value = rest.pop(0).lstrip("-").partition("=")
        option = options.get(name)
        if option is None or option.name is None:
            continue
        if option.is_flag:
            found[option.name] = not equals or bool(parse_bool(value))
        elif equals or rest:
            found[option.name] = value if equals else rest.pop(0)
    return found
