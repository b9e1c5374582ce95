"""What is answered, told and stored stays the same byte for byte, and a journal that jobpush 0.1.0 wrote opens."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.recorded import history
from tests.support import Lab

HERE = Path(history.__file__).parent

#: The first entry of the second service.
SECOND = "started again"


def recorded() -> list[Any]:
    """What jobpush 0.1.0 answered."""
    with gzip.open(HERE / "answers.json.gz") as file:
        entries: list[Any] = json.load(file)
    for entry in entries:
        if entry["what"].startswith("stream "):
            entry["body"] = entry["body"].replace(history.ALIVE, "")
    return entries


class RecordedCase(SynchronousTestCase):
    """Compares with what was recorded."""

    def assertSame(self, found: list[Any], expected: list[Any]) -> None:
        """The first entry that differs is named."""
        for number, (one, other) in enumerate(zip(found, expected, strict=False)):
            self.assertEqual(one, other, f"entry {number}: {one['what']}")
        self.assertEqual(len(found), len(expected))


class BytesTests(RecordedCase):
    """The scripted history, run anew."""

    def test_first_service(self) -> None:
        """Answers, streams, what listeners are told and the journal's rows are as they were recorded."""
        found, _ = history.begin(os.path.abspath(self.mktemp()))
        expected = recorded()
        self.assertSame(found, expected[: [entry["what"] for entry in expected].index(SECOND)])


class OldJournalTests(RecordedCase):
    """A journal that jobpush 0.1.0 wrote."""

    def setUp(self) -> None:
        self.directory = os.path.abspath(self.mktemp())
        os.makedirs(self.directory)
        shutil.copy(HERE / "journal.sqlite", self.directory)
        self.expected = recorded()
        self.second = [entry["what"] for entry in self.expected].index(SECOND)

    def test_goes_on(self) -> None:
        """A service that is started on it answers, tells and stores what 0.1.0 did, old events, cursors and ETags included."""
        _, listed = history.begin(os.path.abspath(self.mktemp()))
        self.assertSame(history.again(self.directory, listed), self.expected[self.second :])

    def test_old_cursors(self) -> None:
        """The cursor of each event of 0.1.0 is valid: what follows it is read back, byte for byte."""
        with closing(sqlite3.connect(HERE / "journal.sqlite")) as db:
            bodies = [row[5].decode() for row in db.execute("SELECT * FROM event ORDER BY seq")]
        lab = Lab(self.directory).start()
        self.addCleanup(lab.stop)
        for seq in (0, 1, len(bodies) // 2, len(bodies) - 1):
            answer = lab.get(f"/v1/changes?since={history.EPOCH}-{seq}&wait=0&limit=10000").body().decode()
            listed = answer.partition('"events":[')[2]
            self.assertTrue(listed.startswith(",".join(bodies[seq:])), seq)

    def test_upgrade(self) -> None:
        """It is upgraded; the file as it was is kept beside it, for 0.1.0."""
        lab = Lab(self.directory).start()
        lab.stop()
        with closing(sqlite3.connect(os.path.join(self.directory, "journal.v2.sqlite"))) as db:
            self.assertEqual(db.execute("PRAGMA user_version").fetchone(), (2,))

    def test_users(self) -> None:
        """Events of which 0.1.0 did not write down whose they are are found by their user all the same, with those of today."""
        lab = Lab(self.directory).start()
        self.addCleanup(lab.stop)
        lab.set("77", "RUNNING", user="kim")
        with closing(sqlite3.connect(HERE / "journal.sqlite")) as db:
            bodies = [json.loads(row[0]) for row in db.execute("SELECT body FROM event ORDER BY seq")]
        for tail in (10_000, 4):
            lab.keep_in_memory(tail)
            for user in {body["job"]["user"] for body in bodies if body["type"] == "job"} - {None}:
                found = lab.get(f"/v1/changes?since={history.EPOCH}-0&wait=0&limit=10000&user={user}").json()["events"]
                old = [body["seq"] for body in bodies if body["type"] == "job" and body["job"]["user"] == user]
                new = [event["seq"] for event in found if event["type"] == "job"]
                self.assertEqual(new[: len(old)], old, user)
                self.assertEqual({event["job"]["user"] for event in found if event["type"] == "job"}, {user})
                self.assertEqual("77" in {event["job"]["id"] for event in found if event["type"] == "job"}, user == "kim")
