"""The files that make a tree a Debian package (N10)."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import deb
import pytest


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A tree with two dependencies: one of a wheel, one that setuptools has installed."""
    modules = tmp_path / deb.MODULES
    files = {
        "lark/__init__.py": "", "lark-1.0.dist-info/licenses/LICENSE": "text",
        "lark-1.0.dist-info/METADATA": "Metadata-Version: 2.4\nName: lark\nVersion: 1.0\nLicense-Expression: MIT\n",
        "lark-1.0.dist-info/RECORD": "lark/__init__.py,,\nlark/tests/x.py,,\nlark-1.0.dist-info/licenses/LICENSE,,\n",
        "finch.py": "", "finch-2.egg-info/top_level.txt": "finch\n",
        "finch-2.egg-info/PKG-INFO": "Metadata-Version: 1.1\nName: finch\nVersion: 2\n"
        "Classifier: License :: OSI Approved :: BSD License\n",
        "pyrunc-0.dist-info/METADATA": "Metadata-Version: 2.4\nName: pyrunc\nVersion: 0\n",
    }  # fmt: skip
    for name, text in files.items():
        (modules / name).parent.mkdir(parents=True, exist_ok=True)
        (modules / name).write_text(text)
    return tmp_path


def test_the_copyright_file_names_all_parts(tree: Path) -> None:
    text = deb.copyright_file(tree, "shared")
    assert text.count("\nLicense: Apache-2.0\n") == 2  # that of all files, and the text's
    assert (
        f"Files: {deb.MODULES}/lark/* {deb.MODULES}/lark-1.0.dist-info/*\nCopyright: the lark authors\nLicense: MIT\n"
        f"Comment: lark 1.0\n text: /{deb.MODULES}/lark-1.0.dist-info/licenses/LICENSE\n"
    ) in text
    assert f"Files: {deb.MODULES}/finch*\nCopyright: the finch authors\nLicense: BSD License\n" in text


@pytest.mark.parametrize(("link", "linked"), [("static", True), ("shared", False)])
def test_what_is_linked_into_the_launcher_is_named(tree: Path, link: str, linked: bool) -> None:
    assert ("glibc" in deb.copyright_file(tree, link)) == linked


@pytest.mark.parametrize(
    ("version", "expected"),
    [("1.2.3", "1.2.3"), ("0.2.0-dev", "0.2.0~dev"), ("1.0.0-rc.2+g1a2b", "1.0.0~rc.2+g1a2b")],
)
def test_a_version_before_a_release_is_older_than_the_release(version: str, expected: str) -> None:
    assert deb.debian_version(version) == expected
    if expected != version and shutil.which("dpkg"):
        release = expected.partition("~")[0]
        assert subprocess.run(["dpkg", "--compare-versions", expected, "lt", release], check=False).returncode == 0


@pytest.mark.parametrize("link", ["static", "shared"])
def test_the_python_of_this_release_is_a_dependency(link: str) -> None:
    """N1, N10: python3.11 was asked for wherever the package was built."""
    if shutil.which("dpkg") is None:
        pytest.skip("needs dpkg")
    text = deb.control("1.0", link, 100)
    depends = next(line for line in text.splitlines() if line.startswith("Depends: ")).partition(": ")[2].split(", ")
    assert f"python{deb.python()}" in depends
    assert (f"libpython{deb.python()}" in depends) == (link == "shared")
    assert f"libc6 (>= {deb.glibc()})" in depends
