"""The command-line options of a checkpoint or a restore for CRIU."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

from ...errors import PyruncError
from . import rpc

CLONE_NEWNET = 0x40000000
DEFAULT_IMAGES = "checkpoint"


@dataclass
class CriuOptions:
    """The options of `checkpoint` and `restore` for CRIU, as runc names them.

    images, work: absolute paths of directories; work is "" if CRIU's log goes beside the images.
    parent: the directory of an earlier dump, relative to `images`; "" for none.
    page_server: address and port; None for none. status_fd: -1 for none.
    cgroup_mode: one of rpc.CGROUP_MODES. network_lock: one of rpc.NETWORK_LOCKS; "" for what this host has.
    """

    images: str
    work: str = ""
    parent: str = ""
    leave_running: bool = False
    tcp_established: bool = False
    tcp_skip_in_flight: bool = False
    tcp_close: bool = False
    link_remap: bool = False
    ext_unix_sk: bool = False
    shell_job: bool = False
    lazy_pages: bool = False
    status_fd: int = -1
    page_server: tuple[str, int] | None = None
    file_locks: bool = False
    pre_dump: bool = False
    cgroup_mode: str = ""
    auto_dedup: bool = False
    network_lock: str = ""
    lsm_profile: str = ""
    lsm_mount_context: str = ""

    @property
    def log_directory(self) -> str:
        """The directory of CRIU's log."""
        return self.work or self.images

    @property
    def empty_ns(self) -> int:
        """The namespaces that CRIU makes but leaves empty: always the network namespace, with --empty-ns or without,
        because the runtime does not manage network devices, like runc."""
        return CLONE_NEWNET


def parse_page_server(text: str) -> tuple[str, int] | None:
    """ADDRESS:PORT, an IPv6 address in brackets; None for "". Raises PyruncError in runc's words."""
    if not text:
        return None
    address, colon, port = text.rpartition(":")
    if address.startswith("[") and address.endswith("]"):
        address = address[1:-1]
    elif ":" in address:
        address = ""
    if not (address and colon and port):
        raise PyruncError("Use --page-server ADDRESS:PORT to specify page server")
    if not (port.isascii() and port.isdigit()) or not 0 < int(port[:9]) < 1 << 16:
        raise PyruncError("Invalid port number", hint=f"--page-server {text}")
    return address, int(port)


def check_cgroup_mode(text: str) -> str:
    """Check a mode of --manage-cgroups-mode. Raises PyruncError in runc's words."""
    if text not in rpc.CGROUP_MODES:
        raise PyruncError("invalid manage-cgroups-mode value", hint="soft, full, strict and ignore are known")
    return text


def check_network_lock(text: str) -> str:
    """Check a method of --network-lock, or "". Raises PyruncError."""
    if text and text not in rpc.NETWORK_LOCKS:
        raise PyruncError("invalid network-lock value", hint="iptables, nftables and skip are known")
    return text


def check_empty_ns(names: Sequence[str]) -> None:
    """Raise PyruncError in runc's words for a namespace that can't be left empty."""
    for name in names:
        if name != "network":
            raise PyruncError(f'namespace "{name}" is not supported', hint="--empty-ns network is")


def check_parent(images: str, parent: str) -> str:
    """--parent-path, relative to the images, if the directory exists. Raises PyruncError in runc's words."""
    if not parent:
        return ""
    if parent.startswith("/"):
        raise PyruncError("--parent-path must be relative", hint="it counts from --image-path")
    # Resolved like CRIU's link `parent` in the images, though their directory may not exist yet.
    path = os.path.realpath(os.path.join(images, parent))
    try:
        os.close(os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))
    except OSError as error:
        raise PyruncError("invalid --parent-path", errno=error.errno or 0, hint=path) from error
    return parent
