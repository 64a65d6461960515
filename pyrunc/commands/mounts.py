"""crun's command `mounts`: change the mounts of a running container by entries of a file. Cold."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from .. import jsonio, paths
from ..errors import PyruncError
from ..libcontainer.spec import inputs
from ..libcontainer.spec.load import refuse_depth, validate_mounts, without_nulls
from ..libcontainer.update.apply import Target
from ..libcontainer.update.words import Asked

if TYPE_CHECKING:
    from .._generated.spec_types import MountEntry
    from .settings import Settings

ACTIONS = ("add", "remove")


def mounts(settings: Settings, action: str, id: str, path: str) -> int:
    """`mounts add ID FILE`, `mounts remove ID FILE`: like `update --mount` and `--umount`, all or none.

    Raises PyruncError after it has undone everything.
    """
    if action not in ACTIONS:
        raise PyruncError(f'unknown action "{action}"', hint="mounts add or mounts remove")
    entries = read(path)
    asked = Asked(cwd=paths.absolute("."))
    if action == "add":
        asked.add_entries(entries)
    else:
        asked.remove_entries(entries)
    target = Target(settings.root, id)
    try:
        target.change({}, (), asked)
    except PyruncError as error:
        error.pointer = ""  # it would be one into the configuration, which names none of these
        raise
    finally:
        target.close()
    return 0


HANDLERS: dict[str, Callable[..., int]] = {"mounts": mounts}


def read(path: str) -> list[MountEntry]:
    """The array in a JSON file, or with "-" on stdin. Raises PyruncError if it is no array of mounts."""
    name = "stdin" if path == "-" else path
    try:
        data = inputs.read(inputs.STDIN if path == "-" else paths.absolute(path))
        value = jsonio.loads(data.decode())
    except OSError as error:
        hint = inputs.hint(error)
        raise PyruncError(f"reading the mounts from {name}", errno=error.errno or 0, hint=hint) from error
    except ValueError as error:
        raise PyruncError(f"the mounts in {name}: {error}") from error
    if type(value) is not list:
        raise PyruncError(f"the mounts in {name} must be an array, like mounts of config.json")
    refuse_depth(value, f"the mounts in {name}")
    value = without_nulls(value)
    validate_mounts(value)
    entries: list[MountEntry] = value
    return entries
