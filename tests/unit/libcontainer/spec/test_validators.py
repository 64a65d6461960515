"""generate/validators.py and its output: the validators must agree with jsonschema about the same schema."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pyrunc._generated import schemas, validators
from pyrunc.libcontainer.spec import explain
from tests.support.full_config import full_config

ROOT = Path(__file__).resolve().parents[4]
sys.path.insert(0, str(ROOT))
from generate import validators as generator  # noqa: E402

SCHEMA = explain.SchemaValidator(schemas.CONFIG)


def paths(value: Any, at: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """The path of every value inside a value."""
    found = []
    members = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, member in members:
        found += [(*at, key), *paths(member, (*at, key))]
    return found


PATHS = paths(full_config())

NUMBERS = st.sampled_from([
    -(2**63) - 1, -(2**63), -(2**31) - 1, -1001, -1000, -21, -20, -2, -1, 0, 1, 5, 6, 7, 8, 19, 20, 100, 101, 511, 512,
    1000, 1001, 4095, 4096, 65535, 65536, 999999999, 1000000000, 1048575, 1048576, 2**31 - 1, 2**31, 2**32 - 2,
    2**32 - 1, 2**32, 2**63 - 1, 2**63, 2**64 - 1, 2**64, 1.0, 0.5, -0.0, 1e300,
])  # fmt: skip
WORDS = st.sampled_from([
    "", "/", "a", "/a\n", "\n", "\0", "a\0", "/\0", "A=b", "=b", "A=\0", "A", "A=", "MB:", "MB:\n", "L3:", "rwm", "rx",
    "r\n", "0-3,7", "0-", "3,", "1\n", "\u0663", "2MB", "02MB", "2TB", "2MB\n", "1.0.0", "1.0", "1.0.0-", "1.0.0-01",
    "1.0.0-rc.1+b", "1.0.0+", "01.0.0", "1.0.0\n", "1.0.0-\u00e9", "pid", "netwrok", "SCMP_ACT_KILL", "c", "p", "u",
    "RLIMIT_AS", "shared", "LINUX32", "monotonic",
])  # fmt: skip
SCALARS = st.none() | st.booleans() | NUMBERS | WORDS | st.integers() | st.text(max_size=4)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["path", "type", "name", "major", "weight", "x\0"]) | WORDS, inner, max_size=3
        )
    ),
    max_leaves=4,
)
MUTATIONS = st.lists(st.tuples(st.sampled_from(PATHS), st.sampled_from(["set", "delete", "add"]), VALUES, WORDS),
                     min_size=1, max_size=3)  # fmt: skip


def mutate(value: Any, path: tuple[str | int, ...], action: str, new: Any, name: str) -> None:
    """Change a value in place; if an earlier mutation removed the place, nothing happens."""
    for key in path[:-1]:
        keys = value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
        if key not in keys:
            return
        value = value[key]
    key = path[-1]
    if isinstance(value, dict):
        if action == "delete":
            value.pop(key, None)
        else:
            value[name if action == "add" else key] = new
    elif isinstance(value, list) and isinstance(key, int) and key < len(value):
        if action == "delete":
            del value[key]
        elif action == "add":
            value.insert(key, new)
        else:
            value[key] = new


@settings(max_examples=500)
@given(MUTATIONS)
def test_agrees_with_jsonschema(mutations: Any) -> None:
    value = full_config()
    for mutation in mutations:
        mutate(value, *mutation)
    violation = validators.config(value)
    assert (violation is None) == SCHEMA.is_valid(value)
    if violation is not None:
        assert violation[0] in [problem.pointer for problem in explain.problems(value)]


@settings(max_examples=200)
@given(VALUES)
@example([])
@example({"ociVersion": "1.0.0", "root": {"path": "/"}})
def test_agrees_with_jsonschema_on_any_value(value: Any) -> None:
    assert (validators.config(value) is None) == SCHEMA.is_valid(value)
    process = {"$ref": "#/$defs/process", "$defs": schemas.CONFIG["$defs"]}
    assert (validators.process(value) is None) == explain.SchemaValidator(process).is_valid(value)
    resources = {"$ref": "#/$defs/resources", "$defs": schemas.CONFIG["$defs"]}
    assert (validators.resources(value) is None) == explain.SchemaValidator(resources).is_valid(value)


@pytest.mark.parametrize("pattern", list(generator.PATTERNS))
def test_pattern_is_translated_truly(pattern: str) -> None:
    refuses = eval("lambda x: " + generator.PATTERNS[pattern].format(v="x"), dict(vars(validators)))
    matches = re.compile(pattern).search

    @settings(max_examples=300)
    @given(WORDS | st.text("/\0\n=rwmxMBKG:0123789,-.+aZé٣", max_size=8) | st.from_regex(pattern))
    def compare(text: str) -> Any:
        assert bool(refuses(text)) == (matches(text) is None)

    compare()


@pytest.mark.parametrize("pattern", list(generator.LIST_PATTERNS))
def test_pattern_is_translated_truly_for_a_list(pattern: str) -> None:
    accepts = eval("lambda x: " + generator.LIST_PATTERNS[pattern].format(v="x"))
    matches = re.compile(pattern).search

    @settings(max_examples=300)
    @given(st.lists(st.text("/\0\nax", max_size=3), max_size=4))
    def compare(texts: list[str]) -> Any:
        assert bool(accepts(texts)) == all(matches(text) for text in texts)

    compare()


def test_accepts_the_full_config() -> None:
    assert validators.config(full_config()) is None
    assert validators.process(full_config()["process"]) is None
    assert validators.resources(full_config()["linux"]["resources"]) is None


@pytest.mark.parametrize(
    ("path", "new", "pointer", "what"),
    [
        (("process", "cwd"), "tmp", "/process/cwd", "must be an absolute path without NUL characters"),
        (("mounts", 1, "options", 0), 3, "/mounts/1/options/0", "must be text without NUL characters"),
        (("process", "user", "uid"), True, "/process/user/uid", "must be an integer from 0 to 4294967294"),
        (("process", "user", "uid"), 0.0, "/process/user/uid", "must be an integer from 0 to 4294967294"),
        (("process", "args"), [], "/process/args", "must have at least one entry"),
        (("linux", "sysctl", "a/b~"), 1, "/linux/sysctl/a~1b~0", "must be text without NUL characters"),
        (("linux", "timeOffsets", "tai"), {}, "/linux/timeOffsets/tai",
         'has a name that must be one of "monotonic", "boottime"'),
        (("linux", "devices", 1, "type"), "b", "/linux/devices/1/major", "is missing"),
        (("linux", "resources", "rdma", "x"), {}, "/linux/resources/rdma/x", "needs hcaHandles or hcaObjects"),
        (("root",), None, "/root", "must be an object"),
    ],
)  # fmt: skip
def test_says_where_and_what(path: Any, new: Any, pointer: str, what: str) -> None:
    value = full_config()
    mutate(value, path, "set", new, "")
    assert validators.config(value) == (pointer, what)


def test_pairs_belong_together() -> None:
    value = full_config()
    del value["mounts"][1]["gidMappings"]
    assert validators.config(value) == ("/mounts/1/gidMappings", "is missing beside uidMappings")


def test_needs_no_import() -> None:
    text = (ROOT / "pyrunc/_generated/validators.py").read_text()
    assert re.findall(r"^(?:import|from) .*", text, re.M) == ["from __future__ import annotations"]


def test_output_depends_on_the_schemas_alone(tmp_path: Path) -> None:
    texts = []
    for seed in ("1", "2"):
        command = [sys.executable, str(ROOT / "generate/validators.py"), "--output", str(tmp_path / seed)]
        subprocess.run(command, check=True, env={**os.environ, "PYTHONHASHSEED": seed})
        texts.append([(tmp_path / seed / name).read_bytes() for name in ("validators.py", "schemas.py")])
    assert texts[0] == texts[1]
    generated = [(ROOT / "pyrunc/_generated" / name).read_bytes() for name in ("validators.py", "schemas.py")]
    assert texts[0] == generated, "pyrunc/_generated is not of these schemas: run generate/validators.py"


def test_unchanged_output_is_not_written_again(tmp_path: Path) -> None:
    generator.main(["--output", str(tmp_path)])
    before = (tmp_path / "validators.py").stat().st_mtime_ns
    generator.main(["--output", str(tmp_path)])
    assert (tmp_path / "validators.py").stat().st_mtime_ns == before


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object", "properties": {"a": {"type": "string", "pattern": "^x$"}}},
        {"type": "object", "properties": {"a": {"type": "string", "maxLength": 3}}},
        {"type": "object", "properties": {"a": {"type": "number"}}},
        {"type": "object", "oneOf": []},
        {"type": "object", "properties": {}, "additionalProperties": {"type": "string"}},
        {"type": "array", "minItems": 2, "items": {"type": "string"}},
    ],
)
def test_refuses_what_it_can_not_translate(schema: Any) -> None:
    with pytest.raises(generator.UnknownSchemaError):
        generator.Generator(schema, {"config": "#"}).module()
