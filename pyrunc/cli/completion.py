"""Completion of command lines for bash, zsh and fish, from the click commands.

A shell's script (`script`) calls the command without arguments and with `_PYRUNC_COMPLETE=SHELL_complete`. COMP_WORDS
has the command line so far, COMP_CWORD the index of the word at the cursor, or for fish that word itself. The answer
has one line for each candidate for bash and fish, three lines for zsh: its type (`plain`, or `file` and `dir`, which
the shell lists itself), its value, its description. `_PYRUNC_COMPLETE=SHELL_source` prints the script.

If anything fails, there are no candidates: no error may be printed into a command line that is being typed.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING

import click
from click.shell_completion import CompletionItem, split_arg_string

from .. import paths
from ..commands import settings
from .goflags import LOCAL
from .options import ID

if TYPE_CHECKING:
    Options = dict[str, click.Option]

VARIABLE = "_PYRUNC_COMPLETE"
SHELLS = ("bash", "zsh", "fish")

# The kind of value by the metavar of options and arguments.
_BY_METAVAR = {
    "DIR": "dir", "BUNDLE": "dir", "[BUNDLE]": "dir", "FILE": "file", "SOCKET": "file", "DEVICE": "file",
}  # fmt: skip
# The beginnings of values by the metavar of options.
_BEGINNINGS = {"MOUNT": ("type=bind,source=", "type=tmpfs,target=")}

# These commands take a new id.
_MAKERS = ("create", "run", "restore")


def answer(program: click.Group, instruction: str) -> str:
    """The output for a value of `_PYRUNC_COMPLETE`; "" for an unknown one."""
    shell, _, what = instruction.partition("_")
    if shell not in SHELLS:
        return ""
    if what == "source":
        return script(shell)
    if what != "complete":
        return ""
    try:
        words, incomplete = typed(shell, os.environ.get("COMP_WORDS", ""), os.environ.get("COMP_CWORD", ""))
        found = candidates(program, words, incomplete)
    except (click.ClickException, OSError, ValueError):
        return ""
    if shell == "bash":
        # Bash ends words at `=`.
        found = [CompletionItem(item.value.rpartition("=")[2], item.type, item.help) for item in found]
    return "".join([_line(shell, item) for item in found])


def _line(shell: str, item: CompletionItem[str]) -> str:
    help = " ".join((item.help or "").split())
    if shell == "bash":
        return f"{item.type},{item.value}\n"
    if shell == "zsh":
        return f"{item.type}\n{item.value}\n{help or '_'}\n"
    return f"{item.type},{item.value}\t{help}\n" if help else f"{item.type},{item.value}\n"


def typed(shell: str, text: str, cursor: str) -> tuple[list[str], str]:
    """The complete words after the program's name, and the beginning of the word to complete.

    text, cursor: COMP_WORDS and COMP_CWORD. Bash ends words at `=`: they are joined again. Raises ValueError if
        `cursor` is no number.
    """
    words = split_arg_string(text)
    if shell == "fish":
        return words[1:], (split_arg_string(cursor) or [""])[0]
    at = int(cursor)
    words = words[1:at] + (words[at : at + 1] or [""])
    if shell == "bash":
        words = _joined(words)
    return words[:-1], words[-1]


def _joined(words: list[str]) -> list[str]:
    """The words with `--name`, `=`, `value` joined."""
    result: list[str] = []
    for word in words:
        if word == "=" and result and result[-1].startswith("-"):
            result[-1] += "="
        elif result and result[-1].startswith("-") and result[-1].endswith("="):
            result[-1] += word
        else:
            result.append(word)
    return result


def candidates(program: click.Group, words: list[str], incomplete: str) -> list[CompletionItem[str]]:
    """The candidates at the cursor.

    words: the complete words before it, without the program's name. incomplete: the beginning of the word. Raises
    click.ClickException for an invalid command line.
    """
    root = click.Context(program, info_name="pyrunc", **program.context_settings)
    shared = _options(program, root)
    values: dict[str, str] = {}
    given, waiting, ended = _scan(words, shared, values, 1)
    if not given or waiting:
        commands = [_item(name, program.commands[name].get_short_help_str(80)) for name in program.list_commands(root)]
        found = _for_word(root, shared, waiting, incomplete, ended) or (
            [] if waiting or "=" in incomplete else _matching(commands, incomplete)
        )
        return found
    command = program.get_command(root, given[0])
    if command is None:
        return []
    context = click.Context(command, info_name=command.name, parent=root)
    own = _options(command, context)
    options = {**{name: option for name, option in shared.items() if option.name not in LOCAL}, **own}
    stop_after = getattr(command, "stop_after", 0)
    arguments, waiting, ended = _scan(words[len(words) - len(given) + 1 :], options, values, stop_after)
    # The program's options are accepted here too, but a lone dash does not list them.
    found = _for_word(context, own if incomplete in ("-", "--") else options, waiting, incomplete, ended)
    if found or waiting or (incomplete.startswith("-") and not ended):
        return found
    return _argument(context, arguments, incomplete, values)


def _scan(
    words: list[str], options: Options, values: dict[str, str], stop_after: int
) -> tuple[list[str], click.Option | None, bool]:
    """The arguments among the words, the option that still needs its value, and whether options have ended. After
    `stop` arguments all words are arguments. Values of options go into `values`."""
    arguments: list[str] = []
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if word == "--":
            return arguments + rest, None, True
        if len(word) < 2 or word[0] != "-":
            arguments.append(word)
            if len(arguments) == stop_after:
                return arguments + rest, None, True
            continue
        name, equals, value = word.lstrip("-").partition("=")
        option = options.get(name)
        if option is None or option.is_flag:
            continue
        if not equals:
            if not rest:
                return arguments, option, False
            value = rest.pop(0)
        values[option.name or ""] = value
    return arguments, None, False


def _for_word(
    context: click.Context, options: Options, waiting: click.Option | None, incomplete: str, ended: bool
) -> list[CompletionItem[str]]:
    """Candidates for an option's value, or its name."""
    if waiting is not None:
        return _values(context, waiting, incomplete)
    if ended or not incomplete.startswith("-"):
        return []
    name, equals, value = incomplete.partition("=")
    if equals:
        option = options.get(name.lstrip("-"))
        if option is None or option.is_flag:
            return []
        found = _values(context, option, value)
        return [CompletionItem(f"{name}={item.value}", item.type, item.help) for item in found]
    return _matching(_spellings(options, incomplete), incomplete)


