"""
Values that recur are kept once: of a hundred thousand jobs most have one of a few users, accounts, queues and work directories.

What is kept is bounded: when there is too much of it, it is forgotten, and kept anew from then on.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

#: How many different values are kept of each kind.
MOST = 10_000

T = TypeVar("T")


class _Pool(dict[T, T]):
    """The values that were looked up lately, each by itself."""

    def __missing__(self, value: T) -> T:
        if len(self) >= MOST:
            self.clear()
        self[value] = value
        return value


_TEXTS = _Pool[str]()
_NUMBERS = _Pool[int]()


def shared_text(text: str) -> str:
    """Return the text that is kept and equal to this one."""
    return _TEXTS[text]


def shared_text_or_none(text: str | None) -> str | None:
    """Return the text that is kept and equal to this one; None for None."""
    return _TEXTS[text] if text is not None else None


def shared_number_or_none(number: int | None) -> int | None:
    """Return the number that is kept and equal to this one; None for None."""
    return _NUMBERS[number] if number is not None else None


_TABLES: dict[tuple[tuple[str, str], ...], Mapping[str, str]] = {}


def shared_table(table: Mapping[str, str]) -> Mapping[str, str]:
    """Return the table that is kept and equal to this one, in the same order. It must never be changed."""
    key = tuple(table.items())
    try:
        found = _TABLES.get(key)
    except TypeError:  # an adapter put something else than texts there
        return table
    if found is None:
        if len(_TABLES) >= MOST:
            _TABLES.clear()
        found = _TABLES[key] = dict(table)
    return found
