"""Tickets: what opens one stream for a browser."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase, TestCase

from jobpush.core.filters import Selection
from jobpush.web.access_log import without_ticket
from jobpush.web.held.connection import HeldConnection
from jobpush.web.identity import Identity
from jobpush.web.principal import Principal
from jobpush.web.tickets import GOOD_S, MOST_OF_ONE, PREFIX, TicketAuthenticator, Tickets
from tests.support import Pending, Says
from tests.web.held.test_connections import House
from tests.web.routes.test_tokens import TokenCase


class TicketCase(TokenCase):
    """Kim has a token; jobs are hidden."""

    def setUp(self) -> None:
        super().setUp()
        self.token = self.make()

    def ticket(self, body: Any = None, token: str | None = None) -> str:
        """A new ticket of kim's."""
        answer = self.ask("POST", "/v1/tickets", token=token or self.token, body=body)
        self.assertEqual((answer.status, answer.header("cache-control")), (201, "no-store"))
        self.made = answer.json()
        ticket: str = self.made["ticket"]
        return ticket

    def open(self, ticket: str, query: str = "") -> Pending:
        """A stream that is opened with a ticket."""
        return self.ask("GET", f"/v1/events?ticket={ticket}{query}")


class MakeTests(TicketCase):
    """``POST /v1/tickets``."""

    def test_what_it_is(self) -> None:
        """It has 256 random bits, tells whose it is and for how long it is good; each is another."""
        ticket = self.ticket()
        self.assertTrue(ticket.startswith(PREFIX) and len(ticket) >= len(PREFIX) + 43)
        self.assertEqual((self.made["user"], self.made["expires_in_s"]), ("kim", GOOD_S))
        self.assertNotEqual(ticket, self.ticket())

    def test_who_gets_none(self) -> None:
        """Who is nobody; who may not watch; who has too many that were not used; three times."""
        reads = self.make(scopes=["read"])
        for _ in range(3):
            self.assertEqual(self.ask("POST", "/v1/tickets").status, 401)
            self.assertEqual(self.ask("POST", "/v1/tickets", token=reads).status, 403)
        for _ in range(MOST_OF_ONE):
            self.ticket()
        refused = self.ask("POST", "/v1/tickets", token=self.token)
        self.assertEqual((refused.status, refused.header("retry-after")), (429, "30"))
        self.assertEqual(self.ask("POST", "/v1/tickets", "lee").status, 201)
        self.lab.clock.advance(GOOD_S)
        self.ticket()

    def test_bad_input(self) -> None:
        """A parameter that is none of a filter, a filter that is none, one that is too large, parameters in the query."""
        for body in ({"since": "now"}, {"user": 5}, {"user": [f"user{number}" for number in range(60)]}, []):
            self.assertEqual(self.ask("POST", "/v1/tickets", token=self.token, body=body).status, 400, body)
        self.assertEqual(self.ask("POST", "/v1/tickets?user=kim", token=self.token).status, 400)

    def test_no_ticket_makes_another(self) -> None:
        """It is for streams alone."""
        for path in ("/v1/tickets", "/v1/jobs", "/v1/changes"):
            method = "POST" if path == "/v1/tickets" else "GET"
            self.assertEqual(self.ask(method, f"{path}?ticket={self.ticket()}").status, 401)


