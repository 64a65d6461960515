"""`make wheel`: pip installs the wheel in environments of several Python versions.

Without a compiler, on a fresh Debian: `make test-fresh TESTS=packages`.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest

from tests.support.runtime import Runtime

ROOT = Path(__file__).resolve().parents[2]
VERSIONS = ("3.11", "3.12", "3.13", "3.14")


def interpreter(version: str) -> str:
    """A Python of this version that can make environments. pytest.skip with the reason if there is none."""
    places = [shutil.which(f"python{version}") or "", "/usr/bin/python3"]
    places += map(str, Path(os.path.expanduser("~/.pyenv/versions")).glob(f"{version}.*/bin/python3"))
    code = f"import sys, venv, ensurepip; sys.exit('%d.%d' % sys.version_info[:2] != {version!r})"
    for place in filter(os.path.exists, places):
        if subprocess.run([place, "-c", code], check=False, capture_output=True).returncode == 0:
            return place
    pytest.skip(f"there is no Python {version} with venv and ensurepip")


@pytest.fixture(scope="module")
def wheel() -> Path:
    """The wheel, made now."""
    for tool in ("gcc", "make", "musl-gcc"):
        if shutil.which(tool) is None:
            pytest.skip(f"needs {tool}")
    done = subprocess.run(
        ["make", "-C", ROOT, "wheel"], check=False, capture_output=True, text=True, stdin=subprocess.DEVNULL
    )
    if "a wheel needs a launcher that is linked statically" in done.stderr:
        pytest.skip("needs a static library of CPython (package libpython3-dev)")
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = (ROOT / "build/dist").glob("*.whl")
    return path


class Environment:
    """A Python environment with the wheel in it."""

    def __init__(self, python: str, folder: Path, wheel: Path) -> None:
        self.folder = folder
        subprocess.run([python, "-m", "venv", folder], check=True)
        words = [f"{folder}/bin/python", "-m", "pip", "install", "-q", "--disable-pip-version-check", str(wheel)]
        subprocess.run(words, check=True, stdin=subprocess.DEVNULL)
        self.program = folder / "bin/pyrunc"

    def run(self, *words: str, program: Path | None = None) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [program or self.program, *words], check=False, capture_output=True, text=True, cwd="/",
            stdin=subprocess.DEVNULL, env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
        )  # fmt: skip


@pytest.fixture(scope="module", params=VERSIONS)
def environment(request: pytest.FixtureRequest, wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    python = interpreter(request.param)
    return Environment(python, tmp_path_factory.mktemp(f"venv-{request.param}") / "e", wheel)


def test_the_command_is_the_launcher(environment: Environment) -> None:
    """Without the environment's Python it runs hot commands, and names what it lacks for others."""
    assert environment.program.read_bytes()[:4] == b"\x7fELF"
    script = environment.folder / "bin/pyrunc-python"
    away = script.with_name("away")
    script.rename(away)
    try:
        assert environment.run("--version").stdout.startswith("pyrunc version ")
        cold = environment.run("--help")
        assert (cold.returncode, cold.stdout) == (1, "")
        assert "can't start the ordinary build" in cold.stderr
    finally:
        away.rename(script)


def test_cold_commands_are_done_by_the_environments_python(environment: Environment, tmp_path: Path) -> None:
    (packages,) = environment.folder.glob("lib/python*/site-packages")
    mark = tmp_path / "mark"
    # Debian's Python has a sitecustomize of its own. No other .pth file can hide this one (the module site).
    (packages / "mark.pth").write_text(
        f"import sys; print(sys.executable, sys.flags.isolated, file=open({str(mark)!r}, 'a'))\n"
    )
    try:
        assert environment.run("--version").returncode == 0
        assert not mark.exists()
        assert environment.run("--help").stdout.startswith("Usage: pyrunc ")
    finally:
        (packages / "mark.pth").unlink()
    (line,) = set(mark.read_text().splitlines())  # the file may be read more than once
    executable, isolated = line.split()
    assert (Path(executable).parent, isolated) == (environment.folder / "bin", "1")


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ("features", 0, '"ociVersionMin"'),
        ("validate /nowhere", 1, "config.json not found"),
        ("integrate docker", 0, '"path"'),
        ("doctor", 0, "AREA"),
        ("no-such-command", 3, "see pyrunc --help"),
    ],
)
def test_cold_commands(environment: Environment, words: str, code: int, said: str) -> None:
    done = environment.run(*words.split())
    assert (done.returncode, said in done.stdout + done.stderr) == (code, True), done


def test_the_ordinary_build_is_there_by_its_own_name(environment: Environment) -> None:
    script = environment.folder / "bin/pyrunc-python"
    assert environment.run("--version", program=script).stdout.startswith("pyrunc-python version ")


