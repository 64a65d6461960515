"""The parts of packaging/wheel.py; tests/integration/test_launcher_wheel.py tests the wheel itself."""

from __future__ import annotations

import email
import os
import stat
from pathlib import Path

import pytest
import wheel


def test_the_programs_are_where_installers_look(tmp_path: Path) -> None:
    launcher = tmp_path / "launcher"
    launcher.write_bytes(b"\x7fELF")
    wheel.add_programs(tmp_path / "tree", launcher, "1.0")
    scripts = tmp_path / "tree/pyrunc-1.0.data/scripts"
    assert sorted(os.listdir(scripts)) == [wheel.SHIM, "pyrunc", "pyrunc-python"]
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o755 for path in scripts.iterdir())
    # Installers replace a first line that begins like this by the interpreter's path.
    assert (scripts / "pyrunc-python").read_text().startswith("#!python\n")
    compile((scripts / "pyrunc-python").read_text(), "pyrunc-python", "exec")


def metadata(folder: Path, *requirements: str) -> Path:
    (folder / "entry_points.txt").write_text("[console_scripts]\npyrunc = pyrunc.__main__:run\n")
    lines = ["Metadata-Version: 2.4", "Name: pyrunc", *[f"Requires-Dist: {name}" for name in requirements], ""]
    (folder / "METADATA").write_text("\n".join([*lines, "# pyrunc", "Requires-Dist: nothing", ""]))
    return folder


def test_what_the_wheel_has_otherwise_is_left_out(tmp_path: Path) -> None:
    wheel.edit_metadata(metadata(tmp_path, "click>=8.1", "python-prctl>=1.8", "tomlkit>=0.12"))
    text = (tmp_path / "METADATA").read_text()
    assert "python-prctl" not in text
    assert "Requires-Dist: click>=8.1\nRequires-Dist: tomlkit>=0.12\n" in text
    assert os.listdir(tmp_path) == ["METADATA"]


def test_who_publishes_it_is_in_the_metadata_where_that_is_known(tmp_path: Path) -> None:
    publisher = wheel.published("Jane Doe <jane@example.org>", "https://example.org/pyrunc")
    wheel.edit_metadata(metadata(tmp_path, "python-prctl>=1.8"), publisher)
    facts = email.message_from_string((tmp_path / "METADATA").read_text())
    assert facts["Maintainer-email"] == "Jane Doe <jane@example.org>"
    assert facts["Project-URL"] == "Homepage, https://example.org/pyrunc"


@pytest.mark.parametrize("maintainer", ["", "the pyrunc developers <pyrunc@pyrunc.invalid>"])
def test_nobody_is_named_where_nobody_is_known(maintainer: str) -> None:
    assert wheel.published(maintainer, "") == ""


def test_a_requirement_that_is_gone_is_an_error(tmp_path: Path) -> None:
    """Otherwise pip would need a compiler again, and nobody would see why."""
    with pytest.raises(SystemExit, match="names python-prctl 0 times"):
        wheel.edit_metadata(metadata(tmp_path, "click>=8.1", "prctl"))


def test_a_command_that_fails_is_shown() -> None:
    with pytest.raises(SystemExit, match="sh failed\nout\nerr\n"):
        wheel.run("sh", "-c", "echo out; echo err >&2; exit 1")
