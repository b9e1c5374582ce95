"""
The hook scripts in a real Slurm and a real Grid Engine: with them a change is seen at once, although the queue is asked seldom;
and whatever becomes of jobpush, jobs run and end as without them.
"""

from __future__ import annotations

import re
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests import slurm_cluster
from tests.conftest import running
from tests.hooks import install_hooks, install_slurm_submit_hook
from tests.service_process import ServiceProcess
from tests.sge_cluster import GridEngine
from tests.slurm_cluster import SlurmCluster, wait_until

pytestmark = [pytest.mark.service, pytest.mark.timeout(300)]

#: Seconds between two queries that nobody asks for: what is told sooner, a hook has announced.
SELDOM_S = 600

#: Seconds within which it is told, on a loaded host too.
SOON_S = 30.0

#: What `scontrol` shows of a job that has not ended.
UNENDED = re.compile("JobState=(PENDING|CONFIGURING|RUNNING|COMPLETING) ")


@pytest.fixture(scope="module")
def hooked_slurm(short_path: Path) -> Iterator[SlurmCluster]:
    """A Slurm with all of its hooks."""
    directory = short_path / "hs"
    hooks = install_hooks(directory / "hooks", directory / "nudge", directory / "stamps")
    directory.chmod(0o777)
    cluster = SlurmCluster(
        directory / "slurm",
        extra=f"JobCompType=jobcomp/script\nJobCompLoc={hooks.jobcomp}\nPrologSlurmctld={hooks.slurmctld}\n"
        f"EpilogSlurmctld={hooks.slurmctld}\nCliFilterPlugins=cli_filter/lua",
    )
    install_slurm_submit_hook(cluster.conf.parent, hooks.cli_filter)
    yield from running(cluster, slurm_cluster.why_not())


@pytest.fixture(scope="module")
def hooked_sge(sge: GridEngine, short_path: Path) -> Iterator[GridEngine]:
    """That Grid Engine, with its hooks for the time of these tests."""
    directory = short_path / "hg"
    hook = install_hooks(directory / "hooks", directory / "nudge", directory / "stamps").grid_engine
    directory.chmod(0o777)
    sge.configure(prolog=f"root@{hook}", epilog=f"root@{hook}")
    until_called(sge, directory / "stamps")
    yield sge
    sge.configure(prolog="none", epilog="none")


def records(sge: GridEngine, job: str) -> list[list[str]]:
    """What accounting has of a job."""
    lines = sge.accounting.read_text().splitlines() if sge.accounting.exists() else []
    return [line.split(":") for line in lines if f":{job}:sge:" in line]


def until_called(sge: GridEngine, stamps: Path) -> None:
    """An execution daemon hears of a new configuration some seconds later."""

    def called() -> bool:
        job = sge.submit()
        wait_until(lambda: bool(records(sge, job)), 30)
        return stamps.read_text() != ""

    wait_until(called, 60)


def service_for(directory: Path, queue: str) -> ServiceProcess:
    """jobpush, where the hooks send to."""
    nudge = f"unix:{directory / 'nudge'}:mode=666"
    return ServiceProcess(directory / "service", "--queue", f"{queue}:interval={SELDOM_S}", "--state", str(directory / "state"), "--nudge", nudge)


def states(service: ServiceProcess, cluster: str, job: str) -> list[str]:
    """What was told of a job."""
    return [e["job"]["state"] for e in service.events(job=f"{cluster}/{job}")]


@pytest.fixture
def beside_slurm(hooked_slurm: SlurmCluster, short_path: Path) -> Iterator[ServiceProcess]:
    service = service_for(short_path / "hs", f"slurm:conf={hooked_slurm.conf}:probe=no")
    service.start()
    service.ready()
    yield service
    service.stop()


@pytest.fixture
def beside_sge(hooked_sge: GridEngine, short_path: Path) -> Iterator[ServiceProcess]:
    queue = f"sge:root={hooked_sge.root}:qmaster_port={hooked_sge.port}:watch=no"
    service = service_for(short_path / "hg", queue)
    service.start()
    service.ready()
    yield service
    service.stop()


