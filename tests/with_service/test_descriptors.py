"""A service that may open few files, and clients that open connections and send half of a request."""

from __future__ import annotations

import os
import socket
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
