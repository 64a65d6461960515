"""The commands ps, pause and resume. Hot, but for the table of `ps`."""

from __future__ import annotations

from .. import jsonio, output
from ..errors import PyruncError
from ..libcontainer import processes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from .settings import Settings

STDOUT = 1


def ps(settings: Settings, id: str, arguments: tuple[str, ...], format: str) -> int:
    """`ps ID [PS-OPTION…]`: the processes of a container, as the host's ps shows them or as a JSON array of pids."""
    if format not in ("table", "json"):
        raise PyruncError("invalid format option", hint="table and json are known")
    if format == "json":
        output.write(STDOUT, jsonio.dumps(processes.pids(settings.root, id)) + "\n")
        return 0
    # The launcher cannot run another program and read its output: it hands the command over here.
    from . import pstable

    output.write(STDOUT, pstable.table(processes.pids(settings.root, id), arguments))
    return 0


def pause(settings: Settings, id: str) -> int:
    """`pause ID`: freeze the container's cgroup."""
    processes.pause(settings.root, id)
    return 0


def resume(settings: Settings, id: str) -> int:
    """`resume ID`: thaw the container's cgroup."""
    processes.resume(settings.root, id)
    return 0


HANDLERS: dict[str, Callable[..., int]] = {"ps": ps, "pause": pause, "resume": resume}
