"""CRIU's messages in the form of its own library: bytes that criu 4.2 has sent, and checks of the tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pyrunc import protobuf
from pyrunc.libcontainer.criu import rpc
from pyrunc.protobuf import MESSAGE

if TYPE_CHECKING:
    from pyrunc.protobuf import Table


def tables(table: Table) -> list[Table]:
    """A table and the tables of the messages in it."""
    return [table, *(inner for field in table.values() if field[4] is not None for inner in tables(field[4]))]


@pytest.mark.parametrize("table", [*tables(rpc.REQUEST), *tables(rpc.RESPONSE)])
def test_each_table_has_each_name_once_and_messages_have_fields(table: Table) -> None:
    names = [field[0] for field in table.values()]
    assert len(names) == len(set(names))
    for field in table.values():
        assert (field[1] == MESSAGE) == (field[4] is not None), field[0]


def test_the_version_as_criu_4_2_answers_it() -> None:
    data = bytes.fromhex("080a10015206080410022001")
    assert protobuf.decode(rpc.RESPONSE, data) == {
        "type": rpc.VERSION,
        "success": True,
        "version": {"major_number": 4, "minor_number": 2, "sublevel": 1},
    }


def test_a_stage_as_criu_tells_it() -> None:
    data = b"\x08\x06\x10\x01\x2a\x10\x0a\x0cpost-restore\x10\x2a"
    assert protobuf.decode(rpc.RESPONSE, data)["notify"] == {"script": "post-restore", "pid": 42}


def test_the_answer_to_a_stage() -> None:
    assert protobuf.encode(rpc.REQUEST, {"type": rpc.NOTIFY, "notify_success": True}) == b"\x08\x06\x18\x01"


def test_a_request_without_its_directory_of_images_is_refused() -> None:
    with pytest.raises(ValueError, match="images_dir_fd is missing"):
        protobuf.encode(rpc.REQUEST, {"type": rpc.DUMP, "opts": {"pid": 1}})


def test_the_numbers_of_the_namespaces_that_are_left_empty() -> None:
    data = protobuf.encode(rpc.REQUEST, {"type": rpc.DUMP, "opts": {"images_dir_fd": 3, "empty_ns": 0x40000000}})
    assert data == b"\x08\x01\x12\x09\x08\x03\xb0\x02\x80\x80\x80\x80\x04"
