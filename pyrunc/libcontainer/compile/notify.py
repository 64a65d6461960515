"""NOTIFY_SOCKET in the runtime's environment: the container gets its own socket on a read-only mount (sd_notify(3)).

The directory and its path in the container are those of runc.
"""

from __future__ import annotations

from ..._generated import steps
from .mount import Mount

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..._generated.spec_types import MountEntry
    from .context import Context

DIRECTORY = "/run/notify"
SOCKET = "notify.sock"
# It comes after the configuration's environment, so it takes precedence.
VARIABLE = f"NOTIFY_SOCKET={DIRECTORY}/{SOCKET}"


def relays(context: Context) -> bool:
    """Whether the container's notifications are relayed."""
    return bool(context.options.notify_socket) and context.has("mount") and not context.is_exec


def compile_notify(context: Context) -> None:
    """Make the socket's directory in the state directory, and for `run` the socket. After `create`, `start` makes
    it."""
    if relays(context):
        context.runtime_step(steps.notify_socket(path=source(context), host=context.options.notify_socket))
    elif context.options.notify_socket:
        context.warnings.append("NOTIFY_SOCKET is not relayed: the container has no mount namespace of its own")


def source(context: Context) -> str:
    """The directory on the host."""
    return context.options.state_dir + "/notify"


def mount(context: Context, index: int) -> Mount:
    """The mount of that directory, without a JSON pointer. index: its number, after the configuration's mounts."""
    entry: MountEntry = {
        "destination": DIRECTORY,
        "source": source(context),
        "options": ["bind", "ro", "nosuid", "nodev", "noexec"],
    }
    made = Mount(index, entry)
    made.pointer = ""
    return made
