"""Grid Engine's accounting and reporting files, and qacct."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from jobpush_adapters.sge import accounting
from tests.adapters.sge.captures import CAPTURES


class AccountingTests(SynchronousTestCase):
    """The accounting and reporting files, and ``qacct``."""

    def records(self) -> list[accounting.Record]:
        lines = (CAPTURES / "80-accounting.txt").read_bytes().split(b"\n")
        return [record for line in lines if (record := accounting.parse_accounting(line)) is not None]

    def test_every_record(self) -> None:
        """What the recorded run ended in, by name."""
        deletions = {
            deletion.job_id
            for line in (CAPTURES / "81-reporting.txt").read_bytes().split(b"\n")
            if (deletion := accounting.parse_deletion(line)) is not None
        }
        ends: dict[str, list[str]] = {}
        for record in self.records():
            end = record.end(record.job_id in deletions)
            shown = end.outcome.value if end.outcome else "goes on"
            ends.setdefault(record.name, []).append(f"{shown} {end.exit_code if end.exit_code is not None else end.signal}")
        for name, expected in {
            "ok": ["COMPLETED 0"], "exit3": ["FAILED 3"], "sig9": ["FAILED 9"], "sig11": ["FAILED 11"], "qdelrun": ["CANCELLED 9"],
            "qdelown": ["CANCELLED 9"], "badout": ["CANCELLED None"], "badwd": ["CANCELLED None"], "ex100": ["CANCELLED None"],
            "ex99": ["goes on None", "COMPLETED 0"], "resched": ["goes on None", "COMPLETED 0"], "dr": ["CANCELLED 9"],
            "transfer": ["CANCELLED 9"], "hrt": ["TIMEOUT 9"], "srt": ["FAILED 10"], "hvmem": ["FAILED 1"], "arr": ["COMPLETED 0"] * 4,
        }.items():  # fmt: skip
            self.assertEqual(ends[name], expected, name)

    def test_tasks(self) -> None:
        """Task number 0 means that there is no array."""
        by_name = {record.name: record for record in self.records()}
        self.assertEqual(by_name["ok"].job_id, "1")
        self.assertRegex(by_name["arr"].job_id, r"\A25\.[0-9]+\Z")

    def test_pending_deletions(self) -> None:
        """A pending job that is deleted leaves a line in the reporting file alone."""
        lines = (CAPTURES / "81-reporting.txt").read_bytes().split(b"\n")
        deletions = {d.job_id: d for line in lines if (d := accounting.parse_deletion(line)) is not None}
        self.assertEqual((deletions["7"].state, deletions["5"].state, deletions["7"].user), ("", "r", "jpalice"))
        self.assertIn("25.9", deletions)
        self.assertNotIn("1", deletions, "the scheduler's own clearing up is no deletion")

    def test_qacct_says_the_same(self) -> None:
        """What ``qacct`` prints is read as the file's line is."""
        from_file = {(record.job_id, record.submitted_at, record.ended_at): record for record in self.records()}
        for path in sorted(CAPTURES.glob("*.qacct-j.txt")):
            for record in accounting.parse_qacct(path.read_bytes()):
                other = from_file.get((record.job_id, record.submitted_at, record.ended_at))
                if other is not None:
                    for name in ("name", "user", "queue", "host", "started_at", "failed", "exit_status"):
                        self.assertEqual(getattr(record, name), getattr(other, name), (path.name, name))

    @given(st.binary(max_size=300))
    def test_arbitrary_bytes(self, line: bytes) -> None:
        """A line that is none is passed over."""
        accounting.parse_accounting(line)
        accounting.parse_deletion(line)
        accounting.finished_id(line)
        list(accounting.parse_qacct(b"=" * 62 + line))
