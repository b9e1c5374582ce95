"""The PBS adapter on recorded and hostile output; ``with_service/test_pbs.py`` runs against a real OpenPBS where one is."""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet import reactor
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface.verify import verifyObject

from jobpush.adapter.command import CommandResult
from jobpush.adapter.interfaces import IBatchQueueService, InvalidJobId, QueueError
from jobpush.adapter.testing import QueueUnderTest, makeQueueServiceTests
from jobpush.core.model import JobDescriptor, Phase
from jobpush_adapters.pbs import accounting as pbs_accounting
from jobpush_adapters.pbs import facts as pbs_facts
from jobpush_adapters.pbs import parse as parse
from jobpush_adapters.pbs import states as states
from jobpush_adapters.pbs.queue import PbsQueue
from tests.endings import NAMES, cell, check_column
from tests.fakes import Programs
from tests.service_process import ROOT
from tests.support import NOW

CAPTURES = ROOT / "tests" / "captures" / "pbs"
FAKE = ROOT / "tests" / "fake_pbs.py"


def capture(name: str, status: int = 0) -> CommandResult:
    """A recorded answer."""
    errors = CAPTURES / f"{name}.err"
    return CommandResult(status, (CAPTURES / name).read_bytes(), errors.read_bytes() if errors.exists() else b"")


def described(name: str) -> dict[str, JobDescriptor]:
    """The jobs of a recorded ``qstat -f -F json``, by id."""
    return {job_id: parse.describe("pbs", job_id, a, NOW) for job_id, a in parse.parse_jobs(capture(name)).items()}


def told(job: JobDescriptor) -> str:
    """A job's state, its exit code or signal, and why."""
    number = f" {job.exit_code}" if job.exit_code is not None else f" signal {job.signal}" if job.signal is not None else ""
    return job.state + number + (f" {job.reason_code.value}" if job.reason_code else "")


