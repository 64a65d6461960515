"""The turns of a container, and the ids that may name files."""

from __future__ import annotations

import pytest

from pyrunc.protobuf import MalformedError
from pyrunc.shim import messages
from pyrunc.shim.model import Container, check_id
from pyrunc.shim.ttrpc import NOT_FOUND, StatusError


def container() -> Container:
    request = messages.decode("CreateTaskRequest", messages.encode("CreateTaskRequest", {"id": "a", "bundle": "/b"}))
    return Container(request, "default", {}, None, None)  # type: ignore[arg-type]


def test_actions_come_one_after_the_other() -> None:
    found: list[str] = []
    one = container()
    one.turn(lambda: found.append("a"))
    one.turn(lambda: found.append("b"))
    one.turn(lambda: found.append("c"))
    assert found == ["a"]
    one.end_turn()
    assert found == ["a", "b"]
    one.end_turn()
    one.end_turn()
    one.turn(lambda: found.append("d"))
    assert found == ["a", "b", "c", "d"]


def test_an_action_that_raises_ends_its_turn() -> None:
    one = container()
    with pytest.raises(ZeroDivisionError):
        one.turn(lambda: print(1 // 0))
    found: list[str] = []
    one.turn(lambda: found.append("a"))
    assert found == ["a"]


def test_an_unknown_process() -> None:
    with pytest.raises(StatusError, match="process does not exist x") as caught:
        container().process("x")
    assert caught.value.code == NOT_FOUND


@pytest.mark.parametrize("id", ["", ".", "..", "a/b", "a\0", "x" * 300, "-", "-rf", "--help"])
def test_an_id_that_is_no_name_of_a_file_or_a_flag(id: str) -> None:
    with pytest.raises(MalformedError):
        check_id(id)


def test_ids_of_containerd() -> None:
    assert check_id("a-b_c.D9") == "a-b_c.D9"
