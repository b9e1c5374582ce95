"""What a client of the suite of faults notes of what it is told."""

from __future__ import annotations

import json
import random
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.faults.clients import Client, Stream
from tests.faults.history import History
from tests.faults.world import Json, Window, World


class StreamTests(SynchronousTestCase):
    """`Stream`."""

    def setUp(self) -> None:
        self.world = World(0)
        history = History(Path(self.mktemp()), random.Random(1))
        self.stream = Stream("stream", self.world, history, random.Random(1))
        self.stream.begin_at("e-1")

    def tell(self, seq: int, cursor: str | None = None) -> None:
        """It is told an event."""
        event: Json = {"seq": seq, "cursor": f"e-{seq}", "at": "2026-11-22T06:29:21.104Z"}
        self.stream.began = float("inf")  # it did not wait for it
        self.stream.told("job", cursor or f"e-{seq}", json.dumps(event))

    def test_read_late(self) -> None:
        """What is read when the journal was replaced already was told by the journal before; then the cursor may be lost."""
        self.world.branch = 1
        self.tell(2)
        self.stream.branch = 1
        self.stream.told("reset", "f-1", "{}")
        self.assertEqual([(each.end, each.branch) for each in self.world.stretches], [("e-2", 0), ("f-1", 1)])
        self.assertEqual(self.world.violations, {})

    def test_a_proxy_has_asked_again(self) -> None:
        """A restart makes a proxy ask again; its patience begins anew, and so may be over when the client's time is."""
        client = Client("poll by a proxy", self.world, History(Path(self.mktemp()), random.Random(1)), random.Random(1))
        client.cuts_s = 30
        self.world.down.append(Window(8.0, 9.0))
        self.assertTrue(client.proxy_said(504, 0.0, 39.0, 34.0))
        self.assertFalse(client.proxy_said(504, 10.0, 49.0, 34.0))
        self.assertFalse(client.proxy_said(504, 0.0, 20.0, 34.0))

    def test_lost(self) -> None:
        """A cursor of this very journal may not be."""
        self.stream.told("reset", "f-1", "{}")
        self.assertEqual(self.world.violations, {"cursor lost": 1})

    def test_twice(self) -> None:
        """On one stream nothing comes twice, and no cursor goes back."""
        self.tell(2)
        self.tell(2)
        self.assertEqual(self.world.violations, {"twice or out of order": 1})
        self.stream.told("bookmark", "e-1", "{}")
        self.assertEqual(self.world.violations["cursor"], 1)
