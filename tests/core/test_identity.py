"""Whether a row shows the job that is known, and what of a job outlives its row."""

from __future__ import annotations

from typing import Any

import attrs
from twisted.trial.unittest import SynchronousTestCase

from jobpush.core.identity import adopt, is_another
from jobpush.core.model import Confidence, JobDescriptor, Outcome, PastAttempt
from tests.core.world import job


class AnotherTests(SynchronousTestCase):
    """`is_another`."""

    def test_by_the_time_of_submission(self) -> None:
        """Another one is another job, unless it is a later attempt, or nobody knows one of the two times."""
        known = job("1", "RUNNING", submitted_at=100.0)
        for fields, expected in [
            ({"submitted_at": 100.0}, False), ({"submitted_at": 500.0}, True), ({"submitted_at": 50.0}, True), ({"submitted_at": None}, False),
            ({"submitted_at": 500.0, "attempt": 1}, False), ({"submitted_at": 500.0, "uid": known.uid}, False),
        ]:  # fmt: skip
            self.assertEqual(is_another(known, job("1", "QUEUED", **fields)), expected, fields)
        self.assertFalse(is_another(job("1", "RUNNING", submitted_at=None), job("1", "QUEUED", submitted_at=500.0)))

    def test_by_the_attempt(self) -> None:
        """The attempt that was concluded is the one that the scheduler counts later; an earlier one is another job's."""
        known = job("1", "RUNNING", submitted_at=100.0, attempt=2)
        for attempt, expected in ((0, True), (1, True), (2, False), (3, False)):
            self.assertEqual(is_another(known, job("1", "RUNNING", submitted_at=500.0, attempt=attempt)), expected, attempt)
        self.assertTrue(is_another(job("1", "RUNNING"), job("1", "RUNNING", submitted_at=500.0)), "nobody has counted an attempt")


