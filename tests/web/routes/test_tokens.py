"""Tokens: a user makes some, sees his own, revokes them; and what they are good for."""

from __future__ import annotations

import json
from typing import Any

from twisted.internet.defer import Deferred

from jobpush.core.model import QueueFacts
from jobpush.events.interfaces import Found
from jobpush.web import resource
from jobpush.web.access import Policy
from jobpush.web.identity import Identity, Roles
from jobpush.web.tickets import TicketAuthenticator, Tickets
from jobpush.web.tokens import KEPT, MOST_OF_ONE, PREFIX, TokenAuthenticator, Tokens
from tests.support import USER_HEADER, Lab, LabCase, Pending, Says


def serve_with_tokens(lab: Lab, says: Says) -> Identity:
    """Serve a lab to whoever says who he is, and whoever shows a token."""
    wall = lab.clocks.wall
    identity = Identity([says])
    tokens = Tokens(lab.service.journal, wall, identity.revoke)
    identity.add(TokenAuthenticator(lab.clock, tokens, wall))
    tickets = Tickets(lab.clock)
    identity.add(TicketAuthenticator(lab.clock, tickets))
    identity.on_revoked.append(tickets.revoke)
    lab.resource = resource(lab.service, Policy(), identity, tokens, max_held=100, tickets=tickets)
    lab.registry = lab.resource.registry
    lab.treq.__init__(lab.resource)  # type: ignore[misc]
    return identity


class TokenCase(LabCase):
    """A service that hides users' jobs, where the header of `Says` stands for a unix socket's peer."""

    def setUp(self) -> None:
        super().setUp()
        self.lab.queue.facts = QueueFacts(sees_all=True, hides_jobs=True, evidence="a test")
        self.lab.queue.set("1", "RUNNING", user="kim")
        self.lab.queue.set("2", "RUNNING", user="lee")
        self.lab.tick()
        self.lab.service.monitors["memory"].status.facts = self.lab.queue.facts
        self.lab.service.hiding.checked()
        self.identity = serve_with_tokens(self.lab, Says(explicit=False))

    def ask(self, method: str, path: str, user: str | None = None, token: str | None = None, body: Any = None) -> Pending:
        """A request of a user's process, or with a token."""
        headers = {} if user is None else {USER_HEADER: user}
        if token is not None:
            headers["authorization"] = f"Bearer {token}"
        data = None if body is None else json.dumps(body).encode()
        if data is not None:
            headers["content-type"] = "application/json"
        return self.lab.request(method, path, headers=headers, data=data)

    def make(self, user: str = "kim", **body: Any) -> str:
        """A new token."""
        answer = self.ask("POST", "/v1/tokens", user, body=body)
        self.assertEqual((answer.status, answer.header("cache-control")), (201, "no-store"))
        self.made = answer.json()
        token: str = self.made["token"]
        return token


class MakeTests(TokenCase):
    """``POST /v1/tokens``."""

    def test_login(self) -> None:
        """It is the user's, for twelve hours and everything; it shows his jobs, and nobody else's."""
        token = self.make()
        self.assertTrue(token.startswith(PREFIX) and len(token) > 40)
        self.assertEqual(
            {name: self.made[name] for name in ("user", "label", "scopes")},
            {"user": "kim", "label": "", "scopes": ["metrics", "nudge", "read", "watch", "workflow"]},
        )
        jobs = self.ask("GET", "/v1/jobs", token=token).json()["jobs"]
        self.assertEqual([job["id"] for job in jobs], ["1"])
        self.assertEqual(self.ask("GET", "/v1/jobs/memory/2", token=token).status, 404)

    def test_what_is_kept(self) -> None:
        """Nothing from which the token could be made again."""
        token = self.make(label="laptop")
        (text,) = [text for name, text in self.lab.journal.kept().items() if name.startswith(KEPT)]
        self.assertNotIn(token, text)
        self.assertNotIn(token[len(PREFIX) : len(PREFIX) + 12], text)
        self.assertNotIn(token, self.ask("GET", "/v1/tokens", "kim").body().decode())

    def test_nobody(self) -> None:
        """Who does not say who he is gets none; nor does a token, which could prolong itself for ever."""
        self.assertEqual(self.ask("POST", "/v1/tokens", body={}).status, 401)
        self.assertEqual(self.ask("POST", "/v1/tokens", token=self.make(), body={}).status, 403)

    def test_bad_requests(self) -> None:
        """What is wrong is said."""
        for body, parameter in [
            ({"hours": 0}, "hours"), ({"hours": -1}, "hours"), ({"hours": 1e9}, "hours"), ({"hours": "12"}, "hours"), ({"hours": True}, "hours"),
            ({"scopes": ["root"]}, "scopes"), ({"scopes": [1]}, "scopes"), ({"scopes": [["read"]]}, "scopes"), ({"label": "x" * 101}, "label"),
            ({"label": "a\nb"}, "label"), ({"label": 5}, "label"), ({"user": "lee"}, "user"),
        ]:  # fmt: skip
            answer = self.ask("POST", "/v1/tokens", "kim", body=body)
            self.assertEqual((answer.status, answer.json()["parameter"]), (400, parameter), body)

    def test_most(self) -> None:
        """One user may have so many; those that have expired do not count; another user has his own."""
        for _ in range(MOST_OF_ONE):
            self.make(hours=1)
        answer = self.ask("POST", "/v1/tokens", "kim", body={})
        self.assertEqual((answer.status, bool(answer.header("retry-after"))), (429, True))
        self.make("lee")
        self.lab.clock.advance(3601)
        self.make()
        self.assertEqual(len([name for name in self.lab.journal.kept() if name.startswith(KEPT)]), 2)

    def test_not_kept(self) -> None:
        """Where the journal cannot be written there is no token, and none is good."""
        self.lab.journal._writer.execute("PRAGMA query_only=1")
        self.assertEqual(self.ask("POST", "/v1/tokens", "kim", body={}).status, 503)
        self.lab.journal._writer.execute("PRAGMA query_only=0")
        self.assertEqual(self.ask("GET", "/v1/tokens", "kim").json()["tokens"], [])


