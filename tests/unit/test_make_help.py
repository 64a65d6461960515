"""`make help` names every target that people call, and every target that the pages name is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support.runtime import REPOSITORY

MAKEFILES = [REPOSITORY / "Makefile", *sorted(REPOSITORY.glob("*.mk")), *sorted(REPOSITORY.glob("launcher/*.mk"))]
RULES = "".join([path.read_text() for path in MAKEFILES])
# Parts of other targets, and another name of build.
PARTS = {"dist-deb", "dist-sbom", "dist-tar", "engines-ground", "help", "install-dev"}
PAGES = [*sorted(REPOSITORY.glob("*.md")), *sorted(REPOSITORY.glob("docs/*.md"))]


def test_help_names_every_target() -> None:
    targets = {word for line in re.findall(r"^\.PHONY: (.*)$", RULES, re.MULTILINE) for word in line.split()}
    said = "".join([line for line in RULES.splitlines() if line.startswith("\t@echo 'make ")])
    assert {"test", "critest", "bench-shim"} <= targets
    assert targets - set(re.findall(r"make ([a-z][a-z0-9-]+)", said)) == PARTS


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_target_on_a_page_is_there(page: Path) -> None:
    targets = {word for line in re.findall(r"^([^\n:=\t]+):", RULES, re.MULTILINE) for word in line.split()}
    named = set(re.findall(r"(?:`|^    |&& |# )make\s+([a-z][a-z0-9-]+)", page.read_text(), re.MULTILINE))
    assert named - targets == set()
