"""The command integrate. Cold."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from .. import output, paths
from .._generated.build import VERSION
from ..engines import documents, files, lines, manifests, merging, trial
from ..engines.lines import ENGINES, Engine, Wish
from ..errors import PyruncError

if TYPE_CHECKING:
    from .settings import Settings

STDOUT = 1
KUBERNETES = "kubernetes"
NAMES = (*ENGINES, KUBERNETES)


def integrate(
    settings: Settings,
    engine: str,
    write: bool,
    undo: bool,
    check: bool,
    file: str,
    path: str,
    default: bool,
    image: str,
) -> int:
    """`integrate ENGINE`: print an engine's lines, merge them (write), take them out (undo), start a container (check).

    Raises PyruncError if that fails; nothing has been changed then.
    """
    if engine not in NAMES:
        raise PyruncError(f'unknown engine "{engine}"', hint=f"{', '.join(NAMES[:-1])} and {NAMES[-1]} are known")
    if write + undo + check > 1:
        raise PyruncError("--write, --undo and --check exclude each other")
    if undo and (path or default):
        raise PyruncError("--undo takes neither --path nor --default")
    if engine == KUBERNETES and (write or undo or file or path or default):
        raise PyruncError(
            "kubernetes has no file here", hint=f"{settings.name} integrate kubernetes | kubectl apply -f -"
        )
    if image and not (engine == KUBERNETES or (check and engine == "docker")):
        raise PyruncError("--image is for kubernetes, and for docker with --check")
    systemd = settings.cgroup_manager == "systemd"
    if check:
        done = trial.check(engine, "" if engine == KUBERNETES else _program(path), systemd, image)
        output.write(STDOUT, done + "\n")
        return 0
    if engine == KUBERNETES:
        output.write(STDOUT, manifests.manifests(image or f"localhost/pyrunc:{VERSION}"))
        return 0
    known = ENGINES[engine]
    if undo:
        return _undo(known, file)
    place = Path(paths.absolute(file)) if file else lines.place(known)
    wish = Wish(_program(path), default, systemd or None)
    if not write:
        found = files.read(place)
        tree = documents.parse(known.form, found.text, str(place)) if found is not None else {}
        output.write(STDOUT, lines.lines(known, wish, tree))
        return 0
    changed, kept = merging.merge(known, wish, place)
    found = files.read(place)
    remark = lines.remark(known, documents.parse(known.form, found.text, str(place))) if found is not None else ""
    text = f"{place}: {'written' if changed else 'has the lines already'}\n"
    text += f"{files.backup_of(place)}: the file as it was\n" if kept else ""
    text += f"{place}: {remark}\n" if remark else ""
    output.write(STDOUT, text + _after(known, changed))
    return 0


def _undo(engine: Engine, file: str) -> int:
    """Take pyrunc out of the file, or of each one that the engine may have."""
    places = [Path(paths.absolute(file))] if file else lines.places(engine)
    done = [(place, merging.undo(engine, place)) for place in places]
    text = "".join([f"{place}: {what}\n" for place, what in done if what])
    output.write(STDOUT, text + _after(engine, True) if text else f"{places[0]}: nothing of pyrunc is in it\n")
    return 0


def _after(engine: Engine, changed: bool) -> str:
    return f"then: {engine.after}\n" if changed and engine.after else ""


def _program(path: str) -> str:
    """The absolute path of the command that engines start: `path`, or the called one.

    Raises PyruncError if there is no such program.
    """
    called = path or sys.argv[0]
    found = paths.absolute(called) if path or "/" in called else shutil.which(called) or ""
    if not found or found.endswith(".py") or not os.access(found, os.X_OK) or not os.path.isfile(found):
        raise PyruncError(f"{found or called} is no program that an engine can start", hint="name pyrunc by --path")
    return found


HANDLERS: dict[str, Callable[..., int]] = {"integrate": integrate}
