"""What systemd does for a service, done by a test: it holds the listening sockets, starts the process, and hears of its state."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.service_process import TWISTD, ServiceProcess, twistd_environment, write_jobs
from tests.slurm_cluster import wait_until

#: Puts the descriptors that it is told of where sd_listen_fds(3) has them, and becomes the service.
BECOME = """
import fcntl, os, sys
count = int(sys.argv[1])
given = [fcntl.fcntl(int(text), fcntl.F_DUPFD, 100) for text in sys.argv[2:2 + count]]
for number, descriptor in enumerate(given):
    os.dup2(descriptor, 3 + number)
    os.close(descriptor)
if count:
    os.environ["LISTEN_PID"] = str(os.getpid())
if "WATCHDOG_USEC" in os.environ:
    os.environ["WATCHDOG_PID"] = str(os.getpid())
os.execv(sys.argv[2 + count], sys.argv[2 + count:])
"""


class NotifySocket:
    """
    Hears what a service tells its manager.

    :param address: as in ``NOTIFY_SOCKET``.
    :ivar told: each message, and when it came.
    """

    def __init__(self, address: str) -> None:
        self.address = address
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind("\0" + address[1:] if address.startswith("@") else address)
        self.socket.setblocking(False)
        self.told: list[tuple[float, dict[str, str]]] = []

    def read(self) -> list[dict[str, str]]:
        """All that was told so far."""
        while True:
            try:
                data = self.socket.recv(65536)
            except BlockingIOError:
                return [fields for _, fields in self.told]
            self.told.append((time.monotonic(), dict(line.split("=", 1) for line in data.decode().splitlines())))

    def wait(self, condition: Callable[[dict[str, str]], bool], count: int = 1, seconds: float = 20.0) -> dict[str, str]:
        """The last of so many messages of which that is so."""
        wait_until(lambda: sum(map(condition, self.read())) >= count, seconds, every=0.01)
        return [fields for fields in self.read() if condition(fields)][count - 1]

    def close(self) -> None:
        self.socket.close()


class ManagedProcess(ServiceProcess):
    """
    jobpush as a service manager starts it.

    :param sockets: that listen already, and stay open here.
    """

    def __init__(
        self,
        directory: Path,
        *arguments: str,
        sockets: Sequence[socket.socket] = (),
        notify: NotifySocket | None = None,
        environment: Mapping[str, str] | None = None,
        twistd_options: Sequence[str] = (),
    ) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        names = {"LISTEN_FDS": str(len(sockets)), "LISTEN_FDNAMES": ":".join(["jobpush.socket"] * len(sockets))} if sockets else {}
        told = {"NOTIFY_SOCKET": notify.address} if notify is not None else {}
        super().__init__(
            directory, *arguments, environment={**names, **told, **(environment or {})}, twistd_options=twistd_options
        )
        self.sockets = sockets
        self.notify = notify
        if sockets and sockets[0].family != socket.AF_UNIX:
            self.port = sockets[0].getsockname()[1]

    def start(self, seconds: float = 30.0) -> None:
        self.begin()
        wait_until(self._answers, seconds, every=0.02)

    def begin(self) -> None:
        """Start it; returns at once."""
        numbers = [str(each.fileno()) for each in self.sockets]
        port = [] if self.sockets else ["--port", str(self.port)]
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", BECOME, str(len(numbers)), *numbers, *TWISTD, "--nodaemon", "--pidfile=",
                 *self._twistd_options, "jobpush", *port, *self.arguments],
                cwd=self.directory, env=twistd_environment(self._environment), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                pass_fds=[each.fileno() for each in self.sockets],
            )  # fmt: skip


def listening(backlog: int = 4096) -> socket.socket:
    """A socket that listens on a free port of loopback."""
    return socket.create_server(("127.0.0.1", 0), backlog=backlog)


def unix_listening(path: Path) -> socket.socket:
    """A unix socket that listens."""
    made = socket.socket(socket.AF_UNIX)
    made.bind(os.fspath(path))
    made.listen(128)
    return made


def queue(directory: Path, name: str = "mock", **states: str) -> str:
    """A queue on a jobs file, as an argument of ``--queue``."""
    write_jobs(directory / name, "".join(json.dumps({"id": job[1:], "state": state}) + "\n" for job, state in states.items()))
    return f"mock:cluster={name}:file={directory / name}:interval=0.1"


class Waiting:
    """A request in a thread of its own."""

    def __init__(self, service: ServiceProcess, path: str) -> None:
        self.reply: Any = None
        self._thread = threading.Thread(target=self._ask, args=(service, path), daemon=True)
        held = service.get("/readyz").json["held"]
        self._thread.start()
        wait_until(lambda: service.get("/readyz").json["held"] > held, 10)

    def _ask(self, service: ServiceProcess, path: str) -> None:
        self.reply = service.get(path)

    def answer(self, seconds: float = 10.0) -> Any:
        self._thread.join(seconds)
        assert self.reply is not None, "no answer"
        return self.reply
