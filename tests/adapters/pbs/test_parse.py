"""What PBS's qstat prints."""

from __future__ import annotations

import calendar
import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from jobpush.adapter.command import CommandResult
from jobpush.adapter.interfaces import QueueError
from jobpush.core.model import JobDescriptor, Outcome, Phase
from jobpush_adapters.pbs import parse
from tests import descriptors
from tests.adapters.pbs.captures import CAPTURES, capture, described
from tests.support import NOW


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

    def test_rows(self) -> None:
        """A header alone is an empty list; a row whose letter is none, or that has too few columns, is passed over."""
        header = b"Job id            Name             User              Time Use S Queue\n----------------  ---------------- ----------------  -------- - -----\n"
        self.assertEqual(parse.parse_list(CommandResult(0, header, b"")), ({}, []))
        good = b"1.pbslab          align            kim               00:00:01 R workq\n"
        for odd in (good.replace(b" R ", b" r "), good.replace(b" R ", b" RR "), good.replace(b" R ", b" 1 "), b"2.pbslab R workq\n", b"\n"):
            jobs, rejected = parse.parse_list(CommandResult(0, header + odd + good, b""))
            self.assertEqual((list(jobs), len(rejected)), (["1.pbslab"], 1), odd)

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


class DescriptorTests(SynchronousTestCase):
    """Whole descriptors."""

    def test_every_capture(self) -> None:
        """Each field of each job of the recorded answers."""
        found: dict[tuple[str, str], Any] = {}
        for path in sorted(CAPTURES.glob("*json*")):
            if not path.name.startswith("err.") and path.name != "mixed.qstat-Bf-json":
                found.update(descriptors.shown(path.name, described(path.name).values()))
        self.assertEqual(descriptors.differences(descriptors.expected("pbs"), found), [])

    def test_attributes(self) -> None:
        """Each attribute goes where it belongs; what is missing is nothing."""
        a = {
            "job_state": "F", "substate": "93", "Exit_status": "3", "Job_Name": "n", "Job_Owner": "kim@host@x", "queue": "q", "Account_Name": "acct", "project": "p",
            "exec_host": "n1/0*2+n2/1+n1/3", "run_count": "3", "ctime": "Sun Nov 22 07:42:29 2026", "stime": "Sun Nov 22 07:43:00 2026", "comment": "c",
            "obittime": "Sun Nov 22 07:44:00 2026", "mtime": "Sun Nov 22 07:45:00 2026", "history_timestamp": "1795333600", "init_work_dir": "/i",
            "Variable_List.PBS_O_WORKDIR": "/w", "Variable_List.workflow": "w7", "Resource_List.walltime": "01:00:00", "Hold_Types": "n",
        }  # fmt: skip
        expected = JobDescriptor(
            cluster="c", id="5[7].s", phase=Phase.DONE, outcome=Outcome.FAILED, settled=True, attempt=2, exit_code=3, reason="c",
            native={"state": "F", "substate": "93", "exit_status": "3"}, aliases=("5[7]",), name="n", user="kim", account="acct", submitted_at=1795333349.0,
            started_at=1795333380.0, ended_at=1795333440.0, queue="q", nodes="n1,n2", workdir="/w", comment="workflow=w7", time_limit_s=3600, source="qstat",
            parent="5[].s", task_index=7,
        )  # fmt: skip
        job = parse.describe("c", "5[7].s", a, NOW)
        self.assertTrue(job.says_the_same(expected), job)
        self.assertEqual(job.observed_at, NOW)
        bare = parse.describe("c", "5", {"job_state": "R"}, NOW)
        self.assertTrue(bare.says_the_same(JobDescriptor("c", "5", Phase.RUNNING, native={"state": "R"}, source="qstat")), bare)
        changes: list[tuple[dict[str, str | None], str, object]] = [
            ({"Account_Name": None}, "account", "p"), ({"Account_Name": None, "project": "_pbs_project_default"}, "account", None),
            ({"Account_Name": None, "project": None}, "account", None), ({"Account_Name": None, "project": ""}, "account", None),
            ({"Variable_List.PBS_O_WORKDIR": None}, "workdir", "/i"), ({"Variable_List.workflow": None}, "comment", None), ({"run_count": "1"}, "attempt", 0),
            ({"run_count": "0"}, "attempt", 0), ({"run_count": None}, "attempt", 0), ({"obittime": None}, "ended_at", 1795333600.0),
            ({"obittime": None, "history_timestamp": None}, "ended_at", 1795333500.0), ({"obittime": "Sun Nov 22 07:42:59 2026"}, "ended_at", 1795333600.0),
            ({"obittime": "Sun Nov 22 07:43:00 2026"}, "ended_at", 1795333380.0), ({"obittime": None, "comp_time": "1795333444"}, "ended_at", 1795333444.0),
            ({"stime": None}, "started_at", None), ({"stime": None, "start_time": "1795333333"}, "started_at", 1795333333.0), ({"exec_host": None}, "nodes", None),
            ({"exec_host": "n1:ncpus=2/0+n2"}, "nodes", "n1,n2"), ({"Job_Owner": None}, "user", None), ({"Job_Owner": "@host"}, "user", None),
            ({"comment": None}, "reason", None), ({"comment": ""}, "reason", None), ({"Exit_status": "-29"}, "reason", "walltime exceeded"),
            ({"job_state": "Q", "substate": "10"}, "started_at", None), ({"job_state": "H", "substate": "20"}, "started_at", None),
            ({"job_state": "Q", "substate": "10"}, "ended_at", None), ({"job_state": "E", "substate": "51"}, "ended_at", None),
            ({"job_state": "E", "substate": "51"}, "reason", "c"), ({"Resource_List.walltime": None}, "time_limit_s", None),
        ]  # fmt: skip
        for change, name, value in changes:
            other = {key: text for key, text in {**a, **change}.items() if text is not None}
            self.assertEqual(getattr(parse.describe("c", "5[7].s", other, NOW), name), value, change)

    def test_why_it_waits(self) -> None:
        """The comment's kind is told of a job that is queued for no other reason."""
        a = {"job_state": "Q", "substate": "10", "comment": "Not Running: Insufficient amount of resource: ncpus"}
        for change, code, reason in [
            ({}, "RESOURCES", a["comment"]), ({"job_state": "W"}, "BEGIN_TIME", a["comment"]), ({"substate": "22"}, "DEPENDENCY", a["comment"]),
            ({"job_state": "H", "Hold_Types": "u"}, "HELD_BY_USER", a["comment"]), ({"comment": ""}, None, None), ({"job_state": "R", "substate": "42"}, None, a["comment"]),
        ]:  # fmt: skip
            job = parse.describe("c", "5", {**a, **change}, NOW)
            self.assertEqual((job.reason_code and job.reason_code.value, job.reason), (code, reason), change)
        self.assertEqual(parse.describe("c", "5", {"job_state": "T"}, NOW).flags, ("transit",))

    def test_dependencies(self) -> None:
        """Those of which others wait for this job say nothing; those that it waits for do."""
        for depend, code in (("afterok:1.s@s", "DEPENDENCY"), ("beforeok:1.s@s", "HELD_BY_ADMIN"), ("", "HELD_BY_ADMIN"), ("beforeok:1.s,afterany:2.s", "DEPENDENCY")):
            job = parse.describe("c", "5", {"job_state": "H", "Hold_Types": "s", "depend": depend}, NOW)
            self.assertEqual(job.reason_code and job.reason_code.value, code, depend)
            for substate, by_substate in (("20", "HELD_BY_ADMIN"), ("22", "DEPENDENCY")):
                job = parse.describe("c", "5", {"job_state": "H", "substate": substate, "Hold_Types": "s", "depend": depend}, NOW)
                self.assertEqual(job.reason_code and job.reason_code.value, by_substate, (depend, substate))

    def test_arrays(self) -> None:
        """An array's exit status says nothing while it goes on; its own id is no task."""
        array = parse.describe("c", "5[].s", {"job_state": "B", "substate": "70", "Exit_status": "1"}, NOW)
        self.assertEqual((array.state, array.exit_code, array.parent, array.task_index, array.native["exit_status"]), ("RUNNING", None, None, None, "1"))
        self.assertEqual([parse.parent_of(text) for text in ("5[7].s", "5[].s", "5.s", "5[7]")], ["5[].s", "5[].s", "5.s", "5[]"])

    def test_what_matters_is_missing(self) -> None:
        """A job without a state, or with one that is none."""
        for a in ({}, {"job_state": ""}, {"job_state": "r"}, {"job_state": "RR"}, {"job_state": "5"}):
            self.assertRaises(ValueError, parse.describe, "c", "5", a, NOW)

    def test_moments(self) -> None:
        """PBS's dates, in UTC, and epoch seconds."""
        for text, seconds in {
            "Sun Nov 22 07:42:29 2026": 1795333349.0, "Sun Nov  1 00:00:00 2026": 1793491200.0, "Thu Jan  1 00:00:01 1970": 1.0, "1795333349": 1795333349.0,
            "": None, "0": None, "Sun Foo 22 07:42:29 2026": None, "yesterday": None, "Sun Nov 22 2026": None,
        }.items():  # fmt: skip
            self.assertEqual(parse.moment(text), seconds, text)
        self.assertIsNone(parse.moment(None))
        months = [parse.moment(f"Sun {name} 15 00:00:00 2026") for name in ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]]
        self.assertEqual(months, [float(calendar.timegm((2026, month, 15, 0, 0, 0))) for month in range(1, 13)])

    def test_numbers(self) -> None:
        """Whole ones, with their sign."""
        for text, value in {"5": 5, "-29": -29, "0": 0, "": None, "x": None, "1.5": None, "+5": None, None: None}.items():
            self.assertEqual(parse.number(text), value, text)
