"""csrc/wire/encode.c and csrc/wire/record.c."""

from typing import Any

from ._generated.spec_types import HookEntry, Updated
from .libcontainer.plan.model import Arg

class Step:
    """The attributes of a step, without the interpreter's work for each of them: see libcontainer/plan/model.py."""

    phase: str
    kind: str
    args: tuple[Arg, ...]
    pointer: str
    fallback_level: int
    on_errno: tuple[int, ...]
    def __init__(
        self,
        phase: str,
        kind: str,
        args: tuple[Arg, ...] = (),
        pointer: str = "",
        fallback_level: int = 0,
        on_errno: tuple[int, ...] = (),
    ) -> None: ...

def encode(steps: tuple[Step, ...], numbers: dict[str, int], slots: dict[str, int], /) -> tuple[int, bytes]:
    """Encode the init's steps: the sum of count + 1 over all `strv`, and the tokens.

    numbers: the number of each kind on the wire. slots: the descriptor of each slot that an `fd` field names.
    Raises ValueError with the numbers of the step and of the field if the value can't be encoded; the number of the
    field is -1 if the step has too high a level or too many errnos. Raises KeyError for a kind without a number, and
    TypeError for a step with fewer or more fields than its kind has.
    """

class Record:
    """The attributes of a container's record: see libcontainer/state.py."""

    annotations: dict[str, str]
    bundle: str
    cgroup: str
    created: str
    hooks: dict[str, list[HookEntry]]
    id: str
    ociVersion: str
    owner: int
    pid: int
    private_pid_namespace: bool
    rootfs: str
    startSteps: list[list[Any]]
    startTime: int
    systemd: dict[str, Any]
    updated: Updated
    def __init__(self, values: dict[str, Any], /) -> None:
        """Take every field from `values`. Raises KeyError if one is missing."""

def is_record(values: dict[str, Any], /) -> bool:
    """Whether these are the members of a state.json, each of them right, and `hooks` and `updated` empty. After False
    none need be wrong: state.py has all checks, also of hooks and updates. Raises TypeError if `values` is no dict.
    """
