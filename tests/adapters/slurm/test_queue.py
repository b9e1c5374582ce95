"""The Slurm adapter on recorded and hostile output; a real Slurm is in ``with_service``."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Sequence
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet import reactor
from twisted.internet.defer import Deferred, succeed
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface.verify import verifyObject

from jobpush.adapter.command import CommandResult
from jobpush.adapter.interfaces import IBatchQueueService, InvalidJobId, QueueError
from jobpush.adapter.testing import QueueUnderTest, makeQueueServiceTests
from jobpush.core.model import STATES as FLAT_STATES
from jobpush.core.model import JobDescriptor, Phase, QueueFacts, Snapshot
from jobpush_adapters.common import commands
from jobpush_adapters.slurm import queue as slurm
from jobpush_adapters.slurm import squeue
from tests.adapters.slurm.rows import row
from tests.adapters.watching import WatchingCase
from tests.fakes import Programs, Scripted
from tests.service_process import ROOT
from tests.support import NOW, ManualClock

CAPTURES = ROOT / "tests" / "captures" / "slurm"


def framed(*rows: bytes, token: str = "Tabcdefghij") -> bytes:
    """Rows as ``squeue`` prints them where it is asked with that token."""
    return b"".join(r.replace(b"\0", f"{token}f".encode()) + f"{token}r\n".encode() for r in rows)


class ScriptedCase(SynchronousTestCase):
    """A queue whose commands are answered within the process."""

    def setUp(self) -> None:
        self.clock = ManualClock()
        #: Accounting answers and has caught up, unless a test says otherwise.
        self.answers: dict[str, Callable[[Sequence[str]], CommandResult | bytes]] = {
            "sdiag": lambda argv: b"DBD Agent queue size: 0\n",
            "sacct": lambda argv: b"",
        }
        self.commands = Scripted(self, lambda argv: self.answers[argv[0]](argv))
        self.queue = self.make()

    def make(self, **options: Any) -> slurm.SlurmQueue:
        return slurm.SlurmQueue(self.clock, probe=False, wall=self.clock.seconds, **options)

    def result(self, deferred: Deferred[Any]) -> Any:
        """What comes of it."""
        self.clock.advance(0)
        return self.successResultOf(deferred)

    def snapshot(self, stdout: bytes, status: int = 0, stderr: bytes = b"", token: str = "Tabcdefghij") -> Snapshot:
        """What the queue makes of that answer of ``squeue``, whose token was this."""
        self.patch(slurm, "new_token", lambda: token)
        self.answers["squeue"] = lambda argv: CommandResult(status, stdout, stderr)
        answer = self.queue.snapshot()
        self.clock.advance(0)
        failures: list[Failure] = []
        answer.addErrback(failures.append)
        if failures:
            failures[0].raiseException()
        snapshot: Snapshot = self.successResultOf(answer)
        return snapshot


class FramingTests(ScriptedCase):
    """Rows and fields are framed by a token that no job can know."""

    def test_arguments(self) -> None:
        """One query for everything, with the exit code; what users write is framed by the token, which is new each time."""
        token, other = slurm.new_token(), slurm.new_token()
        self.assertNotEqual(token, other)
        for each in (token, other, slurm.new_token()):
            self.assertRegex(each, r"\AT[A-Za-z0-9]{10}\Z")
        arguments = squeue.squeue_arguments(token)
        self.assertEqual(arguments[:8], ["--all", "--local", "-h", "-t", "all", "-S", "i", "-O"])
        plain = [
            "JobID", "JobArrayID", "State", "exit_code", "Partition", "NodeList", "SubmitTime", "StartTime", "EndTime", "TimeLimit", "RestartCnt",
        ]  # fmt: skip
        ends = [f"{field}:|" for field in plain] + [f"{field}:{token}f" for field in ("UserName", "Reason", "Account", "WorkDir", "Comment")]
        self.assertEqual(arguments[8].split(","), [*ends, f"Name:{token}r"])
        self.assertEqual(squeue.squeue_arguments(token, "beta")[1], "--clusters=beta")

    def test_forged_rows(self) -> None:
        """Whatever a name holds, it stays a name."""
        forged = "x\n2\t2\tFAILED Tdeadr\n" + row("2", state="FAILED").decode().replace("\0", "Tdeadf") + "Tdeadr\n"
        jobs = self.snapshot(framed(row("1", Name=forged), row("2"))).jobs
        self.assertEqual({i: j.state for i, j in jobs.items()}, {"1": "RUNNING", "2": "RUNNING"})
        self.assertEqual(jobs["1"].name, forged)

    def test_even_a_known_token(self) -> None:
        """Who could learn the token could add a row for another's job: then neither row is believed."""
        forged = "x" + "Tabcdefghijr\n" + row("2", state="FAILED").decode().replace("\0", "Tabcdefghijf")
        snapshot = self.snapshot(framed(row("1", Name=forged), row("2")))
        self.assertNotIn("2", snapshot.jobs)
        self.assertIn("2", snapshot.rejected_ids, "its job is not absent either")

    def test_four_results(self) -> None:
        """A failed query is an error; an empty one is empty; a bad row is one bad row."""
        self.assertEqual(self.snapshot(b"").jobs, {})
        good = framed(row("1"))
        for stdout, status, stderr, told in [
            (b"", 1, b"slurm_load_jobs error: Unable to contact slurm controller (connect failure)\n", "Unable to contact"),
            (good[:-5], 0, b"", "cut off"), (good + b"2", 0, b"", "cut off"), (b"<html><body>502 Bad Gateway</body></html>", 0, b"", "cut off"),
            (b"\0", 0, b"", "NUL"), (good, 0, b"squeue: error: Invalid job format specification: exit_code\n", "does not know a field"),
            (b"", 0, b"squeue: error: something new\n", "something new"), (b'{"jobs": []}', 0, b"", "cut off"),
            (framed(row("x", JobID="x")), 0, b"", "no row could be understood: the job id is none"),
        ]:  # fmt: skip
            error = self.assertRaises(QueueError, self.snapshot, stdout, status, stderr)
            self.assertIn(told, str(error))
            self.assertNotIn("\n", str(error))
        snapshot = self.snapshot(framed(row("1"), row("2", exit_code="x"), row("3")), stderr=b"squeue: a warning\n")
        self.assertEqual((sorted(snapshot.jobs), snapshot.rejected_count, snapshot.rejected_ids), (["1", "3"], 1, {"2"}))
        self.assertIn("the exit code or the number of restarts is no number: 2|2|RUNNING|x|", snapshot.rejected[0])

    def test_rows_that_stand_for_no_job(self) -> None:
        """What another cluster of the federation has started is listed for a moment under no job's number."""
        gone = row("4294967294", "REVOKED", Name="x\n4294967294|y")
        for rows in ((gone, row("7")), (row("7"), gone, gone), (gone, row("7"), gone), (row("7"),)):
            snapshot = self.snapshot(framed(*rows))
            self.assertEqual((list(snapshot.jobs), snapshot.rejected_count), (["7"], 0), rows)
        self.assertEqual(list(self.snapshot(framed(gone)).jobs), [])
        named = self.snapshot(framed(row("7", Name="x\n4294967294|y")))
        self.assertEqual([job.name for job in named.jobs.values()], ["x\n4294967294|y"])

    def test_what_a_bad_row_may_stand_for(self) -> None:
        """Its job, by either of its ids, is not absent."""
        for bad, ids in [
            (row("33_4", JobID="35", exit_code="x"), {"33_4", "35"}), (row("46+1", JobID="47", exit_code="x"), {"46+1", "47"}),
            (row("8;id", JobID="9"), {"9"}), (row("x", JobID="y"), set()),
        ]:  # fmt: skip
            self.assertEqual(self.snapshot(framed(row("1"), bad)).rejected_ids, ids)

    def test_times(self) -> None:
        """A job was observed when the query began that showed it so first; the snapshot says when this one began and ended."""
        self.snapshot(framed(row("1")))
        self.clock.advance(7.0)
        snapshot = self.snapshot(framed(row("1"), row("2")))
        self.assertEqual((snapshot.began_at, snapshot.ended_at), (NOW + 7.0, NOW + 7.0))
        self.assertEqual({job.id: job.observed_at for job in snapshot.jobs.values()}, {"1": NOW, "2": NOW + 7.0})

    def test_unchanged_rows_are_not_read_again(self) -> None:
        """The same bytes, under another token, are the same object; a row that was gone is read anew."""
        first = self.snapshot(framed(row("1"), row("2"))).jobs
        second = self.snapshot(framed(row("1"), row("2", state="COMPLETED"), token="Txyzabcdefg"), token="Txyzabcdefg")
        self.assertIs(second.jobs["1"], first["1"])
        self.assertEqual(second.jobs["2"].state, "COMPLETED")
        self.assertEqual((second.fresh, second.gone), (("2",), ()))
        self.assertIs(second.base, first)
        self.clock.advance(5.0)
        third = self.snapshot(framed(row("1"), row("2")))
        self.assertEqual((third.jobs["1"].observed_at, third.jobs["2"].observed_at), (NOW, NOW + 5.0))

    def test_line_breaks_anywhere(self) -> None:
        """Names with line breaks, wherever among many rows they stand; again when nothing has changed."""
        names = {str(number): "a\nb\n\nc" if number % 7 == 0 else "a" for number in range(1, 1000)}
        text = framed(*(row(job_id, Name=name) for job_id, name in names.items()))
        first = self.snapshot(text).jobs
        self.assertEqual({job.id: job.name for job in first.values()}, names)
        again = self.snapshot(text)
        self.assertEqual((again.fresh, again.gone), ((), ()))
        self.assertTrue(all(again.jobs[job_id] is job for job_id, job in first.items()))
        self.assertEqual(len(again.jobs), len(names))

    def test_two_rows_among_unchanged_ones(self) -> None:
        """A row that claims another's id is found also where nothing else has changed; and what it claimed is back after it."""
        rows = [row(str(number)) for number in range(1, 600)]
        self.snapshot(framed(*rows))
        for place in (0, 300, 599):
            odd = self.snapshot(framed(*rows[:place], row("77", state="FAILED"), *rows[place:]))
            self.assertEqual((sorted(odd.rejected_ids), len(odd.jobs), odd.fresh), (["77"], 598, None))
            good = self.snapshot(framed(*rows))
            self.assertEqual((good.rejected_ids, len(good.jobs)), (set(), 599))

    def test_what_leaves(self) -> None:
        """Rows that leave or change are told by the ids of their jobs, whatever kind of job it is."""
        ids = ("1", "2_3", "4+1", "5_[2-9]")
        first = self.snapshot(framed(*map(row, ids), row("6")))
        self.assertEqual(set(first.jobs), {"1", "2_3", "4+1", "5", "6"})
        changed = self.snapshot(framed(*(row(job_id, state="FAILED", Name="x|_[y") for job_id in ids), row("6")))
        self.assertEqual((set(changed.fresh or ()), set(changed.gone)), ({"1", "2_3", "4+1", "5"}, set()))
        left = self.snapshot(framed(row("6")))
        self.assertEqual((set(left.jobs), left.fresh, set(left.gone)), ({"6"}, (), {"1", "2_3", "4+1", "5"}))

    @given(st.binary(max_size=400), st.integers(0, 2), st.binary(max_size=60))
    def test_arbitrary_bytes(self, stdout: bytes, status: int, stderr: bytes) -> None:
        """Nothing but a QueueError leaves the queue."""
        try:
            self.snapshot(stdout, status, stderr)
        except QueueError:
            pass

    @given(st.lists(st.binary(max_size=30).filter(lambda b: b"\0" not in b), min_size=17, max_size=17), st.booleans())
    def test_arbitrary_fields(self, fields: list[bytes], id_is_good: bool) -> None:
        """Whole rows of arbitrary fields: a job with a known state, or a rejected row; but for rows that stand for no job."""
        if id_is_good:
            fields[:2] = [b"7", b"7"]
        if any(b"Tabcdefghij" in field for field in fields) or fields[0].startswith(b"4294967294"):
            return
        snapshot = self.snapshot(framed(row("1"), b"\0".join([b"|".join(fields[:12]), *fields[12:]])))
        two_with_one_id = "1" in snapshot.rejected_ids and "1" not in snapshot.jobs
        self.assertEqual(len(snapshot.jobs) + snapshot.rejected_count, 1 if two_with_one_id else 2)
        for job in snapshot.jobs.values():
            self.assertIn(job.state, FLAT_STATES)


