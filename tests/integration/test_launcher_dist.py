"""`make dist`: the tar works on a host that has only a C library, and the .deb holds an installation for Debian."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from fnmatch import fnmatch
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DIST = ROOT / "build" / "dist"

# The parts of glibc: the host of a tar must have these and nothing else.
C_LIBRARY = re.compile(r"/(ld-linux|libc|libm|libdl|libpthread|librt|libutil)[-.]")


@pytest.fixture(scope="session")
def dist() -> Path:
    for tool in ("gcc", "make", "musl-gcc", "dpkg-deb"):
        if shutil.which(tool) is None:
            pytest.skip(f"needs {tool}")
    result = subprocess.run(
        ["make", "-C", ROOT, "dist"], check=False, capture_output=True, text=True, stdin=subprocess.DEVNULL
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return DIST


@pytest.fixture(scope="session")
def bare_host(dist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root directory with the unpacked tar in /opt/pyrunc, the C library, and no other file."""
    if os.geteuid() != 0:
        pytest.skip("needs root, for chroot")
    root = tmp_path_factory.mktemp("host")
    (archive,) = dist.glob("*.tar.gz")
    subprocess.run(["tar", "-xf", archive, "-C", root], check=True)  # N2: tarfile's filters came with Python 3.11.4
    (unpacked,) = root.iterdir()
    (root / "opt").mkdir()
    unpacked.rename(root / "opt" / "pyrunc")
    (root / "proc").mkdir()
    for file in (root / "opt" / "pyrunc").rglob("*"):
        if (file.name in ("python3", "pyrunc") and file.is_file()) or file.suffix == ".so":
            needed = subprocess.run(["ldd", file], check=False, capture_output=True, text=True).stdout
            for library in re.findall(r"(/\S+) \(0x", needed):
                if C_LIBRARY.search(library) and not (root / library.lstrip("/")).exists():
                    (root / library.lstrip("/")).parent.mkdir(parents=True, exist_ok=True)
                    shutil.copy(library, root / library.lstrip("/"))
    return root


