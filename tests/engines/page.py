"""Write the tables of docs/engines.md from the results of the last runs: `python -m tests.engines.page`.

The tables are between two comments of the page. They lack what did not run in the last runs.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from tests.engines import buildah, buildkit, podman, pods
from tests.engines.checks import CHECKS, NEEDS
from tests.engines.kinds import KINDS
from tests.engines.machine import REPOSITORY

PAGE = REPOSITORY / "docs/engines.md"
RESULTS = REPOSITORY / "build/engines"
BEGIN, END = "<!-- tables: make engines-doc -->", "<!-- end of the tables -->"

# Debian's version numbers.
NUMBERS = {"bookworm": "12", "trixie": "13"}

Record = Mapping[str, str]


def cell(record: Record | None) -> str:
    """The result of one check under one engine, in a word."""
    if record is None:
        return ""
    match record["pyrunc"], record["runc"]:
        case "passed", "failed":
            return "pyrunc"
        case "passed", _:
            return "yes"
        case "failed", "failed":
            return "neither"
        case "failed", _:
            return "**no**"
    return "–"


def tables(results: Mapping[str, Iterable[Record]]) -> str:
    """The counts of each engine, and the checks. results: those of each release."""
    found: dict[tuple[str, str], dict[str, Record]] = {}
    for release, records in results.items():
        for record in records:
            found.setdefault((release, record["kind"]), {})[record["check"]] = record
    columns = [(release, kind) for release in results for kind in KINDS if (release, kind) in found]
    lines = [
        "| Debian | engine | version | passed | with runc too | neither | no words for it |",
        "|---|---|---|---|---|---|---|",
    ]
    for column in columns:
        records = list(found[column].values())
        own = [record for record in records if record["pyrunc"] == "passed"]
        both = sum(record["runc"] == "passed" for record in own)
        neither = sum(record["pyrunc"] == record["runc"] == "failed" for record in records)
        lacks = sum(record["pyrunc"] == "lacks" for record in records)
        words = (NUMBERS[column[0]], column[1], records[0]["version"], len(own), both, neither, lacks)
        lines.append(f"| {' | '.join(str(word) for word in words)} |")
    lines += ["", "| check | " + " | ".join(f"{kind} {NUMBERS[release]}" for release, kind in columns) + " |"]
    lines.append("|---|" + "---|" * len(columns))
    documents = {
        name: check.__doc__
        for table in (CHECKS, pods.CHECKS, podman.CHECKS, buildah.CHECKS, buildkit.CHECKS)
        for name, check in table.items()
    }
    for name, document in documents.items():
        said = (document or "").splitlines()[0].rstrip(".")
        said += f" (needs {NEEDS[name]})" if name in NEEDS else ""
        lines.append(f"| {said} | " + " | ".join(cell(found[column].get(name)) for column in columns) + " |")
    return "\n".join(lines)


def main() -> int:
    """Write the page."""
    results = {
        release: [json.loads(line) for line in (RESULTS / f"{release}.jsonl").read_text().splitlines()]
        for release in NUMBERS
        if (RESULTS / f"{release}.jsonl").exists()
    }
    if not results:
        print("no results: make test-engines", file=sys.stderr)
        return 1
    text = PAGE.read_text()
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    Path(PAGE).write_text(f"{before}{BEGIN}\n\n{tables(results)}\n\n{END}{after}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
