"""process.terminal: the pty, made from the container's own devpts; its master is sent to the runtime."""

from __future__ import annotations

from ..._generated import steps
from ...errors import PyruncError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .context import Context


def check_console(context: Context) -> bool:
    """Whether the process has a terminal. Raises PyruncError in runc's words if the console socket contradicts it."""
    options = context.options
    terminal = bool(context.process.get("terminal"))
    detached = options.detach or options.command == "create"
    if terminal and detached and not options.console_socket:
        raise PyruncError(
            "cannot allocate tty if pyrunc will detach without setting console socket",
            pointer="/process/terminal",
            hint="pass --console-socket, or set terminal to false",
        )
    if options.console_socket and not (terminal and detached):
        raise PyruncError(
            "cannot use console socket if pyrunc will not detach or allocate tty",
            pointer="/process/terminal",
            hint="leave --console-socket out, or set terminal to true and detach",
        )
    return terminal


def compile_console(context: Context, mount: bool) -> None:
    """Add the steps that make the pty and send its master; none without a terminal.

    mount: bind its slave on /dev/console. Raises PyruncError as `check_console` does.
    """
    options = context.options
    if not check_console(context):
        return
    size = context.process.get("consoleSize") or {}
    context.init_step(
        steps.console(ptmx="/dev/pts/ptmx", width=size.get("width", 0), height=size.get("height", 0), mount=mount),
        pointer="/process/terminal",
    )
    context.init_step(steps.send_console(), pointer="/process/terminal")
    context.on_request(
        "send_console", steps.receive_console(relay=not options.console_socket), pointer="/process/terminal"
    )
