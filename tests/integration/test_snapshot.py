"""The launcher's snapshot (docs/launcher.md): its content must not depend on who makes it, or when."""

from __future__ import annotations

import opcode
import os
import re
import shutil
import struct
import subprocess
import sys
from pathlib import Path
from types import CodeType

import pytest

from launcher import freeze, pages
from tests.support.runtime import REPOSITORY

LINKED = REPOSITORY / "build/launcher/pyrunc.linked"


@pytest.fixture
def linked() -> Path:
    if not LINKED.exists():
        pytest.skip("needs `make launcher` with a static library of CPython")
    return LINKED


def is_trimmed() -> bool:
    """Whether the launcher starts only the core of CPython (launcher/trims)."""
    return (LINKED.parent / "trims" / "core.o").exists()


def test_nothing_is_asked_of_the_machine_while_it_is_made(linked: Path, tmp_path: Path) -> None:
    """No file, no id, no time: imports of hot modules only define things."""
    if shutil.which("strace") is None:
        pytest.skip("needs strace")
    trace = tmp_path / "trace"
    with open(tmp_path / "section", "wb") as section:
        subprocess.run(
            ["strace", "-qq", "-o", trace, "-e", "trace=%file,getpid,getuid,geteuid,getegid,uname", linked],
            stdout=section, stdin=subprocess.DEVNULL, env={"TZ": "UTC0"}, check=True,
        )  # fmt: skip
    # Left out: the C library's look at the time zone, for the module `time`, and from CPython 3.14 on at where the
    # stack is. If all of CPython is started, also its look at its own executable and at the standard streams.
    own = r'openat\(AT_FDCWD, "(/usr/share/zoneinfo/UTC0|/proc/self/maps)"'
    if not is_trimmed():
        own += r'|readlink\("/proc/pyrunc/|openat\(AT_FDCWD, "/proc/pyrunc|\w+\([012], "",'
    lines = [line for line in trace.read_text().splitlines() if re.match(own, line) is None]
    # The C library's own start, and the launcher's.
    calls = [line.partition("(")[0].removesuffix("at") for line in lines]
    own_start = (linked.parent / "trims" / "start.o").exists()
    assert calls == (["execve", "getcwd"] if own_start else ["execve", "readlink", "getcwd"])


def test_a11_two_builds_of_it_are_equal(linked: Path, tmp_path: Path) -> None:
    """A11: it has no seed, address, pid or time of the machine that builds it; its source is the same both times."""
    if not is_trimmed():
        pytest.skip("all of CPython's start leaves addresses of the process in it")
    order = linked.with_name("pyrunc.order").read_bytes()
    sections = [section_of(linked, order) for _ in range(3)]
    # As a shell starts what runs in the background, and nohup.
    ignoring = 'trap "" HUP INT QUIT TERM USR1 CHLD; exec env -i TZ=UTC0 "$0"'
    sections.append(section_of(linked, order, "sh", "-c", ignoring))
    assert {*sections} == {linked.with_name("pyrunc.section").read_bytes()}
    texts = []
    for name in ("one.c", "two.c"):
        command = [
            os.environ.get("LAUNCHER_PYTHON", "/usr/bin/python3"),
            "-IS",
            "-X",
            "no_debug_ranges",
            "launcher/freeze.py",
            str(tmp_path / name),
        ]
        subprocess.run(command, cwd=REPOSITORY, check=True)
        texts.append((tmp_path / name).read_bytes())
    assert texts[0] == texts[1]


def section_of(linked: Path, order: bytes, *before: str) -> bytes:
    """The snapshot that is made in this order. before: the words before the program's."""
    done = subprocess.run([*before, linked], input=order, stdout=subprocess.PIPE, env={"TZ": "UTC0"}, check=True)
    return done.stdout


# Functions that a `run` calls often, and the least share of specialised instructions among those that can be.
HOT = {
    ("pyrunc._generated.validators", "_mount"): 0.3,
    ("pyrunc.libcontainer.compile.context", "Context.init_step"): 0.6,
    ("pyrunc.libcontainer.compile.mount", "Mount.__init__"): 0.6,
    ("pyrunc.libcontainer.compile.mounts", "_bind"): 0.5,
    ("pyrunc.libcontainer.plan.model", "LaunchPlan.__init__"): 0.9,
    ("pyrunc.libcontainer.spec.mount_options", "parse"): 0.5,
    ("pyrunc.cli.fast_argv", "_scan"): 0.5,
    ("pyrunc.libcontainer.state", "judged"): 0.3,
}
# Functions that are not executed before the snapshot is written: they have effects.
WITH_EFFECTS = (
    ("pyrunc.libcontainer.launch.clone", "_by_living_thread"),
    ("pyrunc.libcontainer.cgroup.files", "_kill_threaded"),
)