class OpenTests(TicketCase):
    """Streams that are opened with one."""

    def test_opens_one(self) -> None:
        """It opens a stream of the user's own jobs, once; the second time it is 401."""
        ticket = self.ticket()
        stream = self.open(ticket)
        self.assertEqual((stream.status, self.lab.registry.of("kim") != []), (200, True))
        for _ in range(3):
            again = self.open(ticket)
            self.assertEqual((again.status, ticket in again.body().decode()), (401, False))
        (member,) = self.lab.registry.of("kim")
        (group,) = [each for each in self.lab.registry.groups() if member in each.members]
        self.assertEqual(getattr(group, "selection").visibility.user, "kim")  # noqa: B009 - not of every group

    def test_time(self) -> None:
        """It is good for half a minute."""
        first, second = self.ticket(), self.ticket()
        self.lab.clock.advance(GOOD_S - 0.1)
        self.assertEqual(self.open(first).status, 200)
        self.lab.clock.advance(0.1)
        self.assertEqual(self.open(second).status, 401)

    def test_filter(self) -> None:
        """It opens a stream with its own filters and no other; the cursor is the client's."""
        body = {"user": ["kim", "ann"], "jobs": ["memory/1"], "state": "RUNNING"}
        query = "&state=RUNNING&job=memory/1&user=ann&user=kim"
        self.assertEqual(self.open(self.ticket(body), query + "&last_event_id=0").status, 200)
        for other in ("", query + "&account=a", query.replace("ann", "lee"), query.replace("&state=RUNNING", "")):
            self.assertEqual(self.open(self.ticket(body), other).status, 403, other)
        self.assertEqual(self.open(self.ticket(), query).status, 403)

    def test_other_credentials(self) -> None:
        """With another user's credentials beside it, it is 400; twice it is 400; what is none is 401."""
        lees = self.make("lee")
        self.assertEqual(self.ask("GET", f"/v1/events?ticket={self.ticket()}", token=lees).status, 400)
        self.assertEqual(self.open(self.ticket(), f"&ticket={self.ticket()}").status, 400)
        for text in ("", PREFIX, PREFIX + "x" * 43, "%FF", self.token):
            self.assertEqual(self.open(text).status, 401, text)

    def test_revoked(self) -> None:
        """When the token is revoked with which it was got, it is none, and what it opened ends; no sooner expired, either."""
        ticket, used = self.ticket(), self.ticket()
        self.assertEqual(self.open(used).status, 200)
        self.ask("DELETE", "/v1/tokens/all", "kim")
        self.assertEqual((self.open(ticket).status, self.lab.registry.of("kim")), (401, []))

    def test_expiry(self) -> None:
        """A stream ends when the token expires with which the ticket was got."""
        short = self.make(hours=0.01)
        self.assertEqual(self.open(self.ticket(token=short)).status, 200)
        late = self.ticket(token=short)
        self.lab.clock.advance(20)
        self.assertEqual(len(self.lab.registry.of("kim")), 1)
        late = self.ticket(token=short)
        self.lab.clock.advance(17)
        self.assertEqual((self.lab.registry.of("kim"), self.open(late).status), ([], 401))


class ConnectionTests(TestCase):
    """What a ticket leaves on a connection, over a real socket."""

    async def test_headers(self) -> None:
        """The headers of a request with a ticket are not kept for the next one, which is nobody's; others' headers are."""
        identity = Identity([Says("authorization")])
        house = House(self, True, identity=identity)
        tickets = Tickets(house.lab.clock)
        identity.add(TicketAuthenticator(house.lab.clock, tickets))
        try:
            ticket = tickets.make(Principal("kim"), Selection())
            for path, status, kept in ((f"/v1/events?ticket={ticket}&state=NONE", 400, False), ("/v1/jobs/memory/1", 200, True)):
                client = house.client()
                client.get(path)
                await client.until(lambda client=client: b"\r\n\r\n" in client.got)
                self.assertIn(b"HTTP/1.1 %d " % status, client.got)
                await house.until(lambda: house.free_connections == 1)
                (block,) = [
                    each.protocol.summary.block for each in house.transports if isinstance(each.protocol, HeldConnection)
                ]
                self.assertEqual(bool(block.raw), kept, path)
                client.socket.close()
                await house.until(lambda: house.free_connections == 0)
        finally:
            await house.stop()


class RedactedTests(SynchronousTestCase):
    """`without_ticket`."""

    def test_addresses(self) -> None:
        """No ticket of a query is in the log, however its name is written; the rest is as it was."""
        for uri, shown in {
            b"/v1/events?ticket=jt_secret": b"/v1/events?ticket=-",
            b"/v1/events?user=a&ticket=jt_secret&state=RUNNING": b"/v1/events?user=a&ticket=-&state=RUNNING",
            b"/v1/events?%74icket=jt_secret;tick%65t=jt_secret": b"/v1/events?ticket=-;ticket=-",
            b"/v1/events?user=ticket&a=%20": b"/v1/events?user=ticket&a=%20",
            b"/v1/jobs/a/ticket=5": b"/v1/jobs/a/ticket=5",
            b"http://x/?ticket=jt_secret": b"http://x/?ticket=-",
        }.items():
            self.assertEqual(without_ticket(uri), shown)
