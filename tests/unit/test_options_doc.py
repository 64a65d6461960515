"""docs/mount-options.md is the output of scripts/options_doc.py, and has every option."""

from __future__ import annotations

import re
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[2] / "scripts"))

import options_doc

from pyrunc.libcontainer.kernel.constants import PROPAGATION
from pyrunc.libcontainer.spec.mount_options import KNOWN_OPTIONS


def test_the_page_is_that_of_the_tables() -> None:
    assert options_doc.PAGE.read_text() == options_doc.page(), "make options-doc writes it anew"


def test_every_option_has_a_row() -> None:
    rows = set(re.findall(r"`([\w-]+)`", options_doc.page()))
    recursive = {word for word in KNOWN_OPTIONS if word[0] == "r" and word[1:] in rows}
    assert set(KNOWN_OPTIONS) - rows - recursive == set()
    assert set(PROPAGATION) <= rows
