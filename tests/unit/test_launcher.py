"""The launcher's parts: the frozen modules, the binding of native.h, and its C modules in the place of the ordinary
ones.

This test builds the C modules as shared objects, and runs the unit tests of the Python modules above them with them.
"""

from __future__ import annotations

import ctypes
import gc
import importlib.util
import json
import mmap
import os
import re
import struct
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from importlib.machinery import ExtensionFileLoader
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from generate import argv
from launcher import bindings, freeze, pages
from pyrunc import launcher as required
from pyrunc.libcontainer.seccomp import cache
from pyrunc.libcontainer.spec.checks import check
from pyrunc.libcontainer.spec.load import validate
from pyrunc.libcontainer.spec.problems import ERROR

ROOT = Path(__file__).resolve().parents[2]
NATIVE = ROOT / "csrc" / "native"
LAUNCHER = ROOT / "launcher"


# ---- what is frozen --------------------------------------------------------------------------------------------------


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A package `pyrunc` of the test's own, to freeze."""
    (tmp_path / "pyrunc" / "sub").mkdir(parents=True)
    (tmp_path / "pyrunc" / "cli").mkdir()
    (tmp_path / "pyrunc" / "libcontainer").mkdir()
    for name in ("__init__", "sub/__init__", "sub/leaf", "cli/__init__", "cli/program", "libcontainer/__init__"):
        (tmp_path / "pyrunc" / f"{name}.py").write_text("")
    return tmp_path


def frozen(package: Path, source: str) -> set[str]:
    (package / "pyrunc" / "main.py").write_text(source)
    return set(freeze.reach(root=package))


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("import posix, sys", {"posix"}),
        ("from .sub import leaf", {"pyrunc.sub", "pyrunc.sub.leaf"}),
        ("from . import sub", {"pyrunc.sub"}),
        ("import pyrunc.sub.leaf", {"pyrunc.sub", "pyrunc.sub.leaf"}),
        ("from .sub.leaf import thing", {"pyrunc.sub", "pyrunc.sub.leaf"}),
        ("def f():\n    from .sub import leaf", {"pyrunc.sub", "pyrunc.sub.leaf"}),
        ("if TYPE_CHECKING:\n    import typing", set()),
        ("from __future__ import annotations", set()),
        ("try:\n    import json\nexcept ImportError:\n    pass", set()),
        ("from .cli.program import main", {"pyrunc.cli", "pyrunc.cli.program"}),
        (
            "try:\n    from .cli import program\nexcept ImportError:\n    pass",
            {"pyrunc.cli", "pyrunc.cli.program"},
        ),
    ],
)
def test_what_is_imported_is_frozen(package: Path, source: str, names: set[str]) -> None:
    assert frozen(package, source) == {"pyrunc", "pyrunc.main"} | names


@pytest.mark.parametrize("source", ["import re", "\n\nfrom .absent import x", "def f():\n    import json"])
def test_an_import_that_the_launcher_has_not_is_named_with_its_line(package: Path, source: str) -> None:
    line = source[: source.index("import")].count("\n") + 1
    with pytest.raises(freeze.FreezeError, match=rf"pyrunc/main\.py:{line}: the launcher has no module"):
        frozen(package, source)


def test_an_interpreter_without_a_built_in_module(monkeypatch: pytest.MonkeyPatch) -> None:
    """As CPython's own build, which has sockets as a shared object."""
    rest = tuple([name for name in sys.builtin_module_names if name not in ("_socket", "select")])
    builtin = (*rest, "_signal", "errno", "fcntl", "posix", "time")
    monkeypatch.setattr("sys.builtin_module_names", (*builtin, "_socket", "select"))
    freeze.check_interpreter()
    monkeypatch.setattr("sys.builtin_module_names", builtin)
    with pytest.raises(freeze.FreezeError, match="has no built-in _socket and no built-in select, which the launcher"):
        freeze.check_interpreter()


