"""The access log: its lines, and how they are written."""

from __future__ import annotations

import errno
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from unittest import mock

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.logger import formatEvent, globalLogPublisher
from twisted.python import logfile
from twisted.trial.unittest import SynchronousTestCase

from jobpush.runtime.json_log import line as json_line
from jobpush.runtime.reload import CannotReload
from jobpush.web.access_log import BUFFER, DELAY_S, AccessLog, client_address, escaped, line_format


class LineTests(SynchronousTestCase):
    """One line."""

    def test_line(self) -> None:
        """Combined Log Format, then the seconds for which the request was held; a response without a body has no length."""
        line = line_format(200, 17, now=lambda: 1795327200.0) % ("10.0.0.1", "GET / HTTP/1.1", '"-" "curl"', 1.23456)
        self.assertEqual(line, '"10.0.0.1" - - [22/Nov/2026:06:00:00 +0000] "GET / HTTP/1.1" 200 17 "-" "curl" 1.235\n')
        self.assertIn('" 304 - ', line_format(304, 0) % ("-", "GET / HTTP/1.1", '"-" "-"', 0.0))

    @given(st.binary())
    def test_escaped(self, data: bytes) -> None:
        """Whatever bytes a client sends, they end neither the line nor the quotation."""
        text = escaped(data)
        self.assertTrue(text.isascii() and text.isprintable())
        self.assertEqual(re.sub(r"\\.", "", text).count('"'), 0)

    def test_client_address(self) -> None:
        """The same address is one object; a unix socket's client has none."""
        self.assertIs(client_address(("10.0.0." + str(9), 1)), client_address(("10.0.0." + str(9), 2)))
        self.assertEqual(client_address(("/run/socket", None)), "-")


class WritingTests(SynchronousTestCase):
    """Where lines go, and when."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.events: list[Mapping[str, Any]] = []
        globalLogPublisher.addObserver(self.observe)
        self.addCleanup(globalLogPublisher.removeObserver, self.observe)

    def observe(self, event: Mapping[str, Any]) -> None:
        if event.get("log_namespace") == "jobpush.access":
            self.events.append(event)

    def test_the_services_log(self) -> None:
        """Lines that come together are one message of the service's log, and so are they in JSON, each readable there."""
        log = AccessLog(self.clock, None)
        log.open()
        for number in range(1000):
            log.write(f"line {number}\n")
        self.assertEqual(self.events, [])
        self.clock.advance(DELAY_S)
        self.assertEqual(len(self.events), 1)
        text = json.loads(json_line(self.events[0]))["text"]
        self.assertEqual(text.splitlines(), [f"line {number}" for number in range(1000)])
        log.close()

    def test_a_file(self) -> None:
        """A file gets whole lines, at once when they are many, else a moment later, and the rest when it is closed."""
        path = os.path.abspath(self.mktemp())
        log = AccessLog(self.clock, path)
        log.open()
        log.write("first\n")
        self.assertEqual(Path(path).read_text(), "")
        log.write("x" * BUFFER + "\n")
        self.assertEqual(len(Path(path).read_text()), BUFFER + 7)
        log.write("last\n")
        log.close()
        self.assertTrue(Path(path).read_text().endswith("\nlast\n"))
        self.assertEqual((self.events, self.clock.getDelayedCalls()), ([], []))

    def test_a_new_day(self) -> None:
        """A new file each day: the lines of the day before stay in one with its date."""
        path = os.path.abspath(self.mktemp())
        log = AccessLog(self.clock, path)
        log.open()
        log.write("yesterday\n")
        log.flush()
        self.patch(logfile.DailyLogFile, "toDate", lambda self, *args: (2100, 1, 1))
        log.write("today\n")
        log.close()
        self.assertEqual(Path(path).read_text(), "today\n")
        (old,) = [each for each in Path(path).parent.iterdir() if each.name.startswith(f"{Path(path).name}.")]
        self.assertEqual(old.read_text(), "yesterday\n")

    def test_no_ordinary_file(self) -> None:
        """A link, such as ``/dev/stdout`` is, or a device is written to and stays what it is, also on a new day."""
        path = Path(os.path.abspath(self.mktemp()))
        path.symlink_to(f"{path}.target")
        log = AccessLog(self.clock, str(path))
        Path(f"{path}.target").touch()
        log.open()
        log.write("yesterday\n")
        log.flush()
        self.patch(logfile.DailyLogFile, "toDate", lambda self, *args: (2100, 1, 1))
        log.write("today\n")
        log.close()
        self.assertTrue(path.is_symlink())
        self.assertEqual(path.read_text(), "yesterday\ntoday\n")

    def test_a_full_disk(self) -> None:
        """What cannot be written is lost: nobody who writes lines hears of it, and the log says it once, until it goes again."""
        path = os.path.abspath(self.mktemp())
        os.symlink("/dev/full", path)
        log = AccessLog(self.clock, path)
        log.open()
        for _ in range(3):
            log.write("x" * BUFFER + "\n")
            log.write("y\n")
            self.clock.advance(DELAY_S)
        log.close()
        self.assertEqual(["No space left" in formatEvent(event) for event in self.events], [True])

    def test_no_descriptor_at_midnight(self) -> None:
        """Where no new file could be opened, one is as soon as that can be done."""
        path = os.path.abspath(self.mktemp())
        log = AccessLog(self.clock, path)
        log.open()
        log.write("yesterday\n")
        log.flush()
        with mock.patch.object(logfile.DailyLogFile, "toDate", return_value=(2100, 1, 1)):
            with mock.patch.object(logfile.DailyLogFile, "_openFile", side_effect=OSError(errno.EMFILE, "too many")):
                for _ in range(2):
                    log.write("lost\n")
                    log.flush()
            for _ in range(2):
                log.write("today\n")
                log.flush()
        log.close()
        self.assertEqual(Path(path).read_text(), "today\n")
        self.assertEqual(len(self.events), 1)


