"""The Grid Engine adapter on recorded and hostile output; a real Grid Engine is in ``with_service``."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
from twisted.internet import reactor
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface.verify import verifyObject

from jobpush.adapter.command import CommandResult
from jobpush.adapter.interfaces import IBatchQueueService, InvalidJobId, QueueError
from jobpush.adapter.testing import QueueUnderTest, makeQueueServiceTests
from jobpush.core.model import JobDescriptor, Outcome, PastAttempt, Phase, ReasonCode, Snapshot
from jobpush.core.tasks import TaskSet
from jobpush_adapters.sge import ended, left
from jobpush_adapters.sge.facts import Files
from jobpush_adapters.sge.queue import GridEngineQueue
from tests import descriptors
from tests.adapters.sge.captures import CAPTURES, deletion, line
from tests.adapters.watching import WatchingCase
from tests.fakes import CommandCase, Programs, Scripted, far_words
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
            error = self.assertRaises(InvalidJobId, queue.canonical_id, bad)
            self.assertEqual(str(error), "expected a Grid Engine job id such as 4711, or 4711.3 (array task)")
        self.assertEqual((queue.task_of("4711.3"), queue.task_of("4711"), queue.task_id("4711", 3)), (("4711", 3), None, "4711.3"))
        self.assertEqual((queue.cluster, queue.queue_type, queue.echo), ("sge", "sge", (0.52, 0.5, 0.6, 0.9)))


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


#: What ``qstat -f -qs u`` prints: a host that cannot be reached, one that is in alarm, and rows of jobs.
INSTANCES = b"""\
queuename                      qtype resv/used/tot. load_avg arch          states
---------------------------------------------------------------------------------
all.q@node1.x                  BIP   0/1/64         -NA-     lx-amd64      adu
     12 0.50000 sleep      kim          r     11/26/2026 18:00:00     1