class StateTests(SynchronousTestCase):
    """STATES.md's table for PBS, on what a real OpenPBS printed."""

    def test_gallery(self) -> None:
        """Each kind of job, recorded side by side."""
        shown = {f"{job.name} {job_id}".split(".")[0]: told(job) for job_id, job in described("gallery.root.qstat-xt-f-json").items()}
        for name, expected in {
            "g_ok 11440": "COMPLETED 0", "g_exit3 11441": "FAILED 3", "g_sig9 11442": "FAILED signal 9", "g_walltime 11443": "TIMEOUT",
            "g_run 11444": "RUNNING", "g_run2node 11445": "RUNNING", "g_del_run 11446": "CANCELLED signal 15", "g_del_q 11447": "CANCELLED",
            "g_toobig 11448": "QUEUED RESOURCES", "g_stopped 11449": "QUEUED OTHER", "g_held_u 11450": "HELD HELD_BY_USER",
            "g_wait 11451": "QUEUED BEGIN_TIME", "g_susp 11452": "SUSPENDED", "g_exiting 11453": "FINISHING", "g_parent 11454": "RUNNING",
            "g_dep_wait 11455": "QUEUED DEPENDENCY", "g_badparent 11456": "FAILED 1", "g_dep_killed 11457": "CANCELLED DEPENDENCY",
            "g_arr 11458[]": "RUNNING", "g_arr 11458[1]": "FAILED 1", "g_arr 11458[2]": "FAILED 2", "g_arr 11458[3]": "RUNNING",
            "g_arr_done 11459[1]": "COMPLETED 0", "g_arr_held 11460[]": "HELD HELD_BY_USER", "g_rerun 11461": "RUNNING",
            "g_stagein 11462": "STARTING", "g_interactive_like 11463": "RUNNING",
        }.items():  # fmt: skip
            self.assertEqual(shown[name], expected, name)

    def test_what_ended(self) -> None:
        """Ends that were recorded one by one."""
        ends = {}
        for path in sorted([*CAPTURES.glob("end.*.qstat-xf-json"), *CAPTURES.glob("state.*.qstat-xf-json"), *CAPTURES.glob("mom-restarted.*json")]):
            ends.update({job.name: told(job) for job in described(path.name).values()})
        for name, expected in {
            "directkill": "FAILED signal 9", "directnoexec": "LAUNCH_FAIL 254 ERROR", "dep_afternotok": "CANCELLED DEPENDENCY",
            "dep2_afterok": "CANCELLED DEPENDENCY", "notrerun": "NODE_FAIL", "cputkill": "FAILED 137", "ok": "COMPLETED 0",
            "exit3": "FAILED 3", "walltime": "TIMEOUT", "sigkill": "FAILED 137", "mom_norerun": "NODE_FAIL",
            "hk_delete": "CANCELLED", "prolog_exit1": "LAUNCH_FAIL ERROR",
        }.items():  # fmt: skip
            if name in ends:
                self.assertEqual(ends[name], expected, name)
        self.assertGreater(len(ends), 20)

    def test_moved(self) -> None:
        """To another server: its own outcome."""
        (job,) = described("moved-to-other-server.qstat-x-f-json").values()
        self.assertEqual((job.state, job.settled), ("MOVED", True))

    def test_table(self) -> None:
        """Substate before letter, letter before exit status."""
        for letter, substate, status, holds, depends, expected in [
            ("Q", 10, None, "n", False, "QUEUED"), ("Q", 22, None, "s", True, "QUEUED DEPENDENCY"), ("H", 22, None, "s", True, "QUEUED DEPENDENCY"),
            ("H", 20, None, "us", True, "HELD HELD_BY_ADMIN"), ("H", 20, None, "u", False, "HELD HELD_BY_USER"),
            ("H", 20, None, "uo", False, "HELD HELD_BY_ADMIN"), ("H", 20, None, "s", False, "HELD HELD_BY_ADMIN"),
            ("H", 20, -3, "p", False, "HELD ERROR"), ("W", 30, None, "n", False, "QUEUED BEGIN_TIME"), ("T", 0, None, "n", False, "QUEUED"),
            ("R", 42, None, "n", False, "RUNNING"), ("R", 41, None, "n", False, "STARTING"), ("R", 15, 3, "n", False, "STARTING"),
            ("R", None, None, "n", False, "RUNNING"), ("S", 43, None, "n", False, "SUSPENDED"), ("U", 42, None, "n", False, "SUSPENDED"),
            ("B", 70, 1, "n", False, "RUNNING"), ("E", 51, 0, "n", False, "FINISHING"), ("M", 94, None, "n", False, "MOVED"),
            ("F", 94, None, "n", False, "MOVED"), ("F", 91, 271, "n", False, "CANCELLED signal 15"), ("F", 91, None, "n", False, "CANCELLED"),
            ("F", 91, -4, "n", False, "NODE_FAIL"), ("F", 92, 0, "n", False, "COMPLETED 0"), ("F", 92, None, "s", True, "CANCELLED DEPENDENCY"),
            ("F", 92, 4, "n", False, "FAILED 4"), ("F", 93, -29, "n", False, "TIMEOUT"), ("F", 93, -28, "n", False, "TIMEOUT"),
            ("F", 93, -27, "n", False, "OUT_OF_MEMORY"), ("F", 93, -26, "n", False, "OUT_OF_MEMORY"), ("F", 93, -4, "n", False, "NODE_FAIL"),
            ("F", 93, -1, "n", False, "LAUNCH_FAIL ERROR"), ("F", 93, 254, "n", False, "LAUNCH_FAIL 254 ERROR"), ("F", 93, -19, "n", False, "CANCELLED"),
            ("F", 93, 271, "n", False, "FAILED signal 15"), ("F", 93, 137, "n", False, "FAILED 137"), ("X", 92, 0, "n", False, "COMPLETED 0"),
            ("X", 93, 265, "n", False, "FAILED signal 9"), ("X", None, 0, "n", False, "COMPLETED 0"), ("F", 93, -99, "n", False, "FAILED"),
            ("Z", 10, None, "n", False, "UNKNOWN"),
        ]:  # fmt: skip
            state = states.pbs_state(letter, substate, status, holds, depends)
            shown = (state.outcome or state.phase).value
            shown += f" {state.exit_code}" if state.exit_code is not None else f" signal {state.signal}" if state.signal is not None else ""
            shown += f" {state.reason_code.value}" if state.reason_code else ""
            self.assertEqual(shown, expected, (letter, substate, status))
            self.assertEqual(state.outcome is not None, state.phase is Phase.DONE)
        self.assertFalse(states.pbs_state("F", 93, -11, "n", False).settled, "it is being rerun")
        self.assertFalse(states.pbs_state("F", 77, 0, "n", False).settled, "a later version's")

    def test_torque(self) -> None:
        """Its own letter and codes."""
        for letter, status, expected in [
            ("C", 0, "COMPLETED"), ("C", -11, "TIMEOUT"), ("C", -10, "OUT_OF_MEMORY"), ("C", -12, "TIMEOUT"), ("C", 271, "FAILED"),
            ("C", 254, "FAILED"), ("C", None, "CANCELLED"), ("E", 0, "FINISHING"), ("R", None, "RUNNING"), ("Y", None, "UNKNOWN"),
        ]:  # fmt: skip
            state = states.torque_state(letter, status, "n", False)
            self.assertEqual((state.outcome or state.phase).value, expected, (letter, status))

    def test_fields(self) -> None:
        """What else is told of a job."""
        job = described("gallery.root.qstat-xt-f-json")["11445.pbslab"]
        self.assertEqual((job.name, job.user, job.account, job.queue, job.nodes), ("g_run2node", "alice", "acct1", "workq", "pbslab"))
        self.assertEqual((job.submitted_at, job.started_at, job.time_limit_s), (1795333349.0, 1795333349.0, 3600))
        self.assertEqual((job.aliases, job.workdir), (("11445",), "/srv/cluster/users/alice"))
        rerun = described("gallery.root.qstat-xt-f-json")["11461.pbslab"]
        self.assertEqual(rerun.attempt, 1)
        subjob = described("gallery.root.qstat-xt-f-json")["11458[3].pbslab"]
        self.assertEqual((subjob.parent, subjob.task_index), ("11458[].pbslab", 3))
        recorded = capture("gallery.root.qstat-xt-f-json")
        tagged = attrs.evolve(recorded, stdout=recorded.stdout.replace(b'"PBS_O_HOME":', b'"workflow":"w7",\n"PBS_O_HOME":'))
        jobs = [parse.describe("pbs", job_id, a, NOW) for job_id, a in parse.parse_jobs(tagged).items()]
        self.assertEqual({job.comment for job in jobs}, {"workflow=w7"})

    def test_the_table_of_endings(self) -> None:
        """The documentation's table says what the recorded run of a real OpenPBS says; what it did not do is said so."""
        recorded: dict[str, dict[str, Any]] = {}
        for path in sorted([*CAPTURES.glob("*.qstat-xf-json"), CAPTURES / "mixed.qstat-x-f-json", CAPTURES / "gallery.root.qstat-xt-f-json"]):
            for job in described(path.name).values():
                if job.done:
                    recorded[str(job.name)] = {"state": job.state, "exit_code": job.exit_code, "signal": job.signal}
        names = {
            "success": "ok", "exit 3": "exit3", "exit 255": "exit255", "exit 137": "childsig", "signal": "sigsegv", "kill -9": "sigkill",
            "at once": "g_ok", "cancel pending": "g_del_q", "cancel waiting": "wait", "cancel running": "g_del_run", "time-out": "walltime",
            "requeue": "hk_rerun", "bad output path": "nohome",
        }  # fmt: skip
        cells = {name: cell(recorded[names[name]]) if names.get(name) in recorded else "not recorded" for name in NAMES}
        check_column("PBS", cells)


