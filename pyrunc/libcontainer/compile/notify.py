"""NOTIFY_SOCKET of the runtime's environment: a socket of the container's own, on a read-only mount (sd_notify(3)).

The directory and its place in the container are those of runc.
"""

from __future__ import annotations

from ..._generated import steps
from .mount import Mount

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .context import Context

DIRECTORY = "/run/notify"
SOCKET = "notify.sock"
# It stands behind the configuration's environment, so that it is the one that counts.
VARIABLE = f"NOTIFY_SOCKET={DIRECTORY}/{SOCKET}"


def relays(context: Context) -> bool:
    """Whether the container's notifications are relayed."""
    return bool(context.options.notify_socket) and context.has("mount") and not context.is_exec


def compile_notify(context: Context) -> None:
    """Make the socket's directory in the state directory, and with `run` the socket; `start` makes it otherwise."""
    if relays(context):
        context.runtime_step(steps.notify_socket(path=source(context), host=context.options.notify_socket))
    elif context.options.notify_socket:
        context.warnings.append("NOTIFY_SOCKET is not relayed: the container has no mount namespace of its own")


def source(context: Context) -> str:
    """The directory on the host."""
    return context.options.state_dir + "/notify"


def mount(context: Context, index: int) -> Mount:
    """The mount of that directory. index: its number behind the configuration's mounts; it has no JSON pointer."""
    entry = {
        "destination": DIRECTORY,
        "source": source(context),
        "options": ["bind", "ro", "nosuid", "nodev", "noexec"],
    }
    made = Mount(index, entry)
    made.pointer = ""
    return made
