"""The rooms of pyrunc: no circle of imports, and the drawing in docs/architecture.md agrees with the code."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))

import rooms


def test_no_modules_import_each_other_in_a_circle() -> None:
    """Also imports for types: two modules that need each other's types can only be understood together."""
    assert rooms.circle(rooms.modules()) == []


def test_a_circle_is_found() -> None:
    assert set(rooms.circle({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}})) == {"a", "b", "c"}


def test_the_drawing_is_that_of_the_imports() -> None:
    assert rooms.BEGIN + rooms.drawing() + rooms.END in rooms.PAGE.read_text(), "python scripts/rooms.py"


def test_an_arrow_that_follows_from_others_is_left_out() -> None:
    imports = {
        "pyrunc.libcontainer.a.x": {"pyrunc.libcontainer.b", "pyrunc.libcontainer.c", "pyrunc.errors"},
        "pyrunc.libcontainer.a.y": {"pyrunc.libcontainer.a.x"},
        "pyrunc.libcontainer.b": {"pyrunc.libcontainer.c"},
        "pyrunc.libcontainer.c": set(),
        "pyrunc.errors": set(),
    }
    assert rooms.arrows(imports) == {"a": {"b"}, "b": {"c"}, "c": set()}
