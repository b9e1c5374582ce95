"""Reading an answer by its differences gives the same result as reading all of it."""

from __future__ import annotations

import random
import tracemalloc
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
from jobpush_adapters.common import incremental_rows, overlay
from jobpush_adapters.common.incremental_rows import Comparison, IncrementalRows, parts, rows_in

STATES = ("QUEUED", "RUNNING", "FAILED", "COMPLETED")


def pieces(rows: list[bytes]) -> Iterator[bytes]:
    """The rows as a text, some at a time."""
    return parts(b"".join(row + b"\n" for row in rows), b"\n")


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


def id_of(row: bytes) -> str:
    """The id of a row that can be understood."""
    return row.split()[0].decode()


def doubtful(row: bytes) -> list[str]:
    """The id that a row which cannot be understood may be of."""
    return [row[1:].decode()]


IDS = st.integers(1, 30).map(str)
JOBS = st.tuples(IDS, st.sampled_from((*STATES, "COMPLETED!"))).map(" ".join)
TASKS = st.tuples(st.integers(40, 42), st.integers(1, 6), st.sampled_from(STATES)).map(lambda t: f"{t[0]}_{t[1]} {t[2]}")
RANGES = st.tuples(st.integers(40, 42), st.sampled_from(("1-6", "2-6", "4,6", "5"))).map(lambda t: f"{t[0]} QUEUED {t[1]}")
ODD = st.one_of(JOBS, IDS.map("?{}".format))
ROWS = st.lists(st.one_of(JOBS, TASKS, RANGES), max_size=40, unique_by=lambda row: row.split()[0])


