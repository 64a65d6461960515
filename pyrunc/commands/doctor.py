"""The command doctor. Cold."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from .. import output
from ..errors import PyruncError, join
from ..libcontainer.diagnosis import bundle_check, terminal
from ..libcontainer.diagnosis.doctor import Finding, examine
from ..libcontainer.plan import host
from ..libcontainer.spec import load as specification
from ..libcontainer.spec.problems import ERROR, Problem

if TYPE_CHECKING:
    from ..jsontext import Place
    from .settings import Settings

STDOUT = 1
FORMATS = ("table", "json")


def doctor(settings: Settings, path: str, config: str, format: str) -> int:
    """`doctor [BUNDLE]`: print what this host offers, and with a bundle the parts of it that would not work here.

    Returns 1 if the bundle would not run. Raises PyruncError on a kernel or machine that pyrunc does not support.
    """
    if format not in FORMATS:
        raise PyruncError("invalid format option", hint="table and json are known")
    facts = host.gather()
    problems = bundle_check.validate_bundle(path, config) if path else []
    found = examine(facts)
    file = str(Path(path, config)) if path else ""
    places = _places(path, config, problems) if path else {}
    text = _json(found, file, problems, places) if format == "json" else _text(found, file, problems, places)
    output.write(STDOUT, text)
    return 1 if any(problem.severity == ERROR for problem in problems) else 0


def _places(path: str, config: str, problems: list[Problem]) -> dict[str, Place]:
    """The places of problems in the configuration, by their pointers."""
    document = specification.document(path, config)[1]
    return terminal.lines_of(document, tuple(problem.pointer for problem in problems if problem.pointer))


def _json(found: list[Finding], file: str, problems: list[Problem], places: dict[str, Place]) -> str:
    value: dict[str, object] = {"host": [finding.to_dict() for finding in found]}
    if file:
        shown = [
            {**problem.to_dict(), **({"line": places[problem.pointer].line} if problem.pointer in places else {})}
            for problem in problems
        ]
        value["bundle"] = {"file": file, "problems": shown}
    return output.indented(value) + "\n"


def _text(found: list[Finding], file: str, problems: list[Problem], places: dict[str, Place]) -> str:
    rows: list[tuple[str, ...]] = [("AREA", "NAME", "STATE", "DETAIL")]
    for finding in found:
        detail = finding.detail + (f"; {finding.hint}" if finding.hint and finding.detail else finding.hint)
        rows.append(tuple(join([cell]) for cell in (finding.area, finding.name, finding.state, detail)))
    text = output.table(rows)
    if file:
        lines = []
        for problem in problems:
            at = f":{places[problem.pointer].line}" if problem.pointer in places else ""
            lines.append(problem.line(file + at) + "\n")
        text += "\n" + ("".join(lines) or f"{file}: no problem found\n")
    return text


HANDLERS: dict[str, Callable[..., int]] = {"doctor": doctor}
