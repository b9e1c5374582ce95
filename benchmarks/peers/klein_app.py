"""Held requests with plain Klein: ``klein_app.py PORT BODY``."""

import sys
from pathlib import Path

from klein import Klein
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.web.server import Site

BODY = Path(sys.argv[2]).read_bytes()
app = Klein()
waiting: dict = {}


@app.route("/wait")
def wait(request):
    request.setHeader("content-type", "application/json")
    deferred = Deferred(waiting.pop)
    waiting[deferred] = None
    return deferred


@app.route("/fire", methods=["POST"])
def fire(request):
    woken = list(waiting)
    waiting.clear()
    for deferred in woken:
        deferred.callback(BODY)
    return b""


TCP4ServerEndpoint(reactor, int(sys.argv[1]), backlog=4096, interface="127.0.0.1").listen(Site(app.resource(), timeout=600))
reactor.run()
