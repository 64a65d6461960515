"""What launcher/specialise.py carries out before the snapshot is written: it must leave no trace."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import pytest

from launcher import freeze, specialise
from pyrunc._generated import validators
from tests.support.runtime import REPOSITORY


def content(value: Any, depth: int = 4) -> Any:
    """A value in a form that shows its change: what is in containers, and which object any other one is."""
    if depth and type(value) in (list, tuple):
        return [content(item, depth - 1) for item in value]
    if depth and type(value) in (set, frozenset):
        return {id(item) for item in value}
    if depth and type(value) is dict:
        return [(id(key), content(item, depth - 1)) for key, item in value.items()]
    if depth and type(value).__module__.startswith("pyrunc."):
        names = [name for type_ in type(value).__mro__ for name in getattr(type_, "__slots__", ())]
        held = {name: getattr(value, name) for name in names if hasattr(value, name)}
        # Not the content of this dict: at the last depth that would be its own id, and the next call has another one.
        items = {**held, **getattr(value, "__dict__", {})}.items()
        return [id(value), [(id(key), content(item, depth - 1)) for key, item in items]]
    return id(value)


def modules() -> dict[str, ModuleType]:
    return {name: module for name, module in sys.modules.items() if name.partition(".")[0] == "pyrunc"}


def contents() -> dict[tuple[str, str], Any]:
    """Every name of every module and of every class in one."""
    found = {}
    for name, module in modules().items():
        for key, value in vars(module).items():
            found[name, key] = content(value)
            if isinstance(value, type) and value.__module__.startswith("pyrunc."):
                for member, inner in vars(value).items():
                    found[name, f"{key}.{member}"] = content(inner)
    return found


@pytest.fixture(autouse=True)
def imported() -> None:
    """The modules of the snapshot."""
    for name, module in freeze.reach().items():
        if module is not None and name not in freeze.ON_DEMAND:
            __import__(name)


def test_modules_are_as_before() -> None:
    validators.unknown.clear()  # other tests leave members there, which the next check of a configuration drops
    before, held = contents(), set(modules())
    specialise.main()
    assert set(modules()) == held
    after = contents()
    assert {place for place in before.keys() | after.keys() if before.get(place) != after.get(place)} == set()


def test_the_comparison_sees_a_change(monkeypatch: pytest.MonkeyPatch) -> None:
    from pyrunc import log
    from pyrunc.libcontainer.spec import inputs

    before = contents()
    monkeypatch.setitem(inputs._kept, "/config.json", b"{}")
    monkeypatch.setattr(log._sink, "level", 1)
    monkeypatch.setattr(validators, "unknown", [("/a", "b")])
    after = contents()
    assert {place for place in before if before[place] != after[place]} >= {
        ("pyrunc.libcontainer.spec.inputs", "_kept"), ("pyrunc.log", "_sink"),
        ("pyrunc._generated.validators", "unknown"),
    }  # fmt: skip


def test_it_imports_what_the_snapshot_has() -> None:
    lines = freeze.specialiser(freeze.reach())
    assert any("specialise_code[]" in line for line in lines)


def test_an_import_that_the_snapshot_lacks_is_refused(tmp_path: Any) -> None:
    (tmp_path / "launcher").mkdir()
    (tmp_path / "launcher/specialise.py").write_text("from pyrunc.libcontainer.spec import annotations\n")
    modules: dict[str, Any] = dict.fromkeys(freeze.reach())
    with pytest.raises(freeze.FreezeError, match=r"launcher/specialise.py:1: the snapshot has no module pyrunc"):
        freeze.specialiser(modules, tmp_path)


def test_without_the_module_there_is_no_code(tmp_path: Any) -> None:
    [line] = freeze.specialiser({}, tmp_path)
    assert ".marshalled" not in line


def test_nobody_else_imports_it() -> None:
    """It is dropped when the snapshot is made."""
    for path in (REPOSITORY / "pyrunc").rglob("*.py"):
        assert "launcher.specialise" not in path.read_text()
