"""The content of a package, as CycloneDX: complete, valid, and the same each time."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

if find_spec("cyclonedx") is None:
    pytest.skip("needs cyclonedx-python-lib (the extra dist of pyproject.toml)", allow_module_level=True)

import sbom


@pytest.fixture
def modules(tmp_path: Path) -> Path:
    for name, licence in (
        ("lark", "License-Expression: MIT"),
        ("Finch_x", "Classifier: License :: OSI Approved :: BSD"),
    ):
        folder = tmp_path / f"{name}-1.0.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.4\nName: {name}\nVersion: 1.0\n{licence}\n")
    folder = tmp_path / "pyrunc-0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.4\nName: pyrunc\nVersion: 0\n")
    return tmp_path


@pytest.mark.parametrize("link", ["static", "shared"])
def test_all_parts_are_named(modules: Path, link: str) -> None:
    value = json.loads(sbom.document("0.2.0-dev", link, modules, 1700000000))
    names = {part["name"]: part for part in value["components"]}
    assert value["metadata"]["component"]["version"] == "0.2.0-dev"
    assert value["metadata"]["timestamp"].startswith("2023-11-14T22:13:20")
    assert names["lark"]["purl"] == "pkg:pypi/lark@1.0"
    assert names["lark"]["licenses"] == [{"license": {"id": "MIT"}}]
    assert names["Finch_x"]["purl"] == "pkg:pypi/finch-x@1.0"
    assert {"cpython", "musl", "libseccomp"} <= names.keys()
    assert ("glibc" in names) == (link == "static")
    assert "pyrunc" not in names


def test_it_is_the_same_each_time(modules: Path) -> None:
    """In another process too: its order must not be that of a set of strings."""
    code = (
        f"import sys; sys.path.insert(0, {str(Path(sbom.__file__).parent)!r}); import sbom; from pathlib import Path\n"
    )
    code += f"print(sbom.document('1', 'static', Path({str(modules)!r}), 1), end='')"
    texts = {
        subprocess.run([sys.executable, "-c", code], env={"PYTHONHASHSEED": seed, "PATH": "/usr/bin"}, check=True,
                       capture_output=True).stdout
        for seed in ("1", "2", "3")
    }  # fmt: skip
    assert len(texts) == 1


def test_a_package_that_dpkg_does_not_know_has_no_version() -> None:
    assert sbom.debian_version("no-such-package") is None
