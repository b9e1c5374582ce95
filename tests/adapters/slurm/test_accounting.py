"""``sacct``: whose record it is, how the job ended, and what having none means."""

from __future__ import annotations

from typing import Any

import attrs
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from jobpush.core.model import Confidence, JobDescriptor, Outcome, Outcomes, PastAttempt, Phase
from jobpush.core.tasks import TaskSet
from jobpush_adapters.slurm import accounting, queue
from jobpush_adapters.slurm.accounting import MODULO_128, waiting_records
from tests.adapters.slurm.test_queue import NOW

SUBMITTED = 1795330673


def line(state: str, code: str = "0:0", submit: int = SUBMITTED, start: object = None, end: object = None, **more: str) -> str:
    """One record of job 23."""
    start = submit + 1 if start is None else start
    end = submit + 3 if end is None else end
    fields = {"id": "23", "partition": "main", "nodes": "n1", "reason": "None", "user": "kim", **more}
    return "|".join(
        [fields["id"], state, code, str(submit), str(start), str(end), fields["partition"], fields["nodes"], fields["reason"], fields["user"]]
    )


def known(**fields: Any) -> JobDescriptor:
    """Job 23 as it was seen last."""
    return JobDescriptor("slurm", "23", Phase.RUNNING, **{"submitted_at": float(SUBMITTED), "user": "kim", "observed_at": SUBMITTED + 2.0, **fields})


def outcomes(*lines: str, whole: bool = True, caught_up: bool = False, job: JobDescriptor | None = None) -> Outcomes:
    """What these records say of it."""
    job = job or known()
    return accounting.outcomes("\n".join(lines).encode() + b"\n", {job.id: job}, NOW, whole, caught_up)


def told(*lines: str, **options: Any) -> JobDescriptor:
    """How it ended by them."""
    return outcomes(*lines, **options).jobs["23"]


