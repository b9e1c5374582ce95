"""
Health checks on a socket of their own: ``/healthz`` and ``/readyz``, answered by a thread, so that neither the connections of
thousands of clients nor a long turn of the reactor delays them.

The reactor notes each second how the service is. The thread answers from what was noted last, and says how old that is. Where
nothing has been noted for ten seconds the reactor does not turn, and both answers are 503. (Tests:
tests/web/test_health_socket.py.)
"""

from __future__ import annotations

import os
import selectors
import socket
import sys
import threading
from collections.abc import Callable, Mapping

import attrs
from twisted.application.service import Service
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from jobpush.core import wire
from jobpush.listen_addresses import InUse, TcpPort, UnixSocket
from jobpush.runtime.clocks import elapsed
from jobpush.runtime.repeated import Repeated
from jobpush.web.problems import Problem
from jobpush.web.responses import reason

#: Seconds between two notes; and after which the reactor is said not to turn.
NOTE_S = 1.0
STUCK_S = 10.0

#: Seconds that a check may take to ask and to read its answer; bytes that it may ask in; how many checks there may be at once.
ASK_S = 5.0
MOST_BYTES = 8192
MOST_CHECKS = 64

#: Seconds for which nothing is accepted after that has failed, as where no file may be opened any more.
PAUSE_S = 0.1

#: Seconds after which a thread that computes gives the interpreter to one that waits for it, as a check does some five times;
#: CPython's own are 5 ms. It concerns the whole process: only ``twistd jobpush`` has this socket.
SWITCH_S = 0.001

Readiness = Callable[[], tuple[bool, Mapping[str, object]]]


class HealthSocketError(Exception):
    """The socket cannot be opened; one line that says why."""


@attrs.frozen
class Note:
    """
    How the service was.

    :ivar at: the reactor's time.
    :ivar fields: what ``/readyz`` says.
    """

    at: float
    ready: bool
    fields: Mapping[str, object]


class HealthSocket(Service):
    """
    From ``privilegedStartService`` on, whatever the service does, until `stopService`, which comes last. `started` is called
    between them.

    :param reactor: its clock is read by the thread too.
    :param readiness: see `jobpush.web.health.readiness`; called by the reactor alone.
    :param wanted: whether somebody has asked for it; then the service does not start without it.
    """

    log = Logger(namespace="jobpush.health")

    def __init__(self, reactor: IReactorTime, address: UnixSocket | TcpPort, readiness: Readiness, wanted: bool = True) -> None:
        self.address = address
        self._reactor = reactor
        self._readiness = readiness
        self._wanted = wanted
        self._loop = Repeated(reactor, self.note)
        self._close: Callable[[], None] | None = None
        self._thread: _Thread | None = None
        self._noted = Note(reactor.seconds(), False, {"status": "not ready", "causes": ["starting"]})

    def privilegedStartService(self) -> None:
        """
        Listen, and answer from now on.

        :raise HealthSocketError: if that cannot be done and is wanted.
        """
        super().privilegedStartService()
        if self._wanted or not isinstance(self.address, UnixSocket) or os.path.isdir(os.path.dirname(self.address.path)):
            self._listen()

    def _listen(self) -> None:
        try:
            listening, self._close = self.address.open()
        except (InUse, OSError) as error:
            why = f"cannot answer health checks at {self.address}: {getattr(error, 'strerror', None) or error}"
            if self._wanted:
                raise HealthSocketError(why) from None
            self.log.warn("{why}", why=why)
            return
        self._noted = attrs.evolve(self._noted, at=self._reactor.seconds())
        self._switch_s = sys.getswitchinterval()
        sys.setswitchinterval(min(SWITCH_S, self._switch_s))
        self._thread = _Thread(listening, self.answer)
        self._thread.start()

    def startService(self) -> None:
        super().startService()
        self._loop.start(NOTE_S, now=False)

    def started(self) -> None:
        """All has been started. What was to be in a directory that was not there before is there now: the state directory."""
        if self._thread is None:
            self._listen()
        if self._thread is not None:
            self.note()
            self.log.info("health checks are answered at {address}", address=str(self.address))
        else:
            self._loop.stop()

    def stopService(self) -> None:
        """Answer no more, and remove the socket."""
        super().stopService()
        if self._loop.running:
            self._loop.stop()
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.end()
            sys.setswitchinterval(self._switch_s)
        close, self._close = self._close, None
        if close is not None:
            close()

    def note(self) -> None:
        """Note how the service is."""
        try:
            ready, fields = self._readiness()
        except Exception:
            self.log.failure("it cannot be said whether the service is ready")
            ready, fields = False, {"status": "not ready", "causes": ["fault"]}
        self._noted = Note(self._reactor.seconds(), ready, fields)

    def answer(self, request: bytes) -> bytes:
        """Return the response to a request. Called by the thread."""
        line = request.partition(b"\r\n")[0].split(b" ")
        if len(line) != 3 or not line[2].startswith(b"HTTP/1."):
            return Problem(400, "the request is not HTTP/1.1 as RFC 9112 has it", "request").raw()
        method, target, _ = line
        path = target.partition(b"?")[0]
        if path not in (b"/healthz", b"/readyz"):
            return Problem(404, "there is nothing here but /healthz and /readyz", "path").raw()
        if method not in (b"GET", b"HEAD"):
            return Problem(405, "a health check is a GET or a HEAD", headers={"Allow": "GET, HEAD"}).raw()
        noted = self._noted
        age = max(0.0, self._reactor.seconds() - noted.at)
        good, fields = (True, {"status": "ok"}) if path == b"/healthz" else (noted.ready, noted.fields)
        if age >= STUCK_S:
            good, fields = False, {**fields, "status": "stuck", "causes": [f"the reactor has not turned for {age:.0f} s"]}
        return _response(200 if good else 503, {**fields, "age_s": round(age, 3)}, method == b"HEAD")


