"""Write what an installation has in PREFIX/share, from the click commands: manual pages and shell completion.

    share/man/man8/pyrunc.8, pyrunc-COMMAND.8, containerd-shim-pyrunc-v2.8
    share/bash-completion/completions/pyrunc
    share/zsh/site-functions/_pyrunc            with --debian share/zsh/vendor-completions/_pyrunc
    share/fish/vendor_completions.d/pyrunc.fish

Usage: share.py [--debian] --modules DIRECTORY --version VERSION TOP      TOP is the directory of PREFIX
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import click

FILES = """\
.SH FILES
.TP
.I /run/pyrunc
The containers' state; for other users than root it is
.IR $XDG_RUNTIME_DIR/pyrunc .
.SH EXIT STATUS
0, or 1 where the command failed. In the foreground
.B run
and
.B exec
exit as the process did, with 128 + n after signal n;
.B exec
exits with 255 where it could not start the process.
"""


SHIM = "containerd-shim-pyrunc-v2"
SHIM_PAGE = """\
.SH SYNOPSIS
\\fBcontainerd\\-shim\\-pyrunc\\-v2\\fR [\\fIFLAGS\\fR] [\\fBstart\\fR | \\fBdelete\\fR]
.SH DESCRIPTION
containerd runs this program for each pod, and each container outside of pods, whose runtime has the type
.BR io.containerd.pyrunc.v2 .
It is the launcher
.BR pyrunc (8)
by another name. docs/shim.md has the configuration of containerd. People need only
.BR \\-version .
.SH OPTIONS
.TP
\\fB\\-version\\fR
print the version
.TP
\\fB\\-info\\fR
read the runtime's options as a protobuf from standard input, and print what containerd asks of a runtime
.SH FILES
.TP
.I /run/containerd/s
The sockets of the servers.
.TP
.I /run/containerd/runc/NAMESPACE
The containers' state, unless the option Root of the runtime names another directory.
.SH SEE ALSO
.BR pyrunc (8),
.BR containerd (8)
"""


def escaped(text: str) -> str:
    """Text for roff: roff takes no character of it as a command, and a word in backquotes is bold."""
    text = " ".join(text.split()).replace("\\", "\\e").replace("-", "\\-")
    text = "".join([char if char.isascii() else f"\\[u{ord(char):04X}]" for char in text])  # groff reads Latin-1
    text = re.sub(r"`([^`]*)`", r"\\fB\1\\fR", text)
    return "\\&" + text if text[:1] in (".", "'") else text


def paragraphs(text: str) -> str:
    """Split a help text into paragraphs."""
    return ".PP\n".join([escaped(part) + "\n" for part in re.split(r"\n\s*\n", text.strip())])


def header(name: str, version: str, summary: str) -> str:
    """The head of a page, and the section by which whatis(1) finds it."""
    return (
        f'.TH {name.upper()} 8 "" "pyrunc {version}" "System Administration"\n'
        f".SH NAME\n{name.replace('-', chr(92) + '-')} \\- {escaped(summary).rstrip('.')}\n"
    )


def options(params: list[click.Parameter]) -> str:
    """The options that help shows, each with its description."""
    import click

    lines = []
    for param in params:
        if not isinstance(param, click.Option) or param.hidden:
            continue
        names = ", ".join([f"\\fB{escaped(name)}\\fR" for name in param.opts])
        value = "" if param.is_flag or param.is_eager else f" \\fI{escaped(param.metavar or '')}\\fR"
        lines.append(f".TP\n{names}{value}\n{escaped(param.help or '')}\n")
    return "".join(lines)


def command_page(command: click.Command, version: str) -> str:
    """The page of one command."""
    name = f"pyrunc-{command.name}"
    first, _, rest = (command.help or "").strip().partition("\n\n")
    words = [param.metavar or "" for param in command.params if param.param_type_name == "argument"]
    shown = options(command.params)
    return (
        header(name, version, first)
        + f".SH SYNOPSIS\n\\fBpyrunc\\fR [\\fIGLOBAL\\-OPTIONS\\fR] \\fB{escaped(str(command.name))}\\fR"
        + (" [\\fIOPTIONS\\fR]" if shown else "")
        + "".join([f" {escaped(word)}" for word in words])
        + "\n.SH DESCRIPTION\n"
        + paragraphs(f"{first}\n\n{rest}" if rest else first)
        + (".SH OPTIONS\n" + shown if shown else "")
        + ".SH SEE ALSO\n.BR pyrunc (8)\n"
    )


def program_page(program: click.Group, version: str) -> str:
    """The page of the program, with its commands and global options."""
    commands = "".join(
        [f".TP\n.BR pyrunc\\-{escaped(name)} (8)\n{escaped((command.help or '').strip().partition(chr(10) * 2)[0])}\n"
         for name, command in sorted(program.commands.items())]
    )  # fmt: skip
    return (
        header("pyrunc", version, "OCI container runtime")
        + ".SH SYNOPSIS\n\\fBpyrunc\\fR [\\fIGLOBAL\\-OPTIONS\\fR] \\fICOMMAND\\fR "
        + "[\\fIOPTIONS\\fR] [\\fIARGUMENTS\\fR]\n"
        + ".SH DESCRIPTION\n"
        + paragraphs(program.help or "")
        + ".SH COMMANDS\n"
        + commands
        + ".SH GLOBAL OPTIONS\n"
        + "An option may be written \\fB\\-\\-root\\fR \\fIDIR\\fR, \\fB\\-\\-root=\\fR\\fIDIR\\fR or "
        + "\\fB\\-root\\fR \\fIDIR\\fR.\n"
        + options(program.params)
        + FILES
        + ".SH SEE ALSO\n"
        + ", ".join([f"\\fBpyrunc\\-{escaped(name)}\\fR(8)" for name in sorted(program.commands)])
        + "\n"
    )


def pages(program: click.Group, version: str) -> dict[str, str]:
    """Every manual page, by the name of its file."""
    found = {f"pyrunc-{name}.8": command_page(command, version) for name, command in program.commands.items()}
    shim = header(SHIM, version, "containerd's shim for pyrunc") + SHIM_PAGE
    return {"pyrunc.8": program_page(program, version), f"{SHIM}.8": shim, **found}


def write(top: Path, version: str, debian: bool) -> None:
    """Write all files under TOP/share, and remove the pages of commands that no longer exist."""
    from pyrunc.cli import completion
    from pyrunc.cli.program import program

    manual = top / "share/man/man8"
    for old in [manual / "pyrunc.8", manual / f"{SHIM}.8", *manual.glob("pyrunc-*.8")]:
        old.unlink(missing_ok=True)
    files = {f"man/man8/{name}": text for name, text in pages(program, version).items()}
    files["bash-completion/completions/pyrunc"] = completion.script("bash")
    files[f"zsh/{'vendor-completions' if debian else 'site-functions'}/_pyrunc"] = completion.script("zsh")
    files["fish/vendor_completions.d/pyrunc.fish"] = completion.script("fish")
    for name, text in files.items():
        path = top / "share" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        path.chmod(0o644)


def main() -> None:
    """Read the command line and write the files."""
    parser = argparse.ArgumentParser(description="Write manual pages and shell completion.")
    parser.add_argument("--debian", action="store_true", help="where Debian's zsh looks for those of packages")
    parser.add_argument("--modules", type=Path, required=True, help="where pyrunc and click are")
    parser.add_argument("--version", required=True)
    parser.add_argument("top", type=Path)
    args = parser.parse_args()
    sys.path.insert(0, str(args.modules.resolve()))
    write(args.top, args.version, args.debian)


if __name__ == "__main__":
    main()