class GoodTests(TokenCase):
    """What a token is good for, and for how long."""

    def test_unknown(self) -> None:
        """A token that was not given out, or is half of one, is 401; the process's own user does not make up for it."""
        token = self.make()
        for wrong in (PREFIX, token[:-1], token + "x", PREFIX + "\x7f", token.upper()):
            answer = self.ask("GET", "/v1/jobs", "kim", wrong)
            self.assertEqual((answer.status, answer.header("www-authenticate")), (401, 'Bearer error="invalid_token"'), wrong)

    def test_goes_before_the_peer(self) -> None:
        """Who shows a token of another one asks as that one."""
        self.assertEqual([job["id"] for job in self.ask("GET", "/v1/jobs", "lee", self.make()).json()["jobs"]], ["1"])

    def test_expired(self) -> None:
        """At its end it is 401, and what is held with it is answered 401."""
        token = self.make(hours=0.01)
        held = self.ask("GET", "/v1/changes?since=now&wait=600", token=token)
        self.assertTrue(held.held)
        self.lab.clock.advance(37)
        self.assertEqual(held.status, 401)
        self.assertEqual(self.ask("GET", "/v1/jobs", token=token).status, 401)

    def test_the_clock_is_set(self) -> None:
        """Its end is a date: a clock that is set forward over it ends it."""
        token = self.make(hours=1)
        self.lab.set_forward = 3700.0
        self.assertEqual(self.ask("GET", "/v1/jobs", token=token).status, 401)

    def test_revoked(self) -> None:
        """From then on it is 401, what is held with it too; another one of the same user goes on."""
        one, other = self.make(), self.make()
        token_id = self.made["id"]
        held = [self.ask("GET", "/v1/changes?since=now&wait=600", token=token) for token in (one, other)]
        self.assertEqual(self.ask("DELETE", f"/v1/tokens/{token_id}", "kim").status, 204)
        self.assertEqual([held[0].held, held[1].status], [True, 401])
        self.assertEqual([self.ask("GET", "/v1/jobs", token=token).status for token in (one, other)], [200, 401])

    def test_revoked_while_it_is_looked_what_may_be_shown(self) -> None:
        """It is not answered, though it was good when the request came."""
        token = self.make()
        self.lab.service.monitors["memory"].status.facts = None
        self.lab.journal.keep("hides_jobs", None)
        self.lab.service.hiding.checked()
        asked = [self.ask("GET", path, token=token) for path in ("/v1/jobs", "/v1/changes?since=now&wait=600", "/v1/events")]
        self.assertEqual([each.held for each in asked], [True] * 3)
        self.assertEqual(self.ask("DELETE", f"/v1/tokens/{self.made['id']}", token=token).held, True)
        self.identity.revoke(lambda principal: principal.credential != "")
        self.lab.clock.run(6)
        self.assertEqual([each.status for each in asked], [401] * 3)
        self.assertEqual(self.lab.registry.held, 0)

    def test_revoked_while_the_journal_is_read(self) -> None:
        """The same where it takes a while to find out what is to be told."""
        token = self.make()
        for number in range(5):
            self.lab.set("1", "RUNNING", user="kim", comment=str(number))
            self.lab.tick()
        self.lab.keep_in_memory(1)
        reading: Deferred[Found] = Deferred()
        self.patch(self.lab.journal, "read", lambda *arguments: reading)
        asked = self.ask("GET", "/v1/changes?since=0&job=memory/77&wait=600", token=token)
        self.assertTrue(asked.held)
        self.identity.revoke(lambda principal: principal.credential != "")
        reading.callback(Found([], self.lab.service.tail.oldest))
        self.lab.clock.advance(1)
        self.assertEqual((asked.status, self.lab.registry.held), (401, 0))

    def test_revoked_by_itself(self) -> None:
        """A token may be used to revoke it: ``jobpush token revoke all`` with a token that has leaked."""
        token = self.make()
        self.assertEqual(self.ask("DELETE", "/v1/tokens/all", token=token).status, 204)
        self.assertEqual(self.ask("GET", "/v1/jobs", token=token).status, 401)
        self.assertEqual(self.ask("DELETE", "/v1/tokens/all", "kim").status, 204)

    def test_another_ones(self) -> None:
        """Nobody sees or revokes another's, operators neither: it is as if there were none."""
        token = self.make()
        self.assertEqual(self.ask("GET", "/v1/tokens", "lee+operator").json()["tokens"], [])
        self.assertEqual(self.ask("DELETE", f"/v1/tokens/{self.made['id']}", "lee").status, 404)
        self.assertEqual(self.ask("GET", "/v1/jobs", token=token).status, 200)

    def test_after_a_restart(self) -> None:
        """It is good until its end, wherever the service was started again; one that was revoked is not."""
        good, gone = self.make(), self.make()
        self.ask("DELETE", f"/v1/tokens/{self.made['id']}", "kim")
        serve_with_tokens(self.lab, Says(explicit=False))
        self.assertEqual([self.ask("GET", "/v1/jobs", token=token).status for token in (good, gone)], [200, 401])

    def test_scopes(self) -> None:
        """It is good for what it was made for: 403 names what it lacks. However the path is written."""
        self.lab.service.monitors["memory"].status.facts = QueueFacts(sees_all=True)
        self.lab.service.hiding.checked()
        tokens = {scope: self.make(scopes=[scope]) for scope in ("read", "watch", "nudge", "workflow")}
        for method, path, body, scope in [
            ("GET", "/v1/jobs", None, "read"), ("GET", "/v1/jobs/memory/1", None, "read"), ("GET", "/v1/changes", None, "read"),
            ("POST", "/v1/changes", {}, "read"), ("GET", "/v1/wait?job=1&wait=0", None, "read"), ("GET", "/jobstatus?jobId=1", None, "read"),
            ("GET", "/v1/workflows", None, "read"), ("POST", "/v1/nudge", {}, "nudge"), ("POST", "/v1/%6eudge", {}, "nudge"),
            ("PUT", "/v1/workflows/w7", {"jobs": ["memory/1"]}, "workflow"), ("GET", "/v1/events", None, "watch"),
        ]:  # fmt: skip
            for name, token in tokens.items():
                answer = self.ask(method, path, token=token, body=body)
                if name == scope:
                    self.assertLess(answer.status, 300, (path, name))
                    if scope == "watch":
                        answer.deferred.cancel()
                else:
                    self.assertEqual(answer.status, 403, (path, name))
                    self.assertIn(scope, answer.json()["detail"])

    def test_a_token_has_no_roles_of_its_own(self) -> None:
        """A role comes from the configuration alone, whatever its user's name is."""
        token = self.make("root")
        self.assertEqual(self.ask("GET", "/v1/jobs", token=token).json()["jobs"], [])


