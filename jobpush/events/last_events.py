"""
The last events of jobs that are in no table any more, or never were: asked for once for all who ask alike.

Thousands may ask at once for one job that nobody knows. (Tests: tests/events/test_last_events.py.)
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.python.failure import Failure

from jobpush.core.model import JobKey
from jobpush.core.record import Event
from jobpush.events.interfaces import IJournal
from jobpush.runtime.cooperate import Cooperator

#: Of how many jobs it is kept what the journal said, until the next event is published.
MOST_KEPT = 256

Found = dict[JobKey, Event]
Waiting = list["Deferred[Found]"]
Question = tuple["str | None", tuple[JobKey, ...]]
Asked = dict[Question, "Waiting | Found"]


class LastEvents:
    """
    :param cooperator: those who have asked alike are answered in its turns.
    """

    def __init__(self, cooperator: Cooperator, journal: IJournal) -> None:
        self._cooperator = cooperator
        self._journal = journal
        self._head = -1
        #: What was asked up to that head: who waits, or, of a single job, what was found.
        self._asked: Asked = {}

    async def of(self, keys: Sequence[JobKey], head: int, user: str | None = None) -> Found:
        """
        Return the last event of each of these jobs and workflows up to that number, as far as the journal holds one.

        :param user: of this user's alone.
        :raise JournalError: if it cannot be read.
        """
        if head != self._head:
            self._head, self._asked = head, {}
        asked, asked_by = (user, tuple(keys)), self._asked
        found = asked_by.get(asked)
        if isinstance(found, dict):
            return found
        waiting: Waiting = [] if found is None else found
        asked_by[asked] = waiting
        answer: Deferred[Found] = Deferred(lambda cancelled: waiting.remove(cancelled))
        waiting.append(answer)
        if found is None:
            maybeDeferred(self._journal.last_of, keys, head, user).addBoth(self._answered, asked, asked_by)
        return await answer

    def _answered(self, result: Found | Failure, asked: Question, asked_by: Asked) -> None:
        waiting = asked_by.pop(asked)
        if len(asked[1]) == 1 and isinstance(result, dict):
            kept = [key for key, found in asked_by.items() if isinstance(found, dict)]
            if len(kept) >= MOST_KEPT:
                del asked_by[kept[0]]
            asked_by[asked] = result
        assert isinstance(waiting, list)
        for place, answer in enumerate(list(waiting)):
            if place:
                self._cooperator.soon(partial(_tell, answer, result))
            else:
                _tell(answer, result)


def _tell(answer: Deferred[Found], result: Found | Failure) -> None:
    if answer.called:  # cancelled meanwhile
        return
    if isinstance(result, Failure):
        answer.errback(result)
    else:
        answer.callback(result)
