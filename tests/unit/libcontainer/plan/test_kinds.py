"""The table of step kinds."""

from __future__ import annotations

import errno
import re
import subprocess
import sys
from keyword import iskeyword
from pathlib import Path

import pytest

from pyrunc._generated import steps
from pyrunc.libcontainer.compile.context import Context
from pyrunc.libcontainer.plan.host import HostFacts
from pyrunc.libcontainer.plan.kinds import ANY, INIT, INIT_KINDS, KINDS, NUMBERS, RUNTIME, RUNTIME_KINDS, Kind
from pyrunc.libcontainer.plan.options import LaunchOptions
from pyrunc.libcontainer.show.values import FORMS
from tests.support.plans import minimal

SOURCES = Path(__file__).resolve().parents[4] / "csrc" / "init"
DEFINITIONS = [
    name
    for source in sorted(SOURCES.glob("*.c"))
    for name in re.findall(r"^int step_(\w+)\([^;{]*\)\n\{", source.read_text(encoding="utf-8"), re.MULTILINE)
]

TYPES = {"u32", "u64", "i64", "str", "strv", "fd"}
kinds = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)


@kinds
def test_a_kind_has_typed_fields_of_different_names(kind: Kind) -> None:
    names = [name for name, _ in kind.fields]
    assert len(names) == len(set(names))
    assert {type for _, type in kind.fields} <= TYPES
    assert all(name.isidentifier() for name in (kind.name, *names))


@kinds
def test_a_kind_says_what_it_does(kind: Kind) -> None:
    assert kind.call
    assert kind.doc[0].islower()
    assert not kind.doc.endswith(".")


def test_names_are_unique() -> None:
    assert len(KINDS) == len(RUNTIME_KINDS) + len(INIT_KINDS)


def test_actors() -> None:
    assert {kind.actor for kind in RUNTIME_KINDS} == {RUNTIME}
    assert {kind.actor for kind in INIT_KINDS} == {INIT}


def test_numbers_are_positions_among_the_init_s_kinds() -> None:
    assert [NUMBERS[kind.name] for kind in INIT_KINDS] == list(range(len(INIT_KINDS)))
    assert not NUMBERS.keys() & {kind.name for kind in RUNTIME_KINDS}


def test_only_the_init_has_descriptor_fields() -> None:
    assert not [kind.name for kind in RUNTIME_KINDS if "fd" in {type for _, type in kind.fields}]


def test_the_generated_constants_are_the_table() -> None:
    assert steps.NUMBERS == NUMBERS
    assert {name: kind.fields for name, kind in KINDS.items()} == steps.FIELDS


# A value of each Python type of a field, and the value that stands for "left out".
SAMPLES = {"int": 7, "bool": True, "str": "a", "tuple[str, ...]": ("a", "b"), "str | None": "slot"}
SAMPLES["tuple[str, ...] | None"] = ("A=1",)
ZEROS = {"int": 0, "bool": 0, "str": "", "tuple[str, ...]": (), "str | None": None}


def samples(kind: Kind) -> dict[str, object]:
    """An argument for each parameter of the kind's constructor."""
    return {name + "_" * iskeyword(name): SAMPLES[kind.python_types[name]] for name, _ in kind.fields}


@kinds
def test_a_constructor_puts_the_fields_into_their_order(kind: Kind) -> None:
    name, args = getattr(steps, kind.name)(**samples(kind))
    assert name == kind.name
    expected = tuple(SAMPLES[kind.python_types[field]] for field, _ in kind.fields)
    assert args == expected
    assert all(type(value) is not bool for value in args), "a plan has 0 and 1"


@kinds
def test_a_constructor_wants_every_field_but_the_optional_ones(kind: Kind) -> None:
    given = samples(kind)
    for field, _ in kind.fields:
        rest = {name: value for name, value in given.items() if name != field + "_" * iskeyword(field)}
        if field in kind.optional:
            _, args = getattr(steps, kind.name)(**rest)
            assert args[[name for name, _ in kind.fields].index(field)] == ZEROS[kind.python_types[field]]
        else:
            with pytest.raises(TypeError, match="missing 1 required keyword-only argument"):
                getattr(steps, kind.name)(**rest)


