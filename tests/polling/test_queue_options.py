"""The options of a queue that are not its adapter's."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from jobpush.adapter.interfaces import BadQueueOption
from jobpush.core.model import JobDescriptor, split_state
from jobpush.polling.queue_options import PollingOptions, take_common_options
from jobpush.polling.schedule import ScheduleOptions


class OptionTests(SynchronousTestCase):
    """`take_common_options`."""

    def test_tag(self) -> None:
        """Where the tag stands, per queue; errors name the option."""
        job = JobDescriptor(cluster="c", id="1", phase=split_state("QUEUED")[0], user="kim", name="align.step1", account="proj7", comment="workflow=x")
        found = {}
        for options in ({}, {"workflow": "name"}, {"workflow": "account"}, {"workflow": "comment", "workflow_pattern": "(x)$"}):
            tag = take_common_options(options)[0].tag
            assert tag is not None
            found[str(options)] = tag.workflow_of(job)
        self.assertEqual(list(found.values()), ["x@kim", "align@kim", "proj7@kim", "x@kim"])
        self.assertIsNone(take_common_options({"workflow": "no"})[0].tag)
        for bad in ({"workflow": "user"}, {"workflow_pattern": "("}, {"workflow_pattern": "x"}):
            error = self.assertRaises(BadQueueOption, take_common_options, bad)
            self.assertIn(next(iter(bad)), str(error))

    def test_schedule(self) -> None:
        """How often it is asked, and what is left for the adapter."""
        taken, rest = take_common_options({"floor": "0.5", "conf": "/x", "reconcile": 30, "timeout": 3})
        self.assertEqual((taken.schedule, rest), (ScheduleOptions(floor=0.5, reconcile=30.0), {"conf": "/x", "timeout": 3}))
        taken, rest = take_common_options({})
        self.assertEqual((taken.schedule, rest), (ScheduleOptions(), {}))
        self.assertEqual((taken.tag, PollingOptions().tag), (PollingOptions().tag, taken.tag))
        self.assertEqual(take_common_options({"floor": 0.01, "reconcile": 0.1})[0].schedule, ScheduleOptions(floor=0.01, reconcile=0.1))

    def test_bad(self) -> None:
        """Named, with what was expected."""
        for options, told in [
            ({"floor": 0.009}, "floor=0.009: expected seconds, from 0.01 to 86400"), ({"reconcile": "0.09"}, "reconcile='0.09': expected seconds, from 0.1 to 86400"),
            ({"workflow": "user"}, "workflow='user': expected comment, name, account or no"), ({"workflow": ""}, "workflow='': expected comment, name, account or no"),
            ({"workflow_pattern": "x"}, "workflow_pattern='x': expected a regular expression with a group (\u2026) around the name"),
            ({"workflow_pattern": "("}, "workflow_pattern='(': expected a regular expression with a group (\u2026) around the name (missing ), unterminated subpattern at position 0)"),
        ]:  # fmt: skip
            with self.assertRaises(BadQueueOption) as caught:
                take_common_options(options)
            self.assertEqual(str(caught.exception), told)