def test_a_container_with_a_seccomp_profile(environment: Environment, runtime: Runtime) -> None:
    """The cold side compiles its filter, with the libseccomp of the wheel."""
    bundle = runtime.bundle().sh("mkdir /tmp/x; echo $?")
    bundle.config["linux"]["seccomp"] = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28}],
    }
    bundle.write()
    words = ("--root", str(runtime.root), "run", "--bundle", str(bundle.path), runtime.new_id())
    done = environment.run(*words)
    assert (done.returncode, done.stdout) == (0, "1\n"), done.stderr
    assert "No space left" in done.stderr


@pytest.fixture(scope="module")
def oldest(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    return Environment(interpreter("3.11"), tmp_path_factory.mktemp("venv") / "an environment", wheel)


def test_an_environment_with_a_space_in_its_path(oldest: Environment) -> None:
    assert oldest.run("--help").stdout.startswith("Usage: pyrunc ")


@pytest.mark.parametrize("quote", ['"', "'"])
def test_the_first_line_that_installers_write_for_long_paths(oldest: Environment, quote: str) -> None:
    script = oldest.folder / "bin/pyrunc-python"
    text = script.read_text()
    first = text.partition("\n")[0]
    python = first.removeprefix("#!")
    try:
        script.write_text(text.replace(first, f"#!/bin/sh\n'''exec' {quote}{python}{quote} \"$0\" \"$@\"\n' '''"))
        assert oldest.run("--help").stdout.startswith("Usage: pyrunc ")
        for broken in ("", "#!", "#!/bin/sh\n'''exec' ", "#!/bin/sh\n'''exec' \"/x", "no line", "#!python\n"):
            script.write_text(broken)
            assert "can't start the ordinary build" in oldest.run("--help").stderr
    finally:
        script.write_text(text)


def test_through_a_symlink(oldest: Environment, tmp_path: Path) -> None:
    """As `pipx` and `uv tool` install commands."""
    link = tmp_path / "pyrunc"
    link.symlink_to(oldest.program)
    assert oldest.run("--help", program=link).stdout.startswith("Usage: pyrunc ")


def test_installed_for_a_user(wheel: Path, tmp_path: Path) -> None:
    """The modules are then beside the command, where an isolated interpreter does not look."""
    python = interpreter("3.11")
    environment = {"PATH": os.environ["PATH"], "PYTHONUSERBASE": str(tmp_path), "HOME": str(tmp_path)}
    words = [python, "-m", "pip", "install", "--user", "--break-system-packages", "-q", "--no-warn-script-location"]
    done = subprocess.run(
        [*words, "--disable-pip-version-check", wheel], env={**os.environ, **environment}, check=False,
        capture_output=True, text=True,
    )  # fmt: skip
    if "No module named pip" in done.stderr:
        pytest.skip(f"{python} has no pip")
    if "no such option: --break-system-packages" in done.stderr:
        pytest.skip(f"the pip of {python} is older than 23.0.1")
    assert done.returncode == 0, done.stderr
    ran = subprocess.run(
        [tmp_path / "bin/pyrunc", "features"],
        env={"PATH": "/usr/bin:/bin"},
        check=False,
        capture_output=True,
        text=True,
    )
    assert '"ociVersionMin"' in ran.stdout, ran.stderr


def test_uninstalling_leaves_nothing(wheel: Path, tmp_path: Path) -> None:
    environment = Environment(interpreter("3.11"), tmp_path / "e", wheel)
    words = [f"{environment.folder}/bin/python", "-m", "pip", "uninstall", "-q", "-y", "pyrunc"]
    subprocess.run(words, check=True, stdin=subprocess.DEVNULL)
    left = [path for path in environment.folder.rglob("*") if "pyrunc" in path.name or "_prctl" in path.name]
    assert left == []


def test_the_wheel_suits_every_python_and_needs_no_compiler(wheel: Path) -> None:
    assert re.fullmatch(r"pyrunc-[^-]+-cp311-abi3-manylinux_2_\d+_\w+\.whl", wheel.name)
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        (metadata,) = [name for name in names if name.endswith(".dist-info/METADATA")]
        assert "python-prctl" not in archive.read(metadata).decode()
        (launcher,) = [name for name in names if name.endswith(".data/scripts/pyrunc")]
        assert archive.getinfo(launcher).external_attr >> 16 & 0o777 == 0o755
    assert any(re.search(r"pyrunc\.libs/libseccomp-\w+\.so", name) for name in names)
    extensions = [name for name in names if ".so" in name and "pyrunc.libs/" not in name]
    assert sorted(extensions) == [
        "_prctl.abi3.so", "pyrunc/_core.abi3.so", "pyrunc/_seccomp.abi3.so", "pyrunc/_wire.abi3.so",
    ]  # fmt: skip
