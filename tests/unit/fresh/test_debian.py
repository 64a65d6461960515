"""The fresh Debian of `make test-fresh`: its archive, and its way to the network."""

from __future__ import annotations

from pathlib import Path

import debian
import pytest


def test_the_archive_is_that_of_the_hosts_apt(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [
        "deb http://mirror.example/bookworm bookworm main",
        "deb http://mirror.example/bookworm bookworm-updates main",
        "deb http://mirror.example/security bookworm-security main",
    ]
    monkeypatch.setattr(debian, "release", lambda: "bookworm")
    monkeypatch.setattr(debian, "sources", lambda codename: lines)
    assert debian.archive("bookworm") == lines
    assert debian.archive("trixie") == [
        "deb http://mirror.example/bookworm trixie main",
        "deb http://mirror.example/bookworm trixie-updates main",
        "deb http://mirror.example/security trixie-security main",
    ]
    assert debian.archive("sid") == ["deb http://mirror.example/bookworm sid main"]


def test_the_environment_has_what_leads_to_the_registries(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(debian.os, "environ", {})
    wanted = {
        "http_proxy": "http://proxy:1", "HTTPS_PROXY": "http://proxy:1", "no_proxy": "localhost", "PIP_INDEX_URL": "x",
        "PIP_CERT": str(tmp_path), "GOPROXY": "direct",
    }  # fmt: skip
    others = {"HOME": "/root", "PYTHONPATH": "/x", "LANG": "C", "PIP_FIND_LINKS": str(tmp_path / "absent")}
    monkeypatch.setattr(debian.os, "environ", wanted | others)
    assert debian.network() == wanted


def test_a_machine_has_the_hosts_files_of_the_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    image = tmp_path / "image"
    (image / "etc").mkdir(parents=True)
    (image / "etc/own").write_text("own")
    (image / "etc/resolv.conf").symlink_to("../run/resolv.conf")
    certificates = tmp_path / "certificates"
    certificates.write_text("text")
    settings = tmp_path / "resolv.conf"
    settings.write_text("nameserver")
    monkeypatch.setattr(debian, "image", lambda codename: image)
    monkeypatch.setattr(debian, "COPIED", (str(settings), str(tmp_path / "absent")))
    monkeypatch.setattr(debian, "network", lambda: {"PIP_CERT": str(certificates), "GOPROXY": "direct"})
    root = tmp_path / "root"
    debian.copy("trixie", root)
    assert (root / "etc/own").read_text() == "own"
    assert (root / str(certificates).lstrip("/")).read_text() == "text"
    assert (root / str(settings).lstrip("/")).read_text() == "nameserver"


def test_what_is_killed_leaves_no_mount(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """mmdebstrap mounts the host's /dev/shm, and the next attempt removes the remains of this one with everything in
    them.
    """
    commands: list[tuple[object, ...]] = []
    monkeypatch.setattr(debian, "command", lambda *words, what: commands.append(words))
    monkeypatch.setattr(debian, "network_options", lambda: "")
    monkeypatch.setattr(debian, "archive", lambda codename: [])
    monkeypatch.setattr(debian, "LOCAL_CERTIFICATES", tmp_path / "absent")
    debian.make("trixie", tmp_path)
    (words,) = commands
    assert words[:5] == ("unshare", "--mount", "--propagation", "private", "mmdebstrap")
