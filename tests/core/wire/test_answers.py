"""What answers and streams are made of."""

from __future__ import annotations

import json

from twisted.trial.unittest import SynchronousTestCase

from jobpush.core import wire
from jobpush.core.record import Change
from tests.core.wire.samples import BARE, EPOCHS, FULL, HISTORY


class AnswerTests(SynchronousTestCase):
    """Server-sent events, envelopes, histories."""

    def test_streams(self) -> None:
        """A server-sent event has its cursor, its kind and its bytes on one line; what is no event has no cursor."""
        event = wire.number("e", 5, Change(FULL, None, 9.5))
        self.assertEqual(wire.sse_event(EPOCHS, event), b"id: e-5\nevent: job\ndata: " + event.data + b"\n\n")
        self.assertNotIn(b"\n", event.data)
        self.assertEqual(wire.sse("bookmark", b"{}"), b"event: bookmark\ndata: {}\n\n")
        self.assertEqual(wire.sse("bookmark", b"{}", "e-7"), b"id: e-7\nevent: bookmark\ndata: {}\n\n")

    def test_envelopes(self) -> None:
        """Events are put in as the bytes that they are."""
        events = [wire.number("e", n, Change(BARE, None, 9.5)) for n in (1, 2)]
        self.assertEqual(wire.envelope({"a": 1}), b'{"a":1}')
        self.assertEqual(wire.envelope({"a": 1}, []), b'{"a":1,"events":[]}')
        self.assertEqual(wire.envelope({}, events), b'{"events":[' + events[0].data + b"," + events[1].data + b"]}")
        shown = wire.joined(wire.shown_bytes(EPOCHS, FULL, HISTORY), wire.envelope({"cursor": "e-5"}, events))
        self.assertEqual(json.loads(shown), {
            "job": json.loads(wire.job_bytes(FULL)), "history": wire.history_fields(EPOCHS, HISTORY), "cursor": "e-5", "events": [json.loads(e.data) for e in events],
        })  # fmt: skip
        self.assertEqual(wire.history_fields(EPOCHS, HISTORY), [
            {"cursor": "e-3", "at": "1970-01-01T00:00:01.500Z", "state": "QUEUED", "attempt": 0, "confidence": "observed"},
            {"cursor": "e-4", "at": "1970-01-01T00:00:02.500Z", "state": "RUNNING", "attempt": 1, "confidence": "inferred"},
        ])  # fmt: skip
