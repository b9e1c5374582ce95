"""
The servers that are measured, each as a process of its own on loopback: jobpush, and its peers on the same work.

The work: a GET of ``hold_path`` is held until ``fire``; then all that are held get the same answer, as long as jobpush's. Or
holds that differ: a GET of ``different_path``, each for a job (or channel) of its own, until ``fire_all``. What the peers need
is in `benchmarks/peers`; nchan and Jetty are Debian packages (benchmarks/install-peers.sh).
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from benchmarks.cpu import CpuTime, cpu_time
from benchmarks.load import CORES, ROOT, started_on

PEERS = Path(__file__).resolve().parent / "peers"

#: What a peer answers: as many bytes as jobpush's answer on one changed job.
BODY = json.dumps({"job": "x" * 1420}).encode()

#: Seconds in which a server has to start.
START_S = 30.0

#: The beginning of nchan's answer to a message that it has taken: 201 or 202.
_ACCEPTED = b"HTTP/1.1 20"


def free_port() -> int:
    """A port of loopback that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def resident_kb(pid: int) -> int:
    """Resident memory of a process."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") // 1024


def leave_the_servers_core() -> None:
    """Run this process, and the load that it starts, on the load generator's core from now on."""
    os.sched_setaffinity(0, CORES.load)


class Server(ABC):
    """
    A server that is measured.

    :param directory: an empty one, for what it needs.
    :ivar name: what it is called in tables, without two spelled alike.
    :ivar options: how it was configured, as the table says it.
    :ivar stream_path: how streams are asked for, if it has them.
    :ivar different: whether it can hold requests for different jobs or channels.
    """

    name: ClassVar[str]
    options: ClassVar[str]
    stream_path: ClassVar[str | None] = None
    different: ClassVar[bool] = False

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None

    @abstractmethod
    def command(self) -> list[str]:
        """What starts it in the foreground."""

    @abstractmethod
    def hold_path(self) -> str:
        """What is held until the next ``fire``."""

    @abstractmethod
    def fire(self) -> None:
        """Answer all that are held."""

    def different_path(self) -> str:
        """What is held until the next ``fire_all``; {} stands for the number of the job or channel, from 1 on."""
        raise NotImplementedError

    def fire_all(self, count: int) -> None:
        """Answer all that are held on the jobs or channels 1 to ``count``."""
        raise NotImplementedError

    @abstractmethod
    def version(self) -> str:
        """Which one it is."""

    def environment(self) -> dict[str, str]:
        """What it finds in its environment."""
        return dict(os.environ)

    def start(self) -> None:
        """Start it, on its own cores, and return when it answers."""
        command = self.command()
        with open(self.directory / "log", "wb") as log, started_on(CORES.server):
            self.process = subprocess.Popen(
                command, cwd=self.directory, env=self.environment(), stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        until = time.monotonic() + START_S
        while not self.answers():
            if self.process.poll() is not None or time.monotonic() > until:
                raise SystemExit(f"{self.name} does not start:\n{(self.directory / 'log').read_text(errors='replace')[-2000:]}")
            time.sleep(0.05)

    def answers(self) -> bool:
        """Return whether it takes requests."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1):
                return True
        except OSError:
            return False

    def pid(self) -> int:
        """The process that holds the connections."""
        assert self.process is not None
        return self.process.pid

    def rss_kb(self) -> int:
        """Its resident memory."""
        return resident_kb(self.pid())

    def cpu(self) -> CpuTime:
        """Its CPU time so far."""
        return cpu_time(self.pid())

    def quiet(self, share: float = 0.1, seconds: float = 60.0) -> None:
        """Returns when it has nothing left to do: it takes less than that share of a CPU for half a second."""
        until = time.monotonic() + seconds
        before = self.cpu().total
        while time.monotonic() < until:
            time.sleep(0.5)
            now = self.cpu().total
            if now - before < 0.5 * share:
                return
            before = now
        raise SystemExit(f"{self.name} is not quiet within {seconds:g} s")

    def post(self, path: str, body: bytes = b"") -> None:
        """A POST that is answered at once."""
        headers = {"Content-Type": "application/json"}
        request = Request(f"http://127.0.0.1:{self.port}{path}", data=body, headers=headers, method="POST")
        with urlopen(request, timeout=60) as answer:
            answer.read()

    def stop(self) -> None:
        """End it, and only it."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(15)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(15)


class JobpushServer(Server):
    """
    jobpush as a user starts it: journal on disk, access log in the service's log, jobs in a file.

    Another job is held on in each round; with ``fire_all`` all of them change.

    :ivar checkout: the directory whose jobpush is run.
    :ivar known_jobs: how many jobs there are. They have an id and a state, and nothing else.
    """

    name = "jobpush"
    options = "--state DIR"
    stream_path = "/v1/events?cluster=mock"
    different = True
    arguments: tuple[str, ...] = ()
    checkout: Path = ROOT
    known_jobs = 30

    def command(self) -> list[str]:
        self.jobs = self.directory / "jobs"
        self._round, self._flipped = 0, False
        self._write()
        return [
            sys.executable, "-c", "from twisted.scripts.twistd import run; run()", "--nodaemon", "--pidfile=",
            "jobpush", "--port", str(self.port), "--state", str(self.directory / "state"),
            "--queue", f"mock:file={self.jobs}:interval=3600", *self.arguments,
        ]  # fmt: skip

    def environment(self) -> dict[str, str]:
        path = [str(self.checkout / directory) for directory in (".", "adapters", "client")]
        return {**os.environ, "PYTHONPATH": os.pathsep.join(path)}

    def _write(self) -> None:
        states = ("SUSPENDED" if (n <= self._round) != self._flipped else "RUNNING" for n in range(1, self.known_jobs + 1))
        self.write_jobs({"id": str(n), "state": state} for n, state in enumerate(states, 1))

    def write_jobs(self, jobs: Iterable[Mapping[str, object]]) -> None:
        """Put these jobs into the file, in one step."""
        fresh = self.jobs.with_suffix(".new")
        fresh.write_text("".join(json.dumps(job) + "\n" for job in jobs))
        os.replace(fresh, self.jobs)

    def get(self, path: str) -> dict[str, Any]:
        """A JSON answer, whatever its status."""
        try:
            with urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=60) as answer:
                return json.load(answer)  # type: ignore[no-any-return]
        except HTTPError as error:
            return json.load(error)  # type: ignore[no-any-return]

    def answers(self) -> bool:
        try:
            return bool(self.get("/readyz")["status"] == "ready")
        except OSError:
            return False

    def held(self) -> int:
        """How many requests it holds."""
        return int(self.get("/readyz")["held"])

    def cursor(self) -> str:
        """Where a client begins that has seen all that happened so far."""
        return str(self.get("/v1/changes")["cursor"])

    def hold_path(self) -> str:
        return f"/v1/jobs/mock/{self._round + 1}?since={self.cursor()}&wait=600"

    def fire(self) -> None:
        self._round += 1
        self._write()
        self.nudge()

    def different_path(self) -> str:
        return f"/v1/jobs/mock/{{}}?since={self.cursor()}&wait=600"

    def fire_all(self, count: int) -> None:
        self._flipped = not self._flipped
        self._write()
        self.nudge()

    def nudge(self) -> None:
        """Have it look at the jobs now, as the scheduler's hooks do."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as hook:
            hook.sendto(b"{}", str(self.directory / "state" / "nudge"))

    def version(self) -> str:
        import klein

        import twisted
        from jobpush import __version__

        return f"jobpush {__version__} (Twisted {twisted.__version__}, Klein {klein.__version__})"


#: Rounds in which another job is held on each time.
MOST_ROUNDS = JobpushServer.known_jobs - 1


class LoggingServer(JobpushServer):
    """jobpush with its access log in a file."""

    name = "jobpush --access-log"
    options = "--state DIR --access-log FILE"
    arguments = ("--access-log", "access.log")


class ChannelsServer(JobpushServer):
    """jobpush with a whole HTTP channel for each held request."""

    name = "jobpush --keep-channels"
    options = "--state DIR --keep-channels"
    arguments = ("--keep-channels",)


class PythonPeer(Server):
    """An application of ours on a framework: benchmarks/peers/NAME_app.py."""

    options = "no access log"
    module: ClassVar[str]

    def command(self) -> list[str]:
        (self.directory / "body").write_bytes(BODY)
        return [sys.executable, str(PEERS / f"{self.module}_app.py"), str(self.port), str(self.directory / "body")]

    def hold_path(self) -> str:
        return "/wait"

    def fire(self) -> None:
        self.post("/fire")

    def version(self) -> str:
        from importlib.metadata import version

        return f"{self.module} {version(self.module)}"


class KleinPeer(PythonPeer):
    """A Klein route that returns a Deferred."""

    name, module = "plain Klein", "klein"


class AiohttpPeer(PythonPeer):
    """A coroutine that awaits a future."""

    name, module = "aiohttp", "aiohttp"


class TornadoPeer(PythonPeer):
    """A coroutine that awaits a future."""

    name, module = "Tornado", "tornado"


class NchanPeer(Server):
    """
    nginx with the module nchan, as its documentation has it: one worker, long polls; an access log as nginx has it by default.

    :ivar access_log: what follows ``access_log`` in the configuration.
    """

    name = "nchan"
    options = "access_log FILE combined"
    access_log: ClassVar[str] = "@DIR@/access.log combined"
    stream_path = "/events"
    different = True
    publish_path: ClassVar[str] = "/publish"

    def command(self) -> list[str]:
        if not shutil.which("nginx") or not Path("/usr/lib/nginx/modules/ngx_nchan_module.so").exists():
            raise SystemExit("nginx and libnginx-mod-nchan are missing: benchmarks/install-peers.sh installs them")
        template = (PEERS / "nchan.conf").read_text()
        config = self.directory / "nginx.conf"
        template = template.replace("@LOG@", self.access_log)
        config.write_text(template.replace("@PORT@", str(self.port)).replace("@DIR@", str(self.directory)))
        return ["nginx", "-c", str(config), "-e", str(self.directory / "error.log"), "-p", str(self.directory)]

    def answers(self) -> bool:
        """Once it has a worker: the master listens before that."""
        return bool(self._workers()) and super().answers()

    def pid(self) -> int:
        return self._workers()[0]

    def _workers(self) -> list[int]:
        assert self.process is not None
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return [int(pid) for pid in children.read_text().split()]

    def hold_path(self) -> str:
        return "/wait"

    def fire(self) -> None:
        self.post("/fire", BODY)

    def different_path(self) -> str:
        return "/wait-for?job={}"

    def fire_all(self, count: int) -> None:
        """Publish to each channel, over one connection, without waiting for the answers in between."""
        head = f" HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: {len(BODY)}\r\n\r\n".encode()
        path = self.publish_path.encode()
        requests = b"".join(b"POST %b?job=%d%b%b" % (path, number, head, BODY) for number in range(1, count + 1))
        with socket.create_connection(("127.0.0.1", self.port), timeout=60) as publisher:
            sender = threading.Thread(target=publisher.sendall, args=(requests,))
            sender.start()
            answers, tail = 0, b""
            while answers < count:
                data = publisher.recv(1 << 20)
                if not data:
                    raise SystemExit(f"{self.name}: only {answers} of {count} messages were accepted")
                answers += (tail + data).count(_ACCEPTED)
                tail = (tail + data)[-len(_ACCEPTED) + 1 :]
            sender.join()

    def version(self) -> str:
        said = subprocess.run(["nginx", "-v"], capture_output=True, text=True, check=True).stderr
        module = subprocess.run(
            ["dpkg-query", "-W", "-f", "${Version}", "libnginx-mod-nchan"], capture_output=True, text=True, check=False
        ).stdout
        found = re.search(r"nginx/(\S+)", said)
        return f"nchan {module} (nginx {found[1] if found else '?'})"


class BufferedNchanPeer(NchanPeer):
    """nchan with an access log that is written 64 kB at a time, as jobpush writes its own."""

    name = "nchan, buffered log"
    options = "access_log FILE combined buffer=64k flush=1s"
    access_log = "@DIR@/access.log combined buffer=64k flush=1s"


class SilentNchanPeer(NchanPeer):
    """nchan without an access log."""

    name = "nchan, no log"
    options = "access_log off"
    access_log = "off"


class JettyPeer(Server):
    """Jetty 9 with a servlet that does what the report of 2010 describes: a continuation for each held request, 100 threads."""

    name = "Jetty"
    options = "no access log"

    def command(self) -> list[str]:
        jars = ["server", "servlet", "http", "io", "util", "security", "continuation"]
        paths = [Path(f"/usr/share/java/jetty9-{jar}.jar") for jar in jars]
        api = next(iter(sorted(Path("/usr/share/java").glob("servlet-api-*.jar"))), Path("/usr/share/java/servlet-api.jar"))
        missing = [path.name for path in [*paths, api] if not path.exists()]
        if missing or not shutil.which("javac"):
            raise SystemExit(f"{', '.join(missing) or 'javac'} missing: benchmarks/install-peers.sh installs them")
        classpath = ":".join(map(str, [*paths, api]))
        subprocess.run(
            ["javac", "-nowarn", "-cp", classpath, "-d", str(self.directory), str(PEERS / "JobStatusServlet.java")], check=True
        )
        (self.directory / "body").write_bytes(BODY)
        body = str(self.directory / "body")
        return ["java", "-cp", f"{classpath}:{self.directory}", "JobStatusServlet", str(self.port), body]

    def hold_path(self) -> str:
        return "/wait"

    def fire(self) -> None:
        self.post("/fire")

    def version(self) -> str:
        package = subprocess.run(
            ["dpkg-query", "-W", "-f", "${Version}", "libjetty9-java"], capture_output=True, text=True, check=False
        ).stdout
        return f"Jetty {package}"


SERVERS: dict[str, type[Server]] = {
    "jobpush": JobpushServer,
    "jobpush-access-log": LoggingServer,
    "jobpush-keep-channels": ChannelsServer,
    "nchan": NchanPeer,
    "nchan-buffered-log": BufferedNchanPeer,
    "nchan-no-log": SilentNchanPeer,
    "jetty": JettyPeer,
    "klein": KleinPeer,
    "aiohttp": AiohttpPeer,
    "tornado": TornadoPeer,
}
