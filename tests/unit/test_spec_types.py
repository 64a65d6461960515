"""generate/spec_types.py: the types of config.json are those of the schemas, and only the type checker reads them."""

from __future__ import annotations

import ast
import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any, NotRequired, get_origin, get_type_hints

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from generate import spec_types, validators  # noqa: E402

# Code that reads the configuration: its members have their types there, and mypy finds a wrong name.
TYPED = (
    "compile/*.py", "spec/checks.py", "spec/field_checks.py", "spec/idmap_option.py", "seccomp/checks.py",
    "cgroup/resources.py", "cgroup/devices.py",
)  # fmt: skip


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The stub as a module."""
    module = ModuleType("made_spec_types")
    monkeypatch.setitem(sys.modules, module.__name__, module)  # get_type_hints looks for names there
    exec("from __future__ import annotations\n" + spec_types.stub(), vars(module))
    return module


def objects(node: Any) -> list[Any]:
    """The objects with members in a schema."""
    if isinstance(node, list):
        return [found for item in node for found in objects(item)]
    if not isinstance(node, dict):
        return []
    own = [node] if "properties" in node and "type" in node else []
    return own + [found for item in node.values() for found in objects(item)]


@pytest.mark.parametrize("name", validators.SCHEMAS)
def test_each_object_of_a_schema_is_a_type_with_its_members(made: ModuleType, name: str) -> None:
    found = objects(validators.load_schema(name))
    assert found
    for schema in found:
        hints = get_type_hints(getattr(made, schema["title"]), include_extras=True)
        assert set(hints) == set(schema["properties"])
        optional = {member for member, hint in hints.items() if get_origin(hint) is NotRequired}
        assert optional == set(schema["properties"]) - set(schema.get("required", ()))


def test_the_type_of_a_member(made: ModuleType) -> None:
    def shown(name: str, member: str) -> str:
        return str(get_type_hints(getattr(made, name))[member]).replace("made_spec_types.", "")

    assert shown("Spec", "hostname") == "<class 'str'>"
    assert shown("Spec", "process") == "<class 'Process'>"
    assert shown("Spec", "mounts") == "list[MountEntry]"
    assert shown("Spec", "annotations") == "dict[str, str]"
    assert shown("Spec", "windows") == "dict[str, object]"
    assert shown("DeviceEntry", "type") == "typing.Literal['c', 'b', 'u', 'p']"
    assert shown("Enabled", "enabled") in ("bool | None", "typing.Optional[bool]")


def test_the_stub_in_use_is_that_of_the_schemas() -> None:
    assert spec_types.OUTPUT.read_text() == spec_types.stub(), "run generate/spec_types.py"


def test_it_is_written_where_it_has_changed(tmp_path: Path) -> None:
    path = tmp_path / "made" / "types.pyi"
    spec_types.main([str(path)])
    assert path.read_text() == spec_types.stub()
    path.chmod(0o400)
    before = path.stat().st_mtime_ns
    spec_types.main([str(path)])
    assert path.stat().st_mtime_ns == before


@pytest.mark.parametrize(
    ("member", "message"),
    [
        ({"type": "object", "properties": {}}, "has a title"),
        ({"type": "object", "title": "no name", "properties": {}}, "has a title"),
        ({"type": "object", "title": "Whole", "properties": {}}, "is the title of x.schema.json# too"),
        ({"type": "number"}, "number"),
        ({"type": "array"}, "array"),
        ({}, "no type"),
    ],
)
def test_what_has_no_type_is_refused(member: Any, message: str) -> None:
    schema = {"type": "object", "title": "Whole", "properties": {"a": member}}
    with pytest.raises(spec_types.UntypedError, match=re.escape(message)):
        spec_types.Types().add("x", schema)


def test_two_schemas_have_no_title_in_common() -> None:
    types = spec_types.Types()
    types.add("x", {"type": "object", "title": "Whole", "properties": {}})
    with pytest.raises(spec_types.UntypedError, match="Whole"):
        types.add("y", {"type": "object", "title": "Whole", "properties": {}})


def test_an_object_may_have_members_of_its_own_type() -> None:
    types = spec_types.Types()
    items = {"type": "array", "items": {"$ref": "#"}}
    types.add("x", {"type": "object", "title": "Tree", "properties": {"leaves": items}})
    assert "leaves: NotRequired[list[Tree]]" in types.module()


def test_there_is_nothing_to_be_imported() -> None:
    """So the types cost nothing when pyrunc runs: an import outside of TYPE_CHECKING would fail."""
    assert importlib.util.find_spec("pyrunc._generated.spec_types") is None


def test_mypy_finds_a_wrong_name_and_a_wrong_word(tmp_path: Path) -> None:
    (tmp_path / "spec_types.pyi").write_text(spec_types.stub())
    (tmp_path / "reader.py").write_text(
        "from spec_types import Spec\n\n\ndef read(spec: Spec) -> bool:\n"
        '    for entry in spec["linux"]["namespaces"]:\n'
        '        if entry["type"] == "users" or entry["typ"] == "user":\n'
        "            return True\n"
        '    return spec.get("process")\n'
    )
    command = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(tmp_path / "cache"), "--config-file="]
    done = subprocess.run([*command, "reader.py"], cwd=tmp_path, capture_output=True, text=True, check=False)
    found = re.findall(r"^reader\.py:(\d+): error:.*\[(.*)\]$", done.stdout, re.MULTILINE)
    assert found == [("6", "comparison-overlap"), ("6", "typeddict-item"), ("8", "return-value")]


@pytest.mark.parametrize("pattern", TYPED)
def test_the_spec_is_typed_where_it_is_read(pattern: str) -> None:
    paths = sorted((ROOT / "pyrunc/libcontainer").glob(pattern))
    assert paths
    for path in paths:
        names = {node.id for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Name)}
        assert not names & {"Any", "cast"}, path
