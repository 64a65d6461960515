"""Compare the container's process with its plan: ids, capabilities, seccomp, limits, scheduling, labels."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from ..kernel import native
from ..kernel.constants import CAPABILITIES, RLIMITS
from ..kernel.scheduling import IO_CLASSES, MEMORY_FLAGS, MEMORY_MODES, PERSONALITIES, POLICIES, SCHED_FLAGS, indices
from . import processfiles
from .processfiles import UNLIMITED, translated

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .differences import Findings
    from .expected import Expected

_PROCESS = "/process"
_CAPABILITIES = "/process/capabilities"
_SETS = {
    "bounding": "CapBnd", "effective": "CapEff", "permitted": "CapPrm", "inheritable": "CapInh", "ambient": "CapAmb",
}  # fmt: skip
_SECCOMP_MODES = {"0": "none", "1": "strict", "2": "filter"}
_SETGROUPS = 1  # of the step `user`: the groups were set
_RESET_ON_FORK = 1
_DEADLINE = 6
# The names of set_mempolicy(2)'s modes in numa_maps, by number.
_MEMORY_WORDS = ("default", "prefer", "bind", "interleave", "local", "prefer (many)", "weighted interleave")
_ONLINE = "/sys/devices/system/cpu/online"


def check(expected: Expected, pid: int, is_started: bool, findings: Findings) -> None:
    """Compare the process. is_started: whether it has executed the program; otherwise it is the waiting init.

    Raises OSError; ProcessLookupError and FileNotFoundError if it ends meanwhile.
    """
    status = processfiles.status(pid)
    _ids(expected, pid, status, findings)
    _capabilities(expected, status, is_started, findings)
    _restrictions(expected, status, is_started, findings)
    _limits(expected, pid, findings)
    _scheduling(expected, pid, findings)
    _affinity(expected, pid, findings)
    umask = expected.step("umask")
    if umask is not None and "Umask" in status:
        mask = int(str(umask.args[0]))
        if int(status["Umask"], 8) != mask:
            findings.differ("/process/user/umask", "umask", f"{mask:04o}", status["Umask"])
    for step in expected.steps("oom_score_adj", "write_oom_score_adj"):
        findings.compare(step.pointer, "oom_score_adj", str(step.args[0]), processfiles.text(pid, "oom_score_adj"))
    for step in expected.steps("personality"):
        domain = int(str(step.args[0]))
        found = processfiles.text(pid, "personality")
        if found is None:
            findings.miss(step.pointer, "personality", "/proc/PID/personality can't be read")
        elif int(found, 16) & 0xFF != domain:
            findings.differ(step.pointer, "personality", _word(PERSONALITIES, domain), found)
    if is_started:
        _labels(expected, pid, findings)
    _memory_policy(expected, pid, status, findings)


def _ids(expected: Expected, pid: int, status: dict[str, str], findings: Findings) -> None:
    """The real, effective, saved and file-system ids, and the groups."""
    step = expected.step("user")
    if step is None:
        return
    maps = {kind: processfiles.id_map(pid, kind) for kind in ("uid", "gid")}
    for kind, field, name in (("uid", "Uid", "uid"), ("gid", "Gid", "gid")):
        number = int(str(step.arg(name)))
        found = status[field].split()
        if any(int(word) != translated(number, maps[kind]) for word in found):
            shown = " ".join(_inside(int(word), maps[kind]) for word in found)
            what = f"{kind} (real, effective, saved, file system)"
            findings.differ(f"/process/user/{kind}", what, " ".join([str(number)] * 4), shown)
    if step.arg("set_groups") != _SETGROUPS:
        return
    groups = step.arg("groups")
    assert isinstance(groups, tuple)
    wanted = sorted({translated(int(group), maps["gid"]) for group in groups})
    has = sorted({int(word) for word in status["Groups"].split()})
    if wanted != has:
        shown = " ".join(_inside(group, maps["gid"]) for group in has)
        findings.differ("/process/user/additionalGids", "groups", " ".join(groups) or "none", shown or "none")


def _inside(number: int, lines: Sequence[tuple[int, int, int]]) -> str:
    """An id of this process's user namespace as an id of the container."""
    back = translated(number, [(outside, inside, size) for inside, outside, size in lines])
    return str(back) if back >= 0 else f"unmapped({number})"


def _capabilities(expected: Expected, status: dict[str, str], is_started: bool, findings: Findings) -> None:
    """Compare the five sets. A process may have reduced a set itself: that is no difference."""
    wanted = after_exec(expected) if is_started else before_exec(expected)
    for name, bits in wanted.items():
        found = int(status[_SETS[name]], 16)
        at, what = f"{_CAPABILITIES}/{name}", f"{name} capabilities"
        fewer, more = _names(bits & ~found), _names(found & ~bits)
        if fewer:
            findings.differ(at, what, f"with {fewer}", f"fewer than configured: without {fewer}")
        if more:
            findings.differ(at, what, f"without {more}", f"more than configured: with {more}")


