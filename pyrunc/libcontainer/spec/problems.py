"""Problems of a configuration: the class, the context of the checks that find them, and their messages."""

from __future__ import annotations

from ... import jsonio
from ...errors import join
from ..kernel.constants import LAST_ID

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any, Literal

    from ..._generated.spec_types import IDMapping, Linux, Process, Spec

ERROR = "error"
WARNING = "warning"

_SIDES: tuple[Literal["containerID", "hostID"], ...] = ("containerID", "hostID")
_MAP_LINES = 340  # user_namespaces(7)
_MEMORY_POLICY = "/linux/memoryPolicy"


class Problem:
    """One thing that is wrong with a configuration.

    severity: ERROR if the configuration is refused, WARNING if some of it has no effect.
    pointer: JSON pointer (RFC 6901) of the field. message: one clause. nearest: the legal word that was probably meant.
    value, words: the word in the configuration and the legal words, if nearest has still to be found.
    hint: what to do, one clause, if no word is near; "" if the message says what the value must be.
    """

    __slots__ = ("hint", "message", "nearest", "pointer", "severity", "value", "words")

    def __init__(
        self,
        severity: str,
        pointer: str,
        message: str,
        *,
        nearest: str = "",
        value: str = "",
        words: Sequence[str] = (),
        hint: str = "",
    ) -> None:
        self.hint = hint
        self.severity = severity
        self.pointer = pointer
        self.message = message
        self.nearest = nearest
        self.value = value
        self.words = words

    def hint_text(self) -> str:
        """What to do, one clause; "" if there is nothing to add to the message."""
        return f'did you mean "{self.nearest}"?' if self.nearest else self.hint

    def line(self, place: str = "") -> str:
        """The problem in one line: `place: severity: pointer: message; hint`. place: such as config.json:47."""
        text = f"{place + ': ' if place else ''}{self.severity}: {self.pointer or '/'}: {self.message}"
        hint = self.hint_text()
        return join([f"{text}; {hint}" if hint else text])

    def to_dict(self) -> dict[str, str]:
        """The problem as a JSON object: severity, pointer, message, and if they are known, hint and nearest."""
        values = {"severity": self.severity, "pointer": self.pointer, "message": self.message}
        if self.hint:
            values["hint"] = self.hint
        if self.nearest:
            values["nearest"] = self.nearest
        return values


class CheckContext:
    """A spec as the checks read it, and the problems that they found."""

    __slots__ = ("found", "linux", "namespaces", "process", "spec")

    def __init__(self, spec: Spec, added: Iterable[str] = ()) -> None:
        """added: the types of the namespaces that the container gets anew besides those of the spec."""
        self.spec = spec
        self.process: Process = as_object(spec.get("process"))
        self.linux: Linux = as_object(spec.get("linux"))
        # path by type; "" for a new one
        self.namespaces: dict[str, str] = {}
        entries = self.linux.get("namespaces")
        for entry in entries if type(entries) is list else ():
            # `validate` runs checks on a spec that the schema has refused too
            if type(entry) is dict and type(entry.get("type")) is str:
                self.namespaces.setdefault(entry["type"], entry.get("path", ""))
        for type_of in added:
            self.namespaces.setdefault(type_of, "")
        self.found: list[Problem] = []

    def error(self, at: str, message: str, hint: str) -> None:
        self.found.append(Problem(ERROR, at, message, hint=hint))

    def warning(self, at: str, message: str) -> None:
        self.found.append(Problem(WARNING, at, message))


def shorten(value: object) -> str:
    """A value as JSON for a message; a long one is cut."""
    text = jsonio.dumps(value)
    return text if len(text) <= 60 else text[:57] + "..."


def label(at: str) -> str:
    """The name of the field at a pointer in a message: `type`, `options[2]`, or `config` for the whole file."""
    parts = at.split("/")
    name = ""
    while len(parts) > 1 and parts[-1].isdigit():
        name = f"[{parts.pop()}]" + name
    if len(parts) == 1:
        return "config" + name
    return (parts[-1].replace("~1", "/").replace("~0", "~") or '""') + name


def sentence(value: Any, pointer: str, what: str) -> str:
    """One clause about a place in a value: its name, what is wrong, and its value."""
    name = label(pointer)
    if pointer.startswith(_MEMORY_POLICY + "/"):
        name = f"invalid memory policy {name}:"  # wording of runc
    text = f"{name} {what}"
    if not what.startswith("must be"):
        return text
    for part in pointer.split("/")[1:]:
        value = value[int(part)] if type(value) is list else value[part.replace("~1", "/").replace("~0", "~")]
    return f"{text}, not {shorten(value)}"


def as_object(value: Any) -> Any:
    """A value of a configuration that nobody has judged, where it is an object; else an empty one."""
    return value if type(value) is dict else {}


def check_ranges(look: CheckContext, entries: Sequence[IDMapping], at: str) -> None:
    """Each id may be mapped once, in both directions (user_namespaces(7))."""
    if len(entries) > _MAP_LINES:
        look.error(
            at,
            f"{len(entries)} mappings: the kernel takes at most {_MAP_LINES}",
            "join ranges that follow each other",
        )
        return
    for side in _SIDES:
        end = 0
        above = -1
        for index in sorted(range(len(entries)), key=lambda index: entries[index].get(side, 0)):
            first = entries[index].get(side, 0)
            if first < end:
                look.error(f"{at}/{index}", f"{side} {first} is mapped by {at}/{above} too", "ranges must not overlap")
            if first + entries[index]["size"] > end:
                end = first + entries[index]["size"]
                above = index
        if end > LAST_ID + 1:
            look.error(f"{at}/{above}", f"{side} and size go beyond the last id, {LAST_ID}", "make the range smaller")
