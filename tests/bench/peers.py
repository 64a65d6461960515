"""The newest crun and runc: Debian's unstable packages, unpacked beside the system and run by their own loader and
libraries. They are made once, in the bench's build directory.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

for _directory in ("fresh", "guest"):
    sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts" / _directory))

import debian  # noqa: E402

NAMES = ("runc", "crun")
RELEASE = "sid"


def newest(cache: Path) -> dict[str, Path]:
    """The programs by name; none, with the reason on stderr, if they can't be made."""
    programs = {name: cache / "bin" / name for name in NAMES}
    if not all(program.exists() for program in programs.values()):
        try:
            _make(cache)
        except (OSError, subprocess.CalledProcessError) as error:
            said = getattr(error, "stderr", None) or b""
            print(f"bench: no newest runc and crun: {error} {said.decode(errors='replace')[-400:]}", file=sys.stderr)
            return {}
    return programs


def _make(cache: Path) -> None:
    """Download and unpack the packages with all that they need. Raises OSError, subprocess.CalledProcessError."""
    shutil.rmtree(cache, ignore_errors=True)
    for name in ("state/lists/partial", "archives/partial", "tree", "bin"):
        (cache / name).mkdir(parents=True)
    (cache / "sources.list").write_text("\n".join(debian.archive(RELEASE)) + "\n")
    (cache / "status").touch()
    settings = {
        "Dir::Etc::sourcelist": cache / "sources.list", "Dir::Etc::sourceparts": "/dev/null",
        "Dir::State": cache / "state", "Dir::State::status": cache / "status", "Dir::Cache": cache,
        "APT::Sandbox::User": "root", "APT::Install-Recommends": "false",
    }  # fmt: skip
    apt = ["apt-get", "-qq", "-y", *(word for key, value in settings.items() for word in ("-o", f"{key}={value}"))]
    _run([*apt, "update"])
    _run([*apt, "install", "--download-only", *NAMES])
    for package in (cache / "archives").glob("*.deb"):
        _run(["dpkg-deb", "-x", str(package), str(cache / "tree")])
    [loader] = (cache / "tree/usr/lib").glob("*/ld-linux-*")
    for name in NAMES:
        [program] = [path for path in (cache / "tree").glob(f"usr/*bin/{name}") if not path.is_symlink()]
        shutil.copy(program, cache / "bin" / name)
        change = ["patchelf", "--set-interpreter", str(loader), "--set-rpath", str(loader.parent)]
        _run([*change, str(cache / "bin" / name)])


def _run(words: list[str]) -> None:
    subprocess.run(words, check=True, capture_output=True, stdin=subprocess.DEVNULL)
