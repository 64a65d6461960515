"""commands/hooks.py: the table, the JSON, the exit code, the errors. The trials are fake."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pyrunc.commands import hooks
from pyrunc.commands.settings import Settings
from pyrunc.errors import PyruncError
from pyrunc.libcontainer.diagnosis import hook_trial
from pyrunc.libcontainer.diagnosis.hook_trial import Outcome
from tests.support.plans import minimal


def _outcome(index: int, end: str, error: PyruncError | None) -> Outcome:
    args = {"hook": "createRuntime", "index": index, "path": "/h\x1b", "end": end}
    return Outcome({"args": args, "dur": 12_345.6}, error)


@pytest.fixture
def settings() -> Settings:
    return Settings("pyrunc", "/nowhere", False, "cgroupfs", None)


@pytest.fixture
def bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    config = minimal()
    config["hooks"] = {"createRuntime": [{"path": "/h"}, {"path": "/h"}]}
    (tmp_path / "config.json").write_text(json.dumps(config))
    return tmp_path


def _made_up(monkeypatch: pytest.MonkeyPatch, *outcomes: Outcome) -> list[Any]:
    asked: list[Any] = []

    def trials(spec: Any, options: Any, wanted: Any) -> Iterator[Outcome]:
        asked.append((options.id, options.root, options.cgroup_manager, wanted))
        yield from outcomes

    monkeypatch.setattr(hook_trial, "trials", trials)
    return asked


def test_a_table_and_an_error_line_for_each_that_failed(
    settings: Settings, bundle: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    error = PyruncError("error running createRuntime hook #1: exit status 3", pointer="/hooks/createRuntime/1")
    asked = _made_up(monkeypatch, _outcome(0, "exit status 0", None), _outcome(1, "exit status 3", error))
    assert hooks.hooks(settings, "run", str(bundle), "config.json", "", -1, "table") == 1
    out, err = capfd.readouterr()
    assert [line.split() for line in out.splitlines()] == [
        ["KIND", "INDEX", "TIME", "END", "PATH"],
        ["createRuntime", "0", "0.012", "s", "exit", "status", "0", "/h\\x1b"],
        ["createRuntime", "1", "0.012", "s", "exit", "status", "3", "/h\\x1b"],
    ]
    assert "hook #1: exit status 3 (config.json:1 at /hooks/createRuntime/1)" in err
    assert asked[0][1:] == ("/nowhere", "disabled", [("createRuntime", 0), ("createRuntime", 1)])
    assert asked[0][0].startswith("hooks-")


def test_json_and_success(
    settings: Settings, bundle: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    asked = _made_up(monkeypatch, _outcome(0, "exit status 0", None))
    assert hooks.hooks(settings, "run", "", "config.json", "createRuntime", 0, "json") == 0
    value = json.loads(capfd.readouterr().out)
    assert value == {
        "hooks": [{"kind": "createRuntime", "index": 0, "path": "/h\x1b", "seconds": 0.012346, "end": "exit status 0",
                   "error": None}]
    }  # fmt: skip
    assert asked[0][3] == [("createRuntime", 0)]


def test_no_such_hooks(settings: Settings, bundle: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert hooks.hooks(settings, "run", "", "config.json", "poststop", -1, "table") == 0
    assert capfd.readouterr().out == "the configuration has no hooks to try\n"
    assert hooks.hooks(settings, "run", "", "config.json", "poststop", -1, "json") == 0
    assert json.loads(capfd.readouterr().out) == {"hooks": []}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"action": "go"}, 'unknown action "go"'),
        ({"format": "yaml"}, "invalid format option"),
        ({"path": "/no/such/bundle"}, "chdir /no/such/bundle: no such file or directory"),
        ({"config": "other.json"}, "pyrunc hooks run failed: "),
        ({"kind": "x"}, 'pyrunc hooks run failed: "x" is no kind of hook'),
    ],
)
def test_mistakes(settings: Settings, bundle: Path, changes: dict[str, str], words: str) -> None:
    params: dict[str, Any] = {
        "action": "run", "path": "", "config": "config.json", "kind": "", "index": -1, "format": "table", **changes,
    }  # fmt: skip
    with pytest.raises(PyruncError) as caught:
        hooks.hooks(settings, **params)
    assert words in caught.value.line()
