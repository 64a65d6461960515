"""The commands checkpoint and restore. Cold."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .. import log, paths
from ..errors import PyruncError, prefixed
from ..libcontainer.criu import checkpoint as dumping
from ..libcontainer.criu import options as criu
from ..libcontainer.criu import restore as restoring
from ..libcontainer.criu.options import CriuOptions
from ..libcontainer.plan import host
from ..libcontainer.plan.options import LaunchOptions
from .lifecycle import enter_bundle

if TYPE_CHECKING:
    from .settings import Settings


def checkpoint(settings: Settings, id: str, **params: Any) -> int:
    """`checkpoint ID`: dump a container by CRIU, and delete it unless it should go on running."""
    options = criu_options(params)
    _warn_rootless(settings, "checkpoint")
    dumping.checkpoint(settings.root, id, options)
    return 0


def restore(settings: Settings, **params: Any) -> int:
    """`restore ID`: make a container from a checkpoint. Unless detached, the exit code is the process's."""
    options = criu_options(params)
    _warn_rootless(settings, "restore")
    console_socket, pid_file = (
        paths.absolute(params[name]) if params[name] else "" for name in ("console_socket", "pid_file")
    )
    launch = LaunchOptions(
        id=params["id"],
        root=settings.root,
        bundle=enter_bundle(params["bundle"]),
        detach=params["detach"],
        no_pivot=params["no_pivot"],
        no_subreaper=params["no_subreaper"],
        command="restore",
        cgroup_manager=settings.cgroup_manager,
        rootless=settings.rootless,
        console_socket=console_socket,
        pid_file=pid_file,
    )
    try:
        return restoring.restore(launch, options)
    except (PyruncError, OSError) as error:
        failure = prefixed(f"{settings.name} restore failed", error)
        if failure.document is None and failure.pointer:
            failure.document = ("config.json", f"{launch.bundle}/config.json")
        raise failure from error


def criu_options(params: dict[str, Any]) -> CriuOptions:
    """The checked options for CRIU, with absolute paths. Raises PyruncError."""
    criu.check_empty_ns(params["empty_ns"])
    images = paths.absolute(params["image_path"] or criu.DEFAULT_IMAGES)
    return CriuOptions(
        images=images,
        work=paths.absolute(params["work_path"]) if params["work_path"] else "",
        parent=criu.check_parent(images, params.get("parent_path", "")),
        leave_running=params.get("leave_running", False),
        tcp_established=params["tcp_established"],
        tcp_skip_in_flight=params.get("tcp_skip_in_flight", False),
        tcp_close=params.get("tcp_close", False),
        link_remap=params.get("link_remap", False),
        ext_unix_sk=params["ext_unix_sk"],
        shell_job=params["shell_job"],
        lazy_pages=params["lazy_pages"],
        status_fd=params.get("status_fd", -1),
        page_server=criu.parse_page_server(params.get("page_server", "")),
        file_locks=params["file_locks"],
        pre_dump=params.get("pre_dump", False),
        cgroup_mode=criu.check_cgroup_mode(params["manage_cgroups_mode"]),
        auto_dedup=params["auto_dedup"],
        network_lock=criu.check_network_lock(params.get("network_lock", "")),
        lsm_profile=params.get("lsm_profile", ""),
        lsm_mount_context=params.get("lsm_mount_context", ""),
    )


def _warn_rootless(settings: Settings, command: str) -> None:
    """Warn that CRIU needs the host's root; as with runc, let it try."""
    if os.geteuid() != 0 or host.gather().in_userns:
        log.warning(f"{settings.name} {command} is untested with rootless containers")


HANDLERS: dict[str, Callable[..., int]] = {"checkpoint": checkpoint, "restore": restore}
