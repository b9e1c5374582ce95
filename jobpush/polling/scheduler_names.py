"""
Which scheduler a queue is of: by the name that it has for itself, such as Slurm's ClusterName.

Where another cluster answers in its place (a configuration file that was replaced, a name that resolves to another host), its
jobs are not ours. Ours is the one that was told of first, over restarts too: another one may answer just then.
"""

from __future__ import annotations

import json

from twisted.logger import Logger
from twisted.python.failure import Failure

from jobpush.adapter.command import printable
from jobpush.adapter.interfaces import OtherCluster
from jobpush.events.interfaces import IJournal

#: Under which the journal keeps it.
KEPT = "scheduler_names"


class SchedulerNames:
    """The names of the schedulers of all queues."""

    log = Logger()

    def __init__(self, journal: IJournal) -> None:
        self._journal = journal
        #: What is not in the journal yet, by cluster.
        self._new: dict[str, str] = {}

    def check(self, cluster: str, name: str | None, wanted: str | None = None) -> None:
        """
        Check that a queue's scheduler is the one that it was.

        :param name: what it says that it is called; None if it says nothing.
        :param wanted: what it is to be called by the settings; by default as it was called first.
        :raise OtherCluster: naming both, if it is another one.
        """
        known = {**self._kept(), **self._new}
        expected = wanted if wanted is not None else known.get(cluster)
        if expected is not None and name != expected:
            raise OtherCluster(
                f"the answers are those of {printable(name or 'a scheduler without a name')}, expected {printable(expected)}; "
                "its jobs are not told (if that is meant: the queue's option scheduler_name)"
            )
        if name is not None and known.get(cluster) != name:
            self._new[cluster] = name
            self._journal.keep(KEPT, json.dumps({**known, cluster: name})).addErrback(self._not_kept, cluster)

    def _kept(self) -> dict[str, str]:
        text = self._journal.kept().get(KEPT)
        return json.loads(text) if text else {}

    def _not_kept(self, failure: Failure, cluster: str) -> None:
        why = failure.getErrorMessage()
        self.log.error("which scheduler {cluster} is of is not known after a restart: {why}", cluster=cluster, why=why)
