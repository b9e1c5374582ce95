"""What PBS's qstat prints."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from jobpush.adapter.command import CommandResult
from jobpush.adapter.interfaces import QueueError
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
