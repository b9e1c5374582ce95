"""
Nudges: a scheduler's hook or log says "look now", perhaps at these jobs.

They come by HTTP, by a unix datagram socket in the state directory, by UDP with a signature, or from an adapter that follows
its scheduler's log. A nudge only makes a monitor look; what it says of a job is never believed, so that a lost or forged one
can make no state wrong.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Iterable, Mapping, Sequence

import attrs
from twisted.internet.interfaces import IReactorTime

from jobpush.adapter.interfaces import InvalidJobId
from jobpush.polling.monitor import JobStatusMonitor

#: So many nudges a second are read, of each source. The rest say "look at everything", whatever is in them.
READ_PER_S = 1000

#: Jobs that one nudge may name; more are one request to see everything.
MOST_JOBS = 1000

#: Seconds by which the clock of a host that sends signed nudges may differ.
CLOCK_SKEW_S = 30.0


class BadNudge(ValueError):
    """
    What is wrong with it, and what was expected.

    :ivar field: the field that is at fault; empty where it is the whole.
    """

    def __init__(self, detail: str, field: str = "") -> None:
        super().__init__(detail)
        self.field = field


@attrs.frozen
class Nudge:
    """
    :ivar cluster: whose scheduler it is; None for all.
    :ivar jobs: canonical ids of jobs that may have changed; empty for any.
    :ivar early: whether it may not be visible yet. A scheduler's hook is early, its log is not.
    """

    cluster: str | None = None
    jobs: Sequence[str] = ()
    early: bool = True


@attrs.define
class NudgeCounts:
    """
    How many nudges have come from a source.

    :ivar taken: were handed to a monitor.
    :ivar refused: could not be understood, or were not signed as they must be.
    :ivar unread: came faster than they are read, and were taken for requests to see everything.
    """

    taken: int = 0
    refused: int = 0
    unread: int = 0


class Nudges:
    """Takes the nudges of all sources, counts them, and hands them to the monitors."""

    def __init__(self, reactor: IReactorTime, monitors: Mapping[str, JobStatusMonitor]) -> None:
        self.counts: dict[str, NudgeCounts] = {}
        self._reactor = reactor
        self._monitors = monitors
        self._second: dict[str, tuple[int, int]] = {}

    def readable(self, source: str) -> bool:
        """
        Return whether another nudge from there may be read in this second. If not, it is taken for one that names no job: those
        of a burst become one look for each floor interval, as others do.
        """
        counts = self.counts.setdefault(source, NudgeCounts())
        now = self._reactor.seconds()
        second, read = self._second.get(source, (0, 0))
        read = read + 1 if second == int(now) else 1
        self._second[source] = (int(now), read)
        if read <= READ_PER_S:
            return True
        counts.unread += 1
        for monitor in self._monitors.values():
            monitor.nudge()
        return False

    def take(self, source: str, nudge: Nudge) -> None:
        """Make the monitors look."""
        self.counts.setdefault(source, NudgeCounts()).taken += 1
        for cluster, monitor in self._monitors.items():
            if nudge.cluster in (None, cluster):
                monitor.nudge(nudge.jobs, nudge.early)

    def datagram(self, source: str, data: bytes) -> None:
        """A nudge that nobody waits for an answer to: what is wrong with it is counted."""
        if self.readable(source):
            try:
                self.take(source, self.parse(json_object(data)))
            except BadNudge:
                self.refuse(source)

    def refuse(self, source: str) -> None:
        """Count one that is none."""
        self.counts.setdefault(source, NudgeCounts()).refused += 1

    def parse(self, fields: Mapping[str, object]) -> Nudge:
        """
        A nudge from ``{"cluster": …, "jobs": […]}``, both of which may be left out.

        :raise BadNudge: naming the field, and what was expected.
        """
        unknown = sorted(set(fields) - {"cluster", "jobs"})
        if unknown:
            raise BadNudge(f"unknown field {unknown[0][:80]!r}; expected cluster and jobs", unknown[0][:80])
        cluster, jobs = fields.get("cluster"), fields.get("jobs")
        served = ", ".join(sorted(self._monitors))
        if cluster is not None and not isinstance(cluster, str):
            raise BadNudge(f"cluster: expected a text; served are {served}", "cluster")
        if cluster is not None and cluster not in self._monitors:
            raise BadNudge(f"cluster: there is no {cluster[:80]!r}; served are {served}", "cluster")
        jobs = [] if jobs is None else jobs
        if not isinstance(jobs, list) or not all(isinstance(job, str) for job in jobs):
            raise BadNudge('jobs: expected a list of job ids such as "4711"', "jobs")
        name = cluster
        if not jobs or len(jobs) > MOST_JOBS:
            return Nudge(name)
        if name is None:
            if len(self._monitors) != 1:
                raise BadNudge(f"cluster: several are served, expected the one of these jobs: {served}", "cluster")
            name = next(iter(self._monitors))
        return Nudge(name, tuple(self._canonical(name, jobs)))

    def _canonical(self, cluster: str, jobs: Iterable[str]) -> Iterable[str]:
        queue = self._monitors[cluster].queue
        for job in jobs:
            try:
                yield queue.canonical_id(job)
            except InvalidJobId as error:
                raise BadNudge(f"jobs: {job[:80]!r} is not a job id of {cluster}: {error}", "jobs") from None


def json_object(data: bytes) -> Mapping[str, object]:
    """
    A JSON object.

    :raise BadNudge: if it is something else.
    """
    try:
        fields = json.loads(data)
    except (ValueError, RecursionError):
        raise BadNudge("not JSON") from None
    if not isinstance(fields, dict):
        raise BadNudge("not a JSON object")
    return fields


def signed(secret: bytes, now: float, data: bytes) -> bytes:
    """A datagram: the signature (HMAC-SHA-256 in hex), the time in whole seconds since the epoch, the nudge."""
    timed = b"%d " % int(now) + data
    return hmac.new(secret, timed, hashlib.sha256).hexdigest().encode() + b" " + timed


def unsigned(secret: bytes, now: float, datagram: bytes) -> bytes:
    """
    The nudge in a signed datagram.

    :raise BadNudge: if the signature is not that of the secret, or the time is not now.
    """
    signature, _, timed = datagram.partition(b" ")
    if not hmac.compare_digest(signature, hmac.new(secret, timed, hashlib.sha256).hexdigest().encode()):
        raise BadNudge("the signature is not that of the secret")
    sent_at, _, data = timed.partition(b" ")
    if not sent_at.isdigit() or len(sent_at) > 12 or abs(int(sent_at) - now) > CLOCK_SKEW_S:
        raise BadNudge(f"the time of sending is more than {CLOCK_SKEW_S:g} s from now")
    return data
