"""`events` on real containers; limits and OOM kills are in tests/guest/test_events.py."""

from __future__ import annotations

import json
import os
import signal
import subprocess

import pytest

from tests.support import host
from tests.support.bundle import Bundle
from tests.support.runtime import Runtime


@pytest.mark.purev2
def test_the_statistics_once(runtime: Runtime, bundle: Bundle) -> None:
    container = runtime.started(bundle.sh("i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; echo done; sleep 99"))
    host.wait_for("its work", lambda: container.output == "done\n")
    result = runtime("events", "--stats", container.id)
    assert (result.code, len(result.out.splitlines())) == (0, 1)
    event = json.loads(result.out)
    assert (event["type"], event["id"]) == ("stats", container.id)
    assert event["data"]["cpu"]["usage"]["total"] > 1_000_000


def test_the_stream_ends_with_the_container(runtime: Runtime, bundle: Bundle) -> None:
    container = runtime.started(bundle.sh("sleep 99"))
    stream = runtime.background("events", "--interval", "50ms", container.id)
    out = runtime.work / "background.out"
    host.wait_for("three lines", lambda: out.read_text().count("\n") >= 3)
    container.kill("KILL")
    assert stream.wait(60) == 0
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert {line["type"] for line in lines} == {"stats"}
    assert (runtime.work / "background.err").read_text() == ""


def test_a_reader_that_leaves_ends_the_stream(runtime: Runtime, bundle: Bundle) -> None:
    container = runtime.started(bundle.sh("sleep 99"))
    reader, writer = os.pipe()
    command = runtime.argv("events", "--interval", "20ms", container.id)
    stream = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=writer, env=runtime.environment())
    os.close(writer)
    os.read(reader, 100)
    os.close(reader)
    assert stream.wait(60) in (1, -signal.SIGPIPE)
    assert container.status == "running"


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["--interval", "0"], "duration interval must be greater than 0"),
        (["--interval", "-5s"], "duration interval must be greater than 0"),
        (["--interval", "5"], "for flag -interval"),
    ],
)
def test_an_interval_that_is_none(words: list[str], part: str, runtime: Runtime, bundle: Bundle) -> None:
    container = runtime.started(bundle.sh("sleep 99"))
    result = runtime("events", *words, container.id)
    assert (result.code, part in result.last_line) == (1, True)


@pytest.mark.parametrize("words", [[], ["--stats"]])
def test_a_stopped_and_an_unknown_container(words: list[str], runtime: Runtime, bundle: Bundle) -> None:
    container = runtime.started(bundle.args("true"))
    container.wait()
    result = runtime("events", *words, container.id)
    assert (result.code, f"container with id {container.id} is not running" in result.last_line) == (1, True)
    unknown = runtime("events", *words, "nobody")
    assert (unknown.code, "does not exist" in unknown.last_line) == (1, True)
