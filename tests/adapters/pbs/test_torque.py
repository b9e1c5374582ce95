"""Torque, on what a stand-in for its qstat prints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import attrs
from twisted.internet import reactor
from twisted.trial.unittest import TestCase

from jobpush.adapter.command import CommandResult
from jobpush.adapter.interfaces import QueueError
from jobpush.adapter.testing import QueueUnderTest, makeQueueServiceTests
from jobpush.core.model import JobDescriptor, Outcome, Phase, ReasonCode
from jobpush_adapters.common import commands
from jobpush_adapters.pbs.queue import PbsQueue
from tests.core.world import World
from tests.fakes import CommandCase, Programs
from tests.support import NOW

TORQUE = """\
#!/bin/sh
echo "qstat $*" >>"$DIR/log"
[ "$*" = "--version" ] && { echo 'Version: 6.1.2'; echo 'Commit: 661e092552de43a785c15d39a3634a541d86898e'; exit 0; }
[ "$*" = "-B -f" ] && { printf 'Server: torque1\\n    server_state = Active\\n    query_other_jobs = True\\n    keep_completed = 300\\n'; exit 0; }
[ -e "$DIR/fail" ] && { rm "$DIR/fail"; echo 'qstat: cannot connect to server torque1 (errno=111) Connection refused' >&2; exit 1; }
[ "$*" = "-t -x" ] && { cat "$DIR/data"; exit 0; }
echo "unexpected arguments: $*" >&2; exit 2
"""


def torque_job(job_id: str, letter: str, status: int | None = None, name: str = "n") -> str:
    """One job of ``qstat -x``."""
    ended = f"<exit_status>{status}</exit_status><comp_time>1795333440</comp_time>" if status is not None else ""
    return (
        f"<Job><Job_Id>{job_id}</Job_Id><Job_Name>{name}</Job_Name><Job_Owner>kim@login</Job_Owner><job_state>{letter}</job_state>"
        f"<queue>batch</queue><server>torque1</server><ctime>1795333349</ctime><exec_host>n1/0+n1/1</exec_host><Hold_Types>n</Hold_Types>"
        f"<start_time>1795333380</start_time><Resource_List><walltime>01:00:00</walltime></Resource_List>"
        f"<Variable_List>PBS_O_QUEUE=batch,PBS_O_WORKDIR=/home/kim,workflow=w7,X=1</Variable_List>{ended}</Job>"
    )


class TorqueCase(CommandCase):
    """
    A queue whose commands are answered within the process.

    :ivar said: what ``qstat -t -x`` answers.
    """

    def setUp(self) -> None:
        super().setUp()
        self.said = CommandResult(0, b"", b"")
        self.server = CommandResult(0, b"Server: torque1\n", b"")
        self.queue = PbsQueue(self.clock, home="/none", wall=self.clock.seconds)

    def answer(self, argv: Sequence[str]) -> CommandResult:
        if argv[1] == "--version":
            return CommandResult(0, b"Version: 6.1.2\n", b"")
        return self.server if argv[1] == "-B" else self.said

    def show(self, *jobs: str) -> None:
        self.said = CommandResult(0, f"<Data>{''.join(jobs)}</Data>\n".encode(), b"")


class SnapshotTests(TorqueCase):
    """What becomes of an answer."""

    def test_every_field(self) -> None:
        """One job, whole; and one of which nothing but its state is said."""
        self.show(torque_job("7[3].torque1", "C", 3, "a&amp;b"), "<Job><Job_Id>8</Job_Id><job_state>Q</job_state></Job>")
        jobs = self.look().jobs
        self.assertEqual(attrs.asdict(jobs["7[3].torque1"]), attrs.asdict(JobDescriptor(
            cluster="pbs", id="7[3].torque1", phase=Phase.DONE, outcome=Outcome.FAILED, settled=True, exit_code=3,
            native={"state": "C", "exit_status": "3"}, aliases=("7[3]",), name="a&b", user="kim", submitted_at=1795333349.0, started_at=1795333380.0,
            ended_at=1795333440.0, queue="batch", nodes="n1", workdir="/home/kim", comment="workflow=w7", time_limit_s=3600,
            observed_at=NOW, source="qstat", parent="7[].torque1", task_index=3,
        )))  # fmt: skip
        self.assertEqual(attrs.asdict(jobs["8"]), attrs.asdict(JobDescriptor("pbs", "8", Phase.QUEUED, native={"state": "Q"}, observed_at=NOW, source="qstat")))

    def test_states(self) -> None:
        """Holds and dependencies; before is not after."""
        held = torque_job("1", "H").replace("<Hold_Types>n<", "<Hold_Types>{}<")
        for holds, depend, expected in [
            ("u", "", ("HELD", ReasonCode.HELD_BY_USER)), ("o", "", ("HELD", ReasonCode.HELD_BY_ADMIN)), ("s", "afterok:1", ("QUEUED", ReasonCode.DEPENDENCY)),
            ("n", "beforeok:1", ("HELD", ReasonCode.OTHER)), ("u", "afterok:1", ("HELD", ReasonCode.HELD_BY_USER)),
        ]:  # fmt: skip
            self.show(held.format(holds).replace("</Job>", f"<depend>{depend}</depend></Job>"))
            (job,) = self.look().jobs.values()
            self.assertEqual((job.state, job.reason_code), expected, (holds, depend))
        self.show(torque_job("1", "H").replace("<Hold_Types>n</Hold_Types>", ""))
        self.assertEqual(self.look().jobs["1"].reason_code, ReasonCode.OTHER)
        self.show(torque_job("1", "H").replace("<Hold_Types>n</Hold_Types>", "<depend>afterok:2</depend>"))
        self.assertEqual(self.look().jobs["1"].reason_code, ReasonCode.DEPENDENCY)

    def test_nested(self) -> None:
        """The time used stands before the limit; a field of an inner list is not one of the job's."""
        used = "<resources_used><cput>00:00:01</cput><walltime>00:00:07</walltime><queue>inner</queue></resources_used>"
        self.show(torque_job("1", "R").replace("<queue>", f"{used}<queue>"), torque_job("2", "R").replace("<Resource_List><walltime>01:00:00</walltime>", f"{used}<Resource_List>"))
        jobs = self.look().jobs
        self.assertEqual([(jobs[i].time_limit_s, jobs[i].queue) for i in ("1", "2")], [(3600, "batch"), (None, "batch")])

    def test_attempts(self) -> None:
        """One less than the number of starts."""
        for count, attempt in (("1", 0), ("2", 1), ("0", 0), ("x", 0)):
            self.show(torque_job("1", "R").replace("</Job>", f"<start_count>{count}</start_count></Job>"))
            self.assertEqual(self.look().jobs["1"].attempt, attempt)

    def test_arrays(self) -> None:
        """An array has no exit status: it ends as its subjobs do, which have rows of their own."""
        world = World()
        rows = [torque_job(f"4[{n}].torque1", "R") for n in (1, 2)]
        array = torque_job("4[].torque1", "R")
        ended = [torque_job("4[1].torque1", "C", 0), torque_job("4[2].torque1", "C", 7)]
        for jobs, expected in [
            ([array, *rows], {"4[1]": ["QUEUED", "RUNNING"], "4[2]": ["QUEUED", "RUNNING"], "4[]": ["QUEUED", "RUNNING"]}),
            ([torque_job("4[].torque1", "C"), ended[0], rows[1]], {"4[1]": ["COMPLETED"]}),
            ([torque_job("4[].torque1", "C"), *ended], {"4[2]": ["FAILED"], "4[]": ["FAILED"]}),
        ]:
            self.show(*jobs)
            found: dict[str, list[str]] = {}
            for job_id, state, _ in world.look(*self.look().jobs.values()):
                found.setdefault(job_id.partition(".")[0], []).append(state)
            self.assertEqual(found, expected)
        self.show(torque_job("4[].torque1", "C"))
        self.assertEqual(self.look().jobs, {})

    def test_without_an_exit_status(self) -> None:
        """One that was not started was deleted; how another ended is not known."""
        self.show(torque_job("1", "C"), torque_job("2", "C").replace("<exec_host>n1/0+n1/1</exec_host>", ""))
        self.assertEqual({job_id: job.state for job_id, job in self.look().jobs.items()}, {"1": "LOST", "2": "CANCELLED"})

    def test_questions(self) -> None:
        """One for all jobs; of those that left Torque has nothing; jobs cannot be named."""
        self.look()
        self.look()
        self.assertEqual(self.asked(), ["qstat --version", "qstat -t -x", "qstat -t -x"])
        self.assertEqual(self.result(self.queue.outcomes([JobDescriptor("pbs", "1", Phase.RUNNING)])).no_record, frozenset())
        self.assertEqual(self.asked(), [])

    def test_unchanged(self) -> None:
        """A job whose text is as it was is the same object; so is a reason for which one was refused."""
        self.show(torque_job("1", "R"), torque_job("2", "x"))
        first = self.look()
        self.clock.advance(1)
        second = self.look()
        self.assertIs(second.jobs["1"], first.jobs["1"])
        self.assertEqual((second.began_at, second.ended_at, second.rejected, second.rejected_ids), (NOW + 1, NOW + 1, first.rejected, {"2"}))
        self.show(torque_job("1", "C", 0))
        self.assertEqual(self.look().jobs["1"].observed_at, NOW + 1)

    def test_what_is_new(self) -> None:
        """The jobs that are new or changed, and those that left, are named, wherever they stand."""
        ids = ("1", "2[3].torque1", "4", "5")
        self.show(*(torque_job(job_id, "R") for job_id in ids))
        self.assertIsNone(self.look().fresh)
        self.show(torque_job("2[3].torque1", "R"), torque_job("4", "E"), torque_job("6", "Q"))
        snapshot = self.look()
        self.assertEqual((set(snapshot.jobs), set(snapshot.fresh or ()), set(snapshot.gone)), ({"2[3].torque1", "4", "6"}, {"4", "6"}, {"1", "5"}))
        self.assertEqual((self.look().fresh, self.look().gone), ((), ()))
        self.show(torque_job("6", "Q").replace("</Job>", ""), torque_job("4", "E"))
        snapshot = self.look()
        self.assertEqual((set(snapshot.jobs), snapshot.rejected), ({"4"}, ("the id or the state of a job makes no sense: ",)))

    def test_rejected(self) -> None:
        """Ten reasons at most are told; all are counted. Of two rows with one id neither is believed."""
        self.show(torque_job("50", "R"), *(torque_job(str(number), "rr") for number in range(12)), torque_job("x<", "R"), torque_job("51", "R"), torque_job("51", "Q"))
        snapshot = self.look()
        self.assertEqual((set(snapshot.jobs), snapshot.rejected_count, len(snapshot.rejected)), ({"50"}, 14, 10))
        self.assertEqual(snapshot.rejected_ids, {*map(str, range(12)), "51", "x"})
        self.assertEqual(snapshot.rejected[0], "the id or the state of a job makes no sense: 0")
        self.show(torque_job("1", "R"), torque_job("1", "Q"))
        self.assertEqual(self.look().rejected, ("two rows have the id 1",))
        self.show(torque_job("x y" + "z" * 100, "R"))
        self.assertEqual(self.failure(self.queue.snapshot()), "qstat: no job could be understood: the id or the state of a job makes no sense: x y" + "z" * 77)
        self.show(torque_job("1", "rr"))
        self.assertEqual(self.look().jobs, {}, "its id is known: it is not absent, and the query has not failed")

    def test_answers(self) -> None:
        """None at all is one of no jobs, unless something is said on standard error."""
        for result, why in [
            (CommandResult(1, b"", b"qstat: no\n"), "qstat ended with status 1: qstat: no"), (CommandResult(0, b" ", b"qstat: no\n"), "qstat printed nothing: qstat: no"),
            (CommandResult(0, b" " * 5 + b"x" * 200 + b"<Data></Data>", b""), "qstat: the answer is none of Torque's: " + "x" * 80),
            (CommandResult(0, b"\xff", b""), "qstat: the answer is none of Torque's: \ufffd"), (CommandResult(0, b"<Data><Job>", b""), "qstat: the answer is cut off"),
        ]:  # fmt: skip
            self.said = result
            self.assertEqual(self.failure(self.queue.snapshot()), why)
        self.said = CommandResult(0, b"\n", b" \n")
        self.assertEqual(self.look().jobs, {})
        self.said = CommandResult(0, b"<?xml version='1.0'?><Data></Data>", b"warning")
        self.assertEqual(self.look().jobs, {})

    def test_what_users_write(self) -> None:
        """The first of two fields counts, a field ends with its own name, and of an environment what stands between commas."""
        job = torque_job("1", "R").replace("<Variable_List>PBS_O_QUEUE=batch,PBS_O_WORKDIR=/home/kim,workflow=w7,X=1", "<Variable_List>workflow=w&#8;,MYworkflow=no,X=workflow=no")
        self.show(job.replace("</Job>", "<Job_Name>late</Job_Name><queue>a</comment></Job>"))
        (found,) = self.look().jobs.values()
        self.assertEqual((found.name, found.queue, found.comment, found.workdir), ("n", "batch", "workflow=w\b", None))