---------------------------------------------------------------------------------
all.q@node2.x                  BIP   0/1/64         9.01     lx-amd64      a
"""


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

    def record(self, job: JobDescriptor) -> None:
        """Let the accounting file know of this submission."""
        assert job.submitted_at is not None
        record = line(int(job.id), submitted=int(job.submitted_at)).replace(b":kim:", f":{job.user}:".encode())
        (self.common / "accounting").write_bytes(record + b"\n")


def recorded(case: TestCase) -> QueueUnderTest:
    fake = Recorded(case.mktemp(), timeout=3.0)
    ids = ("1", "4711", "9", "12")
    return QueueUnderTest(fake.queue, fake.show, fake.fail, ids, ("33.4", "33", 4), fake.commands("qstat"), record=fake.record)


class GridEngineContractTests(makeQueueServiceTests(recorded)):  # type: ignore[misc]
    """The public contract."""


class CaptureTests(TestCase):
    """Whole descriptors."""

    async def test_every_capture(self) -> None:
        """Each field of each job of the recorded answers, with the details that were recorded beside them."""
        found: dict[tuple[str, str], Any] = {}
        for path in sorted(CAPTURES.glob("*.qstat-u-xml.xml")):
            fake = Recorded(self.mktemp(), wall=lambda: 1795333600.0)
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


class GridCase(CommandCase):
    """
    A queue whose commands are answered within the process.

    :ivar rows: the rows of ``qstat``.
    :ivar details: by job number, what ``qstat -j`` says besides the number.
    :ivar held: the rows of ``qstat -s hu`` and the like.
    :ivar records: by job number, what ``qacct`` says.
    """

    def setUp(self) -> None:
        super().setUp()
        self.rows: list[str] = []
        self.details: dict[str, str] = {}
        self.instances = CommandResult(0, b"", b"")
        self.held = {"hu": "", "ho": "", "hs": ""}
        self.records: dict[str, CommandResult] = {}
        self.configuration = CommandResult(0, (CAPTURES / "72-qconf-sconf.txt").read_bytes(), b"")
        self.root = Path(self.mktemp()).resolve()
        self.common = self.root / "default" / "common"
        self.common.mkdir(parents=True)
        self.queue = self.make()

    def make(self, **options: Any) -> GridEngineQueue:
        return GridEngineQueue(self.clock, wall=self.wall, **{"root": str(self.root), **options})

    def answer(self, argv: Sequence[str]) -> CommandResult | bytes:
        name, *words = far_words(argv)
        if name.endswith("qconf"):
            return self.configuration
        if name.endswith("qacct"):
            return self.records.get(words[1], CommandResult(1, b"", f"error: job id {words[1]} not found\n".encode()))
        if words[0] == "-f":
            return self.instances
        if words[0] == "-xml":
            known = "".join(f"<JB_job_number>{number}</JB_job_number>{self.details.get(number, '')}" for number in words[2].split(","))
            return f"<?xml version='1.0'?><detailed_job_info><djob_info>{known}</djob_info></detailed_job_info>".encode()
        return document(self.held[words[3]] if words[3] in self.held else "".join(self.rows)).encode()

    def job(self, number: str = "1", **fields: Any) -> JobDescriptor:
        return JobDescriptor("sge", number, Phase.RUNNING, **{"submitted_at": 100.0, "observed_at": self.clock.seconds(), **fields})


class RowTests(GridCase):
    """What becomes of rows and their details."""

    def test_every_field(self) -> None:
        """A task that runs, whole; what it has of its array's details."""
        self.rows = [job_list("4", "Rr", "7")]
        self.details["4"] = (
            "<JB_submission_time>1795333000</JB_submission_time><JB_account>acct</JB_account><JB_cwd>/w</JB_cwd>"
            "<VA_variable>comment</VA_variable><VA_value>c</VA_value><CE_name>h_rt</CE_name><CE_stringval>60</CE_stringval>"
        )
        snapshot = self.look()
        self.assertEqual(attrs.asdict(snapshot), attrs.asdict(Snapshot(began_at=NOW, ended_at=NOW, jobs={"4.7": JobDescriptor(
            cluster="sge", id="4.7", phase=Phase.RUNNING, attempt=1, flags=("rescheduled",), native={"state": "Rr", "submission_time": "1795333000"}, name="n", user="kim",
            account="acct", started_at=1795333485.0, queue="all.q", nodes="vm", workdir="/w", comment="c", time_limit_s=60,
            observed_at=NOW, source="qstat", parent="4", task_index=7,
        )})))  # fmt: skip

    def test_what_is_not_known(self) -> None:
        """Nothing is made up: of a job without details; held, of which nothing says by whom or for what."""
        self.rows = [job_list("4", "r").replace("kim", "").replace("all.q@vm", ""), job_list("5", "hqw")]
        jobs = self.look().jobs
        self.assertEqual(attrs.asdict(jobs["4"]), attrs.asdict(JobDescriptor(
            "sge", "4", Phase.RUNNING, native={"state": "r"}, name="n", started_at=1795333485.0, observed_at=NOW, source="qstat",
        )))  # fmt: skip
        self.assertEqual((jobs["5"].phase, jobs["5"].reason_code, jobs["5"].submitted_at, jobs["5"].pending_tasks), (Phase.HELD, ReasonCode.OTHER, 1795333485.0, None))

    def test_why_it_waits(self) -> None:
        """A hold by somebody goes before what it depends on, which is no hold; errors are told task by task; a time to begin."""
        begin = int(NOW) + 60
        self.rows = [job_list("1", "hqw"), job_list("2", "hqw"), job_list("3", "Eqw"), job_list("4", "qw"), job_list("5", "qw"),
                     job_list("6", "hqw", "1-2"), job_list("6", "hqw", "5-8"), job_list("7", "Eqw", "3"), job_list("8", "EhRqw"),
                     job_list("9", "Er"), job_list("10", "qw", "1-5"), job_list("10", "Eqw", "7-8")]  # fmt: skip
        depends, error = "<JB_jid_predecessor_list>", "<JAT_task_number>{}</JAT_task_number><QIM_message>{}</QIM_message>"
        self.details = {"1": depends, "2": depends, "3": error.format(1, "one"), "4": f"<JB_execution_time>{begin}</JB_execution_time>",
                        "5": f"<JB_execution_time>{int(NOW)}</JB_execution_time>", "7": error.format(1, "one") + error.format(3, "three"),
                        "10": error.format(7, "seven") + error.format(8, "eight")}  # fmt: skip
        self.held["hu"] = job_list("2", "hqw") + job_list("6", "hqw", "2")
        told = {job_id: (job.phase.value, job.reason_code and job.reason_code.value, job.reason) for job_id, job in self.look().jobs.items()}
        self.assertEqual(told, {
            "1": ("QUEUED", "DEPENDENCY", None), "2": ("HELD", "HELD_BY_USER", None), "3": ("HELD", "ERROR", "one"),
            "4": ("QUEUED", "BEGIN_TIME", None), "5": ("QUEUED", None, None), "6": ("HELD", "HELD_BY_USER", None),
            "6.1": ("HELD", "OTHER", None), "6.2": ("HELD", "HELD_BY_USER", None), "7": ("HELD", "ERROR", "three"), "8": ("HELD", "ERROR", None),
            "9": ("RUNNING", None, None), "10": ("QUEUED", None, None), "10.7": ("HELD", "ERROR", "seven"), "10.8": ("HELD", "ERROR", "eight"),
        })  # fmt: skip

    def test_a_time_to_begin_comes(self) -> None:
        """Its row does not change then."""
        self.rows = [job_list("4", "qw"), job_list("5", "qw", "1-3")]
        begin = f"<JB_execution_time>{int(NOW) + 60}</JB_execution_time>"
        self.details = {"4": begin, "5": begin}
        first = self.look().jobs
        self.clock.advance(59)
        self.assertEqual([self.look().jobs[i] is first[i] for i in ("4", "5")], [True, True], "told as it was")
        self.clock.advance(1)
        self.assertEqual([(job.reason_code, job.observed_at) for job in self.look().jobs.values()], [(None, NOW + 60)] * 2)

    def test_the_greatest_range_is_the_array(self) -> None:
        """The pending tasks of most are the array; when another row has more, they change places."""
        self.rows = [job_list("5", "hqw", "1-2"), job_list("5", "qw", "3-5")]
        self.assertEqual({i: (job.state, str(job.pending_tasks)) for i, job in self.look().jobs.items()},
                         {"5": ("QUEUED", "3-5"), "5.1": ("HELD", "None"), "5.2": ("HELD", "None")})  # fmt: skip
        self.rows.append(job_list("5", "hRqw", "6-9"))
        jobs = self.look().jobs
        self.assertEqual({i: (job.state, str(job.pending_tasks), job.attempt) for i, job in jobs.items()}, {
            "5": ("HELD", "6-9", 1), "5.1": ("HELD", "None", 0), "5.2": ("HELD", "None", 0),
            "5.3": ("QUEUED", "None", 0), "5.4": ("QUEUED", "None", 0), "5.5": ("QUEUED", "None", 0),
        })  # fmt: skip
        self.rows.pop()
        self.assertEqual({i: str(job.pending_tasks) for i, job in self.look().jobs.items()}, {"5": "3-5", "5.1": "None", "5.2": "None"})
        self.clock.advance(1)
        self.assertEqual({job.observed_at for job in self.look().jobs.values()}, {NOW}, "read once")

    def test_submission(self) -> None:
        """As the details say, or the row of one that waits; the first time counts, until the queue lists it no more."""
        self.rows = [job_list("4", "qw"), job_list("5", "Rq")]
        self.assertEqual({i: job.submitted_at for i, job in self.look().jobs.items()}, {"4": 1795333485.0, "5": None})
        self.rows = [job_list("4", "r"), job_list("6", "r")]
        self.details = {"4": "<JB_submission_time>1795339999</JB_submission_time>", "6": "<JB_submission_time>1795330000</JB_submission_time>"}
        self.assertEqual({i: job.submitted_at for i, job in self.look().jobs.items()}, {"4": 1795333485.0, "6": 1795330000.0})
        self.rows = []
        self.look()
        self.rows = [job_list("4", "r")]
        self.assertEqual(self.look().jobs["4"].submitted_at, 1795339999.0)