def _spellings(options: Options, incomplete: str) -> Iterable[CompletionItem[str]]:
    """The name of each option; with one dash if only one was typed, as in Go's flag package."""
    single = len(incomplete) > 1 and not incomplete.startswith("--")
    for name, option in sorted(options.items()):
        if not option.hidden:
            yield _item(("-" if single or len(name) == 1 else "--") + name, option.help or "")


def _values(context: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem[str]]:
    """Candidates for the value of an option or argument: its choices, or files and directories, which the shell
    lists."""
    found = param.shell_complete(context, incomplete)
    if found:
        return found
    beginnings = _BEGINNINGS.get(param.metavar or "")
    if beginnings:
        return _matching([_item(text) for text in beginnings], incomplete)
    kind = _BY_METAVAR.get(param.metavar or "")
    return [CompletionItem(incomplete, kind)] if kind else []


def _argument(
    context: click.Context, arguments: list[str], incomplete: str, values: dict[str, str]
) -> list[CompletionItem[str]]:
    """Candidates for the argument at the cursor."""
    params = [param for param in context.command.get_params(context) if isinstance(param, click.Argument)]
    if not params:
        return []
    param = params[min(len(arguments), len(params) - 1)]
    if len(arguments) >= len(params) and param.nargs != -1:
        return []
    if (param.metavar or "").startswith(ID):
        if context.command.name in _MAKERS:
            return []
        return _matching([_item(id) for id in ids(values.get("root")) if id not in arguments], incomplete)
    return _values(context, param, incomplete)