def code_of(code: CodeType, name: str) -> CodeType:
    """The code of a function in the code of its module."""
    inner = {found.co_qualname: found for found in code.co_consts if isinstance(found, CodeType)}
    return inner[name] if name in inner else code_of(inner[name.partition(".")[0]], name)


def specialised(section: bytes, code: CodeType) -> list[tuple[str, bool]]:
    """Of each instruction of a function that can be specialised, its name and whether the snapshot has it so.

    The function is found by the arguments of its instructions: specialising changes opcodes and inline caches only.
    The snapshot may also have the memory from which the code was read. That has generic instructions.
    """
    units = code.co_code
    pattern, generic, at = b"", [], 0
    while at < len(units):
        caches = 2 * opcode._inline_cache_entries[units[at]]  # type: ignore[attr-defined]
        generic.append(units[at])
        pattern += b"(.)" + re.escape(units[at + 1 : at + 2]) + b".{%d}" % caches
        at += 2 + caches
    # CPython gives the specialised ones the free numbers in this order (Tools/scripts/generate_opcode_h.py).
    free = [number for number, name in enumerate(opcode.opname) if number and name.startswith("<")]
    names: list[str] = opcode._specialized_instructions  # type: ignore[attr-defined]
    fitting = {number for number, name in zip(free, names, strict=False) if not name.endswith("_ADAPTIVE")}
    kinds = {opcode.opmap[name] for name in opcode._specializations}  # type: ignore[attr-defined]
    able = [index for index, number in enumerate(generic) if number in kinds and opcode._inline_cache_entries[number]]  # type: ignore[attr-defined]
    copies = [match.groups() for match in re.finditer(pattern, section, re.DOTALL)]
    assert copies
    flags = max(([copy[index][0] in fitting for index in able] for copy in copies), key=sum)
    return [(opcode.opname[generic[index]], flag) for index, flag in zip(able, flags, strict=True)]


def test_what_commands_execute_is_specialised(linked: Path) -> None:
    with open(linked.with_name("frozen.gen.c")) as table:
        linked_version = table.readline()
    if "with Python 3.11." not in linked_version or sys.version_info[:2] != (3, 11):
        pytest.skip("the numbers of specialised instructions are those of CPython 3.11")
    section = linked.with_name("pyrunc.section").read_bytes()
    modules = freeze.reach()

    def instructions(module: str, name: str) -> list[tuple[str, bool]]:
        found = modules[module]
        assert found is not None
        return specialised(section, code_of(freeze.compiled(module, *found), name))

    def share(flags: list[bool]) -> float:
        return sum(flags) / len(flags)

    found = {place: share([flag for _, flag in instructions(*place)]) for place in HOT}
    assert {place: value for place, value in found.items() if value < HOT[place]} == {}
    for place in WITH_EFFECTS:
        listed = instructions(*place)
        assert all(flag for name, flag in listed if name == "LOAD_GLOBAL"), place
        assert {name for name, flag in listed if flag} <= {"LOAD_GLOBAL", "LOAD_ATTR", "LOAD_METHOD"}, place


