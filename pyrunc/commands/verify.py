"""The command verify. Cold."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from .. import output
from ..errors import PyruncError, join, prefixed
from ..libcontainer.verify import compare

if TYPE_CHECKING:
    from ..libcontainer.verify.differences import Findings
    from .settings import Settings

STDOUT = 1
FORMATS = ("table", "json")


def verify(settings: Settings, id: str, format: str) -> int:
    """`verify ID`: print how a running container differs from its plan. Returns 1 if it does.

    Raises PyruncError if it can't be compared.
    """
    if format not in FORMATS:
        raise PyruncError("invalid format option", hint="table and json are known")
    try:
        findings = compare.verify(settings.root, id)
    except OSError as error:
        raise prefixed(f"looking at {id}", error) from error
    if format == "json":
        text = output.indented({"id": id, **findings.to_dict()}) + "\n"
    else:
        text = _table(id, findings)
    output.write(STDOUT, text)
    return 1 if findings.differences else 0


def _table(id: str, findings: Findings) -> str:
    rows: list[tuple[str, ...]] = [("POINTER", "WHAT", "EXPECTED", "FOUND")]
    for difference in findings.differences:
        cells = (difference.pointer, difference.what, difference.expected, difference.found)
        rows.append(tuple(join([cell]) for cell in cells))
    text = output.table(rows) if findings.differences else f"{id}: as its plan\n"
    for pointer, what, why in findings.unseen:
        text += join([f"not compared: {what} ({pointer}): {why}"]) + "\n"
    return text


HANDLERS: dict[str, Callable[..., int]] = {"verify": verify}
