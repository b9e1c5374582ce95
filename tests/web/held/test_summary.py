"""What is remembered of requests: shared where they are alike, and bounded whatever clients send."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from jobpush.web.held.fast_path import LONGEST, target_in
from jobpush.web.held.summary import LONGEST_SHARED, MOST_BLOCKS, Summaries
from jobpush.web.principal import ANONYMOUS, Principal


class SummariesTests(SynchronousTestCase):
    """`Summaries`."""

    def setUp(self) -> None:
        self.summaries = Summaries()
        self.site: Any = object()

    def test_shared(self) -> None:
        """Requests that are alike have one summary and one block; another principal has another block."""
        block = self.summaries.block(b"raw", "words", ANONYMOUS, self.site)
        self.assertIs(self.summaries.block(b"raw", "words", ANONYMOUS, self.site), block)
        self.assertIsNot(self.summaries.block(b"raw", "words", Principal("kim"), self.site), block)
        self.assertIs(self.summaries.summary("GET /", "-", block), self.summaries.summary("GET /", "-", block))

    def test_long_ones_are_not_kept(self) -> None:
        """What a client says at length is kept for its own connection only."""
        long = "x" * (LONGEST_SHARED + 1)
        block = self.summaries.block(b"", long, ANONYMOUS, self.site)
        self.assertEqual((block.words, self.summaries.summary(long, "-", block).line), (long, long))
        self.assertEqual((self.summaries._blocks._values, self.summaries._summaries._values), ({}, {}))

    def test_bounded(self) -> None:
        """So many different ones are kept."""
        for number in range(MOST_BLOCKS + 10):
            self.summaries.block(b"", str(number), ANONYMOUS, self.site)
        self.assertLessEqual(len(self.summaries._blocks._values), MOST_BLOCKS)

    def test_long_request_lines(self) -> None:
        """The fast path neither reads nor keeps a longer request line."""
        raw = b"\r\nHost: x\r\n\r\n"
        for length, taken in ((LONGEST, True), (LONGEST + 1, False)):
            line = b"GET /" + b"x" * (length - 14) + b" HTTP/1.1"
            self.assertEqual(target_in(line + raw, raw) is not None, taken, length)
