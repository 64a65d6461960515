"""Errors and logs as engines read them: the last line of stderr, and --log with --log-format json."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from tests.support.bundle import Bundle
from tests.support.runtime import Runtime

RFC3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)")


def failing(runtime: Runtime, bundle: Bundle, *flags: str) -> tuple[int, str]:
    """A `create` that fails for a missing mount source."""
    bundle.mount("/mnt", "bind", "/no/such/source", "bind")
    bundle.write()
    result = runtime(*flags, "create", "--bundle", bundle.path, runtime.new_id())
    return result.code, result.err


def objects(text: str) -> list[dict[str, Any]]:
    """The JSON objects of a log, one a line."""
    return [json.loads(line) for line in text.splitlines()]


@pytest.mark.purev2
def test_json_log(runtime: Runtime, bundle: Bundle) -> None:
    log = runtime.work / "log.json"
    code, err = failing(runtime, bundle, "--log", str(log), "--log-format", "json")
    assert code == 1
    last = [item for item in objects(log.read_text()) if item["level"] == "error"][-1]
    assert set(last) == {"level", "msg", "time"}
    assert RFC3339.fullmatch(last["time"])
    assert "/no/such/source" in last["msg"]
    assert "no such file or directory" in last["msg"]
    # The user sees the error too, on one line.
    assert last["msg"] in err.replace('\\"', '"')


def test_log_is_appended(runtime: Runtime) -> None:
    log = runtime.work / "log.json"
    log.write_text('{"level":"info","msg":"before","time":"2020-01-01T00:00:00Z"}\n')
    runtime("--log", str(log), "--log-format=json", "state", "nobody")
    found = objects(log.read_text())
    assert found[0]["msg"] == "before"
    assert found[-1]["msg"].startswith("container does not exist")


def test_text_log(runtime: Runtime) -> None:
    log = runtime.work / "log"
    runtime("--log", str(log), "state", "nobody")
    assert re.search(r'^time="?\S+"? level=error msg="container does not exist.*"$', log.read_text(), re.MULTILINE)


def test_stderr_without_a_log(runtime: Runtime) -> None:
    result = runtime("state", "nobody")
    assert re.fullmatch(r'time="\S+" level=error msg="container does not exist.*"\n', result.err)
    assert result.out == ""


def test_log_format_of_an_unknown_kind(runtime: Runtime) -> None:
    assert runtime("--log-format", "xml", "list").code == 1


def test_log_that_can_t_be_written(runtime: Runtime) -> None:
    result = runtime("--log", "/no/such/dir/log", "list")
    assert result.code == 1
    assert "no such file or directory" in result.err


@pytest.mark.parametrize(
    "flags", [("--debug",), pytest.param(("--log-level", "debug"), marks=pytest.mark.own("no such flag in 1.1"))]
)
def test_debug(runtime: Runtime, bundle: Bundle, flags: tuple[str, ...]) -> None:
    log = runtime.work / "log.json"
    bundle.write()
    flags += ("--log", str(log), "--log-format", "json")
    result = runtime(*flags, "run", "--bundle", bundle.path, runtime.new_id())
    assert result.code == 0, result
    assert any(item["level"] == "debug" for item in objects(log.read_text()))


def test_quiet_by_default(runtime: Runtime, bundle: Bundle) -> None:
    log = runtime.work / "log.json"
    bundle.write()
    result = runtime("--log", str(log), "--log-format", "json", "run", "--bundle", bundle.path, runtime.new_id())
    assert (result.code, result.err) == (0, "")
    if runtime.is_own:
        assert not log.exists() or log.read_text() == ""


@pytest.mark.own("the name is runc's")
def test_name_is_the_one_the_command_was_called_by(runtime: Runtime, bundle: Bundle) -> None:
    """COMPAT: messages that name runc have the command's own name in its place."""
    _, err = failing(runtime, bundle)
    assert "pyrunc create failed: " in err


def test_words_that_engines_look_for(runtime: Runtime, bundle: Bundle) -> None:
    container = runtime.container(bundle)
    container.finish()
    assert "container not running" in runtime("kill", container.id, "TERM").err
    assert "does not exist" in runtime("kill", "nobody", "TERM").err
    assert "cannot start a container that has stopped" in runtime("start", container.id).err


def test_version(runtime: Runtime) -> None:
    for flag in ("--version", "-v"):
        result = runtime(flag, with_root=False)
        assert result.code == 0
        lines = result.out.splitlines()
        assert re.fullmatch(rf"{runtime.name} version \S+", lines[0])
        keys = [line.partition(": ")[0] for line in lines[1:]]
        assert keys[:2] == ["commit", "spec"]


def test_help(runtime: Runtime) -> None:
    for arguments in (("--help",), ("create", "--help"), ("run", "-h"), ("kill", "--help")):
        result = runtime(*arguments, with_root=False)
        assert result.code == 0, result
        assert "--" in result.out


def test_json_of_odd_text(runtime: Runtime) -> None:
    """A message with quotes, control characters and bytes that are not UTF-8 still gives valid JSON."""
    log = runtime.work / "log.json"
    runtime("--log", str(log), "--log-format", "json", "kill", "nobody", 'a"b\\c\nd\te\x01')
    runtime("--log", str(log), "--log-format", "json", "create", "--bundle", '/no/"such\n\udcff', runtime.new_id())
    found = objects(log.read_text(encoding="utf-8"))
    assert len(found) >= 2
    assert all(item["msg"] for item in found)
