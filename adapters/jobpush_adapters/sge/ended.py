"""
Finds the Grid Engine jobs that have ended, in the accounting and reporting files; those that the queue lists have not.

A finished job leaves ``qstat`` at once, and its accounting record comes a second or more later (or fifteen, with the default
``flush_time``); a pending job that is deleted leaves no record at all, but a line in the reporting file. A record ends a job
only if the queue does not list it.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping, Sequence
from typing import TypeVar

import attrs

from jobpush.core.model import JobDescriptor, ReasonCode
from jobpush_adapters.common.logs import NOWHERE, LogFollower, Place, look_back, rotated
from jobpush_adapters.common.records import is_same_user
from jobpush_adapters.sge.accounting import (
    AccountingRecord,
    Deletion,
    deleted_descriptor,
    descriptor,
    finished_id,
    parse_accounting,
    parse_deletion,
)

_T = TypeVar("_T")

#: Seconds for which a job that has ended is listed, counted from its record.
REMEMBER_S = 300.0

#: Seconds for which a record that may be of a deletion waits for its line in the reporting file.
DELETION_WAIT_S = 30.0

#: Seconds by which the clocks of the qmaster and of this host may differ.
SKEW_S = 120.0

#: The most jobs that are remembered; the oldest are forgotten first.
MOST = 50_000


@attrs.define(eq=False)
class _Told:
    """What was read of one id. ``at`` is when the last of it was read."""

    records: list[AccountingRecord] = attrs.field(factory=list)
    deletion: Deletion | None = None
    finished: bool = False
    at: float = 0.0
    shown: JobDescriptor | None = None


class EndedJobs:
    """
    :param accounting: the path of the accounting file.
    :param reporting: the path of the reporting file; None if it is not followed.
    """

    def __init__(self, cluster: str, accounting: str, reporting: str | None) -> None:
        self.cluster = cluster
        self.reporting = reporting
        self._accounting_path = accounting
        self._accounting = LogFollower(accounting)
        self._reporting = LogFollower(reporting) if reporting is not None else None
        self._told: dict[str, _Told] = {}
        self._begun: tuple[Place, Place] | None = None

    # -- on a thread

    def read(self, now: float) -> tuple[list[AccountingRecord], list[Deletion], list[str]]:
        """
        Return what was appended since the last call; the first time, what is `REMEMBER_S` seconds old at most. Blocks.

        :raise OSError: if a file cannot be read.
        """
        if self._begun is None:
            since = now - REMEMBER_S
            self._begun = (self._accounting.skip(), self._reporting.skip() if self._reporting is not None else NOWHERE)
            records = [record for record in self._records_back(since) if record.ended_at >= since]
            deletions: list[Deletion] = []
            if self._reporting is not None:
                deletions = [deletion for deletion in self._deletions_back(since) if deletion.at >= since]
            return records, deletions, [record.job_id for record in records]
        records = [record for line in self._accounting.lines() if (record := parse_accounting(line)) is not None]
        lines = self._reporting.lines() if self._reporting is not None else []
        deletions = [deletion for line in lines if (deletion := parse_deletion(line)) is not None]
        return records, deletions, [job_id for line in lines if (job_id := finished_id(line)) is not None]

    def look_back(
        self, jobs: Sequence[JobDescriptor], since: float
    ) -> dict[str, tuple[list[AccountingRecord], Deletion | None]]:
        """
        Return what the files have on jobs that ended before the files were followed. Blocks.

        :param since: the time before which there can be no record of these jobs.
        """
        wanted = {job.id: job for job in jobs}
        found: dict[str, tuple[list[AccountingRecord], Deletion | None]] = {}
        for record in self._records_back(since - SKEW_S):
            job = wanted.get(record.job_id)
            if job is not None and belongs(job, record):
                found.setdefault(record.job_id, ([], None))[0].append(record)
        if self._reporting is not None:
            for deletion in self._deletions_back(since - SKEW_S):
                # An array whose pending tasks were deleted is asked about as a whole.
                for job_id in {deletion.job_id, deletion.number}:
                    job = wanted.get(job_id)
                    if job is not None and belongs(job, deletion):
                        found[job_id] = (found.get(job_id, ([], None))[0], deletion)
        return found

    def _records_back(self, since: float) -> list[AccountingRecord]:
        def old(line: bytes) -> bool:
            record = parse_accounting(line)
            return record is not None and 0 < record.ended_at < since

        return _collect(self._accounting_path, parse_accounting, old, self._begun[0] if self._begun else None)

    def _deletions_back(self, since: float) -> list[Deletion]:
        assert self.reporting is not None

        def old(line: bytes) -> bool:
            stamp = line.split(b":", 1)[0]
            return stamp.isdigit() and 0 < int(stamp) < since

        return _collect(self.reporting, parse_deletion, old, self._begun[1] if self._begun else None)

    # -- on the reactor's thread

    def take(self, told: tuple[list[AccountingRecord], list[Deletion], list[str]], now: float) -> None:
        """Keep what `read` found."""
        records, deletions, finished = told
        for record in records:
            kept = self._of(record.job_id, now)
            if kept.records and kept.records[-1].submitted_at > record.submitted_at > 0:
                continue
            kept.records.append(record)
        for deletion in deletions:
            self._of(deletion.job_id, now).deletion = deletion
        for job_id in finished:
            if job_id in self._told:
                self._told[job_id].finished = True
        while len(self._told) > MOST:
            del self._told[next(iter(self._told))]

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
                kept.at, kept.shown = now, None
                continue
            if kept.shown is None:
                kept.shown = self._judge(job_id, kept, seen.get(job_id), now)
            if kept.shown is not None:
                found[job_id] = kept.shown
            if now - kept.at > REMEMBER_S:
                del self._told[job_id]
        return found

    def _of(self, job_id: str, now: float) -> _Told:
        kept = self._told.setdefault(job_id, _Told())
        kept.at, kept.shown = now, None
        return kept

    def _judge(self, job_id: str, kept: _Told, known: JobDescriptor | None, now: float) -> JobDescriptor | None:
        if known is not None and (known.done or not self._belongs(kept, known)):
            known = None
        if not kept.records:
            if kept.deletion is not None and kept.deletion.waited:
                return deleted_descriptor(self.cluster, kept.deletion, known, now)
            return None
        deleted = kept.deletion is not None or (known is not None and "deleting" in known.flags)
        if kept.records[-1].failed not in (0, 37) and not deleted and self.reporting is not None:
            # A job leaves the error state only if a person does something: its "finished" is that of an attempt.
            in_error = known is not None and known.reason_code is ReasonCode.ERROR
            if (in_error or not kept.finished) and now - kept.at < DELETION_WAIT_S:
                return None
        job = descriptor(self.cluster, kept.records, deleted, known, now, "accounting")
        if job is not None and known is not None and known.reason_code is ReasonCode.ERROR:
            return attrs.evolve(job, started_at=None)  # that attempt was published when it was made
        if job is None and kept.deletion is not None:
            # Rescheduled, and then deleted while it waited again.
            return deleted_descriptor(self.cluster, kept.deletion, known, now)
        return job

    @staticmethod
    def _belongs(kept: _Told, known: JobDescriptor) -> bool:
        told: list[AccountingRecord | Deletion] = [record for record in kept.records if record.submitted_at > 0]
        if kept.deletion is not None:
            told.append(kept.deletion)
        return not told or belongs(known, max(told, key=lambda one: one.submitted_at))


def belongs(job: JobDescriptor, told: AccountingRecord | Deletion) -> bool:
    """
    Return whether a record or deletion is of this job: of the same user and submitted at the same time.

    A rescheduled job has a later time of submission; 0 says nothing.
    """
    at = told.submitted_at
    return is_same_user(job, told.user) and (job.submitted_at is None or at <= 0 or at >= int(job.submitted_at))


def _collect(path: str, parse: Callable[[bytes], _T | None], old: Callable[[bytes], bool], upto: Place | None) -> list[_T]:
    """Return what the lines between an old one and that place are parsed as, in the file's order."""
    blocks = list(look_back([path, *rotated(path)], old, upto))
    return [found for lines in reversed(blocks) for line in lines if (found := parse(line)) is not None]
