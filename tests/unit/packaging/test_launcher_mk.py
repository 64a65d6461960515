"""The decisions of launcher/launcher.mk for the Python that it finds."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]


def decided(folder: Path, version: str, archive: bool, *words: str) -> str:
    """How the launcher is linked, and whether with a snapshot and with trims, for a Python of this version."""
    if shutil.which("make") is None:
        pytest.skip("needs make")
    if archive:
        (folder / f"libpython{version}.a").touch()
    facts = f"{version} /include /stdlib {folder} /lib -ldl -lm"
    rule = "show:;@echo $(LAUNCHER_LINK) $(if $(LAUNCHER_SNAPSHOT),snapshot) $(if $(LAUNCHER_TRIMS),trims)"
    return subprocess.run(
        ["make", "-s", "--no-print-directory", f"--eval={rule}", "show", f"LAUNCHER_FACTS={facts}", *words],
        cwd=ROOT, check=True, capture_output=True, text=True,
    ).stdout.strip()  # fmt: skip


@pytest.mark.parametrize(
    ("version", "archive", "result"),
    [
        ("3.11", True, "static snapshot trims"),
        ("3.11", False, "shared"),
        ("3.12", True, "static snapshot"),
        ("3.13", True, "static snapshot trims"),
        ("3.14", True, "static snapshot trims"),
        ("3.14", False, "shared"),
        ("3.15", True, "shared"),
    ],
)
def test_only_a_proved_version_is_linked_statically(tmp_path: Path, version: str, archive: bool, result: str) -> None:
    """N1: with the static library of another version every command may end in a segmentation fault."""
    assert decided(tmp_path, version, archive) == result


def test_another_may_be_tried(tmp_path: Path) -> None:
    assert decided(tmp_path, "3.15", True, "LAUNCHER_LINK=static") == "static"
