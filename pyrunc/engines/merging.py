"""pyrunc's lines merged into an engine's file, and taken out again."""

from __future__ import annotations

from pathlib import Path

from ..errors import PyruncError
from . import documents, files
from .changes import apply, take_out
from .lines import Engine, Wish, everything, lines


def merge(engine: Engine, wish: Wish, path: Path) -> tuple[bool, bool]:
    """Merge the lines into a file. Returns whether the file changed, and whether a copy of the earlier one was made
    now."""
    found = files.read(path)
    text = found.text if found is not None else ""
    tree = documents.parse(engine.form, text, str(path))
    try:
        if not text.strip():
            result = lines(engine, wish, {})
        else:
            changes = engine.changes(wish, tree)
            result = documents.edited(engine.form, text, lambda node, make: apply(node, changes, make), str(path))
    except PyruncError as error:
        if str(path) not in error.message:
            error.message = f"{path}: {error.message}"
        raise
    if result == text:
        return False, False
    return True, files.write(path, result, found)


def undo(engine: Engine, path: Path) -> str:
    """Remove pyrunc from a file. Returns "" if the file does not have it, else what was done, in a clause.

    If nothing else has changed since the merge, the file is restored byte for byte. Otherwise the other changes stay.
    """
    found = files.read(path)
    if found is None:
        return ""
    kept = files.read(files.backup_of(path))
    tree = documents.parse(engine.form, found.text, str(path))
    before = documents.parse(engine.form, kept.text, str(files.backup_of(path))) if kept is not None else {}
    changes = everything(engine, tree)
    result = documents.edited(engine.form, found.text, lambda node, _: take_out(node, changes, before), str(path))
    left = documents.parse(engine.form, result, str(path))
    if result == found.text:
        return ""
    if engine.form == documents.TOML:
        # A comment below pyrunc's table may be the administrator's, and was removed with the table.
        result += "".join([line + "\n" for line in documents.lost_comments(found.text, result)])
    if left.keys() == {"version"} and "version" not in before:
        left = {}  # pyrunc has chosen the version of a file without other lines
    if kept is not None and left == before and documents.comments(result) == documents.comments(kept.text):
        files.restore(path)
        return "restored as it was"
    if kept is None and not left and not documents.comments(result):
        files.remove(path)
        return "removed, since nothing else was in it"
    files.write(path, result, found)
    files.remove(files.backup_of(path))
    return "pyrunc's lines taken out; the rest, which was changed since, stays"
