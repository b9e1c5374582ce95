"""Texts and times as JSON."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from jobpush.core import wire


class TimeTests(SynchronousTestCase):
    """RFC 3339 in UTC."""

    def test_times(self) -> None:
        """Milliseconds, rounded; zones are reckoned in; a text without one is none."""
        for seconds, text in [
            (1795328961.104, "2026-11-22T06:29:21.104Z"), (0.0, "1970-01-01T00:00:00.000Z"), (0.0004, "1970-01-01T00:00:00.000Z"),
            (0.9996, "1970-01-01T00:00:01.000Z"),
        ]:  # fmt: skip
            self.assertEqual(wire.to_time(seconds), text)
        self.assertIsNone(wire.to_time(None))
        for text in ("2026-11-22T06:29:21.104Z", "2026-11-22T06:29:21.104z", "2026-11-22T07:29:21.104+01:00", "2026-11-21T22:29:21.104-08:00"):
            self.assertEqual(wire.from_time(text), 1795328961.104)
        for bad in ("2026-11-22T06:29:21", "yesterday", "", "2026-13-01T00:00:00Z"):
            self.assertRaises(ValueError, wire.from_time, bad)

    @given(st.integers(0, 4_000_000_000_000))
    def test_round_trip(self, millis: int) -> None:
        """A time reads back as itself."""
        text = wire.to_time(millis / 1000)
        assert text is not None
        self.assertEqual(wire.from_time(text), millis / 1000)


class TextTests(SynchronousTestCase):
    """Texts."""

    def test_bytes_that_are_no_text(self) -> None:
        """What a scheduler says that is not UTF-8 is replaced, and what is text stays."""
        self.assertEqual(wire.dumps({"a": "x\udcff🚀"}).decode(), '{"a":"x\ufffd🚀"}')