class ListTests(SynchronousTestCase):
    """``qstat -t -w``."""

    def test_recorded(self) -> None:
        """Ids and letters, arrays and subjobs."""
        jobs, rejected = parse.parse_list(capture("fmt.array-wide.qstat-tw"))
        self.assertEqual({i: letter for i, (letter, _) in jobs.items()}, {
            "11438[].pbslab": "H", "11438[9998].pbslab": "Q", "11438[9999].pbslab": "Q", "11438[10000].pbslab": "Q",
        })  # fmt: skip
        self.assertEqual(rejected, [])
        jobs, _ = parse.parse_list(capture("gallery.qstat-t"))
        self.assertEqual((jobs["11444.pbslab"][0], jobs["11453.pbslab"][0], jobs["11458[1].pbslab"][0]), ("R", "E", "X"))

    def test_truncated_ids(self) -> None:
        """A column that was too narrow is no id."""
        jobs, rejected = parse.parse_list(capture("fmt.array-wide.qstat-t"))
        self.assertEqual((list(jobs), len(rejected)), (["11438[].pbslab"], 3))

    def test_the_time_used_is_no_change(self) -> None:
        """A row whose time alone changed is the same row."""
        before = capture("gallery.qstat-t")
        after = CommandResult(0, before.stdout.replace(b"00:00:00 R", b"01:23:45 R"), b"")
        self.assertEqual(parse.parse_list(before), parse.parse_list(after))

    def test_what_is_no_answer(self) -> None:
        """A failed query is told from an empty one; empty with a complaint is not empty."""
        good = (CAPTURES / "gallery.qstat-t").read_bytes()
        for status, stdout, stderr, expected in [
            (255, b"", b"Connection refused\nqstat: cannot connect to server pbslab (errno=15010)\n", "Connection refused"),
            (0, b"", b"qstat: Unauthorized Request\n", "Unauthorized"), (0, good[:-20], b"", "cut off"),
            (0, b"<html>\nBad Gateway\n</html>\n", b"", "none of PBS's"),
        ]:  # fmt: skip
            with self.assertRaises(QueueError) as caught:
                parse.parse_list(CommandResult(status, stdout, stderr))
            self.assertIn(expected, str(caught.exception))
        self.assertEqual(parse.parse_list(CommandResult(0, b"", b"")), ({}, []))

    @given(st.binary(max_size=300))
    def test_arbitrary_bytes(self, data: bytes) -> None:
        """Parsed or refused: nothing else."""
        for stdout in (data, b"Job id\n---\n" + data + b"\n"):
            try:
                parse.parse_list(CommandResult(0, stdout, b""))
            except QueueError:
                pass