class ServerTests(TorqueCase):
    """What the server says of itself."""

    def test_attributes(self) -> None:
        """Over continued lines; a name of whatever kind."""
        self.server = CommandResult(
            0, b"Server: torque1.example\n    managers = root@*,\n\tkim@host\n    query_other_jobs = False\n    keep_completed = 5:00\n  x\xff\n", b""
        )
        self.patch(commands.pwd, "getpwuid", lambda uid: SimpleNamespace(pw_name="kim"))
        facts = self.result(self.queue.check())
        self.assertEqual((facts.sees_all, facts.remembers_s, facts.evidence), (True, 300.0, "query_other_jobs=False, and kim is one of the server's managers"))
        self.assertEqual(self.queue.canonical_id("5"), "5.torque1.example")
        self.assertEqual(facts.answers_as, "torque1.example")
        self.queue.snapshot()  # its jobs are asked for: it is believed to be ours
        self.server = CommandResult(0, b"Server torque2\n", b"")
        self.assertIn("of the server torque2, expected torque1.example", self.failure(self.queue.check()))
        self.assertEqual(self.queue.canonical_id("5"), "5.torque1.example")
        self.server = CommandResult(0, b"nothing\n", b"")
        self.result(self.queue.check())
        self.assertEqual(self.queue.canonical_id("5"), "5")
        self.server = CommandResult(1, b"", b"no\n")
        self.assertEqual(self.failure(self.queue.check()), "qstat -B ended with status 1: no")


