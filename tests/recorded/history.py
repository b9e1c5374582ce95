"""
A scripted history of a service, and all that it answers: jobs, arrays, requeues, accounting, workflows, barriers, streams, a
restart.

``python -m tests.recorded.history DIRECTORY`` writes ``answers.json.gz`` to that directory, from what it answers by itself, and
from what it answers when it is started on the ``journal.sqlite`` that is there. `tests.events.test_recorded` compares with the
file beside this one what is answered now; after an intended change of the protocol or of the state model, write it anew.
``journal.sqlite`` stays: jobpush 0.1.0 wrote it.
"""

from __future__ import annotations

import gzip
import json
import os
import random
import re
import secrets
import shutil
import sqlite3
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import attrs
from twisted.internet.error import ConnectionDone
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from jobpush.core.model import JobDescriptor, Outcome, Phase, QueueFacts, ReasonCode
from jobpush.core.tasks import TaskSet
from jobpush.core.workflows import WorkflowChanges, Workflows
from jobpush.web.site import JobpushSite
from tests.support import NOW, Lab, Pending

#: The journal's epoch.
EPOCH = "0123456789abcdef"

#: When the second service begins.
LATER = NOW + 600

#: The headers that are recorded.
HEADERS = ("content-type", "etag", "jobpush-cursor", "jobpush-timed-out", "preference-applied")

#: What depends on the moment at which an answer is written, or on chance, and is not recorded.
_FLEETING = re.compile(r'("stale_s":|retry: )[0-9.]+')

#: The order of each table's rows.
_KEYS = {"meta": "name", "event": "seq", "job": "cluster, job", "listener": "name", "workflow": "name", "member": "1, 2, 3"}

Entry = dict[str, Any]
Jobs = dict[str, JobDescriptor]


class Listener:
    """A listener that takes every event."""

    name = "recorder"

    def __init__(self) -> None:
        self.told: list[str] = []

    def job_changed(self, event: Any) -> None:
        """Note the event."""
        self.told.append(f"{event.seq} {event.at} {event.kind} {event.key} {event.previous} {event.job.state}")


#: When these come is no part of what is recorded.
ALIVE = ": alive\n\n"


class Stream:
    """A client of ``/v1/events``, without a network."""

    def __init__(self, lab: Lab, query: str = "", headers: str = "") -> None:
        self._lab = lab
        self._site = JobpushSite(lab.resource, lab.clock)
        self._site.startFactory()
        self._transport = StringTransport()
        self._channel: Any = self._site.buildProtocol(None)  # type: ignore[arg-type]
        self._channel.makeConnection(self._transport)
        self._channel.dataReceived(f"GET /v1/events{query} HTTP/1.0\r\nHost: localhost\r\n{headers}\r\n".encode())

    def end(self) -> str:
        """Disconnect, and return the body of the answer, without the comments that show that the connection is alive."""
        for _ in range(5):
            self._lab.clock.advance(0)
        self._channel.connectionLost(Failure(ConnectionDone()))
        self._site.stopFactory()
        return self._transport.value().partition(b"\r\n\r\n")[2].decode().replace(ALIVE, "")


