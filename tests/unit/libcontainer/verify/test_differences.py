"""The result of a comparison, as JSON."""

from __future__ import annotations

from pyrunc.libcontainer.verify.differences import Findings


def test_only_what_differs_is_a_difference() -> None:
    findings = Findings()
    findings.compare("/a", "same", 5, 5)
    findings.compare("/b", "other", 5, 6)
    findings.miss("/c", "hidden", "nobody can tell")
    assert findings.to_dict() == {
        "differences": [{"pointer": "/b", "what": "other", "expected": "5", "found": "6"}],
        "unseen": [{"pointer": "/c", "what": "hidden", "why": "nobody can tell"}],
    }
