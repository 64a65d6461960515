"""The broker of a shim, without containers: tests/shim/test_broker.py has the whole."""

from __future__ import annotations

import errno
import os
import signal
from pathlib import Path

import pytest

from pyrunc import log
from pyrunc.errors import PyruncError
from pyrunc.shim import brokers, runtime
from tests.support.shimloop import ProbeLoop

LISTENING = "echo listening; exec >/dev/null; exec sleep 100"


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The administrator's file."""
    path = tmp_path / "policies.json"
    path.write_text("{}")
    monkeypatch.setattr(brokers, "CONFIG", str(path))
    return path


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    found: list[str] = []
    monkeypatch.setattr(log, "error", found.append)
    return found


def programs(monkeypatch: pytest.MonkeyPatch, *scripts: str) -> list[list[str]]:
    """Shell scripts in the place of brokers, in their order. Gives the words that they are started with."""
    started: list[list[str]] = []
    rest = list(scripts)
    spawn = runtime.spawn

    def start(words: list[str], stdio: tuple[int, int, int], *, path: str) -> int:
        assert path
        started.append(words)
        return spawn(["sh", "-c", rest.pop(0)], stdio, path="/bin/sh")

    monkeypatch.setattr(runtime, "spawn", start)
    return started


def ensured(loop: ProbeLoop, broker: brokers.Broker) -> list[PyruncError | None]:
    answers: list[PyruncError | None] = []
    broker.ensure(answers.append)
    loop.until(lambda: answers)
    return answers


def ended(loop: ProbeLoop, broker: brokers.Broker) -> None:
    broker.end()
    loop.until(lambda: not broker.pid)


@pytest.mark.usefixtures("config")
def test_a_broker_is_started_once(loop: ProbeLoop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started = programs(monkeypatch, LISTENING)
    broker = brokers.Broker(loop, str(tmp_path / "s"))
    answers: list[PyruncError | None] = []
    broker.ensure(answers.append)
    broker.ensure(answers.append)
    assert answers == []
    loop.until(lambda: len(answers) == 2)
    assert ensured(loop, broker) == [None]
    assert answers == [None, None]
    [words] = started
    at = words.index("broker")
    assert words[at:] == [
        "broker", "--socket", str(tmp_path / "s"), "--config", brokers.CONFIG, "--parent", str(os.getpid()),
    ]  # fmt: skip
    Path(broker.path).touch()
    ended(loop, broker)
    assert not Path(broker.path).exists()


@pytest.mark.usefixtures("config")
def test_a_broker_that_has_ended_is_started_again(
    loop: ProbeLoop, tmp_path: Path, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    programs(monkeypatch, LISTENING, LISTENING)
    broker = brokers.Broker(loop, str(tmp_path / "s"))
    ensured(loop, broker)
    first = broker.pid
    os.kill(first, signal.SIGKILL)
    loop.until(lambda: not broker.pid)
    assert said == [f"the broker {first} ended with exit code 137: the next Create or Exec of its containers starts it"]
    assert ensured(loop, broker) == [None]
    assert broker.pid not in (0, first)
    ended(loop, broker)
    assert len(said) == 1


@pytest.mark.usefixtures("config")
def test_a_broker_that_does_not_listen(
    loop: ProbeLoop, tmp_path: Path, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    programs(monkeypatch, "exit 1", "exec sleep 100")
    broker = brokers.Broker(loop, str(tmp_path / "s"))
    [failure] = ensured(loop, broker)
    assert str(failure) == "the broker ended before it listened (the shim's log has its reason)"
    loop.until(lambda: not broker.pid)
    assert "ended with exit code 1" in said[0]
    monkeypatch.setattr(brokers, "_PATIENCE_SECONDS", 0.05)
    [failure] = ensured(loop, broker)
    assert failure is not None
    loop.until(lambda: not broker.pid)
    assert "ended with exit code 137" in said[1]


@pytest.mark.usefixtures("config")
def test_a_broker_that_can_t_be_started(loop: ProbeLoop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*given: object, **more: object) -> int:
        raise OSError(errno.EAGAIN, "again")

    monkeypatch.setattr(runtime, "spawn", fail)
    [failure] = ensured(loop, brokers.Broker(loop, str(tmp_path / "s")))
    assert failure is not None
    assert failure.message.startswith("starting the broker: ")
    assert failure.errno == errno.EAGAIN


def test_one_for_all_containers_until_the_file_changes(
    loop: ProbeLoop, config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs(monkeypatch, LISTENING, LISTENING)
    made = brokers.Brokers(loop, str(tmp_path / "s"))
    first = made.assign("one")
    ensured(loop, first)
    assert made.assign("two") is first
    config.write_text("{ }")
    second = made.assign("three")
    ensured(loop, second)
    assert second is not first
    assert second.path != first.path
    made.release(first, "one")
    made.release(first, "one")
    assert not first.is_over
    made.release(first, "two")
    loop.until(lambda: not first.pid)
    made.release(first, "two")
    assert not second.is_over
    made.end()
    made.release(second, "three")
    loop.until(lambda: not second.pid)
    config.unlink()
    with pytest.raises(PyruncError, match=r"policies\.json: no such file or directory \(it has the policies"):
        made.assign("one")


def test_a_broker_that_has_ended_reads_a_changed_file(
    loop: ProbeLoop, config: Path, tmp_path: Path, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    programs(monkeypatch, LISTENING)
    made = brokers.Brokers(loop, str(tmp_path / "s"))
    first = made.assign("one")
    ensured(loop, first)
    os.kill(first.pid, signal.SIGKILL)
    loop.until(lambda: not first.pid)
    config.write_text("{ }")
    assert made.assign("one") is first
    made.end()
    assert said
