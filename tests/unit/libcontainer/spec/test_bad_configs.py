"""The result for any configuration, however wrong, is a plan or one explained refusal.

PYRUNC_BAD_CONFIGS=N tries N other ones, new each time, in place of the few that every run tries.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given, note, settings
from hypothesis import strategies as st

from pyrunc import log
from pyrunc.errors import PyruncError
from pyrunc.libcontainer.compile.launch import compile_launch
from pyrunc.libcontainer.diagnosis import bundle_check
from pyrunc.libcontainer.plan import wire
from pyrunc.libcontainer.plan.host import HostFacts
from pyrunc.libcontainer.plan.options import LaunchOptions
from pyrunc.libcontainer.show import plan as show_plan
from pyrunc.libcontainer.show import table as show_table
from pyrunc.libcontainer.spec import load
from pyrunc.libcontainer.spec.problems import ERROR
from tests.support import mutations

EXAMPLES = int(os.environ.get("PYRUNC_BAD_CONFIGS", "0"))

HOSTS = {
    "root": HostFacts(controllers=bundle_check.CONTROLLERS),
    "no controllers": HostFacts(cgroup_pure=False),
    "nested": HostFacts(in_userns=True),
    "rootless": HostFacts(euid=1000, egid=1000, cgroup_writable=False),
}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bundle")
    for name in ("rootfs", "data"):
        (path / name).mkdir()
    return path


def refusal(error: PyruncError) -> str:
    """The line of a refusal. It must be printable, and say where in the configuration the mistake is."""
    line = error.line()
    line.encode()
    assert error.message
    about_all = re.match(r"config\.json:|config must be an object", error.message)
    assert error.pointer.startswith("/") or about_all, line
    return line


def plans(value: Any, bundle: Path, facts: HostFacts) -> None:
    """Compile, print and encode it as each command does. Raises PyruncError."""
    terminal = bool(value["process"].get("terminal"))
    for command in ("create", "run"):
        socket = "/run/console.sock" if terminal and command == "create" else ""
        options = LaunchOptions(id="box", bundle=str(bundle), command=command, console_socket=socket)
        plan = compile_launch(value, options, facts)
        assert show_table.table(plan, width=80)
        assert show_plan.as_json(plan)
        assert show_plan.tree(plan)
        slots = {str(arg): 5 for step in plan.steps() for arg in step.args if isinstance(arg, str)}
        assert wire.encode(plan, slots)


@settings(max_examples=EXAMPLES or 150, derandomize=not EXAMPLES)
@given(random=st.randoms(use_true_random=bool(EXAMPLES)))
def test_a_mutated_config_is_compiled_or_refused(bundle: Path, random: Random) -> None:
    text = mutations.text_of(random, mutations.mutated(random))
    note(repr(text[:5000]))
    (bundle / "config.json").write_bytes(text)
    refused = ""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(log, "warning", lambda text: text.encode())
        try:
            value: Any = load.load(str(bundle))
        except PyruncError as error:
            refused = refusal(error)
        else:
            for name, facts in HOSTS.items():
                try:
                    plans(value, bundle, facts)
                except PyruncError as error:
                    line = refusal(error)
                    if name == "root":
                        refused = line
        problems = bundle_check.validate_bundle(str(bundle))
    errors = [problem.line() for problem in problems if problem.severity == ERROR]
    assert all(line.encode() for line in errors)
    # If `create` refuses it on a host that lacks nothing, `validate` reports it too.
    assert errors or not refused, refused


@pytest.mark.parametrize(
    "text",
    [
        '{"ociVersion": ' + "[" * 101 + "]" * 101 + "}",
        '{"ociVersion": "1.0.0", "root": {"path": "rootfs"}, "x": ' + '{"a":' * 700 + "null" + "}" * 701,
        "[" * 100000 + "]" * 100000,
    ],
)
def test_what_is_nested_too_deeply(bundle: Path, text: str) -> None:
    (bundle / "config.json").write_text(text)
    with pytest.raises(PyruncError, match=r"config\.json:.*nested too deeply"):
        load.load(str(bundle))
    [problem] = bundle_check.validate_bundle(str(bundle))
    assert "nested too deeply" in problem.message


def test_what_is_nested_a_hundred_times_is_not_looked_at(bundle: Path) -> None:
    config = {"ociVersion": "1.0.0", "root": {"path": "rootfs"}, "process": {"cwd": "/", "args": ["a"]}}
    text = str(config).replace("'", '"')[:-1] + ', "unknown": ' + "[" * 99 + "null" + "]" * 99 + "}"
    (bundle / "config.json").write_text(text)
    assert load.load(str(bundle))["process"]["args"] == ["a"]


@pytest.mark.parametrize("more", ["", ', "x": "\\ud83d\\ude00"'])
def test_a_number_that_is_none(bundle: Path, more: str) -> None:
    (bundle / "config.json").write_text('{"root": {}, "ociVersion": 1e400' + more + "}")
    with pytest.raises(PyruncError, match=r"config\.json:1:28: the number 1e400 is too large"):
        load.load(str(bundle))


@pytest.mark.parametrize("kind", [[], {}, 5])
def test_validate_of_a_namespace_whose_type_is_none(bundle: Path, kind: Any) -> None:
    value = {**mutations.bases()["tiny"], "linux": {"namespaces": [{"type": kind}]}}
    (bundle / "config.json").write_bytes(mutations.text_of(Random(1), value))
    assert [problem.pointer for problem in bundle_check.validate_bundle(str(bundle))] == ["/linux/namespaces/0/type"]
