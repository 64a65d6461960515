"""Moves network devices into a container's network namespace, and back if the container can't be made.

config-linux.md, "Network Devices": a device keeps its attributes and its permanent addresses of global scope, and is up
afterwards. The kernel takes addresses and the up state away when a device changes its namespace, so pyrunc sets them
again.
"""

from __future__ import annotations

import errno
import posix

from ... import log
from ...errors import PyruncError, prefixed
from .. import process, state
from ..kernel import native, netlink
from ..kernel.netlink import Address, Link, Socket, pack, text, unpack
from ..statedir import NETWORK_FILE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from ..statedir import StateDir

    # An address as JSON holds it: family, prefix length, attributes as hexadecimal by their number.
    Kept = list[Any]

# The flags that an IPv6 address gets again: linux/if_addr.h's IFA_F_NODAD, _MANAGETEMPADDR, _NOPREFIXROUTE,
# _MCAUTOJOIN.
_LASTING_FLAGS = 0x02 | 0x100 | 0x200 | 0x400

_LABEL_BYTES = 15  # IFNAMSIZ without the NUL


def move(namespace: int, name: str, new_name: str, record: Callable[..., None]) -> None:
    """Move the device `name` of the runtime's network namespace into another, rename it, and set it up.

    namespace: its descriptor. new_name: may have `%d`, which the kernel replaces by the first free number.
    record(effect, …) is called before the device is moved, with what `move_back` needs. Raises PyruncError, the device
    perhaps moved.
    """
    here = Socket()
    try:
        there = Socket(namespace)
        try:
            _move(here, there, namespace, name, new_name, record)
        except (PyruncError, OSError) as error:
            raise prefixed(f"move netDevice {name} to the container's network namespace", error) from error
        finally:
            there.close()
    finally:
        here.close()


def _move(here: Socket, there: Socket, namespace: int, name: str, new_name: str, record: Callable[..., None]) -> None:
    link = _named(here.links(), name)
    if link is None:
        # Wording of runc.
        raise PyruncError(f"link not found for interface {name} on runtime namespace", errno=errno.ENODEV)
    taken = there.links()
    if _named(taken, new_name) is not None:
        raise PyruncError(f"the container's network namespace has a device {new_name}", errno=errno.EEXIST)
    # Before the device goes down, which takes addresses of IPv6 away.
    addresses = [_keep(address) for address in here.addresses(link.index) if _lasts(address)]
    index = _free_index(taken, link.index)
    record(
        "net_device",
        name=name,
        newName=new_name,
        index=link.index,
        newIndex=index,
        up=bool(link.flags & netlink.IFF_UP),
        addresses=addresses,
    )
    _change_namespace(here, link.index, namespace, new_name, index)
    final = next((found.name for found in there.links() if found.index == index), new_name)
    _add_addresses(there, index, addresses, name, final)
    there.set_up(index)


def _named(links: Iterable[Link], name: str) -> Link | None:
    return next((link for link in links if link.name == name), None)


def _free_index(links: list[Link], wanted: int) -> int:
    """The index for a device that comes among these: its own, or one above all. It has to be known beforehand, because
    the kernel chooses the name if that has `%d`."""
    indexes = [link.index for link in links]
    return max(indexes) + 1 if wanted in indexes else wanted


def _change_namespace(socket: Socket, index: int, namespace: int, name: str, new_index: int) -> None:
    """Move and rename in one request, as the specification's check for the name demands."""
    socket.change_link(
        index,
        (
            (netlink.IFLA_NET_NS_FD, pack(namespace, 4)),
            (netlink.IFLA_IFNAME, text(name)),
            (netlink.IFLA_NEW_IFINDEX, pack(new_index, 4)),
        ),
    )


def _lasts(address: Address) -> bool:
    """Whether the device keeps this address (config-linux.md, "Network Devices")."""
    return bool(address.flags & netlink.IFA_F_PERMANENT) and address.scope == netlink.RT_SCOPE_UNIVERSE


def _keep(address: Address) -> Kept:
    """The address in a form that the ledger can hold."""
    parts = {str(kind): data.hex() for kind, data in address.attributes.items() if kind != netlink.IFA_CACHEINFO}
    return [address.family, address.prefix, parts]


def _add_addresses(socket: Socket, index: int, addresses: Iterable[Kept], name: str, new_name: str) -> None:
    for family, prefix, parts in addresses:
        found = []
        for key, digits in parts.items():
            kind, data = int(key), bytes.fromhex(digits)
            if kind == netlink.IFA_FLAGS:
                data = pack(unpack(data) & _LASTING_FLAGS, 4)
            elif kind == netlink.IFA_LABEL:
                data = _relabelled(data, text(name)[:-1], text(new_name)[:-1])
            found.append((kind, data))
        socket.add_address(index, family, prefix, found)


