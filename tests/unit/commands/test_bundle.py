"""The commands that look at a bundle."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from pyrunc import log, main
from pyrunc.commands import dispatch
from pyrunc.commands.settings import Settings
from pyrunc.libcontainer import lifecycle
from pyrunc.libcontainer.plan.options import LaunchOptions
from pyrunc.libcontainer.spec import example
from tests.support.plans import minimal
from tests.support.systemd import FakeSystemd

SETTINGS = Settings(name="pyrunc", root="/r", root_given=False, cgroup_manager="cgroupfs", rootless=None)


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    (tmp_path / "rootfs/bin").mkdir(parents=True)
    (tmp_path / "rootfs/bin/sh").write_text("#!/bin/sh\n")
    (tmp_path / "rootfs/bin/sh").chmod(0o755)
    assert dispatch.execute("spec", SETTINGS, {"bundle": str(tmp_path), "file": "", "rootless": False}) == 0
    return tmp_path


def change(bundle: Path, **members: Any) -> None:
    path = bundle / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **members}))


def pyrunc(*words: str) -> int:
    return main.main(["pyrunc", *words])


def test_spec_writes_the_example_with_tabs(bundle: Path) -> None:
    text = (bundle / "config.json").read_text()
    assert json.loads(text) == example.example()
    assert text.startswith('{\n\t"ociVersion": "1.3.0",\n\t"process": {\n\t\t"terminal": true,')


def test_spec_leaves_an_existing_file_alone(bundle: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (bundle / "config.json").write_text("mine")
    assert pyrunc("spec", "--bundle", str(bundle)) == 1
    assert 'msg="File config.json exists. Remove it first"' in capfd.readouterr().err
    assert (bundle / "config.json").read_text() == "mine"


def test_spec_writes_over_the_file_that_is_named(tmp_path: Path) -> None:
    (tmp_path / "other.json").write_text("old")
    assert pyrunc("spec", "--bundle", str(tmp_path), "-f", "other.json") == 0
    assert json.loads((tmp_path / "other.json").read_text()) == example.example()
    assert pyrunc("spec", "--bundle", str(tmp_path), "--file", str(tmp_path / "third.json")) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other.json", "third.json"]


def test_spec_rootless(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert pyrunc("spec", "--rootless") == 0
    assert json.loads((tmp_path / "config.json").read_text()) == example.rootless_example()


def test_validate_a_good_bundle(bundle: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for words in ([str(bundle)], ["-b", str(bundle)]):
        assert pyrunc("validate", *words) == 0
        assert capfd.readouterr().out == f"{bundle}/config.json: no problem found\n"


def test_validate_prints_every_problem(bundle: Path, capfd: pytest.CaptureFixture[str]) -> None:
    change(bundle, hostname=7, mounts=[{"destination": 1}], oddity=1)
    assert pyrunc("validate", str(bundle)) == 1
    lines = capfd.readouterr().out.splitlines()
    assert any(re.match(r"config.json:\d+: error: /hostname: ", line) for line in lines)
    assert any(re.match(r"config.json:\d+: error: /mounts/0/destination: ", line) for line in lines)
    assert any(re.match(r"config.json:\d+: warning: /oddity: ", line) for line in lines)


def test_validate_as_json(bundle: Path, capfd: pytest.CaptureFixture[str]) -> None:
    change(bundle, oddity=1)
    assert pyrunc("validate", "--format=json", str(bundle)) == 0
    value = json.loads(capfd.readouterr().out)
    assert value["file"] == f"{bundle}/config.json"
    assert [(problem["severity"], problem["pointer"]) for problem in value["problems"]] == [("warning", "/oddity")]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["validate", "--format", "xml"], "invalid format option"),
        (["validate", "a", "--bundle", "b"], "the bundle is named twice"),
        (["plan", "--format", "xml"], "invalid format option"),
        (["plan", "--timeline", "/dev/null"], "/dev/null is no timeline"),
        (["plan", "--timeline", "/nowhere/trace.json"], "open /nowhere/trace.json: no such file or directory"),
        (["spec", "--bundle", "/nowhere"], "open /nowhere/config.json: no such file or directory (--bundle names"),
        (["--log", "/nowhere/log", "features"], "open /nowhere/log: no such file or directory (--log names"),
        (["plan", "--timeline", "/dev/null", "--diff", "x"], "--timeline and --diff exclude each other"),
        (["plan", "--timeline", "/dev/null", "--format", "tree"], "invalid format option"),
        (["plan", "--bundle", "/nowhere"], "JSON specification file config.json not found"),
        (["plan", "a/b"], "invalid container ID format"),
    ],
)
def test_what_is_refused(words: list[str], message: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert pyrunc(*words) == 1
    assert message in capfd.readouterr().err


def test_plan_in_every_format(bundle: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for words in ([], ["--format", "tree"]):
        assert pyrunc("plan", "-b", str(bundle), *words, "c1") == 0
        text = capfd.readouterr().out
        assert "pivot_root" in text
        assert "/r" not in text.split()
    assert pyrunc("plan", "-b", str(bundle), "--format=json", "c1") == 0
    assert "pivot_root" in json.dumps(json.loads(capfd.readouterr().out))


def test_plan_says_that_a_bundle_is_no_argument(
    bundle: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """validate, doctor and seccomp record take a bundle there, plan an id."""
    monkeypatch.chdir(bundle.parent)
    assert pyrunc("plan", bundle.name) == 1
    assert f"was taken as the id: --bundle {bundle.name} names the bundle" in capfd.readouterr().err
    (bundle / "config.json").unlink()
    assert pyrunc("plan", f"./{bundle.name}") == 1
    assert f"--bundle ./{bundle.name} names the bundle" in capfd.readouterr().err
    assert pyrunc("plan", "other") == 1
    assert "--bundle" not in capfd.readouterr().err


def test_plan_does_nothing(bundle: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    assert pyrunc("--root", str(root), "plan", "-b", str(bundle), "c1") == 0
    assert not root.exists()


@pytest.fixture
def other(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the bundle."""
    copy = tmp_path_factory.mktemp("other") / "bundle"
    shutil.copytree(bundle, copy)
    return copy


