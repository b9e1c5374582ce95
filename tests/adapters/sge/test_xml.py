"""What Grid Engine's qstat prints."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from jobpush.adapter.command import CommandResult
from jobpush.adapter.interfaces import QueueError
from jobpush.core.tasks import TaskSet
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

    def test_every_field(self) -> None:
        """A row as a whole: of one that waits, and of one that lacks all but what it must have."""
        waiting = (
            b"25</JB_job_number><JAT_prio>0.5</JAT_prio><JB_name>a&amp;b</JB_name><JB_owner>kim&lt;</JB_owner><state>hqw</state>"
            b"<JB_submission_time>2026-11-22T07:46:45</JB_submission_time><queue_name>all.q&gt;@vm</queue_name><tasks>5-9:2</tasks>"
        )
        self.assertEqual(xml.parse_row(waiting), xml.Row("25", "hqw", "a&b", "kim<", 1795333605.0, True, "all.q>@vm", TaskSet.of([5, 7, 9])))
        self.assertEqual(xml.parse_row(b"1</JB_job_number><state>r</state>"), xml.Row("1", "r", "", "", None, False, "", None))
        started = waiting.replace(b"submission_time", b"start_time").replace(b"JB_start", b"JAT_start")
        self.assertEqual((xml.parse_row(started).time, xml.parse_row(started).waits), (1795333605.0, False))
        self.assertIsNone(xml.parse_row(waiting.replace(b"07:46:45", b"25:00:00")).time)

    def test_bounds(self) -> None:
        """The longest numbers, states and task numbers that there are, and one more."""
        for number, letters, tasks in (("9999999999", "r", "1"), ("1", "abcdefABCDEF", "1"), ("1", "r", "10000001-10000003,4294967295")):
            row = xml.parse_row(f"{number}</x><state>{letters}</state><tasks>{tasks}</tasks>".encode())
            self.assertEqual((row.number, row.letters, str(row.tasks)), (number, letters, tasks))
        for bad in ("12345678901</x><state>r</state>", "0</x><state>r</state>", "01</x><state>r</state>", "1</x><state>abcdefABCDEFg</state>",
                    "1</x><state>r1</state>", "1</x><state>r</state><tasks>4294967296</tasks>", "x1</x><state>r</state>", "1 </x><state>r</state>"):  # fmt: skip
            self.assertRaises(ValueError, xml.parse_row, bad.encode())
        for raw, number in ((b"9999999999<", "9999999999"), (b"12345678901<", None), (b"0<", None), (b"12", None), (b"x1<", None), (b"1x<", None)):
            self.assertEqual(xml.number_of(raw), number)

    def test_why_a_row_is_refused(self) -> None:
        """Named, for the log."""
        for bad, why in ((b"x<", "the job number is none"), (b"1</x>", "the state is none"), (b"1</x><state>r</state><tasks>x</tasks>", "'x' is not a range")):
            with self.assertRaises(ValueError) as caught:
                xml.parse_row(bad)
            self.assertTrue(str(caught.exception).startswith(why), str(caught.exception))

    def test_a_row_alone(self) -> None:
        """The bytes of a row are its own: they stay the same when other rows come or go; one without a priority is one too."""
        first, second = (
            b"<job_list state='x'><JB_job_number>%d</JB_job_number><JAT_prio>0.5</JAT_prio><state>r</state></job_list>" % number for number in (1, 2)
        )

        def rows(*lists: bytes) -> list[bytes]:
            body = b"<?xml version='1.0'?><job_info><queue_info>" + b"".join(lists) + b"</queue_info><job_info></job_info></job_info>"
            return xml.split_rows(CommandResult(0, body, b""))

        self.assertEqual(rows(first, second), [b"1</JB_job_number><state>r</state>", b"2</JB_job_number><state>r</state>"])
        self.assertEqual(rows(second, first), list(reversed(rows(first, second))))
        self.assertEqual(rows(first.replace(b"<JAT_prio>0.5</JAT_prio>", b"")), [b"1</JB_job_number><state>r</state>"])
        self.assertEqual(rows(), [])

    def test_what_the_error_says(self) -> None:
        """What qstat complained of, wherever it said so: on standard error, on standard output, in XML of either spelling, or nowhere."""
        head = b"<?xml version='1.0'?>\n"
        for result, why in [
            (CommandResult(1, b"denied: no\nmore\n", b""), "qstat ended with status 1: denied: no"),
            (CommandResult(2, b"denied: no\n", b"error: yes\n"), "qstat ended with status 2: error: yes"),
            (CommandResult(1, b" \n", b" \n"), "qstat ended with status 1: no message"),
            (CommandResult(1, b"den\xffied", b""), "qstat ended with status 1: den\ufffdied"),
            (CommandResult(0, b" \n", b"error: yes\n"), "qstat printed nothing: error: yes"),
            (CommandResult(0, head + b"<comunication_error ><AN_text>got &lt;select&gt; error\n</AN_text></comunication_error>", b""),
             "qstat: got <select> error\\n"),
            (CommandResult(0, head + b"<communication_error><AN_text>x</AN_text></communication_error>", b""), "qstat: x"),
            (CommandResult(0, head + b"<comunication_error >", b""), "qstat: communication error"),
            (CommandResult(0, b"<job_info><job_info></job_info></job_info>", b""),
             "qstat: the answer is none of Grid Engine's: <job_info><job_info></job_info></job_info>"),
            (CommandResult(0, head + b"<html/>\xff" + b"x" * 200 + b"</job_info></job_info>", b""),
             "qstat: the answer is none of Grid Engine's: <?xml version='1.0'?>\\n<html/>\ufffd" + "x" * 50),
            (CommandResult(0, head + b"<job_info></job_info>", b""), "qstat: the answer is cut off"),
            (CommandResult(0, head + b"<job_info></job_info></job_info><!--", b""), "qstat: the answer is cut off"),
        ]:  # fmt: skip
            with self.assertRaises(QueueError) as caught:
                xml.split_rows(result)
            self.assertEqual(str(caught.exception), why)
        self.assertEqual(xml.split_rows(CommandResult(0, b"\n" + head + b"<job_info><job_info></job_info></job_info>\n", b"warning: x")), [])

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

    def test_every_field(self) -> None:
        """The details as a whole, of one job that has all of them and of one that has none, in one answer."""
        full = (
            b"<JB_job_number>4</JB_job_number><JB_submission_time>1795333600</JB_submission_time><JB_account>acct</JB_account>"
            b"<JB_project>pr&amp;j</JB_project><JB_cwd>/home/k&amp;m</JB_cwd>"
            b"<JB_hard_resource_list><qstat_l_requests><CE_name>mem</CE_name><CE_stringval>1G</CE_stringval></qstat_l_requests>"
            b"<qstat_l_requests><CE_name>h_rt</CE_name><CE_valtype>3</CE_valtype><CE_stringval>01:00:05</CE_stringval></qstat_l_requests>"
            b"</JB_hard_resource_list><JB_context><context_list><VA_variable>comment</VA_variable><VA_value>a&lt;b</VA_value></context_list>"
            b"<context_list><VA_variable>workflow</VA_variable><VA_value>w1</VA_value></context_list></JB_context>"
            b"<JB_execution_time>1795333700</JB_execution_time><JB_ja_ad_predecessor_list></JB_ja_ad_predecessor_list>"
            b"<JAT_task_number>3</JAT_task_number><QIM_message>11/22/2026 07:45:50 [1001:22157]: no &quot;x&quot;</QIM_message>"
            b"<JAT_task_number>4</JAT_task_number><JAT_task_number>12345678</JAT_task_number><QIM_message>plain</QIM_message>"
            b"<JAT_task_number>x</JAT_task_number><QIM_message>lost</QIM_message>"
        )
        found = self.details(full, b"<JB_job_number>5</JB_job_number>")
        self.assertEqual(found, {
            "4": xml.Details(1795333600.0, "pr&j", "/home/k&m", "a<b", 3605, 1795333700.0, True, {3: 'no "x"', 12345678: "plain"}),
            "5": xml.Details(None, None, None, None, None, None, False, {}),
        })  # fmt: skip

    def details(self, *jobs: bytes) -> dict[str, xml.Details]:
        """What an answer of these jobs says; the scheduler's messages, which follow, are no jobs."""
        messages = b"</djob_info><messages><JB_job_number>9</JB_job_number></messages></detailed_job_info>\n"
        return xml.parse_details(CommandResult(0, b"<?xml version='1.0'?><detailed_job_info><djob_info>" + b"".join(jobs) + messages, b""))

    def test_account_and_comment(self) -> None:
        """The project goes before the account, if there is one; a workflow is named in the comment, if there is no other comment."""
        def context(name: bytes, value: bytes) -> bytes:
            return b"<VA_variable>" + name + b"</VA_variable><VA_value>" + value + b"</VA_value>"

        for text, account, comment in [
            (b"<JB_project>NONE</JB_project><JB_account>a</JB_account>", "a", None), (b"<JB_project></JB_project><JB_account>a</JB_account>", "a", None),
            (b"<JB_project>p</JB_project><JB_account>a</JB_account>", "p", None), (b"<JB_account></JB_account>", None, None),
            (context(b"workflow", b"w1"), None, "workflow=w1"),
            (context(b"comment", b"") + context(b"workflow", b"w1"), None, "workflow=w1"), (context(b"comments", b"x"), None, None),
            (b"<VA_variable>comment</VA_variable>" + context(b"other", b"x"), None, None),
            (b"<VA_variable>comment</VA_variable>" + b" " * 4000 + b"<VA_value>x</VA_value>", None, None),
        ]:  # fmt: skip
            (found,) = self.details(b"<JB_job_number>4</JB_job_number>" + text).values()
            self.assertEqual((found.account, found.comment), (account, comment), text)

    def test_what_depends(self) -> None:
        """On jobs, or task by task."""
        for text, depends in ((b"<JB_jid_predecessor_list>", True), (b"<JB_ja_ad_predecessor_list>", True), (b"<JB_jid_request_list>", False)):
            self.assertIs(self.details(b"<JB_job_number>4</JB_job_number>" + text)["4"].depends, depends)

    def test_unknown_only_when_qstat_says_so(self) -> None:
        """A failed query is none that knows no jobs."""
        unknown = b"<?xml version='1.0'?><unknown_jobs><ST_name>1</ST_name></unknown_jobs>"
        self.assertEqual(xml.parse_details(CommandResult(0, unknown, b"")), {})
        self.assertRaises(QueueError, xml.parse_details, CommandResult(1, unknown, b""))
        self.assertRaises(QueueError, xml.parse_details, CommandResult(0, b"<?xml version='1.0'?>" + b" " * 300 + unknown, b""))

    def test_times(self) -> None:
        """Seconds or milliseconds since the epoch, and 0 for none; dates are in UTC."""
        for text, expected in (("0", None), ("", None), ("1", 1.0), ("100000000000", 100000000000.0), ("1795333600123", 1795333600.123), ("-1", None),
                               ("99999999999999", 99999999999.999), ("100000000000000", None), ("1.5", None)):  # fmt: skip
            self.assertEqual(xml.epoch(text), expected, text)
        self.assertEqual(xml.utc("1970-01-02T00:00:01"), 86401.0)
        self.assertIsNone(xml.utc(""))

    def test_entities(self) -> None:
        """By name, by number, in Grid Engine's own way; what is no character, and what is no entity."""
        for text, expected in [
            (b"&lt;&gt;&amp;&quot;&apos;", "<>&\"'"), (b"%lt;", "<"), (b"&#65;&#x41;&#x4a;&#x4A;", "AAJJ"), (b"&#1114111;&#x10FFFF;", "\U0010ffff" * 2),
            (b"&#1114112;&#x110000;", "\ufffd" * 2), (b"&#xD7FF;&#xD800;&#xDFFF;&#xE000;", "\ud7ff\ufffd\ufffd\ue000"),
            (b"&nbsp; 50% &#12345678; &#x1234567;", "&nbsp; 50% &#12345678; &#x1234567;"), (b"a\xffb", "a\ufffdb"), (b"\xc3\xa9&amp;", "\u00e9&"),
        ]:  # fmt: skip
            self.assertEqual(xml.plain(text), expected)

    def test_every_capture(self) -> None:
        """Every recorded answer is understood."""
        for path in sorted(CAPTURES.glob("*.qstat-j-xml.xml")):
            for details in xml.parse_details(CommandResult(0, path.read_bytes(), b"")).values():
                self.assertGreater(details.submitted_at or 0, 1795333000, path.name)
        for path in sorted(CAPTURES.glob("*.qstat-u-xml.xml")):
            self.assertTrue(all(xml.parse_row(row).user for row in xml.split_rows(CommandResult(0, path.read_bytes(), b""))), path.name)
