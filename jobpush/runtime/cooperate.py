"""Long work on the reactor's thread: a little of it in each turn, so that nobody waits for its end."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from twisted.internet.task import Cooperator

#: Seconds of work in a turn; what is begun then is done to its next pause. Twisted's own measure, 10 ms, is half of what a held
#: request may be kept waiting, and the garbage collector wants some of that.
TURN_S = 0.005


def in_turns(reactor: Any) -> Cooperator:
    """What runs generators in the turns of this reactor."""
    return Cooperator(terminationPredicateFactory=_turn, scheduler=lambda work: reactor.callLater(0, work))


def _turn() -> Callable[[], bool]:
    over = time.monotonic() + TURN_S
    return lambda: time.monotonic() > over
