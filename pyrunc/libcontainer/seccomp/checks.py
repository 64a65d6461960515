"""Checks of linux.seccomp that a schema can't express. If runc refuses it too, the message is runc's."""

from __future__ import annotations

from .constants import ACTIONS, NOTIFY, NUMBERED, WAIT_KILLABLE_RECV

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ..._generated.spec_types import Seccomp

_PLACE = "/linux/seccomp"
_EPERM = 1  # of SCMP_ACT_ERRNO without a number
_LETS_GO_ON = ("SCMP_ACT_ALLOW", "SCMP_ACT_LOG", "SCMP_ACT_NOTIFY", "SCMP_ACT_TRACE")


def check_seccomp(profile: Seccomp, error: Callable[[str, str, str], None]) -> None:
    """Report each contradiction in a profile that the schema accepts as `error(pointer, message, hint)`."""
    if profile["defaultAction"] == NOTIFY:
        error(
            _PLACE + "/defaultAction",
            "SCMP_ACT_NOTIFY cannot be used as default action",
            "name the system calls that the agent is to be asked about",
        )
    _number(profile["defaultAction"], "defaultErrnoRet", profile.get("defaultErrnoRet"), _PLACE, error)
    notifies = False
    for index, rule in enumerate(profile.get("syscalls") or ()):
        at = f"{_PLACE}/syscalls/{index}"
        _number(rule["action"], "errnoRet", rule.get("errnoRet"), at, error)
        if rule["action"] == NOTIFY:
            notifies = True
            if "write" in rule["names"]:
                # With runc the init has to write before the agent can answer. A profile should not depend on pyrunc.
                place = rule["names"].index("write")
                error(
                    f"{at}/names/{place}",
                    "SCMP_ACT_NOTIFY cannot be used for the write syscall",
                    "take write out of the names",
                )
    if notifies and not profile.get("listenerPath"):
        error(_PLACE + "/listenerPath", "seccomp listenerPath is not set", "set it to the socket of the seccomp agent")
    if profile.get("listenerMetadata") and not profile.get("listenerPath"):
        message = "listenerMetadata is set, but there is no listenerPath to send it to"
        error(_PLACE + "/listenerMetadata", message, "set listenerPath too")
    flags: Sequence[str] = profile.get("flags") or ()
    if not notifies and WAIT_KILLABLE_RECV in flags:
        at = f"{_PLACE}/flags/{flags.index(WAIT_KILLABLE_RECV)}"
        error(
            at,
            f"{WAIT_KILLABLE_RECV} says nothing without SCMP_ACT_NOTIFY, and the kernel refuses it",
            "leave the flag out",
        )


def _number(action: str, name: str, number: int | None, at: str, error: Callable[[str, str, str], None]) -> None:
    """The specification wants an error for an errno with an action that takes none."""
    if number is None:
        return
    most = NUMBERED.get(action)
    if most is None:
        error(
            f"{at}/{name}",
            f"{name} is set, but {action} takes none: {' and '.join(NUMBERED)} do",
            f"leave {name} out",
        )
    elif number > most:
        error(
            f"{at}/{name}",
            f"{name} must be at most {most} with {action}, not {number}",
            "it is what the system call returns, or what a tracer is told",
        )


class Refusal:
    """What a profile does to a system call. pointer: of the rule, or of the default. errno: what the call returns; 0 if
    the process is stopped."""

    __slots__ = ("action", "errno", "pointer")

    def __init__(self, action: str, pointer: str, errno: int) -> None:
        self.action = action
        self.pointer = pointer
        self.errno = errno


def refusal(profile: Seccomp, name: str) -> Refusal | None:
    """How a profile refuses a system call with any arguments; None if the call is executed. Rules that depend on
    arguments count as permission. Of several rules the first one counts that has another action than the default, as
    for libseccomp."""
    action, at, number = profile["defaultAction"], _PLACE + "/defaultAction", profile.get("defaultErrnoRet")
    default = decided = _value(action, number)
    for index, rule in enumerate(profile.get("syscalls") or ()):
        if name in rule["names"]:
            if rule.get("args"):
                return None
            value = _value(rule["action"], rule.get("errnoRet"))
            if decided == default != value:
                decided = value
                action, at, number = rule["action"], f"{_PLACE}/syscalls/{index}", rule.get("errnoRet")
    if action in _LETS_GO_ON:
        return None
    return Refusal(action, at, (_EPERM if number is None else number) if action == "SCMP_ACT_ERRNO" else 0)


def _value(action: str, number: int | None) -> tuple[int, int]:
    """An action with its number, for comparison: some actions have two names."""
    return ACTIONS[action], (_EPERM if number is None else number) if action in NUMBERED else 0


def refuses(profile: Seccomp, name: str) -> str:
    """The action of `refusal`; "" if the call is executed."""
    found = refusal(profile, name)
    return "" if found is None else found.action
