"""hooks: the input of a hook, and the message of its failure. The hooks are real processes."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
from pathlib import Path
from typing import Any

import pytest

from pyrunc.errors import PyruncError
from pyrunc.libcontainer.kernel import interrupts
from pyrunc.libcontainer.launch import hooks
from tests.support.host import open_descriptors


def _shell(script: str, *args: str, **fields: Any) -> Any:
    return {"path": "/bin/sh", "args": ["sh", "-c", script, "hook", *args], **fields}


def _failure(hook: Any, state: str = "{}") -> str:
    with pytest.raises(PyruncError) as caught:
        hooks.run_hook(hook, "createRuntime", 3, state)
    assert caught.value.pointer == "/hooks/createRuntime/3"
    assert caught.value.message.startswith("error running createRuntime hook #3: ")
    assert isinstance(caught.value, hooks.HookError)
    text = caught.value.message.removeprefix("error running createRuntime hook #3: ")
    assert hooks.ending(text) == caught.value.end or caught.value.end.startswith(hooks.NOT_STARTED)
    return re.sub(r" after \d+\.\d{3} s,", " after T s,", text)


def test_the_state_is_on_stdin(tmp_path: Path) -> None:
    state = json.dumps({"id": "c1", "annotations": {"é": "ü"}}, ensure_ascii=False)
    hooks.run_hook(_shell('cat > "$1"', str(tmp_path / "out")), "poststart", 0, state)
    assert (tmp_path / "out").read_text() == state


def test_a_state_larger_than_a_pipe_is_on_stdin_whole(tmp_path: Path) -> None:
    state = json.dumps({"annotations": {str(n): "x" * 1000 for n in range(1000)}})
    hooks.run_hook(_shell('cat > "$1"', str(tmp_path / "out")), "poststart", 0, state)
    assert (tmp_path / "out").read_text() == state


def test_a_hook_need_not_read_its_stdin() -> None:
    hooks.run_hook(_shell("exec <&-; exit 0"), "poststart", 0, "{" + " " * 500000 + "}")


def test_args_are_exact(tmp_path: Path) -> None:
    args = ["other-name", "-c", f'tr "\\0" "|" < /proc/$$/cmdline > {tmp_path}/o', "", "a b"]
    hooks.run_hook({"path": "/bin/sh", "args": args}, "poststart", 0, "{}")
    assert (tmp_path / "o").read_text().startswith("other-name|-c|")
    assert (tmp_path / "o").read_text().endswith("||a b|")


def test_without_args_the_path_is_argv0(tmp_path: Path) -> None:
    script = tmp_path / "hook"
    script.write_text(f'#!/bin/sh\necho "$0 $#" > {tmp_path}/o\n')
    script.chmod(0o755)
    hooks.run_hook({"path": str(script)}, "poststart", 0, "{}")
    assert (tmp_path / "o").read_text() == f"{script} 0\n"


def test_env_is_exact(tmp_path: Path) -> None:
    hook = _shell(f'tr "\\0" "\\n" < /proc/$$/environ > {tmp_path}/o', env=["A=1", "B=x=y", "É=ü", "A=2", "E="])
    hooks.run_hook(hook, "poststart", 0, "{}")
    assert sorted((tmp_path / "o").read_text().split("\n")[:-1]) == ["A=2", "B=x=y", "E=", "É=ü"]


def test_an_empty_env_is_empty(tmp_path: Path) -> None:
    hooks.run_hook(_shell(f"cat /proc/$$/environ > {tmp_path}/o", env=[]), "poststart", 0, "{}")
    assert (tmp_path / "o").read_text() == ""


def test_without_env_the_runtimes_is_inherited(tmp_path: Path) -> None:
    hooks.run_hook(_shell(f'echo "$PATH" > {tmp_path}/o'), "poststart", 0, "{}")
    assert (tmp_path / "o").read_text() == os.environ["PATH"] + "\n"


@pytest.mark.parametrize("env", [["NOVALUE"], ["=x"], [""]])
def test_an_env_without_a_name_or_a_value_is_refused(env: list[str]) -> None:
    assert _failure(_shell("true", env=env)) == f'"{env[0]}" in env is not NAME=value'


def test_a_nul_is_refused() -> None:
    assert "null" in _failure({"path": "/bin/true", "args": ["a\0b"]})


def test_a_failure_carries_status_and_output() -> None:
    text = _failure(_shell("echo out; echo 'an error' >&2; echo 'of two lines' >&2; exit 7"))
    assert text == "exit status 7 after T s, stdout: out, stderr: an error of two lines"


def test_a_hook_killed_by_a_signal() -> None:
    assert _failure(_shell("kill -TERM $$")) == "signal: terminated after T s, stdout: , stderr: "


def test_a_missing_program() -> None:
    assert _failure({"path": "/no/such/hook"}) == "fork/exec /no/such/hook: no such file or directory"


def test_a_program_that_may_not_be_executed() -> None:
    assert _failure({"path": "/etc/passwd"}) == "fork/exec /etc/passwd: permission denied"


def test_long_output_is_read_and_its_end_kept() -> None:
    text = _failure(_shell("i=0; while [ $i -lt 20000 ]; do echo 0123456789; i=$((i+1)); done; echo last; exit 1"))
    assert text.startswith("exit status 1 after T s, stdout: …0123456789 0123456789 ")
    assert text.endswith("0123456789 last, stderr: ")
    assert 1900 < len(text) < 2200


def test_the_time_is_that_of_the_hook() -> None:
    with pytest.raises(PyruncError) as caught:
        hooks.run_hook(_shell("sleep 0.3; exit 1"), "poststart", 0, "{}")
    found = re.search(r"exit status 1 after (\d+\.\d{3}) s, ", caught.value.message)
    assert found
    assert float(found[1]) >= 0.3


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        (b"\x1b[31mred\x1b]0;title\a\r\n", "\\x1b[31mred\\x1b]0;title\\x07"),
        (b"\xff\xfe\x80 \xe2\x82", "\ufffd\ufffd\ufffd \ufffd"),
        (b"e\0r\0r\0", "e r r"),
        ("\u202eterces\u2066\u200b".encode(), "\\u202eterces\\u2066\\u200b"),
        (b"one\n\n\ttwo\x0b\x0cthree\n", "one two three"),
        (b"no newline", "no newline"),
    ],
)
def test_what_a_hook_prints_steers_no_terminal(tmp_path: Path, written: bytes, shown: str) -> None:
    (tmp_path / "text").write_bytes(written)
    assert _failure(_shell('cat "$1" >&2; exit 1', str(tmp_path / "text"))).endswith(f", stderr: {shown}")


@pytest.mark.parametrize(
    ("written", "start"),
    [
        (b"a" * 3000 + b"\n" + b"b" * 2000, "…" + "b" * 2000),
        (b"c" * 1000 + b"\n" + b"d" * 3000 + b"\n", "…" + "d" * 2047),
        ("é".encode() * 2000 + b"x", "…" + "é" * 1023 + "x"),
        (b"\n" * 5000, "…"),
    ],
)
def test_of_what_is_too_long_whole_lines_are_kept_or_whole_characters(
    tmp_path: Path, written: bytes, start: str
) -> None:
    (tmp_path / "text").write_bytes(written)
    assert _failure(_shell('cat "$1" >&2; exit 1', str(tmp_path / "text"))).endswith(f", stderr: {start}")


def test_what_a_hook_said_before_its_timeout_is_told(tmp_path: Path) -> None:
    said = tmp_path / "said"
    while not said.exists():  # on a busy machine its second may pass before it says something
        text = _failure(_shell(f"echo waiting for the network >&2; touch {said}; exec sleep 1000", timeout=1))
    assert text.endswith("of 1.0s, stdout: , stderr: waiting for the network")


def test_a_hook_that_closes_its_streams_fails_all_the_same() -> None:
    text = _failure(_shell("echo before >&2; exec >&- 2>&-; sleep 0.1; exit 2"))
    assert text == "exit status 2 after T s, stdout: , stderr: before"


def test_a_process_that_goes_on_writing_is_not_waited_for(tmp_path: Path) -> None:
    """A process that a hook leaves behind may write faster than it is read."""
    hook = _shell(f"yes | head -c 5000 >&2; yes >&2 & echo $! > {tmp_path}/pid; exit 1")
    try:
        text = _failure(hook)
    finally:
        with contextlib.suppress(ProcessLookupError):  # SIGPIPE has ended it, for nobody reads it any more
            os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)
    assert text.startswith("exit status 1 after T s, stdout: , stderr: …y y y")


def test_past_its_timeout_a_hook_is_killed(tmp_path: Path) -> None:
    hook = _shell(f"echo $$ > {tmp_path}/new; mv {tmp_path}/new {tmp_path}/pid; exec sleep 1000", timeout=1)
    while not (tmp_path / "pid").exists():  # on a busy machine its second may pass before
        assert _failure(hook) == "hook ran past specified timeout of 1.0s, stdout: , stderr: "
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


def test_within_its_timeout_a_hook_is_not() -> None:
    hooks.run_hook(_shell("exit 0", timeout=1000000000), "poststart", 0, "{}")


def test_an_interrupted_wait_leaves_no_hook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(fds: list[int], timeout_ms: int) -> list[int]:
        if (tmp_path / "pid").exists() and (tmp_path / "pid").read_text().endswith("\n"):
            raise KeyboardInterrupt
        return []

    monkeypatch.setattr(interrupts, "poll", interrupt)
    with pytest.raises(KeyboardInterrupt):
        hooks.run_hook(_shell(f"echo $$ > {tmp_path}/pid; exec sleep 1000"), "poststart", 0, "{}")
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


def test_no_single_wait_is_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """A signal that comes between the interpreter's last check and poll(2) is noticed when poll returns."""
    waits: list[int] = []
    poll = interrupts.poll

    def counted(fds: list[int], timeout_ms: int) -> list[int]:
        waits.append(timeout_ms)
        return poll(fds, min(timeout_ms, 100) if timeout_ms >= 0 else -1)

    monkeypatch.setattr(interrupts, "poll", counted)
    for timeout in ({}, {"timeout": 100}):
        hooks.run_hook(_shell("exec sleep 0.3", **timeout), "poststart", 0, "{}")
    assert len(waits) > 2
    assert all(0 <= wait <= 1000 for wait in waits)


