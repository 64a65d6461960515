"""Draw the rooms of pyrunc and the imports between them: the part between two marks of docs/architecture.md.

`python scripts/rooms.py` writes it anew. The drawing leaves out an arrow that follows from others. pyproject.toml has
the order of the rooms as a contract (import-linter).
"""

from __future__ import annotations

import graphlib
import sys
from pathlib import Path

import grimp

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs/architecture.md"
BEGIN = "<!-- rooms: made by scripts/rooms.py -->\n"
END = "<!-- end of rooms -->\n"

# Modules that many others import; their arrows would say nothing.
EVERYWHERE = (
    "errors", "launcher", "log", "output", "jsonio", "jsontext", "protobuf", "_generated", "pyrunc", "libcontainer",
)  # fmt: skip


def modules() -> dict[str, set[str]]:
    """The modules that each module imports, also in functions and for type checkers."""
    graph = grimp.build_graph("pyrunc", cache_dir=None)
    return {name: set(graph.find_modules_directly_imported_by(name)) for name in graph.modules}


def circle(imports: dict[str, set[str]]) -> list[str]:
    """The names of one circle of imports; empty if there is none."""
    try:
        list(graphlib.TopologicalSorter(imports).static_order())
    except graphlib.CycleError as error:
        return list(error.args[1])
    return []


def room(module: str) -> str:
    """The room of a module: a package of libcontainer, or a module by itself."""
    parts = module.removeprefix("pyrunc.").removeprefix("libcontainer.").split(".")
    return parts[0]


def arrows(imports: dict[str, set[str]]) -> dict[str, set[str]]:
    """The rooms that each room imports, without arrows that follow from others."""
    rooms: dict[str, set[str]] = {}
    for module, targets in imports.items():
        own = room(module)
        rooms.setdefault(own, set()).update(room(target) for target in targets)
        rooms[own].discard(own)
    for name in EVERYWHERE:
        rooms.pop(name, None)
    for targets in rooms.values():
        targets.difference_update(EVERYWHERE)

    def below(name: str) -> set[str]:
        return rooms[name].union(*(below(target) for target in rooms[name]))

    return {
        name: {target for target in targets if not any(target in below(other) for other in targets - {target})}
        for name, targets in rooms.items()
    }


def drawing() -> str:
    """The rooms and arrows as a diagram (Mermaid)."""
    found = sorted((name, target) for name, targets in arrows(modules()).items() for target in targets)
    return "\n".join(["```mermaid", "graph TD", *(f"    {name} --> {target}" for name, target in found), "```", ""])


def main() -> int:
    """Write the drawing into the page."""
    text = PAGE.read_text()
    head, _, rest = text.partition(BEGIN)
    _, _, tail = rest.partition(END)
    PAGE.write_text(head + BEGIN + drawing() + END + tail)
    return 0


if __name__ == "__main__":
    sys.exit(main())
