"""The command seccomp. Cold."""

from __future__ import annotations

import errno
import os
import select
import signal
import stat
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .. import log, output, paths
from ..errors import PyruncError, join, prefixed
from ..libcontainer import SPEC_VERSION, lifecycle, lookup, saved_config, state
from ..libcontainer.kernel import native
from ..libcontainer.plan.options import LaunchOptions
from ..libcontainer.seccomp import compiler, decide, recorded
from ..libcontainer.seccomp.counter import Counter, Counts
from ..libcontainer.spec import load as specification
from . import outputs

if TYPE_CHECKING:
    from .._generated.spec_types import Seccomp, Spec
    from ..libcontainer.state import Record
    from .settings import Settings

STDOUT, STDERR = 1, 2
FORMATS = ("table", "json")
SINCE = ("load", "start")
# What an option is if it is not given (cli/seccomp.py), and the options that each form of the command takes.
_DEFAULTS: dict[str, Any] = {
    "config": "config.json", "output": "", "arguments": False, "since": "load", "diff": "", "seconds": 0, "profile": "",
    "arch": "", "format": "table",
}  # fmt: skip
_FORMS = {
    "record BUNDLE": ("config", "output", "arguments", "since", "diff"),
    "record ID": ("output", "arguments", "diff", "seconds"),
    "explain BUNDLE": ("config", "format"),
    "explain ID": ("seconds", "format"),
    "explain --profile FILE": ("profile", "arch", "format"),
}
# The rows of the table that is shown while a running container is recorded, and the seconds between two tables.
_ROWS = 15
_REFRESH = 1.0


def seccomp(settings: Settings, action: str, words: tuple[str, ...], **options: Any) -> int:
    """`seccomp record|explain`. Raises PyruncError."""
    if options["format"] not in FORMATS:
        raise PyruncError("invalid format option", hint="table and json are known")
    if action == "record":
        return _record(settings, words, options)
    if action == "explain" and options["profile"]:
        return _decide(words, options)
    if action == "explain":
        return _explain(settings, words, options)
    raise PyruncError(f'unknown action "{action}"', hint="seccomp record or seccomp explain")


HANDLERS: dict[str, Callable[..., int]] = {"seccomp": seccomp}


def _check(form: str, options: dict[str, Any]) -> None:
    """Refuse options that would have no effect on this form of the command."""
    for name, default in _DEFAULTS.items():
        if options[name] != default and name not in _FORMS[form]:
            others = " and ".join([f"`seccomp {other}`" for other, names in _FORMS.items() if name in names])
            raise PyruncError(f"--{name} has no effect on `seccomp {form}`", hint=f"it is for {others}")
    if options["seconds"] < 0:
        raise PyruncError(f"--seconds is a number of seconds, not {options['seconds']}")


def _record(settings: Settings, words: tuple[str, ...], options: dict[str, Any]) -> int:
    """Returns the exit code of the container's process for a bundle, else 0."""
    if options["since"] not in SINCE:
        raise PyruncError(f'--since is load or start, not "{options["since"]}"')
    if not options["output"]:
        raise PyruncError("--output is missing", hint="-o FILE, or -o - for standard output")
    old = read_profile(options["diff"], "--diff") if options["diff"] else None
    arguments = recorded.argument_numbers() if options["arguments"] else {}
    target = _target(words)
    of_bundle = _is_bundle(target)
    _check("record BUNDLE" if of_bundle else "record ID", options)
    if not of_bundle:
        _require_container(settings, target)
    place = "" if options["output"] == "-" else _place(options["output"])
    others: tuple[str, ...] = ()
    if of_bundle:
        trigger = "program" if options["since"] == "start" else "seccomp"
        counts, given, code = _run(settings, target, options["config"], trigger, arguments)
        if trigger == "seccomp" and _is_loaded_early(given):
            others = recorded.RUNTIME_CALLS
    else:
        counts, code, others = _watch(settings, target, options["seconds"], arguments), 0, recorded.RUNTIME_CALLS
    if not counts.entered:
        raise PyruncError(f"{target} made no system call")
    profile = recorded.profile(counts, others, options["arguments"])
    text = output.indented(profile, "\t") + "\n"
    if place:
        _write(place, text)
    else:
        output.write(STDOUT, text)
    for line in recorded.difference(old, profile) if old is not None else ():
        output.write(STDERR, line + "\n")
    return code


