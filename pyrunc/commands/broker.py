"""The command broker. Cold."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .. import output, paths
from ..errors import PyruncError
from ..libcontainer.broker import config as configuration
from ..libcontainer.broker import profile
from ..libcontainer.broker.server import Server
from ..libcontainer.plan import host
from ..libcontainer.spec import load as specification
from .seccomp import read_profile

if TYPE_CHECKING:
    from .settings import Settings

STDOUT = 1


def broker(
    settings: Settings,
    socket: str,
    config: str,
    print_profile: bool,
    base: str,
    no_flags: bool,
    policy: str,
    parent: int,
) -> int:
    """`broker --socket PATH --config FILE`: serve until SIGTERM or SIGINT; or print a profile. Raises PyruncError."""
    if not socket or not config:
        missing = "--socket" if not socket else "--config"
        raise PyruncError(f"{missing} is missing", hint="pyrunc broker --socket PATH --config FILE")
    policies = configuration.read(config)
    path = paths.absolute(socket)
    if parent < 0 or (parent and print_profile):
        text = "--parent has no effect with --print-profile" if print_profile else f"--parent is a pid, not {parent}"
        raise PyruncError(text, origin="--parent")
    if print_profile:
        return _print(_policy(policies, policy or "default"), path, base, not no_flags)
    for name, value in (("--base", base), ("--no-flags", no_flags), ("--policy", policy)):
        if value:
            raise PyruncError(f"{name} has no effect without --print-profile", origin=name)
    if os.geteuid() != 0:
        raise PyruncError("the broker runs as root", hint="it acts for containers with rights that they don't have")
    with Server(path, policies, host.gather_limits().cgroup_mount) as server:
        server.serve(parent)
    return 0


def _policy(policies: dict[str, configuration.Policy], name: str) -> configuration.Policy:
    if name not in policies:
        raise PyruncError(f"there is no policy {name}", hint="there are " + ", ".join(policies), origin="--policy")
    return policies[name]


def _print(policy: configuration.Policy, listener: str, base: str, flags: bool) -> int:
    whole: Any = specification.parse(os.getcwd(), paths.absolute(base), "--base") if base else None
    is_config = type(whole) is dict and "ociVersion" in whole
    linux = whole.setdefault("linux", {}) if is_config else {}
    has_profile = bool(linux.get("seccomp")) if is_config else bool(base)
    made: Any = profile.make(policy, listener, read_profile(base, "--base") if has_profile else None, flags)
    if is_config:
        linux["seccomp"] = made
        made = whole
    output.write(STDOUT, output.indented(made) + "\n")
    return 0


HANDLERS: dict[str, Callable[..., int]] = {"broker": broker}
