"""docs/conformance.md: complete, up to date, and true as far as a test can tell."""

from __future__ import annotations

import ast
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts"))
import conformance_doc as doc  # noqa: E402

DOCUMENTS = doc.load()
RESULTS = doc.Results.load()


def functions(path: Path) -> set[str]:
    """The test functions of a file; those in classes as `Class::test`."""
    found = set()
    for node in ast.parse(path.read_text()).body:
        inner = node.body if isinstance(node, ast.ClassDef) else [node]
        prefix = f"{node.name}::" if isinstance(node, ast.ClassDef) else ""
        found |= {prefix + item.name for item in inner if isinstance(item, ast.FunctionDef)}
    return found


@pytest.mark.parametrize("document", DOCUMENTS, ids=[document["document"] for document in DOCUMENTS])
def test_every_line_is_there_or_left_out_for_a_reason(document: dict[str, Any]) -> None:
    musts = [requirement for requirement in doc.requirements([document]) if "SHOULD" not in requirement["level"]]
    required = {line for requirement in musts for line in requirement["lines"]}
    left_out = {line for entry in document.get("left_out", ()) for line in entry["lines"]}
    assert required | left_out == set(document["lines"])
    assert not required & left_out
    assert all(entry["why"] for entry in document.get("left_out", ()))


@pytest.mark.parametrize("document", DOCUMENTS, ids=[document["document"] for document in DOCUMENTS])
def test_every_demand_has_its_tests(document: dict[str, Any]) -> None:
    for requirement in doc.requirements([document]):
        assert requirement["level"] in doc.LEVELS
        assert requirement["says"]
        assert requirement["tests"], requirement
        assert len(set(requirement["tests"])) == len(requirement["tests"]), requirement


def test_every_test_exists() -> None:
    files: dict[str, set[str]] = {}
    missing = []
    for test in doc.named_tests(DOCUMENTS):
        file, _, function = test.partition("[")[0].partition("::")
        path = ROOT / "tests" / file
        if file not in files:
            files[file] = functions(path) if path.exists() else set()
        if function not in files[file]:
            missing.append(test)
    assert missing == [], (
        "renamed? then rename in tests/conformance/requirements/ too, and run `scripts/conformance_doc.py render`"
    )


def test_every_test_has_passed() -> None:
    """Also that a test of those parameters exists: a test that was collected nowhere has passed nowhere."""
    never = [test for test in doc.named_tests(DOCUMENTS) if not RESULTS.best(test)[0]]
    assert never == [], "run `make conformance-doc`"


def test_no_result_is_of_a_test_that_is_not_named() -> None:
    named = set(doc.named_tests(DOCUMENTS))
    assert [test for ground in RESULTS.value.values() for test in ground["tests"] if test not in named] == []


def test_the_document_is_up_to_date() -> None:
    assert doc.DOCUMENT.read_text() == doc.render(DOCUMENTS, RESULTS), "run `scripts/conformance_doc.py render`"


OUTPUT = """\
PASSED tests/integration/test_a.py::test_a[x y]
PASSED tests/integration/test_a.py::test_a[z]
FAILED tests/integration/test_a.py::test_b - AssertionError: no - never
SKIPPED tests/integration/test_a.py::test_a[w] - Skipped: needs a moon
ERROR tests/integration/test_a.py::TestC::test_c - OSError
PASSED tests/integration/test_a.py::test_aa
"""


def test_what_is_taken_from_a_run() -> None:
    results = doc.Results({})
    names = ["test_a", "test_a[x y]", "test_a[w]", "test_b", "TestC::test_c", "test_none"]
    tests = ["integration/test_a.py::" + name for name in names]
    bad = results.note("host", "here", tests, OUTPUT)
    counts = {name: results.value["host"]["tests"].get(test) for name, test in zip(names, tests, strict=True)}
    assert counts == {
        "test_a": {"passed": 2, "failed": 0, "skipped": ["needs a moon"]},
        "test_a[x y]": {"passed": 1, "failed": 0, "skipped": []},
        "test_a[w]": {"passed": 0, "failed": 0, "skipped": ["needs a moon"]},
        "test_b": {"passed": 0, "failed": 1, "skipped": []},
        "TestC::test_c": {"passed": 0, "failed": 1, "skipped": []},
        "test_none": None,
    }
    assert bad == [tests[4], tests[3], tests[5]]
    assert [results.best(test)[0] for test in tests] == ["host", "host", "", "", "", ""]


def test_the_ground_on_which_most_has_passed_counts() -> None:
    def counts(passed: int, failed: int = 0) -> dict[str, Any]:
        return {"tests": {"t": {"passed": passed, "failed": failed, "skipped": []}}}

    assert doc.Results({"host": counts(1), "uml": counts(3), "qemu": counts(3)}).best("t")[0] == "uml"
    assert doc.Results({"host": counts(1), "uml": counts(3, 1)}).best("t")[0] == "host"
    assert doc.Results({}).best("t") == ("", {})


def test_lines_are_compared_with_a_checkout(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for document in DOCUMENTS:
        text = ["x MUST y" if number in document["lines"] else "" for number in range(1, document["lines"][-1] + 1)]
        (tmp_path / document["document"]).write_text("\n".join(text))
    assert doc.main(["lines", str(tmp_path)]) == 0
    (tmp_path / "bundle.md").write_text("SHALL\n")
    assert doc.main(["lines", str(tmp_path)]) == 1
    assert capsys.readouterr().out.startswith("bundle.md: [1, 14")


def test_wrong_words(capsys: pytest.CaptureFixture[str]) -> None:
    assert doc.main(["note", "moon", "log"]) == 2
    assert "conformance_doc.py render" in capsys.readouterr().err