class NamedTests(ScriptedCase):
    """Asking for some jobs alone."""

    def named(self, *jobs: str, **rows: CommandResult | bytes) -> Snapshot:
        self.patch(slurm, "new_token", lambda: "Tabcdefghij")
        self.answers["squeue"] = lambda argv: rows[argv[-1]]
        snapshot: Snapshot = self.result(self.queue.named(jobs))
        return snapshot

    def test_named(self) -> None:
        """Each is asked for by itself, as all are; what is not listed is left out; an array's tasks come with it."""
        gone = CommandResult(1, b"", b"slurm_load_jobs error: Invalid job id specified\n")
        snapshot = self.named("7", "8", "9", **{"7": framed(row("7", state="FAILED", exit_code="768")), "8": gone, "9": framed(row("9_1"), row("9_2"))})
        self.assertEqual({job.id: (job.state, job.exit_code) for job in snapshot.jobs.values()},
                         {"7": ("FAILED", 3), "9_1": ("RUNNING", None), "9_2": ("RUNNING", None)})  # fmt: skip
        arguments = " ".join(squeue.squeue_arguments("Tabcdefghij"))
        self.assertEqual(self.commands.calls, [f"squeue {arguments} -j {job}" for job in ("7", "8", "9")])
        self.assertEqual((snapshot.began_at, snapshot.ended_at, snapshot.jobs["7"].observed_at), (NOW, NOW, NOW))

    def test_failures(self) -> None:
        """One command that fails otherwise fails the query, with its own words."""
        for bad, told in [
            (CommandResult(1, b"", b"Unable to contact slurm controller\n"), "Unable to contact"), (framed(row("8"))[:-3], "cut off"),
            (CommandResult(2, b"", b"Invalid job id specified\n"), "status 2"), (QueueError("squeue did not answer"), "squeue did not answer"),
        ]:  # fmt: skip
            def answer(argv: Sequence[str], bad: Any = bad) -> CommandResult | bytes:
                if argv[-1] != "8":
                    return framed(row(argv[-1]))
                if isinstance(bad, Exception):
                    raise bad
                return bad  # type: ignore[no-any-return]

            self.patch(slurm, "new_token", lambda: "Tabcdefghij")
            self.answers["squeue"] = answer
            failure = self.failureResultOf(self.queue.named(["7", "8"]), QueueError)
            self.assertIn(told, str(failure.value))

    def test_all_fail(self) -> None:
        """Where several commands fail, one failure is told, and none is left for the log."""

        def answer(argv: Sequence[str]) -> CommandResult:
            raise QueueError("squeue did not answer")

        self.answers["squeue"] = answer
        self.failureResultOf(self.queue.named(["7", "8"]), QueueError)
        gc.collect()
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_it_changes_nothing(self) -> None:
        """The next query for all compares with the last one for all."""
        first = self.snapshot(framed(row("1"), row("2")))
        self.named("1", **{"1": framed(row("1", state="FAILED"))})
        second = self.snapshot(framed(row("1"), row("2")))
        self.assertEqual((second.fresh, second.gone), ((), ()))
        self.assertIs(second.base, first.jobs)

    def test_a_few(self) -> None:
        """Several ids at once would make the controller send all jobs."""
        self.assertEqual(self.queue.most_named, 4)


