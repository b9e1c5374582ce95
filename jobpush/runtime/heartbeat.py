"""Whether the reactor is on time: a call ten times a second, and by how much it was late."""

from __future__ import annotations

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from jobpush.runtime.histogram import Distribution

#: Seconds between two looks at whether the reactor is on time.
HEARTBEAT_S = 0.1


class Heartbeat:
    """
    Notes by how much the reactor is late: for so long it did something else.

    :param late_s: where that is noted, in seconds.
    """

    def __init__(self, reactor: IReactorTime, late_s: Distribution) -> None:
        self._reactor = reactor
        self._late_s = late_s
        self._call: IDelayedCall | None = None

    def start(self) -> None:
        """Begin."""
        self._call = self._reactor.callLater(HEARTBEAT_S, self._beat)

    def stop(self) -> None:
        """End."""
        if self._call is not None and self._call.active():
            self._call.cancel()

    def _beat(self) -> None:
        assert self._call is not None
        late = self._reactor.seconds() - self._call.getTime()
        self._late_s.add(max(0.0, late))
        self.start()
