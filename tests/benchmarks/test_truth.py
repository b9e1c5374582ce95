"""What is right to tell of a job, by what it wrote itself and when it was deleted."""

from __future__ import annotations

import json

from twisted.trial.unittest import SynchronousTestCase

from benchmarks.truth.__main__ import PROLOGUE, told_of
from benchmarks.truth.kinds import FAILURE, KINDS, OPEN, SUCCESS, UNKNOWN, WRONG, Told, Truth, cell, truth_of

KIND = KINDS[0]
DID, FAILED = Truth(True, 100.0), Truth(False, 100.0)


class TruthTests(SynchronousTestCase):
    """`truth_of`."""

    def test_what_it_wrote(self) -> None:
        """Only its own last line makes a success; a deletion makes none of it, whatever it wrote."""
        lines = ["id 7", "start 1.0", "end 3 2.5", "id 7", "start 3.0", "end 0 9.5"]
        self.assertEqual(truth_of(lines, None), Truth(True, 9.5))
        self.assertEqual(truth_of(lines[:3], None), Truth(False, 2.5))
        self.assertEqual(truth_of(lines[:2], None), Truth(False, None))
        self.assertEqual(truth_of(lines, 5.0), Truth(False, 5.0))
        self.assertEqual(truth_of([], None), Truth(False, None))


class CellTests(SynchronousTestCase):
    """`cell`."""

    def test_right(self) -> None:
        """The last answer counts; any failure is right of what did not succeed."""
        self.assertEqual(cell(KIND, [Told(1, OPEN, "RUNNING"), Told(101, SUCCESS, "DONE")], DID), "DONE")
        self.assertEqual(cell(KIND, [Told(101, FAILURE, "CANCELLED")], FAILED), "CANCELLED")
        self.assertEqual(cell(KIND, [Told(99.5, SUCCESS, "DONE")], DID), "DONE", "clocks are read at different moments")

    def test_wrong(self) -> None:
        """The other end; none at all; and one that is told before the job has ended, whatever is told later."""
        self.assertEqual(cell(KIND, [Told(101, FAILURE, "FAILED")], DID), f"{WRONG}: FAILED")
        self.assertEqual(cell(KIND, [Told(101, SUCCESS, "DONE")], FAILED), f"{WRONG}: DONE")
        self.assertEqual(cell(KIND, [Told(101, OPEN, "PENDING")], FAILED), f"{WRONG}: for ever PENDING")
        self.assertEqual(cell(KIND, [Told(50, SUCCESS, "DONE"), Told(101, SUCCESS, "DONE")], DID), f"{WRONG}: DONE before its end")

    def test_neither(self) -> None:
        """What is said to be unknown is not wrong; a tool that is silent cannot be asked."""
        self.assertEqual(cell(KIND, [Told(101, UNKNOWN, "UNKNOWN")], FAILED), "unknown (UNKNOWN)")
        self.assertEqual(cell(KIND, [], FAILED), "cannot be asked")

    def test_ours(self) -> None:
        """jobpush is judged as the others: LOST is unknown, and an end that is not settled is none."""
        job = {"state": "FAILED", "phase": "DONE", "settled": True, "exit_code": 3, "signal": None}
        self.assertEqual((told_of(job).means, told_of(job).words), (FAILURE, "FAILED 3"))
        self.assertEqual(told_of({**job, "settled": False}).means, OPEN)
        self.assertEqual(told_of({**job, "state": "LOST"}).means, UNKNOWN)
        self.assertEqual(told_of({**job, "state": "COMPLETED", "exit_code": 0}).means, SUCCESS)


class KindTests(SynchronousTestCase):
    """`KINDS`."""

    def test_names(self) -> None:
        """Each has a word of its own, which is one for files, rules and classes; its script can be written to a tool."""
        keys = [kind.key for kind in KINDS]
        self.assertEqual(len(set(keys)), len(KINDS))
        for kind in KINDS:
            self.assertTrue(kind.key.isidentifier(), kind)
            json.dumps(PROLOGUE.format(path="/x", outage="/y", body=kind.script))
