"""systemd's manager: choose one, read its facts, start and stop a scope. Cold.

Facts: org.freedesktop.systemd1(5), systemd.scope(5). Messages are runc's if it has them.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from typing import Any

from jeepney import DBusAddress

from ... import log
from ...errors import PyruncError
from ..plan.host import HostFacts, SystemdFacts
from .bus import BUS, BusError, Connection, system_sockets, user_sockets

_NAME = "org.freedesktop.systemd1"
_PATH = "/org/freedesktop/systemd1"
_MANAGER = DBusAddress(_PATH, _NAME, "org.freedesktop.systemd1.Manager")
_PROPERTIES = DBusAddress(_PATH, _NAME, "org.freedesktop.DBus.Properties")

# The values of the signal for the end of a job: its number, the job, the unit, the result.
_JOB_REMOVED = ("JobRemoved", "uoss")

_SCOPE = "org.freedesktop.systemd1.Scope"
UNIT_EXISTS = "org.freedesktop.systemd1.UnitExists"
_NO_SUCH_UNIT = "org.freedesktop.systemd1.NoSuchUnit"
_DENIED = ("org.freedesktop.DBus.Error.AccessDenied", "org.freedesktop.DBus.Error.InteractiveAuthorizationRequired")
_ABSENT = ("org.freedesktop.DBus.Error.ServiceUnknown", "org.freedesktop.DBus.Error.NameHasNoOwner")

# How long systemd may take to remove a unit that it could not start, after it has been slow already.
_DISCARD_SECONDS = 5.0

# This directory exists only if systemd is the init of the host (sd_booted(3)).
_BOOTED = "/run/systemd/system"
_NO_BUS = (errno.ENOENT, errno.ECONNREFUSED, errno.ENOTDIR)


class StartFailed(Exception):
    """A scope was not started: `text` is the reason, `hint` may help."""

    def __init__(self, text: str, hint: str = "") -> None:
        super().__init__(text)
        self.text = text
        self.hint = hint


def gather(rootless: bool | None, facts: HostFacts) -> SystemdFacts:
    """The facts of the systemd that makes the cgroup, for the compiler.

    rootless: the value of `--rootless`. Raises PyruncError if systemd can't be reached.
    """
    with Manager(is_user(rootless, facts)) as manager:
        return SystemdFacts(
            user=manager.user,
            version=version(str(manager.get("Version"))),
            cgroup=str(manager.get("ControlGroup")).rstrip("/"),
        )


def is_user(rootless: bool | None, facts: HostFacts) -> bool:
    """Whether to use the user's systemd: for users other than root, and by `--rootless`.

    The root of a user namespace may have a systemd in that namespace, or use that of the user outside, who then owns
    the session's bus. Raises PyruncError.
    """
    if rootless is not None:
        return rootless
    if facts.euid != 0 or not facts.in_userns:
        return facts.euid != 0
    paths = user_sockets()
    if not paths:
        return False
    with _connect(paths, True) as connection:
        try:
            (owner,) = connection.call(BUS, "GetConnectionUnixUser", "s", (_NAME,), returns="u")
        except BusError as error:
            raise PyruncError(f"asking the bus whose systemd it has: {error.message}") from error
    return bool(owner != 0)


def version(text: str) -> int:
    """The number in systemd's Version, such as `252.30-1~deb12u2` or `v245`; 0 without one."""
    digits = ""
    for sign in text.removeprefix("v"):
        if not sign.isdigit():
            break
        digits += sign
    return int(digits or "0")


