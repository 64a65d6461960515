"""Images for the engines, made of the machine's own programs: archives that each of them can load.

An archive has the form of `docker save`, which `ctr image import` and `podman load` know too: manifest.json names a
configuration and layers, which are tar files.
"""

from __future__ import annotations

import hashlib
import io
import json
import platform
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}

PASSWD = "root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000:user:/home:/bin/sh\n"
GROUP = "root:x:0:\nuser:x:1000:\nextra:x:2000:user\n"


class Image(NamedTuple):
    """What an archive is made of. files: path in the image to content, or to the path of a file of the machine; a
    target of a link where the path ends with `@`."""

    name: str
    files: Mapping[str, bytes | Path]
    command: Sequence[str]
    environment: Sequence[str] = ("PATH=/bin:/sbin",)


def layer(image: Image) -> bytes:
    """The one layer, as a tar."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        directories = {str(parent) for path in image.files for parent in Path(path).parents} - {"."}
        for name in sorted(directories | {"dev", "proc", "sys", "tmp", "etc", "run", "var", "root", "home", "mnt"}):
            entry = tarfile.TarInfo(name)
            entry.type = tarfile.DIRTYPE
            entry.mode = 0o1777 if name == "tmp" else 0o755
            tar.addfile(entry)
        for name, content in image.files.items():
            entry = tarfile.TarInfo(name.removesuffix("@"))
            if name.endswith("@"):
                assert isinstance(content, bytes)
                entry.type, entry.linkname = tarfile.SYMTYPE, content.decode()
                tar.addfile(entry)
                continue
            data = content if isinstance(content, bytes) else content.read_bytes()
            entry.size = len(data)
            entry.mode = 0o644 if isinstance(content, bytes) else content.stat().st_mode & 0o7777
            tar.addfile(entry, io.BytesIO(data))
    return buffer.getvalue()


def archive(image: Image, target: Path) -> None:
    """Write the archive of an image."""
    data = layer(image)
    digest = hashlib.sha256(data).hexdigest()
    config = json.dumps(
        {
            "architecture": ARCHITECTURES[platform.machine()],
            "os": "linux",
            "config": {"Cmd": list(image.command), "Env": list(image.environment), "WorkingDir": "/"},
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
            "history": [{"created_by": "tests/engines"}],
        }
    ).encode()
    name = hashlib.sha256(config).hexdigest() + ".json"
    manifest = json.dumps([{"Config": name, "RepoTags": [image.name], "Layers": [f"{digest}/layer.tar"]}]).encode()
    with tarfile.open(target, "w") as tar:
        for path, content in ((name, config), (f"{digest}/layer.tar", data), ("manifest.json", manifest)):
            entry = tarfile.TarInfo(path)
            entry.size = len(content)
            entry.mode = 0o644
            tar.addfile(entry, io.BytesIO(content))


def busybox(tree: Path, name: str, applets: Sequence[str]) -> Image:
    """An image with busybox under all its names, users and a home; `sleep` by itself ends at no signal but SIGKILL."""
    files: dict[str, bytes | Path] = {"bin/busybox": tree / "bin/busybox"}
    files |= {f"bin/{applet}@": b"busybox" for applet in applets if applet != "busybox"}
    files |= {"etc/passwd": PASSWD.encode(), "etc/group": GROUP.encode()}
    return Image(name, files, ("sh",))
