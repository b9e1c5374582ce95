"""A service on a host whose clock is set by an hour while requests are held, by libfaketime: only what is a date moves."""

from __future__ import annotations

import glob
import json
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from unittest import SkipTest

import pytest
from twisted.trial.unittest import SynchronousTestCase

from jobpush.core.wire.values import from_time
from tests.service_process import ServiceProcess, write_jobs
from tests.slurm_cluster import wait_until

pytestmark = [pytest.mark.service, pytest.mark.timeout(180)]

HOUR_S = 3600

#: Seconds for which requests are held, by which they may be late on a machine that does other work too, and by which they are
#: answered sooner so that not all of them are at once.
WAIT_S, LATE_S, SOONER = 8.0, 3.0, 1 / 16

#: Seconds for which a job may be absent; it is lost after twice as many.
GRACE_S = 10.0

#: Requests that are held for `WAIT_S`.
POLLS = ("/v1/jobs/mock/1?until=terminal", "/v1/wait?job=mock/1", "/v1/changes?job=mock/1&since={cursor}", "/v1/jobs/mock/1?since={cursor}")


def library() -> str:
    """Return the path of libfaketime, as Debian's package faketime has it; skip the test where it is not installed."""
    found = [*glob.glob("/usr/lib/*/faketime/libfaketimeMT.so.1"), *glob.glob("/usr/lib*/faketime/libfaketimeMT.so.1")]
    if not found:
        raise SkipTest("libfaketime is not installed (Debian's package faketime)")
    return found[0]


class SetClockTests(SynchronousTestCase):
    """The clock of the host is set while the service runs."""

    def setUp(self) -> None:
        directory = Path(os.path.abspath(self.mktemp()))
        directory.mkdir(parents=True)
        self.offset = directory / "offset"
        self.set_clock(0)
        self.jobs = directory / "jobs"
        self.show("1 RUNNING", "2 RUNNING", "3 QUEUED")
        self.service = ServiceProcess(
            directory,
            "--queue",
            f"mock:file={self.jobs}:interval=0.5:grace={GRACE_S:g}",
            "--state",
            str(directory / "state"),
            "--access-log",
            str(directory / "access.log"),
            environment={
                "LD_PRELOAD": library(),
                "FAKETIME_TIMESTAMP_FILE": str(self.offset),
                "FAKETIME_NO_CACHE": "1",
                "FAKETIME_DONT_FAKE_MONOTONIC": "1",
                "NO_FAKE_STAT": "1",
            },
        )
        self.service.start()
        self.addCleanup(self.service.stop)
        self.service.ready()
        self.threads = ThreadPoolExecutor(16)
        self.addCleanup(self.threads.shutdown)

    def set_clock(self, seconds: int) -> None:
        """From now on the service's clock is so many seconds ahead of that of this host."""
        fresh = self.offset.with_suffix(".new")
        fresh.write_text(f"{seconds:+d}")
        os.replace(fresh, self.offset)

    def show(self, *jobs: str) -> None:
        """The scheduler lists these jobs."""
        fields = (dict(zip(("id", "state"), job.split(), strict=True)) for job in jobs)
        write_jobs(self.jobs, "".join(json.dumps(job) + "\n" for job in fields))

    def hold(self) -> Callable[[], list[tuple[float, Any]]]:
        """Hold requests; what is returned waits for their answers, and returns the seconds that each took."""
        cursor = self.service.get("/v1/changes").json["cursor"]
        paths = [f"{path.format(cursor=cursor)}&wait={WAIT_S:g}" for path in POLLS]

        def ask(path: str) -> tuple[float, Any]:
            began = time.monotonic()
            answer = self.service.get(path)
            return time.monotonic() - began, answer

        asked = [self.threads.submit(ask, path) for path in paths]
        wait_until(lambda: self.service.get("/readyz").json["held"] == len(paths), 5)
        return lambda: [each.result() for each in asked]

    def status(self) -> Any:
        """How the queue is doing."""
        return self.service.get("/readyz").json["queues"]["mock"]

    def check_that_it_goes_on(self, seconds: float, states: Callable[[], None] = lambda: None) -> None:
        """Looks go on for so long, and the age of what is served is right."""
        until, before, looks = time.monotonic() + seconds, self.status()["queries"], 0
        while time.monotonic() < until:
            status = self.status()
            self.assertEqual(status["health"], "ok", status)
            self.assertTrue(0.0 <= status["stale_s"] < 3.0, status)
            states()
            looks = status["queries"] - before
            time.sleep(0.2)
        self.assertGreater(looks, seconds / 0.5 / 3)

    def check_times(self, answers: list[tuple[float, Any]]) -> None:
        """Requests that nothing has answered time out when they are to."""
        for seconds, answer in answers:
            self.assertTrue(answer.status in (200, 404), answer)
            self.assertTrue(WAIT_S * (1 - SOONER) - 0.1 <= seconds <= WAIT_S + LATE_S, (seconds, answer))

    def check_log(self, words: str) -> None:
        """The log says once by how much the clock was set."""
        wait_until(lambda: "the clock of this host was set" in self.service.log, 10)
        lines = [line for line in self.service.log.splitlines() if "the clock of this host was set" in line]
        self.assertEqual(len(lines), 1, lines)
        self.assertIn(words, lines[0])
        self.assertNotIn("Traceback", self.service.log)

    def check_dates(self, ahead: int) -> None:
        """What is told of a new job, and the line on a request in the access log, have dates of the service's clock."""
        self.show("1 RUNNING", "4 QUEUED")
        wait_until(lambda: self.service.get("/v1/jobs/mock/4").status == 200, 5)
        (event,) = self.service.events(job="mock/4")
        for moment in (event["at"], event["job"]["observed_at"]):
            self.assertLess(abs(from_time(moment) - time.time() - ahead), 30.0, event)
        log = self.service.directory / "access.log"
        line = time.strftime("[%d/%b/%Y:%H:", time.gmtime(time.time() + ahead))
        wait_until(lambda: line in log.read_text().splitlines()[-1], 5)

    def test_back(self) -> None:
        """By an hour back: held requests time out in their time, looks go on, ages are right, the log says it."""
        answers = self.hold()
        self.set_clock(-HOUR_S)
        self.check_that_it_goes_on(WAIT_S)
        self.check_times(answers())
        self.check_log("back by 3600")
        self.check_dates(-HOUR_S)

    def test_forward(self) -> None:
        """By an hour forward: nothing times out early, and a job that is absent is not lost for that."""
        self.show("1 RUNNING", "3 QUEUED")
        wait_until(lambda: self.service.job("mock", "2")["job"]["state"] == "FINISHING", 10)
        absent = time.monotonic()
        answers = self.hold()
        self.set_clock(HOUR_S)

        def states() -> None:
            state = self.service.job("mock", "2")["job"]["state"]
            if time.monotonic() - absent < GRACE_S - 4.0:
                self.assertEqual(state, "FINISHING")
            self.assertNotEqual(state, "LOST")

        self.check_that_it_goes_on(WAIT_S, states)
        self.check_times(answers())
        self.check_log("forward by 3600")
        wait_until(lambda: self.service.job("mock", "2")["job"]["state"] == "LOST", 3 * GRACE_S)
        self.assertGreater(time.monotonic() - absent, GRACE_S)
        self.check_dates(HOUR_S)