#: What a check asks of accounting.
ASKED = " ".join(["sacct", *slurm.sacct_arguments(["1"])])


class FactTests(ScriptedCase):
    """``scontrol show config`` and ``sacctmgr``."""

    def setUp(self) -> None:
        super().setUp()
        self.account("jobpush")

    def account(self, name: str) -> None:
        """The service runs as this user."""
        self.patch(commands.pwd, "getpwuid", lambda uid: commands.pwd.struct_passwd((name, "x", 7, 7, "", "/", "/bin/sh")))

    def facts(self, level: CommandResult | bytes = b"None\n", **config: str) -> QueueFacts:
        """What follows from these settings."""
        text = "Configuration data as of now\n" + "".join(f"{name:<22} = {value}\n" for name, value in config.items()) + "\n"
        self.answers["scontrol"] = lambda argv: text.encode()
        self.answers["sacctmgr"] = lambda argv: level
        facts: QueueFacts = self.result(self.queue.check())
        return facts

    def test_what_is_seen(self) -> None:
        """All, where nothing hides jobs, or for Slurm's own users, or with the AdminLevel for it."""
        dbd = {"AccountingStorageType": "accounting_storage/slurmdbd"}
        for account, level, config, sees_all, hides, evidence in [
            ("jobpush", b"", {}, True, False, "PrivateData=none"), ("jobpush", b"", {"PrivateData": "none"}, True, False, "PrivateData=none"),
            ("jobpush", b"", {"PrivateData": "accounts,usage"}, True, False, "PrivateData=accounts,usage"),
            ("jobpush", b"None\n", {"PrivateData": "jobs", **dbd}, False, True, "PrivateData=jobs, and the AdminLevel of jobpush is None"),
            ("jobpush", b"", {"PrivateData": "Cloud,Jobs", **dbd}, False, True, "AdminLevel of jobpush is None"),
            ("jobpush", b"None\n", {"PrivateData": "all", **dbd}, False, True, "AdminLevel of jobpush is None"),
            ("jobpush", b"Operator\n", {"PrivateData": "jobs", **dbd}, True, True, "AdminLevel of jobpush is Operator"),
            ("jobpush", b"Administrator\n", {"PrivateData": "jobs", **dbd}, True, True, "AdminLevel of jobpush is Administrator"),
            ("jobpush", b"Operator\n", {"PrivateData": "jobs"}, False, True, "AdminLevel of jobpush is not known without accounting"),
            ("jobpush", CommandResult(1, b"", b"no database\n"), {"PrivateData": "jobs", **dbd}, False, True, "not known (sacctmgr ended with status 1: no database)"),
            ("root", b"", {"PrivateData": "jobs", **dbd}, True, True, "PrivateData=jobs, and root is Slurm's own user"),
            ("slurm", b"", {"PrivateData": "jobs", "SlurmUser": "slurm(64030)", **dbd}, True, True, "slurm is Slurm's own user"),
        ]:  # fmt: skip
            self.account(account)
            facts = self.facts(level, **config)
            self.assertEqual((facts.sees_all, facts.hides_jobs), (sees_all, hides), (account, level, config))
            self.assertIn(evidence, facts.evidence)
            blind = [problem for problem in facts.problems if "other users' jobs cannot be seen" in problem]
            self.assertEqual(len(blind), 0 if sees_all else 1)

    def test_whose_level(self) -> None:
        """The account's own, and only where it matters."""
        self.facts(b"Operator\n", PrivateData="jobs", AccountingStorageType="accounting_storage/slurmdbd")
        self.assertEqual(self.commands.calls, ["scontrol show config", "sacctmgr -n -P show user jobpush format=AdminLevel", "sdiag", ASKED])
        self.facts(PrivateData="none", AccountingStorageType="accounting_storage/slurmdbd")
        self.assertEqual(self.commands.calls[4:], ["scontrol show config", "sdiag"])

    def test_accounting_is_behind(self) -> None:
        """What slurmdbd has not taken for a while is said; where there is no accounting, or nothing waits, or only now, nothing is."""
        for answer, after, said in (
            (b"DBD Agent queue size: 7\n", 0.0, False), (b"DBD Agent queue size: 0\n", 60.0, False), (b"DBD Agent queue size: 7\n", 60.0, False),
            (b"DBD Agent queue size: 7\n", slurm.BEHIND_S - 1, False), (b"DBD Agent queue size: 7\n", 1.0, True), (b"", 60.0, False),
            (b"DBD Agent queue size: 7\n", 60.0, False),
        ):  # fmt: skip
            self.answers["sdiag"] = lambda argv, answer=answer: answer
            self.clock.advance(after)
            problems = self.facts(AccountingStorageType="accounting_storage/slurmdbd").problems
            self.assertEqual([problem.startswith("accounting is behind: slurmctld has 7 records") for problem in problems], [True] if said else [])
        self.assertEqual(len(self.facts(AccountingStorageType="(null)").problems), 1)

    def test_accounting_that_does_not_answer(self) -> None:
        """It is said, as long as it lasts; it is asked once a minute at the most, and not at all while it answers other questions."""

        def refuses(argv: Sequence[str]) -> CommandResult:
            return CommandResult(1, b"", b"sacct: error: Problem talking to the database: Connection refused\n")

        def problems() -> list[str]:
            return list(self.facts(AccountingStorageType="accounting_storage/slurmdbd").problems)

        self.answers["sacct"] = refuses
        (problem,) = problems()
        self.assertTrue(problem.startswith("accounting does not answer: "), problem)
        self.assertIn("Connection refused", problem)
        self.answers["sacct"] = lambda argv: b""
        self.clock.advance(slurm.ASK_EVERY_S - 1)
        self.assertEqual(problems(), [problem])
        self.clock.advance(1)
        self.assertEqual(problems(), [])
        self.answers["sacct"] = refuses
        self.clock.advance(slurm.ASK_EVERY_S)
        self.assertEqual(len(problems()), 1)
        self.answers["sacct"] = lambda argv: b""
        self.result(self.queue.recorded(["7"]))
        self.commands.calls.clear()
        self.assertEqual((problems(), self.commands.calls), ([], ["scontrol show config", "sdiag"]))

    def test_accounting_that_hangs(self) -> None:
        """The check goes on after three seconds."""
        ask = commands.run_command
        hangs = lambda *call: Deferred() if call[1][0] == "sacct" else ask(*call)  # noqa: E731
        self.patch(commands, "run_command", hangs)
        self.answers["scontrol"] = lambda argv: b"AccountingStorageType=accounting_storage/slurmdbd\n"
        asked = self.queue.check()
        self.clock.advance(0)
        self.clock.advance(slurm.ANSWERS_S)
        self.clock.advance(0)
        (problem,) = self.successResultOf(asked).problems
        self.assertIn("no answer within 3 s", problem)

    def test_what_is_remembered(self) -> None:
        """MinJobAge, in seconds; whether there is accounting, and what that means."""
        for age, seconds in (("300 sec", 300.0), ("2", 2.0), ("(null)", None)):
            facts = self.facts(MinJobAge=age, AccountingStorageType="accounting_storage/slurmdbd")
            self.assertEqual((facts.remembers_s, facts.remembers_by, facts.accounting, facts.problems), (seconds, "MinJobAge", True, ()))
        facts = self.facts(AccountingStorageType="accounting_storage/none")
        self.assertEqual((facts.accounting, len(facts.problems), facts.remembers_s, facts.lists_ended), (False, 1, None, True))
        self.assertIn("LOST", facts.problems[0])

    def test_failure(self) -> None:
        """A controller that does not answer says nothing."""
        self.answers["scontrol"] = lambda argv: CommandResult(1, b"", b"slurm_load_ctl_conf error: Unable to contact\n")
        self.assertIn("Unable to contact", str(self.failureResultOf(self.queue.check(), QueueError).value))


