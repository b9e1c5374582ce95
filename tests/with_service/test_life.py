"""The life of the process under a service manager: sockets that are handed over, what it tells, reloads, its end."""

from __future__ import annotations

import fcntl
import http.client
import itertools
import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path

import pytest

from jobpush_client import Client
from tests.service_manager import ManagedProcess, NotifySocket, Waiting, listening, queue, unix_listening
from tests.service_process import ROOT, TWISTD, ServiceProcess, start_twistd, twistd_environment, write_jobs
from tests.slurm_cluster import wait_until

pytestmark = [pytest.mark.service, pytest.mark.timeout(240)]


@pytest.fixture
def notify(tmp_path: Path) -> Iterator[NotifySocket]:
    made = NotifySocket(f"@jobpush-{os.getpid()}-{time.monotonic_ns()}")
    yield made
    made.close()


class Load:
    """Clients that ask without a pause, each in a thread of its own, and what went wrong for them."""

    def __init__(self) -> None:
        self.answers = 0
        self.wrong: list[str] = []
        self.slowest = 0.0
        self.over = threading.Event()
        self._threads: list[threading.Thread] = []

    def run(self, count: int, ask: Callable[[], AbstractContextManager[Callable[[], None]]]) -> None:
        """So many clients; each makes what asks once, and uses it again and again."""

        def client() -> None:
            with ask() as once:
                while not self.over.is_set():
                    began = time.monotonic()
                    try:
                        once()
                    except Exception as error:
                        self.wrong.append(f"{type(error).__name__}: {error}")
                    else:
                        self.answers += 1
                        self.slowest = max(self.slowest, time.monotonic() - began)

        self._threads += [threading.Thread(target=client, daemon=True) for _ in range(count)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        for thread in self._threads:
            thread.join(30)


class TestSockets:
    """Socket activation."""

    def test_restarts_under_load(self, tmp_path: Path, notify: NotifySocket) -> None:
        """No connection is refused, and nobody who connects for a request sees an error, while the service is started again."""
        with listening() as ours:
            service = ManagedProcess(
                tmp_path / "run", "--queue", queue(tmp_path, j1="RUNNING"), "--state", str(tmp_path / "state"),
                sockets=[ours], notify=notify,
            )  # fmt: skip
            service.start()
            service.ready()
            load = Load()

            @contextmanager
            def connecting() -> Iterator[Callable[[], None]]:
                yield lambda: socket.create_connection(("127.0.0.1", service.port), timeout=20).close()

            @contextmanager
            def asking() -> Iterator[Callable[[], None]]:
                with Client(f"http://127.0.0.1:{service.port}") as client:
                    yield lambda: check(client.job("mock/1")["state"] in ("RUNNING", "COMPLETED"))

            @contextmanager
            def held() -> Iterator[Callable[[], None]]:
                with closing(http.client.HTTPConnection("127.0.0.1", service.port, timeout=60)) as connection:

                    def once() -> None:
                        connection.request("GET", "/v1/jobs/mock/1?until=terminal&wait=30")
                        answer = json.loads(connection.getresponse().read())
                        check(answer["timed_out"] or answer["job"]["state"] == "COMPLETED")

                    yield once

            @contextmanager
            def plain() -> Iterator[Callable[[], None]]:
                yield lambda: check(service.get("/v1/changes?limit=1", timeout=20).status == 200)

            load.run(4, connecting)
            load.run(8, plain)
            load.run(8, asking)
            load.run(4, held)
            with load:
                for number in range(2, 8):
                    time.sleep(0.4)
                    assert service.stop() == -signal.SIGTERM
                    service.begin()
                    notify.wait(lambda fields: "READY" in fields, number)
                load.over.set()
                write_jobs(tmp_path / "mock", json.dumps({"id": "1", "state": "COMPLETED"}) + "\n")  # answers the held ones
            service.stop()
        assert load.wrong == []
        assert load.answers > 500
        assert load.slowest < 20

    def test_several_sockets(self, tmp_path: Path) -> None:
        """All of them are served, a unix socket too, whose file stays when the service ends."""
        path = tmp_path / "http"
        with listening() as one, listening() as two, unix_listening(path) as unix:
            service = ManagedProcess(tmp_path / "run", "--queue", queue(tmp_path), sockets=[one, unix, two])
            for _ in range(2):
                service.start()
                ports = [each.getsockname()[1] for each in (one, two)]
                for port in ports:
                    service.port = port
                    assert service.get("/healthz").status == 200
                with Client(f"unix:{path}") as client:
                    assert client.ready()["queues"]
                assert f"serves mock (mock) on 127.0.0.1:{ports[0]}, {path}, 127.0.0.1:{ports[1]}" in service.log
                service.stop()
                assert path.exists()

    def test_a_public_socket(self, tmp_path: Path) -> None:
        """Is refused as a public port is, in one line that names it."""
        with socket.create_server(("0.0.0.0", 0)) as public:
            service = ManagedProcess(tmp_path / "run", "--queue", queue(tmp_path), sockets=[public])
            service.begin()
            assert service.process is not None
            assert service.process.wait(30) == 1
            line = f"jobpush: the socket 0.0.0.0:{public.getsockname()[1]} that was handed over is not provably loopback"
            assert line in service.log
            assert "Traceback" not in service.log

    def test_a_port_of_its_own(self, tmp_path: Path) -> None:
        """Where the settings say where to listen, they count; the log says what nobody accepts on."""
        with listening() as ours, listening() as free:
            port = free.getsockname()[1]
            free.close()
            service = ManagedProcess(tmp_path / "run", "--queue", queue(tmp_path), "--port", str(port), sockets=[ours])
            service.port = port
            service.start()
            assert f"nobody accepts on what was handed over: 127.0.0.1:{ours.getsockname()[1]}" in service.log
            service.stop()

    def test_the_same_port(self, tmp_path: Path) -> None:
        """A port that is set, and that is also handed over, cannot be listened on: the line says what to do."""
        with listening() as ours:
            port = ours.getsockname()[1]
            service = ManagedProcess(tmp_path / "run", "--queue", queue(tmp_path), "--port", str(port), sockets=[ours])
            service.begin()
            assert service.process is not None
            assert service.process.wait(30) == 1
            hint = f"cannot listen: Address already in use (127.0.0.1:{port} was handed over; it is used where no port is set)"
            assert hint in service.log

    @pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd-analyze on PATH")
    def test_units(self, tmp_path: Path) -> None:
        """systemd understands every line of the units that come with jobpush."""
        for name in ("jobpush.service", "jobpush.socket"):
            text = (ROOT / "etc" / name).read_text()
            (tmp_path / name).write_text(text.replace("/opt/jobpush/bin/twistd", "/bin/true"))
        verify = ["systemd-analyze", "verify", "./jobpush.service", "./jobpush.socket"]
        result = subprocess.run(verify, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
        assert (result.returncode, [line for line in result.stderr.splitlines() if "jobpush" in line]) == (0, [])


class TestNotify:
    """What the service manager hears."""

    def test_life(self, tmp_path: Path, notify: NotifySocket) -> None:
        """Ready when it answers, reloading and ready again, stopping; its status; and a watchdog that is fed meanwhile."""
        service = ManagedProcess(
            tmp_path / "run", "--queue", queue(tmp_path, j1="RUNNING"), notify=notify, environment={"WATCHDOG_USEC": "300000"}
        )
        service.begin()
        notify.wait(lambda fields: fields.get("READY") == "1")
        assert service.get("/healthz").status == 200
        notify.wait(lambda fields: fields.get("STATUS") == "mock: ok; 0 requests held")
        assert service.process is not None
        service.process.send_signal(signal.SIGHUP)
        notify.wait(lambda fields: fields.get("READY") == "1", 2)
        reloading = notify.wait(lambda fields: fields.get("RELOADING") == "1")
        assert abs(int(reloading["MONOTONIC_USEC"]) / 1e6 - time.clock_gettime(time.CLOCK_MONOTONIC)) < 10
        notify.wait(lambda fields: fields.get("WATCHDOG") == "1", 10)
        service.stop()
        assert "STOPPING" in notify.read()[-1] or "WATCHDOG" in notify.read()[-1]
        kinds = [next(iter(fields)) for fields in notify.read() if not fields.keys() & {"WATCHDOG"}]
        assert [kind for kind in kinds if kind != "STATUS"] == ["READY", "RELOADING", "READY", "STOPPING"]
        fed = [at for at, fields in notify.told if "WATCHDOG" in fields]
        assert max(later - earlier for earlier, later in itertools.pairwise(fed)) < 0.3

    def test_a_scheduler_that_does_not_answer(self, tmp_path: Path, notify: NotifySocket) -> None:
        """The watchdog is fed all the same."""
        service = ManagedProcess(
            tmp_path / "run", "--queue", f"mock:file={tmp_path}/none", notify=notify, environment={"WATCHDOG_USEC": "300000"}
        )
        service.start()
        wait_until(lambda: service.get("/readyz").json["queues"]["mock"]["failures"] > 1, 20)
        count = len(notify.read())
        notify.wait(lambda fields: fields.get("WATCHDOG") == "1", count + 5)
        assert service.get("/readyz").status == 503
        service.stop()


class Configured:
    """A service with a configuration file."""

    def __init__(self, directory: Path, *twistd_options: str) -> None:
        self.directory = directory
        self.path = directory / "jobpush.toml"
        self.service = ServiceProcess(
            directory / "run", "--config", str(self.path), "--state", str(directory / "state"),
            "--access-log", str(directory / "access.log"), twistd_options=twistd_options,
        )  # fmt: skip

    def queues(self, *names: str, more: str = "") -> None:
        """The file has these queues, each with a job of its own."""
        tables = []
        for name in names:
            file = self.directory / name
            if not file.exists():
                write_jobs(file, json.dumps({"id": "1", "state": "RUNNING"}) + "\n")
            tables.append(f'[[queue]]\ntype = "mock"\ncluster = "{name}"\nfile = "{name}"\ninterval = 0.1\n{more}')
        self.path.write_text("\n".join(tables))

    def reload(self, said: str, seconds: float = 10.0) -> None:
        """Send the signal; returns when the log says that."""
        assert self.service.process is not None
        before = self.log.count(said)
        self.service.process.send_signal(signal.SIGHUP)
        wait_until(lambda: self.log.count(said) > before, seconds, every=0.02)

    @property
    def log(self) -> str:
        files = [self.service.log_path, *self.directory.glob("service.log*")]
        return "".join(file.read_text() for file in files if file.exists())


def check(condition: object) -> None:
    assert condition


def _is_locked(path: Path) -> bool:
    """Whether a process holds the lock of a state directory."""
    with open(path) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


class TestReload:
    """SIGHUP."""

    def test_queues(self, tmp_path: Path) -> None:
        """Queues come and go; requests that do not concern them stay held; a file that cannot be taken changes nothing."""
        house = Configured(tmp_path)
        house.queues("alpha", "beta")
        service = house.service
        service.start()
        service.ready()
        queries = service.get("/readyz").json["queues"]["alpha"]["queries"]
        of_alpha = Waiting(service, "/v1/jobs/alpha/1?until=terminal&wait=60")
        of_beta = Waiting(service, "/v1/jobs/beta/1?until=terminal&wait=60")
        house.path.write_text("[[queue]]\ntype = 'mock'\ncolour = 'red'\n")
        house.reload("the queues: the old stays: ")
        assert "unknown option 'colour'" in house.log
        assert sorted(service.get("/readyz").json["queues"]) == ["alpha", "beta"]
        house.queues("alpha", "gamma")
        house.reload("the queues: added: gamma; removed: beta")
        assert of_beta.answer().json["timed_out"]
        assert service.get("/v1/jobs/beta/1").status == 404
        assert service.job("gamma", "1", wait=10)["job"]["state"] == "RUNNING"
        assert service.get("/readyz").json["queues"]["alpha"]["queries"] >= queries, "it is the same one"
        house.reload("the queues: nothing has changed")
        write_jobs(tmp_path / "alpha", json.dumps({"id": "1", "state": "COMPLETED"}) + "\n")
        assert of_alpha.answer().json["job"]["state"] == "COMPLETED"
        assert "Traceback" not in house.log
        service.stop()

    def test_hosts(self, tmp_path: Path) -> None:
        """Names that the service is known by come and go, for connections that are open too."""
        house = Configured(tmp_path)
        house.queues("alpha")
        service = house.service
        service.start()
        client = http.client.HTTPConnection("127.0.0.1", service.port, timeout=10)

        def ask() -> int:
            client.request("GET", "/v1/jobs", headers={"Host": "jobs.example"})
            answer = client.getresponse()
            answer.read()
            return answer.status

        assert [ask() for _ in range(3)] == [421] * 3
        house.path.write_text('host = ["*.example"]\n' + house.path.read_text())
        house.reload("the hosts: known as localhost")
        assert [ask() for _ in range(3)] == [200] * 3
        house.queues("alpha")
        house.reload("the hosts: known as localhost")
        assert [ask() for _ in range(3)] == [421] * 3
        client.close()
        service.stop()

    def test_origins(self, tmp_path: Path) -> None:
        """Pages of other origins are let in and shut out, on open connections too."""
        house = Configured(tmp_path)
        house.queues("alpha")
        service = house.service
        service.start()
        client = http.client.HTTPConnection("127.0.0.1", service.port, timeout=10)

        def ask() -> tuple[int, str | None]:
            client.request("GET", "/v1/jobs", headers={"Origin": "https://gateway.example.org"})
            answer = client.getresponse()
            answer.read()
            return answer.status, answer.headers["Access-Control-Allow-Origin"]

        assert [ask() for _ in range(3)] == [(403, None)] * 3
        house.path.write_text('cors = ["https://gateway.example.org"]\n' + house.path.read_text())
        house.reload("the origins: pages of https://gateway.example.org may ask")
        assert [ask() for _ in range(3)] == [(200, "https://gateway.example.org")] * 3
        house.queues("alpha")
        house.reload("the origins: pages of no other origin may ask")
        assert [ask() for _ in range(3)] == [(403, None)] * 3
        client.close()
        service.stop()

    def test_logs(self, tmp_path: Path) -> None:
        """What logrotate has moved away is written no more."""
        house = Configured(tmp_path, f"--logfile={tmp_path}/service.log")
        house.queues("alpha")
        house.service.start()
        for name in ("access.log", "service.log"):
            (tmp_path / name).rename(tmp_path / f"{name}.old")
        house.service.get("/healthz?before")
        house.reload("the log: ")
        house.service.get("/healthz?after")
        wait_until(lambda: "after" in (tmp_path / "access.log").read_text(), 10)
        assert "?before" in (tmp_path / "access.log.old").read_text()
        assert "?before" not in (tmp_path / "access.log").read_text()
        assert "was opened again" in (tmp_path / "service.log").read_text()
        house.service.stop()
        assert "Server Shut Down" in (tmp_path / "service.log").read_text()
        assert "Server Shut Down" not in (tmp_path / "service.log.old").read_text()

    def test_many(self, tmp_path: Path) -> None:
        """Signals that come in a row, and one at the end, do no harm."""
        house = Configured(tmp_path)
        house.queues("alpha")
        house.service.start()
        process = house.service.process
        assert process is not None
        for number in range(50):
            house.queues("alpha", *["beta"] * (number % 2), more=f"floor = {0.1 + number / 1000}\n")
            process.send_signal(signal.SIGHUP)
            time.sleep(0.01)
        house.service.ready()
        assert "Traceback" not in house.log
        process.send_signal(signal.SIGTERM)
        process.send_signal(signal.SIGHUP)
        assert process.wait(10) == -signal.SIGTERM


    def test_before_the_start_is_over(self, tmp_path: Path) -> None:
        """A signal that comes while the journal is opened, which takes a while, ends nothing; what it asks for is done afterwards."""
        house = Configured(tmp_path)
        house.queues("alpha")
        house.service.start()
        house.service.stop()
        house.service.log_path.unlink()
        with closing(sqlite3.connect(tmp_path / "state" / "journal.sqlite", isolation_level=None)) as held:
            held.execute("PRAGMA journal_mode=DELETE")
            held.execute("BEGIN EXCLUSIVE")
            house.service.process = start_twistd(
                ["--port", str(house.service.port), *house.service.arguments], house.service.directory, house.service.log_path
            )
            lock = tmp_path / "state" / "lock"
            wait_until(lambda: _is_locked(lock), 20, every=0.02)
            house.service.process.send_signal(signal.SIGHUP)
            time.sleep(0.3)
            assert house.service.process.poll() is None
            held.execute("COMMIT")
        wait_until(lambda: "the queues: nothing has changed" in house.log, 20)
        wait_until(house.service._answers, 20)
        house.service.stop()

    def test_an_end_meanwhile(self, tmp_path: Path) -> None:
        """SIGTERM is obeyed at once also while a new queue is waited for, whose scheduler does not answer."""
        commands = tmp_path / "bin"
        commands.mkdir()
        for name in ("squeue", "scontrol", "sacct", "sacctmgr", "sinfo"):
            (commands / name).write_text("#!/bin/sh\nexec sleep 60\n")
            (commands / name).chmod(0o755)
        house = Configured(tmp_path)
        house.service._environment = {"PATH": f"{commands}:{os.environ['PATH']}"}
        house.queues("alpha")
        house.service.start()
        house.service.ready()
        held = Waiting(house.service, "/v1/jobs/alpha/1?until=terminal&wait=60")
        house.path.write_text(house.path.read_text() + "".join(f'\n[[queue]]\ntype = "slurm"\ncluster = "s{n}"\n' for n in (1, 2)))
        assert house.service.process is not None
        house.service.process.send_signal(signal.SIGHUP)
        time.sleep(0.5)
        began = time.monotonic()
        house.service.stop()
        assert time.monotonic() - began < 3
        assert held.answer().json["timed_out"]
        assert "the queues: the old stays: the service ends" in house.log

    def test_a_terminal(self, tmp_path: Path) -> None:
        """In a terminal SIGHUP reads again too; but where the terminal is closed, the service ends."""
        house = Configured(tmp_path)
        house.queues("alpha")
        house.service.directory.mkdir()
        controller, terminal = os.openpty()
        become = "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.executable, sys.argv[1:])"
        with open(house.service.log_path, "ab") as log:
            house.service.process = subprocess.Popen(
                [sys.executable, "-c", become, *TWISTD, "--nodaemon", "--pidfile=", "jobpush", "--port", str(house.service.port),
                 *house.service.arguments],
                cwd=house.service.directory, env=twistd_environment(None), stdin=terminal, stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip
        os.close(terminal)
        wait_until(house.service._answers, 20)
        house.reload("the queues: nothing has changed")
        os.close(controller)
        house.service.process.wait(10)
        assert "Server Shut Down" in house.log