class EndTests(SynchronousTestCase):
    """How a job ended."""

    def test_whole(self) -> None:
        """All that a record says is told; what the job is otherwise stays. Its reason is why the job waited."""
        job = known(
            name="a|b", account="bio", queue="old", nodes="old", workdir="/w", comment="c", time_limit_s=60, attempt=2, aliases=("99",),
            reason="old", flags=("x",), source="squeue", parent="20", task_index=3,
        )  # fmt: skip
        ended = told(line("TIMEOUT", partition="long", nodes="n[1-2]", reason="Resources"), job=job)
        expected = attrs.evolve(
            job, phase=Phase.DONE, outcome=Outcome.TIMEOUT, settled=True, reason=None, flags=(), queue="long", nodes="n[1-2]",
            native={"state": "TIMEOUT", "exit_status": "0:0", "reason": "Resources"}, started_at=SUBMITTED + 1.0, ended_at=SUBMITTED + 3.0,
            source="sacct", confidence=Confidence.ACCOUNTING,
        )  # fmt: skip
        self.assertTrue(ended.says_the_same(expected), ended)
        self.assertEqual((ended.observed_at, told(line("COMPLETED", partition="")).queue), (NOW, None))

    def test_why_it_waited(self) -> None:
        """Is never why it ended, whatever the reason."""
        for reason in ("Dependency", "NodeDown", "Resources", "JobHeldUser", "ReqNodeNotAvail", "JobLaunchFailure"):
            ended = told(line("FAILED", "1:0", reason=reason))
            self.assertEqual((ended.reason, ended.reason_code, ended.native["reason"]), (None, None, reason))

    def test_codes(self) -> None:
        """The code before the colon, the signal after it."""
        for code, expected in (("3:0", (3, None)), ("255:0", (255, None)), ("0:9", (None, 9)), ("1:9", (None, 9)), ("0:0", (0, None))):
            ended = told(line("FAILED", code))
            self.assertEqual((ended.exit_code, ended.signal, ended.flags), (*expected, ()), code)

    def test_codes_modulo_128(self) -> None:
        """Before 25.11 only a success is known by its code: ``exit 137`` is 9:0, ``exit 128`` is FAILED 0:0."""
        for state, code, exit_code, flags in (
            ("FAILED", "9:0", None, (MODULO_128,)), ("FAILED", "0:0", None, (MODULO_128,)), ("COMPLETED", "0:0", 0, ()),
            ("FAILED", "0:9", None, ()), ("TIMEOUT", "0:0", None, ()), ("CANCELLED by 0", "0:15", None, ()), ("NODE_FAIL", "1:0", None, (MODULO_128,)),
        ):  # fmt: skip
            ended = told(line(state, code), whole=False)
            self.assertEqual((ended.exit_code, ended.flags, ended.native.get(MODULO_128)), (exit_code, flags, code[0] if flags else None), (state, code))
        self.assertEqual((told(line("FAILED", "9:0")).exit_code, told(line("FAILED", "9:0")).flags), (9, ()))

    def test_versions(self) -> None:
        """From 25.11 on exit codes are whole."""
        for text, whole in (("22.05.8", False), ("25.05.4", False), ("25.11.0", True), ("26.05", True), ("24.11", False), ("", False), ("x", False)):
            self.assertEqual(queue.version_of({"SLURM_VERSION": text}) >= accounting.WHOLE_CODES, whole, text)

    def test_signal_53(self) -> None:
        """Is slurmd's word for what could not be started only where nothing ran; else it is the signal 53."""
        never = told(line("FAILED", "0:53", start=SUBMITTED + 3, end=SUBMITTED + 3))
        self.assertEqual((never.outcome, never.signal), (Outcome.LAUNCH_FAIL, None))
        ran = told(line("FAILED", "0:53"))
        self.assertEqual((ran.outcome, ran.signal), (Outcome.FAILED, 53))

    def test_ended_while_it_waited(self) -> None:
        """Then it has no start, and no nodes."""
        never = told(line("CANCELLED by 0", start=SUBMITTED + 3, nodes="None assigned", reason="JobHeldUser"))
        self.assertEqual((never.state, never.started_at, never.nodes, never.native["state"]), ("CANCELLED", None, None, "CANCELLED by 0"))

    def test_what_never_ran_of_an_array(self) -> None:
        """Has one record, of a range: it is the array's, and tells for which tasks it speaks."""
        array = JobDescriptor("slurm", "33", Phase.QUEUED, submitted_at=float(SUBMITTED), pending_tasks=TaskSet.parse("2-9"))
        rest = line("CANCELLED by 0", id="33_[4-9%2]", nodes="None assigned", start=SUBMITTED + 3)
        ended = accounting.outcomes(rest.encode(), {"33": array}, NOW, True, False).jobs["33"]
        self.assertEqual((ended.state, str(ended.pending_tasks), ended.nodes, ended.started_at), ("CANCELLED", "4-9", None, None))
        whole = accounting.outcomes(rest.replace("33_[4-9%2]", "33").encode(), {"33": array}, NOW, True, False).jobs["33"]
        self.assertEqual(str(whole.pending_tasks), "2-9")


class IdentityTests(SynchronousTestCase):
    """Whose record it is."""

    def test_attempts(self) -> None:
        """A requeue leaves a record for each attempt: the last counts, in whatever order they come."""
        for word in ("REQUEUED", "PREEMPTED", "NODE_FAIL"):
            lines = [line(word), line("COMPLETED", submit=SUBMITTED + 3), ]
            self.assertEqual([told(*lines).state, told(*reversed(lines)).state], ["COMPLETED"] * 2, word)
        three = [line("REQUEUED"), line("REQUEUED", submit=SUBMITTED + 9), line("FAILED", "1:0", submit=SUBMITTED + 19)]
        self.assertEqual(told(*three).state, "FAILED")
        self.assertEqual(told(line("COMPLETED"), line("FAILED", "1:0")).state, "FAILED", "of two records of one time the last line")

    def test_ids_given_anew(self) -> None:
        """slurmctld has lost its state: the later job by the same id is another one, whoever's it is."""
        for user in ("robin", "kim"):
            ended = told(line("FAILED", "1:0"), line("COMPLETED", submit=SUBMITTED + 500, user=user))
            self.assertEqual((ended.state, ended.submitted_at), ("FAILED", SUBMITTED), user)
        overlapping = told(line("PREEMPTED", end=SUBMITTED + 600), line("COMPLETED", submit=SUBMITTED + 500))
        self.assertEqual(overlapping.state, "PREEMPTED", "a requeue comes after the end")
        for others in ([line("COMPLETED", submit=SUBMITTED + 500)], [line("COMPLETED", submit=SUBMITTED - 500)], [line("COMPLETED", user="robin")]):
            found = outcomes(*others, caught_up=True)
            self.assertEqual((dict(found.jobs), found.still_open, found.no_record), ({}, frozenset(), frozenset()), "what is not proved is not told")

    def test_users_that_are_not_told(self) -> None:
        """A number, or no user, may be anybody's."""
        for user in ("", "1000", "kim"):
            self.assertEqual(told(line("COMPLETED", user=user)).state, "COMPLETED", user)

    def test_never_seen(self) -> None:
        """Of a job that no query has listed the last record counts, with what it says of it."""
        job = JobDescriptor("slurm", "23", Phase.UNKNOWN)
        ended = told(line("COMPLETED"), line("FAILED", "3:0", submit=SUBMITTED + 500, user="robin"), job=job)
        self.assertEqual((ended.state, ended.exit_code, ended.user, ended.submitted_at), ("FAILED", 3, "robin", SUBMITTED + 500))


