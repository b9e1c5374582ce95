"""What is kept of requests without channels: the same for those that are alike, and for a bounded number of them."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from jobpush.web.held import summary
from jobpush.web.held.fast_path import LONGEST, target_in
from jobpush.web.held.summary import LONGEST_SHARED, MOST_BLOCKS, HeaderBlock, Summaries
from jobpush.web.principal import ANONYMOUS, Principal


class SummariesTests(SynchronousTestCase):
    """`Summaries`."""

    def setUp(self) -> None:
        self.summaries = Summaries()
        self.site: Any = object()

    def block(self, raw: bytes = b"Host: x\r\n\r\n", words: str = '"" ""', principal: Principal = ANONYMOUS, site: Any = None) -> HeaderBlock:
        """The block of such a request."""
        return self.summaries.block(raw, words, principal, site or self.site)

    def test_alike(self) -> None:
        """Requests whose headers, principal and site are the same share one header block, and of one request one summary."""
        block = self.block()
        self.assertIs(self.block(), block)
        line = "GET / HTTP/1.1"
        self.assertIs(self.summaries.summary(line, "10.0.0.1", block), self.summaries.summary(line, "10.0.0.1", block))

    def test_not_alike(self) -> None:
        """Anything else that is different makes another one."""
        other: Any = object()
        blocks = [
            self.block(), self.block(raw=b"Host: y\r\n\r\n"), self.block(words='"" "curl"'), self.block(principal=Principal("kim")),
            self.block(principal=Principal("kim", expires_at=5.0)), self.block(site=other),
        ]  # fmt: skip
        self.assertEqual(len({id(block) for block in blocks}), len(blocks))
        summaries = [
            self.summaries.summary("GET /a HTTP/1.1", "10.0.0.1", blocks[0]), self.summaries.summary("GET /b HTTP/1.1", "10.0.0.1", blocks[0]),
            self.summaries.summary("GET /a HTTP/1.1", "10.0.0.2", blocks[0]), self.summaries.summary("GET /a HTTP/1.1", "10.0.0.1", blocks[1]),
        ]  # fmt: skip
        self.assertEqual(len({id(each) for each in summaries}), len(summaries))
        self.assertEqual((summaries[1].line, summaries[2].address, summaries[3].block), ("GET /b HTTP/1.1", "10.0.0.2", blocks[1]))

    def test_what_it_says(self) -> None:
        """A block has what was given."""
        block = self.block(words='"" "curl"', principal=Principal("kim"))
        self.assertEqual((block.raw, block.words, block.principal.name, block.site), (b"Host: x\r\n\r\n", '"" "curl"', "kim", self.site))

    def test_usable(self) -> None:
        """A block stands for the next request's headers if its own bytes were kept, and until blocks are forgotten."""
        block, without = self.block(), self.block(raw=b"")
        self.assertEqual((self.summaries.usable(block, 0.0), self.summaries.usable(without, 0.0)), (True, False))
        self.summaries.forget_header_blocks()
        self.assertFalse(self.summaries.usable(block, 0.0))
        again = self.block()
        self.assertIsNot(again, block)
        self.assertTrue(self.summaries.usable(again, 0.0))

    def test_bounded(self) -> None:
        """Of many different ones a bounded number is kept; the block that a connection has stays usable all the same."""
        self.patch(summary, "MOST_BLOCKS", 10)
        self.summaries = Summaries()
        first = self.block()
        for number in range(9):
            self.block(raw=b"%d" % number)
        self.assertIs(self.block(), first)
        self.block(raw=b"one more")
        self.assertIsNot(self.block(), first)
        self.assertTrue(self.summaries.usable(first, 0.0))

    def test_moments(self) -> None:
        """Requests within a millisecond have one time, which is at most a millisecond early and never late."""
        first = self.summaries.moment(100.0)
        self.assertIs(self.summaries.moment(100.0009), first)
        self.assertEqual([self.summaries.moment(at) for at in (100.0011, 100.5, 100.4, 7.0)], [100.0011, 100.5, 100.4, 7.0])


class BoundsTests(SynchronousTestCase):
    """What clients send is kept in a bounded amount."""

    def setUp(self) -> None:
        self.summaries = Summaries()
        self.site: Any = object()

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
