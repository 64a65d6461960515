"""The command `update`. Hot."""

from __future__ import annotations

from .. import jsonio, log, paths
from ..errors import PyruncError
from ..libcontainer.spec import inputs
from ..libcontainer.spec.load import refuse_depth, without_nulls
from ..libcontainer.update.apply import Target

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from .._generated.spec_types import Resources
    from .settings import Settings

# option: (member of linux.resources, its field, the minimum of its value)
_NUMBERS = {
    "cpu_period": ("cpu", "period", 0),
    "cpu_quota": ("cpu", "quota", -(2**63)),
    "cpu_burst": ("cpu", "burst", 0),
    "cpu_share": ("cpu", "shares", 0),
    "cpu_rt_period": ("cpu", "realtimePeriod", 0),
    "cpu_rt_runtime": ("cpu", "realtimeRuntime", -(2**63)),
    "cpu_idle": ("cpu", "idle", 0),
}
_SIZES = {
    "memory": ("memory", "limit"),
    "memory_reservation": ("memory", "reservation"),
    "memory_swap": ("memory", "swap"),
}
_TEXTS = {"cpuset_cpus": ("cpu", "cpus"), "cpuset_mems": ("cpu", "mems")}
# The options other than limits, in the order of `Asked`.
_FILES = ("mount", "umount", "device", "device_rm")
_LARGEST = 2**63 - 1
# Powers of 1024, as Docker reads sizes: k is KiB.
_UNITS = "kmgtp"


def execute(settings: Settings, id: str, resources: str, **options: Any) -> int:
    """`update ID`: change the limits of a container, by a JSON file or by options, and its mounts and devices.

    Raises PyruncError after it has undone everything.
    """
    asked = None
    if any([options[name] for name in _FILES]):
        from ..libcontainer.update.words import Asked

        asked = Asked(*[options[name] for name in _FILES], cwd=paths.absolute("."))
    target = Target(settings.root, id)
    try:
        if resources:
            changes = read(resources)
            _warn_of_unused(options)
        else:
            changes = from_options(options)
        schemata = tuple([text for text in (options["l3_cache_schema"], options["mem_bw_schema"]) if text])
        target.change(changes, schemata, asked)
    except PyruncError as error:
        if not resources:
            _blame_option(error)
        raise
    finally:
        target.close()
    return 0


HANDLERS: dict[str, Callable[..., int]] = {"update": execute}


def read(path: str) -> Resources:
    """The object in a JSON file, or with "-" on stdin. Raises PyruncError."""
    name = "stdin" if path == "-" else path
    try:
        data = inputs.read(inputs.STDIN if path == "-" else paths.absolute(path))
    except OSError as error:
        hint = inputs.hint(error)
        raise PyruncError(f"reading the resources from {name}", errno=error.errno or 0, hint=hint) from error
    try:
        value = jsonio.loads(data.decode())
    except UnicodeDecodeError as error:
        raise PyruncError(f"the resources in {name} are not UTF-8") from error
    except ValueError as error:
        raise PyruncError(f"the resources in {name}: {error}") from error
    if type(value) is not dict:
        raise PyruncError(f"the resources in {name} must be an object, like linux.resources of config.json")
    refuse_depth(value, f"the resources in {name}")
    found: Resources = without_nulls(value)
    return found


def from_options(options: dict[str, Any]) -> Resources:
    """The options in the form of linux.resources. Raises PyruncError for an invalid value."""
    found: Any = {}
    for option, (member, field, least) in _NUMBERS.items():
        if options[option]:
            found.setdefault(member, {})[field] = _number(option, options[option], least)
    for option, (member, field) in _SIZES.items():
        if options[option]:
            found.setdefault(member, {})[field] = size(option, options[option])
    for option, (member, field) in _TEXTS.items():
        if options[option]:
            found.setdefault(member, {})[field] = options[option]
    if options["blkio_weight"]:
        found["blockIO"] = {"weight": options["blkio_weight"]}
    if options["pids_limit"]:
        found["pids"] = {"limit": options["pids_limit"]}
    for option in ("kernel_memory", "kernel_memory_tcp"):
        if options[option]:
            log.warning(f"Setting --{_flag(option)} is ignored and will be removed")  # wording of runc
    resources: Resources = found
    return resources


def _warn_of_unused(options: dict[str, Any]) -> None:
    """Name the options that have no effect beside --resources. runc says nothing of them."""
    for option in (*_NUMBERS, *_SIZES, *_TEXTS, "blkio_weight", "pids_limit", "kernel_memory", "kernel_memory_tcp"):
        if options[option]:
            log.warning(f"--{_flag(option)} is ignored: --resources has all limits")


def _blame_option(error: PyruncError) -> None:
    """Have an error name the option that its pointer's field comes from."""
    fields = {**{option: place[:2] for option, place in _NUMBERS.items()}, **_SIZES, **_TEXTS}
    fields |= {"blkio_weight": ("blockIO", "weight"), "pids_limit": ("pids", "limit")}
    for option, place in fields.items():
        if error.pointer.endswith("/" + "/".join(place)):
            error.origin = "--" + _flag(option)
    error.pointer = ""


def _flag(option: str) -> str:
    return option.replace("_", "-")


def _number(option: str, text: str, least: int) -> int:
    digits = text[1:] if text[:1] in ("+", "-") else text
    if not digits.isascii() or not digits.isdigit() or len(digits) > 20 or not least <= int(text) <= 2 * _LARGEST + 1:
        raise PyruncError(f'invalid value for {_flag(option)}: "{text}"', hint="a decimal number is wanted")
    return int(text)


def size(option: str, text: str) -> int:
    """Bytes as Docker writes them: `64m`, `1.5g`, `100KiB`, `-1` for no limit. Raises PyruncError."""
    if text == "-1":
        return -1
    word = text.lower().removesuffix("b").removesuffix("i")
    unit = word[-1:] if word[-1:] in _UNITS else ""
    number = word[: len(word) - len(unit)].removesuffix(" ")
    whole, _, fraction = number.partition(".")
    digits = whole + fraction
    if not whole or not digits.isascii() or not digits.isdigit() or len(digits) > 20:
        raise PyruncError(f'invalid value for {_flag(option)}: "{text}"', hint="bytes, or such as 64m, 1.5g or -1")
    factor = 1024 ** (_UNITS.index(unit) + 1) if unit else 1
    value: int = int(digits) * factor // 10 ** len(fraction)
    if value > _LARGEST:
        raise PyruncError(f'invalid value for {_flag(option)}: "{text}"', hint=f"at most {_LARGEST} bytes")
    return value