class Recorder:
    """A service on a journal in that directory, and what it answered."""

    def __init__(self, directory: str) -> None:
        self.entries: list[Entry] = []
        self._directory = directory

    def start(self, at: float = NOW) -> Lab:
        """Make a service, with two queues; the second has accounting."""
        self.listener = Listener()
        self.lab = Lab(self._directory, queues=2, listeners=[self.listener])
        self.lab.clock.rightNow = at
        self.lab.queues[1].facts = QueueFacts(sees_all=True, accounting=True, evidence="memory hides nothing")
        return self.lab

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        """Record the answer to a request that is answered at once, and return it."""
        return self.take(f"{method} {path}", self.hold(method, path, body, **headers))

    def hold(self, method: str, path: str, body: Any = None, **headers: str) -> Pending:
        """Begin a request that may be held."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        data = {} if body is None else {"data": json.dumps(body).encode()}
        if body is not None:
            named["content-type"] = "application/json"
        return self.lab.request(method, path, headers=named, **data)

    def take(self, what: str, answer: Pending) -> Any:
        """Record the answer to a request, and return it."""
        text = answer.body().decode()
        headers = {name: answer.header(name) for name in HEADERS if answer.header(name) is not None}
        self.write(what, status=answer.status, headers=headers, body=text)
        return json.loads(text) if text else None

    def write(self, what: str, **fields: Any) -> None:
        """Record something else."""
        texts = {name: _FLEETING.sub(r"\1_", value) if isinstance(value, str) else value for name, value in fields.items()}
        self.entries.append({"what": what, **texts})

    def rows(self) -> None:
        """Record every row of the journal, which must be closed."""
        with sqlite3.connect(os.path.join(self._directory, "journal.sqlite")) as db:
            for table, order in _KEYS.items():
                names = [name for _, name, *_ in db.execute(f"PRAGMA table_info({table})") if (table, name) not in _NEW_COLUMNS]
                for row in db.execute(f"SELECT {', '.join(names)} FROM {table} ORDER BY {order}"):
                    if row[0] in ("epochs", "users_from"):
                        continue  # 0.1.0 had one epoch, and no list of them; it did not write down whose events are
                    self.write(table, row=[value.decode() if isinstance(value, bytes) else value for value in row])
        db.close()


#: Columns that 0.1.0 did not write.
_NEW_COLUMNS = {("event", "user"), *((table, "crc") for table in ("event", "job", "workflow", "member"))}


@contextmanager
def without_chance() -> Iterator[None]:
    """While this lasts, epochs and pauses are always the same."""
    with (
        patch.object(secrets, "token_hex", lambda size: EPOCH),
        patch.object(random, "random", lambda: 0.5),
        patch.object(random, "uniform", lambda low, high: high),
    ):
        yield


def _as_0_1_0(workflows: Workflows) -> None:
    """
    Make the service lose the jobs of a workflow that is put again with other jobs, as 0.1.0 did: what it told afterwards, and the
    number of each later event, follow from that.
    """
    publish = workflows.publish

    def forgetful(changes: WorkflowChanges) -> None:
        for name, record in changes.records.items():
            before = workflows.records.get(name)
            if before is not None and before.detail is not record.detail:
                changes.members[name] = {}
        publish(changes)

    workflows.publish = forgetful  # type: ignore[method-assign]


def begin(directory: str) -> tuple[list[Entry], list[Jobs]]:
    """
    Run the script up to the end of the first service.

    :param directory: where its journal is to be; it must not exist.
    :return: what was answered, told and stored; and what the two queues list at the end.
    """
    with without_chance():
        recorder = Recorder(directory)
        lab = recorder.start()
        _as_0_1_0(lab.service.workflows)
        _jobs(recorder)
        _arrays(recorder)
        _workflows(recorder)
        _held(recorder)
        _absent(recorder)
        lab.tick(70)
        _unfinished(recorder)
        _everything(recorder, "at the end")
        assert lab.clock.seconds() < LATER
        lab.stop()
        recorder.rows()
        for number, told in enumerate(recorder.listener.told):
            recorder.write(f"told {number}", event=told)
    return recorder.entries, [queue.jobs for queue in lab.queues]


def again(directory: str, listed: list[Jobs]) -> list[Entry]:
    """
    Run the rest: a service goes on with the journal of the first.

    :param listed: what the queues list.
    """
    with without_chance():
        recorder = Recorder(directory)
        lab = recorder.start(LATER)
        for queue, jobs in zip(lab.queues, listed, strict=True):
            queue.jobs.update(jobs)
        lab.start()
        _everything(recorder, "started again")
        for entry in [entry for entry in recorder.entries if "etag" in entry.get("headers", {})]:
            etag = entry["headers"]["etag"]
            recorder.ask(*entry["what"].partition("?")[0].split(), If_None_Match=etag)
        _forgotten(recorder)
        lab.stop()
        recorder.rows()
    return recorder.entries


def _jobs(recorder: Recorder) -> None:
    """Single jobs: every field, all texts, steps that nobody saw, requeues, an id that comes again."""
    lab, first, second = recorder.lab, recorder.lab.queues[0], recorder.lab.queues[1]
    first.set(
        "1", "QUEUED", name='align "a"\\b\t\n\x00\x7f\u2028', user="kim", account="bio", queue="batch", workdir="/home/kim/ärbeit",
        comment="naïve 🚀", reason="Resources", reason_code=ReasonCode.RESOURCES, flags=("requeued", "x"), submitted_at=NOW - 100.25,
        native={"state": "PENDING", "exit_status": "0", "reason": "Resources"}, aliases=("1001", "one"), time_limit_s=3600,
        source="squeue", nodes="n[1-2]",
    )  # fmt: skip
    first.set("2", "RUNNING", name="lone \udcff\ud800 surrogates", user="lee", started_at=NOW - 5.0005, submitted_at=NOW - 10)
    first.set("3", "COMPLETED", user="kim", started_at=NOW - 50, ended_at=NOW - 3.5, exit_code=0, nodes="n1")
    second.set("1", "HELD", reason="held by kim", reason_code=ReasonCode.HELD_BY_USER, user="kim")
    lab.start()
    _everything(recorder, "first look")
    lab.set("1", "RUNNING", name="align", user="kim", account="bio", queue="batch", submitted_at=NOW - 100.25, started_at=NOW + 0.5)
    lab.set("4", "COMPLETED", user="kim", submitted_at=NOW, started_at=NOW + 1, ended_at=NOW + 1.75, exit_code=3, nodes="n2")
    lab.set("5", "FAILED", user="lee", submitted_at=NOW + 1, started_at=NOW + 1, ended_at=NOW + 2, signal=9, settled=False)
    lab.tick(7)
    lab.set("2", "QUEUED", user="lee", submitted_at=NOW - 10, attempt=1)
    lab.set("2", "RUNNING", user="lee", submitted_at=NOW - 10, attempt=1, started_at=NOW + 12, reason="words only")
    lab.set("2", "RUNNING", user="lee", submitted_at=NOW - 10, attempt=1, started_at=NOW + 12, reason="other words")
    lab.set("2", "PREEMPTED", user="lee", submitted_at=NOW - 10, attempt=1, started_at=NOW + 12, ended_at=NOW + 13, settled=False)
    lab.set("2", "QUEUED", user="lee", submitted_at=NOW - 10, attempt=2)
    lab.set("3", "QUEUED", user="lee", submitted_at=NOW + 20)
    lab.set("3", "SUSPENDED", user="lee", submitted_at=NOW + 20, started_at=NOW + 21, time_limit_s=60)
    _everything(recorder, "single jobs")


def _arrays(recorder: Recorder) -> None:
    """Arrays with pending ranges, their tasks, a heterogeneous job."""
    lab, first = recorder.lab, recorder.lab.queues[0]
    lab.set("7", "QUEUED", user="kim", name="array", pending_tasks=TaskSet.of([0, 1, 2, 3, 9]), submitted_at=NOW + 30)
    for index, state in enumerate(["RUNNING", "COMPLETED", "FAILED"]):
        first.set(f"7_{index}", state, user="kim", name="array", submitted_at=NOW + 30, started_at=NOW + 31, exit_code=index or None)
    lab.set("7", "QUEUED", user="kim", name="array", pending_tasks=TaskSet.of([3, 9]), submitted_at=NOW + 30)
    recorder.ask("GET", "/v1/jobs/memory/7_9")
    recorder.ask("GET", "/v1/jobs/memory/7")
    first.set("7_0", "COMPLETED", user="kim", name="array", submitted_at=NOW + 30, started_at=NOW + 31, ended_at=NOW + 33, exit_code=0)
    lab.set("7", "QUEUED", user="kim", name="array", pending_tasks=TaskSet.of([9]), submitted_at=NOW + 30)
    lab.set("8x0", "RUNNING", user="lee", parent="8", submitted_at=NOW + 30, started_at=NOW + 34)
    lab.set("8x1", "FAILED", user="lee", parent="8", submitted_at=NOW + 30, started_at=NOW + 34, ended_at=NOW + 35, exit_code=1)
    del first.jobs["7"]
    lab.tick(12)
    _everything(recorder, "arrays")


def _workflows(recorder: Recorder) -> None:
    """Put by a client, changed, found in tags, deleted."""
    lab, first = recorder.lab, recorder.lab.queues[0]
    edges = [["memory/1", "memory/7"]]
    recorder.ask("PUT", "/v1/workflows/w7", {"jobs": ["memory/1", "memory/3", "memory/7", "memory/99"], "edges": edges})
    recorder.ask("PUT", "/v1/workflows/w7", {"jobs": ["memory/1", "memory/3", "memory/7", "memory/99"], "edges": edges})
    recorder.ask("PUT", "/v1/workflows/short", {"jobs": ["second/1"]})
    lab.set("20", "RUNNING", user="kim", comment="workflow=align", name="tagged", started_at=NOW + 50, submitted_at=NOW + 49)
    lab.set("21", "QUEUED", user="kim", comment="workflow=align", submitted_at=NOW + 49)
    lab.set("20", "FAILED", user="kim", comment="workflow=align", started_at=NOW + 50, ended_at=NOW + 52, exit_code=4, reason="bad")
    lab.set("21", "COMPLETED", user="kim", comment="workflow=align", started_at=NOW + 53, ended_at=NOW + 54, exit_code=0, submitted_at=NOW + 49)
    first.set("30", "QUEUED", user="lee", comment="x,workflow=kept", submitted_at=NOW + 60)
    lab.set("1", "COMPLETED", name="align", user="kim", account="bio", queue="batch", submitted_at=NOW - 100.25, started_at=NOW + 0.5,
            ended_at=NOW + 61, exit_code=0)  # fmt: skip
    recorder.ask("DELETE", "/v1/workflows/short")
    recorder.ask("PUT", "/v1/workflows/w7", {"jobs": ["memory/1", "memory/3", "memory/7"]})
    recorder.ask("PUT", "/v1/workflows/live", {"jobs": ["memory/30", "memory/40"], "edges": [["memory/30", "memory/40"]]})
    _everything(recorder, "workflows")


def _held(recorder: Recorder) -> None:
    """Requests that wait, streams, barriers."""
    lab, cursor = recorder.lab, recorder.lab.cursor
    held = {path: recorder.hold("GET", path) for path in (
        "/v1/jobs/memory/3?since=now&wait=60", "/v1/jobs/memory/3?until=terminal&wait=60", "/v1/jobs/memory/40?until=started&wait=60",
        "/v1/changes?since=now&wait=60&user=kim&user=lee", "/v1/changes?since=now&wait=60&workflow=live", "/v1/changes?since=now&wait=9",
        "/v1/changes?since=now&wait=60&job=memory/7&job=memory/40", "/jobstatus?cluster=memory&jobId=3&since=now",
        "/v1/workflows/live?until=terminal&wait=60", "/v1/wait?job=memory/3&workflow=live&wait=60", "/v1/workflows/kept@lee?since=now&wait=60",
    )}  # fmt: skip
    etag = recorder.hold("GET", "/v1/jobs/memory/3").header("etag") or ""
    held["if-none-match"] = recorder.hold("GET", "/v1/jobs/memory/3", If_None_Match=etag, Prefer="wait=60")
    barrier = {"jobs": ["memory/3", "memory/4", "memory/7", "memory/777"], "workflows": ["live", "nowhere"], "wait": 60}
    for until in ("started", "terminal"):
        for mode in ("any", "all", 2):
            body = {**barrier, "mode": mode, "until": until, "since": cursor}
            held[f"POST /v1/wait {mode} {until}"] = recorder.hold("POST", "/v1/wait", body)
    streams = [Stream(lab), Stream(lab, "?user=lee"), Stream(lab, "?workflow=live"), Stream(lab, "?since=0&job=memory/7")]
    streams += [Stream(lab, "", f"Last-Event-ID: {id}\r\n") for id in (f"{EPOCH}-3", "another-7")]
    lab.set("3", "RUNNING", user="lee", submitted_at=NOW + 20, started_at=NOW + 21, time_limit_s=60)
    lab.set("40", "RUNNING", user="lee", submitted_at=NOW + 70, started_at=NOW + 71)
    lab.set("3", "CANCELLED", user="lee", submitted_at=NOW + 20, started_at=NOW + 21, ended_at=NOW + 75)
    lab.set("30", "RUNNING", user="lee", comment="x,workflow=kept", submitted_at=NOW + 60, started_at=NOW + 75)
    lab.clock.run(12, step=0.25)
    for what, answer in held.items():
        if answer.held:
            recorder.write(what, held=True)
        else:
            recorder.take(what, answer)
    lab.clock.run(60, step=0.25)
    for what, answer in held.items():
        recorder.take(f"{what}: after a minute", answer)
    for number, stream in enumerate(streams):
        recorder.write(f"stream {number}", body=stream.end())


def _absent(recorder: Recorder) -> None:
    """Jobs that leave the queue: with a record in accounting, with none, and where there is no accounting."""
    lab, first, second = recorder.lab, recorder.lab.queues[0], recorder.lab.queues[1]
    first.set("50", "RUNNING", user="kim", started_at=NOW + 80)
    first.set("51", "QUEUED", user="kim")
    second.set("60", "RUNNING", user="kim", started_at=NOW + 80)
    second.set("61", "QUEUED", user="kim")
    second.set("62", "RUNNING", user="kim", started_at=NOW + 80)
    lab.tick()
    known = second.jobs["60"]
    second.records["60"] = _ended(known, NOW + 170)
    for queue, ids in ((first, ("50", "51")), (second, ("60", "61", "62"))):
        for job_id in ids:
            del queue.jobs[job_id]
    lab.tick(3)
    _everything(recorder, "absent")
    lab.tick(17)
    del first.jobs["4"]
    lab.tick(2)


def _unfinished(recorder: Recorder) -> None:
    """What the journal must remember of jobs: a pending range, an end without confirmation, since when a job is absent."""
    lab, first = recorder.lab, recorder.lab.queues[0]
    first.set("9", "QUEUED", user="kim", pending_tasks=TaskSet.of([0, 5, 6]), submitted_at=NOW + 300)
    first.set("9_1", "RUNNING", user="kim", submitted_at=NOW + 300, started_at=NOW + 301)
    first.set("70", "RUNNING", user="kim", submitted_at=NOW + 300, started_at=NOW + 301)
    lab.tick()
    del first.jobs["70"]
    first.set("71", "FAILED", user="kim", submitted_at=NOW + 300, started_at=NOW + 301, exit_code=1, settled=False)
    lab.tick()


def _ended(job: JobDescriptor, at: float) -> JobDescriptor:
    return attrs.evolve(job, phase=Phase.DONE, outcome=Outcome.COMPLETED, settled=True, exit_code=0, ended_at=at, source="sacct")


def _everything(recorder: Recorder, when: str) -> None:
    """Ask for all that there is."""
    recorder.write(when)
    for path in (
        "/v1/jobs", "/v1/jobs?user=kim&limit=2", "/v1/jobs?state=RUNNING&state=FAILED", "/v1/jobs?workflow=w7", "/v1/workflows",
        "/v1/changes?wait=0&since=0&limit=10000", "/v1/changes?wait=0&since=0&limit=3", "/v1/changes?wait=0&since=0&workflow=w7",
        "/v1/changes?wait=0&since=0&user=kim&state=RUNNING", "/v1/changes?wait=0&since=0&job=memory/7", "/v1/changes?wait=0&since=0&account=bio",
        "/v1/changes?wait=0&since=0&queue=batch", "/v1/changes?wait=0&since=0&cluster=second", "/v1/changes?wait=0&since=0&name=al*", "/v1/changes",
        "/jobstatus?cluster=memory&jobId=1",
    ):  # fmt: skip
        recorder.ask("GET", path)
    for job in [f"{name}/{job_id}" for name, jobs in recorder.lab.service.table.clusters.items() for job_id in sorted(jobs.records)]:
        recorder.ask("GET", f"/v1/jobs/{job}")
        recorder.ask("GET", f"/v1/jobs/{job}?wait=0&since=0")
    for name in sorted(recorder.lab.service.workflows.records):
        recorder.ask("GET", f"/v1/workflows/{name}")
        recorder.ask("GET", f"/v1/workflows/{name}?wait=0&since=0")


def _forgotten(recorder: Recorder) -> None:
    """All jobs leave the queues, and are forgotten a day later; the journal still has their events."""
    lab = recorder.lab
    lab.set("30", "COMPLETED", user="lee", comment="x,workflow=kept", submitted_at=NOW + 60, started_at=NOW + 75, ended_at=LATER)
    for queue in lab.queues:
        queue.jobs.clear()
    lab.tick(30)
    lab.clock.advance(90_000)
    lab.tick(70)
    recorder.ask("GET", "/v1/jobs/memory/1")
    recorder.ask("POST", "/v1/wait", {"jobs": ["memory/1", "memory/30"], "wait": 60})
    recorder.ask("PUT", "/v1/workflows/old", {"jobs": ["memory/1", "memory/3"]})
    _everything(recorder, "a day later")


def main(target: Path) -> None:
    """Write the answers to that directory: those of a first service, then those of one that begins on the journal there."""
    with tempfile.TemporaryDirectory() as directory:
        entries, listed = begin(os.path.join(directory, "first"))
        second = Path(directory, "second")
        second.mkdir()
        shutil.copy(target / "journal.sqlite", second)
        entries += again(str(second), listed)
    text = "[\n" + ",\n".join(map(json.dumps, entries)) + "\n]\n"
    (target / "answers.json.gz").write_bytes(gzip.compress(text.encode(), mtime=0))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
