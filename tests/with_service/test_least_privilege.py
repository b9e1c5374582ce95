"""
The service with a real Slurm and a real Grid Engine, restricted as the unit that comes with it has systemd restrict it.
"""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import sandbox
from tests.service_process import ROOT, ServiceProcess, twistd_environment
from tests.sge_cluster import GridEngine
from tests.slurm_cluster import SlurmCluster, wait_until

UNIT = ROOT / "etc" / "jobpush.service"

pytestmark = [
    pytest.mark.service,
    pytest.mark.skipif(os.getuid() != 0, reason="only root can take capabilities away"),
    pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd-analyze on PATH"),
    pytest.mark.timeout(240),
]


def restricted(directory: Path, *arguments: str) -> Iterator[ServiceProcess]:
    """A service that the kernel restricts, with a socket for this host's users and one for health checks."""
    service = ServiceProcess(
        directory, *arguments, "--state", str(directory / "state"), "--socket", f"unix:{directory}/jobpush.sock",
        "--health", f"unix:{directory}/health.sock", unit=UNIT,
    )  # fmt: skip
    service.start()
    yield service
    service.stop()


def restrictions(service: ServiceProcess) -> dict[str, str]:
    """What the kernel says of the process."""
    assert service.process is not None
    lines = Path(f"/proc/{service.process.pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def check_one_job(service: ServiceProcess, cluster: Any, name: str) -> None:
    """A job is seen from its beginning to its end, by the commands of the scheduler; and the process is restricted indeed."""
    assert {key: restrictions(service)[key] for key in ("CapEff", "CapBnd", "NoNewPrivs", "Seccomp")} == {
        "CapEff": "0" * 16, "CapBnd": "0" * 16, "NoNewPrivs": "1", "Seccomp": "2",
    }  # fmt: skip
    service.ready(60)
    job = cluster.submit(script="sleep 2; exit 3")
    path = f"/v1/jobs/{name}/{job}"
    wait_until(lambda: service.get(path).status == 200, 60)
    shown = service.get(f"{path}?until=terminal&wait=60", timeout=90)
    assert (shown.json["job"]["state"], shown.json["job"]["exit_code"]) == ("FAILED", 3), shown.json
    assert "not permitted" not in service.log, service.log


class TestWithSlurm:
    """squeue, scontrol, sacct, munge and the probe that asks slurmctld through libslurm."""

    pytestmark = pytest.mark.slurm

    @pytest.fixture(scope="class")
    @classmethod
    def jobpush(cls, slurm: SlurmCluster, short_path: Path) -> Iterator[ServiceProcess]:
        """Beside that Slurm."""
        yield from restricted(short_path / "least", "--queue", f"slurm:interval=0.4:reconcile=0.4:conf={slurm.conf}")

    def test_one_job(self, jobpush: ServiceProcess, slurm: SlurmCluster) -> None:
        """It is told with its exit code."""
        check_one_job(jobpush, slurm, "slurm")

    def test_the_probe(self, jobpush: ServiceProcess) -> None:
        """It loads libslurm and runs: memory that is written and then run is not needed for it."""
        wait_until(lambda: "whether anything has changed (libslurm " in jobpush.log, 30)
        assert "the probe of slurmctld ended" not in jobpush.log

    def test_modes(self, jobpush: ServiceProcess) -> None:
        """The umask hides what is the service's own; users reach their socket all the same."""
        modes = {
            path.name: stat.S_IMODE(path.stat().st_mode)
            for path in (jobpush.directory / "jobpush.sock", jobpush.directory / "health.sock")
        }
        assert modes["jobpush.sock"] == 0o666
        assert modes["health.sock"] & 0o007 == 0
        for path in (jobpush.directory / "state").iterdir():
            if path.is_file():
                assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path


class TestWithGridEngine:
    """qstat, qhost, qconf, qacct."""

    pytestmark = pytest.mark.sge

    @pytest.fixture(scope="class")
    @classmethod
    def jobpush(cls, sge: GridEngine, short_path: Path) -> Iterator[ServiceProcess]:
        """Beside that Grid Engine."""
        queue = f"sge:interval=0.3:root={sge.root}:qmaster_port={sge.port}:bin={sge.bin}"
        yield from restricted(short_path / "least-sge", "--queue", queue)

    def test_one_job(self, jobpush: ServiceProcess, sge: GridEngine) -> None:
        """It is told with its exit code."""
        check_one_job(jobpush, sge, "sge")


#: Tries what a process that was taken over would try, and prints which of it the kernel refused.
TRIES = """
import ctypes, json, mmap, os, socket, sys
libc, refused = ctypes.CDLL(None, use_errno=True), []
def tries(name, call):
    try:
        if call() == -1:
            refused.append(name)
    except OSError:
        refused.append(name)
tries("packets", lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW).close())
tries("netlink", lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW).close())
tries("code", lambda: mmap.mmap(-1, 4096, prot=7).close())
tries("namespace", lambda: libc.unshare(0x10000000))
tries("set-user-id", lambda: os.chmod(sys.argv[1], 0o4700))
tries("realtime", lambda: os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1)))
tries("priority", lambda: os.nice(1))
tries("another user", lambda: os.setuid(1))
tries("mount", lambda: libc.mount(b"none", b"/", None, 32, None))
tries("trace", lambda: libc.ptrace(0, 0, 0, 0))
open(sys.argv[2], "w").close()
print(json.dumps([refused, oct(os.stat(sys.argv[2]).st_mode & 0o777)]))
"""


def test_refused(tmp_path: Path) -> None:
    """What the service never does, it cannot do; without the unit's lines all of this would be done."""
    (tmp_path / "file").touch()
    command = [sys.executable, "-c", TRIES, str(tmp_path / "file"), str(tmp_path / "new")]
    before = [sys.executable, "-m", "tests.sandbox", str(UNIT), "--"]
    environment = twistd_environment(None)
    free = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT, env=environment, timeout=60)
    assert "netlink" not in json.loads(free.stdout)[0]
    assert {"code", "priority"}.isdisjoint(json.loads(free.stdout)[0])
    (tmp_path / "new").unlink()
    result = subprocess.run([*before, *command], capture_output=True, text=True, check=True, cwd=ROOT, env=environment, timeout=60)
    refused, mode = json.loads(result.stdout)
    assert refused == ["packets", "code", "namespace", "set-user-id", "realtime", "priority", "another user", "mount", "trace"]
    assert mode == "0o600"


def test_what_the_filter_leaves() -> None:
    """What systemd always allows stays, and a line that begins with ~ takes away."""
    left = sandbox.allowed(["@system-service", "~@privileged @resources"])
    assert {"execve", "openat", "socket", "clone", "prlimit64"} <= left
    assert left.isdisjoint({"setuid", "mount", "ptrace", "nice", "bpf", "reboot"})


def test_exposure() -> None:
    """What systemd itself makes of the unit; 10 is without any protection."""
    command = ["systemd-analyze", "security", "--offline=true", "--threshold=15", str(UNIT)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 0, result.stdout[-2000:]
