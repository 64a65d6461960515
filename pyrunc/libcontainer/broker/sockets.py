"""connect(2) and bind(2) by an allowlist, for a thread of a container, with the broker's own copy of the address."""

from __future__ import annotations

import errno
import fcntl
import ipaddress
import os
import socket
import stat
from typing import TYPE_CHECKING

from ..kernel import brokering, native
from . import acting, addresses
from .acting import bits
from .addresses import Internet, Netlink, Unix, Unspecified
from .model import Refusal

if TYPE_CHECKING:
    from collections.abc import Callable

    from .addresses import Allowed
    from .caller import Caller
    from .containers import Container

    # The action on a path: it gets the directory of this process's descriptors, and the function that returns the path
    # of an open file from the container's root directory.
    Act = Callable[[int, Callable[[int], str]], None]

_FIRST_FREE_PORT = 1024
_ALL_4, _ALL_6 = ipaddress.IPv4Address("0.0.0.0"), ipaddress.IPv6Address("::")
_NET_BIND_SERVICE = bits("CAP_NET_BIND_SERVICE")


def _address(caller: Caller, pointer: int, size: int) -> bytes:
    """A copy of an address. size: the call's argument. Raises Refusal (EINVAL)."""
    if not 2 <= size <= addresses.MAX_ADDRESS:
        raise Refusal(errno.EINVAL, f"an address of {size} bytes")
    return caller.memory(pointer, size)


def connect(
    caller: Caller, container: Container, allowed: Allowed, number: int, pointer: int, size: int
) -> Callable[[], None] | None:
    """Connect the socket `number` of a thread: done if None is returned, otherwise a job that may take long.

    Raises Refusal (EACCES for an address that the policy does not have), OSError as the kernel's connect.
    """
    data = _address(caller, pointer, size)
    address = addresses.read(data)
    if isinstance(address, Internet):
        data = addresses.destined(data)
        target = addresses.read(data)
        if not isinstance(target, Internet) or not allowed.has_internet(target.address, target.port):
            raise Refusal(errno.EACCES, f"connect to {address}")
    elif isinstance(address, Unix):
        if address.abstract and not allowed.has_abstract(address.path):
            raise Refusal(errno.EACCES, f"connect to {address}")
        if not address.abstract:
            return _connect_path(caller, container, allowed, caller.descriptor(number), address.path)
    elif isinstance(address, Netlink):
        _check_netlink(allowed, address)
        # Only CAP_NET_ADMIN, which the broker has, may send to another process's socket (netlink_connect()).
        if address.port:
            raise Refusal(errno.EPERM, f"connect to {address}")
    fd = caller.descriptor(number)
    if isinstance(address, Unix):
        credentials = container.credentials(caller)

        def connect_abstract() -> None:
            acting.become(credentials, 0)
            brokering.connect(fd, data)

        return connect_abstract
    if _may_wait(fd):
        return lambda: brokering.connect(fd, data)
    brokering.connect(fd, data)
    return None


def _may_wait(fd: int) -> bool:
    """Whether a connect may take long: that of a stream socket that is not O_NONBLOCK."""
    if fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_NONBLOCK:
        return False
    # With all three numbers Python does not ask the kernel for them.
    found = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, 0, fileno=fd)
    try:
        return found.getsockopt(socket.SOL_SOCKET, socket.SO_TYPE) != socket.SOCK_DGRAM
    finally:
        found.detach()


def _connect_path(caller: Caller, container: Container, allowed: Allowed, fd: int, path: str) -> Callable[[], None]:
    """The job of connecting to a path: it is looked up once, and the socket that was found is the one that the policy
    is asked about and that is connected to."""
    if not path:
        raise Refusal(errno.ECONNREFUSED, "connect to an address without a name")

    def connect_path(descriptors: int, seen: Callable[[int], str]) -> None:
        found = acting.open_path(path, 0)
        name = seen(found)
        if not allowed.has_path(name):
            raise Refusal(errno.EACCES, f"connect to {name}")
        if not stat.S_ISSOCK(os.fstat(found).st_mode):
            raise Refusal(errno.ECONNREFUSED, f"connect to {name}, which is no socket")
        os.fchdir(descriptors)
        brokering.connect(fd, addresses.unix_bytes(str(found)))

    return _with_path(caller, container, path, connect_path)


def bind(
    caller: Caller, container: Container, allowed: Allowed, number: int, pointer: int, size: int
) -> Callable[[], None] | None:
    """Bind the socket `number` of a thread: done if None is returned, otherwise a job. Raises Refusal and OSError as
    `connect`."""
    data = _address(caller, pointer, size)
    address = addresses.read(data)
    fd = caller.descriptor(number)
    if isinstance(address, Unix):
        if not address.path or (address.abstract and not allowed.has_abstract(address.path)):
            raise Refusal(errno.EACCES, f"bind to {address.path or 'a name of the kernel'}")
        if not address.abstract:
            return _bind_path(caller, container, allowed, fd, address.path)
    elif isinstance(address, Netlink):
        _check_netlink(allowed, address)
    elif isinstance(address, Unspecified):
        raise Refusal(errno.EAFNOSUPPORT, "bind to AF_UNSPEC")
    else:
        if not allowed.has_internet(address.address, address.port):
            raise Refusal(errno.EACCES, f"bind to {address}")
        # Whatever IPV6_V6ONLY says now: another thread may change it until the socket is bound (ipv6(7)).
        if address.address == _ALL_6 and not allowed.has_internet(_ALL_4, address.port):
            raise Refusal(errno.EACCES, f"bind to {address}, which takes connections by IPv4 too")
        if 0 < address.port < _FIRST_FREE_PORT:
            container.require(caller, _NET_BIND_SERVICE, errno.EACCES)
    brokering.bind(fd, data)
    return None


def _bind_path(caller: Caller, container: Container, allowed: Allowed, fd: int, path: str) -> Callable[[], None]:
    """The job of binding a path: its directory is looked up once, and the socket is made in it by its name alone."""

    def bind_path(_: int, seen: Callable[[int], str]) -> None:
        parent, name = acting.open_parent(path)
        directory = seen(parent).rstrip("/")
        if not allowed.has_path(f"{directory}/{name}"):
            raise Refusal(errno.EACCES, f"bind to {directory}/{name}")
        os.fchdir(parent)
        brokering.bind(fd, addresses.unix_bytes(name))

    return _with_path(caller, container, path, bind_path)


def _with_path(caller: Caller, container: Container, path: str, act: Act) -> Callable[[], None]:
    """The job of a call with a path, for a worker that acts as the thread, in the thread's root directory."""
    where = container.place(caller, native.AT_FDCWD, path)
    credentials = container.credentials(caller)
    over_files = container.over_files(credentials)
    proc, root = container.proc, container.root

    def job() -> None:
        descriptors = acting.own_descriptors(proc)
        where.enter()
        acting.become(credentials, over_files)
        act(descriptors, lambda fd: acting.seen_from(root, descriptors, fd, over_files))

    return job


def _check_netlink(allowed: Allowed, address: Netlink) -> None:
    """Raises Refusal (EACCES): a netlink socket is allowed as a whole, but for multicast groups, which take
    capabilities that the broker has."""
    if not allowed.netlink or address.groups:
        raise Refusal(errno.EACCES, f"an address of {address}")
