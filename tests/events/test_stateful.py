"""
Journal and tracker as a state machine: publish, wait, cancel, time out, restart, in any order.

A model follows what each client has seen, with every kind of filter, from now on or from the oldest event that is kept. No event
may be lost, none may come that does not match, none may come twice below the cursor, no waiter may leak.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, multiple, rule

from jobpush.events.journal import Retention
from jobpush.events.journal_watch import JournalWatch
from tests.support import Lab

#: The jobs, by id: what is constant of them. Two of them make an array, two a workflow.
JOBS: dict[str, dict[str, Any]] = {
    "1": {"user": "kim", "account": "bio", "queue": "batch", "name": "align-1", "comment": "workflow=w1"},
    "2": {"user": "lee", "account": "cfd", "queue": "long", "name": "solve-1"},
    "3": {"user": "kim", "account": "ml", "queue": "long", "name": "align-2", "comment": "x workflow=w1"},
    "7_1": {"user": "ada", "account": "bio", "queue": "batch", "name": "sweep", "parent": "7", "task_index": 1},
    "7_2": {"user": "ada", "account": "bio", "queue": "batch", "name": "sweep", "parent": "7", "task_index": 2},
}
STATES = ("QUEUED", "RUNNING", "SUSPENDED", "COMPLETED", "FAILED")


def of(field: str, *values: str) -> Callable[[Any], bool]:
    """Events of jobs with one of these values."""
    return lambda event: event["type"] == "job" and event["job"][field] in values


def of_user(user: str) -> Callable[[Any], bool]:
    """Events of a user's jobs and workflows."""
    return lambda event: event["job"]["user"] == user if event["type"] == "job" else event["workflow"]["name"].endswith(f"@{user}")


#: Filters as a client writes them, and what they mean.
FILTERS: dict[str, Callable[[Any], bool]] = {
    "": lambda event: True,
    "job=memory/1": of("id", "1"),
    "job=memory/2&job=memory/3": of("id", "2", "3"),
    "job=memory/7": of("id", "7", "7_1", "7_2"),
    "job=memory/7_2": of("id", "7_2"),
    "user=kim": of_user("kim"),
    "user=lee": of_user("lee"),
    "account=bio": of("account", "bio"),
    "queue=long": of("queue", "long"),
    "cluster=memory": lambda event: event["type"] == "job",
    "state=RUNNING&state=FAILED": lambda event: event[event["type"]]["state"] in ("RUNNING", "FAILED"),
    "name=align*": of("name", "align-1", "align-2"),
    "comment=*w1": of("comment", "workflow=w1", "x workflow=w1"),
    "workflow=w1@kim": lambda event: event["type"] == "workflow" or event["job"]["id"] in ("1", "3"),
    "job=memory/1&job=memory/2&user=lee": of("id", "2"),
}

CHANGES = st.dictionaries(st.sampled_from(sorted(JOBS)), st.sampled_from(STATES), min_size=1)


class Client:
    """Somebody who follows some events by cursor."""

    def __init__(self, query: str, cursor: str, begin: int) -> None:
        self.query = query
        self.wants = FILTERS[query]
        self.cursor = cursor
        self.seen: list[int] = []
        self.begin = begin
        self.request: Any = None


class JournalAndTracker(RuleBasedStateMachine):
    """The machine."""

    clients = Bundle("clients")

    @initialize()
    def begin(self) -> None:
        self.directory = tempfile.TemporaryDirectory(prefix="jobpush-test-")
        self.told: list[Any] = []
        self.everybody: list[Client] = []
        self.jobs: dict[str, str] = {}
        self.lab = self.make()

    def make(self) -> Lab:
        lab = Lab(os.path.join(self.directory.name, "state"), retention=Retention(events=100_000), tail=3)  # so that the journal is read
        for job_id, state in self.jobs.items():
            lab.queue.set(job_id, state, **JOBS[job_id])
        return lab.start()

    def take(self, client: Client) -> None:
        """If the client's request is answered: what it says."""
        if client.request is None or client.request.held:
            return
        answer = client.request.json()
        client.request = None
        client.seen.extend(event["seq"] for event in answer["events"])
        assert all(client.wants(event) for event in answer["events"]), (client.query, answer["events"])
        client.cursor = answer["cursor"]

    def settle(self) -> None:
        for client in self.everybody:
            self.take(client)

    @rule(target=clients, query=st.sampled_from(sorted(FILTERS)), old=st.booleans())
    def arrive(self, query: str, old: bool) -> Client:
        """From now on, or from the oldest event that is kept."""
        head = int(self.lab.cursor.rpartition("-")[2])
        client = Client(query, "0" if old else self.lab.cursor, 0 if old else head)
        self.everybody.append(client)
        return client

    @rule(client=clients, wait=st.sampled_from((0, 2, 30)), limit=st.sampled_from((1, 2, 100)))
    def ask(self, client: Client, wait: int, limit: int) -> None:
        self.take(client)
        if client.request is None:
            client.request = self.lab.get(f"/v1/changes?since={client.cursor}&wait={wait}&limit={limit}&{client.query}")
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

    def set(self, changes: dict[str, str]) -> None:
        self.jobs.update(changes)
        for job_id, state in changes.items():
            self.lab.queue.set(job_id, state, **JOBS[job_id])

    @rule(changes=CHANGES)
    def change(self, changes: dict[str, str]) -> None:
        self.set(changes)
        self.lab.tick()
        self.settle()

    @rule(changes=CHANGES, client=clients)
    def change_while_somebody_asks(self, changes: dict[str, str], client: Client) -> None:
        self.lab.threads.hold("write")
        self.set(changes)
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

    def published(self) -> list[Any]:
        return self.lab.events()

    def check_complete(self, client: Client) -> None:
        """By its cursor it has seen exactly what was told that it wants, in order, once."""
        if client.cursor == "0":
            return  # it has not asked yet
        until = int(client.cursor.rpartition("-")[2])
        expected = [event["seq"] for event in self.published() if client.wants(event) and client.begin < event["seq"] <= until]
        assert client.seen == expected, (client.query, client.seen, expected)

    @invariant()
    def nothing_is_lost_repeated_or_left(self) -> None:
        if not hasattr(self, "lab"):
            return
        self.settle()
        events = self.published()
        assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
        assert events[: len(self.told)] == self.told, "what was told once stays as it was told"
        self.told = events
        for client in self.everybody:
            self.check_complete(client)
        waiting = sum(client.request is not None for client in self.everybody)
        # Those who ask for the same wait as one.
        assert min(1, waiting) <= self.lab.service.tracker.waiting <= waiting
        assert self.lab.registry.held == waiting
        calls = len(self.lab.clock.getDelayedCalls())
        reading = any(watch.reading for watch in self.lab.service if isinstance(watch, JournalWatch))
        assert calls == 5 + bool(waiting) + reading, (
            "the next ticks of the monitor, the expiry of workflows, the watch of the journal and the heartbeat, the moment at which the queue turns stale, and one for all "
            "deadlines"
        )

    def teardown(self) -> None:
        if hasattr(self, "lab"):
            for client in self.everybody:
                self.disconnect(client)
            assert self.lab.service.tracker.idle
            self.lab.stop()
            self.directory.cleanup()


JournalAndTracker.TestCase.settings = settings(
    max_examples=40, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
)
JournalAndTrackerTests = JournalAndTracker.TestCase
