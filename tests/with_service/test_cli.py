"""The command and the synchronous client against jobpush in its own process: restarts, outages, exit statuses."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jobpush_client import ChangeEvent, Client, Reset, RetryPolicy, Unknown, WaitTimeout
from tests.service_process import ROOT, ServiceProcess, twistd_environment, write_jobs
from tests.slurm_cluster import SlurmCluster, wait_until

pytestmark = [pytest.mark.service]


class Bench:
    """jobpush on a jobs file, and the command beside it."""

    def __init__(self, directory: Path) -> None:
        self.jobs = directory / "jobs"
        self.begun: list[subprocess.Popen[str]] = []
        self.set({"1": "RUNNING", "2": "QUEUED"})
        self.service = ServiceProcess(directory / "service", "--queue", f"mock:file={self.jobs}:interval=0.1", "--state", str(directory / "state"))
        self.service.start()
        self.service.ready()

    def set(self, states: dict[str, Any]) -> None:
        """Jobs by id: a state, or fields."""
        rows = [{"id": job, **({"state": state} if isinstance(state, str) else state)} for job, state in states.items()]
        write_jobs(self.jobs, "".join(json.dumps(row) + "\n" for row in rows))

    def begin(self, *arguments: str, **options: Any) -> subprocess.Popen[str]:
        """Start ``jobpush …``."""
        environment = twistd_environment({"JOBPUSH_URL": f"http://127.0.0.1:{self.service.port}", "TZ": "UTC"})
        command = subprocess.Popen(
            [sys.executable, "-m", "jobpush_client.cli", *arguments], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            stdin=options.get("stdin", subprocess.DEVNULL), text=True, cwd=ROOT,
            # Whoever runs the tests in the background may have them ignore Ctrl-C.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )  # fmt: skip
        self.begun.append(command)
        return command

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """The same, to its end."""
        command = self.begin(*arguments)
        out, err = command.communicate(timeout=60)
        return subprocess.CompletedProcess(arguments, command.returncode, out, err)

    def held(self, count: int = 1) -> None:
        """Returns when so many requests are held."""
        wait_until(lambda: self.service.get("/readyz").json["held"] >= count, 30)

    def stop(self) -> None:
        """End all that was begun."""
        for command in self.begun:
            if command.poll() is None:
                command.kill()
            with command:
                pass
        self.service.stop()

    def client(self, **options: Any) -> Client:
        return Client(f"http://127.0.0.1:{self.service.port}", **options)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    found = Bench(tmp_path)
    yield found
    found.stop()


def test_wait(bench: Bench) -> None:
    """Exits as the job did."""
    waiting = bench.begin("wait", "1")
    bench.held()
    bench.set({"1": {"state": "FAILED", "exit_code": 3}, "2": "QUEUED"})
    out, err = waiting.communicate(timeout=30)
    assert (waiting.returncode, out, err) == (3, "mock/1 FAILED exit 3\n", "")
    assert bench.run("wait", "mock/1", "--quiet").returncode == 3
    assert json.loads(bench.run("wait", "mock/1", "--json").stdout)["exit_code"] == 3


def test_wait_for_some(bench: Bench) -> None:
    """Any, so many, or all; ids from standard input; the worst exit status of those that were waited for."""
    any_of = bench.begin("wait", "--any", "1", "2")
    two_of = bench.begin("wait", "-n", "2", "1", "2", "3")
    piped = bench.begin("wait", "-", "--json", stdin=subprocess.PIPE)
    assert piped.stdin is not None
    piped.stdin.write("1 2\n")
    piped.stdin.close()
    piped.stdin = None
    bench.held(2)
    bench.set({"1": {"state": "COMPLETED", "exit_code": 0}, "2": "QUEUED", "3": "RUNNING"})
    assert any_of.communicate(timeout=30)[0] == "mock/1 COMPLETED exit 0\n"
    assert any_of.returncode == 0
    bench.set({"1": {"state": "COMPLETED", "exit_code": 0}, "2": {"state": "CANCELLED"}, "3": "RUNNING"})
    assert two_of.communicate(timeout=30)[0].splitlines() == ["mock/1 COMPLETED exit 0", "mock/2 CANCELLED"]
    assert two_of.returncode == 220
    assert [json.loads(line)["job"] for line in piped.communicate(timeout=30)[0].splitlines()] == ["mock/1", "mock/2"]
    assert piped.returncode == 220


def test_until_started_and_timeout(bench: Bench) -> None:
    """``--until started`` is met by a begin; ``--timeout`` ends with 124."""
    assert bench.run("wait", "1", "--until", "started").returncode == 0
    late = bench.run("wait", "2", "--timeout", "0.5")
    assert (late.returncode, late.stdout) == (124, "")
    assert "not terminal yet" in late.stderr


def test_unknown(bench: Bench) -> None:
    """A job that no scheduler knows: 240; an id that can be none: 242."""
    lost = bench.run("wait", "99")
    assert lost.returncode == 240
    assert "99" in lost.stderr
    assert bench.run("show", "99").returncode == 240
    assert bench.run("wait", "nowhere/1").returncode == 242


def test_restart(bench: Bench) -> None:
    """A server that is killed, stays away for a while, and comes back: the wait goes on, and tells the end that came meanwhile."""
    waiting = bench.begin("wait", "1", "2")
    bench.held()
    bench.service.kill()
    bench.set({"1": {"state": "FAILED", "exit_code": 7}, "2": {"state": "COMPLETED", "exit_code": 0}})
    time.sleep(1)
    assert waiting.poll() is None
    bench.service.start()
    out, _ = waiting.communicate(timeout=60)
    assert waiting.returncode == 7
    assert sorted(out.splitlines()) == ["mock/1 FAILED exit 7", "mock/2 COMPLETED exit 0"]


def test_outage(bench: Bench) -> None:
    """While the scheduler cannot be asked nothing has ended."""
    waiting = bench.begin("wait", "1")
    bench.held()
    bench.jobs.unlink()
    wait_until(lambda: bench.service.get("/readyz").json["queues"]["mock"]["health"] == "stale", 30)
    time.sleep(1)
    assert waiting.poll() is None
    bench.set({"1": {"state": "COMPLETED", "exit_code": 0}})
    assert waiting.wait(60) == 0
    waiting.communicate()


def test_interrupt(bench: Bench) -> None:
    """Ctrl-C ends a wait at once, without a traceback, and the server holds nothing any more."""
    waiting = bench.begin("wait", "1")
    bench.held()
    waiting.send_signal(signal.SIGINT)
    _, err = waiting.communicate(timeout=10)
    assert (waiting.returncode, err) == (130, "")
    wait_until(lambda: bench.service.get("/readyz").json["held"] == 0, 10)


def test_show_status_tail(bench: Bench) -> None:
    """What people and engines read."""
    bench.set({"1": {"state": "FAILED", "exit_code": 3, "name": "al\u001bign", "user": "kim"}, "2": "QUEUED"})
    with bench.client() as client:
        client.wait_for("1")
    shown = bench.run("show", "1")
    assert shown.returncode == 0
    lines = shown.stdout.splitlines()
    assert lines[0] == "mock/1 FAILED exit 3"
    assert "  name       al\N{REPLACEMENT CHARACTER}ign" in lines
    assert lines[-1].split()[2] == "FAILED"
    assert json.loads(bench.run("show", "1", "--json").stdout)["job"]["exit_code"] == 3
    assert bench.run("status", "1", "--format", "snakemake").stdout == "failed\n"
    assert bench.run("status", "2").stdout == "QUEUED\n"

    tail = bench.begin("tail", "--since", "0", "--job", "mock/1")
    assert tail.stdout is not None
    told = [tail.stdout.readline() for _ in range(2)]
    assert [line.split()[3] for line in told] == ["RUNNING", "FAILED"]
    tail.terminate()
    tail.communicate()
    lines_of_json = bench.begin("tail", "--since", "0", "--json", "--state", "FAILED")
    assert lines_of_json.stdout is not None
    assert json.loads(lines_of_json.stdout.readline())["job"]["state"] == "FAILED"
    lines_of_json.stdout.close()  # who reads has enough
    bench.set({"1": {"state": "FAILED", "exit_code": 3}, "2": {"state": "FAILED"}})
    assert lines_of_json.wait(30) == 0
    assert lines_of_json.stderr is not None
    assert lines_of_json.stderr.read() == ""
    lines_of_json.stderr.close()


def test_submit(bench: Bench, tmp_path: Path) -> None:
    """The scheduler's command is run, what it says is passed on, and the job that it names is waited for."""
    qsub = tmp_path / "qsub"
    qsub.write_text(f"""#!/bin/sh
    echo '{{"id": "5", "state": "FAILED", "exit_code": 4}}' >> {bench.jobs}
    echo "Your job 5 (\\"$1\\") has been submitted"
    """)
    qsub.chmod(0o755)
    done = bench.run("submit", "--", str(qsub), "a name; $(rm)")
    assert (done.returncode, done.stdout) == (4, "mock/5 FAILED exit 4\n")
    assert done.stderr == 'Your job 5 ("a name; $(rm)") has been submitted\n'
    refused = bench.run("submit", "--", "/bin/sh", "-c", "echo no >&2; exit 9")
    assert (refused.returncode, refused.stderr) == (9, "no\n")
    assert bench.run("submit", "--", "/bin/true").returncode == 2
    assert bench.run("submit", "--", "/nonexistent").returncode == 2