class NoEndTests(SynchronousTestCase):
    """What it means that there is no end."""

    def test_still_open(self) -> None:
        """A record without an end: the job has not ended."""
        for state in ("RUNNING", "PENDING", "REQUEUED", "SUSPENDED", "NEW_STATE"):
            found = outcomes(line(state, end="Unknown"), caught_up=True)
            self.assertEqual((dict(found.jobs), found.still_open, found.no_record), ({}, {"23"}, frozenset()), state)
        again = outcomes(line("PREEMPTED"), line("RUNNING", submit=SUBMITTED + 9, end="Unknown"))
        self.assertEqual(again.still_open, {"23"}, "it runs again")

    def test_no_record(self) -> None:
        """Means something only if accounting has caught up: by itself, or by a record of what came later."""
        other = line("COMPLETED", id="24", end=SUBMITTED + 5)
        for lines, caught_up, missing in (
            ([], False, set()), ([], True, {"23"}), ([other], False, {"23"}), ([line("COMPLETED", id="24", end=SUBMITTED + 1, start=SUBMITTED)], False, set()),
        ):  # fmt: skip
            self.assertEqual(outcomes(*lines, caught_up=caught_up).no_record, missing, (lines, caught_up))

    def test_what_waits_to_be_sent(self) -> None:
        """As sdiag says it."""
        self.assertEqual(waiting_records(b"Agent queue size:    0\nDBD Agent queue size: 17\n\nJobs submitted: 1\n"), 17)
        self.assertEqual(waiting_records(b"DBD Agent queue size: 0\n"), 0)
        self.assertIsNone(waiting_records(b"Agent queue size: 3\n"))

    def test_odd_lines(self) -> None:
        """A line that is none hides neither those before it nor those after it."""
        jobs = {i: JobDescriptor("slurm", i, Phase.RUNNING, submitted_at=float(SUBMITTED), user="kim") for i in ("23", "24", "25")}
        for odd in ("", "24|FAILED", line("FAILED", id="24") + "|more", line("FAILED", id="99"), line("FAILED", "x", id="24")):
            text = "\n".join([line("FAILED", id="23"), odd, line("FAILED", id="25")])
            self.assertEqual(sorted(accounting.outcomes(text.encode(), jobs, NOW, True, False).jobs), ["23", "25"], odd)

    @given(st.binary(max_size=300))
    def test_arbitrary_bytes(self, stdout: bytes) -> None:
        """Nothing is told that was not asked."""
        found = accounting.outcomes(stdout, {"23": known()}, NOW, True, False)
        self.assertLessEqual({*found.jobs, *found.still_open, *found.no_record}, {"23"})


