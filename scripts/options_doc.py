#!/usr/bin/env python3
"""Write docs/mount-options.md from the tables in pyrunc/libcontainer/spec/mount_options.py: make options-doc."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TABLES = ROOT / "pyrunc/libcontainer/spec/mount_options.py"
PAGE = ROOT / "docs/mount-options.md"

# A row with two words, which are opposites, and a row with one word: the words, the comment.
PAIR = re.compile(r'^    \("([\w-]+)", "([\w-]+)", \w+\),  # (.+)$', re.MULTILINE)
SINGLE = re.compile(r'^    \("([\w-]+)", _\w+, \w+\),  # (.+)$', re.MULTILINE)
FLAG = re.compile(r'^    "([\w-]+)": "\w+",  # (.+)$', re.MULTILINE)

HEAD = """\
# Mount options

The options that pyrunc knows. `make options-doc` writes this page from `pyrunc/libcontainer/spec/mount_options.py`;
don't edit it. [architecture.md](architecture.md), Mount options, says what the options of one mount do together and
which are refused. An option that is not listed here is the file system's: fsconfig(2) gets it. A bind mount has no such
options, so there it is refused.

"""


def page() -> str:
    """The text of docs/mount-options.md."""
    text = TABLES.read_text()
    pairs = PAIR.findall(text)
    rows = [
        "## Flags of a mount\n",
        "With an `r` in front (`rro`, `rrw`, …) an option is about the whole tree of mounts.\n",
        "| option | opposite | effect |\n|---|---|---|",
        *(f"| `{word}` | `{opposite}` | {what} |" for word, opposite, what in pairs),
        "\n## Propagation\n",
        "`private`, `slave`, `shared` and `unbindable` (mount_namespaces(7)), and `rprivate`, `rslave`, `rshared` and",
        "`runbindable` for the whole tree.\n",
        "## Others\n",
        "| option | of | effect |\n|---|---|---|",
    ]
    for word, what in SINGLE.findall(text):
        origin, colon, rest = what.partition("crun: ")
        rows.append(
            f"| `{word}` | {'crun' if colon and not origin else 'runtime-spec'} | {rest if not origin else what} |"
        )
    rows += ["\n## Flags of a file system\n", "| option | effect |\n|---|---|"]
    rows += [f"| `{word}` | {what} |" for word, what in FLAG.findall(text)]
    return HEAD + "\n".join(rows) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page())
