"""The Grid Engine adapter on recorded and hostile output; a real Grid Engine is in ``with_service``."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from twisted.internet import reactor
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface.verify import verifyObject

from jobpush.adapter.interfaces import IBatchQueueService, InvalidJobId, QueueError
from jobpush.adapter.testing import QueueUnderTest, makeQueueServiceTests
from jobpush.core.model import JobDescriptor, Phase
from jobpush_adapters.sge.queue import GridEngineQueue
from tests import descriptors
from tests.adapters.sge.captures import CAPTURES, line
from tests.adapters.watching import WatchingCase
from tests.fakes import AtTime, Programs, Scripted
from tests.support import NOW, ManualClock


class IdTests(SynchronousTestCase):
    """Grid Engine's grammar."""

    def test_canonical(self) -> None:
        """What is one job, and nothing that Grid Engine takes for several."""
        queue = GridEngineQueue(None)
        verifyObject(IBatchQueueService, queue)
        for good in ("1", "4711", "4711.3", "9999999.9999999"):
            self.assertEqual(queue.canonical_id(good), good)
        for bad in ("0", "01", "1.0", "1.", ".1", "1.2.3", "1-3", "1,2", "*", "abc", "1.x", "12345678901", "4711_3"):
            self.assertRaises(InvalidJobId, queue.canonical_id, bad)


QSTAT = """\
#!/bin/sh
echo "qstat $*" >>"$DIR/log"
[ -e "$DIR/fail" ] && { rm "$DIR/fail"; echo 'error: commlib error: got select error (Connection refused)' >&2; exit 1; }
case "$*" in
"-u * -s prs -xml") cat "$DIR/rows";;
"-xml -j "*) cat "$DIR/details";;
"-u * -s h"?" -xml") cat "$DIR/${4}";;
*) echo "unexpected arguments: $*" >&2; exit 2;;
esac
"""

LETTERS = {"QUEUED": "qw", "RUNNING": "r", "HELD": "hqw"}


def document(rows: str) -> str:
    """What ``qstat -xml`` prints for these rows."""
    return f"<?xml version='1.0'?>\n<job_info  xmlns:xsd=\"x\">\n  <queue_info>\n{rows}  </queue_info>\n  <job_info>\n  </job_info>\n</job_info>\n"


def job_list(number: str, letters: str, tasks: str = "") -> str:
    """One row."""
    time = "JB_submission_time" if "q" in letters else "JAT_start_time"
    return (
        f'    <job_list state="x">\n<JB_job_number>{number}</JB_job_number>\n<JAT_prio>0.5</JAT_prio>\n<JB_name>n</JB_name>\n'
        f"<JB_owner>kim</JB_owner>\n<state>{letters}</state>\n<{time}>2026-11-22T07:44:45</{time}>\n<queue_name>all.q@vm</queue_name>\n"
        f"<slots>1</slots>\n{f'<tasks>{tasks}</tasks>' if tasks else ''}</job_list>\n"
    )


class Recorded(Programs):
    """An adapter with commands that answer what a test has written down."""

    def __init__(self, directory: str, reactor: Any = reactor, **options: object) -> None:
        super().__init__(directory)
        self.common = self.directory / "default" / "common"
        self.common.mkdir(parents=True)
        self.write("qstat", QSTAT)
        self.write("qconf", f'#!/bin/sh\ncat "{CAPTURES}/72-qconf-sconf.txt"\n')
        self.write("qacct", '#!/bin/sh\necho "qacct $*" >>"$DIR/log"\necho "error: job id $2 not found" >&2; exit 1\n')
        self.queue = GridEngineQueue(reactor, directory=str(self.directory), root=str(self.directory), **options)  # type: ignore[arg-type]
        for kind in ("hu", "ho", "hs"):
            self.put(kind, document(""))
        self.put("details", "<?xml version='1.0'?>\n<detailed_job_info>\n<djob_info>\n</djob_info>\n</detailed_job_info>\n")
        self.show({})

    def show(self, jobs: Mapping[str, str]) -> Mapping[str, str]:
        rows, ended = "", b""
        for job_id, state in jobs.items():
            number, _, task = job_id.partition(".")
            if state == "COMPLETED":
                ended += line(int(number), submitted=1795333000, task=int(task or 0)).replace(
                    str(int(NOW)).encode(), str(int(reactor.seconds())).encode()  # type: ignore[attr-defined]
                ) + b"\n"  # fmt: skip
            else:
                rows += job_list(number, LETTERS[state], task)
        self.put("rows", document(rows))
        (self.common / "accounting").write_bytes(ended)
        return jobs


def recorded(case: TestCase) -> QueueUnderTest:
    fake = Recorded(case.mktemp())
    return QueueUnderTest(fake.queue, fake.show, fake.fail, ids=("1", "4711", "9", "12"), task=("33.4", "33", 4))


