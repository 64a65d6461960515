"""The containers whose calls a broker carries out: those with the annotation org.pyrunc.broker. On demand.

The annotation names one of the policies that the machine's administrator has written (brokers.CONFIG). The container is
created by a copy of its config.json, with the linux.seccomp that `pyrunc broker --print-profile` makes: containerd and
others read config.json too. docs/broker.md
"""

from __future__ import annotations

import posix

from .. import jsonio
from ..errors import PyruncError, prefixed
from ..libcontainer.kernel import fileio
from ..libcontainer.plan.host import BROKER
from .brokers import CONFIG, Brokers
from .pods import CONTAINER_TYPE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from .containers import Containers
    from .model import Container
    from .ttrpc import Answerable

# The name of the copy of config.json, in the bundle.
FILE = "config-broker.json"


def policy(bundle: str) -> str:
    """The policy that a bundle's config.json asks for; "" if it asks for none. Raises PyruncError."""
    path = f"{bundle}/config.json"
    try:
        config = jsonio.loads(fileio.read_file(path))
    except OSError as error:
        raise PyruncError(path, errno=error.errno or 0) from error
    except ValueError as error:
        raise PyruncError(f"{path}: {error}") from error
    annotations = config.get("annotations") if type(config) is dict else None
    if type(annotations) is not dict or BROKER not in annotations:
        return ""  # the name is part of another text
    if annotations.get(CONTAINER_TYPE) == "sandbox":
        return ""  # a pause image makes no such calls
    name = annotations[BROKER]
    if type(name) is not str or not name:
        raise PyruncError(f"the annotation {BROKER} names no policy")
    return name


def prepare(
    tasks: Containers,
    container: Container,
    call: Answerable,
    then: Callable[[str], None],
    failed: Callable[[PyruncError], None],
) -> None:
    """Start the broker for a container that asks for one, and write the container's configuration.

    Calls `then` with the path of the configuration by which the container is to be created, "" for config.json, or
    `failed`.
    """
    try:
        name = policy(container.bundle)
        if not name:
            then("")
            return
        if container.checkpoint:
            raise PyruncError(f"the annotation {BROKER}: a restored container can't have a broker asked")
    except PyruncError as error:
        failed(error)
        return
    _print(tasks, container, call, name, then, failed)


def _print(
    tasks: Containers,
    container: Container,
    call: Answerable,
    name: str,
    then: Callable[[str], None],
    failed: Callable[[PyruncError], None],
) -> None:
    """`prepare` for a container that asks for policy `name`."""
    asked = f"the annotation {BROKER} asks for policy {name}"
    path = f"{container.bundle}/{FILE}"

    def fail(failure: PyruncError) -> None:
        failed(prefixed(asked, failure))

    def printed(failure: PyruncError | None) -> None:
        if failure is not None:
            fail(failure)
            return
        assert container.broker is not None
        container.broker.ensure(started)

    def started(failure: PyruncError | None) -> None:
        if failure is not None:
            fail(failure)
        else:
            then(path)

    try:
        broker = container.broker = _brokers(tasks).assign(container.id)
        fd = posix.open(path, posix.O_WRONLY | posix.O_CREAT | posix.O_TRUNC | posix.O_CLOEXEC, 0o600)
    except (PyruncError, OSError) as error:
        fail(prefixed(path, error) if isinstance(error, OSError) else error)
        return
    words = ["--socket", broker.path, "--config", CONFIG, "--print-profile"]
    words += ["--base", f"{container.bundle}/config.json", f"--policy={name}"]
    try:
        tasks.launch(container, call, "broker", words, printed, (-1, fd, -1))
    finally:
        posix.close(fd)


def _brokers(tasks: Containers) -> Brokers:
    """The brokers of a shim."""
    if tasks.brokers is None:
        tasks.brokers = Brokers(tasks.loop, tasks.address)
    return tasks.brokers
