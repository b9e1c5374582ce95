"""Arrays and heterogeneous jobs as the sum of their parts."""

from __future__ import annotations

import attrs
from twisted.trial.unittest import SynchronousTestCase

from jobpush.core.aggregate import aggregate, whole_phase, worst
from jobpush.core.model import Confidence, JobDescriptor, Outcome, Phase, ReasonCode, split_state
from jobpush.core.tasks import TaskSet
from tests.core.world import job


class AggregateTests(SynchronousTestCase):
    """`aggregate`."""

    def part(self, index: int, state: str, **fields: object) -> JobDescriptor:
        phase, outcome = split_state(state)
        return JobDescriptor(
            cluster="c", id=f"7_{index}", phase=phase, outcome=outcome, settled=outcome is not None, parent="7",
            task_index=index, submitted_at=10.0, **fields,  # type: ignore[arg-type]
        )  # fmt: skip

    def test_what_only_parts_have(self) -> None:
        """Flags and aliases are those of rows; a signal is the highest of the parts', as an exit code is."""
        row = JobDescriptor("c", "7", Phase.QUEUED, flags=("transit",), aliases=("7[]",), pending_tasks=TaskSet.of([3]))
        whole = aggregate("7", [self.part(0, "RUNNING", flags=("stage_out",))], row, None)
        self.assertEqual((whole.flags, whole.aliases), ((), ()))
        ends = [self.part(index, "FAILED", signal=signal, exit_code=code) for index, (signal, code) in enumerate(((9, None), (15, 1), (11, 3), (None, 2)))]
        whole = aggregate("7", ends, None, None)
        self.assertEqual((whole.signal, whole.exit_code), (15, 3))

    def test_phase_and_counts(self) -> None:
        """The whole runs while any part does, and between two parts; it is done when all are, with the worst outcome."""
        cases = [
            (["RUNNING", "QUEUED", "COMPLETED"], "RUNNING"), (["QUEUED", "HELD"], "QUEUED"), (["HELD", "HELD"], "HELD"),
            (["COMPLETED", "COMPLETED"], "COMPLETED"), (["COMPLETED", "FAILED", "CANCELLED"], "FAILED"),
            (["SUSPENDED", "QUEUED"], "SUSPENDED"), (["COMPLETED", "CANCELLED"], "CANCELLED"), (["LOST", "FAILED"], "LOST"),
            (["COMPLETED", "QUEUED"], "RUNNING"),
        ]  # fmt: skip
        for states, expected in cases:
            parts = [
                self.part(i, state, started_at=20.0 if state in ("RUNNING", "COMPLETED", "FAILED") else None)
                for i, state in enumerate(states)
            ]
            whole = aggregate("7", parts, None, None)
            self.assertEqual(whole.state, expected, states)
            self.assertEqual(sum((whole.counts or {}).values()), len(states))
            self.assertEqual(whole.id, "7")

    def test_the_exit_code_is_of_those_that_decide(self) -> None:
        """A time-out has none, and so has its array, however well the other tasks ended."""
        parts = [self.part(0, "COMPLETED", exit_code=0), self.part(1, "TIMEOUT", signal=15), self.part(2, "CANCELLED", signal=9)]
        whole = aggregate("7", parts, None, None)
        self.assertEqual((whole.outcome, whole.exit_code, whole.signal), (Outcome.TIMEOUT, None, 15))

    def test_a_task_that_waits_again(self) -> None:
        """A task with a row of its own that is in the range again counts once."""
        parts = [self.part(0, "HELD"), self.part(3, "HELD")]
        whole = aggregate("7", parts, job("7", "HELD", pending_tasks=TaskSet.parse("0-3")), None)
        self.assertEqual(whole.counts, {"HELD": 4})

    def test_exit_code_is_the_highest(self) -> None:
        """As Slurm's own derived exit code; only at the end."""
        parts = [self.part(0, "COMPLETED", exit_code=0), self.part(1, "FAILED", exit_code=3)]
        self.assertEqual(aggregate("7", parts, None, None).exit_code, 3)
        self.assertIsNone(aggregate("7", [*parts, self.part(2, "RUNNING")], None, None).exit_code)

    def test_whole(self) -> None:
        """Every field of the whole: from its parts what they add up to, from its range or what it was before what it is."""
        row = JobDescriptor(
            "c", "7", Phase.QUEUED, pending_tasks=TaskSet.parse("3-5"), name="sweep", user="kim", account="bio", queue="q", workdir="/w", comment="c",
            time_limit_s=60, submitted_at=9.0, observed_at=5.0, reason="Priority", reason_code=ReasonCode.PRIORITY, source="squeue", native={"state": "PD"},
        )  # fmt: skip
        parts = [
            self.part(0, "COMPLETED", exit_code=0, started_at=20.0, ended_at=30.0, observed_at=7.0, nodes="n1", native={"state": "CD"}, source="sacct"),
            self.part(1, "FAILED", exit_code=3, signal=9, started_at=21.0, ended_at=40.0, observed_at=8.0, nodes="n2", flags=("x",)),
        ]  # fmt: skip
        whole = aggregate("7", parts, row, None)
        expected = attrs.evolve(
            row, uid="c/7@9", phase=Phase.RUNNING, reason=None, reason_code=None, native={"state": "CD+FAILED+PD"}, started_at=20.0, observed_at=8.0,
            source="sacct", counts={"COMPLETED": 1, "FAILED": 1, "QUEUED": 3},
        )  # fmt: skip
        self.assertTrue(whole.says_the_same(expected), whole)
        self.assertEqual(whole.observed_at, 8.0)
        last = attrs.evolve(whole, uid="c/7@5", submitted_at=5.0, name="old", attempt=4)
        again = aggregate("7", parts, None, last)
        self.assertTrue(again.says_the_same(attrs.evolve(
            last, phase=Phase.DONE, outcome=Outcome.FAILED, settled=True, attempt=0, exit_code=3, signal=9, native={"state": "CD+FAILED"},
            ended_at=40.0, pending_tasks=None, counts={"COMPLETED": 1, "FAILED": 1},
        )), again)  # fmt: skip

    def test_why_it_waits(self) -> None:
        """A whole that waits says why as a part that is in its state does."""
        held = self.part(0, "HELD", reason="JobHeldUser", reason_code=ReasonCode.HELD_BY_USER)
        queued = self.part(1, "QUEUED", reason="Priority", reason_code=ReasonCode.PRIORITY)
        for parts in ([held, queued], [queued, held]):
            whole = aggregate("7", parts, None, None)
            self.assertEqual((whole.state, whole.reason, whole.reason_code), ("QUEUED", "Priority", ReasonCode.PRIORITY))
        running = self.part(2, "RUNNING", reason="r", reason_code=ReasonCode.OTHER)
        whole = aggregate("7", [held, running], None, None)
        self.assertEqual((whole.state, whole.reason, whole.reason_code), ("RUNNING", "r", None))

    def test_confidence(self) -> None:
        """A whole of which any part is inferred is inferred; settled only if all of them are."""
        parts = [self.part(0, "COMPLETED"), self.part(1, "COMPLETED")]
        sure = aggregate("7", parts, None, None)
        self.assertEqual((sure.confidence, sure.settled), (Confidence.OBSERVED, True))
        inferred = aggregate("7", [parts[0], attrs.evolve(parts[1], confidence=Confidence.INFERRED, settled=False)], None, None)
        self.assertEqual((inferred.confidence, inferred.settled, inferred.done), (Confidence.INFERRED, False, True))
        told = aggregate("7", [attrs.evolve(part, confidence=Confidence.ACCOUNTING) for part in parts], None, None)
        self.assertEqual(told.confidence, Confidence.ACCOUNTING)

    def test_nothing_left(self) -> None:
        """Where no part tells any more the whole is what it was."""
        last = aggregate("7", [self.part(0, "RUNNING")], None, None)
        self.assertIs(aggregate("7", [], None, last), last)
        empty = JobDescriptor("c", "7", Phase.QUEUED, pending_tasks=TaskSet())
        self.assertIs(aggregate("7", [], empty, last), last, "an empty range is none")
        self.assertIsNone(aggregate("7", [self.part(0, "RUNNING")], empty, last).pending_tasks)

    def test_no_times(self) -> None:
        """Of parts that say none there is none; a whole of which no part says when it was submitted has a uid all the same."""
        part = attrs.evolve(self.part(0, "COMPLETED"), submitted_at=None)
        whole = aggregate("7", [part], None, None)
        self.assertEqual((whole.submitted_at, whole.started_at, whole.ended_at, whole.uid), (None, None, None, "c/7@0"))
        self.assertEqual((whole.exit_code, whole.signal), (None, None))

    def test_phases(self) -> None:
        """What has begun does not go back: not to waiting, nor to finishing while a part has not begun to."""
        for phases, begun, expected in [
            ({Phase.QUEUED}, True, Phase.RUNNING), ({Phase.QUEUED}, False, Phase.QUEUED), ({Phase.STARTING, Phase.QUEUED}, True, Phase.RUNNING),
            ({Phase.STARTING, Phase.QUEUED}, False, Phase.STARTING), ({Phase.HELD, Phase.DONE}, True, Phase.HELD),
            ({Phase.FINISHING, Phase.DONE}, True, Phase.FINISHING), ({Phase.FINISHING}, True, Phase.FINISHING),
            ({Phase.FINISHING, Phase.QUEUED}, False, Phase.RUNNING), ({Phase.SUSPENDED, Phase.QUEUED}, True, Phase.SUSPENDED),
            ({Phase.UNKNOWN, Phase.DONE}, True, Phase.UNKNOWN), ({Phase.RUNNING, *Phase}, True, Phase.RUNNING),
        ]:  # fmt: skip
            self.assertIs(whole_phase(phases, begun), expected, (phases, begun))

    def test_begun(self) -> None:
        """A part that is starting has not begun, though the scheduler says when it is to start; one that runs, or ran, has."""
        waiting = self.part(1, "QUEUED")
        for state, started_at, expected in [
            ("STARTING", 20.0, "STARTING"), ("COMPLETED", 20.0, "RUNNING"), ("CANCELLED", None, "QUEUED"), ("HELD", 20.0, "RUNNING"),
        ]:  # fmt: skip
            self.assertEqual(aggregate("7", [self.part(0, state, started_at=started_at), waiting], None, None).state, expected, state)

    def test_worst(self) -> None:
        """The outcome of a whole, by how bad that of a part is."""
        order = [
            Outcome.LOST, Outcome.NODE_FAIL, Outcome.LAUNCH_FAIL, Outcome.OUT_OF_MEMORY, Outcome.FAILED, Outcome.TIMEOUT, Outcome.DEADLINE,
            Outcome.PREEMPTED, Outcome.CANCELLED, Outcome.MOVED, Outcome.COMPLETED,
        ]  # fmt: skip
        self.assertEqual(set(order), set(Outcome))
        for place, outcome in enumerate(order):
            self.assertIs(worst(reversed(order[place:])), outcome)
