"""
Whether the host of a job could be reached whose record says that its execution daemon lost it (``failed`` 18 and 19): then the
node has failed, not the job. Tests: tests/adapters/sge/test_queue.py.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

import attrs
from twisted.internet.defer import Deferred

from jobpush.adapter.command import CommandResult
from jobpush.core.model import JobDescriptor, Outcome, ReasonCode

#: The ``failed`` codes of jobs that a failing host may have ended.
LOST = frozenset({"18", "19"})

#: A queue instance of ``qstat -f`` whose states, the last column, have a ``u``: its host cannot be reached.
_UNREACHABLE = re.compile(r"^[^\s@]+@(\S+)\s.*\s[a-zA-Z]*u[a-zA-Z]*\s*$", re.MULTILINE)

#: Jobs of which is remembered how it was.
MOST = 10_000


class LostHosts:
    """
    :param run: runs a command of Grid Engine's: the name, then the arguments.
    """

    def __init__(self, run: Callable[..., Deferred[CommandResult]]) -> None:
        self._run = run
        self._lost: dict[str, bool] = {}

    async def told(self, jobs: Mapping[str, JobDescriptor]) -> dict[str, JobDescriptor]:
        """
        Return jobs that have ended, those as NODE_FAIL whose host could not be reached when their record was seen first. It is
        asked about once for each: a host that comes back does not undo how they ended.
        """
        doubtful = [job for job in jobs.values() if job.outcome is Outcome.FAILED and job.native.get("failed") in LOST]
        if any(job.uid not in self._lost for job in doubtful):
            result = await self._run("qstat", "-f", "-qs", "u")
            hosts = set(_UNREACHABLE.findall(result.stdout.decode("utf-8", "replace")))
            if len(self._lost) > MOST:
                self._lost.clear()
            for job in doubtful:
                self._lost.setdefault(job.uid, job.nodes in hosts)
        failed = {job.id: _node_failed(job) for job in doubtful if self._lost[job.uid]}
        return {**jobs, **failed}


def _node_failed(job: JobDescriptor) -> JobDescriptor:
    return attrs.evolve(job, outcome=Outcome.NODE_FAIL, reason_code=ReasonCode.NODE_DOWN)
