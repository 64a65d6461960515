"""Candidates for a word on the command line (N8)."""

from __future__ import annotations

from pathlib import Path

import click
import pytest

from pyrunc.cli import completion
from pyrunc.cli.program import main, program


def values(*words: str) -> list[str]:
    return [item.value for item in completion.candidates(program, list(words[:-1]), words[-1])]


def kinds(*words: str) -> list[str]:
    return [item.type for item in completion.candidates(program, list(words[:-1]), words[-1])]


@pytest.fixture
def root(tmp_path: Path) -> str:
    for name in ("one", "other", ":seccomp", ".x"):
        (tmp_path / name).mkdir()
    return str(tmp_path)


def test_n8_commands() -> None:
    assert values("") == program.list_commands(click.Context(program))
    assert values("st") == ["start", "state"]
    assert values("--debug", "--log", "x", "pau") == ["pause"]
    assert values("nonsense", "") == []
    assert values("help", "re") == ["restore", "resume"]


def test_n8_options() -> None:
    assert values("run", "--bun") == ["--bundle"]
    assert values("run", "-bun") == ["-bundle"]
    assert values("--cgroup-m") == ["--cgroup-manager"]
    assert values("run", "x", "--cgroup-m") == ["--cgroup-manager"]
    assert "--log" not in values("run", "--")
    assert {"--help", "-h", "--bundle", "-b"} <= set(values("run", "-"))
    assert values("update", "--kernel") == []
    assert values("exec", "id", "ls", "-") == []
    assert values("run", "--", "-") == []


@pytest.mark.parametrize("words", [("-b",), ("--bundle",), ("-bundle",), ("--log", "f", "--bundle")])
def test_n8_directories(words: tuple[str, ...]) -> None:
    assert kinds("run", *words, "") == ["dir"]


def test_n8_values_of_options() -> None:
    assert values("--cgroup-manager", "") == ["cgroupfs", "systemd", "disabled"]
    assert values("--cgroup-manager=s") == ["--cgroup-manager=systemd"]
    assert values("--log-format", "j") == ["json"]
    assert values("--rootless", "") == ["true", "false", "auto"]
    assert values("plan", "--format", "t") == ["table", "tree"]
    assert values("exec", "--cap", "CAP_SYS_A") == ["CAP_SYS_ADMIN"]
    assert kinds("update", "-r", "") == ["file"]
    assert kinds("run", "--config=") == ["file"]
    assert kinds("validate", "") == ["dir"]
    assert kinds("plan", "--diff", "") == ["dir"]
    # a directory of the container's, not of the host's
    assert kinds("exec", "--cwd", "") == []
    assert values("run", "--pid-file=x", "--keep=") == []


def test_n8_signals() -> None:
    assert {"KILL", "TERM"} <= set(values("kill", "id", ""))
    assert values("kill", "id", "SIGKI") == ["SIGKILL"]
    assert values("kill", "id", "ki") == ["kill"]
    assert values("kill", "id", "KILL", "") == []


def test_n8_container_ids(root: str) -> None:
    for command in ("state", "start", "kill", "exec", "update", "events", "ps", "pause", "resume", "delete"):
        assert values("--root", root, command, "") == ["one", "other"]
        assert values(command, f"--root={root}", "on") == ["one"]
    assert values("--root", root, "delete", "one", "") == ["other"]
    assert values("--root", root, "state", "one", "") == []
    for command in ("run", "create"):
        assert values("--root", root, command, "") == []
    assert values("--root", root + "/nowhere", "state", "") == []


def test_n8_the_usual_root_is_looked_at_and_not_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pyrunc.commands.settings.usual_root", lambda: str(tmp_path / "none"))
    assert values("state", "") == []
    assert list(tmp_path.iterdir()) == []


def test_n8_each_value_that_has_a_known_shape_has_candidates() -> None:
    """An option whose help has FORMAT, DIR, FILE … gets candidates, or this test gives the reason why not."""
    free = {
        "NAME=VALUE", "UID[:GID]", "GID", "LABEL", "PROFILE", "PATH", "N", "USEC", "LIST", "BYTES", "SCHEMA",
        "DURATION", "ADDRESS:PORT", "IMAGE", "POLICY", "PID",
    }  # fmt: skip
    for command in [program, *program.commands.values()]:
        context = click.Context(command)
        for param in command.params:
            if isinstance(param, click.Option) and not param.is_flag and param.metavar not in free:
                assert completion._values(context, param, ""), f"{command.name} {param.opts}"


@pytest.mark.parametrize(
    ("shell", "text", "cursor", "result"),
    [
        ("bash", "pyrunc\nrun\n", "2", (["run"], "")),
        ("bash", "pyrunc\nrun\n--bundle\n=\n/a", "4", (["run"], "--bundle=/a")),
        ("bash", "pyrunc\nrun\n--bundle\n=", "3", (["run"], "--bundle=")),
        ("bash", "pyrunc\n--root\n=\n/r\nstate\nx", "5", (["--root=/r", "state"], "x")),
        ("bash", "pyrunc\nrun\n--bun\nlater", "2", (["run"], "--bun")),
        ("bash", "pyrunc\nrun\n-b\n'a b'", "3", (["run", "-b"], "a b")),
        ("zsh", "pyrunc\nrun\n--bundle=/a", "2", (["run"], "--bundle=/a")),
        ("fish", "pyrunc\nrun", "--bun", (["run"], "--bun")),
        ("fish", "pyrunc\nrun", "", (["run"], "")),
    ],
)
def test_n8_words_as_the_shells_give_them(shell: str, text: str, cursor: str, result: tuple[list[str], str]) -> None:
    assert completion.typed(shell, text, cursor) == result


@pytest.mark.parametrize(
    "instruction", ["bash_complete", "zsh_complete", "fish_complete", "csh_source", "bash_x", "", "bash"]
)
@pytest.mark.parametrize("words", ["", "pyrunc 'open", "pyrunc run --nonsense x", "pyrunc nonsense x"])
def test_n8_nothing_is_printed_for_what_makes_no_sense(
    instruction: str, words: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    for name, value in ((completion.VARIABLE, instruction), ("COMP_WORDS", words), ("COMP_CWORD", "x")):
        monkeypatch.setenv(name, value)
    assert main("pyrunc", []) == 0
    out, err = capfd.readouterr()
    assert err == ""
    assert "Usage" not in out


def test_n8_answers_and_scripts(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("COMP_WORDS", "pyrunc\n--log-format\n=\nj")
    monkeypatch.setenv("COMP_CWORD", "3")
    monkeypatch.setenv(completion.VARIABLE, "bash_complete")
    assert main("pyrunc", []) == 0
    assert capfd.readouterr().out == "plain,json\n"
    monkeypatch.setenv("COMP_WORDS", "pyrunc\nresu")
    monkeypatch.setenv("COMP_CWORD", "1")
    assert completion.answer(program, "zsh_complete").split("\n")[:2] == ["plain", "resume"]
    for shell in completion.SHELLS:
        monkeypatch.setenv(completion.VARIABLE, f"{shell}_source")
        assert main("pyrunc", []) == 0
        assert capfd.readouterr().out == completion.script(shell)


def test_n8_the_variable_is_nothing_to_a_command(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(completion.VARIABLE, "bash_source")
    assert main("pyrunc", ["--version"]) == 0
    assert capfd.readouterr().out.startswith("pyrunc version")
