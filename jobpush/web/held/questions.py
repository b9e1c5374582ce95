"""
What clients ask, and what can come of it: the values between the routes, which know what a question means, and whatever holds
the request meanwhile.

A question comes from a request of Twisted's or straight from a connection's bytes, and it is the same then: one function of its
route makes an outcome of it. tests/web/routes/test_common.py has which outcome, tests/web/held/test_registry.py what becomes of
it.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Hashable, Mapping, Sequence
from typing import Any, Protocol

import attrs

from jobpush.core.filters import ALL, Selects, Visibility
from jobpush.core.model import JobKey
from jobpush.core.record import Event
from jobpush.core.workflow import kept_name
from jobpush.events.tracker import Wake
from jobpush.web.params import Preference, with_kept_names
from jobpush.web.responses import Rendering


@attrs.frozen(eq=False)
class Question:
    """
    What a request asks.

    :ivar route: the name of what answers it.
    :ivar arguments: the parts of the path that vary.
    :ivar parameters: texts of the query string, or JSON values of a body, by name.
    :ivar came_at: the reactor's time at which it came.
    :ivar visibility: whose jobs the answer may show.
    :ivar condition: ``If-None-Match`` with ``Prefer``, if the request has it.
    :ivar size: bytes that it takes up while it is held.
    """

    route: str
    arguments: tuple[str, ...]
    parameters: Mapping[str, list[object]]
    came_at: float
    visibility: Visibility = ALL
    condition: Preference | None = None
    size: int = 0

    def seen_by(self, visibility: Visibility) -> Question:
        """See `Asked`."""
        return attrs.evolve(self, visibility=visibility)

    def again(self, now: float) -> Question:
        """See `Asked`."""
        return attrs.evolve(self, came_at=now)


def asked_by(asker: str, question: Question) -> Question:
    """
    Return a question with the names of workflows as they are kept: then it means the same whoever asks it, and what is shared
    between those who ask alike is right for each of them.

    :param asker: the user whose workflows names without an owner are of; empty for who did not say who he is.
    """
    if question.route == "workflow":
        return attrs.evolve(question, arguments=(kept_name("/".join(question.arguments), asker),))
    parameters = with_kept_names(question.parameters, asker)
    return question if parameters is question.parameters else attrs.evolve(question, parameters=parameters)


class Asked(Protocol):
    """
    What is kept of a question while its requests are held: enough to ask it again. There are tens of thousands of these.

    :ivar visibility: whose jobs the answer may show.
    :ivar size: bytes that the question takes up.
    """

    @property
    def visibility(self) -> Visibility: ...

    @property
    def size(self) -> int: ...

    def seen_by(self, visibility: Visibility) -> Asked:
        """Return the same for those to whom these jobs may be shown."""

    def again(self, now: float) -> Question:
        """
        Return the question, as if it came now.

        :param now: the reactor's time.
        """


class Watch(Protocol):
    """What a held question waits for."""

    @property
    def selection(self) -> Selects:
        """The events that concern it."""

    def take(self, events: Sequence[Event]) -> bool:
        """Take note of events; return whether it can be answered now."""

    @property
    def gathered(self) -> Sequence[Event]:
        """The events that belong to its answer so far, oldest first."""


@attrs.frozen(eq=False)
class LookRequest:
    """
    A look at some schedulers that is to begin after the question came, and what it tells.

    :ivar clusters: where to look.
    :ivar jobs: those that are looked for. What the look does not show of them is asked of accounting.
    :ivar seen: called in the turn in which it is published. An outcome takes the place of the hold; None leaves it.
    :ivar visibility: whose jobs who asks may see.
    """

    clusters: tuple[str, ...]
    seen: Callable[[], Outcome | None]
    jobs: tuple[JobKey, ...] = ()
    visibility: Visibility = ALL


@attrs.frozen(eq=False)
class Ready:
    """The question can be answered now."""

    render: Callable[[], Rendering]


@attrs.frozen(eq=False)
class Hold:
    """
    The question must wait.

    :ivar key: questions with the same key that are held at the same time wait for the same and get the same response. Who may
        see it is a part of the key.
    :ivar since: the number after which events are news to it.
    :ivar watch: what it waits for, as things stand now; None if it waits for looks alone. Of those that wait for the same, the
        first one's counts for all.
    :ivar looks: what is to be found out meanwhile.
    :ivar render: makes the response, when what it waited for has come or the time is up.
    :ivar clusters: of whose jobs it waits; all, if none is named.
    :ivar deadline: the reactor's time at which it is answered all the same.
    :ivar wait: the seconds that the client asked for, if the same question at the same moment is held in the same way; else
        None.
    :ivar instead: called with events that it waited for, before the watch is: an outcome takes the place of the hold; None
        leaves it.
    """

    key: Hashable
    since: int
    watch: Watch | None
    render: Callable[[Wake], Rendering]
    deadline: float
    clusters: frozenset[str] = frozenset()
    looks: tuple[LookRequest, ...] = ()
    wait: float | None = None
    instead: Callable[[Sequence[Event]], Outcome | None] | None = None


@attrs.frozen(eq=False)
class Later:
    """
    It takes a while to find out what comes of the question: the journal must be read, or there is much to look at.

    :ivar find: does that.
    """

    find: Callable[[], Coroutine[Any, Any, Outcome]]


Outcome = Ready | Hold | Later
