"""CRIU's own cause of a failure, found in its log."""

from __future__ import annotations

from pathlib import Path

import pytest

from pyrunc.libcontainer.criu.cause import last_error, last_error_in

LOCK = b"""\
(00.065825) Error (criu/util.c:1534): rlimit: Can't setup RLIMIT_NOFILE for self: Operation not permitted
Error (criu/util.c:642): execvp("iptables-restore", ...) failed: No such file or directory
(00.168403) Error (criu/util.c:657): exited, status=1
(00.168955) Error (criu/net.c:3436): net: Locking network failed: iptables-restore returned -1.
(00.169000) Unlock network
Error (criu/util.c:642): execvp("iptables-restore", ...) failed: No such file or directory
(00.175994) Error (criu/util.c:657): exited, status=1
(00.176793) Error (criu/cr-dump.c:1975): Dumping FAILED.
"""
FILES = b"""\
(00.153870) Error (criu/files-reg.c:1790): Can't lookup mount=66 for fd=1 path=/tmp/out
(00.153882) Error (criu/cr-dump.c:1545): Dump files (pid: 71) failed with -1
(00.163809) Error (criu/cr-dump.c:1975): Dumping FAILED.
"""
MODE = b"""\
(00.123343)      1: Error (criu/files-reg.c:2294): File fd/0 has bad mode 020666 (expect 0100644)
(00.123345)      1: Error (criu/files.c:1221): Unable to open fd=0 id=0x2
(00.134531) Error (criu/cr-restore.c:2331): Restoring FAILED.
(00.136397) Error (criu/cgroup.c:2055): cg: cgroupd: recv req error: No such file or directory
"""
SEVERAL = b"""\
(00.1) Error (criu/util.c:1534): rlimit: Can't setup RLIMIT_NOFILE for self: Operation not permitted
(00.2)      7: Error (criu/sk-inet.c:9): inet: Connected TCP socket, consider using --tcp-established option.
(00.2)      7: Error (criu/files.c:1221): Unable to open fd=1 id=0x2
(00.3)      1: Error (criu/pipes.c:316): Can't send file descriptor: Connection refused
(00.4) Error (criu/cr-restore.c:2331): Restoring FAILED.
"""
RESTORE = b"""\
(00.1) mnt: \tMounting
(00.101010)      1: Error (criu/files-reg.c:2145): Can't open file gone on restore: No such file or directory
(00.102016) Error (criu/cr-restore.c:1490): 4711 exited, status=1
(00.110001) Error (criu/cr-restore.c:2321): Restoring FAILED.
"""


@pytest.mark.parametrize(
    ("log", "told"),
    [
        (LOCK, "net: Locking network failed: iptables-restore returned -1. (criu/net.c:3436)"),
        (MODE, "File fd/0 has bad mode 020666 (expect 0100644) (criu/files-reg.c:2294)"),
        (SEVERAL, "inet: Connected TCP socket, consider using --tcp-established option. (criu/sk-inet.c:9)"),
        (FILES, "Can't lookup mount=66 for fd=1 path=/tmp/out (criu/files-reg.c:1790)"),
        (RESTORE, "Can't open file gone on restore: No such file or directory (criu/files-reg.c:2145)"),
        # If the log has only a summary, the cause is the summary.
        (b"(00.1) Error (criu/cr-dump.c:1975): Dumping FAILED.\n", "Dumping FAILED."),
        # Failures before CRIU knows what to undo.
        (b"Error (criu/cr-service.c:1): Can't read request: x\n", "Can't read request: x (criu/cr-service.c:1)"),
        (b"(00.1) Warn  (criu/x.c:1): something\n", ""),
        (b"", ""),
        (b"Error (criu/x.c:1): \xff\xfe\n", "�� (criu/x.c:1)"),
        # A file's name may contain any character.
        (b"(0) Error (criu/x.c:1): Can't open /a (Error (b): c\n", "Can't open /a (Error (b): c (criu/x.c:1)"),
    ],
)
def test_the_last_error_that_says_something(log: bytes, told: str) -> None:
    assert last_error_in(log) == told


def test_the_log_is_read_from_its_file(tmp_path: Path) -> None:
    path = tmp_path / "dump.log"
    assert last_error(str(path)) == ""
    path.write_bytes(FILES)
    assert last_error(str(path)) == "Can't lookup mount=66 for fd=1 path=/tmp/out (criu/files-reg.c:1790)"


def test_of_a_very_long_log_the_end_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pyrunc.libcontainer.criu.cause._LONGEST", 1 << 12)
    path = tmp_path / "dump.log"
    path.write_bytes(b"(00.1) Error (criu/a.c:1): an old one\n" + b"(00.2) nothing\n" * 1000 + FILES)
    assert last_error(str(path)).startswith("Can't lookup mount=66")
