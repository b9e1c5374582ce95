"""
Finds the Grid Engine jobs that have ended, in the accounting and reporting files; those that the queue lists have not.

A finished job leaves ``qstat`` at once, and its accounting record comes a second or more later (or fifteen, with the default
``flush_time``); a pending job that is deleted leaves no record at all, but a line in the reporting file. A record ends a job
only if the queue does not list it, and if it is proved to be of that very submission (`of_submission`): numbers recur.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Collection, Container, Iterable, Mapping, Sequence

import attrs

from jobpush.core.model import JobDescriptor, ReasonCode
from jobpush_adapters.common.logs import COMPRESSED, NOWHERE, LogFollower, Place, archives, compressed_lines, look_back
from jobpush_adapters.sge.accounting import (
    AccountingRecord,
    Deletion,
    deleted_descriptor,
    descriptor,
    finished_id,
    line_time,
    parse_accounting,
    parse_deletion,
    reported_at,
    sent_id,
)
from jobpush_adapters.sge.states import NOT_DELETED, Deleted
from jobpush_adapters.sge.submissions import SKEW_S, deletion_of, last_submission, of_submission

#: Seconds for which a job that has ended is listed, counted from its record.
REMEMBER_S = 300.0

#: Seconds for which a record that may be of a deletion waits for its line in the reporting file.
DELETION_WAIT_S = 30.0

#: Seconds after the flush time within which a record must have been written (measured: 1.0 to 1.9).
LATE_S = 5.0

#: Seconds for which records are looked for of jobs that were never listed.
RECORDED_S = 7 * 86400.0

#: The most jobs that are remembered; the oldest are forgotten first.
MOST = 50_000


@attrs.frozen
class Found:
    """
    What was read of the files.

    :ivar records: of the accounting file.
    :ivar reported: the ``acct`` lines of the reporting file, which say the same.
    :ivar deletions: who deleted what.
    :ivar finished: the ids of jobs that the reporting file says to have finished.
    :ivar sent: the ids of jobs that were given to an execution daemon, and when, in epoch seconds.
    """

    records: Sequence[AccountingRecord] = ()
    reported: Sequence[AccountingRecord] = ()
    deletions: Sequence[Deletion] = ()
    finished: Sequence[str] = ()
    sent: Mapping[str, float] = attrs.field(factory=dict)


@attrs.define(eq=False)
class _Told:
    """What was read of one id. ``at`` is when the last of it was read, by the reactor's time."""

    records: list[AccountingRecord] = attrs.field(factory=list)
    reported: list[AccountingRecord] = attrs.field(factory=list)
    deletions: list[Deletion] = attrs.field(factory=list)
    finished: bool = False
    at: float = -math.inf
    shown: JobDescriptor | None = None


@attrs.frozen
class Looked:
    """
    What the files have on one job.

    :ivar records: its accounting records, in their order.
    :ivar deletion: how it was deleted, if it was.
    :ivar sent: whether it was given to an execution daemon since it was seen last.
    :ivar reached: whether the accounting files reach back to when it was seen last.
    """

    records: Sequence[AccountingRecord] = ()
    deletion: Deletion | None = None
    sent: bool = False
    reached: bool = False