class GridEngineContractTests(makeQueueServiceTests(recorded)):  # type: ignore[misc]
    """The public contract."""


class CaptureTests(TestCase):
    """Whole descriptors."""

    async def test_every_capture(self) -> None:
        """Each field of each job of the recorded answers, with the details that were recorded beside them."""
        found: dict[tuple[str, str], Any] = {}
        for path in sorted(CAPTURES.glob("*.qstat-u-xml.xml")):
            fake = Recorded(self.mktemp(), reactor=AtTime(reactor, 1795333600.0))
            fake.put("rows", path.read_bytes())
            details = CAPTURES / path.name.replace("qstat-u-xml", "qstat-j-xml")
            if details.exists():
                fake.put("details", details.read_bytes())
            snapshot = await fake.queue.snapshot()
            self.assertEqual(snapshot.rejected, ())
            found.update(descriptors.shown(path.name, snapshot.jobs.values()))
        expected = {key: fields for key, fields in descriptors.expected("sge").items() if key[0] != "80-accounting.txt"}
        self.assertEqual(descriptors.differences(expected, found), [])


class LineTests(WatchingCase):
    """Which lines of its files are news; the query is for all jobs anyway, so that no job is named."""

    BEGINS = b"1795327200:job_log:1795327200:sent:1:-1:NONE:t:master:kim:0:1024:1:x:kim:g:p:d:a:sent to execd"
    NEW = b"1795327200:new_job:1795327200:1:-1:NONE:x:kim:g:p:d:a:1024"

    def begin(self, spool: bool) -> None:
        """A queue that follows its files, with a database beside them or not."""
        fake = Recorded(self.mktemp(), reactor=ManualClock())
        if spool:
            (fake.common / "bootstrap").write_text(f"spooling_method berkeleydb\nspooling_params {fake.directory}\n")
        Scripted(self, lambda argv: (CAPTURES / "72-qconf-sconf.txt").read_bytes())
        self.successResultOf(fake.queue.check())
        self.watch(fake.queue)
        self.fake = fake

    def test_files(self) -> None:
        """The accounting file and the reporting file: lines on jobs are nudges, those on hosts and queues are not."""
        self.begin(spool=False)
        self.assertEqual((self.watches[-1].paths, self.watches[-1].spools), ((str(self.fake.common / "accounting"), str(self.fake.common / "reporting")), ()))
        self.assertIsNone(self.said(b"# Version", b"1795327200:host:node1:1795327200:X:cpu=0.1", b"1795327200:queue:all.q:n:1:a=1"))
        for text in (self.BEGINS, self.NEW, b"1795327200:acct:x", b":".join([b"x"] * 45)):
            self.assertEqual(self.said(b"# Version", text), [], text)
        self.assertIsNone(self.said(b":".join([b"x"] * 44)))

    def test_database(self) -> None:
        """Where the database tells of each change, only how a job has ended is news; what it tells is."""
        self.begin(spool=True)
        self.assertEqual(self.watches[-1].spools, (str(self.fake.directory),))
        self.assertIsNone(self.said(self.BEGINS, self.NEW))
        ends = [self.BEGINS.replace(b":sent:", b":%s:" % word, 1) for word in (b"deleted", b"finished")]
        for text in (*ends, b"1:acct:x", b":".join([b"x"] * 45)):
            self.assertEqual(self.said(self.BEGINS, text), [], text)
        self.assertEqual(self.said(), [])


