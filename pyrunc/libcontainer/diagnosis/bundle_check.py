"""All problems of a bundle: its configuration, its rootfs, and what this host lacks for it. Cold."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import PyruncError, errno_text
from ..compile.launch import compile_launch
from ..launch.newidmap import fill_mappings
from ..plan import host
from ..plan.host import HostFacts
from ..plan.options import LaunchOptions
from ..spec.checks import check
from ..spec.explain import nearest, order, problems, unknown_properties
from ..spec.foreign import refuse_foreign
from ..spec.load import apply_annotations, complete, parse, without_nulls
from ..spec.problems import ERROR, Problem, shorten
from . import preflight
from .terminal import locate

if TYPE_CHECKING:
    from ..._generated.spec_types import Spec

# The controllers of cgroup v2 (Documentation/admin-guide/cgroup-v2.rst).
CONTROLLERS = ("cpuset", "cpu", "io", "memory", "hugetlb", "pids", "rdma", "misc")

_ROOTFS = "root.path is the directory with the container's files, absolute or relative to the bundle"


def validate_bundle(bundle: str, config: str = "config.json", host: bool = True) -> list[Problem]:
    """Every problem of a bundle: its config.json by schema and checks, unknown members, its rootfs on the disk.

    Without an error so far it is compiled for a host that lacks nothing, because some checks are in the compiler. Then,
    unless `host` is false, it is compiled for this host, and preflight.py checks the files and the kernel.

    If the file can't be read, or is no JSON, that is the only problem.
    """
    try:
        value = parse(bundle, config)
        found = problems(value)
        if found:
            refuse_foreign(value)
    except PyruncError as error:
        return [Problem(ERROR, "", error.reason(), hint=error.hint)]
    spec: Spec = value  # of any shape: the checks leave out what the schema refuses
    if type(value) is dict:
        refused = [problem.pointer for problem in found]
        if not refused:
            apply_annotations(spec)
        found += check(spec, refused, lint=True)
        found += unknown_properties(value)
        if host:
            found += on_disk(bundle, value)
        if not any(problem.severity == ERROR for problem in found):
            found += _not_compiled(bundle, value)
        if host and not any(problem.severity == ERROR for problem in found):
            found += on_host(bundle, value)
    return finished(value, found)


def finished(value: Any, found: list[Problem]) -> list[Problem]:
    """Problems in the order of the document, each with the word that was probably meant."""
    for problem in found:
        if problem.words and not problem.nearest:
            problem.nearest = nearest(problem.value, problem.words)
    return sorted(found, key=lambda problem: order(value, problem.pointer))


def _not_compiled(bundle: str, value: dict[str, Any]) -> Iterator[Problem]:
    """The errors of the compiler: for all mounts, and the first other one.

    A refused mount is replaced by a valid one, so the next ones keep their index.
    """
    spec: Spec = without_nulls(value)
    complete(spec)
    fill_mappings(spec, 0, 0)
    socket = "socket" if spec["process"].get("terminal") else ""
    options = LaunchOptions(id="validate", bundle=bundle, command="create", console_socket=socket)
    facts = HostFacts(cgroup_mount="/sys/fs/cgroup", cgroup_pure=True, controllers=CONTROLLERS)
    while True:
        try:
            compile_launch(spec, options, facts)
        except PyruncError as error:
            yield Problem(ERROR, error.pointer, error.message, hint=error.hint)
            parts = error.pointer.split("/")
            if parts[1:2] != ["mounts"]:
                return
            spec["mounts"][int(parts[2])] = {"destination": "/", "type": "tmpfs", "source": "tmpfs"}
        else:
            return


def on_host(bundle: str, value: dict[str, Any]) -> list[Problem]:
    """The problems of a valid configuration on this host: the compiler's first error, or else those of preflight.py."""
    spec: Spec = without_nulls(value)
    path = os.path.realpath(bundle)
    try:
        facts = host.gather(landlock=True)
    except PyruncError as error:
        return [Problem(ERROR, "", error.reason(), hint=error.hint)]
    complete(spec)
    fill_mappings(spec, facts.euid, facts.egid)
    if facts.euid and not any(entry["type"] == "user" for entry in spec.get("linux", {}).get("namespaces", ())):
        # The bundle is for root, but the caller is another user.
        facts.euid, facts.cgroup_writable = 0, True
    socket = "socket" if spec["process"].get("terminal") else ""
    options = LaunchOptions(id="validate", bundle=path, command="create", console_socket=socket)
    try:
        compile_launch(spec, options, facts)
    except PyruncError as error:
        locate(error)
        return [Problem(ERROR, error.pointer, error.reason(), hint=error.hint)]
    return preflight.problems(spec, path, facts)


def on_disk(bundle: str, value: Mapping[str, Any]) -> Iterator[Problem]:
    """The root file system: a directory must exist at root.path (config.md, Root)."""
    root = value.get("root")
    path = root.get("path") if type(root) is dict else None
    if type(path) is not str or not path or "\0" in path:
        return
    try:
        directory = stat.S_ISDIR(Path(bundle, path).stat().st_mode)
    except OSError as error:
        reason = errno_text(error.errno or 0)
        yield Problem(ERROR, "/root/path", f"invalid rootfs: stat {shorten(path)}: {reason}", hint=_ROOTFS)
    else:
        if not directory:
            yield Problem(ERROR, "/root/path", f"invalid rootfs: {shorten(path)} is not a directory", hint=_ROOTFS)
