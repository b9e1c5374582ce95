"""PBS's accounting log."""

from __future__ import annotations

import os
import time
from pathlib import Path

import attrs
from twisted.trial.unittest import SynchronousTestCase

from jobpush.core.model import Confidence, JobDescriptor, Outcome, Phase
from jobpush.core.tasks import TaskSet
from jobpush_adapters.pbs import accounting as pbs_accounting
from tests.adapters.pbs.captures import CAPTURES
from tests.support import NOW


class LogTests(SynchronousTestCase):
    """The accounting log of a server without history."""

    def setUp(self) -> None:
        self.directory = Path(self.mktemp())
        self.directory.mkdir()

    def test_recorded(self) -> None:
        """Ends and deletions, of the submission that is meant."""
        directory = self.directory
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

    def write(self, day: str, *lines: str) -> None:
        (self.directory / day).write_bytes("".join(f"{line}\n" for line in lines).encode("utf-8", "surrogateescape"))

    def find(self, *ids: str, since: float = NOW, now: float = NOW) -> dict[str, pbs_accounting.LoggedEnd]:
        return pbs_accounting.find(str(self.directory), set(ids), since, now)

    def test_days(self) -> None:
        """From the day before the time that is asked for to the day after now, at most four hundred back; other files are passed over."""
        end = "11/22/2026 06:00:00;E;1;user={0}"
        for day in ("20261119", "20261120", "20261121", "20261122", "20261123", "20261124", "x", "20261122.old"):
            self.write(day, end.format(day), f"11/22/2026 06:00:00;E;{day};x=1")
        every = [path.name for path in self.directory.iterdir()]
        self.assertEqual(sorted(self.find(*every)), ["20261121", "20261122", "20261123"])
        self.assertEqual(sorted(self.find(*every, since=NOW - 86400)), ["20261120", "20261121", "20261122", "20261123"])
        found = self.find("1", since=NOW - 86400)["1"]
        self.assertEqual(found, pbs_accounting.LoggedEnd({"user": "20261123"}), "the last counts")
        first, before = (time.strftime("%Y%m%d", time.gmtime(NOW - days * 86400)) for days in (401, 402))
        for day in (first, before):
            self.write(day, f"10/17/2025 06:00:00;E;{day};x=1")
        self.assertEqual(sorted(self.find(first, before, since=0.0)), [first])

    def test_lines(self) -> None:
        """Ends and deletions of the jobs that are asked about, whatever else there is."""
        self.write(
            "20261122",
            "11/22/2026 06:00:00;S;1;user=kim",
            "11/22/2026 06:00:00;D;2;requestor=kim",
            "11/22/2026 06:00:00;E;3;account=a b Exit_status=9 odd user=kim\udcff Exit_status=1",
            "11/22/2026 06:00:00;D;3;requestor=kim",
            "11/22/2026 06:00:00;E;4;user=kim",
            "11/22/2026 06:00:00;E;5;text=a;b",
            "",
            "x",
        )
        fields = {"account": "a", "b": "", "Exit_status": "1", "odd": "", "user": "kim\ufffd"}
        self.assertEqual(self.find("1", "2", "3", "5", "9"), {
            "2": pbs_accounting.LoggedEnd(None, True), "3": pbs_accounting.LoggedEnd(fields, True), "5": pbs_accounting.LoggedEnd({"text": "a;b"}, False),
        })  # fmt: skip

    def test_every_field(self) -> None:
        """What a record makes of the job as it was last seen, whole."""
        seen = JobDescriptor("pbs", "1.s", Phase.RUNNING, name="n", submitted_at=100.9, started_at=150.0, nodes="n0", flags=("x",), reason="r",
                             pending_tasks=TaskSet.of([1]), native={"state": "R"})  # fmt: skip
        fields = {"ctime": "100", "start": "200", "end": "300", "exec_host": "n1/0+n2/1*4", "Exit_status": "271"}
        job = pbs_accounting.ended(seen, pbs_accounting.LoggedEnd(fields), 400.0)
        assert job is not None
        expected = attrs.evolve(
            seen, phase=Phase.DONE, outcome=Outcome.FAILED, settled=True, signal=15, native={"exit_status": "271"}, started_at=200.0, ended_at=300.0,
            nodes="n1,n2", flags=(), reason=None, confidence=Confidence.ACCOUNTING, pending_tasks=None, observed_at=400.0, source="accounting",
        )  # fmt: skip
        self.assertEqual(attrs.asdict(job), attrs.asdict(expected))
        deleted = pbs_accounting.ended(seen, pbs_accounting.LoggedEnd(None, True), 400.0)
        assert deleted is not None
        self.assertEqual(attrs.asdict(deleted), attrs.asdict(attrs.evolve(
            expected, outcome=Outcome.CANCELLED, signal=None, native={"record": "D"}, started_at=150.0, ended_at=None, nodes="n0",
        )))  # fmt: skip

    def test_what_it_does_not_say(self) -> None:
        """An entry of another submission, or one without a status that is no deletion; one that does not say of which may be of this one."""
        job = JobDescriptor("pbs", "1.s", Phase.RUNNING, submitted_at=100.0)
        for seen, fields, deleted, expected in [
            (job, {"ctime": "101", "Exit_status": "0"}, False, None), (job, {"ctime": "101", "Exit_status": "0"}, True, None),
            (job, {"Exit_status": "0"}, False, Outcome.COMPLETED), (attrs.evolve(job, submitted_at=None), {"ctime": "101", "Exit_status": "0"}, False, Outcome.COMPLETED),
            (job, {"ctime": "100"}, False, None), (job, {"ctime": "100", "Exit_status": "x"}, False, None), (job, {}, True, Outcome.CANCELLED),
            (job, {"Exit_status": "-3"}, True, Outcome.CANCELLED), (job, {"Exit_status": "-3"}, False, Outcome.LAUNCH_FAIL), (job, None, False, None),
            (attrs.evolve(job, user="kim"), {"user": "kim", "Exit_status": "0"}, False, Outcome.COMPLETED),
            (attrs.evolve(job, user="kim"), {"user": "robin", "Exit_status": "0"}, False, None),
        ]:  # fmt: skip
            found = pbs_accounting.ended(seen, pbs_accounting.LoggedEnd(fields, deleted), NOW)
            self.assertEqual(found and found.outcome, expected, fields)
            if deleted and found:
                self.assertEqual((found.reason, found.reason_code), (None, None))

    def test_readable(self) -> None:
        """Its newest file may be read; one may come."""
        self.assertTrue(pbs_accounting.readable(str(self.directory)))
        for day in ("20261121", "20261122", "x"):
            self.write(day)
        unreadable = [str(self.directory / "20261121"), str(self.directory / "x")]
        self.patch(os, "access", lambda path, mode: path not in unreadable and mode == os.R_OK)
        self.assertTrue(pbs_accounting.readable(str(self.directory)))
        unreadable.append(str(self.directory / "20261122"))
        self.assertFalse(pbs_accounting.readable(str(self.directory)))