class RevokeWithoutDiskTests(TokenCase):
    """A token that is revoked while the journal cannot be written."""

    def test_it_is_revoked_all_the_same(self) -> None:
        """It is good no more in this process, and that it could not be written is said."""
        token = self.make()
        self.lab.journal._writer.execute("PRAGMA query_only=1")
        self.assertEqual(self.ask("DELETE", "/v1/tokens/all", "kim").status, 503)
        self.lab.journal._writer.execute("PRAGMA query_only=0")
        self.assertEqual(self.ask("GET", "/v1/jobs", token=token).status, 401)


class ScraperTests(TokenCase):
    """A token for metrics."""

    def test_metrics(self) -> None:
        """An operator's is good for metrics and for no jobs; a user's is not, nor is an operator's with other scopes."""
        scraper = self.make("root+operator", scopes=["metrics"])
        users, reads = self.make("kim"), self.make("root+operator", scopes=["read"])
        self.assertEqual(self.ask("GET", "/metrics", token=scraper).status, 403)  # roles come from the configuration
        self.identity._roles = Roles(operators=frozenset({"root"}))
        for _ in range(3):
            self.assertEqual(self.ask("GET", "/metrics", token=scraper).status, 200)
            self.assertEqual(self.ask("GET", "/v1/jobs", token=scraper).status, 403)
            self.assertEqual([self.ask("GET", "/metrics", token=token).status for token in (users, reads)], [403, 403])
