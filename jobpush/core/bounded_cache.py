"""A cache of what was used last, bounded by what its values take up."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class BoundedCache(Generic[K, V]):
    """
    Values by their keys. Those that were used longest ago are forgotten; the newest one is kept, however large it is.

    :param make: (key) to a value.
    :param size_of: (key, value) to what it takes up; always the same for both.
    :param most_size: what all of them may take up.
    :param most: how many there may be; None for any number.
    :ivar size: what all of them take up.
    """

    def __init__(
        self, make: Callable[[K], V], size_of: Callable[[K, V], int], most_size: int, most: int | None = None
    ) -> None:
        self._make = make
        self._size_of = size_of
        self._most_size = most_size
        self._most = most
        self._values: OrderedDict[K, V] = OrderedDict()
        self.size = 0

    def __iter__(self) -> Iterator[K]:
        """Give the keys, that of the value that was used last at the end."""
        return iter(self._values)

    def get(self, key: K) -> V:
        """Return the value of a key, which is made if it is not kept."""
        try:
            value = self._values[key]
        except KeyError:
            return self._add(key)
        self._values.move_to_end(key)
        return value

    def _add(self, key: K) -> V:
        value = self._values[key] = self._make(key)
        self.size += self._size_of(key, value)
        while len(self._values) > 1 and (
            self.size > self._most_size or (self._most is not None and len(self._values) > self._most)
        ):
            self.size -= self._size_of(*self._values.popitem(last=False))
        return value