def test_client_events(bench: Bench) -> None:
    """An iterator goes on over a restart: each change once; a journal that was begun anew is told."""
    found: list[Any] = []

    def follow() -> None:
        with bench.client(retry_policy=RetryPolicy(seconds=60)) as client:
            for event in client.events(since="0"):
                found.append(event)
                if isinstance(event, ChangeEvent) and event.job is not None and event.job.key == "mock/9":
                    return

    thread = threading.Thread(target=follow, daemon=True)
    thread.start()
    wait_until(lambda: len(found) == 2, 30)
    bench.set({"1": "SUSPENDED", "2": "QUEUED"})
    wait_until(lambda: len(found) == 3, 30)
    bench.service.stop()
    bench.set({"1": "RUNNING", "2": "QUEUED"})
    bench.service.start()
    wait_until(lambda: len(found) == 4, 30)
    assert [event.job.state for event in found] == ["RUNNING", "QUEUED", "SUSPENDED", "RUNNING"]
    assert [event.fields["seq"] for event in found] == [1, 2, 3, 4]
    bench.service.stop()
    for file in (bench.service.directory.parent / "state").iterdir():
        file.unlink()
    bench.service.start()

    def known_anew() -> set[str]:
        """Those of the new beginning; and what was told since, if that was before the service's first look."""
        later = found[4:]
        assert not later or isinstance(later[0], Reset)
        return {job.key for reset in later[:1] for job in reset.jobs} | {event.job.key for event in later[1:]}

    wait_until(lambda: known_anew() == {"mock/1", "mock/2"}, 30)
    bench.set({"1": "RUNNING", "9": "RUNNING"})
    thread.join(30)
    assert not thread.is_alive()


