#!/usr/bin/env python3
"""docs/conformance.md: what the specification requires, the tests that prove it, and how they went.

The requirements are in tests/conformance/requirements/*.toml, one file for each document of the specification. The
results of their tests are in tests/conformance/requirements/results.json. tests/unit/test_conformance_doc.py checks
that the page, the requirements and the results agree.

    conformance_doc.py render            write docs/conformance.md
    conformance_doc.py run               run the tests that this machine can run, note how they went, and render
    conformance_doc.py note GROUND LOG   the same with the output of a run elsewhere, made with the words of REPORT
    conformance_doc.py lines DIRECTORY   compare the lines of the files with a checkout of the specification
"""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT / "tests/conformance/requirements"
RESULTS = DATA / "results.json"
DOCUMENT = ROOT / "docs/conformance.md"
SPECIFICATION = "https://github.com/opencontainers/runtime-spec/blob/v1.3.0"
# In the specification's order.
DOCUMENTS = ("bundle", "runtime", "runtime-linux", "config", "config-linux", "features", "features-linux")
WORDS = re.compile(r"MUST|REQUIRED|SHALL")
LEVELS = ("MUST", "MUST NOT", "REQUIRED", "SHOULD", "SHOULD NOT")

# The grounds, where tests run, and their names in the document. A test's result is that of the ground where it did
# best; of equal ones the first counts.
GROUNDS = {"host": "on a host", "uml": "in the guest", "qemu": "in the guest (QEMU)"}
# pytest's arguments: print a line for each test that passed, failed, broke or was skipped.
REPORT = ("-q", "-rfEsp", "--no-fold-skipped")
OUTCOME = re.compile(r"(PASSED|FAILED|ERROR|SKIPPED) (?:\[\d+\] )?(tests/\S+\.py::.*)")

INTRODUCTION = """\
# Conformance

This page lists what [runtime-spec 1.3.0]({specification}/spec.md) requires of a runtime on Linux, the tests that fail
if pyrunc does not do it, and their results. The statements are short and in our words; the line numbers link to the
specification. A test without parameters stands for all of its parameters. Where pyrunc differs, the page says so.

`scripts/conformance_doc.py` writes this page from `tests/conformance/requirements/`.
`tests/unit/test_conformance_doc.py` checks that the page is up to date, that each line with a MUST, REQUIRED or SHALL
has a requirement or a reason, that each requirement has a test, and that each of these tests has passed.
`make conformance-doc` runs the tests and records the results.

{grounds}

{summary}
"""


class Results:
    """The results of tests: by ground and test, how often it passed and failed, and the reasons for which it was
    skipped.
    """

    def __init__(self, value: dict[str, Any]) -> None:
        self.value = value

    @classmethod
    def load(cls) -> Results:
        return cls(json.loads(RESULTS.read_text()) if RESULTS.exists() else {})

    def best(self, test: str) -> tuple[str, dict[str, Any]]:
        """The ground on which most of a test passed and nothing failed, and its counts there; ("", {}) if there is
        none.
        """
        found = ("", dict[str, Any]())
        for ground in GROUNDS:
            counts = self.value.get(ground, {}).get("tests", {}).get(test, {})
            if counts.get("failed") == 0 and counts["passed"] > found[1].get("passed", 0):
                found = (ground, counts)
        return found

    def note(self, ground: str, about: str, tests: Iterable[str], output: str) -> list[str]:
        """Take the results of these tests from a run's output. Returns the tests that failed, or have never passed."""
        outcomes = [(kind, *_split(rest)) for kind, rest in OUTCOME.findall(output)]
        noted: dict[str, dict[str, Any]] = {}
        for test in sorted(set(tests)):
            mine = [(kind, why) for kind, id, why in outcomes if _is_of(id, test)]
            if mine:
                skipped = sorted({why for kind, why in mine if kind == "SKIPPED"})
                noted[test] = {
                    "passed": sum(kind == "PASSED" for kind, _ in mine),
                    "failed": sum(kind in ("FAILED", "ERROR") for kind, _ in mine),
                    "skipped": skipped,
                }
        self.value[ground] = {"about": about, "tests": noted}
        self.value = {name: self.value[name] for name in GROUNDS if name in self.value}
        return [test for test, counts in noted.items() if counts["failed"]] + [
            test for test in sorted(set(tests) - set(noted)) if not self.best(test)[0]
        ]

    def save(self) -> None:
        """Write one line for each test, so that a diff shows what changes."""
        grounds = []
        for ground, noted in self.value.items():
            lines = [f"  {_json(test)}: {_json(counts)}" for test, counts in noted["tests"].items()]
            text = ",\n".join(lines)
            grounds.append(f' {_json(ground)}: {{"about": {_json(noted["about"])}, "tests": {{\n{text}\n }}}}')
        RESULTS.write_text("{\n" + ",\n".join(grounds) + "\n}\n")


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def _split(text: str) -> tuple[str, str]:
    """Split pytest's line into a test's id and the text behind it. Ids have blanks; the text begins with ` - `."""
    id, _, why = text.strip().partition(" - ")
    return id.removeprefix("tests/"), why.removeprefix("Skipped: ")


def _is_of(id: str, test: str) -> bool:
    return id == test or id.startswith((test + "[", test + "::"))


def load() -> list[dict[str, Any]]:
    """The requirements by document, in the specification's order."""
    return [tomllib.loads((DATA / f"{name}.toml").read_text()) for name in DOCUMENTS]


