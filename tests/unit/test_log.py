from __future__ import annotations

import json
import os
import pty
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from pyrunc import log
from tests.support.host import open_descriptors

TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(Z|[+-]\d\d:\d\d)"


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    yield
    log.configure("", "text", "info")


def test_text_on_stderr_is_logfmt(capfd: pytest.CaptureFixture[str]) -> None:
    log.configure("", "text", "info")
    log.error('no "such" thing')
    line = capfd.readouterr().err
    assert re.fullmatch(rf'time="{TIME}" level=error msg="no \\"such\\" thing"\n', line)


def test_a_harmless_word_is_not_quoted(capfd: pytest.CaptureFixture[str]) -> None:
    log.warning("plain-word_1.2/3@4^5+6")
    assert capfd.readouterr().err.endswith(" level=warning msg=plain-word_1.2/3@4^5+6\n")


def test_a_byte_that_is_no_utf_8_is_shown_as_go_does(capfd: pytest.CaptureFixture[str]) -> None:
    log.warning(b"no /x\xff".decode("utf-8", "surrogateescape"))
    assert capfd.readouterr().err.endswith(' msg="no /x\\xff"\n')


def test_json_in_a_file_is_appended_and_the_error_stands_on_stderr_too(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "log.json"
    path.write_text("kept\n")
    log.configure(str(path), "json", "info")
    log.info('say "é"\n')
    log.error("the cause\nof it\udcff")
    lines = path.read_text(encoding="utf-8").splitlines()
    assert lines[0] == "kept"
    first, second = (json.loads(line) for line in lines[1:])
    assert list(first) == ["level", "msg", "time"]
    assert (first["level"], first["msg"]) == ("info", 'say "é"\n')
    assert re.fullmatch(TIME, first["time"])
    assert (second["level"], second["msg"]) == ("error", "the cause\nof it?")
    assert capfd.readouterr().err == "the cause of it?\n"


def test_the_file_is_made_with_runcs_mode(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        log.configure(str(tmp_path / "new"), "text", "info")
    finally:
        os.umask(before)
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o644


def test_levels(capfd: pytest.CaptureFixture[str]) -> None:
    log.configure("", "text", "warn")
    log.debug("a")
    log.info("b")
    log.warning("c")
    assert not log.debugging()
    assert re.findall(r"msg=(\w)", capfd.readouterr().err) == ["c"]
    log.configure("", "text", "debug")
    log.debug("d")
    assert log.debugging()
    assert re.findall(r"level=(\w+) msg=(\w)", capfd.readouterr().err) == [("debug", "d")]


def test_a_missing_directory_raises(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        log.configure(str(tmp_path / "no" / "log"), "text", "info")


def test_a_terminal_gets_short_coloured_lines() -> None:
    master, slave = pty.openpty()
    saved = os.dup(2)
    os.dup2(slave, 2)
    try:
        log.configure("", "text", "info")
        log.error("broken")
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(slave)
    assert os.read(master, 1000) == b"\x1b[31merror:\x1b[0m broken\r\n"
    os.close(master)


def test_no_descriptor_is_kept_and_a_relative_path_survives_chdir(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    before = open_descriptors()
    log.configure("log", "text", "info")
    monkeypatch.chdir("/")
    log.info("x")
    assert (tmp_path / "log").read_text().endswith("msg=x\n")
    assert open_descriptors() == before


def test_a_full_disk_is_survived() -> None:
    log.configure("/dev/full", "text", "info")
    log.info("lost")


@pytest.mark.parametrize(
    ("text", "quoted"),
    [
        ("a b", '"a b"'),
        ("tab\t", '"tab\\t"'),
        ("\x1b", '"\\x1b"'),
        ("\u200b", '"\\u200b"'),
        ("\\", '"\\\\"'),
        ("ü", '"ü"'),
    ],
)
def test_quoting_is_gos(text: str, quoted: str, capfd: pytest.CaptureFixture[str]) -> None:
    log.info(text)
    assert capfd.readouterr().err.endswith(f" msg={quoted}\n")


@pytest.mark.parametrize(("zone", "end"), [("UTC", "Z"), ("XXX-5:30", "+05:30"), ("XXX3", "-03:00")])
def test_the_zone(zone: str, end: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    import time

    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        log.info("x")
    finally:
        monkeypatch.undo()
        time.tzset()
    assert re.search(rf'time="[^"]*\d{re.escape(end)}"', capfd.readouterr().err)


def test_warnings_are_kept_back_until_released(tmp_path: Path) -> None:
    path = tmp_path / "log"
    log.configure(str(path), "json", "info")
    log.hold()
    log.warning("first")
    log.warning("second")
    assert path.read_text() == ""
    log.release()
    log.warning("third")
    log.release()
    assert [json.loads(line)["msg"] for line in path.read_text().splitlines()] == ["first", "second", "third"]


def test_an_error_comes_behind_the_warnings_that_were_kept_back(tmp_path: Path) -> None:
    path = tmp_path / "log"
    log.configure(str(path), "json", "info")
    log.hold()
    log.warning("before")
    log.error("after")
    assert [json.loads(line)["msg"] for line in path.read_text().splitlines()] == ["before", "after"]


def test_of_a_long_message_the_middle_is_left_out(tmp_path: Path) -> None:
    log.configure(str(tmp_path / "log"), "json", "info")
    log.warning("x" * 1_000_000 + " end")
    text = json.loads((tmp_path / "log").read_text())["msg"]
    assert (len(text) < 6100, text[:3], text[-3:]) == (True, "xxx", "end")
