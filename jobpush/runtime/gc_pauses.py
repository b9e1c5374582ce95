"""
Garbage collection without long pauses.

A full collection of CPython looks at every object there is: 115 to 140 ms with a hundred thousand known jobs, each time that a
quarter more has come. Here, what has survived one is set aside (`gc.freeze`), so that the next one looks only at what is new,
and collections are asked for while that is little.

What is set aside is freed as ever when nothing refers to it; only cycles of such objects stay. No connection leaves one when it
ends (tests/web/held/test_cycles.py); what other code leaves must not stay for long: everything is looked at once a minute, more
seldom where that takes long, so that it takes a two-thousandth of the time at most (140 ms each five minutes with a hundred
thousand jobs), and when the process has grown. Once a minute memory that is free is given back to the system. All of it
concerns the whole process: ``twistd jobpush`` does this, and not a program of which jobpush is a part.
"""

from __future__ import annotations

import gc
import time

from twisted.application.service import Service
from twisted.internet.interfaces import IReactorTime

from jobpush.runtime.heap import give_back, resident_bytes
from jobpush.runtime.repeated import Repeated

#: Seconds between two looks at how much is new.
LOOK_S = 0.5

#: After how many collections of the middle generation a full one is asked for: each of them left at most some 7,700 objects.
YOUNG = 3

#: Seconds between two collections of everything at the least, and the share of the time that these may take. Seconds between
#: two times that free memory is given back.
EVERYTHING_S = 60.0
SHARE = 1 / 2000
GIVE_BACK_S = 60.0

#: Seconds between two looks at the size of the process. Bytes, and the share of what there was before, by which it must have
#: grown for a collection of everything.
GROWTH_S = 5.0
GROWN_BYTES = 8 * 1024 * 1024
GROWN_SHARE = 1 / 8


class GcPausesService(Service):
    """
    While it runs, survivors of full collections are set aside.

    :param reactor: whose time is used.
    """

    def __init__(self, reactor: IReactorTime) -> None:
        self._reactor = reactor
        self._loop = Repeated(reactor, self._look)
        self._everything_at = 0.0
        #: Seconds that the last collection of everything took.
        self._took_s = 0.0
        self._gave_back_at = self._measured_at = 0.0
        self._resident = 0

    def startService(self) -> None:
        super().startService()
        self._everything_at = self._reactor.seconds()
        self._resident = resident_bytes()
        gc.callbacks.append(self._collected)
        self._loop.start(LOOK_S, now=False)

    def stopService(self) -> None:
        super().stopService()
        if self._loop.running:
            self._loop.stop()
            gc.callbacks.remove(self._collected)
            gc.unfreeze()

    def _look(self) -> None:
        now = self._reactor.seconds()
        if now - self._everything_at >= max(EVERYTHING_S, self._took_s / SHARE):
            self._collect_everything()
        elif gc.get_count()[2] >= YOUNG:
            gc.collect()
        if now - self._gave_back_at >= GIVE_BACK_S:
            self._gave_back_at = now
            give_back()
        if now - self._measured_at >= GROWTH_S:
            self._measured_at = now
            if resident_bytes() > self._resident * (1 + GROWN_SHARE) + GROWN_BYTES:
                self._collect_everything()
                give_back()
                self._resident = resident_bytes()

    def _collect_everything(self) -> None:
        self._everything_at = self._reactor.seconds()
        gc.unfreeze()
        began = time.process_time()
        gc.collect()
        self._took_s = time.process_time() - began

    @staticmethod
    def _collected(phase: str, info: dict[str, int]) -> None:
        if phase == "stop" and info["generation"] == 2:
            gc.freeze()
