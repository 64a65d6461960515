"""Load a bundle's config.json: read, parse, validate, check. Hot: only explaining a violation imports jsonschema."""

from __future__ import annotations

import errno

from ... import jsonio, log
from ..._generated import validators
from ...errors import PyruncError
from .. import SPEC_VERSION
from . import inputs, zeros
from .checks import check
from .problems import ERROR, sentence, shorten

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from ..._generated.spec_types import Process, Spec
    from .nearest import NearMiss
    from .problems import Problem

# How deep objects and arrays may be nested. The specification needs 8 levels, but the file may have other members too,
# and much of the code that reads them is recursive.
_DEEPEST = 100


def load(bundle: str, config: str = "config.json", added: Iterable[str] = ()) -> Spec:
    """Load and validate the configuration of a bundle. Warnings go to the log.

    bundle: path of the bundle directory. config: path of the file, relative to the bundle. added: the types of the
    namespaces that the container gets anew besides those of the configuration.
    Members whose value is null count as absent, as with Go's decoder, and are not in the result.
    Raises PyruncError if the file can't be read, is no JSON, or is refused by its schema or a check.
    """
    value = parse(bundle, config)
    try:
        validate(value, added)
    except PyruncError as error:
        error.document = document(bundle, config)
        others = _count_others(value, error.pointer, added) if error.pointer else 0
        if others:
            error.hint = f"{error.hint} ({others} more: pyrunc validate {bundle})".lstrip()
        raise
    spec: Spec = value
    return spec


def _count_others(value: Any, at: str, added: Iterable[str]) -> int:
    """How many errors a configuration has besides the one at a pointer, without a look at the host."""
    spec: Spec = value  # of any shape: the checks leave out what the schema refuses
    if type(value) is not dict:
        return 0
    refused = []
    if validators.config(value) is not None:
        try:
            from . import explain
        except ImportError:
            return 0
        refused = [problem.pointer for problem in explain.problems(value)]
    found = [problem.pointer for problem in check(spec, refused, added=added) if problem.severity == ERROR]
    return len({*refused, *found} - {at})


def document(bundle: str, config: str) -> tuple[str, str]:
    """A configuration's file for errors: (the name that is shown, the path)."""
    return config, config if config.startswith("/") else bundle.rstrip("/") + "/" + config


def parse(bundle: str, config: str = "config.json", option: str = "--config") -> Any:
    """The JSON value of a bundle's configuration, without members that are null. option: what names the file. Raises
    PyruncError."""
    text = _read(bundle, config, option)
    try:
        value = jsonio.loads(text)
    except ValueError as error:
        raise _no_json(error, document(bundle, config)) from error
    if text.count("{") + text.count("[") > _DEEPEST:
        refuse_depth(value, config)
    return without_nulls(value) if "null" in text else value


def validate(value: Any, added: Iterable[str] = ()) -> None:
    """Refuse a configuration that is invalid or contradictory; log warnings.

    value: as `parse` returns it. added: as for `load`. Raises PyruncError with the pointer, the value, what is allowed
    and the nearest word.
    """
    validators.unknown.clear()
    misses: list[NearMiss] = []
    try:
        _by_schema(value, validators.config)
        complete(value)
        misses = _near_misses(value)
        for problem in check(value, added=added):
            if problem.severity == ERROR:
                raise PyruncError(problem.message, pointer=problem.pointer, hint=problem.hint_text())
            log.warning(f"{problem.pointer}: {problem.message}")
    except PyruncError as error:
        for miss in misses or _near_misses(value):
            if (error.pointer + "/").startswith(miss.meant_at + "/"):
                error.hint = f"{shorten(miss.name)} is unknown: rename it to {miss.meant}"
        raise


def _near_misses(value: Any) -> list[NearMiss]:
    """Warn of unknown members that are probably misspelt: they are ignored, so what they should forbid is allowed."""
    if not validators.unknown:
        return []
    from .nearest import find

    misses = find(value, validators.unknown)
    validators.unknown.clear()
    for miss in misses:
        log.warning(f'{miss.at}: {shorten(miss.name)} is unknown and ignored; did you mean "{miss.meant}"?')
    return misses


def complete(value: Spec) -> None:
    """Add the members that a configuration of valid shape leaves out: zeros, as Go's decoder does, and those that
    annotations stand for."""
    zeros.fill(value)
    apply_annotations(value)


