"""What became of each request, and whether that was as it must be."""

from __future__ import annotations

import json
import time
from collections.abc import Callable

import attrs

from benchmarks.soak.http import Answer

KINDS = ("poll", "long poll", "jobstatus", "changes", "barrier", "workflow", "stream", "socket")

#: Seconds after its time after which an answer is not waited for any more: the client closes its connection.
GIVE_UP_S = 30.0

#: The protocol's promise: what is not answered for another reason is held for this share of its ``wait`` at least.
LEAST_WAIT = 15 / 16

#: Seconds before a refusal in which the limit must have been reached.
REFUSED_WITHIN_S = 3


@attrs.define
class Tally:
    """
    What became of the requests of one kind. Of streams, the events are counted that clients knew must come.

    :ivar asked: requests sent.
    :ivar answered: by what they waited for; of streams, events that were told in their time.
    :ivar timed_out: answered at the end of their time.
    :ivar refused: with 503, at the limit.
    :ivar left: by clients that left before the answer, or that had followed a stream for long enough.
    :ivar late: not answered in their time.
    :ivar never: of those, not answered ``GIVE_UP_S`` later either.
    :ivar early: answered with nothing before the end of their time.
    :ivar wrong: answered with an error, not to the end, or with 503 below the limit.
    :ivar most_s: by how much the latest answer came after its time, in seconds.
    """

    asked: int = 0
    answered: int = 0
    timed_out: int = 0
    refused: int = 0
    left: int = 0
    late: int = 0
    never: int = 0
    early: int = 0
    wrong: int = 0
    most_s: float = 0.0

    @property
    def faults(self) -> int:
        """How many requests did not go as they must."""
        return self.late + self.early + self.wrong


@attrs.frozen
class Question:
    """
    What a client asks.

    :ivar wait: seconds for which it may be held; 0 for a stream or a WebSocket.
    :ivar jobs: the jobs of which a change answers it; None for any job. The jobs of a barrier end together.
    """

    kind: str
    path: str
    wait: float
    jobs: frozenset[str] | None


@attrs.define(eq=False)
class Asked:
    """
    A request that has not been answered.

    :ivar at: when it was sent.
    :ivar due: when it must be answered, without the grace; None while a stream is open.
    :ivar close: closes its connection, if it is not answered at all.
    :ivar late: whether it is past its time, and has been counted.
    :ivar expected: what a stream has still to bring, a job and its state, and when that happened.
    """

    question: Question
    at: float
    due: float | None
    close: Callable[[], None]
    late: bool = False
    expected: dict[tuple[str, str], float] = attrs.Factory(dict)


