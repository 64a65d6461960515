"""A file is written whole or not at all."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from pyrunc.commands import outputs


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_new_file_and_an_earlier_one(tmp_path: Path) -> None:
    path = tmp_path / "f"
    before = os.umask(0o027)
    try:
        outputs.write(str(path), "one\n")
    finally:
        os.umask(before)
    assert (path.read_text(), mode(path)) == ("one\n", 0o640)
    path.chmod(0o604)
    if os.geteuid() == 0:
        os.chown(path, 5, 6)
    outputs.write(str(path), "two\n")
    assert (path.read_text(), mode(path)) == ("two\n", 0o604)
    if os.geteuid() == 0:
        assert (path.stat().st_uid, path.stat().st_gid) == (5, 6)
    assert os.listdir(tmp_path) == ["f"]


def test_a_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d/f").write_text("one")
    (tmp_path / "l").symlink_to("d/f")
    outputs.write(str(tmp_path / "l"), "two")
    assert (tmp_path / "l").is_symlink()
    assert (tmp_path / "d/f").read_text() == "two"
    (tmp_path / "dangling").symlink_to("d/new")
    outputs.write(str(tmp_path / "dangling"), "three")
    assert (tmp_path / "d/new").read_text() == "three"


def test_what_is_no_regular_file(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    os.mkfifo(tmp_path / "p")
    seen: list[str] = []
    reader = threading.Thread(target=lambda: seen.append((tmp_path / "p").read_text()))
    reader.start()
    outputs.write(str(tmp_path / "p"), "through")
    reader.join(60)
    assert seen == ["through"]
    assert stat.S_ISFIFO((tmp_path / "p").stat().st_mode)
    outputs.write("/dev/stdout", "said")
    assert capfd.readouterr().out == "said"


def test_without_replacing(tmp_path: Path) -> None:
    outputs.write(str(tmp_path / "f"), "one", replace=False)
    with pytest.raises(FileExistsError):
        outputs.write(str(tmp_path / "f"), "two", replace=False)
    assert (tmp_path / "f").read_text() == "one"


@pytest.mark.parametrize("replace", [True, False])
def test_a_full_disk(tmp_path: Path, replace: bool) -> None:
    """The earlier file stays, and no part is left: a limit of the file's size stands for the disk."""
    (tmp_path / "old").write_text("old")
    name = "old" if replace else "new"
    script = (
        "import resource, signal\nfrom pyrunc.commands import outputs\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\nresource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        f"outputs.write({str(tmp_path / name)!r}, 'x' * 5000, replace={replace})\n"
    )
    root = Path(__file__).resolve().parents[3]
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=root, check=False)
    assert "OSError" in done.stderr
    assert os.listdir(tmp_path) == ["old"]
    assert (tmp_path / "old").read_text() == "old"


def test_an_error_names_its_cause(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        outputs.write(str(tmp_path / "none/f"), "x")
    with pytest.raises(IsADirectoryError):
        outputs.write(str(tmp_path), "x")