class RecordedTorque(Programs):
    """An adapter with a stand-in for Torque's ``qstat``."""

    def __init__(self, directory: str, **options: Any) -> None:
        super().__init__(directory)
        self.write("qstat", TORQUE)
        self.queue = PbsQueue(reactor, directory=str(self.directory), **options)
        self.show({})

    def show(self, jobs: Mapping[str, str]) -> Mapping[str, str]:
        letters = {"QUEUED": ("Q", None), "RUNNING": ("R", None), "COMPLETED": ("C", 0)}
        data = "".join(torque_job(job_id, *letters[state]) for job_id, state in jobs.items())
        self.put("data", f'<?xml version="1.0"?>\n<Data>{data}</Data>\n' if jobs else "")
        return jobs


def recorded_torque(case: TestCase) -> QueueUnderTest:
    fake = RecordedTorque(case.mktemp(), timeout=3.0)
    ids = ("1.torque1", "4711.torque1", "9.torque1", "33[4].torque1")
    return QueueUnderTest(fake.queue, fake.show, fake.fail, ids, ("33[4].torque1", "33[].torque1", 4), fake.commands("qstat"))


class TorqueContractTests(makeQueueServiceTests(recorded_torque)):  # type: ignore[misc]
    """The public contract."""


class TorqueTests(TestCase):
    """Where Torque differs."""

    async def test_fields(self) -> None:
        """Epoch times, an environment as one text, a name that tries to be more."""
        fake = RecordedTorque(self.mktemp())
        name = "&lt;job_state&gt;C&lt;/job_state&gt;"
        fake.put("data", f"<Data>{torque_job('1.torque1', 'C', -11, name)}</Data>")
        (job,) = (await fake.queue.snapshot()).jobs.values()
        self.assertEqual((job.state, job.name, job.user, job.nodes), ("TIMEOUT", "<job_state>C</job_state>", "kim", "n1"))
        self.assertEqual((job.submitted_at, job.started_at, job.ended_at), (1795333349.0, 1795333380.0, 1795333440.0))
        self.assertEqual((job.workdir, job.time_limit_s, job.reason), ("/home/kim", 3600, "walltime exceeded"))
        self.assertEqual(job.comment, "workflow=w7")

    async def test_what_is_no_answer(self) -> None:
        """Cut off, or none of Torque's."""
        fake = RecordedTorque(self.mktemp())
        whole = f"<Data>{torque_job('1.torque1', 'R')}</Data>"
        for text, expected in ((whole[:-9], "cut off"), ("<html></html>", "none of Torque's")):
            fake.put("data", text)
            error = await self.assertFailure(fake.queue.snapshot(), QueueError)
            self.assertIn(expected, str(error))

    async def test_facts(self) -> None:
        """Of ``qstat -B -f``."""
        facts = await RecordedTorque(self.mktemp()).queue.check()
        self.assertEqual((facts.sees_all, facts.remembers_s, facts.remembers_by), (True, 300.0, "keep_completed"))
