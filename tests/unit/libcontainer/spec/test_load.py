"""spec: the result of load, and its refusals."""

from __future__ import annotations

import errno
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pyrunc.errors import PyruncError
from pyrunc.libcontainer.spec import load
from tests.support.full_config import runnable_config

ROOT = Path(__file__).resolve().parents[4]


def bundle_with(directory: Path, value: Any) -> str:
    """A bundle whose config.json is a value, or a text as it is."""
    (directory / "config.json").write_text(value if isinstance(value, str) else json.dumps(value))
    return str(directory)


def refusal(directory: Path, value: Any) -> PyruncError:
    with pytest.raises(PyruncError) as caught:
        load.load(bundle_with(directory, value))
    return caught.value


def test_gives_the_configuration(tmp_path: Path) -> None:
    assert load.load(bundle_with(tmp_path, runnable_config())) == runnable_config()


def test_other_file_of_the_bundle_or_elsewhere(tmp_path: Path) -> None:
    bundle_with(tmp_path, runnable_config())
    (tmp_path / "config.json").rename(tmp_path / "other.json")
    assert load.load(str(tmp_path) + "/", "other.json") == runnable_config()
    assert load.load("/", str(tmp_path / "other.json")) == runnable_config()


def test_null_means_absent(tmp_path: Path) -> None:
    value = runnable_config()
    value["hostname"] = None
    value["process"]["rlimits"] = None
    loaded = load.load(bundle_with(tmp_path, value))
    assert "hostname" not in loaded
    assert "rlimits" not in loaded["process"]


def test_null_for_a_required_member_is_missing(tmp_path: Path) -> None:
    value = runnable_config()
    value["process"]["cwd"] = None
    assert refusal(tmp_path, value).line() == "cwd is missing (at /process/cwd; the specification requires it)"


def test_null_in_an_array_is_refused(tmp_path: Path) -> None:
    value = runnable_config()
    value["process"]["args"] = ["sh", None]
    assert refusal(tmp_path, value).pointer == "/process/args/1"


def test_missing_file_has_runcs_wording(tmp_path: Path) -> None:
    with pytest.raises(PyruncError) as caught:
        load.load(str(tmp_path))
    assert caught.value.line() == (
        f"JSON specification file config.json not found in {tmp_path} (`pyrunc spec` writes one to start from)"
    )


def test_directory_in_place_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "config.json").mkdir()
    with pytest.raises(PyruncError) as caught:
        load.load(str(tmp_path))
    assert caught.value.errno == errno.EISDIR
    assert caught.value.line().startswith(f"read {tmp_path}/config.json: is a directory (name the bundle's ")


def test_file_that_can_not_be_opened(tmp_path: Path) -> None:
    (tmp_path / "config.json").symlink_to("config.json")
    with pytest.raises(PyruncError) as caught:
        load.load(str(tmp_path))
    assert caught.value.line() == f"open {tmp_path}/config.json: too many levels of symbolic links"


def test_broken_json_has_line_and_column(tmp_path: Path) -> None:
    error = refusal(tmp_path, '{\n "ociVersion": "1.0.0",\n}')
    assert error.line() == (
        "config.json:2:23: a comma behind the last member "
        "(leave it out: JSON has a comma between two members or items only)"
    )


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes(b'{\n"hostname": "\xff"}')
    with pytest.raises(PyruncError) as caught:
        load.load(str(tmp_path))
    assert caught.value.line() == "config.json:2: byte 0xff is not UTF-8 (save it as UTF-8)"


@pytest.mark.parametrize("text", ["null", "[]", '"config"', "3"])
def test_configuration_is_an_object(tmp_path: Path, text: str) -> None:
    assert refusal(tmp_path, text).line() == f"config must be an object, not {text}"


def test_refusal_names_pointer_value_allowed_and_nearest(tmp_path: Path) -> None:
    value = runnable_config()
    value["linux"]["namespaces"][1]["type"] = "netwrok"
    error = refusal(tmp_path, value)
    assert error.pointer == "/linux/namespaces/1/type"
    assert error.line() == (
        'type must be one of "pid", "network", "mount", "ipc", "uts", "user", "cgroup", "time", not "netwrok" '
        '(at /linux/namespaces/1/type; did you mean "network"?)'
    )


def test_refusal_by_a_check(tmp_path: Path) -> None:
    value = runnable_config()
    value["linux"]["namespaces"].append({"type": "pid"})
    assert refusal(tmp_path, value).line() == (
        'malformed spec file: duplicated ns "pid" (at /linux/namespaces/8; keep one entry of each type)'
    )


def test_refusal_is_one_line(tmp_path: Path) -> None:
    value = runnable_config()
    value["process"]["cwd"] = "no\npath" * 50
    line = refusal(tmp_path, value).line()
    assert "\n" not in line
    assert len(line) < 200


def test_warnings_go_to_the_log(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    value = runnable_config()
    value["mounts"][0]["destination"] = "proc"
    load.load(bundle_with(tmp_path, value))
    assert "/mounts/0/destination: relative destination path is deprecated" in capfd.readouterr().err


def test_unknown_properties_are_ignored(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    value = runnable_config()
    value["linux"]["new"] = value["new"] = {"a": 1}
    assert load.load(bundle_with(tmp_path, value)) == value
    assert capfd.readouterr().err == ""


def test_process_alone() -> None:
    process = runnable_config()["process"]
    load.validate_process(process)
    process["cwd"] = "relative"
    with pytest.raises(PyruncError) as caught:
        load.validate_process(process)
    assert caught.value.line() == ('cwd must be an absolute path without NUL characters, not "relative" (at /cwd)')


def run(code: str, *arguments: str) -> str:
    """The output of a piece of code in a fresh interpreter."""
    path = [str(ROOT), *[entry for entry in sys.path if entry]]
    command = [sys.executable, "-I", "-S", "-c", f"import sys; sys.path[:0] = {path!r}\n" + code, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def test_a_good_configuration_imports_no_heavy_module(tmp_path: Path) -> None:
    code = (
        "from pyrunc.libcontainer.spec import load as spec\n"
        "spec.load(sys.argv[1])\n"
        "heavy = ('os', 're', 'json', 'typing', 'enum', 'jsonschema', 'dataclasses', 'pathlib')\n"
        "print([name for name in heavy if name in sys.modules])\n"
    )
    assert run(code, bundle_with(tmp_path, runnable_config())) == "[]\n"


def test_refusal_without_jsonschema_lacks_the_nearest_word_only(tmp_path: Path) -> None:
    value = runnable_config()
    value["linux"]["rootfsPropagation"] = "rslav"
    code = (
        "sys.modules['jsonschema'] = None\n"
        "from pyrunc.libcontainer.spec import load as spec\n"
        "from pyrunc.errors import PyruncError\n"
        "try: spec.load(sys.argv[1])\n"
        "except PyruncError as error: print(error.line())\n"
    )
    line = run(code, bundle_with(tmp_path, value)).strip()
    error = refusal(tmp_path, value)
    assert error.hint == 'did you mean "rslave"?'
    assert error.line() == line[:-1] + f"; {error.hint})"
