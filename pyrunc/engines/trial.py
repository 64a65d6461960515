"""`integrate --check`: start a container through an engine, and report the result.

The container has its own root file system, with the host's echo and its libraries, so that no image is pulled. What it
prints proves that it ran.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from ..errors import PyruncError, cut
from .lines import NAME

_SECONDS = 120
_PROGRAM = "/bin/echo"
_NODE = 2  # the host's namespace, in the CRI
_VERBS = ("run", "import", "info", "runp", "inspectp", "wait", "logs")  # subcommands of the clients, for errors


@dataclass(frozen=True)
class Trial:
    """The parameters of a check. program: pyrunc's path; systemd: whether systemd makes the cgroup; image: the image to
    start if the engine can't start a directory, "" for the one that is made; word: the container's output; id: the
    container's; rootfs: its root file system."""

    program: str
    systemd: bool
    image: str
    word: str
    id: str
    rootfs: Path


def check(engine: str, program: str, systemd: bool = False, image: str = "") -> str:
    """Start a container through an engine, and remove it. Returns the result in a line.

    Raises PyruncError if the engine is missing or did not start it; the message has the engine's last line.
    """
    # /var/tmp and /tmp may be private to a daemon's unit (PrivateTmp=), its own directory is not.
    with tempfile.TemporaryDirectory(prefix="pyrunc-check-", dir=os.environ.get("TMPDIR") or _reachable()) as folder:
        os.chmod(folder, 0o755)
        token = secrets.token_hex(6)
        trial = Trial(program, systemd, image, f"pyrunc-{token}", f"pyrunc-check-{token}", Path(folder, "rootfs"))
        trial.rootfs.mkdir()
        return _TRIALS[engine](trial)


def _reachable() -> str:
    return "/run" if os.geteuid() == 0 else os.environ.get("XDG_RUNTIME_DIR") or "/tmp"


def _containerd(trial: Trial) -> str:
    """By ctr, which names the runtime's binary itself. If there is crictl, check the CRI plugin's handler too."""
    _fill(trial.rootfs)
    words = ["ctr", "--namespace", NAME, "run", "--rm", "--rootfs", "--runc-binary", trial.program]
    words += ["--runc-systemd-cgroup"] if trial.systemd else []
    _expect(trial, _run([*words, str(trial.rootfs), trial.id, _PROGRAM, trial.word]))
    if shutil.which("crictl") is None:
        return "ctr started a container; without crictl it was not asked for the handler of its CRI plugin"
    return "ctr started a container; " + _cri_handler()


def _cri_handler() -> str:
    """Check whether the CRI plugin has read the handler. Raises PyruncError if not."""
    address = os.environ.get("CONTAINERD_ADDRESS", "/run/containerd/containerd.sock")
    try:
        info = json.loads(_run(["crictl", "--runtime-endpoint", f"unix://{address}", "info"]))
    except PyruncError as error:
        if "Unimplemented" in error.message:
            return "its CRI plugin is disabled"
        raise
    runtimes = info.get("config", {}).get("containerd", {}).get("runtimes", {})
    if NAME not in runtimes:
        hint = "systemctl restart containerd, after integrate containerd --write"
        raise PyruncError("ctr started a container, but the CRI plugin has no handler pyrunc", hint=hint)
    return "its CRI plugin has the handler pyrunc"


def _docker(trial: Trial) -> str:
    """By the name in daemon.json."""
    image = trial.image or f"{trial.id}:latest"
    if not trial.image:
        _run(["docker", "import", "-", image], _archive(trial.rootfs))
    try:
        words = ["docker", "run", "--rm", "--name", trial.id, "--runtime", NAME, "--network", "none", image]
        _expect(trial, _run([*words, _PROGRAM, trial.word]))
    finally:
        if not trial.image:
            _quietly(["docker", "rmi", "--force", image])
    return "docker started a container by the runtime pyrunc"


def _podman(trial: Trial) -> str:
    """By the name in containers.conf. Also check that Podman has the name in both lists."""
    _fill(trial.rootfs)
    words = ["podman", "--runtime", NAME, "run", "--rm", "--name", trial.id, "--network", "none"]
    start = ["--rootfs", str(trial.rootfs), _PROGRAM, trial.word]
    _expect(trial, _run([*words, *start]))
    _expect(trial, _run([*words, "--cgroups=disabled", *start]))
    return "podman started a container by the runtime pyrunc, and one without a cgroup"