def _relabelled(label: bytes, name: bytes, new_name: bytes) -> bytes:
    """The label of an IPv4 address of a renamed device: it is the device's name, perhaps with a colon and more."""
    rest = label.rstrip(b"\0")[len(name) :]
    if not label.startswith(name) or rest[:1] not in (b"", b":"):
        return label
    return (new_name + rest)[:_LABEL_BYTES] + b"\0"


def move_back(entry: dict[str, Any], namespace: int) -> None:
    """Move a device back to the runtime's network namespace, with its name, index, addresses and up state.

    entry: as `move` recorded it. namespace: the container's. A device that is not there (any more) is no error. Raises
    PyruncError.
    """
    there = Socket(namespace)
    try:
        if all(link.index != entry["newIndex"] for link in there.links()):
            return
        here = Socket()
        try:
            _move_back(entry, here, there)
        except (PyruncError, OSError) as error:
            raise prefixed(f"moving netDevice {entry['name']} back", error) from error
        finally:
            here.close()
    finally:
        there.close()


def _move_back(entry: dict[str, Any], here: Socket, there: Socket) -> None:
    own = posix.open("/proc/self/ns/net", posix.O_RDONLY | posix.O_CLOEXEC)
    try:
        index = _free_index(here.links(), entry["index"])
        _change_namespace(there, entry["newIndex"], own, entry["name"], index)
    finally:
        posix.close(own)
    _add_addresses(here, index, entry["addresses"], entry["name"], entry["name"])
    if entry["up"]:
        here.set_up(index)


def namespace_path(entry: dict[str, Any]) -> str:
    """The path by which the namespace of a ledger's entry can be opened: that of the init, of a joined namespace, or of
    its pin; "" if none of them is left. Raises OSError."""
    if process.find(entry["pid"], entry["startTime"]) is not None:
        return f"/proc/{entry['pid']}/ns/net"
    if entry["path"]:
        return entry["path"] if state.exists(entry["path"]) else ""
    pin = entry.get("pin")
    return pin if type(pin) is str and is_pinned(pin) else ""


def pin(namespace: int, place: StateDir, record: Callable[..., None]) -> str:
    """Mount a network namespace on the file `netns` of the state directory, so that it outlives the init: a virtual
    device is destroyed with its namespace. Returns the file's path, "" if the runtime may not mount.

    record(effect, …) is called before anything is made. Raises OSError.
    """
    path = f"{place.path}/{NETWORK_FILE}"
    record("network_pin", path=path)
    flags = posix.O_WRONLY | posix.O_CREAT | posix.O_EXCL | posix.O_NOFOLLOW | posix.O_CLOEXEC
    try:
        posix.close(posix.open(NETWORK_FILE, flags, 0o600, dir_fd=place.fd))
    except OSError as error:
        error.filename = path
        raise
    try:
        tree = native.open_tree(namespace, "", native.OPEN_TREE_CLONE | native.AT_EMPTY_PATH)
    except PermissionError:
        posix.unlink(NETWORK_FILE, dir_fd=place.fd)
        return ""
    try:
        native.move_mount(tree, place.fd, NETWORK_FILE)
    finally:
        posix.close(tree)
    return path


def is_pinned(path: str) -> bool:
    """Whether a namespace is mounted at the path of a pin. Raises OSError."""
    try:
        fd = posix.open(path, posix.O_PATH | posix.O_NOFOLLOW | posix.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        return native.fs_magic(fd) == native.NSFS_MAGIC
    finally:
        posix.close(fd)


def unpin(path: str) -> None:
    """Remove the pin: the namespace then exists as long as the container. A missing pin is no error.

    Raises OSError.
    """
    if is_pinned(path):
        native.umount(path)
    try:
        posix.unlink(path)
    except FileNotFoundError:
        pass


def undo(entry: dict[str, Any]) -> None:
    """Undo an entry of the ledger, if the runtime that moved the device has ended.

    If the namespace is gone, the kernel has moved the device back, or has destroyed it if it is virtual. Raises
    PyruncError, OSError.
    """
    path = namespace_path(entry)
    if not path:
        return
    try:
        namespace = posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        move_back(entry, namespace)
    finally:
        posix.close(namespace)


def move_all_back(entries: Iterable[dict[str, Any]], namespace: int) -> None:
    """Move the devices of a failed launch back while the container's namespace still exists. Failures are logged."""
    for entry in entries:
        if entry["effect"] == "net_device":
            try:
                move_back(entry, namespace)
            except (PyruncError, OSError) as error:
                log.warning(prefixed("undoing net_device", error).line())
