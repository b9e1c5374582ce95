"""What has not changed is not looked at again: with the same result as if everything were."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import attrs
from hypothesis import example, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from jobpush.core.absence import NOTHING_ASKED, DiffPolicy
from jobpush.core.diff import diff
from jobpush.core.job_table import ClusterJobs
from jobpush.core.model import JobDescriptor, Snapshot, split_state
from jobpush.core.tasks import TaskSet
from jobpush_adapters.common import overlay as patched
from jobpush_adapters.common import texts, unchanged
from jobpush_adapters.common.unchanged import RowReader

STATES = ("QUEUED", "RUNNING", "FAILED", "COMPLETED")


def pieces(rows: list[bytes]) -> Iterator[bytes]:
    """The rows as a text, some at a time."""
    return texts.parts(b"".join(row + b"\n" for row in rows), b"\n")


def read(row: bytes) -> JobDescriptor | str:
    """``id state [pending tasks]``; what begins with a question mark cannot be understood."""
    if row.startswith(b"?"):
        return "no job"
    job_id, state, *rest = row.decode().split()
    phase, outcome = split_state(state.rstrip("!"))
    array, _, index = job_id.partition("_")
    return JobDescriptor(
        cluster="c", id=job_id, phase=phase, outcome=outcome, settled=outcome is not None and not state.endswith("!"), submitted_at=1.0,
        parent=array if index else None, task_index=int(index) if index else None,
        pending_tasks=TaskSet.parse(rest[0]) if rest else None,
    )  # fmt: skip


def doubtful(row: bytes) -> list[str]:
    """The id that a row which cannot be understood may be of."""
    return [row[1:].decode()]


IDS = st.integers(1, 30).map(str)
JOBS = st.tuples(IDS, st.sampled_from((*STATES, "COMPLETED!"))).map(" ".join)
TASKS = st.tuples(st.integers(40, 42), st.integers(1, 6), st.sampled_from(STATES)).map(lambda t: f"{t[0]}_{t[1]} {t[2]}")
RANGES = st.tuples(st.integers(40, 42), st.sampled_from(("1-6", "2-6", "4,6", "5"))).map(lambda t: f"{t[0]} QUEUED {t[1]}")
ODD = st.one_of(JOBS, IDS.map("?{}".format))
ROWS = st.lists(st.one_of(JOBS, TASKS, RANGES), max_size=40, unique_by=lambda row: row.split()[0])


def told(reader: RowReader) -> Any:
    """What it makes of an answer."""
    jobs = {job_id: (job.state, job.settled, str(job.pending_tasks)) for job_id, job in reader.jobs.items()}
    return jobs, len(reader.rejected), reader.ids


@st.composite
def answers(draw: Any) -> list[list[bytes]]:
    """One answer after another: mostly the same rows in the same order."""
    rows = draw(ROWS)
    found = []
    for _ in range(draw(st.integers(2, 7))):
        change = draw(st.sampled_from(("none", "replace", "insert", "remove", "shuffle", "odd", "all")))
        rows = list(rows)
        if change == "replace" and rows:
            place = draw(st.integers(0, len(rows) - 1))
            head, *rest = rows[place].split()
            if len(rest) == 1:
                rows[place] = f"{head} {draw(st.sampled_from(STATES))}"
        elif change == "insert":
            rows.insert(draw(st.integers(0, len(rows))), draw(st.one_of(JOBS, TASKS)))
        elif change == "remove" and rows:
            begin = draw(st.integers(0, len(rows) - 1))
            del rows[begin : begin + draw(st.integers(1, 10))]
        elif change == "shuffle":
            rows = draw(st.permutations(rows))
        elif change == "odd":
            rows.insert(draw(st.integers(0, len(rows))), draw(ODD))
        elif change == "all":
            rows = draw(ROWS)
        found.append([row.encode() for row in rows])
    return found


class ReaderTests(SynchronousTestCase):
    """`RowReader`."""

    def setUp(self) -> None:
        self.patch(texts, "PART", 30)
        self.patch(patched, "FEW", 5)

    @settings(max_examples=300, deadline=None)
    @given(answers())
    def test_as_if_new(self, given_answers: list[list[bytes]]) -> None:
        """Each answer is read as by a reader that knows nothing of the ones before; what is said to be the same is the same."""
        reader = RowReader(read, doubtful)
        for rows in given_answers:
            before, fresh_one = reader.jobs, RowReader(read, doubtful)
            for each in (reader, fresh_one):
                for _ in each.answer(pieces(rows)):
                    pass
            self.assertEqual(told(reader), told(fresh_one))
            if reader.fresh is not None:
                self.assertIs(reader.base, before)
                self.assertEqual(set(reader.gone), before.keys() - reader.jobs.keys())
                for job_id in reader.jobs.keys() - set(reader.fresh):
                    self.assertIs(reader.jobs[job_id], before[job_id])

    def test_most_of_it(self) -> None:
        """Rows that come, go and change cost no look at the others, wherever they stand."""
        self.patch(texts, "PART", 1000)
        rows = [f"{number} QUEUED".encode() for number in range(1, 5001)]
        parsed: list[bytes] = []
        reader = RowReader(lambda row: (parsed.append(row), read(row))[1], doubtful)  # type: ignore[func-returns-value]
        list(reader.answer(pieces(rows)))
        self.assertIsNone(reader.fresh)
        parsed.clear()
        for change in range(20):
            place = 197 * (change + 1)
            del rows[place : place + change]
            rows[2 * change] = rows[2 * change].replace(b"QUEUED", b"RUNNING")
            rows.append(f"{6000 + change} QUEUED".encode())
            list(reader.answer(pieces(rows)))
            self.assertEqual(len(reader.fresh or ()), 2)
            self.assertEqual(len(reader.gone), change)
        self.assertEqual(len(parsed), 40)

    def test_pauses(self) -> None:
        """Neither reading the rows, nor keeping those that are as they were, nor parsing those that are not is done in one go."""
        rows = [f"{number} QUEUED".encode() for number in range(1, 2001)]
        reader = RowReader(read, doubtful)
        list(reader.answer(pieces(rows)))
        reading = len(list(pieces(rows))) // unchanged.PARTS
        self.assertGreater(reading, 10)
        self.assertEqual(len(list(reader.answer(pieces(rows)))), reading)
        self.patch(unchanged, "COPIED", 100)
        self.patch(unchanged, "ROWS", 10)
        rows[-200:] = [row.replace(b"QUEUED", b"RUNNING") for row in rows[-200:]]
        self.assertEqual(len(list(reader.answer(pieces(rows)))), reading + 200 // unchanged.ROWS + len(rows) // unchanged.COPIED)
        self.assertEqual(len(reader.fresh or ()), 200)

    def test_given_up_while_jobs_are_kept(self) -> None:
        """At each of its pauses another answer may be read: each of both is right when it has been read."""
        self.patch(unchanged, "PARTS", 3)
        self.patch(unchanged, "ROWS", 1)
        self.patch(unchanged, "COPIED", 50)
        self.patch(patched, "FEW", 0)
        self.patch(patched, "SHARE", 1000)
        rows = [f"{number} QUEUED".encode() for number in range(1, 200)]
        changed, other = [*rows[:20], b"21 RUNNING", *rows[21:]], [*rows[:50], b"300 RUNNING"]
        pauses = 0
        for pause in range(1000):
            reader = RowReader(read, doubtful)
            list(reader.answer(pieces(rows)))
            late = reader.answer(pieces(changed))
            if any(next(late, late) is late for _ in range(pause)):
                break
            list(reader.answer(pieces(other)))
            self.assertEqual(len(reader.jobs), 51)
            list(late)
            self.assertEqual((len(reader.jobs), reader.jobs["21"].state), (199, "RUNNING"))
            pauses = pause
        self.assertGreater(pauses, 5)

    def test_given_up(self) -> None:
        """An answer whose reading was given up, and goes on while the next one is read, spoils nothing."""
        rows = [f"{number} QUEUED".encode() for number in range(1, 200)]
        reader = RowReader(read, doubtful)
        list(reader.answer(pieces(rows)))
        late = reader.answer(pieces([*rows[50:], b"300 RUNNING"]))
        next(late)
        list(reader.answer(pieces(rows[:150])))
        list(late)
        self.assertEqual(sorted(reader.jobs, key=int), [str(number) for number in range(51, 200)] + ["300"])
        list(reader.answer(pieces(rows)))
        self.assertEqual(len(reader.jobs), 199)


class World:
    """Known jobs, and looks at them."""

    def __init__(self, hints: bool, lists_ended: bool) -> None:
        self.known = ClusterJobs()
        self.reader = RowReader(read, doubtful)
        self.hints = hints
        self.policy = DiffPolicy(task_id=lambda array, index: f"{array}_{index}", grace=10.0, lists_ended=lists_ended, first=True)

    def look(self, rows: list[bytes], now: float, partial: bool) -> Any:
        """As `jobpush.polling.look` does; the changes, and what is known then."""
        if partial:
            self.known.applied = None
            named = {job.id: job for job in map(read, rows[:3]) if isinstance(job, JobDescriptor) and job.pending_tasks is None}
            snapshot = Snapshot(named, now, now, partial=True)
        else:
            for _ in self.reader.answer(pieces(rows)):
                pass
            reader = self.reader
            snapshot = Snapshot(reader.jobs, now, now, rejected_ids=frozenset(reader.ids))
            if self.hints:
                snapshot = attrs.evolve(snapshot, base=reader.base, fresh=reader.fresh, gone=reader.gone)
        steps = diff(self.known, snapshot, NOTHING_ASKED, self.policy, now)
        try:
            while True:
                next(steps)
        except StopIteration as end:
            changes = end.value
        for record in (*changes.records.values(), *changes.refreshed.values()):
            self.known.put(record)
        if not partial:
            self.known.applied = None if snapshot.rejected_ids else snapshot.jobs
        self.policy = attrs.evolve(self.policy, first=False)
        events = sorted((c.subject.key[1], c.subject.state, str(c.previous), c.at) for c in changes.changes)
        known = {i: (r.job.state, r.job.settled, r.job.attempt, r.detail.absent_since, r.detail.unsettled_since) for i, r in self.known.records.items()}
        return events, known


class DiffTests(SynchronousTestCase):
    """`jobpush.core.diff` with and without being told what is new."""

    def setUp(self) -> None:
        self.patch(texts, "PART", 30)
        self.patch(patched, "FEW", 5)

    # A task without a row, in a range that goes.
    @example([[b"40_1 QUEUED"], [b"40 QUEUED 1-6"], []], False, [False] * 7, 1.0)
    @settings(max_examples=300, deadline=None)
    @given(answers(), st.booleans(), st.lists(st.booleans(), min_size=7, max_size=7), st.sampled_from((1.0, 6.0, 11.0)))
    def test_the_same(self, given_answers: list[list[bytes]], lists_ended: bool, partial: list[bool], step: float) -> None:
        """The same events, and the same is known."""
        told, looked = World(True, lists_ended), World(False, lists_ended)
        for number, rows in enumerate(given_answers):
            now = 1000.0 + number * step
            part = partial[number] and number > 0
            self.assertEqual(told.look(rows, now, part), looked.look(rows, now, part))
