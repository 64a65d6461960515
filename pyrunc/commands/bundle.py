"""The commands that change nothing except that spec writes a file: spec, validate, plan, features. Cold."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import jsonio, output, paths
from ..errors import PyruncError
from ..libcontainer.diagnosis import bundle_check
from ..libcontainer.spec import inputs

if TYPE_CHECKING:
    from ..libcontainer.plan.host import HostFacts
    from ..libcontainer.plan.model import LaunchPlan
    from ..libcontainer.spec.problems import Problem
    from .settings import Settings

CONFIG = "config.json"
PLAN_FORMATS = ("table", "json", "tree")
STDOUT = 1


def spec(settings: Settings, bundle: str, file: str, rootless: bool) -> int:
    """`spec`: write a config.json to start from. Raises PyruncError if there is one already.

    With --file an existing file is overwritten, as with crun.
    """
    from ..libcontainer.spec import example
    from . import outputs

    value = example.rootless_example() if rootless else example.example()
    path = Path(bundle, file or CONFIG)
    try:
        outputs.write(str(path), output.indented(value, "\t"), replace=bool(file))
    except FileExistsError as error:
        raise PyruncError(f"File {CONFIG} exists. Remove it first") from error
    except OSError as error:
        hint = paths.closed_hint(error) or ("" if path.parent.is_dir() else "--bundle names a directory that exists")
        raise PyruncError(f"open {path}", errno=error.errno or 0, hint=hint) from error
    return 0


def validate(settings: Settings, path: str, bundle: str, config: str, format: str, spec_only: bool) -> int:
    """`validate`: print every problem of a bundle's configuration. Returns 1 if one of them is an error."""
    from ..libcontainer.diagnosis import terminal
    from ..libcontainer.spec import load as specification
    from ..libcontainer.spec.problems import ERROR

    if format not in ("text", "json"):
        raise PyruncError("invalid format option", hint="text and json are known")
    if path and bundle:
        raise PyruncError("the bundle is named twice", hint="either --bundle or an argument")
    file = Path(path or bundle, config)
    directory = path or bundle or "."
    problems = bundle_check.validate_bundle(directory, config, host=not spec_only)
    document = specification.document(directory, config)[1]
    places = terminal.lines_of(document, tuple(problem.pointer for problem in problems if problem.pointer))
    if format == "json":
        found = []
        for problem in problems:
            place = places.get(problem.pointer)
            found.append({**problem.to_dict(), **({"line": place.line} if place is not None else {})})
        text = output.indented({"file": str(file), "problems": found}) + "\n"
    else:
        lines = []
        for problem in problems:
            place = places.get(problem.pointer)
            lines.append(problem.line(f"{config}:{place.line}" if place is not None else "") + "\n")
        text = "".join(lines) or f"{file}: no problem found\n"
    output.write(STDOUT, text)
    return 1 if any(problem.severity == ERROR for problem in problems) else 0


def plan(
    settings: Settings, id: str, bundle: str, config: str, format: str, diff: str, timeline: str, **isolation: str
) -> int:
    """`plan`: show the steps of a launch, the differences from another bundle's, or a timeline.

    Returns 1 if a step would fail on this host; the step says so. With `diff` it is 1 if the plans differ, and 2 if one
    can't be made, as with diff(1).
    """
    if format not in PLAN_FORMATS:
        raise PyruncError("invalid format option", hint=", ".join(PLAN_FORMATS) + " are known")
    if any(isolation.values()) and (timeline or diff):
        raise PyruncError("--isolation, --network and --seccomp-profile can't be used with --diff and --timeline")
    if timeline and diff:
        raise PyruncError("--timeline and --diff exclude each other")
    if (timeline or diff) and format == "tree":
        raise PyruncError("invalid format option", hint="with --diff and --timeline table and json are known")
    if timeline:
        return _show_timeline(timeline, format)
    if diff:
        try:
            return _show_difference(settings, id, bundle or ".", diff, config, format)
        except PyruncError as error:
            error.exit_code = 2
            raise
    from ..libcontainer.plan import host
    from ..libcontainer.show import plan as show_plan
    from ..libcontainer.show import table as show_table

    try:
        this, problems = compiled(settings, id, bundle, config, host.gather(landlock=True), **isolation)
    except PyruncError as error:
        is_bundle = os.path.isfile(os.path.join(id, config)) and not os.path.exists(config)
        if not bundle and (is_bundle or ("/" in id and os.path.isdir(id))):
            error.hint = f"{id} was taken as the id: --bundle {id} names the bundle"
        raise
    if format == "table":
        text = show_table.table(this, problems, show_table.columns())
    else:
        text = {"json": show_plan.as_json, "tree": show_plan.tree}[format](this, problems)
    output.write(STDOUT, text)
    return 1 if problems else 0