def _explain(settings: Settings, words: tuple[str, ...], options: dict[str, Any]) -> int:
    target = _target(words)
    of_bundle = _is_bundle(target)
    _check("explain BUNDLE" if of_bundle else "explain ID", options)
    if not of_bundle:
        _require_container(settings, target)
    code = 0
    if of_bundle:
        counts, profile, code = _run(settings, target, options["config"], refusals=True)
    else:
        profile = _profile_of(settings, target)
        counts = _watch(settings, target, options["seconds"], refusals=True)
    refused, failed = recorded.refusals(counts, profile), recorded.failures(counts)
    if options["format"] == "json":
        value = {"refused": [_members(each) for each in refused], "failed": [_members(each) for each in failed]}
        output.write(STDOUT, output.indented(value) + "\n")
        return code
    lines = [_sentence(each) for each in refused] or ["the filter refused nothing"]
    for each in failed:
        lines.append(f"{each.call} failed {_times(each.count)} in the kernel itself ({_name(each.errno)})")
    output.write(STDOUT, "".join([line + "\n" for line in lines]))
    return code


def _members(refusal: recorded.Refusal) -> dict[str, Any]:
    members: dict[str, Any] = {"call": refusal.call, "count": refusal.count, "errno": _name(refusal.errno)}
    if refusal.rule:
        members["pointer"] = refusal.rule
    return members


def _sentence(refusal: recorded.Refusal) -> str:
    rule = f"by {refusal.rule}" if refusal.rule else "by a filter or tracer that is not the configuration's"
    return f"{refusal.call} refused {_times(refusal.count)} {rule} (errno {_name(refusal.errno)})"


def _name(code: int) -> str:
    return errno.errorcode.get(code, str(code)) if code else "none"


def _times(count: int) -> str:
    return "1 time" if count == 1 else f"{count} times"


def _decide(words: tuple[str, ...], options: dict[str, Any]) -> int:
    """What a profile decides about a call. Returns 0."""
    _check("explain --profile FILE", options)
    if not words:
        raise PyruncError("no system call is named", hint="seccomp explain --profile FILE CALL [ARGUMENT…]")
    call, *given = words
    if len(given) > decide.ARGUMENTS:
        raise PyruncError(f"a system call has at most {decide.ARGUMENTS} arguments, not {len(given)}")
    arguments = [_number(text) for text in given]
    profile = read_profile(options["profile"])
    decision = decide.decide(profile, call, arguments, options["arch"])
    others = [] if given else decide.open_rules(profile, call)
    if options["format"] == "json":
        value: dict[str, Any] = {"call": call, "action": decision.action, "pointer": decision.rule}
        if decision.reason:
            value["reason"] = decision.reason
        if decision.conditions:
            value["conditions"] = list(decision.conditions)
        if others:
            value["withArguments"] = [
                {"pointer": pointer, "action": action, "conditions": list(conditions)}
                for pointer, action, conditions in others
            ]
        output.write(STDOUT, output.indented(value) + "\n")
        return 0
    shown = f" {' '.join(given)}" if given else ""
    text = f"{call}{shown}: {decision.action} by {decision.rule}"
    if decision.conditions:
        text += f", if {' and '.join(decision.conditions)}"
    if decision.reason:
        text += f": {decision.reason}"
    lines = [text + (" (with all arguments 0)" if others else "")]
    for pointer, action, conditions in others:
        lines.append(f"{call}: {action} by {pointer}, if {' and '.join(conditions)}")
    output.write(STDOUT, "".join([join([line]) + "\n" for line in lines]))
    return 0


def _number(text: str) -> int:
    try:
        value = int(text, 0)
    except ValueError as error:
        raise PyruncError(f"{text} is no number", hint="arguments of a call are decimal or 0x… numbers") from error
    if not -(1 << 63) <= value < 1 << 64:
        raise PyruncError(f"{text} has more than 64 bits", hint="a register has no more")
    return value