class QuestionTests(GridCase):
    """What is asked, and when."""

    ROWS = "qstat -u * -s prs -xml"

    def test_first(self) -> None:
        """The configuration once, all rows, the details of those that are new, and of what is held by whom."""
        self.rows = [job_list("1", "r"), job_list("2", "hqw"), job_list("5", "qw", "1-3"), job_list("5", "r", "4"), job_list("9", "x1")]
        snapshot = self.look()
        self.assertEqual(self.asked(), ["qconf -sconf", self.ROWS, "qstat -xml -j 1,2,5", "qstat -u * -s hu -xml", "qstat -u * -s ho -xml", "qstat -u * -s hs -xml"])
        self.assertEqual((snapshot.rejected_count, snapshot.rejected_ids), (1, {"9"}))
        self.assertEqual(self.commands.environments[0], {"PATH": "/usr/local/bin:/usr/bin:/bin", "LC_ALL": "C.UTF-8", "TZ": "UTC",
                                                         "SGE_ROOT": str(self.root), "SGE_CELL": "default"})  # fmt: skip

    def test_again(self) -> None:
        """The details of what waits, when its row is new; of what runs and of arrays once; of what is in error each time that it is news."""
        self.rows = [job_list("1", "qw"), job_list("5", "qw", "1-3")]
        self.look()
        self.asked()
        for rows, expected in [
            (("1", "qw", ""), []), (("1", "hqw", ""), ["1"]), (("1", "t", ""), []), (("1", "r", ""), []), (("5", "r", "3"), []),
            (("5", "Eqw", "2"), ["5"]), (("5", "Er", "2"), ["5"]), (("1", "Rq", ""), ["1"]),
        ]:  # fmt: skip
            self.rows = [job_list(*rows), job_list("5", "qw", "1")]
            self.look()
            self.assertEqual([call.split()[-1] for call in self.asked() if " -j " in call], expected, rows)
        self.rows = [job_list("5", "qw", "1")]
        self.look()
        self.rows.append(job_list("1", "r"))
        self.look()
        self.assertIn("qstat -xml -j 1", self.asked(), "it had left")

    def test_many_at_once(self) -> None:
        """Five hundred in one go."""
        self.rows = [job_list(str(number), "r") for number in range(1, 1202)]
        self.look()
        self.assertEqual([len(call.split()[-1].split(",")) for call in self.asked() if " -j " in call], [500, 500, 201])

    def test_what_is_told_anew(self) -> None:
        """A job whose details were asked for again is described anew, though its row is as it was."""
        self.rows = [job_list("5", "qw", "1-3"), job_list("5", "hqw", "4"), job_list("5", "r", "7")]
        self.look()
        self.rows.append(job_list("5", "Eqw", "9"))
        self.details["5"] = "<JB_cwd>/new</JB_cwd>"
        self.assertEqual({job.workdir for job in self.look().jobs.values()}, {"/new"})

    def holds(self) -> list[str]:
        return [call.split()[4] for call in self.asked() if " -s h" in call]

    def test_holds(self) -> None:
        """Every fifteen seconds while something is held, and when something is held anew; the job is then told anew."""
        self.rows = [job_list("1", "hqw"), job_list("5", "hqw", "3-4"), job_list("6", "r")]
        self.assertEqual(self.look().jobs["1"].reason_code, ReasonCode.OTHER)
        self.assertEqual(self.holds(), ["hu", "ho", "hs"])
        self.held["ho"] = job_list("x", "hqw") + job_list("1", "hqw") + job_list("5", "hqw", "4")
        self.clock.advance(14.5)
        self.rows.append(job_list("7", "qw"))
        self.assertEqual(self.look().jobs["1"].reason_code, ReasonCode.OTHER)
        self.assertEqual(self.holds(), [])
        self.clock.advance(0.5)
        jobs = self.look().jobs
        self.assertEqual(self.holds(), ["hu", "ho", "hs"])
        self.assertEqual([jobs[i].reason_code for i in ("1", "5")], [ReasonCode.HELD_BY_ADMIN] * 2)
        self.assertEqual([jobs[i].observed_at for i in ("1", "5", "6")], [NOW + 15, NOW + 15, NOW])
        self.clock.advance(1)
        self.rows += [job_list("8", "hRwq"), job_list("9", "qw")]
        self.held["hs"], self.held["hu"] = job_list("8", "hqw"), job_list("1", "hqw") + job_list("8", "hqw")
        jobs = self.look().jobs
        self.assertEqual(self.holds(), ["hu", "ho", "hs"])
        self.assertEqual([jobs[i].reason_code for i in ("1", "8")], [ReasonCode.HELD_BY_ADMIN] * 2)

    def test_no_holds(self) -> None:
        """Not asked for what is in error, suspended, or runs; and forgotten when nothing is held any more."""
        self.rows = [job_list("1", "hr"), job_list("2", "hs"), job_list("3", "Eqw"), job_list("4", "qw")]
        self.look()
        self.assertEqual(self.holds(), [])
        self.rows = [job_list("1", "hqw")]
        self.held["hu"] = job_list("1", "hqw")
        self.look()
        self.rows = [job_list("1", "qw")]
        self.look()
        self.held["hu"] = ""
        self.rows = [job_list("1", "hqw")]
        self.clock.advance(60)
        self.assertEqual(self.look().jobs["1"].reason_code, ReasonCode.OTHER)

    def test_failures(self) -> None:
        """Each is named; the configuration is then asked for anew."""
        self.configuration = CommandResult(1, b"denied: no\n", b"")
        self.assertEqual(self.failure(self.queue.snapshot()), "qconf ended with status 1: denied: no")
        self.configuration = CommandResult(0, b"", b"")
        self.assertEqual(self.look().jobs, {})
        self.assertEqual(self.asked(), ["qconf -sconf", "qconf -sconf", self.ROWS])
        self.rows = [job_list("x", "r")]
        said = self.failure(self.queue.snapshot())
        self.assertTrue(said.startswith("qstat: no row could be understood: the job number is none: x</JB_job_number>"), said)

    def test_rejected(self) -> None:
        """Ten reasons at most are told, each short; all are counted."""
        self.rows = [job_list("1", "r"), *(job_list(str(number), "1") for number in range(2, 14))]
        snapshot = self.look()
        self.assertEqual((snapshot.rejected_count, len(snapshot.rejected), snapshot.rejected_ids), (12, 10, frozenset(map(str, range(2, 14)))))
        self.assertTrue(snapshot.rejected[0].startswith("the state is none: 2</JB_job_number>"), snapshot.rejected[0])
        self.assertEqual(len(snapshot.rejected[0]), len("the state is none: ") + 121)
        self.assertEqual(self.look().rejected_count, 12, "though they are not new")
        self.rows = [job_list("1", "r"), job_list("2", "r"), job_list("2", "qw")]
        self.assertEqual(self.look().rejected, ("two rows have the id 2",))