def run_in(root: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a command with another root directory, which gets a /proc in a mount namespace of its own."""
    script = 'mount -t proc proc "$0/proc" && exec chroot "$0" "$@"'
    return subprocess.run(
        ["unshare", "-m", "--propagation", "private", "sh", "-c", script, root, *words],
        check=False, capture_output=True, text=True, stdin=subprocess.DEVNULL,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("words", "code", "output"),
    [
        ("--version", 0, "pyrunc version "),
        ("list", 0, "ID "),
        ("--help", 0, "Usage: pyrunc "),
        ("features", 0, '"ociVersionMin"'),
        ("validate /nowhere", 1, "config.json not found"),
    ],
)
def test_the_tar_needs_only_a_c_library(bare_host: Path, words: str, code: int, output: str) -> None:
    result = run_in(bare_host, "/opt/pyrunc/bin/pyrunc", *words.split())
    assert result.returncode == code, result.stderr
    assert output in result.stdout + result.stderr


def test_every_package_of_the_tar_can_be_imported(bare_host: Path) -> None:
    """Also the extension modules: their libraries are beside the interpreter, or parts of the C library."""
    modules = "/opt/pyrunc/lib/pyrunc/modules"
    code = f"import sys; sys.path.insert(0, {modules!r}); import cffi, click, ctypes, jsonschema, prctl\n"
    code += "import pyrunc.libcontainer.launch.systemd_scope"
    result = run_in(bare_host, "/opt/pyrunc/lib/pyrunc/bin/python3", "-I", "-S", "-c", code)
    assert result.returncode == 0, result.stderr


@pytest.fixture
def deb(dist: Path, tmp_path: Path) -> Path:
    """The files of the package."""
    (package,) = dist.glob("*.deb")
    subprocess.run(["dpkg-deb", "-x", package, tmp_path], check=True)
    return tmp_path


def test_the_deb_holds_an_installation(dist: Path, deb: Path) -> None:
    (package,) = dist.glob("*.deb")
    owners = subprocess.run(["dpkg-deb", "-c", package], check=True, capture_output=True, text=True).stdout
    assert {line.split()[1] for line in owners.splitlines()} == {"root/root"}
    assert (deb / "usr/share/man/man8/pyrunc-run.8.gz").exists()
    assert (deb / "usr/share/zsh/vendor-completions/_pyrunc").exists()
    python = (deb / "usr/lib/pyrunc/bin/python3").readlink()
    (deb / "usr/bin" / python.name).symlink_to(f"/usr/bin/{python.name}")  # relative in the package: Debian Policy 10.5
    for words in (["--version"], ["--help"]):
        result = subprocess.run([deb / "usr/bin/pyrunc", *words], check=True, capture_output=True, text=True)
        assert "pyrunc" in result.stdout


def test_the_deb_wants_the_python_that_it_was_built_with(dist: Path, deb: Path) -> None:
    """N1, N10: the Python of the Debian that it is built on, and its library if the launcher is linked with it."""
    (package,) = dist.glob("*.deb")
    depends = subprocess.run(["dpkg-deb", "-f", package, "Depends"], check=True, capture_output=True, text=True).stdout
    names = [name.split()[0] for name in depends.split(", ")]
    python = (deb / "usr/lib/pyrunc/bin/python3").readlink().name
    assert python in names
    needed = subprocess.run(["ldd", deb / "usr/bin/pyrunc"], check=False, capture_output=True, text=True).stdout
    assert (f"lib{python}" in names) == (f"lib{python}" in needed)


def test_the_deb_names_the_licences_of_all_that_is_in_it(deb: Path) -> None:
    """N10: the copyright file names each file under modules, and each text that it refers to is there."""
    text = (deb / "usr/share/doc/pyrunc/copyright").read_text()
    assert text.startswith("Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n")
    patterns = [name for line in re.findall(r"^Files: (.*)", text, re.MULTILINE) for name in line.split()]
    for path in (deb / "usr/lib/pyrunc/modules").iterdir():
        name = str(path.relative_to(deb)) + ("/x" if path.is_dir() else "")
        own = path.name.split("-")[0] in ("pyrunc", "__pycache__")
        metadata = path.name.endswith(".egg-info")
        assert own or metadata or any(fnmatch(name, pattern) for pattern in patterns if pattern != "*"), name
    texts = re.findall(r"^ text: /(.*)", text, re.MULTILINE)
    assert texts
    assert all((deb / name).is_file() for name in texts)
    assert "License: \n" not in text


def test_the_deb_has_no_tests_of_what_pyrunc_depends_on(deb: Path) -> None:
    """N10: jsonschema's wheel has tests and benchmarks beside its modules."""
    assert not [path for path in deb.rglob("*") if path.name in ("tests", "test", "benchmarks")]


def test_the_launcher_has_no_library_that_debian_would_have_to_mend(deb: Path) -> None:
    """With Python 3.13 it had pyexpat, and so a copy of libexpat."""
    assert b"junk after document element" not in (deb / "usr/bin/pyrunc").read_bytes()


def test_the_deb_has_no_developers_tools(deb: Path) -> None:
    """N10: no tool that checks or builds pyrunc."""
    names = {path.name.partition("-")[0] for path in (deb / "usr/lib/pyrunc/modules").iterdir()}
    assert not names & {"ruff", "mypy", "hypothesis", "pytest", "setuptools", "pip"}


def test_the_deb_is_clean(dist: Path) -> None:
    """lintian finds no errors and no warnings."""
    if shutil.which("lintian") is None:
        pytest.skip("needs lintian")
    (package,) = dist.glob("*.deb")
    words = ["lintian", "--allow-root", "--fail-on", "error,warning", str(package)]
    done = subprocess.run(words, check=False, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr


def test_the_packages_have_no_module_that_is_gone(dist: Path, deb: Path) -> None:
    """setuptools keeps modules of earlier builds in build/lib."""
    sources = {path.relative_to(ROOT) for path in (ROOT / "pyrunc").rglob("*.py")}
    modules = deb / "usr/lib/pyrunc/modules"
    assert {path.relative_to(modules) for path in (modules / "pyrunc").rglob("*.py")} == sources


def test_no_file_tells_where_it_was_built(dist: Path, deb: Path) -> None:
    (unpacked,) = [path for path in dist.glob("pyrunc-*") if path.is_dir()]
    for top in (deb, unpacked):
        found = subprocess.run(["grep", "-rlaF", f"{ROOT}/", top], check=False, capture_output=True, text=True).stdout
        assert found == ""


def test_the_digests_are_those_of_the_files(dist: Path) -> None:
    words = ["sha256sum", "--check", "--strict", "SHA256SUMS"]
    done = subprocess.run(words, cwd=dist, check=True, capture_output=True, text=True)
    names = [line.removesuffix(": OK") for line in done.stdout.splitlines()]
    kinds = [re.sub(r".*?(\.cdx\.json|\.deb|\.pages|\.tar\.gz|\.whl)$", r"\1", name) for name in names]
    wheels = [".whl"] if list(dist.glob("*.whl")) else []  # `make wheel` writes to the same directory
    assert sorted(kinds) == [".cdx.json", ".deb", ".pages", ".tar.gz", *wheels]
