"""Responses as values, and as the bytes that a request of Twisted's would write."""

from __future__ import annotations

from typing import Any

from twisted.internet.error import ConnectionDone
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.resource import Resource

from jobpush.web.problems import Problem
from jobpush.web.requests import client_request
from jobpush.web.responses import LATEST_RETURN_S, SOONEST_RETURN_S, Response, come_back, guard, json_response
from jobpush.web.site import JobpushSite
from tests.support import ManualClock


def retry_after(response: Response) -> list[int]:
    """When clients are told to come back."""
    return [int(value) for name, value in response.headers if name == b"retry-after"]


def written(response: Response) -> bytes:
    """What a request of Twisted's makes of it, without the date."""

    class Page(Resource):
        isLeaf = True

        def render(self, request: Any) -> bytes:
            guard(client_request(request))
            return response.apply(client_request(request))

    site = JobpushSite(Page(), ManualClock())
    site.startFactory()
    transport = StringTransport()
    channel: Any = site.buildProtocol(None)
    channel.makeConnection(transport)
    channel.dataReceived(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
    value = transport.value()
    channel.connectionLost(Failure(ConnectionDone()))
    site.stopFactory()
    return without_date(value)


def without_date(data: bytes) -> bytes:
    """The same, in a form that does not depend on the time of day."""
    head, _, body = data.partition(b"\r\n\r\n")
    lines = [line for line in head.split(b"\r\n") if not line.startswith(b"Date: ")]
    assert len(lines) == head.count(b"\r\n"), "there is one Date"
    return b"\r\n".join([*sorted(lines), b"", body])


class BytesTests(SynchronousTestCase):
    """`Response.rendered` and `Response.apply`."""

    def test_both_ways(self) -> None:
        """Straight to a socket or through a request of Twisted's: the same bytes."""
        responses = [
            json_response(b"{}", "e-1"),
            json_response(b'{"a":1}', "e-1", headers=[(b"etag", b'W/"e-1"')]),
            json_response(b"{}", "e-1", closing=True),
            json_response(b"[]", "e-1", status=202),
            Problem(503, "too many", headers={"Retry-After": "5"}).response(),
            Problem(403, "no", close=True).response(),
        ]
        for response in responses:
            self.assertEqual(without_date(response.rendered.data), written(response), response)

    def test_counted(self) -> None:
        """What the access log says of it, and whether the connection ends."""
        rendered = json_response(b"{}", "e-1", status=202).rendered
        self.assertEqual((rendered.status, rendered.length, rendered.close), (202, 2, False))
        self.assertTrue(Problem(403, "no", close=True).response().rendered.close)

    def test_rendered_once(self) -> None:
        """Ten thousand who are answered alike are sent the same bytes object."""
        response = json_response(b"{}", "e-1")
        self.assertIs(response.rendered, response.rendered)

    def test_unknown_status(self) -> None:
        """A status without a reason phrase has one all the same."""
        rendered = Response(299, (), b"").rendered
        self.assertTrue(rendered.data.startswith(b"HTTP/1.1 299 Unknown\r\n"))
        self.assertFalse(rendered.close, "nobody has said that the connection ends")


class ReturnTests(SynchronousTestCase):
    """When clients come back to a service that ends."""

    def test_within(self) -> None:
        """Within a few seconds, and not all at once."""
        times = {retry_after(json_response(b"", "", closing=True))[0] for _ in range(200)}
        self.assertLessEqual(times, set(range(SOONEST_RETURN_S, LATEST_RETURN_S + 1)))
        self.assertGreater(len(times), 1)
        self.assertEqual(len(come_back()), 1)

    def test_later_return(self) -> None:
        """The same response with another time; one that names none is left as it is."""
        closing = json_response(b"{}", "e-1", headers=[(b"etag", b"x")], closing=True)
        other = closing.later_return()
        self.assertEqual(len(retry_after(other)), 1)
        self.assertEqual({h for h in other.headers if h[0] != b"retry-after"}, {h for h in closing.headers if h[0] != b"retry-after"})
        self.assertEqual((other.status, other.body, other.close), (200, b"{}", True))
        self.assertGreater(len({tuple(retry_after(closing.later_return())) for _ in range(200)}), 1)
        plain = json_response(b"{}", "e-1")
        self.assertIs(plain.later_return(), plain)

    def test_not_closing(self) -> None:
        """Otherwise nobody is told to come back, and the connection goes on."""
        response = json_response(b"{}", "e-1")
        self.assertEqual((retry_after(response), response.close), ([], False))
