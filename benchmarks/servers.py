"""
The servers that are measured, each as a process of its own on loopback: jobpush, and its peers on the same work.

The work: a GET of ``hold_path`` is held until ``fire``; then all that are held get the same answer, as long as jobpush's. What
the peers need is in `benchmarks/peers`; nchan and Jetty are Debian packages (benchmarks/install-peers.sh).
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
import time
from abc import ABC, abstractmethod
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

ROOT = Path(__file__).resolve().parent.parent
PEERS = Path(__file__).resolve().parent / "peers"

#: What a peer answers: as many bytes as jobpush's answer on one changed job.
BODY = json.dumps({"job": "x" * 1420}).encode()

#: Seconds in which a server has to start.
START_S = 30.0


def free_port() -> int:
    """A port of loopback that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def resident_kb(pid: int) -> int:
    """Resident memory of a process."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") // 1024


def cpu_s(pid: int) -> float:
    """CPU seconds of a process so far, with the kernel's precision: all threads, user and system."""
    total = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        try:
            total += int((task / "schedstat").read_text().split()[0])
        except (OSError, IndexError):
            continue
    return total / 1e9


class Server(ABC):
    """
    :param directory: an empty one, for what it needs.
    """

    name: str
    #: How streams are asked for, if it can.
    stream_path: str | None = None

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

    @abstractmethod
    def version(self) -> str:
        """Which one it is."""

    def environment(self) -> dict[str, str]:
        """What it finds in its environment."""
        return dict(os.environ)

    def start(self) -> None:
        """Returns when it answers."""
        with open(self.directory / "log", "wb") as log:
            self.process = subprocess.Popen(
                self.command(), cwd=self.directory, env=self.environment(), stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        until = time.monotonic() + START_S
        while not self.answers():
            if self.process.poll() is not None or time.monotonic() > until:
                raise SystemExit(f"{self.name} does not start:\n{(self.directory / 'log').read_text(errors='replace')[-2000:]}")
            time.sleep(0.05)

    def answers(self) -> bool:
        """Does it?"""
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

    def cpu(self) -> float:
        """Its CPU seconds."""
        return cpu_s(self.pid())

    def quiet(self, share: float = 0.1, seconds: float = 60.0) -> None:
        """Returns when it has nothing left to do: it takes less than that share of a CPU for half a second."""
        until = time.monotonic() + seconds
        before = self.cpu()
        while time.monotonic() < until:
            time.sleep(0.5)
            now = self.cpu()
            if now - before < 0.5 * share:
                return
            before = now
        raise SystemExit(f"{self.name} is not quiet within {seconds:g} s")

    def post(self, path: str, body: bytes = b"") -> None:
        """A POST that is answered at once."""
        with urlopen(Request(f"http://127.0.0.1:{self.port}{path}", data=body, method="POST"), timeout=60) as answer:
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
    """jobpush: Klein, journal on disk, access log; jobs in a file, another one held on in each round."""

    name = "jobpush"
    stream_path = "/v1/events?cluster=mock"
    parking = True
    known_jobs = 30

    def command(self) -> list[str]:
        self.jobs = self.directory / "jobs"
        self._round = 0
        self._write()
        return [
            sys.executable, "-c", "from twisted.scripts.twistd import run; run()", "--nodaemon", "--pidfile=",
            "jobpush", "--port", str(self.port), "--state", str(self.directory / "state"),
            "--queue", f"mock:file={self.jobs}:interval=3600", "--access-log", str(self.directory / "access.log"),
            *([] if self.parking else ["--no-parking"]),
        ]  # fmt: skip

    def environment(self) -> dict[str, str]:
        return {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "adapters"), str(ROOT / "client")])}

    def _write(self) -> None:
        fresh = self.jobs.with_suffix(".new")
        states = ("SUSPENDED" if n <= self._round else "RUNNING" for n in range(1, self.known_jobs + 1))
        fresh.write_text("".join(json.dumps({"id": str(n), "state": state}) + "\n" for n, state in enumerate(states, 1)))
        os.replace(fresh, self.jobs)

    def get(self, path: str) -> dict:  # type: ignore[type-arg]
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

    def hold_path(self) -> str:
        return f"/v1/jobs/mock/{self._round + 1}?since={self.get('/v1/changes')['cursor']}&wait=600"

    def fire(self) -> None:
        self._round += 1
        self._write()
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as hook:  # as the scheduler's hooks do
            hook.sendto(b"{}", str(self.directory / "state" / "nudge"))

    def version(self) -> str:
        import klein

        import twisted
        from jobpush import __version__

        return f"jobpush {__version__} (Twisted {twisted.__version__}, Klein {klein.__version__})"


#: Rounds in which another job is held on each time.
MOST_ROUNDS = JobpushServer.known_jobs - 1


class UnparkedServer(JobpushServer):
    """jobpush with a whole HTTP channel for each held request."""

    name = "jobpush --no-parking"
    parking = False


class PythonPeer(Server):
    """An application of ours on a framework: benchmarks/peers/NAME_app.py."""

    module: str

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
    """nginx with the module nchan, as its documentation has it: one worker, long polls on one channel."""

    name = "nchan"
    stream_path = "/events"

    def command(self) -> list[str]:
        if not shutil.which("nginx") or not Path("/usr/lib/nginx/modules/ngx_nchan_module.so").exists():
            raise SystemExit("nginx and libnginx-mod-nchan are missing: benchmarks/install-peers.sh installs them")
        template = (PEERS / "nchan.conf").read_text()
        config = self.directory / "nginx.conf"
        config.write_text(template.replace("@PORT@", str(self.port)).replace("@DIR@", str(self.directory)))
        return ["nginx", "-c", str(config), "-e", str(self.directory / "error.log"), "-p", str(self.directory)]

    def pid(self) -> int:
        assert self.process is not None
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return int(children[0])

    def hold_path(self) -> str:
        return "/wait"

    def fire(self) -> None:
        self.post("/fire", BODY)

    def version(self) -> str:
        said = subprocess.run(["nginx", "-v"], capture_output=True, text=True, check=True).stderr
        module = subprocess.run(
            ["dpkg-query", "-W", "-f", "${Version}", "libnginx-mod-nchan"], capture_output=True, text=True, check=False
        ).stdout
        found = re.search(r"nginx/(\S+)", said)
        return f"nchan {module} (nginx {found[1] if found else '?'})"


class JettyPeer(Server):
    """Jetty 9 with a servlet that does what the report of 2010 describes: a continuation for each held request, 100 threads."""

    name = "Jetty"

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
    "unparked": UnparkedServer,
    "nchan": NchanPeer,
    "jetty": JettyPeer,
    "klein": KleinPeer,
    "aiohttp": AiohttpPeer,
    "tornado": TornadoPeer,
}