class Ledger:
    """
    All requests that have not been answered, and a tally of those that have.

    :param cap: how many requests may be held.
    :param grace: seconds by which an answer may come later than its time.
    :param clock: the seconds of a clock that is never set.
    :ivar first: the first fault of each sort, in words.
    """

    def __init__(self, cap: int, grace: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.tallies = {kind: Tally() for kind in KINDS}
        self.unanswered: set[Asked] = set()
        self.first: dict[str, str] = {}
        self._cap = cap
        self._grace = grace
        self._clock = clock
        # The most requests that were unanswered at once, by second.
        self._most: dict[int, int] = {}

    @property
    def faults(self) -> int:
        """How many requests did not go as they must."""
        return sum(tally.faults for tally in self.tallies.values())

    @property
    def answered(self) -> int:
        """How many requests were answered in their time."""
        return sum(tally.answered + tally.timed_out for tally in self.tallies.values())

    # -- what happens to a request

    def sent(self, question: Question, close: Callable[[], None]) -> Asked:
        """Note a request, and how its connection is closed."""
        now = self._clock()
        asked = Asked(question, now, now + question.wait, close)
        self.unanswered.add(asked)
        self._most[int(now)] = max(self._most.get(int(now), 0), len(self.unanswered))
        self.tallies[question.kind].asked += 1
        return asked

    def happened(self, states: dict[str, str]) -> None:
        """Note that jobs have changed: what waits for one of them must be answered now, and be told to each stream."""
        now = self._clock()
        for asked in self.unanswered:
            jobs = asked.question.jobs
            if asked.due is None:
                asked.expected.update(dict.fromkeys(states.items(), now))
            elif jobs is None or not jobs.isdisjoint(states):
                asked.due = min(asked.due, now)

    def judge(self, asked: Asked, answer: Answer) -> None:
        """Note the whole answer to a request."""
        question, tally, now = asked.question, self.tallies[asked.question.kind], self._clock()
        assert asked.due is not None
        if not asked.late:
            tally.most_s = max(tally.most_s, now - asked.due)
        if answer.status == 503:
            self._judge_refusal(question)
        elif answer.status != 200:
            self.wrong(question, f"{answer.status} {answer.body[:300]!r}")
        elif timed_out(question, answer):
            tally.timed_out += 1
            if now - asked.at < LEAST_WAIT * question.wait - 0.01:
                tally.early += 1
                self._keep("early", question, f"after {now - asked.at:.2f} s")
        else:
            tally.answered += 1
            if question.kind in ("poll", "long poll", "changes") and not json.loads(answer.body)["events"]:
                self.wrong(question, f"nothing has happened: {answer.body[:300]!r}")

    def told(self, asked: Asked, job: str, state: str) -> None:
        """Note an event of a stream."""
        happened = asked.expected.pop((job, state), None)
        if happened is not None:
            tally = self.tallies[asked.question.kind]
            tally.answered += 1
            tally.most_s = max(tally.most_s, self._clock() - happened)

    def left(self, asked: Asked) -> None:
        """Note that the client leaves before the answer, or has followed a stream for long enough."""
        self.tallies[asked.question.kind].left += 1

    def cut(self, asked: Asked) -> None:
        """Note that the server has closed the connection before the answer was whole."""
        if not asked.late:
            self.wrong(asked.question, "the connection was closed")

    def wrong(self, question: Question, what: str) -> None:
        """Note a wrong answer."""
        self.tallies[question.kind].wrong += 1
        self._keep("wrong", question, what)

    def _judge_refusal(self, question: Question) -> None:
        now = int(self._clock())
        most = max(self._most.get(second, 0) for second in range(now - REFUSED_WITHIN_S, now + 1))
        if most < self._cap:
            self.wrong(question, f"503 when at most {most} of {self._cap} could be held")
        else:
            self.tallies[question.kind].refused += 1

    def _keep(self, sort: str, question: Question, what: str) -> None:
        self.first.setdefault(f"{question.kind}, {sort}", f"{question.path}: {what}")

    # -- the time

    def look(self) -> None:
        """Count what was not answered in its time, and give up what will not be."""
        now = self._clock()
        for asked in list(self.unanswered):
            self._look_at_stream(asked, now)
            if asked.due is not None and now > asked.due + self._grace:
                self._look_at_late(asked, now - asked.due - self._grace, now)

    def _look_at_stream(self, asked: Asked, now: float) -> None:
        for event in [event for event, happened in asked.expected.items() if now > happened + self._grace]:
            open_s = asked.expected.pop(event) - asked.at
            tally = self.tallies[asked.question.kind]
            tally.late += 1
            tally.never += 1
            self._keep("late", asked.question, f"{' '.join(event)} was not told to a stream that was open for {open_s:.3f} s")

    def _look_at_late(self, asked: Asked, late_s: float, now: float) -> None:
        tally = self.tallies[asked.question.kind]
        if not asked.late:
            asked.late = True
            tally.late += 1
            self._keep("late", asked.question, f"not answered {now - asked.at:.1f} s after it was sent")
        if late_s > GIVE_UP_S:
            tally.never += 1
            self.unanswered.discard(asked)
            asked.close()


def timed_out(question: Question, answer: Answer) -> bool:
    """Return whether an answer says that the time is up."""
    if question.kind == "jobstatus":
        return answer.headers.get("jobpush-timed-out") == "1"
    return bool(json.loads(answer.body)["timed_out"])