class JsonTests(SynchronousTestCase):
    """``qstat -f -F json`` of every version, with whatever users put into it."""

    def test_broken_documents(self) -> None:
        """Outputs in which a variable's bytes break the JSON give the same job as those in which they do not."""
        broken = 0
        for path in sorted([*CAPTURES.glob("old-client.*.qstat-f-json"), *CAPTURES.glob("env.*json*")]):
            try:
                json.loads(path.read_bytes().decode("utf-8", "surrogateescape"))
            except ValueError:
                broken += 1
            jobs = described(path.name)
            self.assertTrue(jobs, path.name)
            for job in jobs.values():
                self.assertEqual((job.state, job.user), ("HELD", "alice"), path.name)
                self.assertTrue(job.submitted_at, path.name)
        self.assertGreater(broken, 5, "some of them are broken indeed")

    def test_names_that_look_like_numbers(self) -> None:
        """A name is a text, whatever it looks like."""
        raw = b'{\n\t"timestamp":\t1,\n\t"Jobs":\t{\n\t\t"1.s":\t{\n\t\t\t"Job_Name":\t%s,\n\t\t\t"job_state":\t"R",\n\t\t\t"substate":\t42\n\t\t}\n\t}\n}\n'
        for text, name in [(b"123", "123"), (b"1e5", "1e5"), (b"007", "007"), (b"inf", "inf"), (b"+5", "+5"), (b"NaN", "NaN"), (b'"a\\tb"', "a\tb")]:
            jobs = parse.parse_jobs(CommandResult(0, raw % text, b""))
            self.assertEqual(parse.describe("pbs", "1.s", jobs["1.s"], NOW).name, name)

    def test_nobody_speaks_for_another(self) -> None:
        """An environment that looks like attributes, and like another job, is neither."""
        forged = '\\n},\\n\\t\\t\\"2.s\\":\\t{\\n\\t\\t\\t\\"job_state\\":\\t\\"F\\"'
        raw = (
            '{\n\t"timestamp":\t1,\n\t"Jobs":\t{\n\t\t"1.s":\t{\n\t\t\t"Job_Name":\t"x",\n\t\t\t"job_state":\t"R",\n\t\t\t"substate":\t42,\n'
            f'\t\t\t"Variable_List":\t{{\n\t\t\t\t"job_state":\t"F",\n\t\t\t\t"A":\t"{forged}",\n\t\t\t\t"B":\tnan"}},"job_state":"F",{{"\n\t\t\t}},\n'
            '\t\t\t"Resource_List":\t{\n\t\t\t\t"job_state":\t"F"\n\t\t\t}\n\t\t}\n\t}\n}\n'
        )
        jobs = parse.parse_jobs(CommandResult(0, raw.encode(), b""))
        self.assertEqual(list(jobs), ["1.s"])
        self.assertEqual(jobs["1.s"]["job_state"], "R")

    def test_what_is_no_answer(self) -> None:
        """Unknown jobs are not there; a server that is down is an error, though it prints a document."""
        self.assertEqual(parse.parse_jobs(capture("err.unknown.qstat-f-json", 153)), {})
        good = capture("gallery.root.qstat-xt-f-json").stdout
        for result, expected in [
            (capture("err.server-down.qstat-f-json", 255), "Connection refused"), (CommandResult(0, good[:-3], b""), "cut off"),
            (CommandResult(0, good[:5000], b""), "cut off"), (CommandResult(0, b"", b"oops"), "oops"),
            (CommandResult(0, b"<html></html>", b""), "none of PBS's"),
        ]:  # fmt: skip
            with self.assertRaises(QueueError) as caught:
                parse.parse_jobs(result)
            self.assertIn(expected, str(caught.exception))

    def test_future_fields(self) -> None:
        """What a later version adds, nested or not, disturbs nothing."""
        text = capture("gallery.root.qstat-xt-f-json").stdout.replace(
            b'"job_state":', b'"quantum":\t{\n\t\t\t\t"job_state":\t"F",\n\t\t\t\t"deep":\t[1, 2]\n\t\t\t},\n\t\t\t"job_state":'
        )
        self.assertEqual(
            {i: a["job_state"] for i, a in parse.parse_jobs(CommandResult(0, text, b"")).items()},
            {i: a["job_state"] for i, a in parse.parse_jobs(capture("gallery.root.qstat-xt-f-json")).items()},
        )

    @given(st.binary(max_size=300))
    def test_arbitrary_bytes(self, data: bytes) -> None:
        """Parsed or refused: nothing else."""
        for stdout in (data, b'{\n\t"Jobs":\t{\n\t\t"1.s":\t{\n' + data + b"\n\t\t}\n\t}\n}"):
            try:
                for job_id, a in parse.parse_jobs(CommandResult(0, stdout, b"")).items():
                    parse.describe("pbs", job_id, a, NOW)
            except (QueueError, ValueError):
                pass