class OutcomeTests(ScriptedCase):
    """Asking ``sacct``."""

    def test_many(self) -> None:
        """Five hundred ids a command; what each of them says is told."""
        jobs = [JobDescriptor("slurm", str(number), Phase.RUNNING, submitted_at=1795330673.0) for number in range(1, 1102)]

        def answer(argv: Sequence[str]) -> bytes:
            ids = argv[-1].split(",")
            return "".join(f"{job_id}|FAILED|3:0|1795330673|1795330674|1795330676|main|n1|None|kim\n" for job_id in ids).encode()

        self.answers["sacct"] = answer
        outcomes = self.result(self.queue.outcomes(jobs))
        self.assertEqual((outcomes.no_record, len(outcomes.jobs), [len(call.split(",")) for call in self.commands.calls]), (frozenset(), 1101, [1, 509, 1, 509, 1, 110]))
        self.assertEqual(outcomes.jobs["1101"].observed_at, NOW)
        none = self.result(self.queue.outcomes([]))
        self.assertEqual((none.no_record, dict(none.jobs), len(self.commands.calls)), (frozenset(), {}, 6))

    def test_failure(self) -> None:
        """Says nothing of any job."""
        self.answers["sacct"] = lambda argv: CommandResult(1, b"", b"slurmdbd: down\n")
        job = JobDescriptor("slurm", "1", Phase.RUNNING, submitted_at=1.0)
        self.assertIn("slurmdbd: down", str(self.failureResultOf(self.queue.outcomes([job]), QueueError).value))

    def test_slow(self) -> None:
        """What there is no time for, or what fails after other answers, is asked first the next time; no answer is lost."""
        jobs = [JobDescriptor("slurm", str(number), Phase.RUNNING, submitted_at=1795330673.0) for number in range(1, 1102)]
        firsts: list[str] = []

        def answer(argv: Sequence[str]) -> CommandResult | bytes:
            firsts.append(argv[-1].split(",")[0])
            if len(firsts) == 4:
                return CommandResult(1, b"", b"slurmdbd: down\n")
            self.clock.rightNow += 6.0
            return b""

        self.answers["sacct"] = answer
        told = [self.result(self.queue.outcomes(jobs)) for _ in range(3)]
        self.assertEqual([(len(one.no_record), one.whole) for one in told], [(1000, False), (500, False), (1000, False)])
        self.assertEqual(firsts, ["1", "501", "1001", "400", "400", "900"])
        self.answers["sacct"] = lambda argv: b""
        whole = self.result(self.queue.outcomes(jobs))
        self.assertEqual((len(whole.no_record), whole.whole), (1101, True))

    def test_caught_up(self) -> None:
        """No record means something only where slurmctld has nothing left to send; where sdiag says nothing, it does not."""
        self.answers["sacct"] = lambda argv: b""
        job = JobDescriptor("slurm", "1", Phase.RUNNING, submitted_at=1.0)
        for answer, missing in (
            (b"DBD Agent queue size: 0\n", {"1"}), (b"DBD Agent queue size: 3\n", set()), (b"", set()),
            (CommandResult(1, b"", b"Access denied\n"), set()), (CommandResult(0, b"DBD Agent queue size: 0\n", b""), {"1"}),
        ):  # fmt: skip
            self.answers["sdiag"] = lambda argv, answer=answer: answer
            self.assertEqual(self.result(self.queue.outcomes([job])).no_record, missing, answer)

    def test_jobs_that_no_query_listed(self) -> None:
        """Their last records, whole; one without an end is unknown; what accounting does not know is left out."""
        lines = (
            b"20|FAILED|3:0|1795330673|1795330674|1795330676|main|n1|None|kim\n"
            b"21_3|RUNNING|0:0|1795330673|1795330674|Unknown|main|n1|None|kim\n"
        )
        self.answers["sacct"] = lambda argv: lines
        found = self.result(self.queue.recorded(["20", "21_3", "22"]))
        self.assertEqual({job_id: job.state for job_id, job in found.items()}, {"20": "FAILED", "21_3": "UNKNOWN"})
        self.assertEqual((found["20"].user, found["20"].settled, found["20"].confidence.value), ("kim", True, "accounting"))
        self.assertEqual((found["21_3"].parent, found["21_3"].task_index, found["21_3"].source), ("21", 3, "sacct"))

    def test_parts_that_no_query_listed(self) -> None:
        """Of an array and of a heterogeneous job each part that has a record, and the tasks that never ran."""
        lines = (
            b"20_1|FAILED|3:0|1795330673|1795330674|1795330676|main|n1|None|kim\n"
            b"20_2|COMPLETED|0:0|1795330673|1795330674|1795330676|main|n1|None|kim\n"
            b"20_[3-4]|CANCELLED by 0|0:0|1795330673|Unknown|1795330676|main|None assigned|None|kim\n"
            b"30+0|COMPLETED|0:0|1795330673|1795330674|1795330676|main|n1|None|kim\n"
            b"30+1|FAILED|1:0|1795330673|1795330674|1795330676|main|n1|None|kim\n"
        )
        self.answers["sacct"] = lambda argv: lines
        found = self.result(self.queue.recorded(["20", "30"]))
        self.assertEqual(
            {job_id: (job.state, job.parent, job.task_index) for job_id, job in found.items()},
            {
                "20_1": ("FAILED", "20", 1), "20_2": ("COMPLETED", "20", 2), "20_3": ("CANCELLED", "20", 3), "20_4": ("CANCELLED", "20", 4),
                "30+0": ("COMPLETED", "30", None), "30+1": ("FAILED", "30", None),
            },
        )  # fmt: skip
        self.assertEqual((found["20_3"].started_at, found["20_3"].settled, found["20_3"].user), (None, True, "kim"))


