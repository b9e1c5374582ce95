"""From a request to its route: by Klein's table, with errors in the protocol's form, cancelled when the client leaves."""

from __future__ import annotations

from typing import Any

from klein import Klein
from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.iweb import IRequest
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET
from twisted.web.test.requesthelper import DummyRequest
from werkzeug.exceptions import NotFound

from jobpush.web.dispatch import Dispatch
from jobpush.web.requests import client_request


class Wrong(Exception):
    """What a handler of errors knows."""


class DispatchTests(SynchronousTestCase):
    """`Dispatch`."""

    def setUp(self) -> None:
        self.waiting: Deferred[bytes] = Deferred()
        self.seen: list[Any] = []
        app = Klein()
        routes = {
            "plain": lambda request: b"plain",
            "late": self._late,
            "part": lambda request, name: name.encode(),
            "wrong": self._wrong,
            "unknown": self._unknown,
            "below_branch": lambda request: self._resource(),
        }
        for path, endpoint in (("/", "plain"), ("/late", "late"), ("/part/<name>", "part"), ("/wrong", "wrong"), ("/u", "unknown")):
            app.route(path, endpoint=endpoint)(routes[endpoint])
        app.route("/below/", endpoint="below", branch=True)(routes["below_branch"])
        errors = (
            ((Wrong,), lambda request, failure: b"said"),
            ((NotFound,), lambda request, failure: b"nothing there"),
            ((CancelledError,), self._left),
        )
        self.dispatch = Dispatch(app, routes, errors)

    async def _late(self, request: object) -> bytes:
        return await self.waiting

    async def _wrong(self, request: object) -> bytes:
        raise Wrong()

    async def _unknown(self, request: object) -> bytes:
        raise KeyError()

    def _left(self, request: IRequest, failure: Failure) -> None:
        self.seen.append("left")

    def _resource(self) -> Resource:
        class Below(Resource):
            isLeaf = True

            def render(self, request: Any) -> bytes:
                return b"/".join(request.postpath)

        return Below()

    def ask(self, *path: bytes) -> Any:
        request: Any = DummyRequest(list(path))
        request.render = lambda resource: (request.write(resource.render(request)), request.finish())
        request.processingFailed = lambda failure: self.seen.append(failure.type)
        self.assertIs(self.dispatch.render(client_request(request), "x"), NOT_DONE_YET)
        return request

    def body(self, *path: bytes) -> bytes:
        request = self.ask(*path)
        self.assertEqual(request.finished, 1)
        return b"".join(request.written)

    def test_answers(self) -> None:
        """A body, at once; with parts of the path; what is below a branch is a resource's."""
        self.assertEqual(self.body(b""), b"plain")
        self.assertEqual(self.body(b"part", b"kim"), b"kim")
        self.assertEqual(self.body(b"below", b"a", b"b"), b"a/b")

    def test_errors(self) -> None:
        """The first handler that fits; without one it is a fault of the server's."""
        self.assertEqual(self.body(b"wrong"), b"said")
        self.assertEqual(self.body(b"no", b"such"), b"nothing there")
        self.ask(b"u")
        self.assertEqual(self.seen, [KeyError])

    def test_later(self) -> None:
        """A coroutine is waited for."""
        request = self.ask(b"late")
        self.assertEqual((request.finished, request.written), (0, []))
        self.waiting.callback(b"now")
        self.assertEqual((request.finished, request.written), (1, [b"now"]))

    def test_the_client_leaves(self) -> None:
        """What it waits for is cancelled, and nothing is written."""
        cancelled: list[object] = []
        self.waiting = Deferred(cancelled.append)
        request = self.ask(b"late")
        request.processingFailed = self.fail
        request.finish = self.fail
        notifications, request._finishedDeferreds = request._finishedDeferreds, []
        for notified in notifications:
            notified.errback(Failure(ConnectionError()))
        self.assertEqual(cancelled, [self.waiting])
        self.assertEqual(request.written, [])
