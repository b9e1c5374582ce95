"""
jobpush with a heartbeat inside: ``python -m benchmarks.heartbeat FILE arguments of twistd…``.

A thousand times a second it is noted by how much the reactor is late, and how long it takes to start each command. On SIGUSR1
what was noted since the last time is written to FILE, as JSON, in milliseconds. See ``stalls.py``.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import sys
import time
from typing import Any

BEAT_S = 0.001


class Heartbeat:
    """:param path: where the notes are written."""

    def __init__(self, reactor: Any, path: str) -> None:
        self._reactor = reactor
        self._path = path
        self._due = 0.0
        self._forget()
        spawn = reactor.spawnProcess

        def timed(*args: Any, **kwargs: Any) -> Any:
            began = time.monotonic()
            try:
                return spawn(*args, **kwargs)
            finally:
                self._spawns.append(time.monotonic() - began)

        reactor.spawnProcess = timed
        gc.callbacks.append(self._collecting)
        signal.signal(signal.SIGUSR1, lambda *_: reactor.callFromThread(self._write))
        reactor.callWhenRunning(self._beat)

    def _forget(self) -> None:
        self._late: list[float] = []
        self._spawns: list[float] = []
        self._collections: list[float] = []

    def _collecting(self, phase: str, info: dict[str, int]) -> None:
        if phase == "start":
            self._began = time.monotonic()
        else:
            self._collections.append(time.monotonic() - self._began)

    def _beat(self) -> None:
        now = time.monotonic()
        if self._due:
            self._late.append(now - self._due)
        self._due = now + BEAT_S
        self._reactor.callLater(BEAT_S, self._beat)

    def _write(self) -> None:
        late = sorted(self._late)
        notes = {
            "most": max(late, default=0.0) * 1000,
            "over_5": sum(each > 0.005 for each in late),
            "over_20": sum(each > 0.020 for each in late),
            "spawns": [each * 1000 for each in self._spawns],
            "collection": max(self._collections, default=0.0) * 1000,
        }
        self._forget()
        with open(self._path + ".new", "w") as file:
            json.dump(notes, file)
        os.replace(self._path + ".new", self._path)


def main() -> None:
    """Run twistd with it."""
    from twisted.internet import reactor
    from twisted.scripts.twistd import run

    Heartbeat(reactor, sys.argv[1])
    sys.argv[1:] = sys.argv[2:]
    run()


if __name__ == "__main__":
    main()
