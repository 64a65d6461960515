"""The files that make a tree a Debian package (N10)."""

from __future__ import annotations

import gzip
import os
import shutil
import subprocess
from pathlib import Path

import deb
import pytest


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A tree with two dependencies: one from a wheel, one that setuptools has installed."""
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
    assert text.count("\nLicense: Apache-2.0\n") == 2  # the licence of all files, and the licence's text
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
    """N1, N10: the package asked for python3.11 wherever it was built."""
    if shutil.which("dpkg") is None:
        pytest.skip("needs dpkg")
    text = deb.control("1.0", link, 100, "N <n@example.org>")
    depends = next(line for line in text.splitlines() if line.startswith("Depends: ")).partition(": ")[2].split(", ")
    assert f"python{deb.python()}" in depends
    assert (f"libpython{deb.python()}" in depends) == (link == "shared")
    assert f"libc6 (>= {deb.glibc()})" in depends


def test_the_homepage_is_there_where_it_is_known() -> None:
    if shutil.which("dpkg") is None:
        pytest.skip("needs dpkg")
    assert "Homepage" not in deb.control("1.0", "static", 1, "N <n@example.org>")
    text = deb.control("1.0", "static", 1, "N <n@example.org>", "https://example.org/")
    assert "\nHomepage: https://example.org/\n" in text
    assert "\nMaintainer: N <n@example.org>\n" in text


CHANGES = """# Changelog

## [Unreleased]

### Added

- One thing that is so long that it has to be broken into several lines of which none has more than eighty,
  `--with-this` and a second line.
- Another.

## [0.1.0] - 2026-01-01

### Added

- Nothing of this.
"""


def test_the_changelog_has_the_newest_section() -> None:
    text = deb.changelog("0.2.0-dev", "N <n@example.org>", CHANGES, 1700000000)
    lines = text.splitlines()
    assert lines[0] == "pyrunc (0.2.0~dev) unstable; urgency=medium"
    assert lines[-1] == " -- N <n@example.org>  Tue, 14 Nov 2023 22:13:20 -0000"
    assert [line for line in lines if line.startswith("  * ")][1] == "  * Another."
    assert max(map(len, lines)) <= 80
    assert "Nothing of this" not in text


def test_documents_are_the_same_each_time(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    page = tree / "usr/share/man/man8/pyrunc.8"
    page.parent.mkdir(parents=True)
    page.write_text(".TH PYRUNC 8\n")
    deb.compress_pages(tree)
    deb.write_documents(tree, "static", "1.0", "N <n@example.org>")
    assert gzip.decompress((page.parent / "pyrunc.8.gz").read_bytes()) == b".TH PYRUNC 8\n"
    assert not page.exists()
    packed = (tree / "usr/share/doc/pyrunc/changelog.gz").read_bytes()
    assert packed[4:8] == bytes(4)  # no time of packing (RFC 1952)
    assert "statically-linked-binary" in (tree / "usr/share/lintian/overrides/pyrunc").read_text()


def test_the_interpreter_is_a_relative_link(tree: Path) -> None:
    link = tree / "usr/lib/pyrunc/bin/python3"
    link.parent.mkdir(parents=True)
    link.symlink_to("/usr/bin/python3.11")
    deb.relative_link(tree)
    assert os.readlink(link) == "../../../bin/python3.11"


@pytest.mark.parametrize("name", sorted(deb.SCRIPTS))
def test_the_scripts_are_of_a_shell(name: str) -> None:
    assert subprocess.run(["sh", "-n"], input=deb.SCRIPTS[name].encode(), check=False).returncode == 0
