"""The options that CRIU carries out, as the command line gives them."""

from __future__ import annotations

from pathlib import Path

import pytest

from pyrunc.errors import PyruncError
from pyrunc.libcontainer.criu import options


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", None),
        ("10.0.0.1:1234", ("10.0.0.1", 1234)),
        ("host:65535", ("host", 65535)),
        ("[::1]:27", ("::1", 27)),
    ],
)
def test_a_page_server(text: str, value: tuple[str, int] | None) -> None:
    assert options.parse_page_server(text) == value


@pytest.mark.parametrize("text", ["x", ":1", "x:", "::1:27", "[::1]", ":"])
def test_what_is_no_page_server(text: str) -> None:
    with pytest.raises(PyruncError, match="Use --page-server ADDRESS:PORT"):
        options.parse_page_server(text)


@pytest.mark.parametrize("port", ["x", "0", "65536", "-1", "99999999999999", "1 ", "¹"])
def test_what_is_no_port(port: str) -> None:
    with pytest.raises(PyruncError, match="Invalid port number"):
        options.parse_page_server("host:" + port)


def test_words_that_are_known() -> None:
    for word in ("", "soft", "full", "strict", "ignore"):
        assert options.check_cgroup_mode(word) == word
    with pytest.raises(PyruncError, match="invalid manage-cgroups-mode value"):
        options.check_cgroup_mode("none")
    for word in ("", "iptables", "nftables", "skip"):
        assert options.check_network_lock(word) == word
    with pytest.raises(PyruncError, match="invalid network-lock value"):
        options.check_network_lock("none")
    options.check_empty_ns(["network", "network"])
    with pytest.raises(PyruncError, match='namespace "pid" is not supported'):
        options.check_empty_ns(["network", "pid"])


def test_the_parent_is_relative_to_the_images_and_a_directory(tmp_path: Path) -> None:
    images = str(tmp_path / "images")
    (tmp_path / "images").mkdir()
    (tmp_path / "before").mkdir()
    (tmp_path / "file").touch()
    assert options.check_parent(images, "") == ""
    assert options.check_parent(images, "../before") == "../before"
    for parent, why in (
        (str(tmp_path), "--parent-path must be relative"),
        ("../nothing", "invalid --parent-path: no such file or directory"),
        ("../file", "invalid --parent-path: not a directory"),
    ):
        with pytest.raises(PyruncError, match=why):
            options.check_parent(images, parent)


def test_a_parent_of_images_that_are_yet_to_be_made(tmp_path: Path) -> None:
    (tmp_path / "elsewhere/before").mkdir(parents=True)
    (tmp_path / "elsewhere/images").mkdir()
    (tmp_path / "link").symlink_to("elsewhere/images")
    assert options.check_parent(str(tmp_path / "elsewhere/next"), "../before") == "../before"
    assert options.check_parent(str(tmp_path / "link"), "../before") == "../before"
    with pytest.raises(PyruncError, match="invalid --parent-path: no such file or directory"):
        options.check_parent(str(tmp_path / "next"), "../before")


def test_the_log_is_in_the_work_directory_where_there_is_one() -> None:
    assert options.CriuOptions("/images").log_directory == "/images"
    assert options.CriuOptions("/images", work="/work").log_directory == "/work"