def test_annotations_and_docstrings_are_not_frozen(package: Path) -> None:
    source = [
        '"""Docs."""',
        "x: Missing",
        "y: Missing = 1",
        "class C:",
        "    z: Missing",
        "def f(a: Missing, *, b: Missing = 2) -> Missing: return a + b",
    ]
    (package / "pyrunc" / "main.py").write_text("\n".join(source))
    module = freeze.reach(root=package)["pyrunc.main"]
    assert module is not None
    space: dict[str, Any] = {"__name__": "pyrunc.main"}
    exec(freeze.compiled("pyrunc.main", *module), space)
    assert space["f"](1) == 3
    assert space["f"].__annotations__ == {}
    assert space["y"] == 1
    assert space.get("__doc__") is None


def test_the_table_is_sorted_as_the_search_in_it_needs(package: Path) -> None:
    (package / "pyrunc" / "main.py").write_text("import time, posix\nfrom .sub import leaf\nfrom .cli import program\n")
    modules = freeze.reach(root=package)
    rows = [line.split('"')[1] for line in freeze.table(modules).splitlines() if ".kind = " in line]
    assert rows == sorted(rows, key=str.encode)
    assert set(rows) == set(modules)


def test_pyrunc_itself_can_be_frozen() -> None:
    reached = freeze.reach()
    assert {"pyrunc.main", "pyrunc.libcontainer.launch.launch", "pyrunc.cli.program"} <= set(reached)
    assert {name for name in reached if name.startswith("pyrunc.cli.")} == {
        "pyrunc.cli.fast_argv",
        "pyrunc.cli.program",
    }


# ---- the binding of native.h -----------------------------------------------------------------------------------------


def test_declarations_are_read() -> None:
    header = """
/* struct no { int x; }; */
struct pair {
    int a;
    const char *text;
    uint64_t wide;
};
int64_t f(struct pair *p, const int *n, int m[2]);
int g(void);
"""
    assert bindings.structs(header) == [("struct pair", [("int", "a"), ("char *", "text"), ("uint64_t", "wide")])]
    assert bindings.functions(header) == [("int64_t", "f", ["struct pair *", "int *", "int *"]), ("int", "g", [])]


def test_a_type_without_a_conversion_is_an_error() -> None:
    with pytest.raises(ValueError, match="no conversion for double"):
        bindings.source("int f(double x);\n")


def test_every_function_of_the_header_is_bound() -> None:
    header = (NATIVE / "native.h").read_text()
    declared = {line.partition("(")[0].split()[-1] for line in header.splitlines() if line.endswith(");")}
    bound = {line.split('"')[1] for line in bindings.source(header).splitlines() if "METH_FASTCALL" in line}
    assert bound == declared
    assert "pyrunc_clone_init" in bound


# ---- the C modules ---------------------------------------------------------------------------------------------------