def _target(words: tuple[str, ...]) -> str:
    if len(words) != 1:
        raise PyruncError("name one container or bundle", hint="the ID of a container, or the directory of a bundle")
    return words[0]


def _require_container(settings: Settings, id: str) -> None:
    """Raises PyruncError if there is no container for a word that is not a bundle either."""
    try:
        lookup.opened(state.directory(settings.root, id)).close()
    except PyruncError as error:
        if error.message == lookup.missing().message:
            error.message += f": {id} in {settings.root}"
            error.hint = f"there is no directory {id} either, so it is not a bundle"
        raise


def _is_bundle(target: str) -> bool:
    """Whether a word is a bundle: a path, or a directory here. An ID has no slash."""
    return "/" in target or target in (".", "..") or os.path.isdir(target)


def read_profile(path: str, option: str = "--profile") -> Seccomp:
    """The profile in a file: a linux.seccomp, or the one of a config.json. option: the one that names the file. Raises
    PyruncError."""
    value = specification.parse(os.getcwd(), paths.absolute(path), option)
    if type(value) is dict and "ociVersion" in value:
        linux = value.get("linux")
        value = linux.get("seccomp") if type(linux) is dict else None
        if value is None:
            raise PyruncError(f"{path} has no linux.seccomp")
    if type(value) is not dict or "defaultAction" not in value:
        raise PyruncError(f"{path} is no seccomp profile", hint="a linux.seccomp, or a config.json that has one")
    rules = value.get("syscalls")
    for index, rule in enumerate(rules if type(rules) is list else ()):
        if type(rule) is dict and (rule.get("includes") or rule.get("excludes")):
            hint = "an engine makes linux.seccomp of it: take the config.json of a container"
            raise PyruncError(f"{path}: rule {index} depends on the container's capabilities", hint=hint)
    spec: Any = {
        "ociVersion": SPEC_VERSION,
        "root": {"path": "rootfs"},
        "process": {"args": ["true"], "cwd": "/"},
        "linux": {"seccomp": value},
    }
    try:
        specification.validate(spec)
    except PyruncError as error:
        error.document = error.document or (path, paths.absolute(path))
        raise prefixed(path, error) from error
    profile: Seccomp = spec["linux"]["seccomp"]
    return profile


def _run(
    settings: Settings,
    bundle: str,
    config: str,
    trigger: str = "",
    arguments: dict[int, int] | None = None,
    refusals: bool = False,
) -> tuple[Counts, Seccomp | None, int]:
    """Run a bundle, and count its calls. trigger: the call after which they are counted; "" for all of the container's.
    Returns the counts, the bundle's filter and the exit code. The working directory is the bundle then."""
    path = os.path.realpath(bundle)
    counters: list[Counter] = []
    filters: list[Seccomp | None] = []

    def begin(record: Record) -> None:
        if not record.cgroup:
            raise PyruncError("the container has no cgroup, by which its system calls are counted")
        after = trigger
        if _is_loaded_early(filters[0]):
            after = "execve" if trigger == "program" else ""
        counters.append(Counter(record.cgroup, after, arguments, refusals))

    options = LaunchOptions(
        id=f"seccomp-{os.getpid()}",
        root=settings.root,
        bundle=path,
        config=config,
        command="run",
        cgroup_manager=settings.cgroup_manager,
        rootless=settings.rootless,
    )
    try:
        os.chdir(path)
    except OSError as error:
        raise PyruncError(f"the bundle {path}", errno=error.errno or 0) from error
    try:
        code = lifecycle.run(options, before_start=begin, change=lambda spec: filters.append(_filter_of(spec)))
        return counters[0].counts(), filters[0], code
    except PyruncError as error:
        if error.document is None and error.pointer:
            error.document = specification.document(path, config)
        raise
    finally:
        for counter in counters:
            counter.close()