class FactTests(SynchronousTestCase):
    """What the server says of itself."""

    def test_recorded(self) -> None:
        """History on, everybody sees everything."""
        name, a = parse.parse_server(capture("mixed.qstat-Bf-json"))
        told = pbs_facts.pbs_facts(a, "jobpush", None)
        self.assertEqual((name, told.sees_all, told.hides_jobs, told.accounting, told.problems), ("pbslab", True, False, True, ()))
        self.assertEqual((told.remembers_s, told.remembers_by), (86400.0, "job_history_duration"))

    def test_hidden(self) -> None:
        """query_other_jobs=False: only operators and managers see all."""
        for account, attributes, sees in [
            ("jobpush", {}, False), ("jobpush", {"operators": "ann@*,jobpush@host"}, True), ("jobpush", {"managers": "jobpush@*"}, True),
            ("jobpush", {"acl_roots": "jobpush@*"}, False), ("root", {"acl_roots": "root@*"}, True),
        ]:  # fmt: skip
            told = pbs_facts.pbs_facts({"query_other_jobs": "False", "job_history_enable": "True", **attributes}, account, None)
            self.assertEqual((told.sees_all, told.hides_jobs), (sees, True))
            self.assertEqual(bool(told.problems), not sees)

    def test_history_off(self) -> None:
        """The log instead, or nothing: said by the setting's name."""
        for log, accounting, remembers in ((None, False, 0.0), ("/l", True, None)):
            told = pbs_facts.pbs_facts({}, "jobpush", log)
            self.assertEqual((told.accounting, told.remembers_s), (accounting, remembers))
            self.assertIn("job_history_enable", " ".join(told.problems))

    def test_torque(self) -> None:
        """Hidden unless said otherwise; completed jobs forgotten at once unless said otherwise."""
        told = pbs_facts.torque_facts({}, "jobpush")
        self.assertEqual((told.sees_all, told.remembers_s, len(told.problems)), (False, 0.0, 2))
        told = pbs_facts.torque_facts({"query_other_jobs": "True", "keep_completed": "300"}, "jobpush")
        self.assertEqual((told.sees_all, told.remembers_s, told.remembers_by, told.problems), (True, 300.0, "keep_completed", ()))


