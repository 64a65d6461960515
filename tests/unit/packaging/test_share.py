"""Manual pages and shell completion, in their installed form (N8, issue 9)."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import click
import pytest
import share

from pyrunc.cli import completion
from pyrunc.cli.program import program

PAGES = share.pages(program, "1.2")


def test_n8_there_is_a_page_for_each_command() -> None:
    programs = {"pyrunc.8", f"{share.SHIM}.8"}
    assert set(PAGES) == programs | {f"pyrunc-{name}.8" for name in program.commands}
    for name in program.commands:
        assert f"pyrunc\\-{name}" in PAGES["pyrunc.8"]


@pytest.mark.parametrize("name", [None, *program.commands])
def test_n8_a_page_has_every_option_that_help_shows(name: str | None) -> None:
    command: click.Command = program.commands[name] if name else program
    page = PAGES[f"pyrunc-{name}.8" if name else "pyrunc.8"]
    for param in command.params:
        if isinstance(param, click.Option):
            for spelling in param.opts:
                assert (f"\\fB{share.escaped(spelling)}\\fR" in page) != param.hidden, spelling
            assert param.hidden or share.escaped(param.help or "") in page


@pytest.mark.parametrize("name", PAGES)
def test_n8_groff_has_nothing_to_say_about_a_page(name: str) -> None:
    if shutil.which("groff") is None:
        pytest.skip("needs groff (Debian package groff-base)")
    done = subprocess.run(
        ["groff", "-man", "-Tutf8", "-ww"], input=PAGES[name], capture_output=True, text=True, check=True
    )
    assert done.stderr == ""
    text = re.sub(r".\x08|\x1b\[\d*m", "", done.stdout)
    assert "NAME" in text
    assert "`" not in text
    assert "pyrunc 1.2" in text


@pytest.mark.parametrize(
    ("text", "result"),
    [(".x", "\\&.x"), ("'x", "\\&'x"), ("a\\b", "a\\eb"), ("-x `run` y", "\\-x \\fBrun\\fR y"), ("a\n  b", "a b")],
)
def test_text_is_no_command_of_roff(text: str, result: str) -> None:
    assert share.escaped(text) == result


@pytest.mark.parametrize(("debian", "zsh"), [(False, "site-functions"), (True, "vendor-completions")])
def test_n8_the_files_are_where_man_and_the_shells_look(tmp_path: Path, debian: bool, zsh: str) -> None:
    gone = tmp_path / "share/man/man8/pyrunc-gone.8"
    gone.parent.mkdir(parents=True)
    gone.touch()
    share.write(tmp_path, "1.2", debian)
    found = {str(path.relative_to(tmp_path / "share")) for path in tmp_path.rglob("*") if path.is_file()}
    scripts = {
        "bash": "bash-completion/completions/pyrunc", "zsh": f"zsh/{zsh}/_pyrunc",
        "fish": "fish/vendor_completions.d/pyrunc.fish",
    }  # fmt: skip
    assert found == {f"man/man8/{name}" for name in PAGES} | set(scripts.values())
    for shell, name in scripts.items():
        assert (tmp_path / "share" / name).read_text() == completion.script(shell)


@pytest.mark.parametrize(("shell", "words"), [("bash", ["-n"]), ("zsh", ["-n"]), ("fish", ["--no-execute"])])
def test_n8_the_shells_take_their_scripts(tmp_path: Path, shell: str, words: list[str]) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"needs {shell} (Debian package {shell})")
    (tmp_path / "script").write_text(completion.script(shell))
    done = subprocess.run([shell, *words, tmp_path / "script"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
