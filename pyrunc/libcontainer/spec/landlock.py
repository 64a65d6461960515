"""The annotation `org.pyrunc.landlock`: a JSON object of what Landlock handles and allows (docs/landlock.md).

Only configurations with the annotation import this module. It reads and judges; compile/landlock.py makes steps of it.
"""

from __future__ import annotations

from ... import jsonio
from ...errors import pointer
from ..kernel import landlock
from ..plan.host import LANDLOCK
from .problems import shorten

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..kernel.landlock import Table

    # (JSON pointer, message, hint)
    Complaint = tuple[str, str, str]

AT = pointer("annotations", LANDLOCK)

# Bytes of the annotation. It bounds the number of rules, and so the size of a plan.
MOST_BYTES = 256 * 1024
_PATH_MAX = 4096

_FORM = f"docs/landlock.md has the form of {LANDLOCK}"


class Rule:
    """What is allowed beneath a path, or for a port. at: the JSON pointer of the path or port."""

    __slots__ = ("access", "at", "object")

    def __init__(self, object: str | int, access: int, at: str) -> None:
        self.object = object
        self.access = access
        self.at = at


class Named:
    """A right, scope or flag that is asked for: its word, its bit, the ABI that brought it, the JSON pointer."""

    __slots__ = ("abi", "at", "bit", "word")

    def __init__(self, word: str, bit: int, abi: int, at: str) -> None:
        self.word = word
        self.bit = bit
        self.abi = abi
        self.at = at


class Ruleset:
    """The annotation's meaning.

    fs, net, scoped, flags: what is handled, scoped, and set at the enforcement; each right with its pointer.
    paths, ports: the rules. strict: a kernel that lacks any of it is an error.
    """

    __slots__ = ("flags", "fs", "net", "paths", "ports", "scoped", "strict")

    def __init__(self) -> None:
        self.fs: list[Named] = []
        self.net: list[Named] = []
        self.scoped: list[Named] = []
        self.flags: list[Named] = []
        self.paths: list[Rule] = []
        self.ports: list[Rule] = []
        self.strict = False


def bits(asked: list[Named]) -> int:
    """The bit set of rights that are asked for."""
    value = 0
    for one in asked:
        value |= one.bit
    return value


def read(text: str) -> tuple[Ruleset, list[Complaint]]:
    """The ruleset of an annotation's value, and what is wrong with it. With complaints the ruleset is incomplete."""
    reader = _Reader()
    if len(text.encode("utf-8", "surrogatepass")) > MOST_BYTES:
        reader.refuse(AT, f"{LANDLOCK} has more than {MOST_BYTES} bytes", "allow directories instead of each file")
        return reader.ruleset, reader.complaints
    try:
        value = jsonio.loads(text)
    except ValueError as error:
        reader.refuse(AT, f"{LANDLOCK} is no JSON: {error}", _FORM)
        return reader.ruleset, reader.complaints
    reader.top(value)
    return reader.ruleset, reader.complaints


