"""spec-schemas: valid, complete, and as strict as the specification's text."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from pyrunc._generated import schemas
from pyrunc.libcontainer.kernel import constants
from pyrunc.libcontainer.spec import explain
from tests.support.full_config import full_config

ROOT = Path(__file__).resolve().parents[4]
DEFS = schemas.CONFIG["$defs"]


def accepts(name: str, value: Any) -> bool:
    valid: bool = explain.SchemaValidator(getattr(schemas, name.upper())).is_valid(value)
    return valid


@pytest.mark.parametrize("name", ["config", "state", "features"])
def test_is_valid_draft_2020_12(name: str) -> None:
    schema = json.loads((ROOT / f"spec-schemas/{name}.schema.json").read_text())
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    Draft202012Validator.check_schema(schema)
    assert getattr(schemas, name.upper()) == schema


def resolved(schema: Any) -> Any:
    while "$ref" in schema:
        schema = DEFS[schema["$ref"].removeprefix("#/$defs/")]
    return schema


def unused(schema: Any, values: list[Any], at: str) -> list[str]:
    """Pointers of the schema's properties that none of the values has."""
    schema = resolved(schema)
    missing = []
    if schema.get("type") == "array":
        return unused(schema["items"], [item for value in values for item in value], at + "/*")
    if "additionalProperties" in schema:
        members = [member for value in values for member in value.values()]
        return unused(schema["additionalProperties"], members, at + "/*")
    for name, member in schema.get("properties", {}).items():
        present = [value[name] for value in values if name in value]
        missing += unused(member, present, f"{at}/{name}") if present else [f"{at}/{name}"]
    return missing


def test_the_full_config_of_the_tests_has_every_property() -> None:
    assert unused(schemas.CONFIG, [full_config()], "") == []


def test_enumerations_are_those_that_the_compiler_knows() -> None:
    def words(schema: Any) -> set[str]:
        return set(schema["enum"]) - {""}

    linux = DEFS["linux"]["properties"]
    assert words(linux["namespaces"]["items"]["properties"]["type"]) == set(constants.CLONE_FLAGS)
    assert words(linux["rootfsPropagation"]) == set(constants.PROPAGATION)
    assert words(DEFS["process"]["properties"]["rlimits"]["items"]["properties"]["type"]) == set(constants.RLIMITS)


STATE = {"ociVersion": "1.3.0", "id": "a", "status": "running", "pid": 5, "bundle": "/b"}


@pytest.mark.parametrize(
    ("changes", "valid"),
    [
        ({}, True),
        ({"annotations": {"a": ""}, "rootfs": "/b/rootfs", "created": "2026-01-01T00:00:00Z", "owner": "root"}, True),
        ({"status": "stopped", "pid": 0}, True),
        ({"status": "paused"}, True),
        ({"extra": [1]}, True),
        ({"updated": {"mounts": [{"destination": "/x", "type": "bind", "source": "/s"}], "devices": ["/dev/x"]}}, True),
        ({"updated": {"mounts": [{"destination": "/x"}]}}, False),
        ({"updated": {"unmounted": "/x"}}, False),
        ({"status": "sleeping"}, False),
        ({"status": "running", "pid": 0}, False),
        ({"status": "created", "pid": None}, False),
        ({"bundle": "b"}, False),
        ({"id": ""}, False),
        ({"annotations": {"": "x"}}, False),
        ({"annotations": {"a": 1}}, False),
        ({"ociVersion": "1"}, False),
    ],
)
def test_state(changes: Any, valid: Any) -> None:
    assert accepts("state", {**STATE, **changes}) == valid


@pytest.mark.parametrize("status", ["created", "running", "paused"])
def test_state_of_a_living_container_has_a_pid(status: str) -> None:
    state = {**STATE, "status": status}
    del state["pid"]
    assert not accepts("state", state)
    assert accepts("state", {**state, "status": "creating"})


FEATURES = {"ociVersionMin": "1.0.0", "ociVersionMax": "1.3.0"}


@pytest.mark.parametrize(
    ("changes", "valid"),
    [
        ({}, True),
        ({"hooks": None, "linux": None, "mountOptions": None, "annotations": None}, True),
        ({"hooks": ["prestart"], "mountOptions": ["ro"], "linux": {"namespaces": ["pid", "time"]}}, True),
        ({"linux": {"cgroup": {"v2": True, "v1": None}, "mountExtensions": {"idmap": {"enabled": False}}}}, True),
        ({"ociVersionMax": None}, False),
        ({"hooks": ["poststrat"]}, False),
        ({"hooks": ["prestart", "prestart"]}, False),
        ({"other": 1}, False),
        ({"linux": {"namespaces": ["net"]}}, False),
        ({"linux": {"capabilities": ["chown"]}}, False),
        ({"linux": {"cgroup": {"v2": "yes"}}}, False),
        ({"linux": {"seccomp": {"enabled": True, "other": 1}}}, False),
    ],
)
def test_features(changes: Any, valid: Any) -> None:
    assert accepts("features", {**FEATURES, **changes}) == valid