def test_blocks_that_commands_use_stand_together(linked: Path) -> None:
    """In the order in which they are made, `run` would write to more than 400 pages of the heap."""
    order = linked.with_name("pyrunc.order").read_bytes()
    sizes = struct.unpack_from(f"={pages.AREAS}I", order)
    launches = pages.bit(pages.SETS.index("launch"))
    written = sum(size for users, size in enumerate(sizes[: pages.AREAS // 2]) if users & launches)
    assert written < (125 if is_trimmed() else 175) * pages.PAGE
    assert len(order) > 4 * pages.AREAS + 3000 * 8


@pytest.mark.skipif(shutil.which("readelf") is None, reason="needs readelf")
def test_code_and_constants_that_commands_use_stand_together(linked: Path) -> None:
    """The names in launcher/text.ld and the like are those of objects: without them, `run` maps 0.8 MB more."""
    if not is_trimmed():
        pytest.skip("another CPython has other objects")
    headers = subprocess.run(["readelf", "-SW", linked], capture_output=True, text=True, check=True).stdout
    found = {words[0]: words for line in headers.splitlines() if len(words := line.partition("]")[2].split()) > 5}
    symbols = subprocess.run(["nm", linked], capture_output=True, text=True, check=True).stdout.splitlines()
    addresses = {words[2]: int(words[0], 16) for words in map(str.split, symbols) if len(words) == 3}
    used = {
        ".text_run": ("_start", "_PyEval_EvalFrameDefault", "_PyImport_AcquireLock", "scan_once"),
        ".rodata_run": ("frozen_modules", "_PyUnicode_TypeRecords", "ffi_struct_count"),
    }
    for section, names in used.items():
        begin, size = int(found[section][2], 16), int(found[section][4], 16)
        outside = [name for name in names if name in addresses and not begin <= addresses[name] < begin + size]
        assert not outside, section
        assert size < 1_750_000


@pytest.mark.parametrize("kind", ["of another build", "cut off", "none"])
def test_a_bad_order_does_no_harm(linked: Path, tmp_path: Path, kind: str) -> None:
    """The numbers of blocks that the order names may belong to other blocks."""
    order = linked.with_name("pyrunc.order").read_bytes()
    head, places = order[: 4 * pages.AREAS], order[4 * pages.AREAS :]
    if kind == "of another build":
        shifted = [struct.pack("=IHH", n + 3, units, area) for n, units, area in struct.iter_unpack("=IHH", places)]
        order = head + b"".join(shifted)
    else:
        order = order[: len(order) // 2 + 3] if kind == "cut off" else b""
    (tmp_path / "section").write_bytes(section_of(linked, order))
    program = tmp_path / "pyrunc"
    subprocess.run(
        ["objcopy", "--update-section", f".snapshot={tmp_path / 'section'}", linked, program], check=True
    )  # fmt: skip
    (tmp_path / "root").mkdir()
    for words, said in ((["--version"], "pyrunc version "), (["--root", str(tmp_path / "root"), "list"], "ID ")):
        done = subprocess.run([program, *words], capture_output=True, text=True, check=True)
        assert done.stdout.startswith(said)


@pytest.mark.skipif(shutil.which("readelf") is None, reason="needs readelf")
def test_a11_the_launcher_is_hardened(linked: Path, tmp_path: Path) -> None:
    """A11: the table of function addresses is read-only once the program runs, no stack is executable, and functions
    with arrays on their stack check it."""
    headers = subprocess.run(["readelf", "-lW", linked], capture_output=True, text=True, check=True).stdout
    segments = headers.split("Section to Segment mapping:")[0]
    [relro] = [line.split() for line in segments.splitlines() if "GNU_RELRO" in line]
    begin, end = int(relro[2], 16), int(relro[2], 16) + int(relro[5], 16)
    sections = subprocess.run(["readelf", "-SW", linked], capture_output=True, text=True, check=True).stdout
    tables = [line.split("]")[1].split() for line in sections.splitlines() if "] .got" in line]
    assert tables
    for name, _, address, _, size, *_ in tables:
        assert begin <= int(address, 16) <= int(address, 16) + int(size, 16) <= end, name
    [stack] = [line for line in segments.splitlines() if "GNU_STACK" in line]
    assert " RWE " not in stack
    symbols = subprocess.run(["readelf", "-sW", linked], capture_output=True, text=True, check=True).stdout
    assert "__stack_chk_fail" in symbols


@pytest.mark.skipif(shutil.which("objdump") is None, reason="needs objdump")
def test_its_start_asks_the_processor_nothing(linked: Path) -> None:
    """A CPUID instruction leaves a virtual machine, and the C library's own start has dozens of them."""
    if not (linked.parent / "trims" / "start.o").exists():
        pytest.skip("launcher/trims/start.c is for another C library")
    code = subprocess.run(["objdump", "-d", "--no-show-raw-insn", linked], capture_output=True, text=True, check=True)
    functions = {words[1] for words in map(str.split, code.stdout.splitlines()) if len(words) == 2}
    assert "<__libc_start_main>:" in functions
    assert "cpuid" not in code.stdout


def test_who_builds_it_is_not_in_it(linked: Path) -> None:
    assert str(REPOSITORY).encode() not in linked.with_name("pyrunc.section").read_bytes()


def test_the_pages_that_commands_write_to_are_known(linked: Path) -> None:
    """Each set has pages, most of them also in the first set, and a second search finds the same with few
    exceptions.
    """
    order = linked.with_name("pyrunc.order").read_bytes()
    table = linked.with_name("pyrunc.table").read_bytes()
    assert linked.with_name("pyrunc.pages").read_bytes() == table + order
    sets = [int.from_bytes(table[at : at + pages.SET_BYTES], "little") for at in range(0, len(table), pages.SET_BYTES)]
    assert len(sets) == len(pages.SETS)
    others = sets[0]
    assert others
    for pages_of_set in sets[1:]:
        assert pages_of_set.bit_count() > others.bit_count()
        # 0.77 to 0.94 in five builds: `list` has pages of its own, and each build measures how blocks share pages.
        assert (pages_of_set & others).bit_count() > others.bit_count() * 0.5
    assert table in linked.with_name("pyrunc").read_bytes()
    if is_trimmed():
        again = pages.table(linked.with_name("pyrunc.woken"), order)
        changed = (int.from_bytes(table, "little") ^ int.from_bytes(again, "little")).bit_count()
        # The table of another build differs in more than a hundred.
        is_newer = linked.with_name("pyrunc.woken").stat().st_mtime > linked.with_name("pyrunc.pages").stat().st_mtime
        assert changed < 20, f"{changed} pages" + (", and a build in this tree goes on" if is_newer else "")
