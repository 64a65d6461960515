"""The result of a comparison: differences, and what could not be compared."""

from __future__ import annotations


class Difference:
    """A difference between the container and its plan.

    pointer: JSON pointer of the configuration's field, also of an absent one. what: the subject.
    expected, found: the values as text.
    """

    __slots__ = ("expected", "found", "pointer", "what")

    def __init__(self, pointer: str, what: str, expected: str, found: str) -> None:
        self.pointer = pointer
        self.what = what
        self.expected = expected
        self.found = found

    def to_dict(self) -> dict[str, str]:
        """As a JSON object."""
        return {name: getattr(self, name) for name in ("pointer", "what", "expected", "found")}


class Findings:
    """The differences of one container, and (pointer, what, why) of what could not be compared."""

    __slots__ = ("differences", "unseen")

    def __init__(self) -> None:
        self.differences: list[Difference] = []
        self.unseen: list[tuple[str, str, str]] = []

    def differ(self, pointer: str, what: str, expected: str, found: str) -> None:
        """Add a difference."""
        self.differences.append(Difference(pointer, what, expected, found))

    def compare(self, pointer: str, what: str, expected: object, found: object) -> None:
        """Add a difference if two values differ."""
        if expected != found:
            self.differ(pointer, what, str(expected), str(found))

    def miss(self, pointer: str, what: str, why: str) -> None:
        """Add what could not be compared."""
        self.unseen.append((pointer, what, why))

    def to_dict(self) -> dict[str, object]:
        """As a JSON object."""
        unseen = [{"pointer": pointer, "what": what, "why": why} for pointer, what, why in self.unseen]
        return {"differences": [difference.to_dict() for difference in self.differences], "unseen": unseen}
