"""What becomes of held requests when it changes what may be shown to whom."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs

from jobpush.core.filters import Visibility
from jobpush.web.held.questions import Asked, Hold, Outcome, Question
from jobpush.web.held.registry import Registry
from jobpush.web.held.response_group import ResponseGroup
from jobpush.web.held.stream_group import StreamGroup
from jobpush.web.principal import Principal
from jobpush.web.problems import Problem, revoked

#: What requests are told whose time is up while it is found out what they may be told.
_ASK_AGAIN = Problem(503, "what may be shown has just changed; ask again", headers={"Retry-After": "1"})


class Judging:
    """
    :param visibility: returns whose jobs a principal may see; raises `Problem` where it gets no answer.
    :param ask: makes an outcome of a question.
    """

    def __init__(
        self, registry: Registry, visibility: Callable[[Principal], Visibility], ask: Callable[[Question], Outcome]
    ) -> None:
        self._registry = registry
        self._visibility = visibility
        self._ask = ask

    def judge(self) -> None:
        """
        Ask the questions again of those to whom less is shown from now on, or more; let streams follow what may be shown, after
        a ``reset``; and answer those that get no answer any more, or end their streams.

        While it is not known what may be shown, what is held stays: of the queues of which it is not known nothing is told.
        """
        for group in self._registry.groups():
            moved: dict[Visibility, list[Any]] = {}
            members: list[Any] = list(group.members)
            for member in members:
                try:
                    visibility = self._visibility(member.principal)
                except Problem as problem:
                    if problem.status != 503:
                        self._registry.refuse(member, problem)
                    continue
                if not visibility.settled:
                    continue
                if isinstance(group, ResponseGroup):
                    if visibility != group.asked.visibility and group.wake is None:
                        moved.setdefault(visibility, []).append(member)
                elif not isinstance(group, StreamGroup):
                    member.judged(visibility)
                elif visibility != group.selection.visibility:
                    self._registry.restrict(member, attrs.evolve(group.selection, visibility=visibility))
            for visibility, members in moved.items():
                assert isinstance(group, ResponseGroup)
                self._ask_again(members, group.asked.seen_by(visibility))

    def revoke(self, is_revoked: Callable[[Principal], bool]) -> None:
        """Answer what is held for these principals 401, and end their streams."""
        for group in self._registry.groups():
            for member in list(group.members):
                if is_revoked(member.principal):
                    self._registry.refuse(member, revoked())

    def _ask_again(self, members: list[Any], asked: Asked) -> None:
        question = asked.again(self._registry.seconds())
        meanwhile = Hold(
            key=object(),
            since=self._registry.tracker.head,
            watch=None,
            render=lambda wake: _ASK_AGAIN.response(),
            deadline=question.came_at,
        )
        self._registry.ask_again(members, asked, meanwhile, self._ask(question))
