"""A service that may open few files, and clients that open connections and send half of a request."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.service_process import ServiceProcess, write_jobs
from tests.slurm_cluster import wait_until

pytestmark = [pytest.mark.service, pytest.mark.timeout(120)]

#: The files that the service may open, and the connections of one client.
FILES, CONNECTIONS = 384, 600


@pytest.fixture
def service(tmp_path: Path) -> ServiceProcess:
    """The service, not started yet."""
    write_jobs(tmp_path / "jobs", '{"id": "1", "state": "RUNNING"}\n')
    queue = f"mock:file={tmp_path / 'jobs'}:interval=0.5"
    return ServiceProcess(tmp_path, "--queue", queue, "--state", str(tmp_path / "state"), files=FILES)


def open_files(service: ServiceProcess) -> int:
    """The number of files that it has open."""
    assert service.process is not None
    return len(os.listdir(f"/proc/{service.process.pid}/fd"))


def test_half_sent_requests(service: ServiceProcess, tmp_path: Path) -> None:
    """
    Files are left for the journal and for commands; who asks in full is answered, jobs are followed and what happens is written
    down, though somebody has opened more connections than there may be files, and asks for nothing.
    """
    service.start()
    sockets = []
    try:
        service.ready()
        for _ in range(CONNECTIONS):
            one = socket.create_connection(("127.0.0.1", service.port), timeout=10)
            one.sendall(b"GET /v1/jobs HTTP/1.1\r\nHost: localhost\r\n")
            sockets.append(one)
        assert open_files(service) <= FILES - 100
        time.sleep(2.5)
        for number in range(20):
            assert service.get("/readyz").status == 200, number
        write_jobs(tmp_path / "jobs", '{"id": "1", "state": "FAILED"}\n')
        answers = []

        def failed() -> bool:
            answers.append(service.job("mock", "1"))
            return "job" in answers[-1] and answers[-1]["job"]["state"] == "FAILED"

        wait_until(failed, 10)
        assert all("job" in answer for answer in answers), answers
        assert open_files(service) <= FILES - 100
        for one in sockets:
            one.close()
        wait_until(lambda: open_files(service) < 60, 20)
        assert "Traceback" not in service.log
    finally:
        for one in sockets:
            one.close()
        service.stop()


#: Opens so many connections as that user, asks once on each, and says how they are doing when a line comes.
MANY = """
import os, select, socket, sys
port, count, uid = map(int, sys.argv[1:])
"localhost".encode("idna")
if uid:
    os.setgroups([])
    os.setgid(uid)
    os.setuid(uid)
def one():
    made = socket.create_connection(("127.0.0.1", port), timeout=10)
    made.sendall(b"GET /healthz HTTP/1.1\\r\\nHost: localhost\\r\\n\\r\\n")
    return made, made.recv(65536)[9:12].decode()
made = [one() for _ in range(count)]
print(*[status for _, status in made], flush=True)
for line in sys.stdin:
    if line == "alive\\n":
        gone = set(select.select([each for each, _ in made], [], [], 0)[0])
        print(len([each for each, _ in made if each not in gone]), flush=True)
    else:
        print(one()[1], flush=True)
"""


def test_one_user_has_a_share(tmp_path: Path) -> None:
    """
    One user of this host opens connection upon connection to the port, where all have one address: what is more than his share
    is ended, new ones are refused, and another user's go on; when he has closed them, he may come again.
    """
    if os.geteuid():
        pytest.skip("only root can be two users")
    write_jobs(tmp_path / "jobs", '{"id": "1", "state": "RUNNING"}\n')
    service = ServiceProcess(
        tmp_path, "--queue", f"mock:file={tmp_path / 'jobs'}", "--socket", f"unix:{tmp_path / 'users'}", "--private", "yes", files=FILES
    )
    service.start()
    share = (FILES - 128) // 4
    command = [sys.executable, "-c", MANY, str(service.port)]
    try:
        service.ready()
        users = socket.socket(socket.AF_UNIX)
        users.connect(str(tmp_path / "users"))
        with users, subprocess.Popen([*command, "20", "0"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as mine:
            assert mine.stdin is not None
            assert mine.stdout is not None
            assert mine.stdout.readline().split() == ["200"] * 20
            with subprocess.Popen([*command, "140", "65534"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as theirs:
                assert theirs.stdin is not None
                assert theirs.stdout is not None
                said = theirs.stdout.readline().split()
                assert said.count("200") >= share

                def ask(process: subprocess.Popen[str], what: str) -> str:
                    assert process.stdin is not None
                    assert process.stdout is not None
                    process.stdin.write(f"{what}\n")
                    process.stdin.flush()
                    return process.stdout.readline().strip()

                wait_until(lambda: int(ask(theirs, "alive")) <= share, 10)
                assert int(ask(theirs, "alive")) >= share - 1, "no more than what is too much"
                wait_until(lambda: ask(theirs, "one") == "429", 5)
                assert [ask(mine, "one") for _ in range(5)] == ["200"] * 5
                assert ask(mine, "alive") == "20"
                users.sendall(b"GET /v1/jobs HTTP/1.1\r\nHost: localhost\r\n\r\n")
                assert users.recv(65536).startswith(b"HTTP/1.1 200 ")
                theirs.stdin.close()
            wait_until(lambda: open_files(service) < 80, 10)
            mine.stdin.close()
        assert re.search(rf"uid 65534 has \d+ connections, more than the share of {share}", service.log)
        assert "uid 0 has" not in service.log
        assert "Traceback" not in service.log
    finally:
        service.stop()
