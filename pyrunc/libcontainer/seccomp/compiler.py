"""Compile linux.seccomp into a filter by libseccomp (seccomp_init(3) and the other pages of its manual).

Cold: the launcher hands a command over to the ordinary build when it imports this, so before its first effect.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Container, Sequence
from typing import TYPE_CHECKING

from ...errors import PyruncError, pointer
from . import cache
from .classic import INSTRUCTION_SIZE, MOST_INSTRUCTIONS, Instruction, packed
from .constants import ACTIONS, ARCHITECTURES, FAMILIES, FLAGS, NEW_LISTENER, NUMBERED, OPERATORS, WAIT_KILLABLE_RECV
from .enosys import stub
from .minimise import minimise

if TYPE_CHECKING:
    from ..._generated.spec_types import Seccomp, SeccompRule
    from ..._seccomp import FFI, Filter, Library
    from ..plan.model import LaunchPlan
    from .constants import Architecture

_UNKNOWN = -1  # __NR_SCMP_ERROR
# libseccomp's numbers from here down are of calls that socketcall(2) and ipc(2) make. On x86 with 32 bits such a call
# may have a number of its own too, for which libseccomp adds the rule as well. No call has a number above _HIGHEST.
_MULTIPLEXED, _HIGHEST = -100, 1023
_ATTR_CTL_OPTIMIZE = 8  # SCMP_FLTATR_CTL_OPTIMIZE: 2 is a binary tree
_BINARY_TREE = 2
# With so many names the filter is a binary tree, as with runc; libseccomp 2.5 fails for a tree without rules.
_MANY_NAMES = 32
# With these default actions the profile lists the refused calls, and other system calls are allowed; a tracer decides
# by itself.
_PERMISSIVE = ("SCMP_ACT_ALLOW", "SCMP_ACT_LOG", "SCMP_ACT_TRACE")


def compile_filter(profile: Seccomp) -> bytes:
    """Compile a valid linux.seccomp: an array of struct sock_filter, as small as `minimise` makes libseccomp's filter.

    Raises PyruncError with the pointer of a rule that libseccomp refuses, and without libseccomp.
    """
    program = minimise(library_filter(profile))
    count = len(program) // INSTRUCTION_SIZE
    if count > MOST_INSTRUCTIONS:
        raise PyruncError(
            f"the seccomp filter has {count} instructions: the kernel takes at most {MOST_INSTRUCTIONS}",
            pointer="/linux/seccomp/syscalls",
        )
    return program


def library_filter(profile: Seccomp) -> bytes:
    """The filter that libseccomp makes of a valid linux.seccomp, behind the instructions for newer calls.

    Rules are added as by runc: rules with the default action, and system calls that this libseccomp does not know, are
    skipped. If two conditions are about one argument, each becomes a separate rule.
    Raises PyruncError with the pointer of a rule that libseccomp refuses, and without libseccomp.
    """
    library = _library()
    if profile.get(cache.STRICT):
        _refuse_unknown(library, profile)
    default = action(profile["defaultAction"], profile.get("defaultErrnoRet"))
    tokens = _tokens(library, profile.get("architectures") or ())
    context = library.seccomp_init(default)
    if not context:  # NULL
        raise PyruncError("error creating filter", pointer="/linux/seccomp/defaultAction")
    try:
        for index, token in enumerate(tokens):
            result = library.seccomp_arch_add(context, token)
            if result not in (0, -errno.EEXIST):
                raise _refused("error adding architecture to seccomp filter", result, "architectures", index)
        if sum([len(rule["names"]) for rule in profile.get("syscalls") or ()]) > _MANY_NAMES:
            library.seccomp_attr_set(context, _ATTR_CTL_OPTIMIZE, _BINARY_TREE)
        for index, rule in enumerate(profile.get("syscalls") or ()):
            _add_rule(library, context, default, rule, index)
        program = _exported(library, context)
    finally:
        library.seccomp_release(context)
    return packed(_stub(library, profile, tokens)) + program


def compile_cached(root: str, profile: Seccomp, kernel: tuple[int, int]) -> bytes:
    """`compile_filter`, and put the filter into the cache of the state root. Raises PyruncError."""
    program = compile_filter(profile)
    cache.store(root, profile, kernel, program, library_file())
    return program


def measure(plan: LaunchPlan, profile: Seccomp | None) -> None:
    """Add the number of the filter's instructions to the plan, for `pyrunc plan`. Raises PyruncError."""
    for step in plan.prepare:
        if step.kind == "compile_seccomp" and profile:
            step.args = (*step.args[:-1], len(compile_filter(profile)) // INSTRUCTION_SIZE)


def library_file() -> str:
    """The file that libseccomp was loaded from. Raises PyruncError."""
    library = _library()
    name = library.library_file()
    if not name:  # NULL
        raise PyruncError("the file of libseccomp can't be told")
    return os.fsdecode(_ffi().string(name))


def version() -> str:
    """The version of libseccomp, such as "2.5.4"; "" without libseccomp."""
    try:
        found = _library().seccomp_version()
    except PyruncError:
        return ""
    return f"{found.major}.{found.minor}.{found.micro}"


def known_architectures() -> list[str]:
    """The architectures of the specification that libseccomp knows. Raises PyruncError."""
    library = _library()
    return [name for name in ARCHITECTURES if _token(library, name)]


def supported_flags() -> list[str]:
    """The flags of FLAGS that this kernel accepts. Raises PyruncError."""
    library = _library()
    bits = {name: bit | (NEW_LISTENER if name == WAIT_KILLABLE_RECV else 0) for name, bit in FLAGS.items()}
    return [name for name, bit in bits.items() if library.flags_error(bit) == errno.EFAULT]


def _library() -> Library:
    """libseccomp, of `pyrunc._seccomp`. Raises PyruncError if it was not built or libseccomp is gone."""
    try:
        from ... import _seccomp
    except ImportError as error:
        raise PyruncError(
            f"seccomp: config provided but seccomp not supported: {error}",
            pointer="/linux/seccomp",
            hint="pyrunc needs libseccomp (Debian package: libseccomp2; libseccomp-dev to build it)",
        ) from error
    return _seccomp.lib


def _ffi() -> FFI:
    """The interface of cffi, for the arguments and results of a library that was loaded before."""
    from ..._seccomp import ffi

    return ffi


def machine_architectures() -> list[Architecture]:
    """The architectures whose programs this machine may run: its own, the 32-bit one, and others. A filter ends a
    process that makes a call of one that it does not have. Empty for a machine that is not in the table. Raises
    PyruncError."""
    library = _library()
    native = library.seccomp_arch_native()
    return next((list(names) for names in FAMILIES.values() if _token(library, names[0]) == native), [])


def open_profile() -> Seccomp:
    """A profile that allows everything, with the architectures of the machine. Raises PyruncError."""
    return {"defaultAction": "SCMP_ACT_ALLOW", "architectures": [*machine_architectures()]}


def architecture(name: str) -> int:
    """libseccomp's number of an architecture (`SCMP_ARCH_…`); with "" the machine's. Raises PyruncError."""
    library = _library()
    token = _token(library, name) if name else library.seccomp_arch_native()
    if not token:
        raise PyruncError(f"libseccomp does not know the architecture {name}")
    return token


def find_number(call: str, token: int) -> int:
    """The number of a system call of an architecture; negative if there is none. Raises PyruncError without
    libseccomp."""
    found = _library().seccomp_syscall_resolve_name_arch(token, _bytes(call))
    return _highest([call], 0, token) or found if found <= _MULTIPLEXED else found


def _highest(calls: Container[str], number: int, token: int) -> int:
    """The highest number above another one that is of one of these calls; the other one if none is."""
    return next((each for each in range(_HIGHEST, number, -1) if call_name(each, token) in calls), number)


def covered(profile: Seccomp) -> list[int]:
    """libseccomp's numbers of the architectures that a profile covers: the machine's is always one. Raises
    PyruncError."""
    library = _library()
    return [library.seccomp_arch_native(), *_tokens(library, profile.get("architectures") or ())]


def call_number(call: str, token: int) -> int:
    """The number of a system call of an architecture, by its name or by itself. Raises PyruncError if there is none."""
    if call.isascii() and call.isdigit() and int(call) < 1 << 31:
        return int(call)
    found = find_number(call, token)
    if found == _UNKNOWN:
        meant = [edit for edit in _edits(call) if find_number(edit, token) > 0]
        raise PyruncError(
            f"libseccomp does not know the system call {call}", hint=f"did you mean {meant[0]}?" if meant else ""
        )
    if found < 0:
        raise PyruncError(f"this architecture has no system call {call}")
    return found


def call_name(number: int, token: int) -> str:
    """The name of a system call of an architecture; its number as text if libseccomp does not know it. Raises
    PyruncError."""
    library = _library()
    text = library.seccomp_syscall_resolve_num_arch(token, number)
    if not text:  # NULL
        return str(number)
    try:
        return _ffi().string(text).decode()
    finally:
        library.free(text)


def _bytes(name: str) -> bytes:
    """A name for libseccomp. One that is no UTF-8, or ends early for C, becomes one that nothing has."""
    return name.replace("\0", "?").encode("utf-8", "replace")


def _token(library: Library, name: str) -> int:
    """libseccomp's number of an architecture; 0 if it does not know it."""
    return library.seccomp_arch_resolve_name(_bytes(name.removeprefix("SCMP_ARCH_").lower()))


def _tokens(library: Library, names: Sequence[str]) -> list[int]:
    tokens = []
    for index, name in enumerate(names):
        token = _token(library, name)
        if not token:
            # Wording of runc.
            raise PyruncError(
                f"string {name} is not a valid arch for seccomp",
                pointer=f"/linux/seccomp/architectures/{index}",
                hint=f"libseccomp {version()} does not know it",
            )
        tokens.append(token)
    return tokens


def action(name: str, number: int | None) -> int:
    """The value that a filter returns for an action: the kernel's number with its errno, EPERM by default."""
    if name not in NUMBERED:
        return ACTIONS[name]
    return ACTIONS[name] | (errno.EPERM if number is None else number)


def _refused(what: str, result: int, *place: str | int) -> PyruncError:
    return PyruncError(what, errno=-result, pointer=pointer("linux", "seccomp", *place))


def _add_rule(library: Library, context: Filter, default: int, rule: SeccompRule, index: int) -> None:
    value = action(rule["action"], rule.get("errnoRet"))
    if value == default:
        return
    conditions = [
        {
            "arg": arg["index"],
            "op": OPERATORS[arg["op"]],
            "datum_a": arg["value"],
            "datum_b": arg.get("valueTwo", 0),
        }
        for arg in rule.get("args") or ()
    ]
    indexes = [condition["arg"] for condition in conditions]
    if len(set(indexes)) < len(indexes):
        groups = [[condition] for condition in conditions]
    else:
        groups = [conditions]
    ffi = _ffi()
    for place, name in enumerate(rule["names"]):
        number = library.seccomp_syscall_resolve_name(_bytes(name))
        if number == _UNKNOWN:
            continue
        for group in groups:
            array = ffi.new("struct scmp_arg_cmp[]", group)
            result = library.seccomp_rule_add_array(context, value, number, len(group), array)
            if result:
                what = f"error adding seccomp {'' if group else 'filter '}rule for syscall {name}"
                raise _refused(what, result, "syscalls", index, "names", place)


def _refuse_unknown(library: Library, profile: Seccomp) -> None:
    """Raise PyruncError for a system call that this machine's libseccomp does not know."""
    for index, rule in enumerate(profile.get("syscalls") or ()):
        for place, name in enumerate(rule["names"]):
            if library.seccomp_syscall_resolve_name(_bytes(name)) == _UNKNOWN:
                raise PyruncError(
                    f"libseccomp does not know the system call {name}",
                    pointer=pointer("linux", "seccomp", "syscalls", index, "names", place),
                    hint="correct it, or leave the annotation out that has unknown ones refused",
                )


def _exported(library: Library, context: Filter) -> bytes:
    fd = os.memfd_create("seccomp")
    try:
        result = library.seccomp_export_bpf(context, fd)
        if result:
            raise _refused("error exporting BPF", result)
        return os.pread(fd, os.fstat(fd).st_size, 0)
    finally:
        os.close(fd)


def _stub(library: Library, profile: Seccomp, tokens: list[int]) -> list[Instruction]:
    """The instructions before the filter. A profile always covers the machine's own architecture."""
    if profile["defaultAction"] in _PERMISSIVE:
        return []
    names = {name for rule in profile.get("syscalls") or () for name in rule["names"]}
    last = {}
    for token in dict.fromkeys([library.seccomp_arch_native(), *tokens]):
        numbers = [library.seccomp_syscall_resolve_name_arch(token, _bytes(name)) for name in names]
        # System calls of other architectures only have negative numbers.
        number = max(numbers, default=0)
        if any([each <= _MULTIPLEXED for each in numbers]):
            number = _highest(names, number, token)
        if number > 0:
            last[token] = number
    return stub(last)


def unknown_syscalls(profile: Seccomp) -> list[tuple[str, str, tuple[str, ...]]]:
    """The names in a profile that libseccomp knows for no machine: the pointer into linux.seccomp, the name, and the
    name that was probably meant, or none. Empty without libseccomp."""
    try:
        library = _library()
        tokens = [_token(library, name) for name in known_architectures()]
    except PyruncError:
        return []

    def known(name: str) -> bool:
        resolve = library.seccomp_syscall_resolve_name_arch
        return any(resolve(token, _bytes(name)) != _UNKNOWN for token in tokens)

    found = []
    for index, rule in enumerate(profile.get("syscalls") or ()):
        for place, name in enumerate(rule["names"]):
            if not known(name):
                meant = tuple([edit for edit in _edits(name) if known(edit)][:1])
                found.append((f"/syscalls/{index}/names/{place}", name, meant))
    return found


def _edits(word: str) -> list[str]:
    """A name in lower case, and all names with one edit."""
    word = word.casefold()
    letters = "abcdefghijklmnopqrstuvwxyz_0123456789"
    parts = [(word[:at], word[at:]) for at in range(len(word) + 1)]
    swapped = [left + right[1] + right[0] + right[2:] for left, right in parts if len(right) > 1]
    fewer = [left + right[1:] for left, right in parts if right]
    others = [left + letter + right[1:] for left, right in parts if right for letter in letters]
    more = [left + letter + right for left, right in parts for letter in letters]
    return [word, word.removeprefix("sys_"), *swapped, *fewer, *more, *others]