@pytest.mark.slurm
class TestSlurm:
    """jobcomp, PrologSlurmctld, EpilogSlurmctld and the command line's filter."""

    def test_seen_at_once(self, hooked_slurm: SlurmCluster, beside_slurm: ServiceProcess) -> None:
        """Submission, start, end; cancellation while pending and while running; requeue."""
        job = hooked_slurm.submit(script="sleep 3")
        assert beside_slurm.job("slurm", job, until="started", wait=SOON_S)["job"]["state"] == "RUNNING"
        assert beside_slurm.job("slurm", job, until="terminal", wait=SOON_S)["job"]["state"] == "COMPLETED"
        held = hooked_slurm.submit("--hold")
        wait_until(lambda: states(beside_slurm, "slurm", held) == ["HELD"], SOON_S)
        hooked_slurm.command("scancel", held)
        assert beside_slurm.job("slurm", held, until="terminal", wait=SOON_S)["job"]["state"] == "CANCELLED"
        long = hooked_slurm.submit("--requeue", script="sleep 600")
        assert beside_slurm.job("slurm", long, until="started", wait=SOON_S)["job"]["state"] == "RUNNING"
        cursor = beside_slurm.job("slurm", long)["cursor"]
        hooked_slurm.command("scontrol", "requeue", long)
        assert beside_slurm.job("slurm", long, since=cursor, wait=SOON_S)["job"]["attempt"] == 1
        hooked_slurm.command("scancel", long)
        assert beside_slurm.job("slurm", long, until="terminal", wait=SOON_S)["job"]["state"] == "CANCELLED"
        queue = beside_slurm.get("/readyz").json["queues"]["slurm"]
        assert queue["queries_nudged"] > 3
        assert queue["interval_s"] <= SELDOM_S

    def test_jobpush_does_not_matter(self, hooked_slurm: SlurmCluster, beside_slurm: ServiceProcess, short_path: Path) -> None:
        """It is stopped; it hangs; its socket is missing: jobs are accepted, run, and end as ever."""

        def shown(job: str) -> str:
            return hooked_slurm.command("scontrol", "-o", "show", "job", job)

        def run() -> None:
            jobs = {hooked_slurm.submit(script=f"exit {code}"): code for code in (0, 3)}
            for job, code in jobs.items():
                wait_until(lambda job=job: UNENDED.search(shown(job)) is None, 30)  # type: ignore[misc]
                state = "COMPLETED" if code == 0 else "FAILED"
                assert f"JobState={state} " in shown(job), shown(job)
                assert f"ExitCode={code}:0" in shown(job)

        in_each_state(beside_slurm, short_path / "hs", run)


@pytest.mark.sge
class TestGridEngine:
    """prolog and epilog."""

    def test_seen_at_once(self, hooked_sge: GridEngine, beside_sge: ServiceProcess) -> None:
        """Start and end, of a job and of an array's tasks. A submission is found when it is asked for."""
        job = hooked_sge.submit(script="sleep 3")
        assert beside_sge.job("sge", job, until="started", wait=SOON_S)["job"]["state"] == "RUNNING"
        assert beside_sge.job("sge", job, until="terminal", wait=SOON_S)["job"]["state"] == "COMPLETED"
        array = hooked_sge.submit("-t", "1-2", script="sleep 2; exit $SGE_TASK_ID")
        whole = beside_sge.job("sge", array, until="terminal", wait=SOON_S)["job"]
        assert (whole["state"], whole["counts"]) == ("FAILED", {"FAILED": 2})
        assert beside_sge.get("/readyz").json["queues"]["sge"]["queries_nudged"] > 2

    def test_what_no_hook_and_no_log_tells(self, hooked_sge: GridEngine, short_path: Path) -> None:
        """Hold and release: the qmaster writes them to its database."""
        service = service_for(short_path / "hw", f"sge:root={hooked_sge.root}:qmaster_port={hooked_sge.port}")
        service.start()
        try:
            service.ready()
            job = hooked_sge.submit("-h", script="sleep 600")
            wait_until(lambda: states(service, "sge", job) == ["HELD"], SOON_S)
            hooked_sge.command("qalter", "-h", "U", job)
            assert service.job("sge", job, until="started", wait=SOON_S)["job"]["state"] == "RUNNING"
            waiting = hooked_sge.submit("-a", "203001010000")
            wait_until(lambda: states(service, "sge", waiting) == ["QUEUED"], SOON_S)
            hooked_sge.command("qhold", waiting)
            wait_until(lambda: states(service, "sge", waiting) == ["QUEUED", "HELD"], SOON_S)
            hooked_sge.command("qrls", waiting)
            wait_until(lambda: states(service, "sge", waiting) == ["QUEUED", "HELD", "QUEUED"], SOON_S)
            hooked_sge.command("qdel", job, waiting)
            for job_id in (job, waiting):
                assert service.job("sge", job_id, until="terminal", wait=SOON_S)["job"]["state"] == "CANCELLED"
        finally:
            service.stop()

    def test_jobpush_does_not_matter(self, hooked_sge: GridEngine, beside_sge: ServiceProcess, short_path: Path) -> None:
        """It is stopped; it hangs; its socket is missing."""

        def run() -> None:
            jobs = {hooked_sge.submit(script=f"exit {code}"): code for code in (0, 3)}
            for job, code in jobs.items():
                wait_until(lambda job=job: bool(records(hooked_sge, job)), 30)  # type: ignore[misc]
                assert [fields[11:13] for fields in records(hooked_sge, job)] == [["0", str(code)]]

        in_each_state(beside_sge, short_path / "hg", run)


def in_each_state(service: ServiceProcess, directory: Path, run: Callable[[], None]) -> None:
    """Run jobs while jobpush hangs, was killed (its socket is there, and nobody listens), and was stopped without its socket."""
    stamps = directory / "stamps"
    assert service.process is not None
    called = len(stamps.read_text().splitlines())

    def once_more() -> None:
        nonlocal called
        run()
        wait_until(lambda: len(stamps.read_text().splitlines()) > called, 30)
        called = len(stamps.read_text().splitlines())

    service.process.send_signal(signal.SIGSTOP)
    try:
        once_more()
    finally:
        service.process.send_signal(signal.SIGCONT)
    service.kill()
    assert (directory / "nudge").exists()
    once_more()
    (directory / "nudge").unlink()
    once_more()
