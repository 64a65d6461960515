"""The installed launcher: `make install` in a directory, and hostile modules wherever Python usually looks for
modules.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
PREFIX = "/opt/pyrunc"

# Modules that both builds or one of them would load: a planted module leaves a mark if it is loaded.
PLANTED = (
    "posix", "time", "_json", "json", "os", "io", "re", "encodings", "codecs", "site", "sitecustomize", "usercustomize",
    "click", "jsonschema", "cffi", "_cffi_backend", "attr", "referencing", "pyrunc", "traceback", "typing",
)  # fmt: skip


@pytest.fixture(scope="session")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The result of `make install PREFIX=/opt/pyrunc DESTDIR=…`, moved: PREFIX without the directories above it."""
    for tool in ("gcc", "make", "musl-gcc"):
        if shutil.which(tool) is None:
            pytest.skip(f"needs {tool}")
    destination = tmp_path_factory.mktemp("install")
    result = subprocess.run(
        ["make", "-C", ROOT, "install", f"PREFIX={PREFIX}", f"DESTDIR={destination}"],
        check=False, capture_output=True, text=True, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert result.returncode == 0, result.stdout + result.stderr
    return destination / PREFIX.lstrip("/")


@pytest.fixture(scope="session")
def launcher(tree: Path) -> Path:
    return tree / "bin" / "pyrunc"


def run(
    program: Path | str, *args: str, env: dict[str, str] | None = None, cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command with a small environment."""
    base = {"PATH": os.environ.get("PATH", "/usr/bin:/bin")}
    return subprocess.run(
        [program, *args], check=False, capture_output=True, text=True, stdin=subprocess.DEVNULL,
        env={**base, **(env or {})}, cwd=cwd,
    )  # fmt: skip


def ordinary(*args: str) -> subprocess.CompletedProcess[str]:
    """The ordinary build, from the sources."""
    return run(sys.executable, "-m", "pyrunc", *args, env={"PYTHONPATH": str(ROOT)})


HOT = ("--version", "list", "state no-such-container")
COLD = ("--help", "create --help", "features", "no-such-command", "validate /nowhere", "state")


@pytest.mark.parametrize("words", HOT + COLD)
def test_both_builds_say_the_same(launcher: Path, tmp_path: Path, words: str) -> None:
    log = ("--root", str(tmp_path), "--log", "/dev/null") if words[0] != "-" else ()
    here, there = run(launcher, *log, *words.split()), ordinary(*log, *words.split())
    assert (here.returncode, without_commit(here.stdout), without_time(here.stderr)) == (
        there.returncode, without_commit(there.stdout), without_time(there.stderr)
    )  # fmt: skip


def without_time(text: str) -> str:
    """Log text without the time: the two commands do not start in the same second."""
    return re.sub(r'^time="[^"]*" ', "", text, flags=re.MULTILINE)


def without_commit(text: str) -> str:
    """Output without the commit of `--version`: the two may have been built at different commits."""
    return re.sub(r"^commit: .*\n", "", text, flags=re.MULTILINE)


@pytest.mark.parametrize("words", HOT)
def test_hot_commands_are_the_launchers_own(launcher: Path, tmp_path: Path, words: str) -> None:
    """A copy of the launcher without the ordinary build beside it can run them."""
    alone = tmp_path / "bin" / "pyrunc"
    alone.parent.mkdir()
    shutil.copy(launcher, alone)
    log = ("--root", str(tmp_path), "--log", "/dev/null") if words[0] != "-" else ()
    here, there = run(alone, *log, *words.split()), run(launcher, *log, *words.split())
    assert (here.returncode, here.stdout, here.stderr) == (there.returncode, there.stdout, there.stderr)
    cold = run(alone, "--help")
    assert cold.returncode == 1
    assert cold.stderr == (
        f"pyrunc: can't start the ordinary build: {tmp_path}/bin/../lib/pyrunc/bin/python3: No such file or directory\n"
    )


def test_messages_use_the_name_it_was_called_by(launcher: Path, tmp_path: Path) -> None:
    link = tmp_path / "runc"
    link.symlink_to(launcher)
    assert run(link, "--version").stdout.startswith("runc version ")
    assert run(link, "--help").stdout.startswith("Usage: runc ")


def bundle_of(folder: Path, **changes: Any) -> Path:
    """A bundle of busybox, with these members of `linux` and `process` changed, for `run -b NAME` from beside it."""
    if not Path("/bin/busybox").exists() or os.geteuid() != 0:
        pytest.skip("needs root, and busybox-static")
    bundle = folder / "bundle"
    (bundle / "rootfs/bin").mkdir(parents=True)
    shutil.copy("/bin/busybox", bundle / "rootfs/bin")
    config: dict[str, Any] = {
        "ociVersion": "1.2.0",
        "root": {"path": "rootfs"},
        "process": {"cwd": "/", "args": ["/bin/busybox", "echo", "ran"], "user": {"uid": 0, "gid": 0}},
        "linux": {"namespaces": [{"type": "mount"}, {"type": "pid"}], **changes.pop("linux", {})},
    }
    config["process"].update(changes)
    (bundle / "config.json").write_text(json.dumps(config))
    return bundle


def test_a_command_that_is_handed_over_begins_where_it_was_started(launcher: Path, tmp_path: Path) -> None:
    """A relative bundle is found again although the command had changed to it."""
    bundle_of(tmp_path, linux={"namespaces": [{"type": "netwrok"}]})
    result = run(launcher, "--root", str(tmp_path / "root"), "run", "--bundle", "bundle", "box", cwd=tmp_path)
    assert r"did you mean \"network\"?" in result.stderr  # only the ordinary build can say this


def test_the_first_filter_is_compiled_by_the_ordinary_build(launcher: Path, tmp_path: Path) -> None:
    """The launcher has no libseccomp; once the filter is in the cache, it starts containers alone. Warnings come
    once.
    """
    profile = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_ERRNO"}]}
    bundle_of(tmp_path, linux={"seccomp": profile}, capabilities={"bounding": ["CAP_NONE"]})
    alone = tmp_path / "bin" / "pyrunc"
    alone.parent.mkdir()
    shutil.copy(launcher, alone)
    words = ("--root", str(tmp_path / "root"), "run", "--bundle", "bundle", f"box-{tmp_path.name}")
    assert "can't start the ordinary build" in run(alone, *words, cwd=tmp_path).stderr
    assert not (tmp_path / "root").exists()
    for program in (launcher, alone):
        result = run(program, *words, cwd=tmp_path)
        assert (result.returncode, result.stdout) == (0, "ran\n"), result.stderr
        assert result.stderr.count("CAP_NONE") == 1, result.stderr


@pytest.fixture
def planted(tmp_path: Path) -> tuple[Path, dict[str, str], Path]:
    """A working directory and an environment, both full of hostile modules, and the file that these would make."""
    mark = tmp_path / "LOADED"
    code = f"import builtins\nbuiltins.open({str(mark)!r}, 'a').write(__name__)\n"
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    cwd, path, home = tmp_path / "cwd", tmp_path / "path", tmp_path / "home"
    user = home / ".local" / "lib" / version / "site-packages"
    for directory in (cwd, path, user, home / "lib" / version):
        directory.mkdir(parents=True)
        for name in PLANTED:
            (directory / f"{name}.py").write_text(code)
        (directory / "hostile.pth").write_text(f"import builtins; builtins.open({str(mark)!r}, 'a')\n")
    environment = {
        "PYTHONPATH": str(path),
        "PYTHONHOME": str(home),
        "PYTHONUSERBASE": str(home / ".local"),
        "PYTHONSTARTUP": str(path / "posix.py"),
        "PYTHONPLATLIBDIR": "lib",
        "PYTHONINSPECT": "1",
        "HOME": str(home),
    }
    return cwd, environment, mark


@pytest.mark.parametrize("words", HOT + COLD)
def test_no_module_is_loaded_from_elsewhere(
    launcher: Path, planted: tuple[Path, dict[str, str], Path], tmp_path: Path, words: str
) -> None:
    cwd, environment, mark = planted
    log = ("--root", str(tmp_path / "root"), "--log", "/dev/null") if words[0] != "-" else ()
    with_them = run(launcher, *log, *words.split(), env=environment, cwd=cwd)
    without = run(launcher, *log, *words.split())
    assert not mark.exists(), mark.read_text() + " was loaded"
    assert (with_them.returncode, with_them.stdout, with_them.stderr) == (
        without.returncode, without.stdout, without.stderr
    )  # fmt: skip


def test_the_planted_modules_would_be_loaded_by_an_unguarded_python(planted: tuple[Path, dict[str, str], Path]) -> None:
    cwd, environment, mark = planted
    del environment["PYTHONHOME"], environment["PYTHONINSPECT"]
    (cwd.parent / "path" / "encodings.py").unlink()
    run(sys.executable, "-c", "import click", env=environment, cwd=cwd)
    assert mark.exists()


def test_the_modules_of_the_installation_are_the_only_ones(tree: Path) -> None:
    python = tree / "lib" / "pyrunc" / "bin" / "python3"
    code = "import sys, json; print(json.dumps(sys.path))"
    paths = json.loads(run(python, "-I", "-S", "-c", code).stdout)
    assert not [path for path in paths if "site-packages" in path or "dist-packages" in path]
    names = {path.name for path in (tree / "lib" / "pyrunc" / "modules").iterdir()}
    assert {"pyrunc", "click", "jeepney", "jsonschema", "_cffi_backend"} <= {name.partition(".")[0] for name in names}
    assert not list((tree / "lib" / "pyrunc" / "modules").glob("*.pth"))


def test_a_refused_configuration_is_explained_by_jsonschema(launcher: Path, tmp_path: Path) -> None:
    """The launcher's validator refuses it, and the ordinary build, which has jsonschema, gives the reason."""
    config = {"ociVersion": "1.0.2", "root": {"path": "rootfs", "readonlyy": True, "readonly": "yes"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    words = ("--root", str(tmp_path / "root"), "--log", str(tmp_path / "log"), "--log-format", "json")
    create = (*words, "create", "--bundle", str(tmp_path), "refused")
    here = run(launcher, *create)
    there = ordinary(*create)
    assert (here.returncode, here.stderr) == (there.returncode, there.stderr)
    assert "/root/readonly" in here.stderr
    assert not (tmp_path / "root" / "refused").exists()


def test_no_file_of_python_is_opened_by_a_hot_command(launcher: Path, tmp_path: Path) -> None:
    if shutil.which("strace") is None:
        pytest.skip("needs strace")
    if "libpython" in subprocess.run(["ldd", launcher], check=False, capture_output=True, text=True).stdout:
        pytest.skip("a shared libpython is a file of Python (N1)")
    trace = tmp_path / "trace"
    run("strace", "-f", "-e", "trace=file", "-o", str(trace), str(launcher), "--root", "/no-root", "list")
    files = [line.split('"')[1] for line in trace.read_text().splitlines() if '"' in line]
    assert files[0] == str(launcher)
    assert not [file for file in files[1:] if "python" in file or file.endswith((".py", ".pyc", ".so"))]


def test_n8_manual_pages_and_completion_are_installed(tree: Path, launcher: Path) -> None:
    """The installed completion works: the launcher hands over to the ordinary build, which prints nothing else."""
    assert (tree / "share/man/man8/pyrunc.8").exists()
    assert (tree / "share/man/man8/pyrunc-run.8").exists()
    for name in ("bash-completion/completions/pyrunc", "zsh/site-functions/_pyrunc"):
        assert (tree / "share" / name).exists()
    assert (tree / "share/fish/vendor_completions.d/pyrunc.fish").exists()
    words = {"_PYRUNC_COMPLETE": "bash_complete", "COMP_WORDS": "pyrunc\nrun\n--bun", "COMP_CWORD": "2"}
    result = run(launcher, env=words)
    assert (result.returncode, result.stdout, result.stderr) == (0, "plain,--bundle\n", "")


def test_n8_uninstall_removes_all_that_install_makes(tree: Path, tmp_path: Path) -> None:
    place = tmp_path / "a place"  # `rm -rf` must not take it for two
    shutil.copytree(tree, place / "opt/pyrunc", symlinks=True)
    (place / "opt/pyrunc/share/man/man8/other.8").touch()
    (tmp_path / "a").touch()
    subprocess.run(
        ["make", "-s", "-C", ROOT, "uninstall", f"PREFIX={PREFIX}", f"DESTDIR={place}"],
        check=True, capture_output=True,
    )  # fmt: skip
    left = {path.name for path in tmp_path.rglob("*") if not path.is_dir()}
    assert left == {"a", "other.8"}
