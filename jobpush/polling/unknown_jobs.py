"""
Which questions about jobs that no look has shown may bring the next look forward.

Such a question waits for a look that begins after it. It need not wait for long, since the job was perhaps just submitted; but
anybody can ask, so that these looks are bounded. A question that brings none forward waits for the next one that is due.
"""

from __future__ import annotations

from collections.abc import Iterable

from jobpush.polling.schedule import TokenBucket

#: Looks that may be brought forward at once, and seconds until it may be one more: of all clients, and of each.
BURST, EVERY_S = 10, 2.0
CLIENT_BURST, CLIENT_EVERY_S = 5, 4.0

#: The clients whose questions are counted; of more the one is forgotten that has asked longest ago.
MOST_CLIENTS = 1000

#: Seconds for which a job that a look has not shown brings no other one forward, and of how many jobs that is remembered.
UNKNOWN_S = 5.0
MOST_UNKNOWN = 10_000


class UnknownJobs:
    """What is remembered of such questions to one cluster. The clock is an argument."""

    def __init__(self) -> None:
        self._all = TokenBucket(BURST, EVERY_S)
        self._clients: dict[str, TokenBucket] = {}
        self._missed: dict[str, float] = {}

    def hurries(self, jobs: Iterable[str], client: str | None, now: float) -> bool:
        """
        Return whether this question may bring a look forward, and take note of it if so.

        :param jobs: the canonical ids that are looked for; none, if it asks for something else.
        :param client: the name of who asks; None for the service itself.
        """
        wanted = tuple(jobs)
        if wanted and all(now - self._missed.get(job_id, float("-inf")) < UNKNOWN_S for job_id in wanted):
            return False
        mine = self._bucket_of(client)
        if not self._all.has(now) or not mine.has(now):
            return False
        self._all.take(now)
        if mine is not self._all:
            mine.take(now)
        return True

    def missed(self, jobs: Iterable[str], now: float) -> None:
        """Note that a look has not shown these jobs."""
        for job_id in jobs:
            self._missed.pop(job_id, None)
            self._missed[job_id] = now
            if len(self._missed) > MOST_UNKNOWN:
                del self._missed[next(iter(self._missed))]

    def _bucket_of(self, client: str | None) -> TokenBucket:
        if client is None:
            return self._all
        bucket = self._clients.pop(client, None) or TokenBucket(CLIENT_BURST, CLIENT_EVERY_S)
        self._clients[client] = bucket
        if len(self._clients) > MOST_CLIENTS:
            del self._clients[next(iter(self._clients))]
        return bucket
