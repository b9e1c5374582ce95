"""Torque, on what a stand-in for its qstat prints."""

from __future__ import annotations

from collections.abc import Mapping

from twisted.internet import reactor
from twisted.trial.unittest import TestCase

from jobpush.adapter.interfaces import QueueError
from jobpush.adapter.testing import QueueUnderTest, makeQueueServiceTests
from jobpush_adapters.pbs.queue import PbsQueue
from tests.fakes import Programs

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


class RecordedTorque(Programs):
    """An adapter with a stand-in for Torque's ``qstat``."""

    def __init__(self, directory: str) -> None:
        super().__init__(directory)
        self.write("qstat", TORQUE)
        self.queue = PbsQueue(reactor, directory=str(self.directory))
        self.show({})

    def show(self, jobs: Mapping[str, str]) -> Mapping[str, str]:
        letters = {"QUEUED": ("Q", None), "RUNNING": ("R", None), "COMPLETED": ("C", 0)}
        data = "".join(torque_job(job_id, *letters[state]) for job_id, state in jobs.items())
        self.put("data", f'<?xml version="1.0"?>\n<Data>{data}</Data>\n' if jobs else "")
        return jobs


def recorded_torque(case: TestCase) -> QueueUnderTest:
    fake = RecordedTorque(case.mktemp())
    ids = ("1.torque1", "4711.torque1", "9.torque1", "33[4].torque1")
    return QueueUnderTest(fake.queue, fake.show, fake.fail, ids=ids, task=("33[4].torque1", "33[].torque1", 4))


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
