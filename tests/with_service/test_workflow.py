"""A workflow of 300 jobs in five layers on a real Slurm, over a restart of jobpush: its events, and the one who waits for all of it."""

from __future__ import annotations

import datetime
import itertools
import json
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.service_process import ServiceProcess
from tests.slurm_cluster import SlurmCluster, wait_until

pytestmark = [pytest.mark.slurm, pytest.mark.service, pytest.mark.timeout(400)]

LAYERS, WIDTH = 5, 60


class Waiting(threading.Thread):
    """A client that waits for all of it with one request, which it repeats as long as the answer says that it is not done."""

    def __init__(self, service: ServiceProcess, body: dict[str, Any]) -> None:
        super().__init__(daemon=True)
        self._service = service
        self._body = body
        self.answers: list[tuple[float, Any]] = []
        self.cut = 0

    def run(self) -> None:
        while not (self.answers and self.answers[-1][1]["done"]):
            try:
                reply = self._service.request("POST", "/v1/wait", json.dumps(self._body).encode(), timeout=120)
            except OSError:
                self.cut += 1
                time.sleep(0.2)  # jobpush is being restarted
                continue
            if reply.status == 200:
                self.answers.append((time.time(), reply.json))


def submit_layers(slurm: SlurmCluster) -> list[list[str]]:
    """Each job waits for two jobs of the layer before, the first layer for its release; the first job of the last layer fails."""
    layers: list[list[str]] = []
    for layer in range(LAYERS):
        jobs: list[str] = []
        for number in range(WIDTH):
            before = [f"{layers[-1][number]}", f"{layers[-1][(number + 1) % WIDTH]}"] if layers else []
            code = 7 if (layer, number) == (LAYERS - 1, 0) else 0
            options = ["-d", "afterok:" + ":".join(before)] if before else ["--hold"]
            jobs.append(slurm.submit("--comment", "x workflow=grid", *options, script=f"sleep 2; exit {code}"))
        layers.append(jobs)
    return layers


def test_three_hundred_jobs(slurm: SlurmCluster, short_path: Path) -> None:
    """The events tell what the jobs' events add up to, step by step; whoever waits is answered once, when all has ended."""
    directory = short_path / "workflow"
    service = ServiceProcess(directory, "--queue", f"slurm:interval=0.5:conf={slurm.conf}", "--state", str(directory / "state"))
    service.start()
    service.ready()
    layers = submit_layers(slurm)
    keys = [f"slurm/{job}" for jobs in layers for job in jobs]
    edges = [
        [f"slurm/{before}", f"slurm/{job}"]
        for above, below in itertools.pairwise(layers)
        for number, job in enumerate(below)
        for before in (above[number], above[(number + 1) % WIDTH])
    ]
    put = service.request("PUT", "/v1/workflows/grid", json.dumps({"jobs": keys, "edges": edges}).encode())
    assert put.status == 201, put.body
    assert sum(put.json["counts"].values()) == LAYERS * WIDTH
    by_name = Waiting(service, {"workflows": ["grid"], "mode": "all", "wait": 60})
    by_ids = Waiting(service, {"jobs": keys, "mode": "all", "wait": 60})
    for client in (by_name, by_ids):
        client.start()
    slurm.command("scontrol", "release", ",".join(layers[0]))
    ended = lambda: service.get("/v1/workflows/grid").json["progress"]  # noqa: E731
    wait_until(lambda: ended() >= 0.3, 200)
    service.stop()
    time.sleep(1)
    service.start()
    for client in (by_name, by_ids):
        client.join(240)
        assert not client.is_alive()
    told_at = by_name.answers[-1][0]

    whole = service.get("/v1/workflows/grid").json
    assert (whole["state"], whole["settled"], whole["progress"]) == ("FAILED", True, 1.0)
    assert whole["counts"] == {"COMPLETED": LAYERS * WIDTH - 1, "FAILED": 1}
    assert whole["first_failure"]["job"] == f"slurm/{layers[-1][0]}"
    assert whole["first_failure"]["exit_code"] == 7
    # The last job of all may be seen while its node still clears up after it.
    passing = ("UNKNOWN", "FINISHING")
    assert [step["state"] for step in whole["history"] if step["state"] not in passing] == ["QUEUED", "RUNNING", "FAILED"]

    events = service.events()
    check_sums(events, set(keys))
    check_layers(events, layers)
    final = [e for e in events if e["type"] == "workflow" and e["workflow"]["name"] == "grid" and e["workflow"]["settled"]]
    assert len(final) == 1, "it ends once"
    for client in (by_name, by_ids):
        done = [answer for _, answer in client.answers if answer["done"]]
        assert len(done) == 1
        assert all(answer["timed_out"] for _, answer in client.answers[:-1]), "any other answer was the restart's, or a time-out's"
    assert len(by_ids.answers[-1][1]["met"]) == LAYERS * WIDTH
    assert abs(told_at - moment(final[0]["at"])) < 10, "at the right moment"

    found = service.get(f"/v1/workflows/grid@{whole_user(events)}").json
    assert (found["state"], found["counts"], found["found"]) == ("FAILED", whole["counts"], True)
    service.stop()


def whole_user(events: list[Any]) -> str:
    return next(str(e["job"]["user"]) for e in events if e["type"] == "job" and "grid" in str(e["job"]["comment"]))


def moment(text: str) -> float:
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


def check_sums(events: list[Any], keys: set[str]) -> None:
    """Each event of the workflow has the counts that the jobs' events before it add up to; its states follow each other."""
    states: dict[str, str] = {}
    previous = None
    looked_at = 0
    for event in events:
        if event["type"] == "job":
            states[f"{event['job']['cluster']}/{event['job']['id']}"] = event["job"]["state"]
        elif event["workflow"]["name"] == "grid":
            known = Counter(states.get(key, "UNKNOWN") for key in keys)
            assert event["workflow"]["counts"] == dict(known)
            assert (event["previous"] or {}).get("state") == previous
            previous = event["workflow"]["state"]
            looked_at += 1
    assert looked_at > LAYERS


def check_layers(events: list[Any], layers: list[list[str]]) -> None:
    """All have ended, by the scheduler's own times none before those that it waited for."""
    jobs = {event["job"]["id"]: event["job"] for event in events if event["type"] == "job"}
    for above, below in itertools.pairwise(layers):
        for number, job in enumerate(below):
            for before in (above[number], above[(number + 1) % WIDTH]):
                assert jobs[job]["started_at"] >= jobs[before]["ended_at"], (job, before)