def apply_annotations(value: Spec) -> None:
    """Add the members that annotations stand for to a configuration of valid shape."""
    if any([name.startswith("run.oci.") for name in value.get("annotations") or ()]):
        from .annotations import fill

        fill(value)


def load_process(path: str) -> Process:
    """Load the `process` of `exec --process` from the file at an absolute path, and validate it by the schema.

    Raises PyruncError with a pointer like that of a config.json (/process/…).
    """
    value = parse("/", path, "--process")
    try:
        validate_process(value)
    except PyruncError as error:
        raise PyruncError(error.message, pointer="/process" + error.pointer, hint=error.hint) from error
    process: Process = value
    return process


def validate_process(value: Any) -> None:
    """Refuse an object that is no valid `process`. Raises PyruncError with a pointer into that object."""
    validators.unknown.clear()
    _by_schema(value, validators.process, "process")
    zeros.fill_process(value)
    _near_misses(value)


def validate_resources(value: Any) -> None:
    """Refuse an object that is no valid `linux.resources`. Raises PyruncError with a pointer into that object."""
    _by_schema(value, validators.resources, "resources")


def validate_mounts(value: Any) -> None:
    """Refuse an invalid `mounts` of config.json. Raises PyruncError with a pointer into that object."""
    least = {"ociVersion": SPEC_VERSION, "root": {"path": "rootfs"}}  # the other members that the schema requires
    _by_schema({**least, "mounts": value}, validators.config)


def without_nulls(value: Any) -> Any:
    """A JSON value without object members that are null. Nulls in arrays stay: the schema refuses them."""
    if type(value) is dict:
        return {name: without_nulls(member) for name, member in value.items() if member is not None}
    if type(value) is list:
        return [without_nulls(item) for item in value]
    return value


def _no_json(error: ValueError, document: tuple[str, str]) -> PyruncError:
    """The error for a file that is no JSON: `config.json:3:5: why`."""
    from ...jsontext import Fault

    if not isinstance(error, Fault):
        return PyruncError(f"{document[0]}: {error}")
    place = error.place
    where = f"{document[0]}:{place.line}:{place.column}: "
    failure = PyruncError(where + error.what, hint=error.hint, lead=len(where), document=document)
    failure.place = place
    return failure


def refuse_depth(value: Any, name: str) -> None:
    """Refuse a JSON value that is nested too deeply for `without_nulls`, or to be written again. name: of what has it,
    for the error. Raises PyruncError."""
    if jsonio.is_deeper(value, _DEEPEST):
        raise PyruncError(f"{name}: nested too deeply", hint=f"{_DEEPEST} levels are allowed")


def _read(bundle: str, config: str, option: str) -> str:
    path = document(bundle, config)[1]
    try:
        data = inputs.read(path)
    except OSError as error:
        if error.errno == errno.ENOENT and option == "--config":
            from .foreign import missing_config

            raise missing_config(bundle, config) from error
        hint = f"{option} names a file"
        if error.errno == errno.EISDIR and option == "--config":
            hint = "name the bundle's directory by --bundle"
        elif error.errno not in (errno.EISDIR, errno.ENOENT):
            hint = inputs.hint(error)
        action = "read" if error.filename is None else "open"
        raise PyruncError(f"{action} {path}", errno=error.errno or 0, hint=hint) from error
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        hint = "it is UTF-16: save it as UTF-8" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "save it as UTF-8"
        raise PyruncError(f"{config}:{line}: byte 0x{data[error.start]:02x} is not UTF-8", hint=hint) from error


def _by_schema(value: Any, validator: Callable[[Any], tuple[str, str] | None], definition: str = "") -> None:
    violation = validator(value)
    if violation is None:
        return
    if not definition:
        from .foreign import refuse_foreign

        refuse_foreign(value)
    problem = _explained(value, violation[0], definition)
    if problem is not None:
        raise PyruncError(problem.message, pointer=problem.pointer, hint=problem.hint_text())
    raise PyruncError(sentence(value, *violation), pointer=violation[0])


def _explained(value: Any, pointer: str, definition: str) -> Problem | None:
    """The problem at a pointer with the nearest legal word; None without jsonschema."""
    try:
        from . import explain
    except ImportError:
        return None
    found = [problem for problem in explain.problems(value, definition) if problem.pointer == pointer]
    return found[0] if found else None
