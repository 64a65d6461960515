"""A program that imitates `criu swrk 3` as a test scripts it, and the real CRIU if there is one.

`fake` writes the program into a directory for $PATH. A test scripts it by a list of actions, each a list of a word and
its arguments:

- `["recv"]`: receive a request and keep it beside the program, in requests.json
- `["send", MESSAGE]`: send a response of rpc.RESPONSE; `["send_fd", MESSAGE]` with a descriptor of /dev/null
- `["raw", HEX]`: send these bytes
- `["log", DIRECTORY, NAME, TEXT]`: write a log; `["stderr", TEXT]`: write to standard error
- `["exit", CODE]`, `["kill", SIGNAL]`, `["hang"]`
- `["note", NAME]`: write what the process sees of itself (fds, standard streams, environment) to NAME
"""

from __future__ import annotations

import array
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from pyrunc import protobuf
from pyrunc.libcontainer.criu import rpc

REPOSITORY = Path(__file__).resolve().parents[2]
VERSION = {"type": rpc.VERSION, "success": True, "version": {"major_number": 4, "minor_number": 2, "sublevel": 1}}


def fake(directory: Path, *scenarios: list[list[Any]]) -> Path:
    """Write the program. Its first call plays the first scenario, and so on; later calls repeat the last one."""
    directory.mkdir(exist_ok=True)
    (directory / "scenarios.json").write_text(json.dumps(scenarios))
    program = directory / "criu"
    program.write_text(f'#!/bin/sh\nPYTHONPATH={REPOSITORY} exec {sys.executable} {__file__} {directory} "$@"\n')
    program.chmod(0o755)
    return program


def requests(directory: Path) -> list[dict[str, Any]]:
    """The requests that the program has received so far."""
    path = directory / "requests.json"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def find() -> tuple[str, str]:
    """The directory of a real CRIU that works on this kernel, and the reason if there is none; one of the two is "".

    A CRIU that scripts/criu.sh has fetched comes first.
    """
    reason = "needs criu: scripts/criu.sh build/criu fetches it, as make test does"
    for directory in (str(REPOSITORY / "build/criu"), os.path.dirname(shutil.which("criu") or "")):
        if directory and os.access(f"{directory}/criu", os.X_OK):
            done = subprocess.run([f"{directory}/criu", "check"], capture_output=True, text=True, check=False)
            if done.returncode == 0:
                return directory, ""
            said = (done.stderr or done.stdout).strip().splitlines() or [f"it exits with {done.returncode}"]
            reason = f"{directory}/criu check fails here: {said[-1]}"
    return "", reason


def _next_scenario(directory: Path) -> list[list[Any]]:
    scenarios = json.loads((directory / "scenarios.json").read_text())
    counter = directory / "count"
    number = int(counter.read_text()) if counter.exists() else 0
    counter.write_text(str(number + 1))
    scenario: list[list[Any]] = scenarios[min(number, len(scenarios) - 1)]
    return scenario


def _main(directory: Path, words: list[str]) -> None:
    assert words == ["swrk", "3"], words
    peer = socket.socket(fileno=3)
    for word, *rest in _next_scenario(directory):
        if word == "recv":
            data = peer.recv(1 << 20)
            if not data:
                os._exit(0)
            with open(directory / "requests.json", "a") as file:
                file.write(json.dumps(protobuf.decode(rpc.REQUEST, data)) + "\n")
        elif word == "send":
            peer.send(protobuf.encode(rpc.RESPONSE, rest[0]))
        elif word == "send_fd":
            fds = array.array("i", [os.open("/dev/null", os.O_RDWR)] * (rest[1] if len(rest) > 1 else 1))
            peer.sendmsg(
                [protobuf.encode(rpc.RESPONSE, rest[0])], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, fds.tobytes())]
            )
        elif word == "raw":
            peer.send(bytes.fromhex(rest[0]))
        elif word == "log":
            Path(rest[0], rest[1]).write_text(rest[2])
        elif word == "stderr":
            os.write(2, rest[0].encode())
        elif word == "exit":
            os._exit(rest[0])
        elif word == "kill":
            os.kill(os.getpid(), getattr(signal, rest[0]))
        elif word == "hang":
            time.sleep(3600)
        elif word == "note":
            (directory / rest[0]).write_text(json.dumps(_seen()))
        else:
            raise ValueError(word)


def _seen() -> dict[str, Any]:
    fds = {}
    for fd in os.listdir("/proc/self/fd"):
        if fd != "3" and os.path.lexists(f"/proc/self/fd/{fd}"):  # not the descriptor of the listing itself
            fds[fd] = os.readlink(f"/proc/self/fd/{fd}")
    status = dict(line.split(":\t", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return {"fds": fds, "path": os.environ.get("PATH"), "ignored": status["SigIgn"], "blocked": status["SigBlk"]}


if __name__ == "__main__":
    _main(Path(sys.argv[1]), sys.argv[2:])