class _Reader:
    """Reads the object from the top, and notes what is wrong on the way."""

    __slots__ = ("complaints", "ruleset", "seen")

    def __init__(self) -> None:
        self.ruleset = Ruleset()
        self.complaints: list[Complaint] = []
        self.seen: dict[str | int, str] = {}  # the objects of rules, with their pointers

    def refuse(self, at: str, message: str, hint: str = "") -> None:
        self.complaints.append((at, message, hint))

    def top(self, value: Any) -> None:
        members = self.members(
            value, AT, {"ruleset": dict, "rules": dict, "flags": list, "strict": bool, "disableBestEffort": bool}
        )
        ruleset = self.ruleset
        strict, pr_name = members.get("strict"), members.get("disableBestEffort")
        if strict is not None and pr_name is not None and strict != pr_name:
            self.refuse(AT + "/disableBestEffort", "disableBestEffort and strict contradict each other", "keep one")
        ruleset.strict = bool(strict or pr_name)
        at = AT + "/ruleset"
        handled = self.members(
            members.get("ruleset", {}), at, {"handledAccessFS": list, "handledAccessNet": list, "scoped": list}
        )
        ruleset.fs = self.words(handled.get("handledAccessFS"), at + "/handledAccessFS", landlock.FS, "access right")
        ruleset.net = self.words(
            handled.get("handledAccessNet"), at + "/handledAccessNet", landlock.NET, "access right"
        )
        ruleset.scoped = self.words(handled.get("scoped"), at + "/scoped", landlock.SCOPES, "scope")
        ruleset.flags = self.words(members.get("flags"), AT + "/flags", landlock.FLAGS, "flag")
        if not self.complaints and not (ruleset.fs or ruleset.net or ruleset.scoped):
            hint = "name rights in handledAccessFS or handledAccessNet, or scopes in scoped"
            self.refuse(at, "the ruleset handles nothing", hint)
        at = AT + "/rules"
        rules = self.members(members.get("rules", {}), at, {"pathBeneath": list, "netPort": list})
        for index, rule in enumerate(rules.get("pathBeneath", ())):
            self.rule(rule, f"{at}/pathBeneath/{index}", "paths", landlock.FS, "handledAccessFS", ruleset.fs)
        for index, rule in enumerate(rules.get("netPort", ())):
            self.rule(rule, f"{at}/netPort/{index}", "ports", landlock.NET, "handledAccessNet", ruleset.net)

    def members(self, value: Any, at: str, types: dict[str, type]) -> dict[str, Any]:
        """The members of an object that have the right types; {} if it is none. An unknown member is refused: what it
        should forbid would be allowed."""
        if type(value) is not dict:
            self.refuse(at, f"{_label(at)} is not an object", _FORM)
            return {}
        good = {}
        for name, member in value.items():
            here = at + pointer(name)
            if name not in types:
                self.refuse(here, f"{shorten(name)} is unknown", _meant(name, tuple(types)))
            elif type(member) is not types[name]:
                self.refuse(here, f"{name} is not {_TYPES[types[name]]}", _FORM)
            else:
                good[name] = member
        return good

    def words(self, value: list[Any] | None, at: str, table: Table, what: str) -> list[Named]:
        """The rights, scopes or flags of an array."""
        known = {name: (1 << position, abi) for position, (name, abi) in enumerate(table)}
        found: dict[str, Named] = {}
        for index, word in enumerate(value or ()):
            here = f"{at}/{index}"
            if type(word) is not str:
                self.refuse(here, f"the {what} is not a text", "one of " + ", ".join(known))
            elif word not in known:
                self.refuse(here, f"unknown {what} {shorten(word)}", _meant(word, tuple(known)))
            elif word in found:
                self.refuse(here, f"{word} is listed twice", "keep one")
            else:
                found[word] = Named(word, *known[word], here)
        return list(found.values())

    def rule(self, value: Any, at: str, objects: str, table: Table, handler: str, handled: list[Named]) -> None:
        members = self.members(value, at, {"allowedAccess": list, objects: list})
        if type(value) is not dict:
            return
        for name in ("allowedAccess", objects):
            if not members.get(name) and (name in members or name not in value):
                self.refuse(f"{at}/{name}", f"{name} is {'empty' if name in members else 'missing'}", _FORM)
        allowed = self.words(members.get("allowedAccess"), at + "/allowedAccess", table, "access right")
        for right in allowed:
            if not right.bit & bits(handled):
                self.refuse(
                    right.at, f"{right.word} is allowed but not handled", f"add it to {handler}, or leave it out"
                )
        for index, entry in enumerate(members.get(objects, ())):
            here = f"{at}/{objects}/{index}"
            problem = _bad_path(entry) if objects == "paths" else _bad_port(entry)
            if problem:
                self.refuse(here, *problem)
                continue
            key = entry if type(entry) is int else entry.rstrip("/") or "/"
            if key in self.seen:
                shown = shorten(entry) if objects == "paths" else f"port {entry}"
                self.refuse(here, f"{shown} has a rule already", f"the one at {self.seen[key]}: put the rights there")
                continue
            self.seen[key] = here
            rules = self.ruleset.paths if objects == "paths" else self.ruleset.ports
            rules.append(Rule(entry, bits(allowed), here))


_TYPES = {dict: "an object", list: "an array", bool: "true or false"}


def _label(at: str) -> str:
    """The last part of a pointer; the annotation's name at the top."""
    return at.rpartition("/")[2]


def _meant(word: str, known: tuple[str, ...]) -> str:
    from .nearest import nearest

    meant = nearest(word, known)
    return f'did you mean "{meant}"?' if meant else "one of " + ", ".join(known)


def _bad_path(path: Any) -> tuple[str, str] | None:
    if type(path) is not str:
        return "the path is not a text", "a path in the container, from / on"
    if not path.startswith("/"):
        return f"the path {shorten(path)} is not absolute", "write the path from / on, as the container sees it"
    if "\0" in path:
        return "the path has a NUL", "no path has one"
    if len(path.encode("utf-8", "surrogatepass")) >= _PATH_MAX:
        return f"the path has more than {_PATH_MAX - 1} bytes", "the kernel takes no longer one"
    return None


def _bad_port(port: Any) -> tuple[str, str] | None:
    if type(port) is not int:
        return "the port is not a whole number", f"0 to {landlock.MOST_PORT}"
    if not 0 <= port <= landlock.MOST_PORT:
        return f"the port {shorten(port)} is out of range", f"0 to {landlock.MOST_PORT}"
    return None