class WhereTests(GridCase):
    """Where the commands are, and what they are told of the installation."""

    def environment(self, queue: GridEngineQueue) -> Mapping[str, str]:
        self.queue = queue
        self.look()
        return {key: value for key, value in self.commands.environments[-1].items() if key.startswith("SGE_")}

    def test_environment(self) -> None:
        """The options go before this process's own environment, of which a few variables are handed on."""
        for name in ("SGE_ARCH", "SGE_EXECD_PORT", "SGE_QMASTER_PORT", "SGE_CELL", "SGE_ROOT", "SGE_SINGLE_LINE"):
            self.patch(os, "environ", {**os.environ, name: f"/{name}"})
        given = {"SGE_ROOT": str(self.root), "SGE_CELL": "/SGE_CELL", "SGE_ARCH": "/SGE_ARCH", "SGE_EXECD_PORT": "/SGE_EXECD_PORT",
                 "SGE_QMASTER_PORT": "/SGE_QMASTER_PORT"}  # fmt: skip
        self.assertEqual(self.environment(self.make()), given)
        self.assertEqual(self.environment(GridEngineQueue(self.clock)), {**given, "SGE_ROOT": "/SGE_ROOT"})
        ports = {"SGE_QMASTER_PORT": "900", "SGE_EXECD_PORT": "/SGE_EXECD_PORT", "SGE_CELL": "c"}
        self.assertEqual(self.environment(self.make(qmaster_port=900, cell="c")), {**given, **ports})
        self.patch(os, "environ", {})
        self.assertEqual(self.environment(self.make(qmaster_port=900)), {"SGE_ROOT": str(self.root), "SGE_CELL": "default",
                                                                         "SGE_QMASTER_PORT": "900", "SGE_EXECD_PORT": "901"})  # fmt: skip
        self.assertEqual(self.environment(GridEngineQueue(self.clock)), {"SGE_CELL": "default"})

    def test_far_away(self) -> None:
        """Nothing of this host's environment, files or programs is used."""
        self.patch(os, "environ", {"SGE_ROOT": "/here", "SGE_CELL": "here"})
        self.programs("lx-amd64")
        (self.common / "accounting").touch()
        far = self.make(prefix=("ssh", "far"))
        told = self.result(far.check())
        self.assertIn("is on another host", " ".join(told.problems))
        self.assertEqual(self.asked()[0].split(" timeout ")[0].partition(" LC_ALL")[2].split()[1:], ["TZ=UTC", f"SGE_ROOT={self.root}", "SGE_CELL=default"])
        self.assertIn("timeout -k 1 20 qconf -sconf", self.commands_of(far))

    def commands_of(self, queue: GridEngineQueue) -> str:
        self.result(queue.check())
        return " ".join(self.asked())

    def programs(self, *kinds: str) -> None:
        for kind in kinds:
            (self.root / "bin" / kind).mkdir(parents=True)
            (self.root / "bin" / kind / "qstat").touch()

    def test_programs(self) -> None:
        """The directory that is given; or that of SGE_ROOT, if it has any; or along PATH."""
        self.assertEqual(self.commands_of(self.queue), "qconf -sconf")
        self.programs("lx-b", "lx-a")
        self.assertEqual(self.commands_of(self.queue), f"{self.root}/bin/lx-a/qconf -sconf")
        self.assertEqual(self.commands_of(self.make(directory="/given")), "/given/qconf -sconf")

    def test_root_of_debian(self) -> None:
        """Its packages say SGE_ROOT nowhere."""
        there = self.common.parent.parent
        self.patch(os, "environ", {})
        real = os.path.isdir
        self.patch(os.path, "isdir", lambda path: path == "/var/lib/gridengine" or real(path))
        found: list[Any] = []
        find = Files.find
        self.patch(Files, "find", lambda *arguments: found.append(arguments) or find(*arguments))
        self.result(GridEngineQueue(self.clock).check())
        self.result(self.queue.check())
        self.assertEqual([arguments[0] for arguments in found], ["/var/lib/gridengine", str(there)])