def test_what_a_hook_leaves_behind_is_not_waited_for(tmp_path: Path) -> None:
    """A daemon that a hook starts keeps the hook's streams; waiting for their end would wait for the daemon."""
    hooks.run_hook(_shell(f"sleep 1000 & echo $! > {tmp_path}/pid"), "poststart", 0, "{}")
    os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)


def test_no_descriptor_of_the_runtime_is_passed_on() -> None:
    reader, writer = os.pipe()
    inheritable = {fd for fd in map(int, os.listdir("/proc/self/fd")) if _is_inheritable(fd)}
    try:
        text = _failure({"path": "/bin/ls", "args": ["ls", "/proc/self/fd", "/no/such/file"]})
    finally:
        os.close(reader)
        os.close(writer)
    listed = {int(word) for word in text.partition("stdout: ")[2].partition(",")[0].split() if word.isdigit()}
    assert len(listed - inheritable - {0, 1, 2}) == 1  # the directory that ls reads


def _is_inheritable(fd: int) -> bool:
    try:
        return os.get_inheritable(fd)
    except OSError:  # the descriptor of listdir itself
        return False


def test_signals_are_as_for_a_fresh_program(tmp_path: Path) -> None:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
    try:
        hooks.run_hook(_shell(f"grep -E '^Sig(Blk|Ign)' /proc/self/status > {tmp_path}/o"), "poststart", 0, "{}")
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    masks = [int(line.split()[1], 16) for line in (tmp_path / "o").read_text().splitlines()]
    assert masks[0] == 0
    assert masks[1] & (1 << signal.SIGPIPE - 1 | 1 << signal.SIGXFSZ - 1) == 0


def test_no_descriptor_is_left(tmp_path: Path) -> None:
    before = open_descriptors()
    hooks.run_hook(_shell("true"), "poststart", 0, "{}")
    _failure(_shell("false"))
    _failure({"path": "/no/such/hook"})
    _failure(_shell("true", env=["x"]))
    assert open_descriptors() == before


def test_status_text() -> None:
    assert hooks.status_text(1 << 8) == "exit status 1"
    assert hooks.status_text(signal.SIGKILL) == "signal: killed"
    assert hooks.status_text(signal.SIGSEGV | 0x80) == "signal: segmentation fault (core dumped)"
    assert hooks.status_text(63) == "signal: real-time signal 29"


def test_the_ending_of_a_hook_of_the_init() -> None:
    assert hooks.ending("exit status 3 after 0.012 s, stdout:  after , stderr: x") == "exit status 3"
    assert hooks.ending("signal: killed after 1.000 s, stdout: , stderr: ") == "signal: killed"
    assert (
        hooks.ending("hook ran past specified timeout of 1.0s, stdout: ") == "hook ran past specified timeout of 1.0s"
    )