def before_exec(expected: Expected) -> dict[str, int]:
    """The sets that the plan gives to the init; {} if the configuration has none."""
    bounding, sets, ambient = expected.step("bounding"), expected.step("capabilities"), expected.step("ambient")
    if bounding is None or sets is None or ambient is None:
        return {}
    return {
        "bounding": int(str(bounding.args[0])),
        "effective": int(str(sets.arg("effective"))),
        "permitted": int(str(sets.arg("permitted"))),
        "inheritable": int(str(sets.arg("inheritable"))),
        "ambient": int(str(ambient.args[0])),
    }


def after_exec(expected: Expected) -> dict[str, int]:
    """The sets that the program has after its execve, where its file has no capabilities (capabilities(7),
    "Transformation of capabilities during execve()" and "Capabilities and execution of programs by root").

    Capabilities that were held for loading the seccomp filter have been dropped by then.
    """
    sets = before_exec(expected)
    user = expected.step("user")
    if not sets or user is None:
        return sets
    if user.arg("uid") != 0:
        sets["permitted"] = sets["effective"] = sets["ambient"]
        return sets
    gained = sets["bounding"] | sets["inheritable"] | sets["ambient"]
    if expected.step("no_new_privileges") is not None:
        gained &= sets["permitted"]
    sets["permitted"] = sets["effective"] = gained
    return sets


def _names(bits: int) -> str:
    known = [name for number, name in enumerate(CAPABILITIES) if bits >> number & 1]
    return " ".join([*known, *(str(number) for number in range(len(CAPABILITIES), 64) if bits >> number & 1)])


def _restrictions(expected: Expected, status: dict[str, str], is_started: bool, findings: Findings) -> None:
    """Compare seccomp and no_new_privs. A process may have set them itself, or inherited them from a confined
    runtime."""
    own = processfiles.status("self")
    filtered = expected.step("seccomp")
    wanted = "2" if filtered is not None else own.get("Seccomp", "0")
    found = status.get("Seccomp")
    if found is None:
        findings.miss("/linux/seccomp", "seccomp", "this kernel does not tell")
    elif found != wanted and is_started:
        less = int(found) < int(wanted)
        text = _SECCOMP_MODES.get(found, found) + ("" if less else " (more restricted than configured)")
        findings.differ("/linux/seccomp", "seccomp mode", _SECCOMP_MODES.get(wanted, wanted), text)
    for step in expected.steps("landlock_restrict"):
        findings.miss(step.pointer, "Landlock", "the kernel does not tell which ruleset a process is under")
    wanted = "1" if expected.step("no_new_privileges") is not None else own.get("NoNewPrivs", "0")
    found = status.get("NoNewPrivs", wanted)
    if found != wanted:
        text = found + ("" if found == "0" else " (more restricted than configured)")
        findings.differ("/process/noNewPrivileges", "no_new_privs", wanted, text)


def _limits(expected: Expected, pid: int, findings: Findings) -> None:
    limits = processfiles.limits(pid)
    for step in expected.steps("rlimit", "prlimit"):
        if not step.pointer:
            continue  # the runtime's own limit, for its descriptors
        number = int(str(step.arg("resource")))
        wanted = (int(str(step.arg("soft"))), int(str(step.arg("hard"))))
        found = limits.get(number)
        if found is None:
            findings.miss(step.pointer, _word(RLIMITS, number), "the kernel does not tell it")
        elif found != wanted:
            findings.differ(step.pointer, _word(RLIMITS, number), _limit(wanted), _limit(found))


def _limit(pair: tuple[int, int]) -> str:
    soft, hard = ["unlimited" if number >= UNLIMITED else str(number) for number in pair]
    return f"soft {soft}, hard {hard}"


def _scheduling(expected: Expected, pid: int, findings: Findings) -> None:
    for step in expected.steps("scheduler", "set_scheduler"):
        policy, flags, nice, priority, *times = [int(str(value)) for value in step.args]
        found_policy, found_flags, found_nice, found_priority, *found_times = native.sched_getattr(pid)
        at = step.pointer
        findings.compare(f"{at}/policy", "scheduling policy", _word(POLICIES, policy), _word(POLICIES, found_policy))
        if (flags ^ found_flags) & _RESET_ON_FORK:
            names = [[name for name, bit in SCHED_FLAGS.items() if bits & bit] for bits in (flags, found_flags)]
            findings.differ(f"{at}/flags", "scheduling flags", *[" ".join(words) or "none" for words in names])
        if policy != found_policy:
            continue
        if policy in (POLICIES["SCHED_FIFO"], POLICIES["SCHED_RR"]):
            findings.compare(f"{at}/priority", "scheduling priority", priority, found_priority)
        elif policy != _DEADLINE:
            findings.compare(f"{at}/nice", "nice value", nice, found_nice)
        else:
            for name, wanted, found in zip(("runtime", "deadline", "period"), times, found_times, strict=True):
                if name != "period" or wanted:  # 0 is the deadline's
                    findings.compare(f"{at}/{name}", f"SCHED_DEADLINE's {name}", wanted, found)
    for step in expected.steps("io_priority", "set_io_priority"):
        wanted_io = (int(str(step.args[0])), int(str(step.args[1])))
        found_io = native.ioprio_get(pid)
        if wanted_io != found_io:
            shown = [f"{_word(IO_CLASSES, number)} {level}" for number, level in (wanted_io, found_io)]
            findings.differ(step.pointer, "I/O priority", *shown)


