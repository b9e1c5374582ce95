"""The queues that settings ask for."""

from __future__ import annotations

import os

from twisted.trial.unittest import SynchronousTestCase

from jobpush.adapter.kinds import Many
from jobpush.adapter.registry import Component, ComponentKind
from jobpush.queues import MadeQueues, make_queues
from jobpush.settings import ConfigError, Settings
from tests.support import ManualClock


def made(*queues: str | dict[str, object], interval: float | None = None, directory: str = "/etc/jobpush") -> MadeQueues:
    """What these make, of a command line or of a file in that directory."""
    kind: Many[Component] = Many(ComponentKind("queue"))
    components = tuple(kind.element.read(queue, directory) for queue in queues)
    return make_queues(ManualClock(), Settings(queues=components, interval=interval))


class MakeQueuesTests(SynchronousTestCase):
    """`make_queues`."""

    def test_named(self) -> None:
        """Each with its own options, in their order."""
        queues = made("slurm:cluster=alpha:floor=0.5", {"type": "mock", "cluster": "demo"})
        self.assertEqual(list(queues.by_cluster), ["alpha", "demo"])
        self.assertEqual((queues.options["alpha"].schedule.floor, queues.found), (0.5, []))
        self.assertEqual([queue.cluster for queue in queues.queues], ["alpha", "demo"])

    def test_none_is_named(self) -> None:
        """The demonstration, where no scheduler is on this host; the log is to say so."""
        self.patch(os, "environ", {**os.environ, "PATH": "/nonexistent"})
        queues = made()
        self.assertEqual([queue.queue_type for queue in queues.queues], ["mock"])
        self.assertIn("NO SCHEDULER WAS FOUND", queues.found[0])

    def test_asked_alike(self) -> None:
        """The same options make the same queue, wherever it stands; another option, type, interval or directory does not."""
        asked = made({"type": "mock", "cluster": "a"}).by_cluster["a"].asked
        self.assertEqual(made("slurm", {"cluster": "a", "type": "mock"}).by_cluster["a"].asked, asked)
        for other in (
            made({"type": "mock", "cluster": "a", "seed": 2}), made({"type": "slurm", "cluster": "a"}),
            made({"type": "mock", "cluster": "a"}, interval=3.0), made({"type": "mock", "cluster": "a"}, directory="/srv"),
            made({"type": "mock", "cluster": "a", "reconcile": 2}),
        ):  # fmt: skip
            self.assertNotEqual(other.by_cluster["a"].asked, asked)
        own = {"type": "mock", "cluster": "a", "interval": 1}
        self.assertEqual(made(own, interval=3.0).by_cluster["a"].asked, made(own).by_cluster["a"].asked)

    def test_refused(self) -> None:
        """Two of the same name, and options that a queue does not have."""
        self.assertRaises(ConfigError, made, "mock", "mock")
        self.assertRaises(ConfigError, made, {"type": "mock", "colour": "red"})