# A line that compiles a step, and mypy's message about it.
LINES = (
    ('context.init_step(steps.bind(source="/a", target="/b", recursive=True))', ""),
    ('context.init_step(steps.bind(source="/a"))', 'Missing named argument "target"'),
    ('context.init_step(steps.bind(source="/a", taget="/b"))', 'Unexpected keyword argument "taget"'),
    ('context.init_step(steps.chroot("/a"))', "Too many positional arguments"),
    ('context.init_step(steps.umask(mask="022"))', 'expected "int"'),
    ('context.init_step(steps.state_dir(path="/a"))', 'expected "InitOperation"'),
    ("context.runtime_step(steps.pivot_root())", 'expected "RuntimeOperation"'),
    ('context.on_request("limits", steps.pivot_root())', 'expected "RuntimeOperation"'),
)


def test_mypy_sees_mistakes(tmp_path: Path) -> None:
    """mypy reads only the constructors' stub: without it every call would pass."""
    pytest.importorskip("mypy")
    module = tmp_path / "mistakes.py"
    head = [
        "from pyrunc._generated import steps",
        "from pyrunc.libcontainer.compile.context import Context",
        "def compiled(context: Context) -> None:",
    ]
    module.write_text("\n".join([*head, *("    " + line for line, _ in LINES)]) + "\n")
    command = [sys.executable, "-m", "mypy", "--config-file=", "--strict", "--cache-dir=/dev/null", str(module)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(steps.__file__).parents[2])
    said = done.stdout.splitlines()
    for number, (line, found) in enumerate(LINES, len(head) + 1):
        own = [text for text in said if f"{module.name}:{number}: error" in text]
        assert found in "\n".join(own), (line, done.stdout)
        assert bool(own) == bool(found), own


@kinds
def test_context_takes_the_operations_of_each_side(kind: Kind) -> None:
    context = Context(minimal(), LaunchOptions(id="box"), HostFacts())
    operation = getattr(steps, kind.name)(**samples(kind))
    (context.init_step if kind.actor == INIT else context.runtime_step)(
        operation, pointer="/p", fallback_level=1, on_errno=(1,)
    )
    step = (context.init or context.prepare)[0]
    assert (step.kind, step.args, step.pointer, step.fallback_level, step.on_errno) == (*operation, "/p", 1, (1,))


@kinds
def test_the_hints_are_by_errno(kind: Kind) -> None:
    for error, hint in kind.hints.items():
        assert error == ANY or error in errno.errorcode
        text = hint if isinstance(hint, str) else hint.text
        assert text
        assert text[-1] not in ".!"


def test_a_hint_is_that_of_the_errno_or_of_any_other() -> None:
    kind = Kind(INIT, "x", "call", "", "do it", {errno.EPERM: "may not", ANY: "can not"})
    assert [kind.hint(errno.EPERM), kind.hint(errno.EIO)] == ["may not", "can not"]
    assert Kind(INIT, "x", "call", "", "do it").hint(errno.EPERM) == ""


@kinds
def test_a_field_is_shown_by_a_form_that_is_there(kind: Kind) -> None:
    types = dict(kind.fields)
    for field, form in kind.forms.items():
        assert form in FORMS
        assert types[field] in ("u32", "u64", "i64")


def test_every_form_is_used() -> None:
    assert {form for kind in KINDS.values() for form in kind.forms.values()} == set(FORMS)


def test_the_signs_of_a_field() -> None:
    kind = Kind(INIT, "x", "call", "a:str b:flag?* c:u32?/octal d:env", "do it")
    assert kind.fields == (("a", "str"), ("b", "u32"), ("c", "u32"), ("d", "strv"))
    assert (kind.optional, kind.listed, kind.forms) == (("b", "c"), ("b",), {"c": "octal"})
    assert kind.python_types == {"a": "str", "b": "bool", "c": "int", "d": "tuple[str, ...] | None"}


@pytest.mark.parametrize("kind", INIT_KINDS, ids=lambda kind: kind.name)
def test_every_kind_of_the_init_has_one_c_function(kind: Kind) -> None:
    """The dispatcher (steps.gen.h) calls step_KIND. The linker finds a missing one; this test names it."""
    assert DEFINITIONS.count(kind.name) == 1


def test_every_c_function_has_a_kind() -> None:
    assert set(DEFINITIONS) == set(NUMBERS)
