"""A fresh Debian as a directory: mmdebstrap makes it of a release, with the packages that a person installs to get a
clone.

The fresh machine reaches the package registries as the host does. For that, this module copies apt's archive and
settings, pip's settings, certificates and resolv.conf, and passes on the environment variables that name a proxy or
certificates: when the directory is made, and when it is used.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "guest"))

from cache import CACHE, PRIVATE_MOUNTS, cached, command
from image import network_options, release, sources

# The interpreter that each release has, as `3.11`.
RELEASES = {"bookworm": "3.11", "trixie": "3.13", "sid": "3.14"}

# Installed before `make` runs: a way to get the clone, make, and Python.
PACKAGES = ("ca-certificates", "git", "make", "python3")

# Variables by which programs find a proxy, a mirror or certificates.
NETWORK_VARIABLES = re.compile(
    r"(?i)(https?|ftp|all|no)_proxy$|PIP_|SSL_CERT_(FILE|DIR)$|(REQUESTS|CURL)_CA_BUNDLE$|GOPROXY$"
)

# Files of the host that are copied to the fresh machine unchanged.
COPIED = ("/etc/resolv.conf", "/etc/hosts", "/etc/pip.conf")

# Where Debian has the certificates that an administrator adds, and the one file that is made of all certificates.
LOCAL_CERTIFICATES = Path("/usr/local/share/ca-certificates")


def archive(codename: str) -> list[str]:
    """sources.list(5) lines of a release, from the archive that the host's apt uses for its own release."""
    lines = [re.sub(rf"(?<= ){release()}\b", codename, line) for line in sources(release())]
    # An unreleased Debian has no updates.
    return [line for line in lines if codename != "sid" or line.endswith(" sid main")]


def make(codename: str, target: Path, packages: Sequence[str] = PACKAGES) -> None:
    """Make target/root with mmdebstrap, in a minute."""
    root, options, lines = target / "root", target / "apt.conf", target / "sources.list"
    options.write_text(network_options())
    lines.write_text("\n".join(archive(codename)) + "\n")
    command(
        *PRIVATE_MOUNTS, "mmdebstrap", "--mode=root", "--format=directory", "--variant=minbase", f"--aptopt={options}",
        "--include=" + ",".join(packages), codename, root, lines, what=f"making Debian {codename} with mmdebstrap",
    )  # fmt: skip
    if LOCAL_CERTIFICATES.is_dir():
        shutil.copytree(LOCAL_CERTIFICATES, root / str(LOCAL_CERTIFICATES).lstrip("/"), dirs_exist_ok=True)
        command("chroot", root, "update-ca-certificates", what="adding the host's certificates")


def image(codename: str, packages: Sequence[str] = PACKAGES, kind: str = "fresh") -> Path:
    """The directory of a fresh Debian with these packages, made now or earlier. Callers copy it, or use it as the lower
    directory of an overlay. kind: what it is for, in the name of its directory."""
    parts = [codename, os.uname().machine, Path(__file__).read_text(), *packages]
    return cached(f"{kind}-{codename}", parts, lambda target: make(codename, target, packages)) / "root"


def downloads(name: str) -> Path:
    """A directory for downloaded packages: one run downloads them, the next one finds them."""
    path = CACHE / "downloads" / name
    path.mkdir(parents=True, exist_ok=True)
    return path


def network() -> dict[str, str]:
    """The environment variables that lead to the registries, without those that name an absent file."""
    found = {name: value for name, value in os.environ.items() if NETWORK_VARIABLES.match(name)}
    return {name: value for name, value in found.items() if value[:1] != "/" or os.path.exists(value)}


def copy(codename: str, root: Path) -> None:
    """Make a machine of its own at `root`, a path that does not exist: the image, and the host's way to the network."""
    command("cp", "-a", "--reflink=auto", image(codename), root, what="copying the image")
    named = [value for value in network().values() if value.startswith("/")]
    for name in (*COPIED, *named):
        target = root / name.lstrip("/")
        if os.path.exists(name) and (name in COPIED or not target.exists()):
            target.parent.mkdir(parents=True, exist_ok=True)
            command("cp", "-rL", "--remove-destination", name, target, what=f"copying {name}")
