"""Intel RDT on a directory that looks like resctrl: no machine of the tests has the real one."""

from __future__ import annotations

import errno
import posix
from pathlib import Path

import pytest

from pyrunc.errors import PyruncError
from pyrunc.libcontainer.kernel import native, resctrl
from pyrunc.libcontainer.launch import ledger

SCHEMATA = "    MB:0= 20;1= 70\n    L3:0=7f0;1=01f\n"


@pytest.fixture
def mount(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory whose groups get their files when they are made, as the kernel does it."""
    root = tmp_path / "resctrl"
    mkdir = posix.mkdir

    def make(path: str, mode: int = 0o777) -> None:
        mkdir(path, mode)
        group = Path(path)
        (group / "tasks").write_text("")
        if group.parent.name != "mon_groups":
            (group / "schemata").write_text(SCHEMATA)
            mkdir(path + "/mon_groups")

    monkeypatch.setattr(posix, "mkdir", make)
    monkeypatch.setattr(resctrl, "root", lambda: str(root))
    monkeypatch.setattr(resctrl, "write_file", overwrite)
    make(str(root))
    (root / "info/MB").mkdir(parents=True)
    (root / "info/MB/bandwidth_gran").write_text("10\n")
    (root / "info/MB/min_bandwidth").write_text("10\n")
    (root / "info/last_cmd_status").write_text("ok\n")
    return root


def overwrite(path: str, text: str) -> None:
    """A write to a control file replaces the old content."""
    with open(path, "r+") as file:
        file.truncate()
        file.write(text)


class Records(list[tuple[str, str]]):
    """The entries that the ledger would have."""

    def __call__(self, effect: str, path: str) -> None:
        assert not Path(path).exists(), "the ledger comes first"
        self.append((effect, path))

    def withdraw(self, effect: str, path: str) -> None:
        assert self[-1] == (effect, path)
        del self[-1]


@pytest.fixture
def records() -> Records:
    return Records()


def test_without_resctrl(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(resctrl, "_MOUNT", str(tmp_path))
    monkeypatch.setattr(resctrl, "read_file", lambda path: "1 1 0:1 / / rw - tmpfs tmpfs rw\n")
    with pytest.raises(PyruncError, match="Intel RDT is not enabled") as raised:
        resctrl.root()
    assert raised.value.pointer == "/linux/intelRdt"
    assert "mount -t resctrl" in raised.value.hint


@pytest.mark.parametrize("usual", ["there", "absent"])
def test_resctrl_that_is_mounted_elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, usual: str) -> None:
    monkeypatch.setattr(resctrl, "_MOUNT", str(tmp_path if usual == "there" else tmp_path / "none"))
    monkeypatch.setattr(resctrl, "read_file", lambda path: "1 1 0:1 / /mnt/rdt rw - resctrl resctrl rw\n")
    assert resctrl.root() == "/mnt/rdt"


def test_a_class_of_its_own(mount: Path, records: Records) -> None:
    resctrl.prepare("box", resctrl.OWN, ("L3:0=f", "MB:0=50"), records, records.withdraw)
    assert records == [("resctrl_group", str(mount / "box"))]
    assert (mount / "box/schemata").read_text() == "L3:0=f\nMB:0=50\n"
    resctrl.assign("box", "", 4711)
    assert (mount / "box/tasks").read_text() == "4711"


def test_without_schemata_none_is_written(mount: Path, records: Records) -> None:
    resctrl.prepare("box", resctrl.OWN, (), records, records.withdraw)
    assert (mount / "box/schemata").read_text() == SCHEMATA


def test_a_class_of_that_name_is_used_and_stays(mount: Path, records: Records) -> None:
    posix.mkdir(str(mount / "box"))
    resctrl.prepare("box", resctrl.OWN, (), records, records.withdraw)
    assert records == []


def test_a_class_that_another_process_makes_meanwhile_stays(
    mount: Path, records: Records, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = posix.mkdir

    def mkdir(path: str, mode: int) -> None:
        for _ in range(2):  # the other process's, and this one's
            real(path, mode)
            for name in ("tasks", "schemata"):
                Path(path, name).write_text("")

    monkeypatch.setattr(posix, "mkdir", mkdir)
    for make in (resctrl.OWN, resctrl.SHARED):
        resctrl.prepare(f"box{make}", make, (), records, records.withdraw)
    with pytest.raises(PyruncError, match="in use"):
        resctrl.monitor("/", "box", records, records.withdraw)
    assert records == []


def test_the_default_class(mount: Path, records: Records) -> None:
    resctrl.prepare("/", resctrl.FIND, (), records, records.withdraw)
    resctrl.assign("/", "", 1)
    assert records == []
    assert (mount / "tasks").read_text() == "1"


def test_a_class_that_must_be_there(mount: Path, records: Records) -> None:
    with pytest.raises(PyruncError, match="clos dir not accessible") as raised:
        resctrl.prepare("gold", resctrl.FIND, (), records, records.withdraw)
    assert raised.value.pointer == "/linux/intelRdt/closID"
    posix.mkdir(str(mount / "gold"))
    resctrl.prepare("gold", resctrl.FIND, (), records, records.withdraw)
    assert records == []


def test_a_named_class_is_made_where_it_is_missing(mount: Path, records: Records) -> None:
    resctrl.prepare("gold", resctrl.SHARED, ("L3:0=f",), records, records.withdraw)
    assert records == [("resctrl_clos", str(mount / "gold"))]
    assert (mount / "gold/schemata").read_text() == "L3:0=f\n"


@pytest.mark.parametrize(
    "schemata", [("L3:0=7f0;1=1f",), ("L3:1=1F", "MB:1=70"), ("MB:0=11;1=61",), ("MB:0=20;1=70", "L3:0=07f0")]
)
def test_a_named_class_that_is_there_and_the_same(mount: Path, records: Records, schemata: tuple[str, ...]) -> None:
    posix.mkdir(str(mount / "gold"))
    resctrl.prepare("gold", resctrl.SHARED, schemata, records, records.withdraw)
    assert records == []
    assert (mount / "gold/schemata").read_text() == "".join(line + "\n" for line in schemata)


@pytest.mark.parametrize(
    ("schemata", "what"), [("L3:0=7f0;1=f", "L3:1 differs"), ("MB:0=21", "MB:0 differs"), ("L2:0=f", "L2:0 differs")]
)
def test_a_named_class_that_is_there_and_different(mount: Path, records: Records, schemata: str, what: str) -> None:
    posix.mkdir(str(mount / "gold"))
    with pytest.raises(PyruncError, match=what):
        resctrl.prepare("gold", resctrl.SHARED, (schemata,), records, records.withdraw)
    assert (mount / "gold/schemata").read_text() == SCHEMATA


def test_bandwidth_is_what_it_is_where_the_kernel_does_not_control_it(mount: Path) -> None:
    (mount / "info/MB/min_bandwidth").unlink()
    assert resctrl._bandwidth(str(mount)) == (1, 0)


def test_what_is_no_class(mount: Path, records: Records) -> None:
    with pytest.raises(PyruncError, match="is no class of service"):
        resctrl.prepare("info", resctrl.OWN, (), records, records.withdraw)


def test_monitoring(mount: Path, records: Records) -> None:
    resctrl.prepare("box", resctrl.OWN, (), records, records.withdraw)
    resctrl.monitor("box", "box", records, records.withdraw)
    resctrl.assign("box", "box", 5)
    assert records[1] == ("resctrl_group", str(mount / "box/mon_groups/box"))
    assert [(mount / place / "tasks").read_text() for place in ("box", "box/mon_groups/box")] == ["5", "5"]
    with pytest.raises(PyruncError, match="in use") as raised:
        resctrl.monitor("box", "box", records, records.withdraw)
    assert raised.value.pointer == "/linux/intelRdt/enableMonitoring"


def test_the_kernel_s_own_words(mount: Path, records: Records) -> None:
    (mount / "info/last_cmd_status").write_text("Unknown resource name 'L9'\n")
    (mount / "tasks").unlink()
    with pytest.raises(PyruncError) as raised:
        resctrl.assign("/", "", 1)
    assert raised.value.errno == errno.ENOENT
    assert raised.value.hint == "last_cmd_status: Unknown resource name 'L9'"


def test_no_class_is_left(mount: Path, records: Records, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: str, mode: int) -> None:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(posix, "mkdir", full)
    with pytest.raises(PyruncError) as raised:
        resctrl.prepare("box", resctrl.OWN, (), records, records.withdraw)
    assert (raised.value.errno, raised.value.hint) == (errno.ENOSPC, "no class of service is left")


def group(path: Path, tasks: str = "") -> Path:
    """A group that rmdir can remove: the kernel removes its files too."""
    path.mkdir()
    if tasks:
        (path / "tasks").write_text(tasks)
    return path


def test_undo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own, clos, used = group(tmp_path / "own"), group(tmp_path / "clos"), group(tmp_path / "used", "1\n")
    entries = [
        {"effect": "resctrl_group", "path": str(own)},
        {"effect": "resctrl_group", "path": str(tmp_path / "gone")},
        {"effect": "resctrl_clos", "path": str(clos)},
        {"effect": "resctrl_clos", "path": str(used)},
    ]
    with pytest.raises(PyruncError, match="is on another file system"):
        ledger.undo(entries[:1])  # undoing a ledger must not remove a directory elsewhere
    assert own.exists()
    monkeypatch.setattr(native, "fs_magic", lambda fd: native.RDTGROUP_SUPER_MAGIC)
    ledger.undo(entries, deleting=True)
    assert not own.exists()
    assert clos.exists()
    (clos / "tasks").write_text("")
    with pytest.raises(PyruncError, match="not empty"):
        ledger.undo(entries)  # only here: the kernel's directories are removed with their files
    assert used.exists()


@pytest.mark.parametrize(
    ("lines", "shares"),
    [
        ((), {}),
        (("", "  "), {}),
        (("L3:0=7f0;1=1f",), {("L3", "0"): 0x7F0, ("L3", "1"): 0x1F}),
        (("MB: 0= 20; 1=70 ",), {("MB", "0"): 20, ("MB", "1"): 70}),
    ],
)
def test_parse(lines: tuple[str, ...], shares: dict[tuple[str, str], int]) -> None:
    assert resctrl.parse(lines) == shares


@pytest.mark.parametrize("line", ["L3", "L3:", "L3:0", "L3:0=xyz", "MB:0=f"])
def test_what_is_no_schemata(line: str) -> None:
    with pytest.raises(PyruncError, match="is no line of schemata"):
        resctrl.parse((line,))