def test_n8_plan_diff_shows_what_changes(bundle: Path, other: Path, capfd: pytest.CaptureFixture[str]) -> None:
    change(other, hostname="another")
    assert pyrunc("plan", "-b", str(bundle), "--diff", str(other)) == 1
    text = capfd.readouterr().out
    assert "another" in text
    assert "mask_path" not in text
    assert pyrunc("plan", "-b", str(bundle), "--diff", str(other), "--format", "json") == 1
    value = json.loads(capfd.readouterr().out)
    assert (value["from"], value["to"]) == (f"{bundle}/config.json", f"{other}/config.json")
    assert [change["change"] for change in value["changes"]] == ["changed"]


def test_n8_plan_diff_of_a_copy_finds_nothing(bundle: Path, other: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert pyrunc("plan", "-b", str(bundle), "--diff", str(other)) == 0
    assert capfd.readouterr().out == ""
    assert pyrunc("plan", "-b", str(bundle), "--diff", str(other), "--format", "json") == 0
    assert json.loads(capfd.readouterr().out)["differ"] is False


@pytest.mark.parametrize("which", ["-b", "--diff"])
@pytest.mark.parametrize("fault", ["missing", "no JSON", "invalid"])
def test_n8_plan_diff_says_whose_configuration_is_at_fault(
    bundle: Path, other: Path, which: str, fault: str, capfd: pytest.CaptureFixture[str]
) -> None:
    broken = {"-b": bundle, "--diff": other}[which] / "config.json"
    if fault == "missing":
        broken.unlink()
    else:
        broken.write_text("{" if fault == "no JSON" else "{}")
    assert pyrunc("plan", "-b", str(bundle), "--diff", str(other)) == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert str(broken) in err.splitlines()[-1]


def test_n8_the_table_fits_columns(
    bundle: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "72")
    assert pyrunc("plan", "-b", str(bundle)) == 0
    text = capfd.readouterr().out
    assert 60 < max(len(line) for line in text.splitlines()) <= 72
    monkeypatch.delenv("COLUMNS")
    assert pyrunc("plan", "-b", str(bundle)) == 0
    assert "…" not in capfd.readouterr().out


def test_plan_draws_a_timeline(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    event = {"name": "pivot_root", "cat": "rootfs", "ph": "X", "ts": 5.0, "dur": 2.5, "pid": 1, "tid": 2, "args": {}}
    (tmp_path / "trace").write_text(json.dumps({"traceEvents": [event]}))
    assert pyrunc("plan", "--timeline", str(tmp_path / "trace")) == 0
    assert "pivot_root" in capfd.readouterr().out
    assert pyrunc("plan", "--timeline", str(tmp_path / "trace"), "--format", "json") == 0
    assert json.loads(capfd.readouterr().out)["whole"]["init"] == 2.5


def test_features_is_json(capfd: pytest.CaptureFixture[str]) -> None:
    assert pyrunc("features") == 0
    text = capfd.readouterr().out
    assert json.loads(text)["ociVersionMax"] == "1.3.0"
    assert text.startswith('{\n    "ociVersionMin"')


def test_a_plan_with_systemd_asks_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    fake = FakeSystemd(tmp_path / "bus")
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", fake.address)
    monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", fake.address)
    (tmp_path / "config.json").write_text(json.dumps(minimal(linux={"cgroupsPath": "a.slice:p:x"})))
    assert pyrunc("--systemd-cgroup", "--rootless", "false", "plan", "--bundle", str(tmp_path), "--format", "json") == 1
    # There is no rootfs, and nothing else would fail.
    steps = json.loads(capfd.readouterr().out)["steps"]
    (scope,) = [step for step in steps if step["kind"] == "systemd_scope"]
    assert scope["call"] == "StartTransientUnit"
    assert (scope["args"]["unit"], scope["args"]["manager"]) == ("p-x.scope", "system")
    assert fake.methods == []
    fake.close()


def test_plan_and_run_load_the_configuration_alike(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One function loads it and applies the options of isolation."""
    seen: list[tuple[str, str]] = []
    load = lifecycle.load_spec

    def load_spec(options: LaunchOptions) -> Any:
        seen.append((options.command, options.isolation))
        return load(options)

    monkeypatch.setattr(lifecycle, "load_spec", load_spec)
    pyrunc("plan", "--bundle", str(bundle), "--isolation", "sandbox", "x")
    lifecycle.prepare(LaunchOptions(id="x", bundle=str(bundle), command="run", isolation="sandbox"))
    log.release()
    assert seen == [("run", "sandbox")] * 2
