"""Schedulers on another host: their commands through a real ssh, to a real sshd on loopback."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import ssh_server
from tests.adapters.pbs.captures import Recorded, attributes
from tests.endings import Doing, told
from tests.fakes import Programs
from tests.service_process import ServiceProcess
from tests.sge_cluster import GridEngine
from tests.slurm_cluster import SlurmCluster, wait_until

pytestmark = [pytest.mark.ssh, pytest.mark.service, pytest.mark.timeout(240)]


@pytest.fixture(scope="module")
def jobpush(ssh: ssh_server.SshServer, slurm: SlurmCluster, sge: GridEngine, short_path: Path) -> Iterator[ServiceProcess]:
    """jobpush with two clusters behind ssh: the prefix as a list in a file, and as a text."""
    config = short_path / "remote.toml"
    prefix = json.dumps(ssh.prefix)
    config.write_text(
        f'[[queue]]\ntype = "slurm"\ncluster = "alpha"\ninterval = 0.5\nprefix = {prefix}\nconf = "{slurm.conf}"\n'
        f'[[queue]]\ntype = "sge"\ncluster = "beta"\ninterval = 0.5\nprefix = {json.dumps(" ".join(ssh.prefix))}\n'
        f'root = "{sge.root}"\nqmaster_port = {sge.port}\nbin = "{sge.bin}"\ntimeout = 5\n'
    )
    service = ServiceProcess(short_path / "remote", "--config", str(config))
    service.start()
    service.ready()
    yield service
    service.stop()


def test_slurm_far_away(slurm: SlurmCluster, jobpush: ServiceProcess) -> None:
    """Names with everything that a shell could trip over; an array; exit codes."""
    name = "it's \"$(id)\" `x` ; rm -rf / & \\ *\n日本"
    job = slurm.submit("-J", name, script="sleep 2; exit 3")
    answer = jobpush.job("alpha", job, until="terminal", wait=60)["job"]
    assert (answer["state"], answer["exit_code"], answer["name"]) == ("FAILED", 3, name)
    assert told(jobpush.events(job=f"alpha/{job}")) == ["QUEUED", "RUNNING", "FAILED"]
    array = slurm.submit("--array=0-2", script="sleep 1")
    assert jobpush.job("alpha", array, until="terminal", wait=60)["job"]["counts"] == {"COMPLETED": 3}


def test_grid_engine_far_away(sge: GridEngine, jobpush: ServiceProcess) -> None:
    """The accounting file cannot be followed there: qacct is asked, and that is said."""
    job = sge.submit(script="sleep 3; exit 6")
    answer = jobpush.job("beta", job, until="terminal", wait=60)["job"]
    assert (answer["state"], answer["exit_code"], answer["source"]) == ("FAILED", 6, "qacct")
    assert "another host and cannot be followed" in jobpush.log


def test_pbs_far_away(ssh: ssh_server.SshServer, short_path: Path) -> None:
    """Ids with brackets go through the far side's shell unharmed."""
    fake = Recorded(str(short_path / "far-pbs"))
    fake.server["jobs"] = {"5[].pbslab": attributes("BEGUN"), "5[1].pbslab": attributes("RUNNING"), "5[2].pbslab": attributes("QUEUED")}
    fake.save()
    config = short_path / "far-pbs.toml"
    config.write_text(f'[[queue]]\ntype = "pbs"\ninterval = 0.5\nprefix = {json.dumps(ssh.prefix)}\nbin = "{fake.directory}"\n')
    service = ServiceProcess(short_path / "far-pbs-service", "--config", str(config))
    service.start()
    try:
        assert service.job("pbs", "5[1]", wait=20)["job"]["state"] == "RUNNING"
        assert service.job("pbs", "5[2].pbslab", wait=20)["job"]["state"] == "QUEUED"
        fake.server["jobs"]["5[1].pbslab"] = {**attributes("FAILED"), "job_state": "X"}
        fake.save()
        assert service.job("pbs", "5[1].pbslab", until="terminal", wait=20)["job"]["exit_code"] == 3
    finally:
        service.stop()


def running_with(marker: str) -> list[str]:
    """The processes whose command line holds this."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if marker.encode() in path.read_bytes():
                found.append(path.parent.name)
        except OSError:
            continue
    return found


def test_a_command_that_hangs_far_away(ssh: ssh_server.SshServer, short_path: Path) -> None:
    """It is ended there, by its own deadline, and the query has failed: no job ends."""
    programs = Programs(str(short_path / "hanging"))
    marker = f"jobpush-hanging-{time.time():.0f}"
    programs.write("squeue", f"#!/bin/sh\nexec {sys.executable} -c 'import time; time.sleep(100)' {marker}\n")
    programs.write("scontrol", "#!/bin/sh\necho 'MinJobAge = 300 sec'\n")
    config = short_path / "hanging.toml"
    config.write_text(f'[[queue]]\ntype = "slurm"\ntimeout = 1\nprefix = {json.dumps(ssh.prefix)}\nbin = "{programs.directory}"\n')
    service = ServiceProcess(short_path / "hanging-service", "--config", str(config))
    service.start()
    try:
        wait_until(lambda: "did not answer within 1 s on the other host" in service.log, 20)
        time.sleep(1)
    finally:
        service.stop()
    wait_until(lambda: not running_with(marker), 10)


def test_the_connection_is_lost(ssh: ssh_server.SshServer, slurm: SlurmCluster, jobpush: ServiceProcess) -> None:
    """While the other host cannot be reached no job ends; then events resume."""
    job = slurm.submit(script="sleep 20; exit 5")
    Doing(slurm, jobpush, "alpha", job).reaches("RUNNING")
    ssh.stop()
    wait_until(lambda: jobpush.job("alpha", job)["health"] == "stale", 20)
    time.sleep(3)
    answer = jobpush.job("alpha", job)
    assert answer["job"]["state"] == "RUNNING"
    assert "ssh" in json.dumps(jobpush.get("/readyz").json) or "ended with status 255" in jobpush.log
    ssh.start()
    assert jobpush.job("alpha", job, until="terminal", wait=90)["job"]["exit_code"] == 5