def told(reader: IncrementalRows) -> Any:
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
    """`IncrementalRows`."""

    def setUp(self) -> None:
        self.patch(incremental_rows, "PART", 30)
        self.patch(overlay, "FEW", 5)

    @settings(max_examples=300, deadline=None)
    @given(answers())
    def test_as_if_new(self, given_answers: list[list[bytes]]) -> None:
        """Each answer is read as by a reader that knows nothing of the ones before; what is said to be the same is the same."""
        reader = IncrementalRows(read, id_of, doubtful)
        for rows in given_answers:
            before, fresh_one = reader.jobs, IncrementalRows(read, id_of, doubtful)
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
        self.patch(incremental_rows, "PART", 1000)
        rows = [f"{number} QUEUED".encode() for number in range(1, 5001)]
        parsed: list[bytes] = []
        reader = IncrementalRows(lambda row: (parsed.append(row), read(row))[1], id_of, doubtful)  # type: ignore[func-returns-value]
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

    def test_known_rows_are_not_parsed_again(self) -> None:
        """
        Also where all rows must be gone through: from the first row that is not understood, or has another's id, until none is,
        and after that.
        """
        self.patch(incremental_rows, "PART", 1000)
        rows = [f"{number} QUEUED".encode() for number in range(1, 5001)]
        odd, twice = [*rows[:2000], b"?7", *rows[2000:]], [*rows, b"30 RUNNING"]
        parsed: list[bytes] = []
        reader = IncrementalRows(lambda row: (parsed.append(row), read(row))[1], id_of, doubtful)  # type: ignore[func-returns-value]
        list(reader.answer(pieces(rows)))
        for answer, new in [(odd, {b"?7"}), (odd, set()), (rows, set()), (rows, set()), (twice, {b"30 RUNNING"}), (twice, set()), (rows, set()), (rows, set())]:
            parsed.clear()
            jobs = dict(reader.jobs)
            list(reader.answer(pieces(answer)))
            self.assertEqual(set(parsed), new)
            self.assertTrue(all(job is jobs.get(job_id, job) for job_id, job in reader.jobs.items()))
        self.assertEqual(reader.fresh, ())

    def test_each_row_is_kept_once(self) -> None:
        """Besides the jobs, what is kept of an answer is little more than its text; whether each row is understood or one is not."""
        self.patch(incremental_rows, "PART", 20_000)
        rows = [b"%d QUEUED" % number + b" " * 200 for number in range(1, 5001)]
        for answer, most in ((rows, 1.1), ([*rows, b"?7"], 1.9)):
            text = list(pieces(answer))
            reader = IncrementalRows(read, id_of, doubtful)
            tracemalloc.start()
            try:
                list(reader.answer(iter([bytes(bytearray(part)) for part in text])))
                jobs = reader.jobs
                with_reader, _ = tracemalloc.get_traced_memory()
                del reader
                kept = with_reader - tracemalloc.get_traced_memory()[0]
            finally:
                tracemalloc.stop()
            self.assertEqual(len(jobs), 5000)
            self.assertLess(kept, most * sum(map(len, text)))

    def test_pauses(self) -> None:
        """Neither reading the rows, nor keeping those that are as they were, nor parsing those that are not is done in one go."""
        rows = [f"{number} QUEUED".encode() for number in range(1, 2001)]
        reader = IncrementalRows(read, id_of, doubtful)
        list(reader.answer(pieces(rows)))
        reading = len(list(pieces(rows))) // incremental_rows.PARTS
        self.assertGreater(reading, 10)
        self.assertEqual(len(list(reader.answer(pieces(rows)))), reading)
        self.patch(incremental_rows, "COPIED", 100)
        self.patch(incremental_rows, "ROWS", 10)
        rows[-200:] = [row.replace(b"QUEUED", b"RUNNING") for row in rows[-200:]]
        self.assertEqual(len(list(reader.answer(pieces(rows)))), reading + 200 // incremental_rows.ROWS + len(rows) // incremental_rows.COPIED)
        self.assertEqual(len(reader.fresh or ()), 200)

    def test_given_up_while_jobs_are_kept(self) -> None:
        """At each of its pauses another answer may be read: each of both is right when it has been read."""
        self.patch(incremental_rows, "PARTS", 3)
        self.patch(incremental_rows, "ROWS", 1)
        self.patch(incremental_rows, "COPIED", 50)
        self.patch(overlay, "FEW", 0)
        self.patch(overlay, "SHARE", 1000)
        rows = [f"{number} QUEUED".encode() for number in range(1, 200)]
        changed, other = [*rows[:20], b"21 RUNNING", *rows[21:]], [*rows[:50], b"300 RUNNING"]
        pauses = 0
        for pause in range(1000):
            reader = IncrementalRows(read, id_of, doubtful)
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
        reader = IncrementalRows(read, id_of, doubtful)
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
        self.reader = IncrementalRows(read, id_of, doubtful)
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
        self.patch(incremental_rows, "PART", 30)
        self.patch(overlay, "FEW", 5)

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


END = b";\n"
UNIQUE_ROWS = st.lists(st.integers(1, 60).map(lambda number: b"%d " % number + b"x" * (number % 7)), max_size=60, unique=True)


def text_of(rows: list[bytes]) -> bytes:
    """As a scheduler would print them."""
    return b"".join(row + END for row in rows)


class PartsTests(SynchronousTestCase):
    """`parts` and `rows_in`."""

    def setUp(self) -> None:
        self.patch(incremental_rows, "PART", 20)

    @given(UNIQUE_ROWS)
    def test_whole(self, rows: list[bytes]) -> None:
        """All rows, in order; parts end with a row and are about as long as they should be."""
        cut = list(parts(text_of(rows), END))
        self.assertEqual([row for part in cut for row in rows_in(part, END)], rows)
        self.assertTrue(all(20 < len(part) < 20 + 15 for part in cut[:-1]))

    def test_last_row_without_end(self) -> None:
        """It gets one: what comes after it next time is another row."""
        self.assertEqual(list(parts(b"a;\nb", END)), [b"a;\nb;\n"])
        self.assertEqual(list(parts(b"", END)), [])
        self.assertEqual(rows_in(b"a;\n;\n", END), [b"a", b""])


class ComparisonTests(SynchronousTestCase):
    """`Comparison`."""

    def setUp(self) -> None:
        self.patch(incremental_rows, "PART", 20)

    def compare(self, before: list[bytes], rows: list[bytes]) -> Comparison:
        """The comparison of these rows with those before."""
        comparison = Comparison(before, END)
        for part in parts(text_of(rows), END):
            comparison.take(part)
        comparison.finish()
        return comparison

    @settings(max_examples=400)
    @given(UNIQUE_ROWS, UNIQUE_ROWS, st.data())
    def test_what_it_tells(self, old: list[bytes], other: list[bytes], data: st.DataObject) -> None:
        """The texts are the answer; what came and what left makes the one answer of the other."""
        begin, end = (data.draw(st.integers(0, len(old))) for _ in range(2))
        for rows in (old, other, old[:begin] + [row for row in other if row not in old] + old[end:], old[::-1]):
            rows = list(dict.fromkeys(rows))
            before = list(parts(text_of(old), END))
            comparison = self.compare(before, rows)
            self.assertEqual(b"".join(comparison.texts), text_of(rows))
            self.assertEqual(set(old).difference(comparison.removed).union(comparison.added), set(rows))
            self.assertEqual(len(comparison.added), len(set(comparison.added)))
            self.assertEqual(self.compare(comparison.texts, rows).added, [], "and what it found serves for the next one")

    def test_nothing_changed(self) -> None:
        """The very parts of the answer before."""
        before = list(parts(text_of([b"%d" % number for number in range(1000)]), END))
        comparison = self.compare(before, [b"%d" % number for number in range(1000)])
        self.assertTrue(all(map(lambda one, other: one is other, comparison.texts, before)))
        self.assertEqual((comparison.added, comparison.removed), ([], []))

    def test_little_is_looked_at(self) -> None:
        """Wherever rows come, go or change, however many, the rest of the answer is found again."""
        rows = [b"row %d" % number for number in range(5000)]
        before = list(parts(text_of(rows), END))
        for name, changed, most in [
            ("one changed", [*rows[:2000], b"row x", *rows[2001:]], 1),
            ("one longer", [*rows[:2000], b"row 2000 " + b"x" * 500, *rows[2001:]], 1),
            ("first gone", rows[1:], 0),
            ("many gone", [*rows[:500], *rows[3500:]], 0),
            ("many new", [*rows[:500], *(b"new %d" % number for number in range(3000)), *rows[500:]], 3000),
            ("new at the end", [*rows, *(b"new %d" % number for number in range(3000))], 3000),
            ("new at the beginning", [b"new", *rows], 1),
            ("here and there", [row for number, row in enumerate(rows) if number % 500], 0),
            ("all but nothing", rows[2500:2510], 0),
        ]:
            comparison = self.compare(before, changed)
            self.assertEqual(b"".join(comparison.texts), text_of(changed), name)
            self.assertEqual(len(comparison.added), most, name)
            self.assertEqual(len(comparison.removed), len(set(rows) - set(changed)), name)

    def test_parts_do_not_crumble(self) -> None:
        """After a thousand answers of which each has changed somewhere, parts are about as long as they were."""
        self.patch(incremental_rows, "PART", 200)
        rows = [b"row %d" % number for number in range(500)]
        before = list(parts(text_of(rows), END))
        chance = random.Random(1)
        for number in range(1000):
            place = chance.randrange(len(rows))
            rows[place] = b"row %d %d" % (place, number)
            if number % 3 == 0:
                del rows[chance.randrange(len(rows))]
                rows.append(b"new %d" % number)
            before = self.compare(before, rows).texts
        self.assertEqual(b"".join(before), text_of(rows))
        self.assertLess(len(before), 2.5 * len(text_of(rows)) / 200)

    def test_a_row_twice(self) -> None:
        """A row that is there a second time has come."""
        rows = [b"row %d" % number for number in range(100)]
        before = list(parts(text_of(rows), END))
        for place in range(101):
            self.assertIn(b"row 50", self.compare(before, [*rows[:place], b"row 50", *rows[place:]]).added)