class ReopenTests(SynchronousTestCase):
    """`AccessLog.reopen`."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.path = Path(os.path.abspath(self.mktemp()))
        self.log = AccessLog(self.clock, str(self.path))
        self.log.open()
        self.addCleanup(self.log.close)

    def test_moved(self) -> None:
        """What was taken before is in the file that was moved away, also what was kept back; the rest is in the new one."""
        moved = self.path.with_suffix(".1")
        self.log.write("first\n")
        self.path.rename(moved)
        self.log.write("second\n")
        self.assertEqual(self.log.reopen(), f"{self.path} was opened again")
        self.log.write("third\n")
        self.log.flush()
        self.assertEqual((moved.read_text(), self.path.read_text()), ("first\nsecond\n", "third\n"))

    def test_that_cannot_be_opened(self) -> None:
        """The old file is written, and the reason is told."""
        moved = self.path.with_suffix(".1")
        self.path.rename(moved)
        self.path.mkdir()
        with self.assertRaisesRegex(CannotReload, "cannot be (written|opened): Is a directory"):
            self.log.reopen()
        self.log.write("first\n")
        self.log.flush()
        self.assertEqual(moved.read_text(), "first\n")

    def test_no_ordinary_file(self) -> None:
        """A link is opened anew where it leads now."""
        link = Path(f"{self.path}.link")
        for name in ("old", "new"):
            Path(f"{self.path}.{name}").touch()
        link.symlink_to(f"{self.path}.old")
        log = AccessLog(self.clock, str(link))
        log.open()
        self.addCleanup(log.close)
        link.unlink()
        link.symlink_to(f"{self.path}.new")
        log.reopen()
        log.write("first\n")
        log.flush()
        self.assertEqual(Path(f"{self.path}.new").read_text(), "first\n")

    def test_none(self) -> None:
        """The service's log is no file of the access log's; one that is not open yet is not opened."""
        for path in (None, str(self.path)):
            self.assertIsNone(AccessLog(self.clock, path).reopen())
