"""
What held requests cost: ``python -m benchmarks.held``.

Starts jobpush on a jobs file, holds requests on one job, changes the job, and measures the server's process: resident memory
for each held request, CPU to answer all after one event, the time from the first client's answer to the last's. Prints one
Markdown table. Loopback only; ends by itself.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from urllib.request import urlopen

import klein

import twisted

ROOT = Path(__file__).resolve().parent.parent


class Server:
    """jobpush in its own process, with its journal on."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.port = _free_port()
        self.jobs = directory / "jobs"
        self.write("RUNNING")
        path = os.pathsep.join([str(ROOT), str(ROOT / "adapters")])
        self.process = subprocess.Popen(
            [
                sys.executable, "-c", "from twisted.scripts.twistd import run; run()", "--nodaemon", "--pidfile=",
                f"--logfile={directory}/log", "jobpush", "--port", str(self.port), "--state", str(directory / "state"),
                "--queue", f"mock:file={self.jobs}:interval=0.1", "--access-log", str(directory / "access.log"),
            ],
            cwd=directory, env={**os.environ, "PYTHONPATH": path},
        )  # fmt: skip
        for _ in range(200):
            try:
                if self.get("/readyz")["status"] == "ready":
                    return
            except OSError:
                pass
            time.sleep(0.05)
        raise SystemExit("jobpush did not start")

    def write(self, state: str) -> None:
        """Job 1 is in that state from now on."""
        fresh = self.jobs.with_suffix(".new")
        fresh.write_text(json.dumps({"id": "1", "state": state}) + "\n")
        os.replace(fresh, self.jobs)

    def get(self, path: str) -> dict:  # type: ignore[type-arg]
        """A JSON answer."""
        try:
            with urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=60) as answer:
                return json.load(answer)  # type: ignore[no-any-return]
        except OSError as error:
            if getattr(error, "code", None) == 503:
                return {"status": "not ready"}
            raise

    def rss(self) -> int:
        """Resident memory in bytes."""
        return int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def cpu(self) -> float:
        """CPU seconds so far, user and system."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def stop(self) -> None:
        """End it."""
        self.process.terminate()
        self.process.wait(30)


def one_round(server: Server, count: int, state: str) -> dict[str, float]:
    """Hold that many, change the job, wait for all answers."""
    cursor = server.get("/v1/changes")["cursor"]
    ready = server.directory / "ready"
    ready.unlink(missing_ok=True)
    before = server.rss()
    clients = subprocess.Popen(
        [
            sys.executable, "-m", "benchmarks.load", "hold", "--port", str(server.port), "--connections", str(count),
            "--path", f"/v1/jobs/mock/1?since={cursor}&wait=300", "--seconds", "240", "--json", "--ready", str(ready),
        ],
        cwd=ROOT, stdout=subprocess.PIPE,
    )  # fmt: skip
    while not ready.exists() or server.get("/readyz")["held"] < count:
        if clients.poll() is not None:
            raise SystemExit("the load generator ended early")
        time.sleep(0.1)
    time.sleep(1)
    held = server.rss()
    cpu = server.cpu()
    server.write(state)
    output, _ = clients.communicate(timeout=240)
    cpu = server.cpu() - cpu
    report = json.loads(output)
    if report["answered"] != count:
        raise SystemExit(f"only {report['answered']} of {count} were answered: {report}")
    return {
        "kB": (held - before) / 1024 / count,
        "rss": held / 1e6,
        "cpu": cpu,
        "spread": (report["last_at"] - report["first_at"]) * 1000,
    }


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.held", description=__doc__)
    parser.add_argument("--count", type=int, nargs="+", default=[1000, 5000, 10_700])
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    if max(given.count) > 50_000 or given.rounds > 50:
        raise SystemExit("at most 50000 requests and 50 rounds")
    print(
        f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, Twisted {twisted.__version__}, "
        f"Klein {klein.__version__}; {given.rounds} rounds, the first apart\n"
    )
    print("| held | kB per held request, first hold | whole process, MB | CPU to answer all, s | first to last, ms |")
    print("|---|---|---|---|---|")
    for count in given.count:
        with tempfile.TemporaryDirectory() as directory:
            server = Server(Path(directory))
            try:
                states = ["SUSPENDED", "RUNNING"] * given.rounds
                rounds = [one_round(server, count, state) for state in states[: given.rounds + 1]]
            finally:
                server.stop()
        first, rest = rounds[0], rounds[1:]
        cpu, spread = ([r[name] for r in rest] for name in ("cpu", "spread"))
        print(
            f"| {count} | {first['kB']:.1f} | {max(r['rss'] for r in rounds):.0f} | {statistics.median(cpu):.2f} "
            f"({min(cpu):.2f}-{max(cpu):.2f}) | {statistics.median(spread):.0f} ({min(spread):.0f}-{max(spread):.0f}) |",
            flush=True,
        )


def _free_port() -> int:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


if __name__ == "__main__":
    main()
