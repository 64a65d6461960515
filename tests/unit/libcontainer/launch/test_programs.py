"""programs: why a program can't be executed (N6), according to its file."""

from __future__ import annotations

import platform
from pathlib import Path

import pytest

from pyrunc.libcontainer.launch.inside import Inside
from pyrunc.libcontainer.launch.programs import trouble


def elf(machine: int, interpreter: bytes = b"") -> bytes:
    """The head of a 64-bit little-endian program (elf(5))."""
    head = b"\x7fELF\x02\x01\x01" + b"\0" * 9 + (2).to_bytes(2, "little") + machine.to_bytes(2, "little")
    head += b"\0" * 12 + (64).to_bytes(8, "little") + b"\0" * 14
    head += (56).to_bytes(2, "little") + int(bool(interpreter)).to_bytes(2, "little") + b"\0" * 6
    assert len(head) == 64
    size = len(interpreter) + 1
    header = (3).to_bytes(4, "little") + b"\0" * 4 + (120).to_bytes(8, "little") + b"\0" * 16
    header += size.to_bytes(8, "little")
    return head + header + b"\0" * 16 + interpreter + b"\0"


OWN = {"x86_64": 62, "aarch64": 183}[platform.machine()]
OTHER = {62: 183, 183: 62}[OWN]


@pytest.fixture
def inside(tmp_path: Path) -> Inside:
    bin = tmp_path / "bin"
    bin.mkdir()
    (tmp_path / "etc").mkdir()
    files = {
        "sh": elf(OWN), "static": elf(OWN), "dynamic": elf(OWN, b"/lib/ld.so"), "other": elf(OTHER), "empty": b"",
        "text": b"hello\n", "script": b"#!/bin/sh -e\n", "bash-script": b"#! /bin/bash\n",
        "crlf": b"#!/bin/sh\r\nexit\r\n", "nothing": b"#!\n", "twice": b"#!/bin/bash-script\n",
        "through-directory": b"#!/etc\n", "through-loop": b"#!/bin/loop\n",
    }  # fmt: skip
    for name, content in files.items():
        (bin / name).write_bytes(content)
        (bin / name).chmod(0o755)
    (bin / "plain").write_text("#!/bin/sh\n")
    (bin / "loop").symlink_to("loop")
    (bin / "dangling").symlink_to("/opt/none")
    return Inside(str(tmp_path))


@pytest.mark.parametrize("name", ["sh", "static", "script", "/bin/sh", "bin/sh"])
def test_nothing_is_wrong(inside: Inside, name: str) -> None:
    assert trouble(inside, name, "/sbin:/bin") is None


@pytest.mark.parametrize(
    ("name", "message", "hint"),
    [
        ("none", "executable file not found in $PATH", "it is in none of /sbin:/bin"),
        ("bash", "executable file not found in $PATH", "the container has sh"),
        ("sh -c", "executable file not found in $PATH", 'one entry of process.args is one word: ["sh", "-c"]'),
        ("/bin/sh -c", "no such file or directory", 'one entry of process.args is one word: ["/bin/sh", "-c"]'),
        ("loop", "too many levels of symbolic links", "/bin/loop is a loop of symbolic links"),
        ("/bin/loop", "too many levels of symbolic links", "/bin/loop is a loop of symbolic links"),
        ("dangling", "executable file not found in $PATH", "/bin/dangling is a symbolic link to /opt/none"),
        ("/bin/dangling", "no such file or directory", "/bin/dangling is a symbolic link to /opt/none"),
        ("", "executable file not found in $PATH", "the name of the program is empty"),
        ("plain", "executable file not found in $PATH", "/bin/plain is not executable"),
        ("/bin/plain", "permission denied", "/bin/plain is not executable"),
        ("/etc", "is a directory", "/etc is a directory"),
        ("/bin/sh/x", "not a directory", "/bin/sh is a file"),
        ("/no/where", "no such file or directory", "/no/where is not in the container"),
        ("dynamic", "no such file or directory", "the interpreter of /bin/dynamic, /lib/ld.so, is not there"),
        ("bash-script", "no such file or directory", "the interpreter of /bin/bash-script, /bin/bash, is not there"),
        ("twice", "no such file or directory", "the interpreter of /bin/bash-script, /bin/bash, is not there"),
        ("crlf", "no such file or directory", "the first line of /bin/crlf ends in a carriage return"),
        ("through-directory", "permission denied", "/etc, is not executable"),
        ("through-loop", "too many levels of symbolic links", "/bin/loop, is a loop of symbolic links"),
        ("empty", "exec format error", "/bin/empty is empty"),
        ("text", "exec format error", "/bin/text is neither a program (ELF) nor a script"),
        ("nothing", "exec format error", "names no interpreter behind #!"),
    ],
)
def test_n6_what_is_wrong_is_told(inside: Inside, name: str, message: str, hint: str) -> None:
    found = trouble(inside, name, "/sbin:/bin")
    assert found is not None
    assert found.message.endswith(message)
    assert hint in found.hint


def test_n6_a_program_of_another_machine(inside: Inside, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pyrunc.libcontainer.launch.programs._is_registered", lambda: False)
    found = trouble(inside, "other", "/bin")
    assert found is not None
    assert f"and this machine is {platform.machine()}" in found.hint


def test_n6_without_a_path(inside: Inside) -> None:
    found = trouble(inside, "sh", "")
    assert found is not None
    assert found.hint.startswith("process.env has no PATH")
    found = trouble(inside, "sh", "/usr/bin:/usr/local/bin")
    assert found is not None
    assert found.hint.startswith("none of the directories of PATH")


def test_what_may_be_mounted_over_is_not_judged(inside: Inside) -> None:
    inside.mount("/bin", None)
    assert trouble(inside, "none", "/bin") is None
    assert trouble(inside, "/bin/none", "") is None