class AdapterTests(TestCase):
    """The adapter and its commands."""

    def setUp(self) -> None:
        self.fake = Recorded(self.mktemp())
        self.queue = self.fake.queue

    async def test_an_unchanged_tick_is_one_command(self) -> None:
        """Details and holds are asked for when a row is new."""
        self.fake.show({"1": "RUNNING", "2": "QUEUED", "3": "HELD"})
        await self.queue.snapshot()
        before = len(self.fake.calls())
        await self.queue.snapshot()
        self.assertEqual(self.fake.calls()[before:], ["qstat -u * -s prs -xml"])

    async def test_holds(self) -> None:
        """Who holds a job is told by ``-s hu``, ``-s ho``, ``-s hs``."""
        self.fake.show({"1": "HELD", "2": "HELD", "3": "HELD"})
        self.fake.put("hu", document(job_list("1", "hqw") + job_list("2", "hqw")))
        self.fake.put("ho", document(job_list("2", "hqw")))
        jobs = (await self.queue.snapshot()).jobs
        self.assertEqual({i: job.reason_code and job.reason_code.value for i, job in jobs.items()},
                         {"1": "HELD_BY_USER", "2": "HELD_BY_ADMIN", "3": "OTHER"})  # fmt: skip

    async def test_array_in_several_states(self) -> None:
        """The tasks of most are a range, the others have rows of their own."""
        self.fake.put("rows", document(
            job_list("5", "r", "1") + job_list("5", "qw", "3-99:2") + job_list("5", "hqw", "100,102") + job_list("5", "Eqw", "2")
        ))  # fmt: skip
        jobs = (await self.queue.snapshot()).jobs
        self.assertEqual({i: job.state for i, job in jobs.items()},
                         {"5.1": "RUNNING", "5": "QUEUED", "5.100": "HELD", "5.102": "HELD", "5.2": "HELD"})  # fmt: skip
        self.assertEqual(len(jobs["5"].pending_tasks or ()), 49)

    async def test_doubled_and_odd_rows(self) -> None:
        """A row that makes no sense is counted, with its id; of two rows with one id neither is believed."""
        self.fake.put("rows", document(
            job_list("1", "r") + job_list("2", "r") + job_list("2", "qw") + job_list("3", "") + job_list("x", "r")
        ))  # fmt: skip
        snapshot = await self.queue.snapshot()
        self.assertEqual(set(snapshot.jobs), {"1"})
        self.assertEqual((snapshot.rejected_count, snapshot.rejected_ids), (3, frozenset({"2", "3"})))

    async def test_nothing_understood(self) -> None:
        """Rows, and none of them makes sense: a failed query."""
        self.fake.put("rows", document(job_list("x", "r")))
        await self.assertFailure(self.queue.snapshot(), QueueError)

    async def test_environment(self) -> None:
        """Commands start from an empty environment but for Grid Engine's own variables."""
        self.fake.write("qconf", "#!/bin/sh\nenv >$DIR/environment\n")
        await self.queue.check()
        names = {text.partition("=")[0] for text in (self.fake.directory / "environment").read_text().splitlines()}
        allowed = {"PATH", "LC_ALL", "TZ", "PWD", "OLDPWD", "SHLVL", "_"}
        self.assertLessEqual({name for name in names if not name.startswith("SGE_")}, allowed)

    async def test_rescheduled_keeps_its_submission(self) -> None:
        """A rescheduled job gets a new time of submission; it stays the same job, one attempt on."""
        self.fake.show({"1": "QUEUED"})
        first = (await self.queue.snapshot()).jobs["1"]
        self.fake.put("rows", document(job_list("1", "Rq")).replace("07:44:45", "09:00:00"))
        second = (await self.queue.snapshot()).jobs["1"]
        self.assertEqual((second.uid, second.attempt), (first.uid, 1))

    async def test_qacct_where_the_file_cannot_be_read(self) -> None:
        """Far away, or not readable: ``qacct`` is asked, and has no record yet."""
        fake = Recorded(self.mktemp())
        (fake.common / "accounting").unlink()
        os.rmdir(fake.common)
        fake.write("qacct", f'#!/bin/sh\nif [ "$2" = 4 ]; then cat "{CAPTURES}/05-ended-signal11.qacct-j.txt"; else echo "error: job id $2 not found" >&2; exit 1; fi\n')
        facts = await fake.queue.check()
        self.assertIn("qacct", " ".join(facts.problems))
        jobs = [JobDescriptor("sge", i, Phase.RUNNING, submitted_at=1795333494.0) for i in ("4", "5")]
        outcomes = await fake.queue.outcomes(jobs)
        self.assertEqual({i: (job.state, job.signal, job.source) for i, job in outcomes.jobs.items()}, {"4": ("FAILED", 11, "qacct")})
        self.assertTrue(outcomes.answered)
        older = [JobDescriptor("sge", "4", Phase.RUNNING, submitted_at=1795333999.0)]
        self.assertEqual(dict((await fake.queue.outcomes(older)).jobs), {}, "a record of an older submission")

    async def test_many_are_asked_about_in_turn(self) -> None:
        """``qacct`` reads the whole file each time: some jobs at a time, and no verdict before each was asked about."""
        fake = Recorded(self.mktemp())
        fake.common.rename(fake.directory / "elsewhere")
        await fake.queue.check()
        jobs = [JobDescriptor("sge", str(number), Phase.QUEUED, submitted_at=1795333494.0) for number in range(1, 31)]
        self.assertFalse((await fake.queue.outcomes(jobs)).answered)
        self.assertTrue((await fake.queue.outcomes(jobs)).answered)
        asked = [call.split()[-1] for call in fake.calls() if call.startswith("qacct")]
        self.assertEqual((len(asked), set(asked)), (40, {job.id for job in jobs}))

    async def test_two_hundred_megabytes(self) -> None:
        """An answer without end fails the query, and only that."""
        self.fake.write("qstat", "#!/bin/sh\nexec cat /dev/zero\n")
        error = await self.assertFailure(self.queue.snapshot(), QueueError)
        self.assertIn("bytes", str(error))