def ids(root: str | None) -> list[str]:
    """The ids of the containers under a root, None for the usual one. [] if it can't be read. It is not made."""
    try:
        names = os.listdir(paths.absolute(root) if root else settings.usual_root())
    except OSError:
        return []
    return sorted([name for name in names if name[0] not in ":."])


def _options(command: click.Command, context: click.Context) -> Options:
    found = {}
    for param in command.get_params(context):
        if isinstance(param, click.Option):
            found.update({spelling.lstrip("-"): param for spelling in param.opts})
    return found


def _item(value: str, help: str = "") -> CompletionItem[str]:
    return CompletionItem(value, help=help)


def _matching(items: Iterable[CompletionItem[str]], incomplete: str) -> list[CompletionItem[str]]:
    return [item for item in items if item.value.startswith(incomplete)]


_BASH = r"""# bash completion for pyrunc
_pyrunc() {
    local IFS=$'\n' response type value word
    word=${2-${COMP_WORDS[COMP_CWORD]}}
    [[ $word == "=" ]] && word=
    COMPREPLY=()
    response=$(COMP_WORDS="${COMP_WORDS[*]}" COMP_CWORD=$COMP_CWORD _PYRUNC_COMPLETE=bash_complete \
        "${1:-pyrunc}" 2>/dev/null </dev/null) || return 0
    while IFS=, read -r type value; do
        case $type in
            dir) COMPREPLY+=($(compgen -d -- "$word")); compopt -o filenames 2>/dev/null ;;
            file) COMPREPLY+=($(compgen -f -- "$word")); compopt -o filenames 2>/dev/null ;;
            plain) COMPREPLY+=("$value") ;;
        esac
    done <<< "$response"
    return 0
}
complete -F _pyrunc pyrunc
"""

_ZSH = r"""#compdef pyrunc
_pyrunc() {
    local -a response described plain
    local type value help
    response=("${(@f)$(COMP_WORDS="${(pj:\n:)words[1,CURRENT]}" COMP_CWORD=$((CURRENT - 1)) \
        _PYRUNC_COMPLETE=zsh_complete ${~words[1]} 2>/dev/null </dev/null)}")
    for type value help in "${response[@]}"; do
        case $type in
            dir) [[ $PREFIX == -*=* ]] && compset -P '*='; _path_files -/ ;;
            file) [[ $PREFIX == -*=* ]] && compset -P '*='; _path_files ;;
            plain) [[ $help == _ ]] && plain+=("$value") || described+=("${value//:/\\:}:$help") ;;
        esac
    done
    (( $#described )) && _describe -V pyrunc described
    (( $#plain )) && compadd -a plain
    return 0
}
if [[ $zsh_eval_context[-1] == loadautofunc ]]; then
    _pyrunc "$@"
else
    compdef _pyrunc pyrunc
fi
"""

_FISH = r"""# fish completion for pyrunc
function __pyrunc_complete
    set -l words (commandline -opc)
    set -l word (commandline -ct)
    for line in (env COMP_WORDS=(string join \n -- $words | string collect) COMP_CWORD="$word" \
            _PYRUNC_COMPLETE=fish_complete $words[1] 2>/dev/null </dev/null)
        set -l parts (string split -m 1 , -- $line)
        set -l name (string match -r '^-[^=]*=' -- $parts[2])
        set -l path (string replace -r '^-[^=]*=' '' -- $parts[2])
        switch $parts[1]
            case dir
                printf '%s\n' "$name"(__fish_complete_directories "$path" '')
            case file
                printf '%s\n' "$name"(__fish_complete_path "$path" '')
            case plain
                printf '%s\n' $parts[2]
        end
    end
end
complete --no-files --command pyrunc --arguments '(__pyrunc_complete)'
"""


def script(shell: str) -> str:
    """The script that makes a shell (one of SHELLS) complete the command."""
    return {"bash": _BASH, "zsh": _ZSH, "fish": _FISH}[shell]