class EndedJobs:
    """
    :param accounting: the path of the accounting file.
    :param reporting: the path of the reporting file; None if it is not followed.
    :param flush_s: seconds after which records are written at the latest.
    :ivar gaps: how often lines of the files may have been missed since they are followed.
    """

    def __init__(self, cluster: str, accounting: str, reporting: str | None, flush_s: float = 15.0) -> None:
        self.cluster = cluster
        self.accounting = accounting
        self.reporting = reporting
        self.flush_s = flush_s
        self.gaps = 0
        self._accounting = LogFollower(accounting)
        self._reporting = LogFollower(reporting) if reporting is not None else None
        self._told: dict[str, _Told] = {}
        self._sent: dict[str, float] = {}
        self._begun: tuple[Place, Place] | None = None
        self._since = math.inf
        self._heard_at = 0.0
        self._read_at = -math.inf  # by the reactor's time, which ages are measured by

    # -- on a thread

    def read(self, now: float, seen: Container[str] = ()) -> Found:
        """
        Return what was appended since the last call; the first time, what is `REMEMBER_S` seconds old at most. Blocks.

        :param seen: the ids of jobs that the queue has listed.
        :raise OSError: if a file cannot be read.
        """
        if self._begun is None:
            since = now - REMEMBER_S
            self._begun = (self._accounting.skip(), self._reporting.skip() if self._reporting is not None else NOWHERE)
            self._since = now
            records: list[AccountingRecord] = []
            self._read_accounting(since, _records_into(records), self._begun[0])
            records = [record for record in records if record.ended_at >= since]
            deletions: list[Deletion] = []
            self._read_reporting(since, _parsed_into(deletions, parse_deletion), self._begun[1])
            deletions = [deletion for deletion in deletions if deletion.at >= since]
            finished = [record.job_id for record in records]
            return Found(self._with_earlier(records, seen), (), deletions, finished)
        lines = self._accounting.lines()
        told = self._reporting.lines() if self._reporting is not None else []
        gaps = self._accounting.gaps + (self._reporting.gaps if self._reporting is not None else 0)
        if gaps != self.gaps:
            self.gaps, self._since = gaps, now
        for line in lines:
            self._heard_at = max(self._heard_at, line_time(line))
        records = [record for line in lines if (record := parse_accounting(line)) is not None]
        return Found(
            self._with_earlier(records, seen),
            [record for line in told if is_acct(line) and (record := parse_accounting(line)) is not None],
            [deletion for line in told if (deletion := parse_deletion(line)) is not None],
            [job_id for line in told if (job_id := finished_id(line)) is not None],
            {job_id: reported_at(line) for line in told if (job_id := sent_id(line)) is not None},
        )

    def _with_earlier(self, records: list[AccountingRecord], seen: Container[str]) -> list[AccountingRecord]:
        """
        Return the records after those of the attempts that came before them, where the queue has not listed the job and it was
        submitted before the files are followed: whether it was rescheduled, and is a job that others know, is in the files.
        """
        first = {(record.number, record.task): record for record in reversed(records)}
        doubtful = [
            record for record in first.values()
            if record.job_id not in seen and 0 < record.submitted_at < self._since and not record.goes_on
        ]  # fmt: skip
        if not doubtful:
            return records
        numbers = {record.number for record in doubtful}
        earlier: list[AccountingRecord] = []
        since = min(record.submitted_at for record in doubtful)
        upto = self._begun[0] if self._begun is not None else None
        self._read_accounting(since - SKEW_S, _records_into(earlier, numbers), upto)
        before = [
            record for record in earlier
            if record.goes_on and record not in records
            and any(record.number == one.number and record.user == one.user for one in doubtful)
        ]  # fmt: skip
        return [*before, *records]

    def look_back(self, jobs: Sequence[JobDescriptor], since: float) -> dict[str, Looked]:
        """
        Return what the files have on these jobs, by id. Blocks.

        :param since: the time before which there can be no record of these jobs.
        :raise OSError: if a file cannot be read.
        """
        numbers = {job.id.partition(".")[0] for job in jobs}
        records: list[AccountingRecord] = []
        reached = self._read_accounting(since - SKEW_S, _records_into(records, numbers))
        told: list[AccountingRecord] = []
        deletions: list[Deletion] = []
        sent: dict[str, float] = {}

        def take(lines: Iterable[bytes]) -> None:
            for line in lines:
                if is_acct(line):
                    record = parse_accounting(line)
                    if record is not None and record.number in numbers:
                        told.append(record)
                elif (deletion := parse_deletion(line)) is not None:
                    if deletion.number in numbers:
                        deletions.append(deletion)
                elif (job_id := sent_id(line)) is not None and job_id.partition(".")[0] in numbers:
                    sent[job_id] = max(reported_at(line), sent.get(job_id, 0.0))

        self._read_reporting(since - SKEW_S, take)
        found = {}
        for job in jobs:
            own = max(of_submission(job, records), of_submission(job, told), key=len)
            ran = sent.get(job.id, 0.0) > job.observed_at - 1.0
            deletion = deletion_of(job, deletions, [*records, *told])
            found[job.id] = Looked(own, deletion, ran, reached <= job.observed_at)
        return found

    def recorded(self, ids: Collection[str], now: float) -> dict[str, JobDescriptor]:
        """
        Return the jobs and tasks with these ids, and the tasks of the arrays with these, that have ended since `RECORDED_S`
        seconds ago, by their last submission. Blocks.

        :raise OSError: if a file cannot be read.
        """
        numbers = {job_id.partition(".")[0] for job_id in ids}
        records: list[AccountingRecord] = []
        self._read_accounting(now - RECORDED_S, _records_into(records, numbers))
        by_id: dict[str, _Told] = {}
        for record in records:
            if wanted(record.job_id, ids):
                by_id.setdefault(record.job_id, _Told()).records.append(record)
        if not by_id:
            return {}
        deletions: list[Deletion] = []
        since = min((record.submitted_at for record in records if record.submitted_at > 0), default=now)
        self._read_reporting(since - SKEW_S, _parsed_into(deletions, parse_deletion))
        for deletion in deletions:
            if wanted(deletion.job_id, ids):
                by_id.setdefault(deletion.job_id, _Told()).deletions.append(deletion)
        jobs = ((job_id, self._judge(job_id, told, None, now)) for job_id, told in by_id.items())
        return {job_id: job for job_id, job in jobs if job is not None}

    def _read_accounting(self, since: float, take: Callable[[Iterable[bytes]], None], upto: Place | None = None) -> float:
        return _read_back(self.accounting, since, take, line_time, upto)

    def _read_reporting(self, since: float, take: Callable[[Iterable[bytes]], None], upto: Place | None = None) -> None:
        if self.reporting is not None:
            _read_back(self.reporting, since, take, reported_at, upto)

    # -- on the reactor's thread

    def take(self, told: Found, seconds: float) -> None:
        """Keep what `read` found; ``seconds`` is the reactor's time."""
        self._read_at = seconds
        for record in told.records:
            self._of(record.job_id).records.append(record)
        for record in told.reported:
            self._of(record.job_id).reported.append(record)
        for deletion in told.deletions:
            self._of(deletion.job_id).deletions.append(deletion)
        for job_id in told.finished:
            if job_id in self._told:
                self._told[job_id].finished = True
        self._sent.update(told.sent)
        while len(self._told) > MOST:
            del self._told[next(iter(self._told))]
        while len(self._sent) > MOST:
            del self._sent[next(iter(self._sent))]

    def ended(
        self, listed: Container[str], waiting: Callable[[str], bool], seen: Mapping[str, JobDescriptor], now: float
    ) -> dict[str, JobDescriptor]:
        """
        Return the jobs that have ended and that the queue does not list, as long as they are remembered.

        :param listed: the ids that the queue lists.
        :param waiting: returns whether an id is that of a task in a pending range that the queue lists.
        :param seen: the jobs as the queue listed them last.
        """
        found = {}
        for job_id, kept in list(self._told.items()):
            if job_id in listed or waiting(job_id):
                kept.at, kept.shown = self._read_at, None
                continue
            if kept.shown is None:
                kept.shown = self._judge(job_id, kept, seen.get(job_id), now)
            if kept.shown is not None:
                found[job_id] = kept.shown
            if self._read_at - kept.at > REMEMBER_S:
                del self._told[job_id]
        return found

    def whole(self, jobs: Iterable[JobDescriptor]) -> frozenset[str]:
        """Return the ids of the arrays that were submitted since each end is known: nothing of them can have been missed."""
        since = self._since - REMEMBER_S
        return frozenset(
            job.parent or job.id for job in jobs
            if (job.parent is not None or job.pending_tasks is not None) and (job.submitted_at or 0.0) >= since
        )  # fmt: skip

    def followed(self, job: JobDescriptor) -> bool:
        """Return whether the files are followed, without a gap, since before that job was seen last."""
        return self._since <= job.observed_at

    def caught_up(self, gone_at: float, gone_for: float) -> bool:
        """Return whether a job that was gone at that date, so many seconds ago, would have a record by now."""
        return self._heard_at > gone_at + 1.0 or gone_for > self.flush_s + LATE_S

    def was_sent(self, job: JobDescriptor) -> bool:
        """Return whether the job was given to an execution daemon after it was seen last."""
        return self._sent.get(job.id, 0.0) > job.observed_at - 1.0

    def deletion(self, deletion: Deletion | None, job: JobDescriptor | None) -> Deleted:
        """Return what is known of a deletion of a job, by its line in the reporting file and by its letters."""
        if deletion is not None:
            return Deleted(proved=True, forced=deletion.forced)
        return suspected(job) if self.reporting is None else NOT_DELETED

    def _of(self, job_id: str) -> _Told:
        kept = self._told.setdefault(job_id, _Told())
        kept.at, kept.shown = self._read_at, None
        return kept

    def _judge(self, job_id: str, kept: _Told, known: JobDescriptor | None, now: float) -> JobDescriptor | None:
        if known is not None and known.done:
            known = None
        records: Sequence[AccountingRecord] = max(kept.records, kept.reported, key=len)
        if known is not None:
            # What is told of another job by that number is none of this one's, and no job of its own that could be proved.
            others = self._of_other_tasks(records, known)
            records = of_submission(known, others)
            deletion = deletion_of(known, kept.deletions, others)
        else:
            records, deletion = last_submission(records, kept.deletions)
        if not records:
            if deletion is not None and deletion.waited:
                return deleted_descriptor(self.cluster, deletion, known, now)
            return None
        in_error = known is not None and known.reason_code is ReasonCode.ERROR
        flagged = known is not None and "deleting" in known.flags
        doubtful = (records[-1].failed not in (0, 37) or flagged) and deletion is None and self.reporting is not None
        # A job leaves the error state only if a person does something: its "finished" is that of an attempt.
        if doubtful and (in_error or not kept.finished) and self._read_at - kept.at < DELETION_WAIT_S:
            return None
        job = descriptor(self.cluster, records, self.deletion(deletion, known), known, now, "accounting")
        if job is not None and in_error:
            return attrs.evolve(job, started_at=None)  # that attempt was published when it was made
        if job is None and deletion is not None:
            # Rescheduled, and then deleted while it waited again.
            return deleted_descriptor(self.cluster, deletion, known, now)
        return job

    def _of_other_tasks(self, records: Sequence[AccountingRecord], known: JobDescriptor) -> Sequence[AccountingRecord]:
        """Return the records with those before them of other tasks of the array that were rescheduled."""
        if known.parent is None:
            return records
        number = known.parent
        moves = [
            record for job_id, kept in self._told.items() if job_id != known.id and job_id.partition(".")[0] == number
            for record in kept.records if record.goes_on
        ]  # fmt: skip
        return [*moves, *records]


