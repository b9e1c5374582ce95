"""Files that a scheduler appends lines to: what is new, and looking back from the end."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from jobpush_adapters.common import logs
from jobpush_adapters.common.logs import NOWHERE, LogFollower, Place, look_back


class LogCase(SynchronousTestCase):
    """
    :ivar path: the log.
    """

    def setUp(self) -> None:
        self.directory = Path(self.mktemp())
        self.directory.mkdir()
        self.path = self.directory / "log"

    def append(self, data: bytes, path: Path | None = None) -> None:
        with (path or self.path).open("ab") as file:
            file.write(data)

    def place(self) -> Place:
        """Return where the log ends now."""
        return (self.path.stat().st_ino, self.path.stat().st_size)


class FollowerTests(LogCase):
    """`LogFollower`."""

    def setUp(self) -> None:
        super().setUp()
        self.log = LogFollower(str(self.path))

    def test_from_the_begin(self) -> None:
        """All whole lines are read, each once; a file that does not exist has none."""
        self.assertEqual(self.log.lines(), [])
        self.append(b"one\n\ntwo\r\nth")
        self.assertEqual(self.log.lines(), [b"one", b"", b"two\r"])
        self.assertEqual(self.log.lines(), [])
        self.append(b"re")
        self.assertEqual(self.log.lines(), [])
        self.append(b"e\nfour")
        self.assertEqual(self.log.lines(), [b"three"])
        self.path.unlink()
        self.assertEqual(self.log.lines(), [])

    def test_from_the_end(self) -> None:
        """`skip` skips what is there, an incomplete line too, and returns where it ends."""
        self.assertEqual(self.log.skip(), NOWHERE)
        self.append(b"one\ntw")
        self.assertEqual(self.log.skip(), self.place())
        self.assertEqual(self.log.lines(), [])
        self.append(b"o\nthree\nfo")
        self.assertEqual(self.log.lines(), [b"o", b"three"])
        self.log.skip()
        self.append(b"ur\n")
        self.assertEqual(self.log.lines(), [b"ur"])

    def rotate(self, name: str) -> Path:
        """Rename the log."""
        old = self.path.rename(self.directory / name)
        self.addCleanup(old.touch)
        return old

    def test_rotation(self) -> None:
        """The rest of the renamed file is read before the new one, also a line that was read in two parts."""
        for suffix in ("0", "1"):
            self.append(b"one\ntw")
            self.assertEqual(self.log.lines(), [b"one"])
            old = self.rotate(f"log.{suffix}")
            self.append(b"o\nthree\n", old)
            self.append(b"four\nfi")
            self.assertEqual(self.log.lines(), [b"two", b"three", b"four"])
            self.append(b"ve\n")
            self.assertEqual(self.log.lines(), [b"five"])

    def test_rotation_out_of_sight(self) -> None:
        """If the renamed file is not found, its incomplete line is discarded."""
        self.append(b"one\ntw")
        self.log.lines()
        self.append(b"o\n", self.rotate("other"))
        self.append(b"three\n", self.directory / "log.0")
        self.append(b"four\n")
        self.assertEqual((self.log.lines(), self.log.gaps), ([b"four"], 1))

    def test_moved_under_any_name(self) -> None:
        """The renamed file is found by its inode, as long as its name has the old one in it."""
        for name in ("log.2", "log-20261126", "old.log"):
            self.append(b"one\ntw")
            self.log.lines()
            self.append(b"o\n", self.rotate(name))
            self.append(b"four\n")
            self.assertEqual((self.log.lines(), self.log.gaps), ([b"two", b"four"], 0))

    def test_before_it_was_there(self) -> None:
        """A file that appears is read from its beginning, whatever other files there are."""
        self.append(b"old\n", self.directory / "log.0")
        self.assertEqual(self.log.lines(), [])
        self.append(b"one\n")
        self.assertEqual(self.log.lines(), [b"one"])

    def test_truncation(self) -> None:
        """A shorter file is read from its beginning; an incomplete line is discarded."""
        self.append(b"one\ntwo\nth")
        self.log.lines()
        self.path.write_bytes(b"")
        self.assertEqual(self.log.lines(), [])
        self.append(b"new\n")
        self.assertEqual(self.log.lines(), [b"new"])
        self.path.write_bytes(b"x\n")
        self.assertEqual(self.log.lines(), [b"x"])

    def test_longest_line(self) -> None:
        """A line that is too long is discarded, and what follows is read as new lines."""
        self.patch(logs, "LONGEST_LINE", 5)
        self.append(b"12345")
        self.assertEqual(self.log.lines(), [])
        self.append(b"\n123456")
        self.assertEqual(self.log.lines(), [b"12345"])
        self.append(b"7\n8\n")
        self.assertEqual(self.log.lines(), [b"7", b"8"])

    def test_unreadable(self) -> None:
        """A file that cannot be read raises an error."""
        self.path.mkdir()
        self.assertRaises(OSError, self.log.lines)

    @given(st.lists(st.one_of(st.binary(max_size=6), st.just(b"\n"), st.sampled_from(["rotate", "truncate"])), max_size=30))
    def test_as_one_text(self, steps: list[bytes | str]) -> None:
        """However a log is written, read and rotated, its lines are read; truncation discards an incomplete one."""
        for path in self.directory.iterdir():
            path.unlink()
        log, text, expected = LogFollower(str(self.path)), b"", []
        found: list[bytes] = []
        for step in steps:
            if isinstance(step, bytes):
                self.append(step)
                text += step
            elif self.path.exists():
                found += log.lines()
                *lines, text = text.split(b"\n")
                expected += lines
                if step == "rotate":
                    self.path.rename(self.directory / "log.0")
                elif self.path.stat().st_size:
                    self.path.write_bytes(b"")
                    text = b""
                    found += log.lines()
        self.assertEqual(found + log.lines(), expected + text.split(b"\n")[:-1])


class LookBackTests(LogCase):
    """`look_back`."""

    def setUp(self) -> None:
        super().setUp()
        self.patch(logs, "BLOCK", 8)

    def blocks(self, *names: str, enough: Iterable[bytes] = (), upto: Place | None = None, most: int = 1000) -> list[list[bytes]]:
        paths = [str(self.directory / name) for name in names or ("log",)]
        return list(look_back(paths, lambda line: line in enough, upto, most))

    def test_blocks(self) -> None:
        """Blocks are read from the last to the first; the lines of each are whole and in order."""
        self.append(b"a1\nb2\nc3\nd4\ne5\nf6\n")
        self.assertEqual(self.blocks(), [[b"e5", b"f6"], [b"b2", b"c3", b"d4"], [b"a1"]])
        self.append(b"g7")
        self.assertEqual(self.blocks()[0], [b"f6", b"g7"], "what has no end yet too")

    def test_enough(self) -> None:
        """The block whose first line is old enough is the last."""
        self.append(b"a1\nb2\nc3\nd4\ne5\nf6\n")
        self.assertEqual(self.blocks(enough=[b"b2"]), [[b"e5", b"f6"], [b"b2", b"c3", b"d4"]])
        self.assertEqual(len(self.blocks(enough=[b"c3", b"d4", b"f6"])), 3)
        self.append(b"a\n", self.directory / "log.0")
        self.assertEqual(len(self.blocks("log", "log.0", enough=[b"a1"])), 3, "and no other file is read")

    def test_files(self) -> None:
        """Files are read one after another, without those that do not exist; an empty one has no lines."""
        for name, data in (("log", b"c\nd\n"), ("log.0", b""), ("log.1", b"a\nb\n")):
            (self.directory / name).write_bytes(data)
        self.assertEqual(self.blocks("log", "none", "log.0", "log.1"), [[b"c", b"d"], [b"a", b"b"]])
        self.assertEqual(self.blocks("none"), [])

    def test_upto(self) -> None:
        """What was written after a place is left out, and so are newer files; a file that did not exist has nothing before."""
        self.append(b"a1\nb2\n")
        place = self.place()
        self.append(b"c3\n")
        self.assertEqual(self.blocks(upto=place), [[b"a1", b"b2"]])
        self.path.rename(self.directory / "log.0")
        self.append(b"d4\n")
        self.assertEqual(self.blocks("log", "log.0", upto=place), [[b"a1", b"b2"]])
        self.assertEqual(self.blocks("log", "log.0", upto=NOWHERE), [])
        self.assertEqual(self.blocks("log", upto=place), [[b"d4"]], "its file is gone")
        self.assertEqual(self.blocks("log", "log.0", upto=self.place()), [[b"d4"], [b"b2", b"c3"], [b"a1"]])
        self.path.write_bytes(b"")
        self.assertEqual(self.blocks("log", upto=(self.path.stat().st_ino, 100)), [], "it was truncated since")

    def test_most(self) -> None:
        """Reading ends after so many bytes of all files."""
        self.append(b"a1\nb2\nc3\nd4\ne5\nf6\n")
        self.append(b"g7\nh8\n", self.directory / "log.2")
        for most, expected in ((8, 1), (9, 2), (16, 2), (17, 3), (18, 3), (19, 4), (1000, 4)):
            self.assertEqual(len(self.blocks("log", "log.2", most=most)), expected, most)
        self.assertEqual(self.blocks(most=0), [])

    def test_long_lines(self) -> None:
        """A line over several blocks is whole; of one that is too long the part that was read is discarded."""
        self.append(b"a\n" + b"x" * 30 + b"\nb\n")
        self.assertEqual([line for block in reversed(self.blocks()) for line in block], [b"a", b"x" * 30, b"b"])
        self.patch(logs, "LONGEST_LINE", 16)
        lines = [line for block in reversed(self.blocks()) for line in block]
        self.assertEqual((lines[0], lines[-1], len(lines)), (b"a", b"b", 3))
        self.assertLess(len(lines[1]), 30)

    def test_unreadable(self) -> None:
        """A file that cannot be read raises an error."""
        self.path.mkdir()
        self.assertRaises(OSError, self.blocks)

    @given(st.lists(st.binary(min_size=1, max_size=20).map(lambda line: line.replace(b"\n", b".")), max_size=30), st.integers(1, 40))
    def test_all_lines(self, lines: list[bytes], block: int) -> None:
        """All lines are read in order, whatever the size of blocks."""
        self.patch(logs, "BLOCK", block)
        self.path.write_bytes(b"".join(line + b"\n" for line in lines))
        self.assertEqual([line for each in reversed(self.blocks()) for line in each], lines)
