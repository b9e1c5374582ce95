"""What Grid Engine's qstat prints."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from jobpush.adapter.command import CommandResult
from jobpush.adapter.interfaces import QueueError
from jobpush_adapters.sge import xml
from tests.adapters.sge.captures import CAPTURES, capture


class RowTests(SynchronousTestCase):
    """``qstat -xml``."""

    def test_running(self) -> None:
        """A job that runs, and where."""
        (raw,) = xml.split_rows(capture("01-running.qstat-u-xml.xml"))
        row = xml.parse_row(raw)
        self.assertEqual((row.number, row.letters, row.name, row.user, row.queue), ("1", "r", "ok", "jpalice", "all.q@vm"))
        self.assertEqual((row.time, row.waits, row.tasks), (1795333485.0, False, None))

    def test_array(self) -> None:
        """Tasks that run have a row each; those that wait share one for each state."""
        rows = [xml.parse_row(raw) for raw in xml.split_rows(capture("35-array-task9-deleted-task7-held.qstat-u-xml.xml"))]
        self.assertEqual([(row.letters, str(row.tasks), row.waits) for row in rows],
                         [("r", "1", False), ("r", "3", False), ("qw", "5", True), ("hqw", "7", True)])  # fmt: skip
        (big,) = xml.split_rows(capture("38-array-big-with-hole.qstat-u-xml.xml"))
        tasks = xml.parse_row(big).tasks
        assert tasks is not None
        self.assertTrue(97 in tasks and 1003 in tasks and 100 not in tasks)

    def test_names(self) -> None:
        """Names with what XML escapes, and with what Grid Engine escapes in its own way."""
        names = [xml.parse_row(raw).name for raw in xml.split_rows(capture("50-names.qstat-u-xml.xml"))]
        self.assertEqual(names[:2], ["a|b|c", "a,b;c"])
        self.assertEqual(len(names[2]), 511)
        self.assertEqual(xml.plain(b"a%lt;b&amp;c&quot;d&gt;&#39;&#xe9;"), "a<b&c\"d>'é")

    def test_priority_is_no_change(self) -> None:
        """A row whose priority alone changed is the same row."""
        before = capture("01-running.qstat-u-xml.xml")
        after = CommandResult(0, before.stdout.replace(b"0.50000", b"0.61234"), b"")
        self.assertEqual(xml.split_rows(before), xml.split_rows(after))

    def test_what_is_no_answer(self) -> None:
        """A failed query is told from an empty one, whatever the exit status says."""
        good = (CAPTURES / "01-running.qstat-u-xml.xml").read_bytes()
        error = (
            b"<?xml version='1.0'?>\n<comunication_error >\n    <AN_status>11</AN_status>\n    <AN_text>unable to send message to qmaster "
            b"using port 26444 on host &quot;vm&quot;: got send error</AN_text>\n    <AN_quality>1</AN_quality>\n</comunication_error>"
        )
        for status, stdout, stderr, told in [
            (0, b"", b"", "printed nothing"), (0, good[:-12], b"", "cut off"), (0, good[: len(good) // 2], b"", "cut off"),
            (0, error, b"", "unable to send message"), (0, b"<html><body>Bad Gateway</body></html>", b"", "none of Grid Engine's"),
            (1, b"denied: host \"x\" is neither submit nor admin host\n", b"", "neither submit nor admin host"),
            (1, b"", b"error: commlib error: got select error (Connection refused)\n", "Connection refused"),
            (0, b"\xff\xfe\x00garbage", b"", "none of Grid Engine's"),
        ]:  # fmt: skip
            with self.assertRaises(QueueError) as caught:
                xml.split_rows(CommandResult(status, stdout, stderr))
            self.assertIn(told, str(caught.exception))
            self.assertNotIn("\n", str(caught.exception))

    def test_rows_that_make_no_sense(self) -> None:
        """Without a number, without a state, with odd tasks."""
        good = xml.split_rows(capture("35-array-task9-deleted-task7-held.qstat-u-xml.xml"))[0]
        for bad in (good.replace(b"25", b"x", 1), good.replace(b"<state>r", b"<state>"), good.replace(b"<tasks>1", b"<tasks>9-1"), b"", b"\xff"):
            self.assertRaises(ValueError, xml.parse_row, bad)
        future = xml.parse_row(good.replace(b"</state>", b"</state><JB_quantum_spin>up</JB_quantum_spin>"))
        self.assertEqual(future.letters, "r")

    @given(st.binary(max_size=400))
    def test_arbitrary_bytes(self, data: bytes) -> None:
        """Parsed, refused as a row, or refused as an answer: nothing else."""
        head = b"<?xml version='1.0'?>\n<job_info >"
        for stdout in (data, head + data + b"</job_info>"):
            try:
                rows = xml.split_rows(CommandResult(0, stdout, b""))
            except QueueError:
                continue
            for row in rows:
                try:
                    xml.parse_row(row)
                except ValueError:
                    pass


class DetailTests(SynchronousTestCase):
    """``qstat -j -xml``."""

    def test_dependency(self) -> None:
        """What a job waits for, and since when it is there."""
        details = xml.parse_details(capture("11-hqw-hold_jid.qstat-j-xml.xml"))["10"]
        self.assertEqual((details.depends, details.submitted_at, details.account), (True, 1795333506.0, "sge"))
        self.assertFalse(xml.parse_details(capture("10-hqw-operator-hold.qstat-j-xml.xml"))["8"].depends)

    def test_error(self) -> None:
        """Why a job is in the error state, without the date in front."""
        details = xml.parse_details(capture("18-Eqw-exit100.qstat-j-xml.xml"))["15"]
        self.assertEqual(dict(details.errors), {1: "exit_status of job start = 100"})

    def test_context_and_begin(self) -> None:
        """``-ac comment=`` is the comment; ``-a`` the time before which it does not start."""
        self.assertEqual(xml.parse_details(capture("42-context-and-args.qstat-j-xml.xml"))["29"].comment, "hello")
        begin = xml.parse_details(capture("12-qw-start-time-in-future.qstat-j-xml.xml"))["11"].begin_at
        self.assertGreater(begin or 0, 1795333517)

    def test_unknown_and_ill_formed(self) -> None:
        """Unknown jobs are not there; markup that is none does not matter; an error is an error."""
        self.assertEqual(xml.parse_details(capture("02-ended-ok.qstat-j-xml.xml")), {})
        good = (CAPTURES / "10-hqw-operator-hold.qstat-j-xml.xml").read_bytes()
        odd = good.replace(b"<SME_message_list>", b"<SME_message_list><job ids>8</job ids>")
        self.assertIn("8", xml.parse_details(CommandResult(0, odd, b"")))
        self.assertRaises(QueueError, xml.parse_details, CommandResult(0, good[:-30], b""))

    def test_every_capture(self) -> None:
        """Every recorded answer is understood."""
        for path in sorted(CAPTURES.glob("*.qstat-j-xml.xml")):
            for details in xml.parse_details(CommandResult(0, path.read_bytes(), b"")).values():
                self.assertGreater(details.submitted_at or 0, 1795333000, path.name)
        for path in sorted(CAPTURES.glob("*.qstat-u-xml.xml")):
            self.assertTrue(all(xml.parse_row(row).user for row in xml.split_rows(CommandResult(0, path.read_bytes(), b""))), path.name)