class LogTests(SynchronousTestCase):
    """The accounting log of a server without history."""

    def test_recorded(self) -> None:
        """Ends and deletions, of the submission that is meant."""
        directory = Path(self.mktemp())
        directory.mkdir()
        (directory / "20261122").write_bytes((CAPTURES / "log.accounting.by-record-type").read_bytes())
        self.assertTrue(pbs_accounting.readable(str(directory)))
        self.assertFalse(pbs_accounting.readable("/nonexistent"))
        since = 1795329600.0
        entries = pbs_accounting.find(str(directory), {"1.pbslab", "12.pbslab", "15.pbslab", "99.pbslab"}, since, since + 3600)
        self.assertNotIn("99.pbslab", entries)
        job = JobDescriptor("pbs", "1.pbslab", Phase.RUNNING, submitted_at=1795329614.0)
        ended = pbs_accounting.ended(job, entries["1.pbslab"], NOW)
        assert ended is not None
        self.assertEqual((ended.state, ended.exit_code, ended.started_at, ended.ended_at), ("FAILED", 3, 1795329614.0, 1795329618.0))
        other = JobDescriptor("pbs", "1.pbslab", Phase.RUNNING, submitted_at=1795320000.0)
        self.assertIsNone(pbs_accounting.ended(other, entries["1.pbslab"], NOW))
        deleted = pbs_accounting.ended(JobDescriptor("pbs", "15.pbslab", Phase.QUEUED), entries["15.pbslab"], NOW)
        self.assertEqual(deleted and deleted.state, "CANCELLED")


def attributes(state: str, **more: Any) -> dict[str, Any]:
    """What PBS keeps of a job in that flat state."""
    letter, substate = {
        "QUEUED": ("Q", 10), "HELD": ("H", 20), "RUNNING": ("R", 42), "COMPLETED": ("F", 92), "FAILED": ("F", 93), "CANCELLED": ("F", 91),
        "FINISHING": ("E", 51), "SUSPENDED": ("S", 43), "BEGUN": ("B", 70),
    }[state]  # fmt: skip
    job: dict[str, Any] = {
        "Job_Name": "n", "Job_Owner": "kim@host", "job_state": letter, "queue": "workq", "server": "pbslab", "ctime": "Sun Nov 22 07:42:29 2026",
        "Hold_Types": "u" if state == "HELD" else "n", "substate": substate, "modified": int(time.time()),
    }  # fmt: skip
    if letter in "RSEF" and state != "CANCELLED":
        job.update(stime="Sun Nov 22 07:43:00 2026", exec_host="n1/0", run_count=1)
    if letter == "F":
        job.update(history_timestamp=1795333500)
        if state != "CANCELLED":
            job.update(Exit_status=0 if state == "COMPLETED" else 3, obittime="Sun Nov 22 07:44:00 2026")
    return {**job, **more}


class Recorded(Programs):
    """An adapter with the stand-in for PBS's commands."""

    def __init__(self, directory: str, **options: Any) -> None:
        super().__init__(directory)
        for name in ("qstat", "qselect"):
            self.write(name, f"#!{sys.executable}\n" + FAKE.read_text())
        self.server: dict[str, Any] = {"jobs": {}}
        self.queue = PbsQueue(reactor, directory=str(self.directory), home=str(self.directory), **options)
        self.save()

    def save(self) -> None:
        self.put("server.json", json.dumps(self.server))

    def set(self, job_id: str, state: str, **more: Any) -> None:
        self.server["jobs"][job_id] = attributes(state, **more)
        self.save()

    def show(self, jobs: Mapping[str, str]) -> Mapping[str, str]:
        self.server["jobs"] = {}
        for job_id, state in jobs.items():
            self.set(job_id, state)
        self.save()
        # One that has ended before the first look is history, and not listed.
        return {job_id: state for job_id, state in jobs.items() if state != "COMPLETED"}


def recorded(case: TestCase) -> QueueUnderTest:
    fake = Recorded(case.mktemp())
    ids = ("1.pbslab", "4711.pbslab", "9.other-server", "33[4].pbslab")
    return QueueUnderTest(fake.queue, fake.show, fake.fail, ids=ids, task=("33[4].pbslab", "33[].pbslab", 4))


class PbsContractTests(makeQueueServiceTests(recorded)):  # type: ignore[misc]
    """The public contract."""


