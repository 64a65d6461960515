"""The configuration of the broker: policies by name, strict. docs/broker.md has its members."""

from __future__ import annotations

import ipaddress
import os
from dataclasses import dataclass
from typing import Any

from ... import jsonio, paths
from ...errors import PyruncError, pointer
from ..compile.devices import DEFAULT_DEVICES
from ..kernel.constants import CAPABILITIES
from ..spec import load
from ..spec.nearest import nearest
from .addresses import Allowed, Network, ports

DEFAULT = "default"
# The devices that every container has, which are harmless.
DEVICES = {path.removeprefix("/dev/"): (major, minor) for path, major, minor in DEFAULT_DEVICES}
FILE_SYSTEMS = ("tmpfs", "proc", "overlay")
CALLS = ("mknod", "mount", "sysinfo", "connect", "bind")
# Calls that programs make all the time.
FREQUENT = frozenset("""
    read write open openat openat2 close stat fstat lstat newfstatat statx access faccessat faccessat2 lseek mmap munmap
    mprotect brk futex poll ppoll select pselect6 epoll_wait epoll_pwait epoll_ctl recvfrom recvmsg recvmmsg sendto
    sendmsg sendmmsg pread64 pwrite64 readv writev getdents64 readlink readlinkat ioctl fcntl getpid gettid getuid
    clock_gettime clock_nanosleep nanosleep sched_yield rt_sigaction rt_sigprocmask rt_sigreturn clone clone3 execve
    exit exit_group wait4 waitid dup dup2 dup3 pipe pipe2 socket accept accept4 madvise getrandom prctl set_robust_list
    rseq chown fchown lchown fchownat setxattr getxattr
""".split())  # fmt: skip
_FORM = '{"policies": {"default": {…}}}'
_SIZES = {"k": 1 << 10, "m": 1 << 20, "g": 1 << 30}


@dataclass(frozen=True)
class Mknod:
    """devices: the (major, minor) that may be made. capability: the bit that the process must have."""

    devices: tuple[tuple[int, int], ...]
    capability: int


@dataclass(frozen=True)
class Mount:
    """types: the file systems. targets: directories of the container on and below which they may be mounted.
    max_bytes: the largest `size` of a tmpfs, and its size without one. capability: as in Mknod."""

    types: tuple[str, ...]
    targets: tuple[str, ...]
    max_bytes: int
    capability: int


@dataclass(frozen=True)
class Policy:
    """What the broker carries out for a container. None, or sysinfo false: it refuses the call."""

    name: str
    mknod: Mknod | None = None
    mount: Mount | None = None
    sysinfo: bool = False
    connect: Allowed | None = None
    bind: Allowed | None = None
    calls_per_second: int = 20_000

    def calls(self) -> tuple[str, ...]:
        """The calls that it carries out, by the names of CALLS."""
        return tuple([name for name in CALLS if getattr(self, name)])


def read(path: str) -> dict[str, Policy]:
    """The policies of a file. Raises PyruncError with the place in it."""
    document = (path, paths.absolute(path))
    try:
        value = load.parse(os.getcwd(), document[1], "broker --config")
        if type(value) is not dict:
            raise PyruncError(f"{path}: {_shown(value)} is not an object", hint=_FORM)
        return policies(value)
    except PyruncError as error:
        error.document = error.document or document
        raise


def policies(value: Any) -> dict[str, Policy]:
    """The policies of a configuration. Raises PyruncError."""
    members = _members(value, "", ("policies",))
    found = _members(members.get("policies", {}), "/policies", None)
    if not found:
        raise PyruncError("the broker has no policy", pointer="/policies", hint=_FORM)
    return {name: _policy(name, each) for name, each in found.items()}


def _policy(name: str, value: Any) -> Policy:
    at = pointer("policies", name)
    if type(value) is dict:
        for call in value:
            _refuse_frequent(call, at + pointer(call))
    members = _members(value, at, (*CALLS, "callsPerSecond"))
    if not any([call in members for call in CALLS]):
        raise PyruncError(f"policy {name} carries out no call", pointer=at, hint=", ".join(CALLS) + " are known")
    return Policy(
        name,
        mknod=_mknod(members["mknod"], at + "/mknod") if "mknod" in members else None,
        mount=_mount(members["mount"], at + "/mount") if "mount" in members else None,
        sysinfo="sysinfo" in members and _members(members["sysinfo"], at + "/sysinfo", ()) == {},
        connect=_allowed(members["connect"], at + "/connect", "datagrams", "unixDatagrams")
        if "connect" in members
        else None,
        bind=_allowed(members["bind"], at + "/bind") if "bind" in members else None,
        calls_per_second=_whole(members, "callsPerSecond", at, 20_000, 1_000_000),
    )


def _refuse_frequent(call: str, at: str) -> None:
    if call in FREQUENT:
        raise PyruncError(
            f"{call} can't be brokered",
            pointer=at,
            hint="programs call it all the time, and each intercepted call takes more than 10 µs: allow it, or refuse "
            "it by the filter",
        )


def _mknod(value: Any, at: str) -> Mknod:
    members = _members(value, at, ("devices", "capability"))
    names = _words(members, "devices", at, tuple(DEVICES))
    for index, name in enumerate(names):
        if name not in DEVICES:
            raise PyruncError(
                f"{name} is no device that the broker makes",
                pointer=f"{at}/devices/{index}",
                hint=", ".join(DEVICES) + " are harmless: no others are made",
            )
    return Mknod(tuple([DEVICES[name] for name in names]), _capability(members, at, "CAP_MKNOD"))


