"""The Slurm adapter on recorded and hostile output; a real Slurm is in ``with_service``."""

from __future__ import annotations

import os
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet import reactor
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface.verify import verifyObject

from jobpush.adapter.command import CommandResult
from jobpush.adapter.interfaces import IBatchQueueService, InvalidJobId, QueueError
from jobpush.adapter.testing import QueueUnderTest, makeQueueServiceTests
from jobpush.core.model import STATES as FLAT_STATES
from jobpush.core.model import Confidence, JobDescriptor, Phase
from jobpush_adapters.common import commands
from jobpush_adapters.common.unchanged import RowReader
from jobpush_adapters.slurm import queue as slurm
from tests.adapters.slurm.rows import row
from tests.fakes import Programs
from tests.service_process import ROOT
from tests.support import NOW

CAPTURES = ROOT / "tests" / "captures" / "slurm"


class FramingTests(SynchronousTestCase):
    """Rows and fields are framed by a token that no job can know."""

    def frame(self, *rows: bytes, token: str = "Tabcdefghij") -> bytes:
        return b"".join(r.replace(b"\0", f"{token}f".encode()) + f"{token}r\n".encode() for r in rows)

    def read(
        self, stdout: bytes, status: int = 0, stderr: bytes = b"", token: str = "Tabcdefghij", reader: RowReader | None = None
    ) -> RowReader:
        if reader is None:
            reader = slurm.SlurmQueue(Clock())._reader
        for _ in reader.answer(slurm.texts_of(slurm.answer_of(CommandResult(status, stdout, stderr), token), token)):
            pass
        return reader

    def test_arguments(self) -> None:
        """One query for everything, with the exit code; what users write is framed by the token, which is new each time."""
        token, other = slurm.new_token(), slurm.new_token()
        self.assertNotEqual(token, other)
        self.assertTrue(token[0].isalpha())
        arguments = slurm.squeue_arguments(token)
        self.assertEqual(arguments[:6], ["--all", "--local", "-h", "-t", "all", "-S"])
        fields = arguments[8].split(",")
        self.assertEqual((fields[0], fields[-1]), ("JobID:|", f"Name:{token}r"))
        for free in ("UserName", "Reason", "Account", "WorkDir", "Comment"):
            self.assertIn(f"{free}:{token}f", fields)
        self.assertIn("exit_code:", arguments[8])

    def test_forged_rows(self) -> None:
        """Whatever a name holds, it stays a name."""
        forged = "x\n2\t2\tFAILED Tdeadr\n" + row("2", state="FAILED").decode().replace("\0", "Tdeadf") + "Tdeadr\n"
        reader = self.read(self.frame(row("1", Name=forged), row("2")))
        self.assertEqual({i: j.state for i, j in reader.jobs.items()}, {"1": "RUNNING", "2": "RUNNING"})
        self.assertEqual(reader.jobs["1"].name, forged)

    def test_even_a_known_token(self) -> None:
        """Who could learn the token could add a row for another's job: then neither row is believed."""
        forged = "x" + "Tabcdefghijr\n" + row("2", state="FAILED").decode().replace("\0", "Tabcdefghijf")
        reader = self.read(self.frame(row("1", Name=forged), row("2")))
        self.assertNotIn("2", reader.jobs)
        self.assertIn("2", reader.ids, "its job is not absent either")

    def test_four_results(self) -> None:
        """A failed query is an error; an empty one is empty; a bad row is one bad row."""
        self.assertEqual(self.read(b"").jobs, {})
        good = self.frame(row("1"))
        for stdout, status, stderr in [
            (b"", 1, b"slurm_load_jobs error: Unable to contact slurm controller (connect failure)\n"),
            (good[:-5], 0, b""), (good + b"2", 0, b""), (b"<html><body>502 Bad Gateway</body></html>", 0, b""),
            (b"\0", 0, b""), (good, 0, b"squeue: error: Invalid job format specification: exit_code\n"),
            (b"", 0, b"squeue: error: something new\n"), (b'{"jobs": []}', 0, b""),
        ]:  # fmt: skip
            error = self.assertRaises(QueueError, self.read, stdout, status, stderr)
            self.assertNotIn("\n", str(error))
        reader = self.read(self.frame(row("1"), row("2", exit_code="x"), row("3")))
        self.assertEqual((sorted(reader.jobs), len(reader.rejected), reader.ids), (["1", "3"], 1, {"2"}))

    def test_unchanged_rows_are_not_read_again(self) -> None:
        """The same bytes, under another token, are the same object."""
        reader = self.read(self.frame(row("1"), row("2")))
        first = reader.jobs
        self.read(self.frame(row("1"), row("2", state="COMPLETED"), token="Txyzabcdefg"), token="Txyzabcdefg", reader=reader)
        self.assertIs(reader.jobs["1"], first["1"])
        self.assertEqual(reader.jobs["2"].state, "COMPLETED")
        self.assertEqual((reader.fresh, reader.gone, reader.base), (("2",), (), first))
        self.assertEqual(len(reader._known), 2, "rows that are gone are forgotten")

    def test_line_breaks_anywhere(self) -> None:
        """Names with line breaks, wherever among many rows they stand; again when nothing has changed."""
        names = {str(number): "a\nb\n\nc" if number % 7 == 0 else "a" for number in range(1, 1000)}
        text = self.frame(*(row(job_id, Name=name) for job_id, name in names.items()))
        reader = self.read(text)
        first = reader.jobs
        self.assertEqual({job.id: job.name for job in first.values()}, names)
        self.read(text, reader=reader)
        self.assertEqual((reader.fresh, reader.gone), ((), ()))
        self.assertTrue(all(reader.jobs[job_id] is job for job_id, job in first.items()))
        self.assertEqual(len(reader.jobs), len(names))

    def test_two_rows_among_unchanged_ones(self) -> None:
        """A row that claims another's id is found also where nothing else has changed; and what it claimed is back after it."""
        rows = [row(str(number)) for number in range(1, 600)]
        reader = self.read(self.frame(*rows))
        for place in (0, 300, 599):
            self.read(self.frame(*rows[:place], row("77", state="FAILED"), *rows[place:]), reader=reader)
            self.assertEqual((sorted(reader.ids), len(reader.jobs), reader.fresh), (["77"], 598, None))
            self.read(self.frame(*rows), reader=reader)
            self.assertEqual((reader.ids, len(reader.jobs)), (set(), 599))

    @given(st.binary(max_size=400), st.integers(0, 2), st.binary(max_size=60))
    def test_arbitrary_bytes(self, stdout: bytes, status: int, stderr: bytes) -> None:
        """Nothing but a QueueError leaves the parser."""
        try:
            self.read(stdout, status, stderr)
        except QueueError:
            pass

    @given(st.lists(st.binary(max_size=30).filter(lambda b: b"\0" not in b), min_size=17, max_size=17), st.booleans())
    def test_arbitrary_fields(self, fields: list[bytes], id_is_good: bool) -> None:
        """Whole rows of arbitrary fields: a job with a known state, or a rejected row."""
        if id_is_good:
            fields[:2] = [b"7", b"7"]
        if any(b"Tabcdefghij" in field for field in fields):
            return
        reader = self.read(self.frame(b"\0".join([b"|".join(fields[:12]), *fields[12:]])))
        self.assertEqual(len(reader.jobs) + len(reader.rejected), 1)
        for job in reader.jobs.values():
            self.assertIn(job.state, FLAT_STATES)