def wanted(job_id: str, ids: Container[str]) -> bool:
    """Return whether a job or task, or the array that it is of, is one of these."""
    return job_id in ids or job_id.partition(".")[0] in ids


def suspected(job: JobDescriptor | None) -> Deleted:
    """Return what the letter ``d`` says of a deletion where the reporting file cannot be read."""
    return Deleted(suspected=job is not None and "deleting" in job.flags)


def is_acct(line: bytes) -> bool:
    """Return whether a line of the reporting file is an accounting record."""
    if line.startswith(b"{"):
        return b'"exit_status"' in line[:2000] and b'"failed"' in line[:2000]
    return line.split(b":", 2)[1:2] == [b"acct"]


def _records_into(found: list[AccountingRecord], numbers: Collection[str] | None = None) -> Callable[[Iterable[bytes]], None]:
    """Return what appends the records of some lines; of these jobs only, if they are given."""

    def take(lines: Iterable[bytes]) -> None:
        for line in lines:
            record = parse_accounting(line)
            if record is not None and (numbers is None or record.number in numbers):
                found.append(record)

    return take


def _parsed_into(found: list[Deletion], parse: Callable[[bytes], Deletion | None]) -> Callable[[Iterable[bytes]], None]:
    def take(lines: Iterable[bytes]) -> None:
        found.extend(one for line in lines if (one := parse(line)) is not None)

    return take