def load(name: str, path: Path) -> ModuleType:
    loader = ExtensionFileLoader(name, str(path))
    spec = importlib.util.spec_from_loader(name, loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def objects(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the launcher's C modules as shared objects: _json.so, _core.so and _prctl.so."""
    directory = tmp_path_factory.mktemp("launcher")
    (directory / "bindings.gen.c").write_text(bindings.source((NATIVE / "native.h").read_text()))
    parent = sorted(NATIVE.glob("*.c"))
    sources = {
        "_json": [LAUNCHER / "json.c"],
        "_core": [LAUNCHER / "ffi.c", directory / "bindings.gen.c", *parent],
        "_prctl": [LAUNCHER / "prctl.c"],
    }
    include = [f"-I{sysconfig.get_path('include')}", f"-I{NATIVE}", f"-I{LAUNCHER}"]
    for name, files in sources.items():
        command = ["gcc", "-std=gnu11", "-O1", "-shared", "-fPIC", *include, *files, "-o", directory / f"{name}.so"]
        subprocess.run([str(word) for word in command], check=True)
    return directory


@pytest.fixture(scope="session")
def c_json(objects: Path) -> ModuleType:
    return load("_json", objects / "_json.so")


# Puts the launcher's modules in the place of the ordinary ones, hides json from pyrunc.jsonio as the launcher does, and
# runs the named tests.
STAND_IN = """
import builtins, importlib.util, json, sys
from importlib.machinery import ExtensionFileLoader
directory, root = sys.argv[1:3]
sys.path.insert(0, root)

def load(name, loader=None):
    spec = importlib.util.spec_from_loader(name, loader) if loader else importlib.util.find_spec(name)
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    module.__builtins__ = {**vars(builtins), "__import__": import_without_json}
    spec.loader.exec_module(module)
    return module

def import_without_json(name, *rest):
    if name == "json":
        raise ImportError(name)
    return __import__(name, *rest)

import pyrunc
for name in ("_json", "pyrunc._core", "_prctl"):
    load(name, ExtensionFileLoader(name, f"{directory}/{name.rpartition('.')[2]}.so"))
pyrunc.jsonio = load("pyrunc.jsonio")
import pytest
from pyrunc.libcontainer.kernel import native
assert "_cffi_backend" not in sys.modules
raise SystemExit(pytest.main(["-q", "-p", "no:cacheprovider", f"--rootdir={root}", *sys.argv[3:]]))
"""


@pytest.mark.parametrize(
    "tests",
    ["tests/unit/libcontainer/kernel/test_native.py", "tests/unit/test_jsonio.py", "tests/unit/test_log.py"],
)
def test_the_modules_stand_in_for_the_ordinary_ones(objects: Path, tests: str) -> None:
    command = [sys.executable, "-c", STAND_IN, objects, ROOT, tests]
    result = subprocess.run(
        [str(word) for word in command], check=False, cwd=ROOT, capture_output=True, text=True, stdin=subprocess.DEVNULL
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert " passed" in result.stdout


class Context:
    strict = True
    object_hook = None
    object_pairs_hook = None
    parse_float = float
    parse_int = int

    @staticmethod
    def parse_constant(word: str) -> None:
        raise ValueError(f"{word} is no JSON value")


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=12,
)
PIECES = st.sampled_from(
    [*'{}[]",:\\ \n\t-+.eE0123456789x', *"é☃\x01", *'true fals null 1.5 -0 "a" "a":1 \\u12 \\ud83d \\ude00 \\n'.split()]
)


@st.composite
def damaged(draw: st.DrawFn) -> str:
    """The text of a value with a piece removed or inserted."""
    text = json.dumps(draw(VALUES), ensure_ascii=draw(st.booleans()), indent=draw(st.sampled_from([None, 1])))
    start = draw(st.integers(0, len(text)))
    end = draw(st.integers(start, min(len(text), start + 3)))
    return text[:start] + draw(PIECES | st.just("")) + text[end:]


def outcome(read: Callable[[], Any]) -> str:
    """The value and its end as text (in which 1 is not 1.0), or that the text is refused."""
    try:
        return repr(read())
    except ValueError:
        return "refused"


@given(st.lists(PIECES, max_size=12).map("".join) | damaged())
def test_the_scanner_takes_what_json_takes(c_json: ModuleType, text: str) -> None:
    scan = c_json.make_scanner(Context)
    decoder = json.JSONDecoder(parse_constant=Context.parse_constant)
    start = len(text) - len(text.lstrip(" \t\n\r"))
    assert outcome(lambda: scan(text, start)) == outcome(lambda: decoder.raw_decode(text, start))


@given(VALUES)
def test_the_encoder_writes_what_json_writes(c_json: ModuleType, value: Any) -> None:
    encode = c_json.make_encoder(None, None, None, None, ":", ",", False, False, False)
    assert "".join(encode(value, 0)) == json.dumps(value, ensure_ascii=False, separators=(",", ":"))


@given(st.text())
def test_a_string_is_written_as_json_writes_it(c_json: ModuleType, text: str) -> None:
    assert c_json.encode_basestring(text) == json.dumps(text, ensure_ascii=False)


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000])
def test_deep_nesting_is_refused(c_json: ModuleType, text: str) -> None:
    with pytest.raises(RecursionError):
        c_json.make_scanner(Context)(text, 0)