class AttemptTests(SynchronousTestCase):
    """Attempts that were followed by another."""

    def past(self, *lines: str, whole: bool = True, **fields: Any) -> PastAttempt | None:
        job = known(**{"submitted_at": SUBMITTED + 20.0, "attempt": 2, **fields})
        return accounting.past_attempts("\n".join(lines).encode(), [job], whole).get(job.id)

    def test_before_the_present_one(self) -> None:
        """The record before that of the present submission, if that is proved to be of the same job."""
        lines = [line("REQUEUED", "98:0"), line("PREEMPTED", "0:15", SUBMITTED + 10), line("RUNNING", submit=SUBMITTED + 20, end="Unknown")]
        expected = PastAttempt(1, Outcome.PREEMPTED, None, 15, None, SUBMITTED + 11.0, SUBMITTED + 13.0)
        self.assertEqual(self.past(*lines), expected)
        self.assertEqual(self.past(*lines, submitted_at=SUBMITTED + 10.0, attempt=1), PastAttempt(0, Outcome.FAILED, 98, None, None, SUBMITTED + 1.0, SUBMITTED + 3.0))
        self.assertIsNone(self.past(*lines[:2]), "there is no record of the present one yet")
        self.assertIsNone(self.past(*lines, submitted_at=float(SUBMITTED)))
        self.assertIsNone(self.past(*lines[:1], line("FAILED", "3:0", SUBMITTED + 10), lines[2]), "another job had the id")
        self.assertIsNone(self.past(*lines[:1], line("PREEMPTED", "0:15", SUBMITTED + 10, user="lee"), lines[2], user="lee"))

    def test_how_it_ended(self) -> None:
        """A code is told where it is whole; without one nothing says how it ended: it was put back by hand."""
        now = line("RUNNING", submit=SUBMITTED + 20, end="Unknown")
        for state, code, whole, expected in (
            ("REQUEUED", "0:0", True, (None, None, None)), ("REQUEUED", "98:0", False, (Outcome.FAILED, None, None)),
            ("REQUEUED", "0:9", True, (Outcome.FAILED, None, 9)), ("NODE_FAIL", "1:0", True, (Outcome.NODE_FAIL, 1, None)),
            ("NODE_FAIL", "x", True, (None, None, None)), ("REQUEUE_HOLD", "97:0", True, (Outcome.FAILED, 97, None)),
        ):  # fmt: skip
            past = self.past(line(state, code), now, whole=whole)
            assert past is not None
            self.assertEqual((past.outcome, past.exit_code, past.signal), expected, (state, code))

    def test_of_one_that_has_ended(self) -> None:
        """How many attempts there were, and how the one before the last ended, also where nobody has seen them."""
        lines = [line("REQUEUED", "98:0"), line("NODE_FAIL", "0:0", SUBMITTED + 10), line("FAILED", "5:0", SUBMITTED + 20)]
        for job in (known(), known(submitted_at=None, user=None), known(submitted_at=SUBMITTED + 20.0)):
            ended = told(*lines, job=job)
            self.assertEqual((ended.attempt, ended.exit_code), (2, 5))
            self.assertEqual(ended.previous_attempt, PastAttempt(1, Outcome.NODE_FAIL, None, None, None, SUBMITTED + 11.0, SUBMITTED + 13.0))

    def test_what_was_seen_stays(self) -> None:
        """What was seen of the attempt before is completed by its record; that of another attempt gives way."""
        lines = [line("REQUEUED", "98:0"), line("FAILED", "5:0", SUBMITTED + 20)]
        seen = PastAttempt(0, None, None, None, "r", 7.0, None)
        whole = told(*lines, job=known(attempt=1, previous_attempt=seen)).previous_attempt
        self.assertEqual(whole, PastAttempt(0, Outcome.FAILED, 98, None, "r", 7.0, SUBMITTED + 3.0))
        self.assertEqual(told(*lines, job=known(attempt=0, previous_attempt=seen)).previous_attempt, PastAttempt(0, Outcome.FAILED, 98, None, None, SUBMITTED + 1.0, SUBMITTED + 3.0))
        more = told(*lines, job=known(attempt=4, previous_attempt=attrs.evolve(seen, attempt=3)))
        self.assertEqual((more.attempt, more.previous_attempt and more.previous_attempt.attempt), (4, 3))
        alone = told(lines[1], job=known(attempt=1, previous_attempt=seen, submitted_at=SUBMITTED + 20.0))
        self.assertEqual((alone.attempt, alone.previous_attempt), (1, seen))
