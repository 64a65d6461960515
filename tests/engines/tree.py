"""The content of a machine: a Debian release with its container engines, and the programs and images under test.

mmdebstrap makes each tree once (scripts/fresh/debian.py). pyrunc is the unpacked tar of `make dist`: it needs only a C
library that is not older than the one it was built with.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.engines import images
from tests.engines.engine import BUSYBOX, NGINX, PAUSE
from tests.engines.machine import REPOSITORY, Machine

for _directory in ("fresh", "guest"):
    sys.path.insert(0, str(REPOSITORY / "scripts" / _directory))

import debian  # noqa: E402

# The packages' names in Debian. Recommended packages are not installed, so the list has everything that the engines
# need.
PACKAGES = (
    "busybox-static", "ca-certificates", "catatonit", "conmon", "containerd", "containernetworking-plugins", "crun",
    "docker.io", "fuse-overlayfs", "iproute2", "iptables", "netavark", "nftables", "nginx-light", "passt", "podman",
    "procps", "runc", "slirp4netns", "tini", "uidmap",
)  # fmt: skip

# What later releases have as a separate package.
MORE = {"bookworm": ("buildah",), "trixie": ("buildah", "docker-cli")}

# The results of the make target.
BUILD = REPOSITORY / "build"
PROGRAMS = BUILD / "engines/bin"

# Where pyrunc's tar is unpacked, and where engines find it.
UNPACKED = "/opt"
INSTALLED = "/usr/local/bin/pyrunc"


def tree(codename: str) -> Path:
    """The root of a Debian with engines, made now or earlier."""
    packages = sorted((*PACKAGES, *MORE[codename]))
    return Path(debian.image(codename, packages, kind="engines"))


def tar() -> Path:
    """pyrunc's tar. AssertionError if `make dist-tar` has not run."""
    found = sorted((BUILD / "dist").glob(f"pyrunc-*-{os.uname().machine}.tar.gz"), key=os.path.getmtime)
    assert found, "there is no build/dist/pyrunc-….tar.gz (make dist-tar)"
    return found[-1]


def furnish(machine: Machine) -> None:
    """Put pyrunc, the programs that were built for it, CRIU and the images into a machine."""
    subprocess.run(["tar", "-xzf", tar(), "-C", machine.path(UNPACKED)], check=True)
    directory = next(machine.path(UNPACKED).glob("pyrunc-*")).name
    machine.path(INSTALLED).symlink_to(f"{UNPACKED}/{directory}/bin/pyrunc")
    machine.python = f"{UNPACKED}/{directory}/lib/pyrunc/bin/python3"
    install(machine, PROGRAMS)
    if (BUILD / "criu/criu").exists():
        subprocess.run(["cp", "-a", BUILD / "criu", machine.path("/opt/criu")], check=True)
        machine.path("/usr/local/sbin/criu").symlink_to("/opt/criu/criu")
    make_images(machine)


def install(machine: Machine, directory: Path) -> None:
    """Put the programs of a directory into the first directory of the machine's PATH."""
    for program in sorted(path for path in directory.glob("*") if path.is_file()):
        subprocess.run(["cp", "-a", program, machine.path("/usr/local/bin")], check=True)


def stand_ins(machine: Machine) -> list[images.Image]:
    """The images: busybox, pause, nginx."""
    applets = machine.run("busybox", "--list").out.split()
    box = images.busybox(machine.tree, BUSYBOX, applets)
    nginx = dict(box.files) | programs(machine, "usr/sbin/nginx")
    nginx |= {"etc/nginx/nginx.conf": CONFIGURATION.encode(), "srv/index.html": b"served by nginx\n"}
    nginx["var/run@"] = b"../run"
    return [
        box,
        # Not `sleep`, for which critest looks among the processes of a pod.
        images.Image(PAUSE, box.files, ("tail", "-f", "/dev/null")),
        images.Image(NGINX, nginx, ("/usr/sbin/nginx", "-g", "daemon off;")),
    ]


def make_images(machine: Machine) -> None:
    """Write the archives of the images, to /var/tmp."""
    for image in stand_ins(machine):
        name = image.name.partition("/")[2].partition(":")[0]
        images.archive(image, machine.path(f"/var/tmp/{name}.tar"))


CONFIGURATION = """
error_log /dev/stderr notice;
pid /run/nginx.pid;
user root;
events {}
http {
    access_log /dev/stdout;
    client_body_temp_path /tmp/body; proxy_temp_path /tmp/proxy; fastcgi_temp_path /tmp/fastcgi;
    uwsgi_temp_path /tmp/uwsgi; scgi_temp_path /tmp/scgi;
    server { listen 80; root /srv; }
}
"""


def programs(machine: Machine, *paths: str) -> dict[str, Path]:
    """The machine's programs, with the libraries that they are linked with."""
    found = {path: machine.tree / path for path in paths}
    for path in paths:
        found |= libraries(machine, machine.tree / path)
    return found


def libraries(machine: Machine, program: Path) -> dict[str, Path]:
    """The machine's libraries that a program is linked with, by their paths in an image."""
    machine.path("/tmp/linked").write_bytes(program.read_bytes())
    found = {}
    for word in machine.run("ldd", "/tmp/linked").out.split():
        if word.startswith("/") and not word.endswith(":"):
            found[word.lstrip("/")] = resolve(machine.tree, word)
    return found


def resolve(tree: Path, name: str) -> Path:
    """The path of a file in a tree, after following the links in its path inside the tree."""
    path = tree / name.lstrip("/")
    for _ in range(20):
        for parent in (*reversed(path.relative_to(tree).parents[:-1]), path.relative_to(tree)):
            if (tree / parent).is_symlink():
                target = os.readlink(tree / parent)
                base = tree if target.startswith("/") else (tree / parent).parent
                path = base / target.lstrip("/") / path.relative_to(tree / parent)
                break
        else:
            return path
    raise OSError(f"{name} of {tree} is a link without end")