class WhereTests(ScriptedCase):
    """Which Slurm is asked."""

    def test_another_cluster(self) -> None:
        """By its name, in each command."""
        self.queue = self.make(clusters="beta")
        self.answers["scontrol"] = lambda argv: b"PrivateData = none\n"
        self.answers["sacct"] = lambda argv: b""
        self.snapshot(b"")
        self.result(self.queue.check())
        self.result(self.queue.outcomes([JobDescriptor("slurm", "1", Phase.RUNNING, submitted_at=1.0)]))
        squeue, scontrol, sdiag, sacct = self.commands.calls
        self.assertTrue(squeue.startswith("squeue --all --clusters=beta -h "))
        self.assertEqual((scontrol, sdiag), ("scontrol -M beta show config", "sdiag -M beta"))
        self.assertIn("sacct -n -P -X -D --clusters=beta -o ", sacct)

    def test_what_it_is_called(self) -> None:
        """By its name the service tells it from others."""
        for config, name in ((b"ClusterName = ours\nPrivateData = none\n", "ours"), (b"PrivateData = none\n", None)):
            self.answers["scontrol"] = lambda argv, config=config: config  # type: ignore[misc]
            self.assertEqual(self.result(self.queue.check()).answers_as, name)

    def test_configuration(self) -> None:
        """The path that is given, or else that of this process's environment; on another host only what is given."""
        self.patch(os, "environ", {**os.environ, "SLURM_CONF": "/etc/ours.conf"})
        for options, conf in (({}, "/etc/ours.conf"), ({"conf": "/etc/given.conf"}, "/etc/given.conf")):
            self.queue = self.make(**options)
            self.snapshot(b"")
            environment = self.commands.environments[-1]
            self.assertEqual(
                (environment["SLURM_CONF"], environment["SLURM_TIME_FORMAT"], environment["SLURM_BITSTR_LEN"]), (conf, "%s", "0"),
            )  # fmt: skip
        far = self.make(prefix=("ssh", "login1"))
        self.answers["ssh"] = lambda argv: b""
        self.result(far.snapshot())
        self.assertNotIn("SLURM_CONF", self.commands.calls[-1])
        self.assertIn(" SLURM_TIME_FORMAT=%s SLURM_BITSTR_LEN=0 timeout ", self.commands.calls[-1])
        os.environ.pop("SLURM_CONF")
        self.queue = self.make()
        self.snapshot(b"")
        self.assertNotIn("SLURM_CONF", self.commands.environments[-1])

    def test_without_a_configuration_file(self) -> None:
        """The hosts that have it, as given or of this process's environment; one that is given goes before what is there."""
        inherited = {"SLURM_CONF_SERVER": "ctl1", "SLURM_JWT": "token", "SLURM_CLUSTERS": "other"}
        self.patch(os, "environ", {**os.environ, **inherited})
        for options, conf, server in (({}, None, "ctl1"), ({"conf_server": "ctl2:6817"}, None, "ctl2:6817"), ({"conf": "/c"}, "/c", None)):
            self.queue = self.make(**options)
            self.snapshot(b"")
            environment = self.commands.environments[-1]
            self.assertEqual((environment.get("SLURM_CONF"), environment.get("SLURM_CONF_SERVER")), (conf, server), options)
            self.assertEqual((environment["SLURM_JWT"], environment.get("SLURM_CLUSTERS")), ("token", None))
        far = self.make(prefix=("ssh", "login1"), conf_server="ctl2")
        self.answers["ssh"] = lambda argv: b""
        self.result(far.snapshot())
        self.assertIn(" SLURM_CONF_SERVER=ctl2 ", self.commands.calls[-1])
        self.assertNotIn("SLURM_JWT", self.commands.calls[-1], "everybody can read the arguments of a command")

    def test_common_options(self) -> None:
        """What every queue has."""
        queue = self.make(cluster="alpha", interval=3.0, timeout=4.0, grace=5.0)
        self.assertEqual((queue.cluster, queue.interval, queue.timeout, queue.grace, queue.queue_type), ("alpha", 3.0, 4.0, 5.0, "slurm"))
        plain = self.make()
        self.assertEqual((plain.cluster, plain.interval, plain.timeout, plain.grace), ("slurm", None, 20.0, 60.0))


