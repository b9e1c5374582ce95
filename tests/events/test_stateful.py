"""
Journal and tracker as a state machine: publish, wait, cancel, time out, restart, in any order.

A model follows what each client has seen. No event may be lost, none may come twice below the cursor, no waiter may leak.
"""

from __future__ import annotations

import os
import tempfile
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, multiple, rule

from jobpush.events.journal import Retention
from tests.support import Lab

JOBS = ("1", "2", "3")
STATES = ("QUEUED", "RUNNING", "SUSPENDED", "COMPLETED", "FAILED")


class Client:
    """Somebody who follows some jobs by cursor."""

    def __init__(self, jobs: tuple[str, ...], cursor: str) -> None:
        self.jobs = jobs
        self.cursor = cursor
        self.seen: list[int] = []
        self.begin = int(cursor.rpartition("-")[2])
        self.request: Any = None


class JournalAndTracker(RuleBasedStateMachine):
    """The machine."""

    clients = Bundle("clients")

    @initialize()
    def begin(self) -> None:
        self.directory = tempfile.TemporaryDirectory(prefix="jobpush-test-")
        self.told: list[tuple[int, str]] = []
        self.everybody: list[Client] = []
        self.jobs: dict[str, str] = {}
        self.lab = self.make()

    def make(self) -> Lab:
        lab = Lab(os.path.join(self.directory.name, "state"), retention=Retention(events=100_000))
        lab.service.tail._capacity = 3  # so that the journal is read, too
        for job_id, state in self.jobs.items():
            lab.queue.set(job_id, state)
        return lab.start()

    def take(self, client: Client) -> None:
        """If the client's request is answered: what it says."""
        if client.request is None or client.request.held:
            return
        answer = client.request.json()
        client.request = None
        client.seen.extend(event["seq"] for event in answer["events"])
        assert all(event["job"]["id"] in client.jobs for event in answer["events"])
        client.cursor = answer["cursor"]

    def settle(self) -> None:
        for client in self.everybody:
            self.take(client)

    @rule(target=clients, jobs=st.sets(st.sampled_from(JOBS), min_size=1))
    def arrive(self, jobs: set[str]) -> Client:
        client = Client(tuple(sorted(jobs)), self.lab.cursor)
        self.everybody.append(client)
        return client

    @rule(client=clients, wait=st.sampled_from((0, 2, 30)), limit=st.sampled_from((1, 2, 100)))
    def ask(self, client: Client, wait: int, limit: int) -> None:
        self.take(client)
        if client.request is None:
            query = "&".join(f"job=memory/{job}" for job in client.jobs)
            client.request = self.lab.get(f"/v1/changes?since={client.cursor}&wait={wait}&limit={limit}&{query}")
            self.take(client)

    @rule(client=clients)
    def disconnect(self, client: Client) -> None:
        """What was in flight may be lost; the cursor is not moved, so that it comes again."""
        self.take(client)
        if client.request is not None:
            client.request.cancel()
            client.request = None

    @rule(target=clients, client=consumes(clients))
    def leave(self, client: Client) -> Any:
        self.disconnect(client)
        self.check_complete(client)
        self.everybody.remove(client)
        return multiple()

    @rule(changes=st.dictionaries(st.sampled_from(JOBS), st.sampled_from(STATES), min_size=1))
    def change(self, changes: dict[str, str]) -> None:
        self.jobs.update(changes)
        for job_id, state in changes.items():
            self.lab.queue.set(job_id, state)
        self.lab.tick()
        self.settle()

    @rule(changes=st.dictionaries(st.sampled_from(JOBS), st.sampled_from(STATES), min_size=1), client=clients)
    def change_while_somebody_asks(self, changes: dict[str, str], client: Client) -> None:
        self.lab.threads.hold("write")
        self.jobs.update(changes)
        for job_id, state in changes.items():
            self.lab.queue.set(job_id, state)
        self.lab.tick()
        self.ask(client, 30, 100)
        self.lab.threads.release()
        self.lab.tick()
        self.settle()

    @rule(seconds=st.sampled_from((0.5, 3.0, 40.0)))
    def time_passes(self, seconds: float) -> None:
        self.lab.clock.run(seconds, step=0.25)
        self.settle()

    @rule(in_order=st.booleans())
    def restart(self, in_order: bool) -> None:
        if in_order:
            self.lab.service.announce_end()
            self.settle()
        for client in self.everybody:
            self.disconnect(client)
        self.lab.stop()
        self.lab = self.make()

    def published(self) -> list[tuple[int, str]]:
        return [(event["seq"], event["job"]["id"]) for event in self.lab.events()]

    def check_complete(self, client: Client) -> None:
        """By its cursor it has seen exactly what was told of its jobs, in order, once."""
        until = int(client.cursor.rpartition("-")[2])
        expected = [seq for seq, job in self.published() if job in client.jobs and client.begin < seq <= until]
        assert client.seen == expected, (client.seen, expected)

    @invariant()
    def nothing_is_lost_repeated_or_left(self) -> None:
        if not hasattr(self, "lab"):
            return
        self.settle()
        events = self.published()
        assert [seq for seq, _ in events] == list(range(1, len(events) + 1))
        assert events[: len(self.told)] == self.told, "what was told once stays as it was told"
        self.told = events
        for client in self.everybody:
            self.check_complete(client)
        waiting = sum(client.request is not None for client in self.everybody)
        assert self.lab.service.tracker.waiting == waiting
        assert self.lab.registry.held == waiting
        calls = len(self.lab.clock.getDelayedCalls())
        assert calls == 3 + bool(waiting), "the next ticks of the monitor, the keeper and the heartbeat, and one for all deadlines"

    def teardown(self) -> None:
        if hasattr(self, "lab"):
            for client in self.everybody:
                self.disconnect(client)
            assert self.lab.service.tracker.idle
            self.lab.stop()
            self.directory.cleanup()


JournalAndTracker.TestCase.settings = settings(
    max_examples=60, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
)
JournalAndTrackerTests = JournalAndTracker.TestCase
