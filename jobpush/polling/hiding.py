"""Which schedulers hide users' jobs from each other, as far as that is known."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping

import attrs
from twisted.logger import Logger
from twisted.python.failure import Failure

from jobpush.core.model import QueueFacts
from jobpush.events.interfaces import IJournal

#: The name under which the journal keeps which clusters hide jobs, with how that is known.
KEPT = "hides_jobs"


@attrs.frozen
class _Known:
    """
    :ivar why: which scheduler hides jobs, and how that is known.
    :ivar unknown: the clusters of which it is not known.
    """

    why: str | None
    unknown: tuple[str, ...]


class Hiding:
    """
    What has not been said is not taken for "they do not". That a scheduler hides jobs is kept over restarts; that it does not
    is not: it may have been told to meanwhile.

    :param facts: returns what each cluster's scheduler has said since the start; None for one that has not yet.
    :ivar on_change: called when more, or something else, is known.
    """

    log = Logger()

    def __init__(self, journal: IJournal, facts: Callable[[], Mapping[str, QueueFacts | None]]) -> None:
        self._journal = journal
        self._facts = facts
        self.on_change: list[Callable[[], None]] = []
        self._known: _Known | None = None

    def why(self) -> str | None:
        """Return which scheduler hides jobs, and how that is known; None if none is known to."""
        return self._now().why

    def unknown(self) -> tuple[str, ...]:
        """Return the clusters of which it is not known."""
        return self._now().unknown

    def _now(self) -> _Known:
        """Return what is known. Each request asks, and it changes with `checked` alone."""
        if self._known is None:
            self._known = self._find_out()
        return self._known

    def _find_out(self) -> _Known:
        kept, facts = self._kept(), self._facts()
        unknown = tuple(name for name, its in facts.items() if its is None and name not in kept)
        for cluster, its in facts.items():
            evidence = kept.get(cluster) if its is None else its.evidence if its.hides_jobs else None
            if evidence is not None:
                return _Known(f"{cluster} hides users' jobs from each other ({evidence})", unknown)
        return _Known(None, unknown)

    def checked(self) -> None:
        """A scheduler has said whether it hides jobs, or clusters came, went or were replaced, or the journal was opened."""
        kept = self._kept()
        said = {name: facts for name, facts in self._facts().items() if facts is not None}
        now = {name: evidence for name, evidence in kept.items() if name not in said}
        now.update((name, facts.evidence) for name, facts in said.items() if facts.hides_jobs)
        if now != kept:
            self._journal.keep(KEPT, json.dumps(now)).addErrback(self._not_kept)
        before, self._known = self._known, self._find_out()
        if self._known != before:
            for call in self.on_change:
                call()

    def _kept(self) -> dict[str, str]:
        text = self._journal.kept().get(KEPT)
        return json.loads(text) if text else {}

    def _not_kept(self, failure: Failure) -> None:
        self.log.error("that jobs are hidden is not known after a restart: {why}", why=failure.getErrorMessage())
