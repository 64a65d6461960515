"""The table of `ps`: the container's lines of the host's ps. Cold: it runs a program."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence

from ..errors import PyruncError

DEFAULT_ARGUMENTS = ("-ef",)


def table(pids: Sequence[int], arguments: Sequence[str]) -> str:
    """The lines of `ps ARGUMENTS` for these processes, with the header. Raises PyruncError if ps fails or prints no
    column PID."""
    command = ["ps", *(arguments or DEFAULT_ARGUMENTS)]
    try:
        done = subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL, check=False)
    except OSError as error:
        hint = "ps is in Debian's package procps; --format json does without it"
        raise PyruncError("exec ps", errno=error.errno or 0, hint=hint) from error
    text = done.stdout.decode("utf-8", "surrogateescape")
    if done.returncode != 0:
        reason = (done.stderr.decode("utf-8", "surrogateescape") or text).strip().partition("\n")[0]
        raise PyruncError(f"ps exited with {done.returncode}: {reason}")
    return select(text, pids)


def select(text: str, pids: Sequence[int]) -> str:
    """The header of ps's table, and the lines with a PID of `pids`. Raises PyruncError."""
    header, *lines = text.removesuffix("\n").split("\n")  # no other character ends a line of ps
    columns = header.split()
    if "PID" not in columns:
        raise PyruncError("couldn't find PID field in ps output", hint="have ps print the column PID, as ps -ef does")
    at = columns.index("PID")
    wanted = set(map(str, pids))
    kept = [line for line in lines if line.split()[at : at + 1] and line.split()[at] in wanted]
    return "".join(line + "\n" for line in (header, *kept))
