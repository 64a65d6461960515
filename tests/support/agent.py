"""A seccomp agent: it takes listeners at a socket and answers the calls of containers' processes
(seccomp_unotify(2)).
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import select
import socket
import struct
import threading
from collections.abc import Callable
from typing import Any

from tests.support import host

# struct seccomp_notif: id, pid, flags, then struct seccomp_data: nr, arch, instruction_pointer, args[6]
NOTIFICATION = struct.Struct("=QII iIQ6Q")
# struct seccomp_notif_resp: id, val, error, flags
RESPONSE = struct.Struct("=QqiI")
# _IOWR('!', 0, struct seccomp_notif), _IOWR('!', 1, struct seccomp_notif_resp)
RECEIVE = 0xC0502100
SEND = 0xC0182101
CONTINUE = 1  # SECCOMP_USER_NOTIF_FLAG_CONTINUE

# An answer: the value to return, or a negative errno, or None to let the kernel make the call.
Answer = int | None


class Agent:
    """An agent at an address, whose threads answer every call by `answer(number, args)`.

    states: the container process states that came, as JSON values, each with everything that its connection brought
    before it was closed; fds: how many descriptors came with the first part of each; late_fds: how many came behind it,
    in all. calls: the numbers of the calls that processes asked about.
    """

    def __init__(self, address: str, answer: Callable[[int, tuple[int, ...]], Answer]) -> None:
        self.answer = answer
        self.states: list[dict[str, Any]] = []
        self.fds: list[int] = []
        self.late_fds = 0
        self.calls: list[int] = []
        self.failure = ""
        self._end, self._ended = os.pipe()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.bind(address)
        self._socket.listen()
        self._threads = [threading.Thread(target=self._serve)]
        self._threads[0].start()

    def close(self) -> None:
        """Stop the agent. Calls that wait for an answer, and later ones, fail with ENOSYS."""
        os.close(self._ended)
        for thread in self._threads:
            thread.join()
        os.close(self._end)
        self._socket.close()
        assert not self.failure, self.failure

    def first_state(self) -> dict[str, Any]:
        """The first state that came. The runtime may have sent it before the agent takes it."""
        host.wait_for("the first state", lambda: self.states)
        return self.states[0]

    def _readable(self, fd: int) -> bool:
        """Wait for `fd`; false if the agent has to stop."""
        return self._end not in select.select([fd, self._end], [], [])[0]

    def _serve(self) -> None:
        while self._readable(self._socket.fileno()):
            connection, _ = self._socket.accept()
            with connection:
                data, fds, _, _ = socket.recv_fds(connection, 1 << 16, 4)
                while True:
                    part, late, _, _ = socket.recv_fds(connection, 1 << 16, 4)
                    self.late_fds += len(late)
                    if not part:
                        break
                    data += part
            self.fds.append(len(fds))
            self.states.append(json.loads(data))
            thread = threading.Thread(target=self._listen, args=(fds[0],))
            self._threads.append(thread)
            thread.start()

    def _listen(self, listener: int) -> None:
        poll = select.poll()
        poll.register(listener, select.POLLIN)
        poll.register(self._end, select.POLLIN)
        try:
            while True:
                ready = dict(poll.poll())
                if self._end in ready or not ready[listener] & select.POLLIN:
                    return
                self._answer_one(listener)
        except Exception as error:
            self.failure = repr(error)
        finally:
            os.close(listener)

    def _answer_one(self, listener: int) -> None:
        buffer = bytearray(NOTIFICATION.size)
        try:
            fcntl.ioctl(listener, RECEIVE, buffer)
            id, _, _, number, _, _, *args = NOTIFICATION.unpack(buffer)
            self.calls.append(number)
            value = self.answer(number, tuple(args))
            answer = (
                RESPONSE.pack(id, 0, 0, CONTINUE)
                if value is None
                else RESPONSE.pack(id, max(value, 0), min(value, 0), 0)
            )
            fcntl.ioctl(listener, SEND, answer)
        except OSError as error:
            if error.errno != errno.ENOENT:  # the process that asked has ended
                raise
