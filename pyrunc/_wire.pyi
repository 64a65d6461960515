"""csrc/wire/encode.c."""

from .libcontainer.plan.model import Step

def encode(steps: tuple[Step, ...], numbers: dict[str, int], slots: dict[str, int], /) -> tuple[int, bytes]:
    """Encode the init's steps: the sum of count + 1 over all `strv`, and the tokens.

    numbers: the number of each kind on the wire. slots: the descriptor of each slot that an `fd` field names.
    Raises ValueError with the numbers of the step and of the field if the value can't be encoded; the number of the
    field is -1 if the step has too high a level or too many errnos. Raises KeyError for a kind without a number, and
    TypeError for a step with fewer or more fields than its kind has.
    """
