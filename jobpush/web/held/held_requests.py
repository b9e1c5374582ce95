"""The held requests, each with its group, which are found by who asks too."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import TypeVar

from jobpush.web.held.members import Held

Group = TypeVar("Group")


class HeldRequests(dict[Held, Group]):
    """
    A dictionary of held requests with their groups. It changes by ``requests[request] = group`` and ``del requests[request]``
    alone, and these keep the index by principals.
    """

    def __init__(self) -> None:
        super().__init__()
        self._by_name: dict[str, dict[Held, None]] = {}

    def __setitem__(self, member: Held, group: Group) -> None:
        super().__setitem__(member, group)
        name = member.principal.name
        own = self._by_name.get(name)
        if own is None:
            own = self._by_name[name] = {}
        own[member] = None

    def __delitem__(self, member: Held) -> None:
        super().__delitem__(member)
        name = member.principal.name
        own = self._by_name[name]
        del own[member]
        if not own:
            del self._by_name[name]

    def of(self, name: str) -> Collection[Held]:
        """Return those of the principal with that name."""
        return self._by_name.get(name, {}).keys()

    def violations(self, most: int | None) -> Iterator[str]:
        """
        What is not as it must be, a sentence each.

        :param most: how many requests of one principal may be held; None for any number.
        """
        indexed = [member for own in self._by_name.values() for member in own]
        if len(indexed) != len(self) or any(member not in self for member in indexed):
            yield f"{len(self)} requests are held, {len(indexed)} are found by who asks"
        for name, own in self._by_name.items():
            if not own or any(member.principal.name != name for member in own):
                yield f"the requests of {name or 'who does not say who he is'} are not found by that"
            if most is not None and len(own) > most:
                yield f"{len(own)} requests of one principal are held, more than {most}"