def _response(status: int, fields: Mapping[str, object], head_only: bool) -> bytes:
    body = wire.dumps(fields)
    head = (
        b"HTTP/1.1 %d %b\r\nContent-Type: application/json\r\nCache-Control: no-cache\r\nContent-Length: %d\r\n"
        b"Connection: close\r\n\r\n" % (status, reason(status), len(body))
    )
    return head if head_only else head + body


class _Check:
    """
    A connection.

    :ivar ends: when it is closed at the latest.
    :ivar came: what has come of its request.
    :ivar unsent: what is left of its response; None before there is one.
    """

    def __init__(self, connection: socket.socket, ends: float) -> None:
        self.connection = connection
        self.ends = ends
        self.came = b""
        self.unsent: bytes | None = None


class _Thread:
    """
    Answers on a socket that listens. It does as little as it can between two system calls: with each of them it waits for the
    interpreter.
    """

    def __init__(self, listening: socket.socket, answer: Callable[[bytes], bytes]) -> None:
        self._listening = listening
        self._answer = answer
        self._waker, self._woken = socket.socketpair()
        self._paused = threading.Event()
        self._checks: dict[socket.socket, _Check] = {}
        self._thread = threading.Thread(target=self._run, name="health", daemon=True)

    def start(self) -> None:
        """Answer from now on."""
        self._thread.start()

    def end(self) -> None:
        """Close all connections; returns when it has ended."""
        self._paused.set()
        self._waker.close()
        self._thread.join(ASK_S)

    def _run(self) -> None:
        self._listening.setblocking(False)
        with selectors.DefaultSelector() as self._selector, self._woken:
            self._selector.register(self._listening, selectors.EVENT_READ)
            self._selector.register(self._woken, selectors.EVENT_READ)
            try:
                while self._turn():
                    pass
            except Exception:
                HealthSocket.log.failure("health checks are not answered any more")
            for connection in list(self._checks):
                self._drop(connection)

    def _turn(self) -> bool:
        """Do what can be done; return whether to go on."""
        for key, _ in self._selector.select(ASK_S if self._checks else None):
            connection = key.fileobj
            assert isinstance(connection, socket.socket)
            if connection is self._woken:
                return False
            if connection is self._listening:
                self._accept()
            elif connection in self._checks:
                self._go_on(self._checks[connection])
        if self._checks:
            now = elapsed()
            for check in list(self._checks.values()):
                if check.ends <= now:
                    self._drop(check.connection)
        return True

    def _accept(self) -> None:
        try:
            connection, _ = self._listening.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return
        except OSError:
            self._paused.wait(PAUSE_S)
            return
        check = self._checks[connection] = _Check(connection, elapsed() + ASK_S)
        if len(self._checks) > MOST_CHECKS:
            self._drop(next(iter(self._checks)))
        self._go_on(check)

    def _go_on(self, check: _Check) -> None:
        """Read, or write, as far as that goes without waiting."""
        try:
            if check.unsent is None and not self._read(check):
                return
            assert check.unsent is not None
            check.unsent = check.unsent[check.connection.send(check.unsent, socket.MSG_DONTWAIT) :]
        except (BlockingIOError, InterruptedError):
            self._wait_for(check, selectors.EVENT_READ if check.unsent is None else selectors.EVENT_WRITE)
        except OSError:
            self._drop(check.connection)
        else:
            if check.unsent:
                self._wait_for(check, selectors.EVENT_WRITE)
            else:
                self._drop(check.connection)

    def _read(self, check: _Check) -> bool:
        """Read; return whether there is a response now."""
        data = check.connection.recv(MOST_BYTES, socket.MSG_DONTWAIT)
        check.came += data
        if b"\r\n\r\n" in check.came:
            check.unsent = self._answer(check.came)
        elif len(check.came) >= MOST_BYTES:
            check.unsent = Problem(431, f"the headers are longer than {MOST_BYTES} bytes", "header").raw()
        elif not data:
            self._drop(check.connection)
        else:
            self._wait_for(check, selectors.EVENT_READ)
        return check.unsent is not None

    def _wait_for(self, check: _Check, events: int) -> None:
        if check.connection not in self._selector.get_map():
            self._selector.register(check.connection, events)
        else:
            self._selector.modify(check.connection, events)

    def _drop(self, connection: socket.socket) -> None:
        if self._checks.pop(connection, None) is not None:
            if connection in self._selector.get_map():
                self._selector.unregister(connection)
            connection.close()