class WatchTests(WatchingCase):
    """What the queue learns by itself: from a probe, where one may run; from logs that it is to follow."""

    def setUp(self) -> None:
        super().setUp()
        self.probes: list[Any] = []
        probes = self.probes

        class Probe:
            def __init__(self, reactor: Any, library: str, environment: Any, changed: Callable[[], None], untested: bool) -> None:
                self.library, self.environment, self.changed, self.untested = library, environment, changed, untested
                self.started = self.stopped = self.asked = 0
                probes.append(self)

            def start(self) -> None:
                self.started += 1

            def stop(self) -> Deferred[None]:
                self.stopped += 1
                return succeed(None)

        self.patch(slurm, "SlurmProbe", Probe)
        self.library: str | None = "/usr/lib/slurm/libslurmfull.so"
        self.patch(slurm, "find_library", lambda directory: self.library and f"{directory}{self.library}")

    def begin(self, **options: Any) -> Any:
        """A queue that watches; what ends it."""
        return self.watch(slurm.SlurmQueue(ManualClock(), **options))

    def test_probe(self) -> None:
        """It runs where the commands are here and libslurm is there; its word is a nudge that names no job; it ends with the watch."""
        end = self.begin(conf="/etc/slurm.conf", directory="/opt")
        (probe,) = self.probes
        self.assertEqual((probe.library, probe.untested, probe.started), ("/opt/usr/lib/slurm/libslurmfull.so", False, 1))
        self.assertEqual(probe.environment["SLURM_CONF"], "/etc/slurm.conf")
        probe.changed()
        self.assertEqual(self.nudges, [[]])
        self.successResultOf(end())
        self.assertEqual(probe.stopped, 1)

    def test_probes_are_counted(self) -> None:
        """They are questions to the controller; where there is no probe, there are none."""
        queue = slurm.SlurmQueue(ManualClock(), directory="/opt")
        self.assertEqual(queue.probes, 0)
        end = self.watch(queue)
        (probe,) = self.probes
        probe.asked = 3
        self.assertEqual(queue.probes, 3)
        self.successResultOf(end())

    def test_where_it_does_not_run(self) -> None:
        """Far away, for another cluster, where nobody wants it, where a log is followed, where there is no library."""
        for options in ({"prefix": ("ssh", "x")}, {"clusters": "beta"}, {"probe": False}, {"follow": ("/var/log/x",)}):
            self.begin(**options)
            self.assertEqual(self.probes, [], options)
        self.begin(follow=("/var/log/x",), probe=True)
        self.assertEqual([probe.untested for probe in self.probes], [True], "unless it is asked for")
        self.library = None
        self.begin(probe=True)
        self.begin()
        self.assertEqual(len(self.probes), 1)

    def test_log(self) -> None:
        """slurmctld's log, and what jobcomp/filetxt writes: which jobs lines are about, each once; those that are about none are no nudge."""
        end = self.begin(follow=("/var/log/slurmctld.log",))
        (watch,) = self.watches
        self.assertEqual((watch.paths, watch.spools, watch.started), (("/var/log/slurmctld.log",), (), 1))
        self.assertIsNone(self.said(b"[2026-11-23T03:00:00.000] Running as primary controller", b"NotAJobId=5 JobId=0 JobId=x", b"x\nJobIdx=5"))
        self.assertEqual(
            self.said(
                b"[2026-11-23T03:00:00.000] _slurm_rpc_submit_batch_job: JobId=12 InitPrio=1 usec=300",
                b"[2026-11-23T03:00:00.000] sched: Allocate JobId=33_2(35) NodeList=n1 #CPUs=1 Partition=main",
                b"[2026-11-23T03:00:00.000] _job_complete: JobId=12 done",
                b"JobID=14 UserId=nobody(65534) GroupId=nogroup(65534) Name=JobId=99 JobState=COMPLETED",
            ),
            ["12", "33_2", "14"],
        )
        end()
        self.assertEqual(watch.stopped, 1)
        self.assertIsNone(self.said(b"JobId=12"), "nobody listens any more")


