"""
Names with wildcards: ``*``, ``?`` and ``[…]``, as shells have them. They come from clients, and are matched against what users
wrote: the time that takes is bounded, whatever both are.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from fnmatch import translate

from jobpush.core.bounded_cache import BoundedCache

#: The most patterns of one filter, the bytes of one, and the wildcards in one.
MOST_PATTERNS, MOST_BYTES, MOST_WILDCARDS = 100, 200, 8

#: How many patterns are kept compiled, of all filters (5 kB each at most). Of filters with more than so many, of how many texts
#: of at most what length it is remembered whether one of them fits.
_KEPT, _MANY, _REMEMBERED, _LONGEST = 2560, 8, 256, 200

_WILDCARD = re.compile(r"\*+|\?|\[")


def wildcards(pattern: str) -> int:
    """Return how many wildcards a pattern has; several ``*`` in a row are one, and each ``[`` counts."""
    return len(_WILDCARD.findall(pattern))


def beginnings(patterns: Iterable[str]) -> tuple[str, ...] | None:
    """Return what each text begins with that fits one of these patterns; None if it can begin with anything."""
    found = tuple(_WILDCARD.split(pattern, 1)[0] for pattern in patterns)
    return found if all(found) else None


class Patterns:
    """
    Some patterns, of which one is to fit.

    A part between two ``*`` is looked for once, from where the part before it was found first, and never again from further on
    (`fnmatch.translate` makes atomic groups): a text of n characters costs at most n times the pattern's length.
    """

    def __init__(self, patterns: tuple[str, ...]) -> None:
        self._plain = frozenset(pattern for pattern in patterns if not wildcards(pattern))
        self._compiled = [re.compile(translate(pattern)).match for pattern in patterns if wildcards(pattern)]
        self._remembered: dict[str, bool] = {}

    def fit(self, text: str) -> bool:
        """Return whether one of them fits the whole text."""
        if text in self._plain:
            return True
        if len(self._compiled) <= _MANY:
            return any(match(text) is not None for match in self._compiled)
        found = self._remembered.get(text)
        if found is None:
            found = any(match(text) is not None for match in self._compiled)
            if len(text) <= _LONGEST:
                if len(self._remembered) >= _REMEMBERED:
                    self._remembered.clear()
                self._remembered[text] = found
        return found


def _cache(most: int) -> BoundedCache[tuple[str, ...], Patterns]:
    return BoundedCache(Patterns, lambda texts, _: len(texts), most)


#: Those that were used last.
_KEPT_ONES = _cache(_KEPT)


def patterns(texts: tuple[str, ...]) -> Patterns:
    """Return these patterns, compiled once for all who use the same."""
    return _KEPT_ONES.get(texts)