def _crio(trial: Trial) -> str:
    """A pod's sandbox by the handler, in the host's network. CRI-O itself chooses the pod's image."""
    pod = {
        "metadata": {"name": trial.id, "uid": trial.id, "namespace": NAME, "attempt": 0},
        "linux": {"security_context": {"namespace_options": {"network": _NODE}}},
    }
    file = trial.rootfs / "pod.json"
    file.write_text(json.dumps(pod))
    crictl = ["crictl", "--runtime-endpoint", "unix:///run/crio/crio.sock"]
    id = _run([*crictl, "runp", "--runtime", NAME, str(file)]).strip()
    try:
        status = json.loads(_run([*crictl, "inspectp", id]))["status"]
    finally:
        _quietly([*crictl, "rmp", "--force", id])
    if status.get("state") != "SANDBOX_READY":
        raise PyruncError(f"the pod is in the state {status.get('state')}")
    return "CRI-O started a pod by the handler pyrunc"


def _kubernetes(trial: Trial) -> str:
    """A pod by the RuntimeClass."""
    image = trial.image or "busybox:stable"
    wish = json.dumps({"spec": {"runtimeClassName": NAME}})
    words = ["kubectl", "run", trial.id, f"--image={image}", "--restart=Never", f"--overrides={wish}"]
    try:
        _run([*words, "--command", "--", _PROGRAM.rpartition("/")[2], trial.word])
        _run(["kubectl", "wait", f"pod/{trial.id}", "--for=jsonpath={.status.phase}=Succeeded", "--timeout=100s"])
        _expect(trial, _run(["kubectl", "logs", trial.id]))
    finally:
        _quietly(["kubectl", "delete", "pod", trial.id, "--wait=false"])
    return f"Kubernetes ran a pod of {image} by the RuntimeClass pyrunc"


_TRIALS: dict[str, Callable[[Trial], str]] = {
    "containerd": _containerd, "docker": _docker, "podman": _podman, "crio": _crio, "kubernetes": _kubernetes,
}  # fmt: skip


def last_line(text: str) -> str:
    """The last line of a text that is not blank."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else ""


def _run(words: Sequence[str], stdin: bytes = b"") -> str:
    """Run a client of an engine to its end. Returns its output. Raises PyruncError with its last line if it failed."""
    verb = next((word for word in words if word in _VERBS), "")
    shown = f"{words[0]} {verb}".strip()
    try:
        done = subprocess.run(words, input=stdin, capture_output=True, check=False, timeout=_SECONDS)
    except FileNotFoundError as error:
        raise PyruncError(f"{words[0]} is not installed", hint="the check starts a container by it") from error
    except subprocess.TimeoutExpired as error:
        raise PyruncError(f"{shown}: no answer within {_SECONDS} s") from error
    if done.returncode:
        said = last_line(done.stderr.decode(errors="replace")) or last_line(done.stdout.decode(errors="replace"))
        raise PyruncError(f"{shown} exited with {done.returncode}: {said or 'it said nothing'}")
    return done.stdout.decode(errors="replace")


def _quietly(words: Sequence[str]) -> None:
    """Run a command that cleans up. Failures are ignored: the caller reports the result of the check."""
    subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=_SECONDS)


def _expect(trial: Trial, printed: str) -> None:
    if last_line(printed) != trial.word:
        raise PyruncError(f"the container printed {cut(repr(last_line(printed)))} and not {trial.word!r}")


def _needed() -> list[Path]:
    """The host's echo and the libraries that it is linked with (ldd(1))."""
    program = shutil.which("echo") or _PROGRAM
    printed = subprocess.run(["ldd", program], capture_output=True, text=True, check=False).stdout
    return [Path(program), *(Path(path) for path in re.findall(r"(/\S+) \(0x", printed))]


def _files() -> list[tuple[str, Path]]:
    """The files of the root file system: the path in it, and the host's file."""
    program, *libraries = _needed()
    return [(_PROGRAM, program), *((str(path), path) for path in libraries)]


def _fill(rootfs: Path) -> None:
    for name, path in _files():
        target = rootfs / name.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)


def _archive(rootfs: Path) -> bytes:
    """The root file system as a tar."""
    _fill(rootfs)
    target = BytesIO()
    with tarfile.open(fileobj=target, mode="w") as archive:
        archive.add(rootfs, arcname=".")
    return target.getvalue()
