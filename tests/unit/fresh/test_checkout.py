"""The clone of the working tree on another machine (N2)."""

from __future__ import annotations

import subprocess
from pathlib import Path

import checkout
import pytest


def git(folder: Path, *words: str) -> None:
    names = ("-c", "user.name=x", "-c", "user.email=x@localhost")
    subprocess.run(["git", "-C", folder, *names, *words], check=True, capture_output=True)


def test_the_clone_has_the_tree_as_it_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The last commit, and the changed, added and removed files since; ignored files are left out."""
    tree, clone = tmp_path / "tree", tmp_path / "clone"
    tree.mkdir()
    for name, text in ((".gitignore", "*.o\n"), ("same", "1"), ("changed", "1"), ("removed", "1")):
        (tree / name).write_text(text)
    git(tree, "init")
    git(tree, "add", ".")
    git(tree, "commit", "-m", "x")
    (tree / "changed").write_text("2")
    (tree / "removed").unlink()
    (tree / "new").mkdir()
    (tree / "new/file").write_text("3")
    (tree / "link").symlink_to("/nowhere")
    (tree / "x.o").write_text("4")
    monkeypatch.setattr(checkout, "REPOSITORY", tree)
    checkout.clone(clone)
    texts = {path.name: path.read_text() for path in clone.rglob("*") if path.is_file() and ".git/" not in str(path)}
    assert texts == {".gitignore": "*.o\n", "same": "1", "changed": "2", "file": "3"}
    assert (clone / "link").is_symlink()
    assert (clone / ".git").is_dir()