def _read_back(
    path: str,
    since: float,
    take: Callable[[Iterable[bytes]], None],
    time_of: Callable[[bytes], float],
    upto: Place | None = None,
) -> float:
    """
    Have the lines taken that were written since that time, in their order, of a file and of those that it was moved to.

    :param upto: what was appended to the file after this place is left out.
    :return: the time back to which they reach, without a file between that cannot be read; infinity if there is none.
    :raise OSError: if the file itself cannot be read.
    """
    reached, whole = math.inf, True
    blocks: list[list[bytes]] = []
    for one in [path, *archives(path)]:
        if one == path and (upto == NOWHERE or not os.path.exists(path)):
            continue
        first = math.inf
        try:
            if os.path.splitext(one)[1] in COMPRESSED:
                lines = list(_recent(one, since, time_of))
                if lines:
                    blocks.append(lines)
                    first = next((at for line in lines if (at := time_of(line)) > 0), math.inf)
            else:
                inside = upto if upto is not None and os.stat(one).st_ino == upto[0] else None
                for block in look_back([one], lambda line: 0 < time_of(line) < since, inside):
                    blocks.append(block)
                    first = next((at for line in block if (at := time_of(line)) > 0), first)
        except OSError:
            if one == path:
                raise
            whole = False
        if math.isinf(first) and one != path and os.path.getsize(one) > 0:
            whole = whole and _is_empty(one)
        if whole:
            reached = min(reached, first)
        if first < since:
            break
    for block in reversed(blocks):
        take(block)
    return reached


def _recent(path: str, since: float, time_of: Callable[[bytes], float]) -> Iterable[bytes]:
    """Yield the lines of a compressed file from the last one on that is older than that time."""
    older: bytes | None = None
    begun = False
    for line in compressed_lines(path):
        if not begun and 0 < time_of(line) < since:
            older = line
            continue
        if not begun and older is not None:
            yield older
        begun = True
        yield line
    if not begun and older is not None:
        yield older


def _is_empty(path: str) -> bool:
    """Return whether a file has comments only."""
    try:
        with open(path, "rb") as file:
            return all(line.startswith(b"#") for line in file.read(4096).splitlines())
    except OSError:
        return False