def _filter_of(spec: Spec) -> Seccomp | None:
    """The filter of a configuration. If it has none, it gets one that allows everything, so that the init loads one."""
    found = (spec.get("linux") or {}).get("seccomp")
    if not found:
        spec.setdefault("linux", {})["seccomp"] = compiler.open_profile()
    return found


def _is_loaded_early(profile: Seccomp | None) -> bool:
    """Whether the init loads a filter before it waits for the start, as an agent gets the listener then: the calls in
    between are not counted (compile/seccomp.py)."""
    rules = (profile.get("syscalls") if profile else None) or ()
    return any([rule["action"] == "SCMP_ACT_NOTIFY" for rule in rules])


def _profile_of(settings: Settings, id: str) -> Seccomp | None:
    place = lookup.opened(state.directory(settings.root, id))
    try:
        return saved_config.load(place)["linux"].get("seccomp")
    finally:
        place.close()


def _watch(
    settings: Settings, id: str, seconds: int, arguments: dict[int, int] | None = None, refusals: bool = False
) -> Counts:
    """Count the calls of a running container until SIGINT, SIGTERM or SIGHUP, its end, or the time."""
    described = lifecycle.state(settings.root, id)
    place = lookup.opened(state.directory(settings.root, id))
    try:
        record = state.load(place)
    finally:
        place.close()
    if record is None or described["status"] not in ("created", "running", "paused"):
        raise PyruncError(
            f"container {id} is {described['status']}", hint="with its BUNDLE it is watched from its start on"
        )
    if not record.cgroup:
        raise PyruncError(f"container {id} has no cgroup, by which its system calls are counted")
    pidfd = os.pidfd_open(record.pid)
    ended: list[int] = []
    # A shell has its background commands ignore SIGINT, which ends them here nevertheless; nohup SIGHUP.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, lambda *_: ended.append(1))
    counter = Counter(record.cgroup, "", arguments, refusals)
    try:
        shown = 0
        poller = select.poll()
        poller.register(pidfd, select.POLLIN)
        due = time.monotonic() + seconds if seconds else None
        if os.isatty(STDERR):
            log.info(f"counting the system calls of {id}: interrupt to end")
        while not ended and (due is None or time.monotonic() < due):
            wait = _REFRESH if due is None else min(_REFRESH, max(0.0, due - time.monotonic()))
            if poller.poll(wait * 1000):
                break
            if os.isatty(STDERR):
                shown = _show(counter.counts(), shown)
        return counter.counts()
    finally:
        counter.close()
        os.close(pidfd)


def _show(counts: Counts, before: int) -> int:
    """Write the most frequent calls over the table before, which had so many lines. Returns the number of lines."""
    rows = sorted(recorded.calls(counts).items(), key=lambda item: -item[1])
    lines = [f"{count:>12}  {name}" for name, count in rows[:_ROWS]]
    if len(rows) > _ROWS:
        lines.append(f"{'':>12}  and {len(rows) - _ROWS} other calls")
    output.write(STDERR, (f"\x1b[{before}F\x1b[J" if before else "") + "".join([line + "\n" for line in lines]))
    return len(lines)


def _place(given: str) -> str:
    """The absolute path of the profile: the bundle becomes the working directory. Raises PyruncError if it can't be
    written: otherwise the caller would learn that only at the end of the run. Nothing is made."""
    path = os.path.join(os.getcwd(), given)
    folder = os.path.dirname(path)
    try:
        native.refuse_closed(path)
        try:
            exists, is_directory = True, stat.S_ISDIR(os.stat(path).st_mode)
        except FileNotFoundError:
            exists, is_directory = False, False
            os.stat(folder)
        if is_directory:
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    except OSError as error:
        raise _not_written(path, error) from error
    if not os.access(path if exists else folder, os.W_OK):
        raise PyruncError(f"{path if exists else folder} is not writable")
    return path


def _write(path: str, text: str) -> None:
    try:
        outputs.write(path, text)
    except OSError as error:
        raise _not_written(path, error) from error


def _not_written(path: str, error: OSError) -> PyruncError:
    return PyruncError(f"writing the profile to {path}", errno=error.errno or 0, hint=paths.closed_hint(error))
