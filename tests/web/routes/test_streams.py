"""The routes on streams: from where they begin, what they refuse. How they go on is in tests/web/held/test_following.py."""

from __future__ import annotations

from typing import Any

from tests.support import Lab, LabCase
from tests.web.held.test_following import Stream


class EventsTests(LabCase):
    """``/v1/events``."""

    def make_lab(self) -> Lab:
        return Lab(max_held=2)

    def setUp(self) -> None:
        super().setUp()
        self.first = self.lab.cursor
        self.lab.set("1", "RUNNING")
        self.second = self.lab.cursor
        self.lab.set("1", "SUSPENDED")

    def states(self, query: str = "", headers: str = "") -> list[str]:
        """What a stream tells first."""
        stream = Stream(self, query, headers)
        stream.leave()
        return [state for _, state in stream.jobs]

    def test_where_it_begins(self) -> None:
        """At the header's cursor; without it at ``last_event_id``, without that at ``since``, without any at the head."""
        last = f"Last-Event-ID: {self.second}\r\n"
        self.assertEqual(self.states(), [])
        self.assertEqual(self.states("?since=0"), ["QUEUED", "RUNNING", "SUSPENDED"])
        self.assertEqual(self.states(f"?since=0&last_event_id={self.first}"), ["RUNNING", "SUSPENDED"])
        self.assertEqual(self.states(f"?since=0&last_event_id={self.first}", last), ["SUSPENDED"])
        self.assertEqual(self.states("?since=now"), [])

    def test_cursor(self) -> None:
        """The head of the answer says where the stream stands."""
        self.assertIn(f"Jobpush-Cursor: {self.lab.cursor}", Stream(self).head)

    def test_lost(self) -> None:
        """A cursor that is lost is told in the stream, however it was given; one that is none is 400."""
        for query, header in (("?since=abcdef-12", ""), ("?last_event_id=abcdef-12", ""), ("", "Last-Event-ID: abcdef-12\r\n")):
            stream = Stream(self, query, header)
            self.assertEqual([event for event, _, _ in stream.events], ["reset"])
            stream.leave()
        for query in ("?since=x", "?last_event_id=x"):
            answer = self.lab.get(f"/v1/events{query}")
            self.assertEqual((answer.status, answer.json()["parameter"]), (400, "Last-Event-ID"))

    def test_parameters(self) -> None:
        """One that is unknown is refused by its name; a stream has no ``wait`` and no ``limit``."""
        for name in ("wait", "limit", "until", "sinec"):
            answer = self.lab.get(f"/v1/events?{name}=1")
            self.assertEqual((answer.status, answer.json()["parameter"]), (400, name))

    def test_the_limit(self) -> None:
        """One more than may be held is 503, with when to come back; HEAD holds nothing and is answered."""
        streams = [Stream(self), Stream(self)]
        answer = self.lab.get("/v1/events")
        self.assertEqual((answer.status, self.lab.registry.held), (503, 2))
        self.assertTrue(answer.header("retry-after"))
        self.assertEqual(self.lab.request("HEAD", "/v1/events").status, 200)
        streams[0].leave()
        self.assertIn("200 OK", Stream(self).head)


class SocketTests(LabCase):
    """``/v1/socket``, before it is a WebSocket. (tests/with_service/test_socket.py has it as one.)"""

    HEADERS: dict[str, Any] = {  # noqa: RUF012
        "Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    }  # fmt: skip

    def make_lab(self) -> Lab:
        return Lab(max_held=1)

    def status(self, query: str = "", **headers: str) -> int:
        """What a handshake is answered with."""
        given = {**self.HEADERS, **{name.replace("_", "-"): value for name, value in headers.items()}}
        return self.lab.get(f"/v1/socket{query}", headers=given).status

    def test_no_handshake(self) -> None:
        """A request that asks for no WebSocket, or for another version of it, is 426, with what would be right."""
        plain = self.lab.get("/v1/socket")
        self.assertEqual(plain.status, 426)
        self.assertIn("WebSocket", plain.json()["detail"])
        old = self.lab.get("/v1/socket", headers={**self.HEADERS, "Sec-WebSocket-Version": "8"})
        self.assertEqual((old.status, old.header("sec-websocket-version")), (426, "13"))

    def test_other_sites(self) -> None:
        """A page of another site may not read here."""
        for origin in ("http://evil.example", "null", "https://test:81"):
            self.assertEqual(self.status(Origin=origin), 403, origin)

    def test_parameters(self) -> None:
        """Are checked before the handshake: a page would not learn why it failed."""
        for query, name in (("?since=x", "since"), ("?job=nowhere/1", "job"), ("?last_event_id=0", "last_event_id"), ("?wait=1", "wait")):
            answer = self.lab.get(f"/v1/socket{query}", headers=self.HEADERS)
            self.assertEqual((answer.status, answer.json()["parameter"]), (400, name))

    def test_the_limit(self) -> None:
        """One more than may be held is 503."""
        stream = Stream(self)
        self.assertEqual(self.status(), 503)
        stream.leave()
