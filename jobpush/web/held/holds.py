"""How many requests are held, and how many may be: file descriptors are what runs out first."""

from __future__ import annotations

import random
import resource
from collections.abc import Iterator
from contextlib import contextmanager

from twisted.logger import Logger

from jobpush.service import JobPush
from jobpush.web.problems import Problem

#: Descriptors kept for everything but held requests: listening, the journal, commands, requests that are not held.
RESERVE = 256

#: The log speaks up when this share of the cap is used.
NEAR = 0.9


def raise_descriptor_limit() -> int:
    """Raise the soft limit of open files as far as this process may; the limit then."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
            soft = hard
        except (OSError, ValueError):
            pass
    return soft if soft != resource.RLIM_INFINITY else 1_000_000


class Holds:
    """
    :param cap: how many requests may be held at once.
    :ivar held: how many are held now.
    :ivar by_kind: the same, by what they are: "poll", "stream", "socket".
    """

    log = Logger()

    def __init__(self, service: JobPush, cap: int) -> None:
        self.cap = cap
        self.held = 0
        self.by_kind = {"poll": 0, "stream": 0, "socket": 0}
        self._service = service
        self._warned = False

    def check(self) -> None:
        """
        May one more be held?

        :raise Problem: 503, if the cap is reached.
        """
        if self.held >= self.cap:
            retry = random.randint(2, 10)
            raise Problem(
                503,
                f"{self.cap} requests are held already, as many as this server may; try again later",
                headers={"Retry-After": str(retry)},
            )

    @contextmanager
    def holding(self, kind: str = "poll") -> Iterator[None]:
        """
        While a request is held.

        :raise Problem: 503, if the cap is reached.
        """
        self.begin(kind)
        try:
            yield
        finally:
            self.end(kind=kind)

    def begin(self, kind: str = "poll") -> None:
        """
        A request is held from now on, until ``end``.

        :raise Problem: 503, if the cap is reached.
        """
        self.check()
        self.held += 1
        self.by_kind[kind] += 1
        if self.held >= NEAR * self.cap and not self._warned:
            self._warned = True
            self.log.warn(
                "{held} requests are held; from {cap} on new ones get 503 (raise the limit of open files, or --max-held)",
                held=self.held,
                cap=self.cap,
            )

    def end(self, count: int = 1, kind: str = "poll") -> None:
        """So many less."""
        self.held -= count
        self.by_kind[kind] -= count
        if self._warned and self.held < NEAR * self.cap * 0.9:
            self._warned = False