class IdTests(SynchronousTestCase):
    """Slurm's grammar."""

    def test_canonical(self) -> None:
        """What Slurm takes for one job, and nothing that it takes for several or for an option."""
        queue = slurm.SlurmQueue(None)
        verifyObject(IBatchQueueService, queue)
        for good in ("1", "4711", "4711_0", "4711_4000000", "40+1", "4294967293", "67108865"):
            self.assertEqual(queue.canonical_id(good), good)
        for bad in (
            "0", "00", "01", "4294967296", "99999999999", "1.batch", "1.0", "1;2", "1,2", "1 2", "1_", "1_01", "1_[2]", "1_*", "1+", "+1", "-5",
            "--help", "abc", "12a", "", "\u0661", "1\n", "0_1", "1_99999999",
        ):  # fmt: skip
            self.assertRaises(InvalidJobId, queue.canonical_id, bad)

    @given(st.text())
    def test_arbitrary_text(self, text: str) -> None:
        """What passes is safe as an argument."""
        try:
            self.assertRegex(slurm.SlurmQueue(None).canonical_id(text), r"\A[1-9][0-9]*([_+][0-9]+)?\Z")
        except InvalidJobId:
            pass


FAKE_SQUEUE = """\
#!/bin/sh
# As squeue does: the rows of a file, each field followed by what -O asks for.
[ -e "$DIR/fail" ] && { rm "$DIR/fail"; echo 'slurm_load_jobs error: Unable to contact slurm controller' >&2; exit 1; }
[ "$#" = 9 ] || { echo "unexpected arguments: $*" >&2; exit 2; }
env >"$DIR/environment"
token=$(printf %s "$9" | sed 's/.*,Name:\\(T[0-9a-zA-Z]*\\)r$/\\1/')
sed "s/@F/${token}f/g; s/@R/${token}r/g" "$DIR/rows"
"""