def _mount(value: Any, at: str) -> Mount:
    members = _members(value, at, ("types", "targets", "maxSize", "capability"))
    types = _words(members, "types", at, None)
    for index, name in enumerate(types):
        if name not in FILE_SYSTEMS:
            hint = ", ".join(FILE_SYSTEMS) + " are known"
            raise PyruncError(f"the broker does not mount {name}", pointer=f"{at}/types/{index}", hint=hint)
    targets = _words(members, "targets", at, None)
    for index, target in enumerate(targets):
        if not target.startswith("/") or paths.clean(target) != target:
            raise PyruncError(f"{target} is no absolute, clean path", pointer=f"{at}/targets/{index}")
    return Mount(types, targets, _size(members, "maxSize", at), _capability(members, at, "CAP_SYS_ADMIN"))


def _allowed(value: Any, at: str, *others: str) -> Allowed:
    """The addresses of a call. others: members that only this call has."""
    members = _members(value, at, ("networks", "unix", "netlink", *others))
    networks = []
    for index, each in enumerate(_array(members, "networks", at)):
        networks.append(_network(each, f"{at}/networks/{index}"))
    unix = _words(members, "unix", at, ())
    for index, path in enumerate(unix):
        if not (path.startswith("@") or (path.startswith("/") and paths.clean(path) == path)):
            raise PyruncError(
                f"{path} is neither an absolute, clean path nor an abstract name",
                pointer=f"{at}/unix/{index}",
                hint="an abstract name begins with @",
            )
    flags = [_flag(members, name, at) for name in ("netlink", "datagrams", "unixDatagrams")]
    return Allowed(tuple(networks), unix, *flags)


def _flag(members: dict[str, Any], name: str, at: str) -> bool:
    value = members.get(name, False)
    if type(value) is not bool:
        raise _wrong(value, at + pointer(name), "true or false")
    return value


def _network(value: Any, at: str) -> Network:
    members = _members(value, at, ("cidr", "ports"))
    cidr = members.get("cidr")
    if type(cidr) is not str:
        raise _wrong(cidr, at + "/cidr", "a network, such as 10.0.0.0/8")
    try:
        network = ipaddress.ip_network(cidr)
    except ValueError as error:
        raise PyruncError(f"{cidr} is no network ({error})", pointer=at + "/cidr") from error
    if network.version == 6 and network.subnet_of(ipaddress.IPv6Network("::ffff:0:0/96")):
        raise PyruncError(f"{cidr} has IPv4 addresses", pointer=at + "/cidr", hint="write them as IPv4 addresses")
    found = []
    for index, each in enumerate(_array(members, "ports", at)):
        try:
            found.append(ports(str(each) if type(each) is int else each if type(each) is str else "?"))
        except ValueError as error:
            place = f"{at}/ports/{index}"
            raise PyruncError(f"{error}", pointer=place, hint='443 or "8000-8100"') from error
    if "ports" in members and not found:
        raise PyruncError("no port is listed", pointer=at + "/ports", hint="without the member, all ports are allowed")
    return Network(network, tuple(found))


def _capability(members: dict[str, Any], at: str, default: str) -> int:
    name = members.get("capability", default)
    if name not in CAPABILITIES:
        raise _wrong(name, at + "/capability", f"a capability, such as {default}")
    return 1 << CAPABILITIES.index(name)


def _members(value: Any, at: str, known: tuple[str, ...] | None) -> dict[str, Any]:
    """The members of an object. known: the names that it may have; None for all."""
    if type(value) is not dict:
        raise _wrong(value, at, "an object")
    for name in value if known is not None else ():
        if name not in (known or ()):
            meant = nearest(name, known or ())
            hint = f"{meant} is known" if meant else (", ".join(known or ()) or "nothing") + " is known here"
            raise PyruncError(f"unknown member {name}", pointer=at + pointer(name), hint=hint)
    return value


def _array(members: dict[str, Any], name: str, at: str) -> list[Any]:
    value = members.get(name, [])
    if type(value) is not list:
        raise _wrong(value, at + pointer(name), "an array")
    return value


def _words(members: dict[str, Any], name: str, at: str, default: tuple[str, ...] | None) -> tuple[str, ...]:
    """An array of strings. default: without the member; None if it must be there and not be empty."""
    if name not in members and default is not None:
        return default
    value = _array(members, name, at)
    for index, each in enumerate(value):
        if type(each) is not str or not each or "\0" in each:
            raise _wrong(each, f"{at}/{name}/{index}", "a string")
    if not value:
        raise PyruncError(f"{name} is missing or empty", pointer=at + pointer(name))
    return tuple(value)


def _whole(members: dict[str, Any], name: str, at: str, default: int, highest: int) -> int:
    value = members.get(name, default)
    if type(value) is not int or not 1 <= value <= highest:
        raise _wrong(value, at + pointer(name), f"a whole number from 1 to {highest}")
    return value


def _size(members: dict[str, Any], name: str, at: str) -> int:
    value = members.get(name, "64m")
    bytes = size(value) if type(value) is str else None
    if not bytes:
        raise _wrong(value, at + pointer(name), 'a size such as "64m"')
    return bytes


def size(text: str) -> int | None:
    """A size as tmpfs(5) writes it: bytes, or with k, m or g. None if it is none."""
    factor = _SIZES.get(text[-1:].lower())
    digits = text[:-1] if factor else text
    if not digits.isascii() or not digits.isdigit() or len(digits) > 18:
        return None
    return int(digits) * (factor or 1)


def _wrong(value: Any, at: str, wanted: str) -> PyruncError:
    return PyruncError(f"{_shown(value)} is not {wanted}", pointer=at)


def _shown(value: Any) -> str:
    """A value of JSON in a message."""
    if type(value) in (dict, list):
        return "an object" if type(value) is dict else "an array"
    return value if type(value) is str else jsonio.dumps(value)
