"""
twistd, with an ear for what no metric says: ``python -m benchmarks.soak.inside SOCKET ARGUMENT…``.

Whoever connects to the Unix socket is sent one line of JSON: what there is in the process at that moment. A thread of its own
accepts; nothing of it is in the reactor but the call that looks.
"""

from __future__ import annotations

import gc
import json
import socket
import sys
import threading
from pathlib import Path
from typing import Any

import attrs

from jobpush.events.recent_events import Tail
from jobpush.web.held.registry import Registry


@attrs.frozen
class Inside:
    """
    What there is in the process.

    :ivar delayed: delayed calls of the reactor.
    :ivar deadlines: entries of the timer wheel: held requests, and connections that wait for their next request.
    :ivar selectables: what the reactor reads of: connections, listening sockets, commands.
    :ivar descriptors: open files of the process.
    :ivar objects: that the garbage collector knows, with those that it has set aside.
    :ivar held: requests that are held.
    :ivar events: in memory.
    :ivar event_bytes: that these take.
    """

    delayed: int
    deadlines: int
    selectables: int
    descriptors: int
    objects: int
    held: int
    events: int
    event_bytes: int


def ask(path: Path) -> Inside:
    """Return what there is in the process that listens on this socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(30)
        client.connect(str(path))
        with client.makefile("rb") as lines:
            return Inside(**json.loads(lines.readline()))


def _look(registries: list[Registry], tails: list[Tail]) -> Inside:
    from twisted.internet import reactor

    source: Any = reactor
    return Inside(
        len(source.getDelayedCalls()),
        sum(len(list(registry.wheel)) for registry in registries),
        len(source.getReaders()),
        len(list(Path("/proc/self/fd").iterdir())) - 1,  # one is the list's own
        len(gc.get_objects()) + gc.get_freeze_count(),
        sum(registry.held for registry in registries),
        sum(tail.head - tail.oldest for tail in tails),
        sum(tail._bytes for tail in tails),
    )


def _remember(kind: Any) -> list[Any]:
    """Return a list into which each new object of that type comes."""
    made: list[Any] = []
    begin: Any = kind.__init__

    def noted(self: Any, *arguments: Any, **named: Any) -> None:
        made.append(self)
        begin(self, *arguments, **named)

    kind.__init__ = noted
    return made


def _tell(listening: socket.socket, registries: list[Registry], tails: list[Tail]) -> None:
    from twisted.internet import reactor, threads

    source: Any = reactor

    while True:
        client, _ = listening.accept()
        with client:
            found: Inside = threads.blockingCallFromThread(source, _look, registries, tails)
            client.sendall(json.dumps(attrs.asdict(found)).encode() + b"\n")


def main() -> None:
    """Run twistd."""
    from twisted.scripts.twistd import run

    path = sys.argv.pop(1)
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listening.bind(path)
    listening.listen()
    threading.Thread(target=_tell, args=(listening, _remember(Registry), _remember(Tail)), daemon=True).start()
    run()


if __name__ == "__main__":
    main()
