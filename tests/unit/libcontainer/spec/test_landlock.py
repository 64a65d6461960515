"""The annotation org.pyrunc.landlock: its form, and every way in which it can be wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyrunc.libcontainer.kernel import landlock
from pyrunc.libcontainer.spec.landlock import AT, MOST_BYTES, bits, read

FS = ["execute", "read_file", "read_dir", "make_reg"]


def good() -> dict[str, Any]:
    return {
        "ruleset": {"handledAccessFS": FS, "handledAccessNet": ["bind_tcp"], "scoped": ["signal"]},
        "rules": {
            "pathBeneath": [
                {"allowedAccess": ["execute", "read_file"], "paths": ["/bin", "/lib"]},
                {"allowedAccess": ["make_reg"], "paths": ["/tmp"]},
            ],
            "netPort": [{"allowedAccess": ["bind_tcp"], "ports": [0, 65535]}],
        },
        "flags": ["log_new_exec_on"],
        "strict": True,
    }


def complaints(value: Any) -> list[tuple[str, str]]:
    """(pointer below the annotation, message) of each complaint; all have a hint."""
    found = read(value if isinstance(value, str) else json.dumps(value))[1]
    assert all(hint for _, _, hint in found)
    assert all(at.startswith("/annotations/org.pyrunc.landlock") for at, _, _ in found)
    return [(at[len(AT) :], message) for at, message, _ in found]


def test_the_page_s_example_is_read() -> None:
    page = (Path(__file__).resolve().parents[4] / "docs/landlock.md").read_text()
    text = page.partition('    {\n      "ruleset"')[2].partition("\n    }\n")[0]
    assert complaints('{"ruleset"' + text + "}") == []


def test_a_whole_ruleset() -> None:
    ruleset, wrong = read(json.dumps(good()))
    assert not wrong
    assert bits(ruleset.fs) == landlock.bits(landlock.FS, FS)
    assert (bits(ruleset.net), bits(ruleset.scoped), bits(ruleset.flags)) == (1, 2, 2)
    assert ruleset.strict
    assert [(rule.object, rule.access, rule.at[len(AT) :]) for rule in ruleset.paths] == [
        ("/bin", 0b101, "/rules/pathBeneath/0/paths/0"),
        ("/lib", 0b101, "/rules/pathBeneath/0/paths/1"),
        ("/tmp", 1 << 8, "/rules/pathBeneath/1/paths/0"),
    ]
    assert [(rule.object, rule.access) for rule in ruleset.ports] == [(0, 1), (65535, 1)]
    assert ruleset.fs[1].at == AT + "/ruleset/handledAccessFS/1"


@pytest.mark.parametrize(
    ("members", "strict"),
    [({}, False), ({"strict": False}, False), ({"disableBestEffort": True}, True), ({"strict": True}, True),
     ({"strict": True, "disableBestEffort": True}, True)],
)  # fmt: skip
def test_strict_by_either_name(members: dict[str, bool], strict: bool) -> None:
    ruleset, wrong = read(json.dumps({"ruleset": {"scoped": ["signal"]}, **members}))
    assert not wrong
    assert ruleset.strict is strict


def test_only_scopes_or_only_ports_are_enough() -> None:
    assert not complaints({"ruleset": {"scoped": ["abstract_unix_socket"]}})
    assert not complaints({"ruleset": {"handledAccessNet": ["connect_tcp"]}})


RULE = {"allowedAccess": ["execute"], "paths": ["/bin"]}


def with_rule(**members: Any) -> dict[str, Any]:
    return {"ruleset": {"handledAccessFS": FS}, "rules": {"pathBeneath": [{**RULE, **members}]}}


def with_ports(*ports: Any) -> dict[str, Any]:
    rule = {"allowedAccess": ["bind_tcp"], "ports": list(ports)}
    return {"ruleset": {"handledAccessNet": ["bind_tcp"]}, "rules": {"netPort": [rule]}}


PATH = "/rules/pathBeneath/0/paths"


@pytest.mark.parametrize(
    ("value", "at", "message"),
    [
        ("", "", "is no JSON"),
        ("{", "", "is no JSON"),
        ("[" * 100_000, "", "is no JSON"),
        ('{"a": "\\ud800"}', "", "is no JSON"),
        ([], "", "org.pyrunc.landlock is not an object"),
        ("null", "", "is not an object"),
        ({}, "/ruleset", "the ruleset handles nothing"),
        ({"ruleset": {"handledAccessFS": []}}, "/ruleset", "handles nothing"),
        ({"ruleset": 1}, "/ruleset", "ruleset is not an object"),
        ({"ruleset": None}, "/ruleset", "ruleset is not an object"),
        ({"ruleset": {"handledAccessFs": FS}}, "/ruleset/handledAccessFs", "is unknown"),
        ({"ruleset": {"handledAccessFS": "execute"}}, "/ruleset/handledAccessFS", "is not an array"),
        ({"ruleset": {"handledAccessFS": ["exec"]}}, "/ruleset/handledAccessFS/0", 'unknown access right "exec"'),
        ({"ruleset": {"handledAccessFS": [1]}}, "/ruleset/handledAccessFS/0", "is not a text"),
        ({"ruleset": {"handledAccessFS": ["bind_tcp"]}}, "/ruleset/handledAccessFS/0", "unknown access right"),
        ({"ruleset": {"handledAccessNet": ["execute"]}}, "/ruleset/handledAccessNet/0", "unknown access right"),
        ({"ruleset": {"handledAccessFS": ["execute", "execute"]}}, "/ruleset/handledAccessFS/1", "listed twice"),
        ({"ruleset": {"scoped": ["signals"]}}, "/ruleset/scoped/0", 'unknown scope "signals"'),
        ({**good(), "flags": ["log"]}, "/flags/0", 'unknown flag "log"'),
        ({**good(), "flags": {}}, "/flags", "flags is not an array"),
        ({**good(), "strict": 1}, "/strict", "strict is not true or false"),
        ({**good(), "disableBestEffort": False}, "/disableBestEffort", "contradict"),
        ({**good(), "a/b": 1}, "/a~1b", "is unknown"),
        ({**good(), "rules": []}, "/rules", "rules is not an object"),
        ({**good(), "rules": {"paths": []}}, "/rules/paths", "is unknown"),
        ({**good(), "rules": {"pathBeneath": {}}}, "/rules/pathBeneath", "is not an array"),
        ({**good(), "rules": {"pathBeneath": [1]}}, "/rules/pathBeneath/0", "is not an object"),
        (with_rule(path="/x"), "/rules/pathBeneath/0/path", '"path" is unknown'),
        (with_rule(allowedAccess=[]), "/rules/pathBeneath/0/allowedAccess", "allowedAccess is empty"),
        (with_rule(allowedAccess=["write_file"]), "/rules/pathBeneath/0/allowedAccess/0", "not handled"),
        (with_rule(allowedAccess=["red_file"]), "/rules/pathBeneath/0/allowedAccess/0", "unknown access right"),
        (with_rule(paths=[]), PATH, "paths is empty"),
        (with_rule(paths="/bin"), PATH, "paths is not an array"),
        (with_rule(paths=["bin"]), PATH + "/0", 'the path "bin" is not absolute'),
        (with_rule(paths=[""]), PATH + "/0", "is not absolute"),
        (with_rule(paths=[5]), PATH + "/0", "is not a text"),
        (with_rule(paths=["/a\0b"]), PATH + "/0", "NUL"),
        (with_rule(paths=["/" + "x" * 4095]), PATH + "/0", "more than 4095 bytes"),
        (with_rule(paths=["/bin", "/bin/"]), PATH + "/1", '"/bin/" has a rule already'),
        (with_rule(paths=["/", "//"]), PATH + "/1", "has a rule already"),
        (with_ports(65536), "/rules/netPort/0/ports/0", "65536 is out of range"),
        (with_ports(-1), "/rules/netPort/0/ports/0", "out of range"),
        (with_ports(10**30), "/rules/netPort/0/ports/0", "out of range"),
        (with_ports(True), "/rules/netPort/0/ports/0", "not a whole number"),
        (with_ports(80.0), "/rules/netPort/0/ports/0", "not a whole number"),
        (with_ports("80"), "/rules/netPort/0/ports/0", "not a whole number"),
        (with_ports(80, 80), "/rules/netPort/0/ports/1", "port 80 has a rule already"),
        (" " * (MOST_BYTES + 1), "", f"more than {MOST_BYTES} bytes"),
    ],
)  # fmt: skip
def test_what_is_wrong_has_a_pointer_and_a_hint(value: Any, at: str, message: str) -> None:
    found = complaints(value)
    assert [(place, text) for place, text in found if place == at and message in text], found


@pytest.mark.parametrize("name", ["allowedAccess", "paths"])
def test_a_rule_needs_both_members(name: str) -> None:
    value = with_rule()
    del value["rules"]["pathBeneath"][0][name]
    assert (f"/rules/pathBeneath/0/{name}", f"{name} is missing") in complaints(value)


def test_all_faults_are_found_at_once_and_the_nearest_word() -> None:
    value = {"ruleset": {"handledAccessFS": ["executee"], "scope": []}, "strict": "yes"}
    found = {at[len(AT) :]: hint for at, _, hint in read(json.dumps(value))[1]}
    assert set(found) == {"/ruleset/handledAccessFS/0", "/ruleset/scope", "/strict"}
    assert found["/ruleset/handledAccessFS/0"] == 'did you mean "execute"?'
    assert found["/ruleset/scope"] == 'did you mean "scoped"?'


WORDS = st.sampled_from([
    "ruleset", "rules", "flags", "strict", "disableBestEffort", "handledAccessFS", "handledAccessNet", "scoped",
    "pathBeneath", "netPort", "allowedAccess", "paths", "ports", "execute", "bind_tcp", "signal", "/bin", "/", "x",
])  # fmt: skip
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text() | WORDS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(WORDS | st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(
    ANYTHING | st.fixed_dictionaries({"ruleset": ANYTHING, "rules": st.fixed_dictionaries({"pathBeneath": ANYTHING})})
)
def test_any_value_is_read_or_refused(value: Any) -> None:
    ruleset, wrong = read(json.dumps(value))
    assert wrong or bits(ruleset.fs) or bits(ruleset.net) or bits(ruleset.scoped)
    for at, message, _ in wrong:
        assert at.startswith(AT)
        assert message


@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    read(text)