def _show_timeline(path: str, format: str) -> int:
    """Draw the timeline, or print its totals as JSON."""
    from ..libcontainer.show import timeline as show_timeline

    trace = _read_json(path)
    try:
        text = show_timeline.as_json(trace) if format == "json" else show_timeline.bars(trace)
    except PyruncError as error:
        raise PyruncError(f"{path} is no timeline: {error.message}") from error
    output.write(STDOUT, text)
    return 0


def _show_difference(settings: Settings, id: str, old: str, new: str, config: str, format: str) -> int:
    """Print the differences between the plans of two bundles. Returns 1 if they differ. Raises PyruncError."""
    from ..libcontainer.plan import host
    from ..libcontainer.show import diff as show_diff

    facts = host.gather(landlock=True)
    files, plans = [], []
    for bundle in (old, new):
        file = os.path.join(bundle, config)
        if not os.path.exists(file):
            raise PyruncError("JSON specification file " + file + " not found", hint="--bundle and --diff name bundles")
        try:
            made = compiled(settings, id, bundle, config, facts)[0]
        except PyruncError as error:
            error.message = f"{file}: {error.message}"
            raise
        files.append(file)
        plans.append(show_diff.without_bundle(made, os.path.realpath(bundle)))
    this, other = plans
    if format == "json":
        output.write(STDOUT, show_diff.as_json(this, other, *files))
    else:
        output.write(STDOUT, show_diff.diff(this, other))
    return 1 if show_diff.changes(this, other) else 0


def compiled(
    settings: Settings, id: str, bundle: str, config: str, facts: HostFacts, **isolation: str
) -> tuple[LaunchPlan, list[Problem]]:
    """The plan of a `run` of a bundle on this host, and the problems that would make it fail. isolation: the options
    isolation, network and seccomp_profile. Raises PyruncError."""
    from ..libcontainer import lifecycle
    from ..libcontainer.compile.launch import compile_launch
    from ..libcontainer.diagnosis import preflight
    from ..libcontainer.diagnosis.bundle_check import on_disk
    from ..libcontainer.plan.options import LaunchOptions
    from ..libcontainer.seccomp import compiler
    from ..libcontainer.spec import load as specification
    from ..libcontainer.spec.problems import ERROR
    from ..libcontainer.state import check_id
    from .lifecycle import locate, notify_socket

    options = LaunchOptions(
        id=check_id(id),
        root=settings.root,
        bundle=os.path.realpath(bundle),
        config=config,
        command="run",
        cgroup_manager=settings.cgroup_manager,
        rootless=settings.rootless,
        notify_socket=notify_socket(),
    )
    for name, value in isolation.items():
        setattr(options, name, value)
    options.seccomp_profile = options.seccomp_profile and os.path.abspath(options.seccomp_profile)
    try:
        spec = lifecycle.load_spec(options)
        plan = compile_launch(spec, options, lifecycle.host_facts(spec, options, facts))
    except PyruncError as error:
        if error.document is None and error.pointer:
            locate(error, specification.document(options.bundle, config), options.seccomp_profile)
        raise
    compiler.measure(plan, (spec.get("linux") or {}).get("seccomp"))
    problems = [*on_disk(options.bundle, spec), *preflight.problems(spec, options.bundle, facts)]
    return plan, [problem for problem in problems if problem.severity == ERROR]


def features(settings: Settings) -> int:
    """`features`: print what this runtime supports."""
    from ..libcontainer.spec.features import features as structure

    output.write(STDOUT, output.indented(structure(), "    ") + "\n")
    return 0


def _read_json(path: str) -> Any:
    try:
        return jsonio.loads(inputs.read(os.path.abspath(path)).decode())
    except ValueError as error:
        raise PyruncError(f"{path} is no timeline: {error}") from error
    except OSError as error:
        raise PyruncError(f"open {path}", errno=error.errno or 0, hint=inputs.hint(error)) from error


HANDLERS: dict[str, Callable[..., int]] = {"spec": spec, "validate": validate, "plan": plan, "features": features}