def test_client_calls(bench: Bench) -> None:
    """The synchronous client: jobs, barriers, workflows, errors."""
    with bench.client() as client:
        assert {job.key: job.state for job in client.jobs()} == {"mock/1": "RUNNING", "mock/2": "QUEUED"}
        assert [job.key for job in client.snapshot(state="QUEUED").jobs] == ["mock/2"]
        assert client.put_workflow("w7", ["mock/1", "mock/2"], [("mock/1", "mock/2")]).counts == {"QUEUED": 1, "RUNNING": 1}
        with pytest.raises(WaitTimeout) as caught:
            client.wait(["1", "2"], ["w7"], timeout=0.2)
        assert caught.value.last is not None
        bench.set({"1": {"state": "COMPLETED"}, "2": {"state": "TIMEOUT"}})
        barrier = client.wait(["1", "2"], ["w7"])
        assert {met.key: met.state for met in barrier.met} == {"mock/1": "COMPLETED", "mock/2": "TIMEOUT", "w7": "TIMEOUT"}
        assert client.wait_for_workflow("w7").terminal
        assert client.workflow("w7").first_failure["job"] == "mock/2"  # type: ignore[index]
        client.delete_workflow("w7")
        with pytest.raises(Unknown):
            client.workflow("w7")
        with pytest.raises(Unknown):
            client.job("77")
        assert client.ready()["queues"]["mock"]["jobs"] == 2


def test_unix_socket(tmp_path: Path, short_path: Path) -> None:
    """A server on a unix socket, by command and client."""
    path = short_path / f"http{os.getpid()}.sock"
    jobs = tmp_path / "jobs"
    write_jobs(jobs, '{"id": "1", "state": "COMPLETED", "exit_code": 0}\n')
    service = ServiceProcess(tmp_path / "service", "--queue", f"mock:file={jobs}")
    service.port = f"unix:{path}"  # type: ignore[assignment]
    service._answers = path.exists  # type: ignore[method-assign]
    service.start()
    try:
        with Client(f"unix:{path}") as client:
            assert client.wait_for("1", timeout=30).succeeded
        command = [sys.executable, "-m", "jobpush_client.cli", "wait", "1", "--url", f"unix:{path}"]
        assert subprocess.run(command, env=twistd_environment({}), check=False, timeout=60, stdout=subprocess.DEVNULL).returncode == 0
    finally:
        service.stop()


@pytest.mark.slurm
@pytest.mark.timeout(240)
def test_slurm(slurm: SlurmCluster, tmp_path: Path) -> None:
    """A real job's exit code, over a restart of the server and an outage of the controller."""
    service = ServiceProcess(tmp_path / "service", "--queue", f"slurm:conf={slurm.conf}", "--state", str(tmp_path / "state"))
    service.start()
    service.ready()
    environment = twistd_environment({"JOBPUSH_URL": f"http://127.0.0.1:{service.port}", **slurm.environment})
    environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), str(ROOT / "adapters"), str(ROOT / "client")])
    script = tmp_path / "job.sh"
    script.write_text("#!/bin/sh\nsleep 12\nexit 5\n")
    try:
        words = ["submit", "--", "sbatch", "-D", "/tmp", "-o", "/dev/null", str(script)]
        waiting = subprocess.Popen(
            [sys.executable, "-m", "jobpush_client.cli", *words], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        wait_until(lambda: service.get("/readyz").json["held"] >= 1, 30)
        service.kill()
        slurm.stop_controller()
        try:
            service.start()
            time.sleep(3)
            assert waiting.poll() is None
        finally:
            slurm.start_controller()
        out, err = waiting.communicate(timeout=120)
        assert waiting.returncode == 5, (out, err, service.log)
        assert "FAILED exit 5" in out
    finally:
        service.stop()
