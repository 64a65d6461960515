"""The runtime's options: runc's message, and the TOML of the CRI plugin."""

from __future__ import annotations

from pathlib import Path

import pytest

from pyrunc.errors import PyruncError
from pyrunc.protobuf import MalformedError
from pyrunc.shim import messages, options


def toml(text: str) -> dict[str, object]:
    return messages.pack("NamedOptions", {"config_body": text.encode()})


def test_runcs_message() -> None:
    found = options.read(messages.pack("Options", {"systemd_cgroup": True, "root": "/r"}))
    assert (found["systemd_cgroup"], found["root"], found["io_uid"]) == (True, "/r", 0)
    assert options.read(None)["root"] == ""


def test_the_table_of_the_cri_plugin() -> None:
    text = """
# a comment
SystemdCgroup = true
  Root = '/a b' # another
  io_uid = 7
"ShimCgroup" = "/x#y"
SomethingNew = [1]
"""
    found = options.read(toml(text))
    assert found["systemd_cgroup"] is True
    assert (found["root"], found["io_uid"], found["shim_cgroup"]) == ("/a b", 7, "/x#y")


def test_a_file_of_the_cri_plugin(tmp_path: Path) -> None:
    (tmp_path / "o.toml").write_text("NoPivotRoot = true\n")
    box = messages.pack("NamedOptions", {"config_path": str(tmp_path / "o.toml")})
    assert options.read(box)["no_pivot_root"] is True
    with pytest.raises(PyruncError, match="no such file"):
        options.read(messages.pack("NamedOptions", {"config_path": str(tmp_path / "absent")}))


@pytest.mark.parametrize("line", ["SystemdCgroup = 1", "Root = true", "Root = ", "IoUid = '3'", 'Root = "open'])
def test_a_value_of_another_type(line: str) -> None:
    with pytest.raises(PyruncError, match="the runtime's options, line 1: "):
        options.read(toml(line))


def test_another_message() -> None:
    with pytest.raises(MalformedError):
        options.read(messages.pack("TaskStart", {}))


def test_saved_for_the_deletion(tmp_path: Path) -> None:
    nothing = {"root": "", "systemd_cgroup": False, "no_pivot_root": False, "no_new_keyring": False}
    assert options.saved(str(tmp_path)) == nothing
    options.save(str(tmp_path), options.read(toml("SystemdCgroup = true\nRoot = '/r'")))
    assert options.saved(str(tmp_path)) == {**nothing, "root": "/r", "systemd_cgroup": True}
    for damaged in ("", "3", '{"root": 3, "systemd_cgroup": 1}'):
        (tmp_path / options.FILE).write_text(damaged)
        assert options.saved(str(tmp_path)) == nothing


def test_forgotten_after_the_deletion(tmp_path: Path) -> None:
    options.save(str(tmp_path), options.read(None))
    for _ in range(2):  # also if they are gone
        options.forget(str(tmp_path))
        assert not (tmp_path / options.FILE).exists()


def test_a_bundle_that_is_gone(tmp_path: Path) -> None:
    with pytest.raises(PyruncError, match=r"gone/options\.json: no such file or directory"):
        options.save(f"{tmp_path}/gone", options.read(None))