class AccountingTests(SynchronousTestCase):
    """``sacct``."""

    def sacct(self, *lines: str, job_id: str = "23", submitted_at: float = 1795330673.0) -> Any:
        job = JobDescriptor(
            cluster="slurm", id=job_id, phase=Phase.RUNNING, submitted_at=submitted_at, name="a|b", user="kim", queue="main"
        )
        return slurm.parse_sacct("\n".join(lines).encode() + b"\n", {job_id: job}, NOW).get(job_id)

    def test_outcome(self) -> None:
        """State, exit code and times; the name stays what squeue said."""
        job = self.sacct("23|FAILED|3:0|1795330673|1795330674|1795330676|main|n1|None")
        self.assertEqual((job.state, job.exit_code, job.signal, job.settled), ("FAILED", 3, None, True))
        self.assertEqual((job.started_at, job.ended_at, job.name), (1795330674.0, 1795330676.0, "a|b"))
        self.assertEqual((job.source, job.confidence), ("sacct", Confidence.ACCOUNTING))

    def test_signals_and_cancelling(self) -> None:
        """``0:9`` is a signal; "CANCELLED by 0" is CANCELLED; ``0:53`` is no signal."""
        job = self.sacct("23|CANCELLED by 0|0:15|1795330673|1795330674|1795330676|main|n1|None")
        self.assertEqual((job.state, job.signal, job.native["state"]), ("CANCELLED", 15, "CANCELLED by 0"))
        self.assertEqual(self.sacct("23|FAILED|0:53|1795330673|1795330674|1795330676|main|n1|None").state, "LAUNCH_FAIL")
        never = self.sacct("23|CANCELLED by 0|0:0|1795330673|1795330676|1795330676|main|None assigned|JobHeldUser")
        self.assertEqual((never.state, never.started_at, never.nodes), ("CANCELLED", None, None))

    def test_several_records(self) -> None:
        """A requeue leaves one for each attempt: the last counts."""
        first = "23|REQUEUED|0:0|1795330673|1795330674|1795330676|main|n1|None"
        second = "23|COMPLETED|0:0|1795330676|1795330681|1795330682|main|n1|None"
        self.assertEqual(self.sacct(first, second).state, "COMPLETED")
        self.assertEqual(self.sacct(second, first).state, "COMPLETED")
        self.assertIsNone(self.sacct(first), "it has not ended")

    def test_another_submission(self) -> None:
        """A record of an earlier job by the same id says nothing."""
        self.assertIsNone(self.sacct("23|COMPLETED|0:0|1795000000|1795000001|1795000002|main|n1|None"))

    def test_not_ended_yet(self) -> None:
        """Records come late: one that says RUNNING or PENDING is no answer."""
        for state in ("RUNNING", "PENDING", "allocation", "NEW_STATE"):
            self.assertIsNone(self.sacct(f"23|{state}|0:0|1795330673|1795330674|Unknown|main|n1|None"), state)

    def test_arguments(self) -> None:
        """No text that users write is asked for."""
        arguments = slurm.sacct_arguments(["1", "33_4", "46+0"])
        self.assertEqual(arguments[-2:], ["-j", "1,33_4,46+0"])
        self.assertFalse({"JobName", "Comment", "WorkDir", "User"} & set(slurm.SACCT_FIELDS))

    @given(st.binary(max_size=300))
    def test_arbitrary_bytes(self, stdout: bytes) -> None:
        """Nothing is told that was not asked."""
        job = JobDescriptor(cluster="slurm", id="1", phase=Phase.RUNNING, submitted_at=1.0)
        self.assertLessEqual(set(slurm.parse_sacct(stdout, {"1": job}, NOW)), {"1"})


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

    def __init__(self, directory: str) -> None:
        super().__init__(directory)
        self.write("squeue", FAKE_SQUEUE)
        self.write("scontrol", f'#!/bin/sh\ncat "{CAPTURES}/scontrol-show-config.txt"\n')
        self.write("sacct", "#!/bin/sh\nexit 0\n")
        self.queue = slurm.SlurmQueue(reactor, directory=str(self.directory), conf=str(self.directory / "slurm.conf"))
        self.show({})

    def show(self, jobs: Any) -> Any:
        rows = (row(job_id, NATIVE[state]).replace(b"\0", b"@F") + b"@R\n" for job_id, state in jobs.items())
        (self.directory / "rows").write_bytes(b"".join(rows))
        return jobs

def recorded(case: TestCase) -> QueueUnderTest:
    fake = Recorded(case.mktemp())
    return QueueUnderTest(fake.queue, fake.show, fake.fail, ids=("1", "4711", "33_4", "46+1"), task=("33_4", "33", 4))


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
