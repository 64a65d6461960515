"""crun's annotations and pyrunc's own: their effects. docs/annotations.md has the same table; a test compares them.

An annotation that changes ownership, access or limits is carried out or refused, never ignored. Engines pass their
users' annotations on, so the features structure names all annotations that are carried out
(`potentiallyUnsafeConfigAnnotations`). Only configurations with such an annotation import this module.
"""

from __future__ import annotations

from ...errors import pointer
from ..plan.host import BROKER, LANDLOCK

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from ..._generated.spec_types import Spec

PREFIX = "run.oci."
OWN_PREFIX = "org.pyrunc."
# The file of options that CRIU reads at a checkpoint and at a restore (criu/checkpoint.py).
CRIU_CONFIG = "org.criu.config"
WASM = "module.wasm.image/variant"

KEEP_GROUPS = PREFIX + "keep_original_groups"
CONTEXT_TYPE = PREFIX + "mount_context_type"
HOOKS_STDOUT = PREFIX + "hooks.stdout"
HOOKS_STDERR = PREFIX + "hooks.stderr"
RECEIVER = PREFIX + "seccomp.receiver"
BPF_DATA = PREFIX + "seccomp_bpf_data"
FAIL_UNKNOWN = PREFIX + "seccomp_fail_unknown_syscall"
PIDFD_RECEIVER = PREFIX + "pidfd_receiver"
SUBGROUP = PREFIX + "systemd.subgroup"
DELEGATE = PREFIX + "delegate-cgroup"

CONTEXT_TYPES = ("context", "fscontext", "defcontext", "rootcontext")

# These are carried out.
DONE = (KEEP_GROUPS, CONTEXT_TYPE, HOOKS_STDOUT, HOOKS_STDERR, RECEIVER, BPF_DATA, FAIL_UNKNOWN, PIDFD_RECEIVER)

# These are refused unless they are empty. The value says what to do instead.
REFUSED = {
    SUBGROUP: "the container's cgroup is the scope's own, as an empty value has it; leave the annotation out",
    DELEGATE: "give the container a cgroup namespace and a writable cgroup mount: it manages what is below its cgroup",
    PREFIX + "handler": "pyrunc executes programs of the host's kernel only: take crun for krun and wasm",
    WASM: "pyrunc executes programs of the host's kernel only: take crun with its wasm handler",
    PREFIX + "seccomp.plugins": "have an agent listen at linux.seccomp.listenerPath",
    PREFIX + "systemd.force_cgroup_v1": "pyrunc has cgroup v2 only",
    PREFIX + "timens_offset": "use linux.timeOffsets",
}

# crun itself writes these, into the features structure or for its own commands. They have no effect here.
IGNORED = (PREFIX + "crun.checkpoint.enabled", PREFIX + "crun.commit", PREFIX + "crun.version", PREFIX + "crun.wasm")

# Which containers of a pod has the CRI's annotation with the value sandbox.
_CONTAINER_TYPE = "io.kubernetes.cri.container-type"
_BY_HAND = "by hand, pyrunc broker --print-profile writes the configuration that has a broker asked"

_INSTRUCTION = 8  # bytes of a struct sock_filter
_MOST_INSTRUCTIONS = 4096  # BPF_MAXINSNS
_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"


def is_one(name: str) -> bool:
    """Whether this module knows an annotation, or its prefix says that it should."""
    return name.startswith((PREFIX, OWN_PREFIX)) or name == WASM


def is_set(annotations: Mapping[str, str], name: str) -> bool:
    """Whether a boolean annotation is true: it is there, and it is not `0`."""
    return annotations.get(name, "0") != "0"


def fill(spec: Spec) -> None:
    """Set the spec's members that annotations stand for. A member that is in the configuration keeps its value."""
    annotations = spec["annotations"]
    profile: Any = (spec.get("linux") or {}).get("seccomp")  # STRICT is no member of it
    if not profile:
        return
    receiver = annotations.get(RECEIVER)
    if receiver and not profile.get("listenerPath"):
        profile["listenerPath"] = receiver
    if is_set(annotations, FAIL_UNKNOWN):
        from ..seccomp.cache import STRICT

        profile[STRICT] = True


def check(
    annotations: Mapping[str, str],
    error: Callable[[str, str, str], None],
    warning: Callable[[str, str], None],
    has_agent: bool,
) -> None:
    """Report each refused annotation by `error(pointer, message, hint)`, and each unknown annotation with crun's prefix
    or pyrunc's by `warning(pointer, message)`. has_agent: whether linux.seccomp has a listenerPath."""
    for name, value in annotations.items():
        at = pointer("annotations", name)
        if name in REFUSED:
            if value:
                error(at, f"the annotation {name} is not supported", REFUSED[name])
        elif name in DONE:
            problem, hint = _judge(name, value)
            if problem:
                error(at, problem, hint)
        elif name == LANDLOCK:
            from .landlock import read

            for complaint in read(value)[1]:
                error(*complaint)
        elif name == BROKER:
            # The shim has written the listenerPath. A pod's own process, of a pause image, makes no such call.
            if not has_agent and annotations.get(_CONTAINER_TYPE) != "sandbox":
                error(at, f"the annotation {BROKER} has no effect without containerd-shim-pyrunc-v2", _BY_HAND)
        elif name.startswith((PREFIX, OWN_PREFIX)) and name not in IGNORED:
            warning(at, f"the annotation {name} is unknown and ignored")


def _judge(name: str, value: str) -> tuple[str, str]:
    """What is wrong with the value of an annotation that is carried out, and the hint. "" if it is right."""
    if name == CONTEXT_TYPE and value not in CONTEXT_TYPES:
        return f'invalid mount context type "{value}"', "one of " + ", ".join(CONTEXT_TYPES)
    if name in (RECEIVER, PIDFD_RECEIVER, HOOKS_STDOUT, HOOKS_STDERR) and not value.startswith("/"):
        return f'{name} must be an absolute path, not "{value}"', "write the path from / on"
    if name == BPF_DATA:
        try:
            size = len(decode(value))
        except ValueError as error:
            return f"{name} is no base64: {error}", "encode the array of struct sock_filter"
        if size % _INSTRUCTION or not 0 < size <= _INSTRUCTION * _MOST_INSTRUCTIONS:
            return (
                f"{name} has {size} bytes, which is no seccomp filter",
                f"1 to {_MOST_INSTRUCTIONS} instructions of {_INSTRUCTION} bytes",
            )
    return "", ""


def decode(text: str) -> bytes:
    """Decode base64 (RFC 4648, section 4); blanks and line ends are ignored. Raises ValueError.

    The launcher has no binascii.
    """
    letters = "".join(text.split())
    body = letters.rstrip("=")
    if len(letters) % 4 or len(letters) - len(body) > 2:
        raise ValueError("its length is no multiple of 4")
    bits = 0
    for letter in body:
        value = _ALPHABET.find(letter)
        if value < 0:
            raise ValueError(f'"{letter}" is no digit of it')
        bits = bits << 6 | value
    spare = len(body) * 6 % 8
    return (bits >> spare).to_bytes(len(body) * 6 // 8, "big")
