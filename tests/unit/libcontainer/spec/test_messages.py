"""messages: a schema's rules in words."""

from __future__ import annotations

from typing import Any

import pytest

from pyrunc.libcontainer.spec import messages


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ({"type": "string", "enum": ["a", "b"]}, 'one of "a", "b"'),
        ({"type": "string", "description": "a path", "pattern": "^/"}, "a path"),
        ({"type": "integer", "minimum": -1, "maximum": 5}, "an integer from -1 to 5"),
        ({"type": "integer"}, "an integer"),
        ({"type": "object"}, "an object"),
        ({"type": "boolean"}, "true or false"),
    ],
)
def test_allowed(schema: Any, words: Any) -> None:
    assert messages.allowed(schema) == words
    assert messages.must_be(schema) == "must be " + words
    assert messages.bad_name(schema) == "has a name that must be " + words


def test_members_that_belong_together() -> None:
    assert messages.missing_beside("uidMappings") == "is missing beside uidMappings"
    assert messages.needs_one([{"required": ["a"]}, {"required": ["b"]}]) == "needs a or b"
