"""The command hooks. Cold."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from .. import output
from ..errors import PyruncError, join, prefixed
from ..libcontainer.diagnosis import hook_trial
from ..libcontainer.plan.options import LaunchOptions
from ..libcontainer.spec import load as specification
from .failures import report

if TYPE_CHECKING:
    from .settings import Settings

STDOUT = 1
FORMATS = ("table", "json")
ACTIONS = ("run",)


def hooks(settings: Settings, action: str, path: str, config: str, kind: str, index: int, format: str) -> int:
    """`hooks run [BUNDLE]`: try a bundle's hooks, and print how each ended. Returns 1 if one failed.

    Raises PyruncError if they can't be tried.
    """
    if action not in ACTIONS:
        raise PyruncError(f'unknown action "{action}"', hint="hooks run tries the hooks of a bundle")
    if format not in FORMATS:
        raise PyruncError("invalid format option", hint="table and json are known")
    bundle = os.path.realpath(path or ".")
    try:
        os.chdir(bundle)  # the working directory of hooks (commands/lifecycle.py)
    except OSError as error:
        raise PyruncError(f"chdir {bundle}", errno=error.errno or 0, hint="the argument is the bundle") from error
    document = specification.document(bundle, config)
    options = LaunchOptions(
        id=f"hooks-{os.getpid()}",
        root=settings.root,
        bundle=bundle,
        config=config,
        command="run",
        cgroup_manager="disabled",
        rootless=settings.rootless,
    )
    try:
        spec = specification.load(bundle, config)
        wanted = hook_trial.chosen(spec, kind, index)
        found = list(hook_trial.trials(spec, options, wanted))
    except PyruncError as error:
        failure = prefixed(f"{settings.name} hooks run failed", error)
        failure.document = failure.document or document
        raise failure from error
    output.write(STDOUT, _json(found) if format == "json" else _table(found))
    failed = [outcome.error for outcome in found if outcome.error is not None]
    for failure in failed:
        failure.document = document
        report(failure)
    return 1 if failed else 0


def _json(found: list[hook_trial.Outcome]) -> str:
    return output.indented({"hooks": [outcome.to_dict() for outcome in found]}) + "\n"


def _table(found: list[hook_trial.Outcome]) -> str:
    if not found:
        return "the configuration has no hooks to try\n"
    rows: list[tuple[str, ...]] = [("KIND", "INDEX", "TIME", "END", "PATH")]
    for outcome in found:
        cells = (outcome.kind, str(outcome.index), f"{outcome.seconds:.3f} s", outcome.end, outcome.path)
        rows.append(tuple(join([cell]) for cell in cells))
    return output.table(rows)


HANDLERS: dict[str, Callable[..., int]] = {"hooks": hooks}