class Manager:
    """A connection to systemd's manager, the system's or, with `user`, the user's. A context manager."""

    def __init__(self, user: bool) -> None:
        """Raises PyruncError if it can't be reached."""
        self.user = user
        self._bus = _connect(user_sockets() if user else system_sockets(), user)

    def __enter__(self) -> Manager:
        return self

    def __exit__(self, *_: object) -> None:
        self._bus.close()

    def get(self, name: str) -> Any:
        """A property of the manager. Raises PyruncError."""
        try:
            ((_, value),) = self._bus.call(_PROPERTIES, "Get", "ss", (_MANAGER.interface, name), returns="v")
        except BusError as error:
            hint = ""
            if error.name in _ABSENT:
                hint = "the user has no systemd: loginctl enable-linger" if self.user else "no systemd is on this bus"
            raise PyruncError(f"asking systemd for its {name}: {error.message}", hint=hint) from error
        return value

    def start_scope(self, unit: str, properties: Sequence[tuple[str, tuple[str, Any]]]) -> None:
        """Start a transient scope and wait for it.

        properties: (name, (D-Bus signature, value)), in the order in which systemd reads them. A failed unit of this
        name, from another container, is reset. Raises StartFailed, and PyruncError without an answer. Then a unit that
        systemd has accepted is removed. If systemd has not answered, it may still make the unit, but such a scope ends
        with its process.
        """
        self._bus.listen(_MANAGER, *_JOB_REMOVED)
        try:
            self._call("Subscribe")
            job = self._start(unit, list(properties))
        except BusError as error:
            raise self._refused(error) from error
        try:
            result = self._result(job)
        except BaseException:
            self._discard(unit)
            raise
        if result != "done":
            self._discard(unit)
            raise StartFailed(f"got `{result}`", f"journalctl {'--user ' if self.user else ''}-u {unit} may say why")

    def _start(self, unit: str, properties: list[tuple[str, tuple[str, Any]]]) -> str:
        for again in (False, True):
            try:
                (job,) = self._call(
                    "StartTransientUnit", "ssa(sv)a(sa(sv))", unit, "replace", properties, [], returns="o"
                )
                return str(job)
            except BusError as error:
                if error.name != UNIT_EXISTS or again:
                    raise
            # A failed unit stays until it is reset. Resetting a live one has no effect.
            self.reset(unit)
        raise AssertionError("the second attempt has returned or raised")

    def _refused(self, error: BusError) -> StartFailed:
        if error.name == UNIT_EXISTS:
            return StartFailed(error.message, "another container has this cgroupsPath, or systemctl stop it")
        if error.name in _DENIED:
            hint = "only root may start units of the system's systemd; without root it is the user's: --rootless true"
            return StartFailed(error.message, "the user's systemd does not permit it" if self.user else hint)
        return StartFailed(error.message)

    def attach(self, unit: str, subcgroup: str, pid: int) -> None:
        """Move a process into a unit's cgroup, or with `subcgroup` (absolute, from there) into one below.

        Raises PyruncError.
        """
        try:
            self._call("AttachProcessesToUnit", "ssau", unit, subcgroup, [pid])
        except BusError as error:
            raise PyruncError(f'unable to move the process into unit "{unit}": {error.message}') from error

    def unit_property(self, unit: str, name: str) -> tuple[str, Any]:
        """The D-Bus signature and the value of a property of a scope. Raises PyruncError."""
        try:
            (path,) = self._call("GetUnit", "s", unit, returns="o")
            address = DBusAddress(str(path), _NAME, _PROPERTIES.interface)
            ((signature, value),) = self._bus.call(address, "Get", "ss", (_SCOPE, name), returns="v")
        except BusError as error:
            raise PyruncError(f'asking systemd for {name} of unit "{unit}": {error.message}') from error
        return str(signature), value

    def set_unit_properties(self, unit: str, properties: Sequence[tuple[str, tuple[str, Any]]]) -> None:
        """Change properties of a unit until it ends; properties as for `start_scope`. Raises PyruncError."""
        try:
            self._call("SetUnitProperties", "sba(sv)", unit, True, list(properties))
        except BusError as error:
            raise PyruncError(f'unable to set unit properties of "{unit}": {error.message}') from error

    def stop(self, unit: str) -> None:
        """Stop a unit, wait for that, and reset it. A missing unit is no error.

        Raises PyruncError if systemd refuses, or does not answer.
        """
        self._bus.listen(_MANAGER, *_JOB_REMOVED)
        try:
            self._call("Subscribe")
            (job,) = self._call("StopUnit", "ss", unit, "replace", returns="o")
            result = self._result(job)
            if result != "done":
                log.warning(f"error removing unit `{unit}`: got `{result}`")
        except BusError as error:
            if error.name != _NO_SUCH_UNIT:
                raise PyruncError(f'unable to stop unit "{unit}": {error.message}') from error
        self.reset(unit)

    def reset(self, unit: str) -> None:
        """Reset a failed unit; a missing one is no error. Raises PyruncError without an answer."""
        try:
            self._call("ResetFailedUnit", "s", unit)
        except BusError as error:
            log.debug(f"resetting unit {unit}: {error.message}")

    def _result(self, job: str) -> str:
        """The result of a job: `done`, or another result of JobRemoved."""
        values = self._bus.wait("JobRemoved", lambda values: bool(values[1] == job))
        return str(values[3])

    def _discard(self, unit: str) -> None:
        """Stop the rest of a failed start. The caller reports the failure."""
        for method, signature, body in (("StopUnit", "ss", (unit, "replace")), ("ResetFailedUnit", "s", (unit,))):
            try:
                self._bus.call(_MANAGER, method, signature, body, _DISCARD_SECONDS)
            except (BusError, PyruncError) as error:
                log.debug(f"{method} {unit}: {error}")

    def _call(self, method: str, signature: str = "", *body: Any, returns: str | None = None) -> tuple[Any, ...]:
        return self._bus.call(_MANAGER, method, signature, body, returns=returns)


def _connect(paths: list[str], user: bool) -> Connection:
    """A connection to the first socket with a listener. Raises PyruncError."""
    if not paths:
        raise PyruncError(
            "failed to connect to dbus: neither DBUS_SESSION_BUS_ADDRESS nor XDG_RUNTIME_DIR names the user's bus",
            hint="install dbus-user-session and log in again, or loginctl enable-linger",
        )
    failure: OSError | None = None
    for path in paths:
        try:
            return Connection(path)
        except OSError as error:
            failure = failure or error
        except BusError as error:
            raise PyruncError(f"failed to connect to dbus at {path}: {error.message}") from error
    assert failure is not None
    if not user and failure.errno in _NO_BUS and not os.path.isdir(_BOOTED):
        raise PyruncError(
            "systemd not running on this host, cannot use systemd cgroups manager",
            hint="leave --systemd-cgroup out, or use --cgroup-manager cgroupfs",
        ) from failure
    raise PyruncError(
        f"failed to connect to dbus at {paths[0].replace(chr(0), '@')}",
        errno=failure.errno or 0,
        hint="systemctl start dbus.socket" if not user else "systemctl --user start dbus.socket",
    ) from failure
