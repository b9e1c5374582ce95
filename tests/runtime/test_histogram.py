"""How values are distributed."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from jobpush.runtime.histogram import Distribution


class DistributionTests(SynchronousTestCase):
    """`Distribution`."""

    def test_distribution(self) -> None:
        """A value on a bound is at most that bound."""
        distribution = Distribution((1.0, 2.0))
        for value in (0.5, 1.0, 1.5, 3.0):
            distribution.add(value, 2)
        self.assertEqual((distribution.counts, distribution.sum, distribution.most), ([4, 2, 2], 12.0, 3.0))
        distribution.add(2.5)
        self.assertEqual((distribution.counts, distribution.sum, distribution.most), ([4, 2, 3], 14.5, 3.0))
        self.assertEqual((Distribution((1.0,)).counts, Distribution((1.0,)).sum, Distribution((1.0,)).most), ([0, 0], 0, 0))
