"""What must be so of held requests, their groups and deadlines."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence

from jobpush.runtime.timer_wheel import TimerWheel
from jobpush.web.held.members import Held
from jobpush.web.held.response_group import ResponseGroup
from jobpush.web.held.stream_group import AnyStreams


def violations(
    held: Mapping[Held, ResponseGroup | AnyStreams],
    joinable: Mapping[Hashable, ResponseGroup],
    streams: Sequence[AnyStreams],
    wheel: TimerWheel,
) -> Iterator[str]:
    """
    What is not as it must be, a sentence each.

    :param held: the held requests, each with its group.
    :param joinable: the groups of polls that can be joined, by what they wait for.
    :param streams: the groups of streams; the last is that of those that catch up, which may have no members.
    :param wheel: keeps the deadlines.
    """
    groups: set[ResponseGroup | AnyStreams] = {*held.values(), *joinable.values(), *streams}
    in_groups = [member for group in groups for member in group.members]
    if len(in_groups) != len(held) or set(in_groups) != set(held):
        yield f"{len(held)} requests are held, {len(in_groups)} are in groups"
    deadlines = set(wheel)
    for member, group in held.items():
        if member not in group.members:
            yield f"a held {member.kind} is not in its group"
        if isinstance(group, ResponseGroup) and group.wake is None and member.due is None:
            yield "a held request has no deadline"
        if (member.due is not None) != (member in deadlines):
            yield "a held request's deadline is not the one that the timer wheel keeps"
    can_be_joined: list[ResponseGroup | AnyStreams] = [*joinable.values(), *streams[:-1]]
    for each in can_be_joined:
        if not each.members:
            yield "a group without members can be joined"
    for key, waiting in joinable.items():
        if waiting.hold.key != key or waiting.wake is not None:
            yield "a group can be joined that cannot be waited in"
