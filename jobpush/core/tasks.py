"""Sets of array indices, as schedulers print them and as small as they can be kept."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

import attrs

#: The most indices of a range with a step: each is kept by itself.
MOST_APART = 10_000_000


@attrs.frozen(order=False)
class TaskSet:
    """
    The indices of an array's tasks, as sorted inclusive ranges: a pending array of a million tasks is one pair.
    """

    ranges: tuple[tuple[int, int], ...] = ()

    @classmethod
    def of(cls, indices: Iterable[int]) -> TaskSet:
        """The set of these indices, in any order, repeated or not."""
        ranges: list[tuple[int, int]] = []
        for index in sorted(set(indices)):
            if ranges and ranges[-1][1] == index - 1:
                ranges[-1] = (ranges[-1][0], index)
            else:
                ranges.append((index, index))
        return cls(tuple(ranges))

    @classmethod
    def parse(cls, text: str, most: int = 4_000_001) -> TaskSet:
        """
        Read ``0-9``, ``1,3,5-9``, ``0-20:2``; a trailing ``%limit`` is Slurm's and is passed over.

        :param most: the highest index that is believed (Slurm's MaxArraySize cannot be above 4,000,001).
        :raise ValueError: if it is anything else.
        """
        ranges: list[tuple[int, int]] = []
        for part in text.partition("%")[0].split(","):
            found = re.fullmatch(r"([0-9]{1,10})(?:-([0-9]{1,10})(?::([0-9]{1,10}))?)?", part)
            if found is None:
                raise ValueError(f"{part!r} is not a range of array indices")
            low = int(found[1])
            high = int(found[2] or low)
            step = int(found[3] or 1)
            if low > high or high > most or step < 1:
                raise ValueError(f"{part!r} is not a range of array indices")
            if step == 1:
                ranges.append((low, high))
            elif (high - low) // step >= MOST_APART:
                raise ValueError(f"{part!r} has too many indices that stand apart")
            else:
                ranges.extend((index, index) for index in range(low, high + 1, step))
        merged: list[tuple[int, int]] = []
        for low, high in sorted(ranges):
            if merged and low <= merged[-1][1] + 1:
                merged[-1] = (merged[-1][0], max(high, merged[-1][1]))
            else:
                merged.append((low, high))
        return cls(tuple(merged))

    def __contains__(self, index: int | None) -> bool:
        return index is not None and any(low <= index <= high for low, high in self.ranges)

    def __len__(self) -> int:
        return sum(high - low + 1 for low, high in self.ranges)

    def __iter__(self) -> Iterator[int]:
        for low, high in self.ranges:
            yield from range(low, high + 1)

    def __str__(self) -> str:
        return ",".join(str(low) if low == high else f"{low}-{high}" for low, high in self.ranges)

    def minus(self, other: TaskSet) -> TaskSet:
        """The indices of this set that are not in the other."""
        left: list[tuple[int, int]] = []
        cuts = iter(other.ranges)
        cut = next(cuts, None)
        for low, high in self.ranges:
            while cut is not None and cut[1] < low:
                cut = next(cuts, None)
            while cut is not None and cut[0] <= high:
                if cut[0] > low:
                    left.append((low, cut[0] - 1))
                low = cut[1] + 1
                if low > high:
                    break
                cut = next(cuts, None)
            if low <= high:
                left.append((low, high))
        return TaskSet(tuple(left))