class AdoptTests(SynchronousTestCase):
    """`adopt`."""

    def test_a_row_of_its_own(self) -> None:
        """A row that says all is taken as it is."""
        row = job("1", "RUNNING", name="b", user="kim")
        self.assertIs(adopt(row, job("1", "QUEUED", name="a", comment="c")), row)

    def test_uid(self) -> None:
        """A job keeps the uid that it had first."""
        row = job("1", "QUEUED", submitted_at=500.0, attempt=1)
        adopted = adopt(row, job("1", "RUNNING"))
        self.assertTrue(adopted.says_the_same(attrs.evolve(row, uid="c/1@100", previous_attempt=PastAttempt(0))))

    def test_how_the_attempt_before_ended(self) -> None:
        """As far as what was seen of it says so; it stays as long as the attempt does."""
        ended = job("1", "PREEMPTED", settled=False, signal=15, reason="r", started_at=200.0, ended_at=300.0)
        first = adopt(job("1", "QUEUED"), ended)
        self.assertEqual(first.previous_attempt, PastAttempt(0, Outcome.PREEMPTED, None, 15, "r", 200.0, 300.0))
        again = adopt(job("1", "RUNNING", attempt=1), first)
        self.assertEqual(again.previous_attempt, first.previous_attempt)
        running = adopt(job("1", "QUEUED", attempt=2), attrs.evolve(again, started_at=400.0))
        self.assertEqual(running.previous_attempt, PastAttempt(1, started_at=400.0))
        told = PastAttempt(1, Outcome.NODE_FAIL)
        self.assertIs(adopt(job("1", "QUEUED", attempt=2, previous_attempt=told), again).previous_attempt, told)
        self.assertIsNone(adopt(job("1", "RUNNING"), job("1", "QUEUED")).previous_attempt)

    def test_another_user(self) -> None:
        """Ids are given anew where a scheduler has lost its state: whatever the attempt, another user's job is another job."""
        for attempt in (0, 1, 2):
            row = job("1", "RUNNING", submitted_at=500.0, user="lee", attempt=attempt)
            self.assertTrue(is_another(job("1", "RUNNING", user="kim", attempt=1), row))
        requeue = job("1", "QUEUED", submitted_at=500.0, user="kim", attempt=2)
        self.assertFalse(is_another(job("1", "RUNNING", user="kim", attempt=1), requeue))

    def test_attempts(self) -> None:
        """Counted by the scheduler, or else by going back: from the end, or from having run to waiting."""
        for before, known, now, said, attempt in [
            ("RUNNING", 0, "QUEUED", 0, 1), ("RUNNING", 0, "HELD", 0, 1), ("SUSPENDED", 0, "QUEUED", 0, 1), ("FINISHING", 0, "QUEUED", 0, 1),
            ("COMPLETED", 0, "RUNNING", 0, 1), ("FAILED", 1, "QUEUED", 1, 2), ("FAILED", 1, "QUEUED", 0, 2), ("COMPLETED", 0, "COMPLETED", 0, 0),
            ("QUEUED", 0, "RUNNING", 0, 0), ("QUEUED", 1, "RUNNING", 0, 1), ("RUNNING", 0, "SUSPENDED", 0, 0), ("SUSPENDED", 0, "RUNNING", 0, 0),
            ("RUNNING", 0, "STARTING", 0, 0), ("STARTING", 0, "QUEUED", 0, 0), ("UNKNOWN", 0, "QUEUED", 0, 0), ("QUEUED", 0, "HELD", 0, 0),
            ("RUNNING", 0, "QUEUED", 1, 1), ("RUNNING", 0, "QUEUED", 3, 3), ("COMPLETED", 0, "RUNNING", 1, 1), ("RUNNING", 2, "RUNNING", 1, 2),
        ]:  # fmt: skip
            adopted = adopt(job("1", now, attempt=said), job("1", before, attempt=known))
            self.assertEqual(adopted.attempt, attempt, (before, known, now, said))

    def test_a_confirmation_stays(self) -> None:
        """Once an end was confirmed it stays so while the row shows the same end of the same attempt, and no longer."""
        def settled(row: JobDescriptor, **fields: Any) -> bool:
            return adopt(row, job("1", "FAILED", **{"settled": True, "attempt": 1, **fields})).settled

        again = job("1", "FAILED", settled=False, attempt=1)
        self.assertTrue(settled(again))
        self.assertTrue(settled(attrs.evolve(again, settled=True), settled=False))
        self.assertFalse(settled(again, settled=False))
        self.assertFalse(settled(attrs.evolve(again, outcome=Outcome.TIMEOUT)))
        self.assertFalse(settled(attrs.evolve(again, attempt=2)))
        self.assertFalse(settled(job("1", "RUNNING", attempt=1)))

    def test_what_a_record_lacks(self) -> None:
        """Of an accounting record: what the queue had said is kept where the record says nothing, and only there."""
        texts = {"workdir": "/w", "comment": "c", "name": "n", "user": "kim", "account": "bio"}
        known = job("1", "RUNNING", time_limit_s=60, started_at=200.0, queue="q", nodes="n1", **texts)
        record = job("1", "FAILED", confidence=Confidence.ACCOUNTING, submitted_at=None)
        kept = attrs.evolve(record, time_limit_s=60, submitted_at=100.0, uid=known.uid, **texts)
        self.assertTrue(adopt(record, known).says_the_same(kept), adopt(record, known))
        others = {name: f"other {text}" for name, text in texts.items()}
        full = job("1", "FAILED", confidence=Confidence.ACCOUNTING, time_limit_s=0, submitted_at=100.0, **others)
        self.assertTrue(adopt(full, known).says_the_same(full), "a record's own values are not overwritten by older ones")

    def test_what_the_queue_lacks(self) -> None:
        """Of a row of the queue: only the time of submission is kept; the queue itself may take the rest away."""
        known = job("1", "QUEUED", workdir="/w", comment="c", name="n", user="kim", account="bio", time_limit_s=60)
        for confidence in (Confidence.OBSERVED, Confidence.INFERRED):
            row = job("1", "RUNNING", submitted_at=None, confidence=confidence)
            self.assertTrue(adopt(row, known).says_the_same(attrs.evolve(row, submitted_at=100.0, uid=known.uid)))

    def test_a_start_is_kept_while_it_ends(self) -> None:
        """Of what is finishing, as long as it is the same attempt, and where the row does not say one."""
        known = job("1", "RUNNING", started_at=200.0)
        self.assertEqual(adopt(job("1", "FINISHING"), known).started_at, 200.0)
        self.assertEqual(adopt(job("1", "FINISHING", started_at=300.0), known).started_at, 300.0)
        self.assertIsNone(adopt(job("1", "FINISHING", attempt=1), known).started_at)
        self.assertIsNone(adopt(job("1", "SUSPENDED"), known).started_at)
        self.assertIsNone(adopt(job("1", "FAILED"), known).started_at)
