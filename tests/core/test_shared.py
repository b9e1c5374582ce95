"""Values that recur are kept once."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from jobpush.core.model import JobDescriptor, Phase
from jobpush.core.shared import MOST, shared_number_or_none, shared_table, shared_text, shared_text_or_none


def anew(text: str) -> str:
    """An equal text that is another object."""
    return "".join(list(text))


class SharedTests(SynchronousTestCase):
    """Of texts, numbers and tables."""

    def test_the_same_object(self) -> None:
        """What is equal becomes one; what is not stays as it is."""
        self.assertIs(shared_text(anew("kim and lee")), shared_text(anew("kim and lee")))
        self.assertIs(shared_text_or_none(anew("a queue")), shared_text(anew("a queue")))
        self.assertIs(shared_number_or_none(int("3600")), shared_number_or_none(int("3600")))
        self.assertIs(shared_table({"state": anew("PENDING")}), shared_table({"state": anew("PENDING")}))
        self.assertEqual((shared_text_or_none(None), shared_number_or_none(None)), (None, None))
        self.assertNotEqual(shared_table({"a": "b"}), shared_table({"a": "c"}))

    def test_order_of_tables(self) -> None:
        """A table keeps its order: it is a part of the bytes."""
        shared_table({"one": "1", "two": "2"})
        self.assertEqual(list(shared_table({"two": "2", "one": "1"})), ["two", "one"])

    def test_what_an_adapter_goes_on_with(self) -> None:
        """Its table may change without that of the jobs."""
        table = {"state": "an adapter's own"}
        job = JobDescriptor("c", "1", Phase.QUEUED, native=table)
        table["state"] = "changed"
        self.assertEqual(job.native, {"state": "an adapter's own"})

    def test_bounded(self) -> None:
        """However many different values there are; what is forgotten is kept anew."""
        for number in range(2 * MOST + 10):
            shared_text(f"text {number}")
            shared_table({"number": str(number)})
        self.assertIs(shared_text(anew("text 3")), shared_text(anew("text 3")))

    def test_jobs(self) -> None:
        """What recurs in jobs, their natives included, is there once."""
        one, two = (
            JobDescriptor(
                anew("cluster"), str(n), Phase.QUEUED, user=anew("kim_lee"), account=anew("biology"), queue=anew("batch"),
                workdir=anew("/home/kim"), reason=anew("Priority"), native={"state": anew("PENDING")}, time_limit_s=int("7200"),
            )
            for n in (1, 2)
        )  # fmt: skip
        for name in ("cluster", "user", "account", "queue", "workdir", "reason", "native", "time_limit_s"):
            self.assertIs(getattr(one, name), getattr(two, name), name)
