"""Jobs of which few are others than before."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from jobpush.core.model import JobDescriptor, Phase
from jobpush_adapters.common.overlay import OverlayMapping


def job(job_id: str) -> JobDescriptor:
    """Return a job; another object each time."""
    return JobDescriptor(cluster="c", id=job_id, phase=Phase.QUEUED)


IDS = st.sets(st.sampled_from("abcdefghij"))


class OverlayMappingTests(SynchronousTestCase):
    """`OverlayMapping` is a mapping like the dict that it stands for."""

    @given(IDS, st.lists(st.tuples(IDS, IDS), max_size=6))
    def test_like_a_dict(self, first: set[str], changes: list[tuple[set[str], set[str]]]) -> None:
        """After several changes it has the jobs of the changed dict; what it was made of has not changed."""
        base = {job_id: job(job_id) for job_id in sorted(first)}
        jobs: dict[str, JobDescriptor] | OverlayMapping = base
        expected = dict(base)
        stages = [(jobs, dict(expected))]
        for came, left in changes:
            changed = {job_id: job(job_id) for job_id in sorted(came)}
            gone = (left & expected.keys()) - came
            jobs = OverlayMapping.of(jobs, changed, gone)
            expected = {job_id: known for job_id, known in expected.items() if job_id not in gone} | changed
            stages.append((jobs, expected))
        for each, meant in stages:
            self.assertEqual((len(each), sorted(each)), (len(meant), sorted(meant)))
            for job_id in "abcdefghijk":
                self.assertIs(each.get(job_id), meant.get(job_id))
                self.assertEqual(job_id in each, job_id in meant)
            self.assertEqual(dict(each.items()), meant)
        self.assertRaises(KeyError, lambda: jobs["k"])

    def test_is_large(self) -> None:
        """It is large with more than a thousand changes and than a sixteenth of the dict."""
        base = {str(number): job("x") for number in range(32_000)}
        some = {str(number): job("y") for number in range(2001)}
        self.assertFalse(OverlayMapping.of(base, dict(list(some.items())[:2000]), set()).is_large)
        self.assertTrue(OverlayMapping.of(base, some, set()).is_large)
        self.assertTrue(OverlayMapping.of(OverlayMapping.of(base, {}, {"5", "6"}), dict(list(some.items())[7:]), {str(n) for n in range(7)}).is_large)
        self.assertFalse(OverlayMapping.of({}, dict(list(some.items())[:1000]), set()).is_large)