def _memory_policy(expected: Expected, pid: int, status: dict[str, str], findings: Findings) -> None:
    """Compare the memory policy. The kernel keeps the configured nodes that the cpuset has. It maps relative nodes to
    those of the cpuset, so they are not compared (set_mempolicy(2))."""
    for step in expected.steps("memory_policy"):
        found = processfiles.memory_policy(pid)
        if not found:
            findings.miss(step.pointer, "memory policy", "/proc/PID/numa_maps does not show it")
            continue
        numbers = step.arg("nodes")
        assert isinstance(numbers, tuple)
        nodes = {int(number) for number in numbers}
        word, is_relative = _memory_word(int(str(step.arg("mode"))), int(str(step.arg("flags"))), bool(nodes))
        found_word, _, found_nodes = found.partition(":")
        # Kernels before 6.8 do not show this flag.
        found_word = found_word.replace("|balancing", "").removesuffix("=balancing").removesuffix("=")
        kept = nodes & set(indices(status.get("Mems_allowed_list", "")))
        if found_word != word or not (is_relative or set(indices(found_nodes)) == kept):
            findings.differ(step.pointer, "memory policy", word + (":" + _list(nodes) if nodes else ""), found)


def _memory_word(mode: int, flags: int, has_nodes: bool) -> tuple[str, bool]:
    """A policy of numa_maps without its nodes, and whether the nodes are relative."""
    if mode == MEMORY_MODES["MPOL_PREFERRED"] and not has_nodes:
        mode = MEMORY_MODES["MPOL_LOCAL"]
    is_relative = bool(flags & MEMORY_FLAGS["MPOL_F_RELATIVE_NODES"])
    word = _MEMORY_WORDS[mode]
    if flags & MEMORY_FLAGS["MPOL_F_STATIC_NODES"]:
        word += "=static"
    return word + ("=relative" if is_relative else ""), is_relative


def _affinity(expected: Expected, pid: int, findings: Findings) -> None:
    """Compare the CPU affinity. The plan sets all CPUs, and the kernel keeps the online ones of the cgroup."""
    if expected.step("cpu_affinity") is None:
        return
    what, at = "CPU affinity", "/linux/resources/cpu/cpus"
    text = _cpus_of(expected.record.cgroup)
    if not text and processfiles.text(pid, "cpuset") in (None, "/"):  # of cgroup version 1
        text = _read(_ONLINE)
    if not text:
        findings.miss(at, what, "no cpuset controller tells which CPUs the container may use")
        return
    wanted = set(indices(text))
    found = os.sched_getaffinity(pid)
    if wanted != found:
        more = "" if found < wanted else " (more than configured)"
        findings.differ(at, what, text, _list(found) + (" (fewer than configured)" if found < wanted else more))


def _cpus_of(cgroup: str) -> str:
    """The CPUs that a cgroup may use; "" if its hierarchy has no cpuset controller."""
    while cgroup.startswith("/sys/fs/cgroup"):
        text = _read(cgroup + "/cpuset.cpus.effective")
        if text:
            return text
        cgroup = cgroup.rpartition("/")[0]  # without this controller the nearest parent that has it decides
    return ""


def _read(path: str) -> str:
    """The content of a file; "" if it is missing."""
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""


def _list(numbers: set[int]) -> str:
    return ",".join(str(number) for number in sorted(numbers))


def _labels(expected: Expected, pid: int, findings: Findings) -> None:
    """Compare the label that the program got at its execve."""
    for step in expected.steps("security_label"):
        attribute, label = str(step.args[0]), str(step.args[1])
        if attribute == "keycreate":
            continue
        found = None
        for name in ("attr/apparmor/current", "attr/current") if attribute == "apparmor/exec" else ("attr/current",):
            found = processfiles.text(pid, name)
            if found:
                break
        if found is None:
            findings.miss(step.pointer, "label", "/proc/PID/attr/current can't be read")
            continue
        wanted = label.removeprefix("exec ") if attribute == "apparmor/exec" else label
        if found.partition(" (")[0] != wanted:
            findings.differ(step.pointer, "label", wanted, found)


def _word(words: dict[str, int], number: int) -> str:
    return next((word for word, known in words.items() if known == number), str(number))