def requirements(documents: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for document in documents:
        for section in document["section"]:
            yield from section["requirement"]


def named_tests(documents: Iterable[dict[str, Any]]) -> list[str]:
    """Every test that a requirement names, once, by its id in pytest without the directory `tests/`."""
    return sorted({test for requirement in requirements(documents) for test in requirement["tests"]})


def render(documents: list[dict[str, Any]], results: Results) -> str:
    """The document's text."""
    rows = [["", "requirements", "tests", "passed"]]
    for document in documents:
        name, tests = document["document"], named_tests([document])
        counts = (
            sum(1 for _ in requirements([document])),
            len(tests),
            sum(bool(results.best(test)[0]) for test in tests),
        )
        rows.append([f"[{name}](#{_anchor(name)})", *map(str, counts)])
    grounds = [
        f"- {GROUNDS[ground]}: {results.value[ground]['about']}" for ground in GROUNDS if ground in results.value
    ]
    parts = [INTRODUCTION.format(specification=SPECIFICATION, summary=_table(rows), grounds="\n".join(grounds))]
    parts += [_document(document, results) for document in documents]
    return "\n".join(parts)


def _document(document: dict[str, Any], results: Results) -> str:
    name = document["document"]
    parts = [f"## {name}\n"]
    for section in document["section"]:
        rows = [["line", "", "at", "what it requires", "tests", "result"]]
        for requirement in section["requirement"]:
            says = requirement["says"] + (f" *{requirement['note']}*" if "note" in requirement else "")
            rows.append([
                ", ".join(f"[{line}]({SPECIFICATION}/{name}?plain=1#L{line})" for line in requirement["lines"]),
                requirement["level"],
                f"`{requirement['at']}`" if "at" in requirement else "",
                says,
                "<br>".join(_tests(requirement["tests"])),
                _result(requirement["tests"], results),
            ])  # fmt: skip
        parts.append(f"### {section['title']}\n\n{_table(rows)}\n")
    if "left_out" in document:
        rows = [["lines", "left out, because"]]
        rows += [[", ".join(map(str, entry["lines"])), entry["why"]] for entry in document["left_out"]]
        parts.append(f"### Left out of {name}\n\n{_table(rows)}\n")
    return "\n".join(parts)


def _tests(tests: Iterable[str]) -> list[str]:
    """The tests; those that differ only in their parameters are one entry."""
    by_function: dict[str, list[str]] = {}
    for test in tests:
        function, bracket, parameter = test.partition("[")
        by_function.setdefault(function, []).extend([parameter.removesuffix("]")] if bracket else [])
    return [
        f"`{function}`" + (": " + ", ".join(f"`{word}`" for word in parameters) if parameters else "")
        for function, parameters in by_function.items()
    ]


def _result(tests: Iterable[str], results: Results) -> str:
    """`passed`, the ground, and the tests that no ground could run."""
    found = [results.best(test) for test in tests]
    if not all(ground for ground, _ in found):
        return "**not seen**"
    where = list(dict.fromkeys(GROUNDS[ground] for ground, _ in found))
    skipped = sorted({why for _, counts in found for why in counts["skipped"]})
    text = "passed" if where == [GROUNDS["host"]] else "passed " + " and ".join(where)
    return text + (f"; in part skipped: {'; '.join(skipped)}" if skipped else "")


def _table(rows: list[list[str]]) -> str:
    lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    return "\n".join([lines[0], "|" + "---|" * len(rows[0]), *lines[1:]])


def _anchor(title: str) -> str:
    """The name that a heading gets in a rendered document."""
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


def _write(results: Results) -> None:
    DOCUMENT.write_text(render(load(), results))


def _about() -> str:
    who = "root" if os.geteuid() == 0 else "a user"
    release = ".".join(platform.release().split(".")[:2])
    return f"Linux {release}, {platform.machine()}, as {who}"


def run() -> int:
    """Run the named tests that this machine can run, and take over their results."""
    tests = [test for test in named_tests(load()) if not test.startswith("guest/")]
    functions = sorted({"tests/" + test.partition("[")[0] for test in tests})
    command = [sys.executable, "-m", "pytest", *REPORT, *functions]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
    return _note("host", _about(), tests, done.stdout)


def note(ground: str, log: str) -> int:
    """Take over the results of the guest's tests from the output of a run in it."""
    output = Path(log).read_text(errors="replace")
    tests = [test for test in named_tests(load()) if test.startswith("guest/")]
    return _note(ground, "`make test-guest" + (" GUEST=qemu`" if ground == "qemu" else "`"), tests, output)


def _note(ground: str, about: str, tests: list[str], output: str) -> int:
    results = Results.load()
    bad = results.note(ground, about, tests, output)
    results.save()
    _write(results)
    print(output[-2000:], end="")
    for test in bad:
        print(f"not passed: {test}")
    return 1 if bad else 0


def compare_lines(directory: str) -> int:
    """Whether the files quote the lines of the specification as a checkout of it has them."""
    wrong = 0
    for document in load():
        text = (Path(directory) / document["document"]).read_text()
        found = [number for number, line in enumerate(text.splitlines(), 1) if WORDS.search(line)]
        if found != document["lines"]:
            print(f"{document['document']}: {sorted(set(found) ^ set(document['lines']))}")
            wrong = 1
    return wrong


def main(words: list[str]) -> int:
    if words == ["render"]:
        _write(Results.load())
        return 0
    if words == ["run"]:
        return run()
    if len(words) == 3 and words[0] == "note" and words[1] in GROUNDS:
        return note(words[1], words[2])
    if len(words) == 2 and words[0] == "lines":
        return compare_lines(words[1])
    print(__doc__, file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
