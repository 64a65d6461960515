"""The messages of containerd: defaults, Any, and bytes that are no message."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyrunc import protobuf
from pyrunc._generated.shim_messages import FULL, TABLES
from pyrunc.shim import messages


def test_what_the_sender_left_out_has_its_default() -> None:
    found = messages.decode("CreateTaskRequest", b"\x0a\x01a\x1a\x02\x0a\x00")
    assert found["id"] == "a"
    assert found["bundle"] == ""
    assert found["terminal"] is False
    assert found["options"] is None
    assert found["rootfs"] == [{"type": "", "source": "", "target": "", "options": []}]
    assert messages.decode("SandboxStatusResponse", b"")["info"] == {}
    assert messages.decode("PSIData", b"") == {"avg10": 0.0, "avg60": 0.0, "avg300": 0.0, "total": 0}


def test_any_has_the_full_name() -> None:
    box = messages.pack("TaskStart", {"container_id": "a", "pid": 7})
    assert box["type_url"] == "containerd.events.TaskStart"
    assert messages.unpack("TaskStart", box) == {"container_id": "a", "pid": 7}
    box["type_url"] = "type.googleapis.com/" + box["type_url"]
    assert messages.unpack("TaskStart", box)["pid"] == 7
    assert messages.unpack("Options", None)["systemd_cgroup"] is False
    with pytest.raises(protobuf.MalformedError, match=r"where containerd\.runc\.v1\.Options is expected"):
        messages.unpack("Options", box)


def test_a_time() -> None:
    assert messages.timestamp(0) is None
    assert messages.timestamp(1_500_000_000) == {"seconds": 1, "nanos": 500_000_000}


def test_a_shutdown_is_no_other_request() -> None:
    """A bool where the other message has a text: seen to end a prototype."""
    data = messages.encode("ShutdownRequest", {"id": "a", "now": True})
    with pytest.raises(protobuf.MalformedError, match="exec_id has the wire type 0"):
        messages.decode("DeleteRequest", data)


@given(st.sampled_from(sorted(TABLES)), st.binary(max_size=60))
def test_any_bytes_are_a_message_or_malformed(name: str, data: bytes) -> None:
    try:
        messages.encode(name, messages.decode(name, data))
    except protobuf.MalformedError:
        pass


def test_every_message_has_a_full_name() -> None:
    assert set(FULL) == set(TABLES)
    assert FULL["CreateTaskRequest"] == "containerd.task.v2.CreateTaskRequest"