class EndTests(GridCase):
    """Jobs that have ended: in the snapshots, and those that are asked about."""

    def append(self, *lines: bytes) -> None:
        with (self.common / "accounting").open("ab") as file:
            file.write(b"\n".join(lines) + b"\n")

    def test_seen_before(self) -> None:
        """What the queue last said of a job stays with it, as long as its record may be late."""
        for wait, workdir in ((600, "/w"), (601, None)):
            self.setUp()
            self.rows = [job_list("7", "r")]
            self.details = {"7": "<JB_submission_time>100</JB_submission_time><JB_cwd>/w</JB_cwd>"}
            self.look()
            self.rows = []
            self.clock.advance(wait)
            self.look()
            self.append(line(7))
            job = self.look().jobs["7"]
            self.assertEqual((job.state, job.workdir, job.queue, job.source), ("COMPLETED", workdir, "all.q", "accounting"))

    def test_not_while_it_is_listed(self) -> None:
        """As a row, as one that makes no sense, or as a task in a pending range."""
        self.rows = [job_list("7", "r"), job_list("8", "1"), job_list("9", "qw", "2-3"), job_list("10", "qw", "x")]
        self.look()
        self.append(line(7), line(8), line(9, task=2), line(9, task=4), line(10, task=1), line(11))
        jobs = self.look().jobs
        self.assertEqual({job_id: job.state for job_id, job in jobs.items()}, {"7": "RUNNING", "9": "QUEUED", "9.4": "COMPLETED", "11": "COMPLETED"})

    def test_files_change(self) -> None:
        """When the reporting file cannot be followed any more, or when it can again."""
        (self.common / "reporting").write_bytes(deletion(7) + b"\n")
        self.clock.advance(0)
        self.assertEqual(list(self.look().jobs), ["7"])
        self.result(self.queue.check())
        self.assertEqual(list(self.look().jobs), ["7"], "what was read is kept")
        self.configuration = CommandResult(0, self.configuration.stdout.replace(b"joblog=true", b"joblog=false"), b"")
        self.result(self.queue.check())
        self.assertEqual(list(self.look().jobs), [])
        self.configuration = CommandResult(0, self.configuration.stdout.replace(b"accounting=true", b"accounting=false"), b"")
        self.result(self.queue.check())
        self.append(line(8))
        self.assertEqual(list(self.look().jobs), [])
        self.assertEqual(self.result(self.queue.outcomes([])).no_record, frozenset())

    def test_unreadable(self) -> None:
        """A file that cannot be read fails the query."""
        self.look()
        (self.common / "accounting").mkdir()
        said = self.failure(self.queue.snapshot())
        self.assertEqual(said, f"{self.common}/accounting: Is a directory")

    def test_looking_back(self) -> None:
        """What ended before the files were followed: by a record, or by a deletion. Each is looked for once."""
        since = int(NOW) - 10000
        old = [line(number, failed, status).replace(b":%d:" % NOW, b":%d:" % since) for number, failed, status in
               ((1, 0, 3), (2, 100, 137), (3, 100, 137), (4, 25, 99), (6, 25, 99))]  # fmt: skip
        self.append(*old)
        gone = [deletion(2, "r"), deletion(4), deletion(5), deletion(8, "r")]
        (self.common / "reporting").write_bytes(b"\n".join(gone).replace(b"%d" % NOW, b"%d" % since) + b"\n")
        self.look()
        jobs = [self.job(str(number), observed_at=NOW - 9999 + number) for number in range(1, 9)]
        jobs[2] = self.job("3", flags=("deleting",), observed_at=NOW - 20000)
        jobs[0] = attrs.evolve(jobs[0], phase=Phase.QUEUED, workdir="/w", pending_tasks=TaskSet.of([1]))
        self.clock.advance(5)
        self.assertEqual(self.result(self.queue.outcomes(jobs)).no_record, set(), "a record may be late")
        self.clock.advance(7)
        outcomes = self.result(self.queue.outcomes(jobs))
        self.assertEqual(outcomes.no_record, {job.id for job in jobs} - outcomes.jobs.keys())
        self.assertEqual({i: (job.state, job.exit_code, job.source, job.observed_at, job.workdir, job.pending_tasks) for i, job in outcomes.jobs.items()}, {
            "1": ("FAILED", 3, "accounting", NOW + 12, "/w", None), "2": ("CANCELLED", None, "accounting", NOW + 12, None, None),
            "3": ("FAILED", None, "accounting", NOW + 12, None, None), "4": ("CANCELLED", None, "reporting", NOW + 12, None, None),
            "5": ("CANCELLED", None, "reporting", NOW + 12, None, None),
        })  # fmt: skip
        (self.common / "accounting").unlink()
        (self.common / "reporting").unlink()
        again = self.result(self.queue.outcomes(jobs))
        self.assertEqual((again.jobs.keys(), again.no_record), (outcomes.jobs.keys(), outcomes.no_record), "it does not look again")
        self.assertEqual(set(self.result(self.queue.outcomes(jobs[:2])).jobs), {"1", "2"})
        self.assertEqual(self.result(self.queue.outcomes([self.job("1", submitted_at=99.0)])).jobs, {}, "another job by that id")
        self.assertEqual(self.asked()[-1], QuestionTests.ROWS, "no command")

    def test_attempts_before(self) -> None:
        """By the files, whenever they were written; with fewer records than attempts, that of the last one is not there yet."""
        self.append(line(1, 25, 99), line(2, 25, 0), line(3, 25, 99), line(4, 0, 1))
        self.look()
        jobs = [self.job(str(number), attempt=attempt) for number, attempt in ((1, 1), (2, 1), (3, 2), (4, 1), (5, 1))]
        told = self.result(self.queue.past_attempts(jobs))
        self.assertEqual(told, {
            "1": PastAttempt(0, Outcome.FAILED, 99, None, None, 101.0, NOW), "2": PastAttempt(0, None, None, None, None, 101.0, NOW),
        })  # fmt: skip
        self.assertEqual(self.result(self.queue.past_attempts([self.job("1", attempt=1, submitted_at=50.0)])), {}, "another job")

    def test_attempts_of_one_that_has_ended(self) -> None:
        """How many there were, and how the one before the last ended."""
        self.look()
        self.append(line(1, 25, 99), line(1, 25, 0), line(1, 0, 3))
        job = self.look().jobs["1"]
        self.assertEqual((job.attempt, job.previous_attempt), (2, PastAttempt(1, None, None, None, None, 101.0, NOW)))

    def later(self) -> Snapshot:
        """A look when it is sure that nobody has deleted what has a record."""
        self.look()
        self.clock.advance(31)
        return self.look()

    def test_lost_with_its_host(self) -> None:
        """
        Failed 18 and 19 are the node's failure if its host cannot be reached when the record is seen first; that is asked once,
        and stays so.
        """
        self.look()
        self.instances = CommandResult(0, INSTANCES.replace(b"node1.x", b"vm"), b"")
        self.append(line(1, 18), line(2, 19), line(3, 20), line(4, 0, 3))
        before = self.asked().count("qstat -f -qs u")
        told = {job_id: (job.state, job.exit_code, job.reason_code) for job_id, job in self.later().jobs.items()}
        self.assertEqual(told, {
            "1": ("NODE_FAIL", None, ReasonCode.NODE_DOWN), "2": ("NODE_FAIL", None, ReasonCode.NODE_DOWN),
            "3": ("FAILED", None, None), "4": ("FAILED", 3, None),
        })  # fmt: skip
        self.instances = CommandResult(0, INSTANCES, b"")
        self.assertEqual(self.later().jobs["1"].state, "NODE_FAIL")
        self.assertEqual(self.asked().count("qstat -f -qs u"), before + 1)
        self.append(line(5, 18))
        self.assertEqual(self.later().jobs["5"].state, "FAILED", "its host answers")
        self.instances = CommandResult(0, INSTANCES.replace(b"node1.x", b"vm"), b"")
        self.assertEqual(self.later().jobs["5"].state, "FAILED")
        self.assertEqual(self.result(self.queue.recorded(["1", "5"])).keys(), {"1", "5"})
        self.assertEqual(self.result(self.queue.recorded(["1"]))["1"].state, "NODE_FAIL")

    def test_host_that_is_not_known(self) -> None:
        """Where the hosts cannot be asked about, the job has failed."""
        self.look()
        self.instances = CommandResult(1, b"", b"error: no")
        self.append(line(1, 18))
        self.assertEqual(self.later().jobs["1"].state, "FAILED")

    def test_deleted_from_the_error_state(self) -> None:
        """Its record is there at once, and says nothing of the deletion, whose line may come later: it is waited for."""
        for deleted in (True, False):
            self.setUp()
            since = int(NOW) - 10000
            self.append(line(7, 30, 100).replace(b":%d:" % NOW, b":%d:" % since))
            (self.common / "reporting").write_bytes(b"")
            self.look()
            job = attrs.evolve(self.job("7", observed_at=NOW - 9999), phase=Phase.HELD, reason_code=ReasonCode.ERROR)
            for _ in range(2):
                outcomes = self.result(self.queue.outcomes([job]))
                self.assertEqual((outcomes.jobs, outcomes.no_record), ({}, set()))
                self.clock.advance(2)
            if deleted:
                with (self.common / "reporting").open("ab") as file:
                    file.write(deletion(7) + b"\n")
                self.assertEqual(self.look().jobs["7"].state, "CANCELLED")
                continue
            self.clock.advance(60)
            self.assertEqual(self.result(self.queue.outcomes([job])).jobs["7"].state, "LAUNCH_FAIL")

    def test_clock_that_is_set(self) -> None:
        """How long a job is gone, and for how long a line may be late, is of time that has passed; what is told has the date."""
        for step in (3600.0, -3600.0):
            self.setUp()
            since = int(NOW) - 10000
            self.append(line(7, 30, 100).replace(b":%d:" % NOW, b":%d:" % since))
            (self.common / "reporting").write_bytes(b"")
            self.look()
            job = attrs.evolve(self.job("7", observed_at=NOW - 9999), phase=Phase.HELD, reason_code=ReasonCode.ERROR)
            self.result(self.queue.outcomes([job]))
            self.set_forward = step
            self.clock.advance(2)
            self.assertEqual(self.result(self.queue.outcomes([job])).jobs, {})
            self.clock.advance(60)
            ended = self.result(self.queue.outcomes([job])).jobs["7"]
            self.assertEqual((ended.state, ended.observed_at), ("LAUNCH_FAIL", NOW + 62 + step))
            snapshot = self.look()
            self.assertEqual((snapshot.began_at, snapshot.ended_at), (NOW + 62 + step, NOW + 62 + step))

    def test_qacct_and_a_clock_that_is_set(self) -> None:
        """A record is late by time that has passed."""
        for step in (3600.0, -3600.0):
            self.queue, self.set_forward = self.make(prefix=("ssh",)), 0.0
            self.look()
            jobs = [self.job("9")]
            self.result(self.queue.outcomes(jobs))
            self.set_forward = step
            self.clock.advance(1)
            self.assertEqual(self.result(self.queue.outcomes(jobs)).no_record, frozenset())
            self.clock.advance(60)
            self.assertEqual(self.result(self.queue.outcomes(jobs)).no_record, {"9"})

    def test_the_file_does_not_reach_back(self) -> None:
        """Moved away while nobody looked: no record means nothing, until the archive is found under whatever name."""
        self.append(line(1).replace(b":%d:" % NOW, b":%d:" % (NOW - 500)))
        archive = b"".join(line(number, status=3).replace(b":%d:" % NOW, b":%d:" % (NOW - ago)) + b"\n" for number, ago in ((3, 1200), (2, 900)))
        self.look()
        jobs = [self.job("2", observed_at=NOW - 1000), self.job("9", observed_at=NOW - 1000), self.job("10")]
        for _ in range(2):
            outcomes = self.result(self.queue.outcomes(jobs))
            self.clock.advance(60)
        self.assertEqual((outcomes.jobs, outcomes.no_record), ({}, {"10"}))
        (self.common / "accounting-20261126").write_bytes(archive)
        self.queue = self.make()
        self.look()
        self.result(self.queue.outcomes(jobs[:2]))
        self.clock.advance(60)
        outcomes = self.result(self.queue.outcomes(jobs[:2]))
        self.assertEqual(({i: job.exit_code for i, job in outcomes.jobs.items()}, outcomes.no_record), ({"2": 3}, {"9"}))

    def test_sent_and_no_record(self) -> None:
        """It was given to an execution daemon: it was not deleted while it waited, whatever else is not known."""
        self.look()
        jobs = [JobDescriptor("sge", number, Phase.QUEUED, submitted_at=100.0, observed_at=NOW) for number in ("1", "2")]
        (self.common / "reporting").write_bytes(LineTests.BEGINS.replace(b"1795327200", b"%d" % (NOW + 1)) + b"\n")
        self.clock.advance(5)
        self.look()
        self.result(self.queue.outcomes(jobs))
        self.clock.advance(60)
        outcomes = self.result(self.queue.outcomes(jobs))
        self.assertEqual(({i: (job.state, job.confidence.value) for i, job in outcomes.jobs.items()}, outcomes.no_record), ({"1": ("FINISHING", "inferred")}, {"2"}))
        gone = self.result(self.queue.outcomes([outcomes.jobs["1"]]))
        self.assertEqual((gone.jobs, gone.no_record), ({}, {"1"}), "and then it is as any job that ran")

    def test_json_lines(self) -> None:
        """Open Cluster Scheduler 9 writes JSON, under a name of its own or the old one; dates are numbers or ISO."""
        whole = {"job_number": 7, "task_number": 0, "start_time": "2026-11-22T07:36:42+00:00", "end_time": (int(NOW) - 1) * 1_000_000, "owner": "kim", "account": "sge",
                 "qname": "all.q", "hostname": "vm", "slots": 1, "job_name": "x", "submission_time": "2026-11-22T07:36:41.250Z", "category": "", "failed": 0,
                 "exit_status": 3, "usage": {"rusage": {"ru_wallclock": 10}, "usage": {"cpu": 0.5, "maxvmem": 1.0}}}  # fmt: skip
        slave = {**whole, "exit_status": 0, "pe_taskid": "1.vm"}
        text = b"".join(json.dumps(one).encode() + b"\n" for one in (whole, slave, {**whole, "job_number": 8, "exit_status": 0}))
        for name in ("accounting.jsonl", "accounting"):
            self.setUp()
            (self.common / name).write_bytes(text)
            self.assertEqual(self.result(self.queue.check()).problems, ())
            jobs = self.look().jobs
            self.assertEqual({i: (job.state, job.exit_code, job.submitted_at, job.started_at) for i, job in jobs.items()},
                             {"7": ("FAILED", 3, 1795333001.25, 1795333002.0), "8": ("COMPLETED", 0, 1795333001.25, 1795333002.0)})  # fmt: skip
            with (self.common / name).open("ab") as file:
                file.write(json.dumps({**whole, "job_number": 9, "failed": 100, "exit_status": 137}).encode() + b"\n{\"job_number\": 10\n[1]\n")
            (self.common / "reporting").write_bytes(json.dumps({
                "type": "job_log", "event": "deleted", "time": int(NOW), "job_number": 9, "initiator": "root", "message": "job deleted", "owner": "kim",
                "submission_time": "2026-11-22T07:36:41.250Z", "state": "r",
            }).encode() + b"\n")  # fmt: skip
            self.assertEqual(self.look().jobs["9"].state, "CANCELLED")

    def test_no_accounting_file(self) -> None:
        """Is no accounting, and said; until it is there."""
        facts = self.result(self.queue.check())
        self.assertEqual((facts.accounting, len(facts.problems)), (False, 1))
        self.append(line(7))
        self.assertEqual((self.result(self.queue.check()).accounting, list(self.look().jobs)), (True, ["7"]))

    def test_recorded(self) -> None:
        """Of jobs that were never listed: the last submission of each, the tasks of an array, with who deleted what."""
        self.append(
            line(1, 0, 5, submitted=50), line(1, 0, 3), line(2, 100, 143), line(3, task=1), line(3, 0, 7, task=2), line(30, 0, 1), line(4, 25, 99),
        )  # fmt: skip
        (self.common / "reporting").write_bytes(deletion(2, "r") + b"\n")
        self.look()
        self.clock.advance(1000)
        found = self.result(self.queue.recorded(["1", "2", "3", "4", "5"]))
        self.assertEqual(
            {job_id: (job.state, job.exit_code, job.parent) for job_id, job in found.items()},
            {"1": ("FAILED", 3, None), "2": ("CANCELLED", None, None), "3.1": ("COMPLETED", 0, "3"), "3.2": ("FAILED", 7, "3")},
        )
        self.assertEqual((found["1"].submitted_at, found["1"].user, found["1"].settled, found["1"].source), (100.0, "kim", True, "accounting"))
        self.assertEqual(list(self.result(self.queue.recorded(["3.2"]))), ["3.2"])
        self.clock.advance(ended.RECORDED_S)
        self.assertEqual(self.result(self.queue.recorded(["7"])), {})

    def test_recorded_by_qacct(self) -> None:
        """Where the file cannot be read; what may be a slave's record is not told."""
        self.queue = self.make(prefix=("ssh",))
        self.look()
        text = (CAPTURES / "05-ended-signal11.qacct-j.txt").read_bytes()
        number = re.search(rb"jobnumber +([0-9]+)", text)[1].decode()  # type: ignore[index]
        self.records = {number: CommandResult(0, text, b"")}
        found = self.result(self.queue.recorded([number, "99999"]))
        self.assertEqual({job_id: (job.state, job.signal, job.source) for job_id, job in found.items()}, {number: ("FAILED", 11, "qacct")})

    def test_whole_arrays(self) -> None:
        """Of what was submitted while the files are followed, or so long before that the first look reads its records, no end is missed."""
        self.rows = [job_list("7", "qw", "1-3"), job_list("8", "r", "2"), job_list("9", "qw")]
        self.details = {number: f"<JB_submission_time>{int(at)}</JB_submission_time>" for number, at in (("7", NOW - 200), ("8", NOW - 400), ("9", NOW))}
        self.assertEqual(self.look().whole, frozenset({"7"}))
        self.queue = self.make(prefix=("ssh",))
        self.assertEqual(self.look().whole, frozenset())

    def test_most_are_forgotten(self) -> None:
        """What was looked for is remembered up to a bound, and then looked for anew."""
        self.patch(left, "MOST", 1)
        self.append(line(1))
        self.clock.advance(1000)
        self.look()
        jobs = [self.job("1", observed_at=NOW), self.job("2"), self.job("3")]
        for asked in (jobs[:2], jobs[2:]):
            self.result(self.queue.outcomes(asked))
        (self.common / "accounting").unlink()
        self.assertEqual(self.result(self.queue.outcomes(jobs[:1])).jobs, {})

    def test_qacct(self) -> None:
        """Where the file cannot be followed: records of this submission, in the order of who was asked about the longest ago."""
        self.queue = self.make(prefix=("ssh",))
        self.look()
        text = (CAPTURES / "05-ended-signal11.qacct-j.txt").read_bytes()
        self.records = {"4": CommandResult(0, text, b""), "5": CommandResult(1, b"no jobs running since startup\n", b"")}
        self.asked()
        jobs = [self.job(str(number), submitted_at=1795333494.0, workdir="/w") for number in range(1, 31)]
        first = self.result(self.queue.outcomes(jobs))
        self.assertEqual((first.no_record, {i: (job.state, job.workdir, job.observed_at) for i, job in first.jobs.items()}),
                         (frozenset(), {"4": ("FAILED", "/w", NOW)}))  # fmt: skip
        self.clock.advance(1)
        self.assertEqual(len(self.result(self.queue.outcomes(jobs)).no_record), 0, "a record may be late")
        self.clock.advance(60)
        self.assertEqual(len(self.result(self.queue.outcomes(jobs)).no_record), 29)
        asked = [int(call.split()[-1]) for call in self.asked()]
        self.assertEqual(asked, [*range(1, 21), *range(21, 31), *range(1, 11), *range(11, 21), *range(1, 11)])
        self.assertEqual(self.result(self.queue.outcomes(jobs[3:4])).jobs["4"].state, "FAILED")
        self.assertEqual(self.result(self.queue.outcomes([self.job("4", submitted_at=1795333999.0)])).jobs, {})
        self.records["4"] = CommandResult(1, b"", b"cannot open file\n")
        said = self.failure(self.queue.outcomes(jobs[3:4]))
        self.assertEqual(said, "qacct ended with status 1: cannot open file")

    def test_qacct_has_not_been_asked_about_all(self) -> None:
        """As long as one is left to ask about, no record means nothing."""
        self.queue = self.make(prefix=("ssh",))
        self.look()
        self.records = {}
        jobs = [self.job(str(number), submitted_at=1795333494.0) for number in range(1, 61)]
        self.result(self.queue.outcomes(jobs[:30]))
        self.clock.advance(60)
        missing = [len(self.result(self.queue.outcomes(jobs)).no_record) for _ in range(3)]
        self.assertEqual(missing, [0, 30, 30])

    def test_qacct_of_a_deleted_job(self) -> None:
        """The letter d was seen: that is no proof."""
        self.queue = self.make(prefix=("ssh",))
        self.look()
        text = (CAPTURES / "05-ended-signal11.qacct-j.txt").read_bytes().replace(b"139", b"137").replace(b"failed       0", b"failed       100 :")
        self.records["4"] = CommandResult(0, text, b"")
        for flags in (("deleting",), ()):
            jobs = [self.job("4", submitted_at=None, flags=flags)]
            job = self.result(self.queue.outcomes(jobs)).jobs["4"]
            self.assertEqual((job.state, job.signal, job.flags), ("FAILED", 9, flags))

    def test_qacct_of_slaves(self) -> None:
        """It may print what tells a slave; where it does not, all records must agree, and the last of them be there."""
        self.queue = self.make(prefix=("ssh",))
        self.look()
        master = (CAPTURES / "05-ended-signal11.qacct-j.txt").read_bytes().replace(b"failed       100", b"failed       0  ").replace(b"exit_status  139", b"exit_status  5  ")
        master = master.replace(b"granted_pe   NONE", b"granted_pe   mpi ")
        told = master.replace(b"slots ", b"pe_taskid    %s\nslots ")
        slave = master.replace(b"exit_status  5", b"exit_status  0")
        jobs = [self.job("4", submitted_at=1795333494.0)]
        for output, codes in (
            (told % b"NONE" + (told % b"1.vm").replace(b"exit_status  5", b"exit_status  0"), [5, 5]),
            (slave + master, [None, None]), (master + slave, [None, None]), (slave, [None, 0]), (master + master, [None, 5]),
        ):
            self.queue = self.make(prefix=("ssh",))
            self.look()
            self.records["4"] = CommandResult(0, output, b"")
            for code in codes:
                outcomes = self.result(self.queue.outcomes(jobs))
                self.assertEqual((outcomes.jobs["4"].exit_code if outcomes.jobs else None, outcomes.no_record), (code, frozenset()))
                self.clock.advance(60)


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

    async def test_one_row_that_makes_no_sense(self) -> None:
        """Of a job that is known by its number: it says nothing of that job, and the answer is believed."""
        self.fake.put("rows", document(job_list("3", "r", "x")))
        snapshot = await self.queue.snapshot()
        self.assertEqual((dict(snapshot.jobs), snapshot.rejected_count, snapshot.rejected_ids), ({}, 1, frozenset({"3"})))

    async def test_great_task_numbers(self) -> None:
        """Numbers above 9,999,999, which ``qsub -t`` takes."""
        self.fake.put("rows", document(job_list("3", "r", "10000001") + job_list("3", "qw", "10000002-10000009:1")))
        jobs = (await self.queue.snapshot()).jobs
        self.assertEqual((set(jobs), str(jobs["3"].pending_tasks)), ({"3.10000001", "3"}, "10000002-10000009"))
        self.assertEqual((self.queue.canonical_id("3.10000001"), self.queue.task_of("3.10000001")), ("3.10000001", ("3", 10000001)))

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
        self.assertEqual(outcomes.no_record, set(), "it may be late")
        older = [JobDescriptor("sge", "4", Phase.RUNNING, submitted_at=1795333999.0)]
        self.assertEqual(dict((await fake.queue.outcomes(older)).jobs), {}, "a record of an older submission")

    async def test_many_are_asked_about_in_turn(self) -> None:
        """``qacct`` reads the whole file each time: some jobs at a time, and no verdict before each was asked about."""
        fake = Recorded(self.mktemp())
        fake.common.rename(fake.directory / "elsewhere")
        await fake.queue.check()
        jobs = [JobDescriptor("sge", str(number), Phase.QUEUED, submitted_at=1795333494.0) for number in range(1, 31)]
        self.assertEqual((await fake.queue.outcomes(jobs)).no_record, frozenset())
        self.assertEqual((await fake.queue.outcomes(jobs)).no_record, frozenset(), "a record may be late")
        asked = [call.split()[-1] for call in fake.calls() if call.startswith("qacct")]
        self.assertEqual((len(asked), set(asked)), (40, {job.id for job in jobs}))

    async def test_two_hundred_megabytes(self) -> None:
        """An answer without end fails the query, and only that."""
        self.fake.write("qstat", "#!/bin/sh\nexec cat /dev/zero\n")
        error = await self.assertFailure(self.queue.snapshot(), QueueError)
        self.assertIn("bytes", str(error))
