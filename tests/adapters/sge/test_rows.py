"""Rows are read once, as long as their bytes stay the same."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from jobpush_adapters.sge.rows import QstatRows


def row(number: str, state: str = "r") -> bytes:
    """One row."""
    return f"{number}</JB_job_number><state>{state}</state>".encode()


class ReaderTests(SynchronousTestCase):
    """`QstatRows`."""

    def read(self, rows: list[bytes], before: QstatRows | None = None) -> QstatRows:
        reader = QstatRows(before.cache if before is not None else {})
        for _ in reader.read(rows):
            pass
        return reader

    def test_known_rows(self) -> None:
        """Are the same objects, and not new; what was there last time and is not now is forgotten."""
        first = self.read([row("1"), row("2"), row("x")])
        second = self.read([row("2"), row("x"), row("3")], first)
        self.assertEqual([entry.row.number for entry in first.new], ["1", "2"])
        self.assertEqual([entry.row.number for entry in second.entries], ["2", "3"])
        self.assertIs(second.entries[0], first.entries[1])
        self.assertEqual([entry.row.number for entry in second.new], ["3"])
        self.assertEqual(list(second.cache), [row("2"), row("x"), row("3")])
        self.assertEqual((second.entries[0].jobs, second.entries[0].place), (None, -1))

    def test_rejected(self) -> None:
        """With why, with the row's begin, each time; and with its number, if it has one."""
        first = self.read([row("7", "1"), b"x\x1b" + b"y" * 200])
        for reader in (first, self.read([row("7", "1"), b"x\x1b" + b"y" * 200], first)):
            self.assertEqual(reader.rejected, [
                "the state is none: 7</JB_job_number><state>1</state>", "the job number is none: x\\x1b" + "y" * 115 + "\u2026",
            ])  # fmt: skip
            self.assertEqual((reader.numbers, reader.entries, reader.new), ({"7"}, [], []))
        self.assertIn("\ufffd", self.read([b"\xff"]).rejected[0])

    def test_pauses(self) -> None:
        """After each 256 rows."""
        for count, pauses in ((255, 0), (256, 1), (511, 1), (512, 2)):
            self.assertEqual(len(list(QstatRows({}).read([row(str(number)) for number in range(1, count + 1)]))), pauses)
