"""types: no hot module imports it at run time (test_schemas.py compares its types with the schema)."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parents[4]


def test_is_imported_for_type_checking_only() -> None:
    importers = []
    for path in sorted((ROOT / "pyrunc").rglob("*.py")):
        for node in ast.parse(path.read_text("utf-8")).body:
            # What stands under `if TYPE_CHECKING:` is no statement of the module's body.
            if isinstance(node, ast.ImportFrom) and (node.module or "").endswith(".types"):
                importers.append(path.name)
    assert importers == []