def test_what_has_no_form_in_json_is_refused(c_json: ModuleType) -> None:
    def refuse(value: object) -> None:
        raise TypeError(f"no {type(value).__name__}")

    encode = c_json.make_encoder(None, refuse, None, None, ":", ",", False, False, False)
    with pytest.raises(TypeError, match="no set"):
        encode([{1}], 0)
    with pytest.raises(TypeError, match="keys must be str, not int"):
        encode({1: 2}, 0)
    with pytest.raises(ValueError, match="not JSON compliant"):
        encode(float("inf"), 0)
    circle: list[Any] = []
    circle.append(circle)
    with pytest.raises(RecursionError):
        encode(circle, 0)


@pytest.fixture(scope="session")
def core(objects: Path) -> ModuleType:
    return load("pyrunc._core", objects / "_core.so")


@pytest.mark.parametrize(
    ("call", "error"),
    [
        ("lib.pyrunc_setns(1)", TypeError),
        ("lib.pyrunc_setns('1', 0)", TypeError),
        ("lib.pyrunc_setns(1 << 40, 0)", OverflowError),
        ("lib.pyrunc_signalfd(-1)", OverflowError),
        ("lib.pyrunc_listen('text')", TypeError),
        ("lib.pyrunc_clone_init(ffi.new('int[2]'))", TypeError),
        ("lib.pyrunc_poll(3, 1, 1, 0, 0, ffi.new('char[]', 1))", TypeError),
        ("lib.pyrunc_poll(['x'], 1, 1, 0, 0, ffi.new('char[]', 1))", TypeError),
        ("lib.pyrunc_socketpair(ffi.new('char[]', 8))", TypeError),
        ("ffi.new('double[2]')", TypeError),
        ("ffi.new('struct unknown *')", TypeError),
        ("ffi.new('int[]')", TypeError),
        ("ffi.new('int[]', -1)", ValueError),
        ("ffi.new('int[]', ['x'])", TypeError),
        ("ffi.new('int[]', b'text')", TypeError),
        ("ffi.new('int[2]')[2]", IndexError),
        ("ffi.new('struct pyrunc_clone *').unknown", AttributeError),
        ("ffi.new('struct pyrunc_clone *').args", TypeError),
        ("setattr(ffi.new('struct pyrunc_clone *'), 'pid', 1 << 40)", OverflowError),
        ("setattr(ffi.new('struct pyrunc_clone *'), 'args', b'text')", TypeError),
        ("ffi.from_buffer(b'text', require_writable=True)", BufferError),
        ("ffi.cast('int', ffi.new('int *'))", TypeError),
    ],
)
def test_a_wrong_use_of_the_binding_raises(core: ModuleType, call: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        eval(call, {"ffi": core.ffi, "lib": core.lib, "setattr": setattr})


def test_memory_is_shared_with_a_buffer(core: ModuleType) -> None:
    data = bytearray(b"abc")
    view = core.ffi.from_buffer(data)
    data[0] = ord("x")
    assert (len(view), view[0], bytes(core.ffi.buffer(view, 2))) == (3, b"x", b"xb")
    assert list(core.ffi.new("int[]", [1, -2])) == [1, -2]
    assert list(core.ffi.new("char[]", b"a")) == [b"a", b"\0"]


def test_the_modules_that_the_snapshot_does_not_hold_are_in_the_table() -> None:
    modules = freeze.reach()
    assert {name for name in freeze.ON_DEMAND if modules.get(name) is None} == set()
    assert [name for name in freeze.LAST if not any(module.startswith(name) for module in modules)] == []


def test_the_snapshot_holds_the_rest_in_the_order_of_use() -> None:
    modules = freeze.reach()
    names = sorted(modules)
    line = next(line for line in freeze.table(modules).splitlines() if "frozen_held[] = " in line)
    held = [names[int(number)] for number in line.partition("{")[2].partition("}")[0].split(", ")]
    assert set(held) == {name for name in names if not freeze.is_cold(name)} - freeze.ON_DEMAND
    late = [name.startswith(freeze.LAST) for name in held]
    assert late == sorted(late)


def test_what_is_required_is_what_the_launcher_lacks() -> None:
    assert all(freeze.is_cold(name) for name in required.LACKING.values())
    assert freeze.reach()["_launcher"] is None, "the launcher has what hands over"


def test_the_ordinary_build_has_all_that_is_required() -> None:
    assert not required.is_launcher()
    required.rest()
    for part, module in required.LACKING.items():
        required.require(part)
        assert importlib.util.find_spec(module) is not None
    with pytest.raises(KeyError):
        required.require("no such part")


def test_in_the_launcher_what_is_required_hands_over(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    own = SimpleNamespace(hand_over=lambda: calls.append("handed over"), rest=lambda: calls.append("rested"))
    monkeypatch.setattr(required, "_launcher", own)
    required.require("systemd")
    required.rest()
    assert calls == ["handed over", "rested"]


# ---- the pages that commands write to --------------------------------------------------------------------------------


def test_the_sets_of_pages_are_the_launchers() -> None:
    source = (LAUNCHER / "snapshot.c").read_text()
    assert f"enum set {{ {', '.join(name.upper() for name in pages.SETS)}, SETS }};" in source
    assert f"enum {{ SET_BYTES = {pages.SET_BYTES} }};" in source
    found = dict(re.findall(r'\{"(\w+)", ([A-Z]+)\}', source))
    assert set(found) == set(argv.HOT) - {"list"}
    assert set(found.values()) == {name.upper() for name in pages.SETS[1:]}


def test_a_page_that_was_written_to_is_copied(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(6 * pages.PAGE))
    with path.open("r+b") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY) as memory:
        begin = ctypes.addressof(ctypes.c_char.from_buffer(memory))
        gc.collect()  # frees the object that had the address
        assert [memory[number * pages.PAGE] for number in range(6)] == [0] * 6
        memory[pages.PAGE] = 1
        memory[4 * pages.PAGE + 7] = 0
        assert pages.copied(os.getpid(), range(begin, begin + 6 * pages.PAGE)) == {1, 4}


def test_each_page_has_a_bit() -> None:
    bits = pages.bitmap({0, 3, 8, pages.SET_BYTES * 8})
    assert bits == bytes([0b1001, 0b1]) + bytes(pages.SET_BYTES - 2)


# ---- the configurations with which they are found out ----------------------------------------------------------------


@pytest.mark.parametrize("change", [pages.in_user_namespace, pages.in_pod, pages.with_devices])
def test_the_configurations_of_engines_are_valid(tmp_path: Path, change: Callable[[Any], Any]) -> None:
    spec = pages.life_configuration()
    pages.as_engines(spec, tmp_path)
    before = json.dumps(spec)
    changed = change(spec)
    assert changed != spec
    assert json.dumps(spec) == before
    assert [problem.line() for problem in check(changed) if problem.severity == ERROR] == []
    validate(changed)


def test_the_cache_has_the_filter_of_a_configuration(tmp_path: Path) -> None:
    spec = pages.life_configuration()
    pages.add_profile(spec)
    program = """
import json, os, sys
sys.path.insert(0, sys.argv[1])
from launcher import pages
pages.cache_filter(pages.Path(sys.argv[2]), json.loads(sys.argv[3]))
"""
    words = [str(ROOT), str(tmp_path), json.dumps(spec)]
    subprocess.run([sys.executable, "-I", "-S", "-c", program, *words], check=True)
    kernel = tuple(map(int, os.uname().release.split(".")[:2]))
    assert cache.lookup(str(tmp_path), spec["linux"]["seccomp"], kernel) == b"\x06\0\0\0\0\0\xff\x7f"  # type: ignore[arg-type]


# ---- the order of the snapshot's blocks ------------------------------------------------------------------------------


def test_the_order_is_what_the_launcher_reads() -> None:
    source = (LAUNCHER / "heap.c").read_text()
    assert f"enum {{ UNIT = {pages.UNIT}, PAGE = {pages.PAGE}, LARGE = {pages.LARGE}," in source
    assert f"AREAS = {pages.AREAS}," in source
    assert f"HEAP_WATCH = {pages.WATCH} }};" in source


def test_blocks_that_the_same_commands_use_are_in_one_area() -> None:
    read, written, kept = pages.READ, pages.WRITTEN, pages.KEPT
    found = [
        (0, {7: (2, written), 9: (1, read), 300: (pages.LARGE // pages.UNIT + 1, written)}),
        (1, {7: (2, written), 8: (3, read), 9: (1, written)}),
        (1, {8: (3, written), 10: (4, read)}),
        (pages.SHIM, {8: (3, written), 11: (5, kept)}),
        (pages.ENGINE, {10: (4, written), 12: (6, written)}),
    ]
    order = pages.arrange(found)
    sizes = struct.unpack_from(f"={pages.AREAS}I", order)
    places = list(struct.iter_unpack("=IHH", order[4 * pages.AREAS :]))
    # The large block has no place; 9 is written to by one command; 10 is read by it, and written to by an engine's;
    # 11 stays changed; 12 is an engine's.
    one, of_shim, changed = pages.bit(1), pages.bit(pages.SHIM), pages.bit(pages.CHANGED)
    both = pages.bit(0) | one
    areas = [(7, 2, both), (8, 3, of_shim | one), (9, 1, one), (10, 4, pages.AREAS // 2 + changed + one)]
    assert places == [*areas, (11, 5, of_shim | changed), (12, 6, pages.bit(pages.ENGINE))]
    assert sizes[both] == 2 * pages.UNIT
    assert sizes[one] == 1 * pages.UNIT
    assert sum(sizes) == 21 * pages.UNIT
    assert changed == pages.AREAS // 4


def test_an_engine_s_start_has_areas_only_for_what_other_starts_do_not_write_to() -> None:
    launch = pages.SETS.index("launch")
    order = pages.arrange([(launch, {7: (2, True)}), (pages.ENGINE, {7: (2, True), 8: (3, True)})])
    places = list(struct.iter_unpack("=IHH", order[4 * pages.AREAS :]))
    assert places == [(7, 2, pages.bit(launch)), (8, 3, pages.bit(pages.ENGINE))]


def test_the_areas_of_what_stays_changed_are_one_piece_and_those_of_starts_two() -> None:
    numbers = range(pages.AREAS // 2)
    changed, launch = pages.bit(pages.CHANGED), pages.bit(pages.SETS.index("launch"))
    assert [users for users in numbers if users & changed] == list(numbers[changed:])
    assert [users for users in numbers[:changed] if users & launch] == list(numbers[launch:changed])


@pytest.mark.parametrize(("command", "said"), [("exit 1", ""), ("echo why >&2; exit 1", "why")])
def test_a_command_that_ends_in_place_of_waiting_is_reported(command: str, said: str) -> None:
    with (
        subprocess.Popen(["sh", "-c", command], stderr=subprocess.PIPE) as process,
        pytest.raises(pages.PagesError, match=f": {said}$"),
    ):
        pages.wait(process)


def test_who_writes_to_a_full_pipe_waits() -> None:
    reader, writer = pages.full_pipe()
    try:
        with subprocess.Popen(["sh", "-c", "echo"], stdout=writer) as process:
            pages.wait(process)
            process.kill()
        assert process.returncode == -9
    finally:
        os.close(reader)
        os.close(writer)
