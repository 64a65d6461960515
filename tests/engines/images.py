"""Images for the engines, made of the machine's own programs: archives that each engine can load.

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

PASSWD = """root:x:0:0:root:/root:/bin/sh
www-data:x:33:33:www:/srv:/bin/sh
user:x:1000:1000:user:/home:/bin/sh
nobody:x:65534:65534:nobody:/:/bin/sh
"""
GROUP = "root:x:0:\nwww-data:x:33:\nuser:x:1000:\nextra:x:2000:user\npredefined:x:50000:user\n"


class Image(NamedTuple):
    """The content of an archive. files: path in the image to content, or to the path of a file of the machine; if the
    path ends with `@`, to the target of a link."""

    name: str
    files: Mapping[str, bytes | Path]
    command: Sequence[str]
    environment: Sequence[str] = ("PATH=/bin:/sbin:/usr/bin:/usr/sbin",)
    user: str = ""


def layer(image: Image) -> bytes:
    """The image's only layer, as a tar."""
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


def configuration(image: Image, digest: str) -> bytes:
    """The configuration of an image whose layer has this digest."""
    given = {"Cmd": list(image.command), "Env": list(image.environment), "WorkingDir": "/", "User": image.user}
    value = {
        "architecture": ARCHITECTURES[platform.machine()],
        "os": "linux",
        "config": given,
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
        "history": [{"created_by": "tests/engines"}],
    }
    return json.dumps(value).encode()


def archive(image: Image, target: Path) -> None:
    """Write the archive of an image."""
    data = layer(image)
    digest = hashlib.sha256(data).hexdigest()
    config = configuration(image, digest)
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


def publish(image: Image, directory: Path) -> None:
    """Put an image where the registry (REGISTRY) finds it: blobs by their digests, manifests by name and tag."""
    data = layer(image)
    digest = hashlib.sha256(data).hexdigest()
    config = configuration(image, digest)
    blobs = {f"sha256:{hashlib.sha256(blob).hexdigest()}": blob for blob in (data, config)}
    kind = "application/vnd.docker"
    descriptors = [{"digest": name, "size": len(blob)} for name, blob in blobs.items()]
    manifest = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": f"{kind}.distribution.manifest.v2+json",
            "config": {"mediaType": f"{kind}.container.image.v1+json", **descriptors[1]},
            "layers": [{"mediaType": f"{kind}.image.rootfs.diff.tar", **descriptors[0]}],
        }
    ).encode()
    blobs[f"sha256:{hashlib.sha256(manifest).hexdigest()}"] = manifest
    (directory / "blobs").mkdir(parents=True, exist_ok=True)
    for name, blob in blobs.items():
        (directory / "blobs" / name).write_bytes(blob)
    repository, _, tag = image.name.partition("/")[2].partition(":")
    (directory / "manifests" / repository).mkdir(parents=True, exist_ok=True)
    (directory / "manifests" / repository / (tag or "latest")).write_bytes(manifest)


# A read-only registry on the loopback of a machine: `python3 -c REGISTRY DIRECTORY`.
REGISTRY = """
import hashlib, http.server, os, sys

class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self, body):
        path = self.path.partition("?")[0].removeprefix("/v2/")
        name, found, what = path.rpartition("/manifests/")
        file = os.path.join(sys.argv[1], "manifests", name, what)
        if not found or what.startswith("sha256:"):
            file = os.path.join(sys.argv[1], "blobs", path.rpartition("/")[2])
        data, code = b"", 200 if path == "" else 404
        if os.path.isfile(file):
            code = 200
            with open(file, "rb") as source:
                data = source.read()
        self.send_response(code)
        self.send_header("Content-Length", str(len(data)))
        kind = "application/vnd.docker.distribution.manifest.v2+json" if found else "application/octet-stream"
        self.send_header("Content-Type", kind)
        self.send_header("Docker-Content-Digest", "sha256:" + hashlib.sha256(data).hexdigest())
        self.end_headers()
        if body:
            self.wfile.write(data)

    def do_GET(self):
        self.answer(True)

    def do_HEAD(self):
        self.answer(False)

http.server.ThreadingHTTPServer(("127.0.0.1", 5000), Handler).serve_forever()
"""
