"""Whether a security module is active."""

from __future__ import annotations

from pathlib import Path

import pytest

from pyrunc.errors import PyruncError
from pyrunc.libcontainer.kernel import lsm, native


@pytest.mark.parametrize(("content", "enabled"), [("Y\n", True), ("N\n", False), ("", False), (None, False)])
def test_apparmor(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: str | None, enabled: bool) -> None:
    switch = tmp_path / "enabled"
    if content is not None:
        switch.write_text(content)
    monkeypatch.setattr(lsm, "_APPARMOR_SWITCH", str(switch))
    if enabled:
        lsm.require(lsm.APPARMOR)
        return
    with pytest.raises(PyruncError, match=r"AppArmor is disabled or not supported by the kernel \(.*enabled tells"):
        lsm.require(lsm.APPARMOR)


def test_selinux_has_its_file_system_mounted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(lsm, "_SELINUX_MOUNT", str(tmp_path))
    with pytest.raises(PyruncError, match="selinux is disabled or not supported"):
        lsm.require(lsm.SELINUX)
    monkeypatch.setattr(native, "SELINUX_MAGIC", file_system_of(tmp_path))
    lsm.require(lsm.SELINUX)
    monkeypatch.setattr(lsm, "_SELINUX_MOUNT", str(tmp_path / "none"))
    with pytest.raises(PyruncError, match="selinux label is specified in config"):
        lsm.require(lsm.SELINUX)


def file_system_of(path: Path) -> int:
    with open(path / "file", "w") as file:
        return native.fs_magic(file.fileno())