class AdapterTests(TestCase):
    """The adapter and its commands."""

    def setUp(self) -> None:
        self.fake = Recorded(self.mktemp())
        self.queue = self.fake.queue

    async def states(self) -> dict[str, str]:
        return {job_id: told(job) for job_id, job in (await self.queue.snapshot()).jobs.items()}

    async def test_only_what_changed_is_asked_for(self) -> None:
        """The list each time; attributes of new and modified jobs alone."""
        for number in range(250):
            self.fake.server["jobs"][f"{number}.pbslab"] = attributes("QUEUED", modified=0)
        self.fake.save()
        await self.queue.snapshot()
        before = len(self.fake.calls())
        self.fake.set("7.pbslab", "RUNNING")
        states = await self.states()
        self.assertEqual((states["7.pbslab"], states["8.pbslab"], len(states)), ("RUNNING", "QUEUED", 250))
        first, second, third = self.fake.calls()[before:]
        self.assertEqual((first, third), ("qstat -t -w", "qstat -x -E -f -F json 7.pbslab"))
        self.assertRegex(second, r"\Aqselect -x -T -tm\.ge\.[0-9]{12}\.[0-9]{2}\Z")

    async def test_a_change_that_no_letter_shows(self) -> None:
        """A user's hold becomes an operator's: the letter stays, the modification tells."""
        self.fake.set("1.pbslab", "HELD", modified=0)
        self.assertEqual(await self.states(), {"1.pbslab": "HELD HELD_BY_USER"})
        self.fake.set("1.pbslab", "HELD", Hold_Types="uo")
        self.assertEqual(await self.states(), {"1.pbslab": "HELD HELD_BY_ADMIN"})

    async def test_a_job_that_left_is_in_the_history(self) -> None:
        """It is told with its end in the very tick in which it is not listed any more, and for a while after."""
        self.fake.set("1.pbslab", "RUNNING", modified=0)
        await self.queue.snapshot()
        self.fake.set("1.pbslab", "FAILED", modified=0)
        self.assertEqual(await self.states(), {"1.pbslab": "FAILED 3"})
        self.assertEqual(await self.states(), {"1.pbslab": "FAILED 3"})

    async def test_a_job_that_came_and_went(self) -> None:
        """Between two looks: the modification tells."""
        await self.queue.snapshot()
        self.fake.set("1.pbslab", "COMPLETED")
        self.assertEqual(await self.states(), {"1.pbslab": "COMPLETED 0"})

    async def test_arrays(self) -> None:
        """Waiting subjobs are a range; others have rows of their own; when the array is gone its subjobs are asked for."""
        self.fake.set("5[].pbslab", "BEGUN")
        for index, state in enumerate(["RUNNING", "QUEUED", "QUEUED", "FAILED"], 1):
            self.fake.set(f"5[{index}].pbslab", state)
        self.fake.server["jobs"]["5[4].pbslab"]["job_state"] = "X"
        self.fake.save()
        jobs = (await self.queue.snapshot()).jobs
        self.assertEqual({i: told(job) for i, job in jobs.items()},
                         {"5[].pbslab": "QUEUED", "5[1].pbslab": "RUNNING", "5[4].pbslab": "FAILED 3"})  # fmt: skip
        self.assertEqual(str(jobs["5[].pbslab"].pending_tasks), "2-3")
        self.assertEqual(jobs["5[].pbslab"].aliases, ("5[]",))
        for job_id in self.fake.server["jobs"]:
            self.fake.server["jobs"][job_id] = attributes("COMPLETED")
        self.fake.save()
        self.assertEqual(await self.states(), {f"5[{index}].pbslab": "COMPLETED 0" for index in (1, 2, 3, 4)})

    async def test_short_ids(self) -> None:
        """They are this server's, once its name is known; another server's keep their own."""
        self.assertEqual(self.queue.canonical_id("12"), "12")
        await self.queue.check()
        for text, expected in {"12": "12.pbslab", "12[3]": "12[3].pbslab", "12[]": "12[].pbslab", "12.other": "12.other"}.items():
            self.assertEqual(self.queue.canonical_id(text), expected)

    async def test_environment(self) -> None:
        """``server=`` and nothing that would change the answer."""
        fake = Recorded(self.mktemp(), server="pbs9")
        fake.write("qstat", '#!/bin/sh\nenv >$DIR/environment\necho "pbs_version = 23"\n')
        await self.assertFailure(fake.queue.check(), QueueError)
        lines = (fake.directory / "environment").read_text().splitlines()
        environment = dict(text.split("=", 1) for text in lines)
        self.assertEqual((environment["PBS_SERVER"], environment["TZ"], environment["LC_ALL"]), ("pbs9", "UTC", "C.UTF-8"))
        self.assertLessEqual(set(environment), {"PATH", "LC_ALL", "TZ", "PBS_SERVER", "PBS_DEFAULT", "PWD", "OLDPWD", "SHLVL", "_"})

    async def test_neither(self) -> None:
        """A ``qstat`` of another scheduler is said to be that."""
        self.fake.write("qstat", "#!/bin/sh\necho 'SGE 8.1.9'\n")
        error = await self.assertFailure(self.queue.check(), QueueError)
        self.assertIn("neither PBS nor Torque: SGE 8.1.9", str(error))

    async def test_history_off(self) -> None:
        """Outcomes come from the accounting log where it can be read."""
        log = self.fake.directory / "server_priv" / "accounting"
        log.mkdir(parents=True)
        self.fake.server["history"] = False
        self.fake.set("1.pbslab", "RUNNING", modified=0)
        facts = await self.queue.check()
        self.assertEqual((facts.accounting, facts.remembers_s), (True, None))
        job = (await self.queue.snapshot()).jobs["1.pbslab"]
        ctime = int(job.submitted_at or 0)
        day = time.strftime("%Y%m%d", time.gmtime())
        (log / day).write_text(f"11/22/2026 07:44:00;E;1.pbslab;user=kim ctime={ctime} start={ctime + 31} end={ctime + 91} Exit_status=271\n")
        self.fake.show({})
        self.assertEqual(dict((await self.queue.snapshot()).jobs), {})
        outcomes = await self.queue.outcomes([job])
        self.assertEqual({i: told(ended) for i, ended in outcomes.jobs.items()}, {"1.pbslab": "FAILED signal 15"})

    async def test_history_off_and_no_log(self) -> None:
        """Then how a job ended is not known, and that is said."""
        self.fake.server["history"] = False
        self.fake.save()
        facts = await self.queue.check()
        self.assertEqual((facts.accounting, facts.remembers_s, facts.remembers_by), (False, 0.0, "job_history_enable"))
        self.assertIn("LOST", facts.problems[0])
        self.assertFalse((await self.queue.outcomes([JobDescriptor("pbs", "1.pbslab", Phase.RUNNING)])).answered)

    async def test_selecting_by_time_unknown(self) -> None:
        """A version whose ``qselect`` does not know it: the list still works."""
        self.fake.write("qselect", "#!/bin/sh\necho 'usage: qselect' >&2\nexit 2\n")
        self.fake.set("1.pbslab", "QUEUED")
        await self.queue.snapshot()
        self.fake.set("1.pbslab", "RUNNING")
        self.assertEqual(await self.states(), {"1.pbslab": "RUNNING"})
        self.flushLoggedErrors()

    async def test_attributes_that_make_no_sense(self) -> None:
        """That job is counted and not absent; the others are told."""
        self.fake.set("1.pbslab", "QUEUED")
        self.fake.set("2.pbslab", "QUEUED")
        self.fake.write("qstat", f"#!{sys.executable}\n" + re.sub(r"    print_json\(found\)", "    found.get('2.pbslab', {}).pop('job_state', 0)\n    print_json(found)", FAKE.read_text()))
        snapshot = await self.queue.snapshot()
        self.assertEqual((set(snapshot.jobs), snapshot.rejected_ids, snapshot.rejected_count), ({"1.pbslab"}, frozenset({"2.pbslab"}), 1))

    async def test_two_hundred_megabytes(self) -> None:
        """An answer without end fails the query, and only that."""
        await self.queue.check()
        self.fake.write("qstat", "#!/bin/sh\nexec cat /dev/zero\n")
        error = await self.assertFailure(self.queue.snapshot(), QueueError)
        self.assertIn("bytes", str(error))


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


class IdTests(SynchronousTestCase):
    """PBS's grammar."""

    def test_canonical(self) -> None:
        """One job, array or subjob; not a queue's name, not a server, not a list."""
        queue = PbsQueue(None)
        verifyObject(IBatchQueueService, queue)
        for good in ("1", "4711.server", "4711[].server.example.org", "4711[3].server", "4711[]"):
            self.assertEqual(queue.canonical_id(good), good)
        for bad in ("workq", "@server", "1@server", "1[2-3].s", "1[x]", "1.", "1.-s", "1..s", "[1]", "12abc", "1 2", "1;id", "-1", "1.s\n"):
            self.assertRaises(InvalidJobId, queue.canonical_id, bad)


