"""What the commands of a container's life import, each run for real."""

from __future__ import annotations

from pathlib import Path

from launcher import freeze
from tests.support.bundle import Bundle
from tests.support.imports import heavy, imported_by
from tests.support.runtime import Runtime


def test_a_whole_life_imports_nothing_heavy(runtime: Runtime, bundle: Bundle) -> None:
    bundle.args("sleep", "100").write()
    id = runtime.new_id()
    for words in (
        ["create", "--bundle", str(bundle.path), id],
        ["state", id],
        ["start", id],
        ["exec", id, "true"],
        ["list"],
        ["kill", id, "KILL"],
        ["delete", "--force", id],
    ):
        assert imports(runtime, words) == []


def test_run_imports_nothing_heavy(runtime: Runtime, bundle: Bundle) -> None:
    bundle.args("true").write()
    assert imports(runtime, ["run", "--bundle", str(bundle.path), runtime.new_id()]) == []


def imports(runtime: Runtime, words: list[str]) -> list[str]:
    """The heavy modules that a command imports; AssertionError if the command fails."""
    line = ["pyrunc", "--root", str(runtime.root), *words]
    output = Path(runtime.work, f"modules-{words[0]}")
    code = f"from pyrunc.main import main\nassert main({line!r}) == 0"
    found = imported_by(code, output)
    # The snapshot has the modules of the usual life, and its last modules are those that this life does not import
    # (launcher/freeze.py).
    assert not found & freeze.ON_DEMAND
    assert [name for name in found if name.startswith(freeze.LAST)] == []
    return heavy(found)