NATIVE = {"QUEUED": "PENDING", "RUNNING": "RUNNING", "COMPLETED": "COMPLETED"}


class Recorded(Programs):
    """An adapter with commands that answer what a test has written down."""

    def __init__(self, directory: str, **options: Any) -> None:
        super().__init__(directory)
        self.write("squeue", FAKE_SQUEUE)
        self.write("scontrol", f'#!/bin/sh\ncat "{CAPTURES}/scontrol-show-config.txt"\n')
        self.write("sacct", "#!/bin/sh\nexit 0\n")
        self.queue = slurm.SlurmQueue(reactor, directory=str(self.directory), conf=str(self.directory / "slurm.conf"), **options)
        self.show({})

    def show(self, jobs: Any) -> Any:
        rows = (row(job_id, NATIVE[state]).replace(b"\0", b"@F") + b"@R\n" for job_id, state in jobs.items())
        (self.directory / "rows").write_bytes(b"".join(rows))
        return jobs

    def record(self, job: JobDescriptor) -> None:
        """Let ``sacct`` know of this submission."""
        assert job.submitted_at is not None
        at = int(job.submitted_at)
        record = f"{job.id}|COMPLETED|0:0|{at}|{at + 1}|{at + 9}|debug|n1|None|{job.user}"
        self.write("sacct", f"#!/bin/sh\necho '{record}'\n")


def recorded(case: TestCase) -> QueueUnderTest:
    fake = Recorded(case.mktemp(), timeout=3.0)
    ids = ("1", "4711", "33_4", "46+1")
    commands = fake.commands("squeue")
    return QueueUnderTest(fake.queue, fake.show, fake.fail, ids, ("33_4", "33", 4), commands, record=fake.record)


class SlurmContractTests(makeQueueServiceTests(recorded)):  # type: ignore[misc]
    """The public contract."""


class CommandTests(TestCase):
    """The adapter and its commands."""

    def setUp(self) -> None:
        self.fake = Recorded(self.mktemp())

    async def test_environment(self) -> None:
        """Commands start from an empty environment: nothing that could change squeue's answer comes through."""
        os.environ["SQUEUE_STATES"] = os.environ["SLURM_CLUSTERS"] = "other"
        self.addCleanup(os.environ.pop, "SQUEUE_STATES")
        self.addCleanup(os.environ.pop, "SLURM_CLUSTERS")
        await self.fake.queue.snapshot()
        lines = (self.fake.directory / "environment").read_text().splitlines()
        environment = dict(line.split("=", 1) for line in lines)
        self.assertLessEqual(
            set(environment),
            {"PATH", "LC_ALL", "TZ", "SLURM_TIME_FORMAT", "SLURM_BITSTR_LEN", "SLURM_CONF", "PWD", "OLDPWD", "SHLVL", "_"},
        )
        self.assertEqual((environment["TZ"], environment["SLURM_TIME_FORMAT"], environment["SLURM_BITSTR_LEN"]), ("UTC", "%s", "0"))

    async def test_facts(self) -> None:
        """What ``scontrol show config`` of a real Slurm says."""
        facts = await self.fake.queue.check()
        self.assertEqual((facts.sees_all, facts.hides_jobs, facts.accounting), (True, False, True))
        self.assertEqual((facts.remembers_s, facts.remembers_by), (3600.0, "MinJobAge"))

    async def test_hidden_jobs(self) -> None:
        """PrivateData against the account's AdminLevel."""
        self.fake.write("scontrol", "#!/bin/sh\nprintf 'PrivateData = cloud,jobs\\nAccountingStorageType = accounting_storage/slurmdbd\\n'\n")
        for level, sees in (("None", False), ("Operator", True), ("Administrator", True), ("", False)):
            self.fake.write("sacctmgr", f"#!/bin/sh\necho {level}\n")
            self.patch(commands.pwd, "getpwuid", lambda uid: commands.pwd.struct_passwd(("jobpush", "x", 7, 7, "", "/", "/bin/sh")))
            facts = await self.fake.queue.check()
            self.assertEqual((facts.sees_all, facts.hides_jobs), (sees, True), level)
            self.assertEqual(bool(facts.problems), not sees)

    async def test_missing_command(self) -> None:
        """A command that is not there is a failed query that names it."""
        (self.fake.directory / "squeue").unlink()
        error = await self.assertFailure(self.fake.queue.snapshot(), QueueError)
        self.assertIn("squeue", str(error))

    async def test_too_much_output(self) -> None:
        """Without end: the command is ended, the query has failed."""
        self.fake.write("squeue", "#!/bin/sh\nexec cat /dev/zero\n")
        error = await self.assertFailure(self.fake.queue.snapshot(), QueueError)
        self.assertIn("bytes", str(error))
