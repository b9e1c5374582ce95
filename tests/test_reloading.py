"""The queues of the configuration file, read again while requests are held."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from jobpush import reloading
from jobpush.adapter.interfaces import QueueError
from jobpush.adapter.options import OptionValues
from jobpush.adapter.registry import Component
from jobpush.adapter.testing import MemoryQueue
from jobpush.core.model import QueueFacts
from jobpush.polling.queue_options import PollingOptions
from jobpush.queues import MadeQueue, MadeQueues
from jobpush.reloading import CHECK_S, ConfiguredQueues
from jobpush.runtime.reload import CannotReload
from jobpush.settings import ConfigError, Settings
from tests.support import Lab


class File:
    """A configuration file: names of queues, and which edition of its options each has."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.settings = Settings()
        self.error: ConfigError | None = None
        self.queues: dict[str, MemoryQueue] = {}
        self.prepare: Callable[[MemoryQueue], None] = lambda queue: None

    def read(self) -> Settings:
        if self.error is not None:
            raise self.error
        return self.settings

    def says(self, **editions: int) -> None:
        self.settings = Settings(queues=tuple(Component(name, OptionValues({"edition": n})) for name, n in editions.items()))

    def make(self, reactor: object, settings: Settings) -> MadeQueues:
        """In place of `make_queues`."""
        made = {}
        for asked in settings.queues:
            queue = MemoryQueue(self.lab.clock, cluster=asked.type)
            self.prepare(queue)
            self.queues[asked.type] = queue
            made[asked.type] = MadeQueue(queue, PollingOptions(), ("memory", "", dict(asked.options)))
        return MadeQueues(made)


class ReloadTests(SynchronousTestCase):
    """`ConfiguredQueues`, of a service that watches ``memory`` and ``second``."""

    def setUp(self) -> None:
        self.lab = Lab(queues=2)
        self.lab.queue.set("1", "RUNNING")
        self.lab.queues[1].set("2", "RUNNING")
        self.lab.start()
        self.addCleanup(self.lab.stop)
        self.file = File(self.lab)
        self.patch(reloading, "make_queues", self.file.make)
        self.file.says(memory=1, second=1)
        made = {q.cluster: MadeQueue(q, PollingOptions(), ("memory", "", {"edition": 1})) for q in self.lab.queues}
        self.part = ConfiguredQueues(self.lab.clock, self.lab.service, self.file.read, self.file.settings, MadeQueues(made))

    def reload(self) -> Any:
        """What has changed."""
        done = Deferred.fromCoroutine(self.part.reload())
        self.lab.tick()
        return self.successResultOf(done)

    def refused(self) -> str:
        """Why all stays as it is."""
        before = dict(self.lab.service.monitors)
        done = Deferred.fromCoroutine(self.part.reload())
        self.lab.tick()
        why = str(self.failureResultOf(done, CannotReload).value)
        self.assertEqual(self.lab.service.monitors, before)
        return why

    def held(self, *paths: str) -> Sequence[Any]:
        """Requests that are held."""
        requests = [self.lab.get(path) for path in paths]
        self.assertTrue(all(request.held for request in requests))
        return requests

    def test_nothing_has_changed(self) -> None:
        """Then no queue is disturbed, and nobody who waits."""
        (held,) = self.held("/v1/jobs/memory/1?until=terminal&wait=60")
        monitors = dict(self.lab.service.monitors)
        self.assertIsNone(self.reload())
        self.assertEqual(self.lab.service.monitors, monitors)
        self.assertTrue(held.held)

    def test_added(self) -> None:
        """It is watched; who waits for the others, or for all, waits on, and hears of its jobs too."""
        one, all_of_them = self.held("/v1/jobs/memory/1?until=terminal&wait=60", "/v1/changes?since=now&wait=60")
        self.file.says(memory=1, second=1, third=1)
        self.file.prepare = lambda queue: queue.set("9", "RUNNING") if queue.cluster == "third" else None
        monitor = self.lab.service.monitors["memory"]
        self.assertEqual(self.reload(), "added: third")
        self.assertEqual(self.lab.get("/v1/jobs/third/9").json()["job"]["state"], "RUNNING")
        self.assertEqual([event["job"]["id"] for event in all_of_them.json()["events"]], ["9"])
        self.assertIs(self.lab.service.monitors["memory"], monitor)
        self.lab.set("1", "COMPLETED")
        self.assertEqual(one.json()["job"]["state"], "COMPLETED")
        self.assertIn("third", self.lab.get("/readyz").json()["queues"])
        self.assertEqual(self.lab.post("/v1/nudge", {"cluster": "third"}).status, 202)

    def test_removed(self) -> None:
        """
        It is asked no more. What is held for it is answered as if its time was up, and asked again it is refused; what is held for
        others, or for all, stays held.
        """
        others = self.held("/v1/jobs/memory/1?until=terminal&wait=60", "/v1/changes?since=now&wait=60")
        gone = self.held(
            "/v1/jobs/second/2?until=terminal&wait=60", "/v1/changes?cluster=second&since=now&wait=60",
            "/v1/changes?job=second/2&since=now&wait=60",
            "/v1/wait?job=second/2&job=memory/1&wait=60",
        )  # fmt: skip
        self.file.says(memory=1)
        self.assertEqual(self.reload(), "removed: second")
        for request in gone:
            self.assertEqual(request.status, 200)
        self.assertEqual([request.json().get("timed_out") for request in gone[:3]], [True, True, True])
        self.assertEqual(gone[3].json()["done"], False)
        self.assertEqual([request.held for request in others], [True, True])
        self.assertEqual(self.lab.get("/v1/jobs/second/2").status, 404)
        self.assertIn("there is no cluster 'second'", self.lab.get("/v1/changes?cluster=second").json()["detail"])
        self.assertNotIn("second", self.lab.get("/readyz").json()["queues"])
        queries = self.lab.queues[1].queries
        self.lab.tick(5)
        self.assertEqual(self.lab.queues[1].queries, queries)

    def test_removed_while_a_look_is_waited_for(self) -> None:
        """The scheduler does not answer; who waits for its answer is told at once, not when the time is up."""
        self.lab.queues[1].pending = []
        (gone,) = self.held("/v1/jobs/second/77?wait=60")
        self.file.says(memory=1)
        self.reload()
        self.assertEqual(gone.json()["job"], None)
        self.assertTrue(gone.json()["timed_out"])

    def test_removed_and_added_again(self) -> None:
        """Its jobs are those that were known, and it is watched as before."""
        self.file.says(memory=1)
        self.reload()
        self.file.says(memory=1, second=1)
        self.file.prepare = lambda queue: queue.set("2", "COMPLETED")
        self.assertEqual(self.reload(), "added: second")
        self.assertEqual([e["job"]["state"] for e in self.lab.events() if e["job"]["id"] == "2"], ["RUNNING", "COMPLETED"])

    def test_streams(self) -> None:
        """Streams that name it end in order; those that follow all go on."""
        streams = [self.lab.get(path) for path in ("/v1/events?cluster=second", "/v1/events", "/v1/events?job=second/2")]
        self.assertEqual(self.lab.registry.held, 3)
        self.file.says(memory=1)
        self.reload()
        self.assertEqual(self.lab.registry.held, 1)
        self.assertTrue(streams[0].body().endswith(b"\n\n"))

    def test_changed(self) -> None:
        """The new one takes its place: jobs stay, who waits waits on, and who waits for a look gets the new queue's."""
        self.lab.queues[1].pending = []
        held, unknown = self.held("/v1/jobs/second/2?until=terminal&wait=60", "/v1/jobs/second/77?wait=60")
        self.file.says(memory=1, second=2)

        def prepare(queue: MemoryQueue) -> None:
            queue.set("2", "RUNNING")
            queue.set("77", "RUNNING")

        self.file.prepare = prepare
        self.assertEqual(self.reload(), "changed: second")
        self.assertEqual(unknown.json()["job"]["state"], "RUNNING")
        self.assertTrue(held.held)
        self.file.queues["second"].set("2", "COMPLETED")
        self.lab.tick()
        self.assertEqual(held.json()["job"]["state"], "COMPLETED")
        self.assertIsNone(self.reload(), "it is in force")

    def test_refused(self) -> None:
        """A file that cannot be taken leaves all as it is, and says why."""
        self.file.error = ConfigError("jobpush.toml: unknown key 'queu'")
        self.assertEqual(self.refused(), "jobpush.toml: unknown key 'queu'")

    def test_no_queue_is_named(self) -> None:
        """Queues that were named stay, and so do those that were found at the start, whatever is found now."""
        self.file.says()
        self.assertIn("no queue is named any more", self.refused())
        found = ConfiguredQueues(self.lab.clock, self.lab.service, self.file.read, Settings(), MadeQueues(self.part._made))
        self.file.settings = Settings(port="1234")
        done = Deferred.fromCoroutine(found.reload())
        self.assertEqual(self.successResultOf(done), "changed, and in force after a restart only: port")
        self.assertEqual(list(self.lab.service.monitors), ["memory", "second"])
        self.file.says(memory=1)
        done = Deferred.fromCoroutine(found.reload())
        self.lab.tick()
        self.assertEqual(self.successResultOf(done), "removed: second")

    def test_hidden_jobs(self) -> None:
        """A scheduler that hides users' jobs from each other is not served to all by an oversight; all stays as it is."""
        facts = QueueFacts(sees_all=True, hides_jobs=True, evidence="PrivateData=jobs")

        def prepare(queue: MemoryQueue) -> None:
            queue.facts = facts

        self.file.prepare = prepare
        self.file.says(memory=1, second=1, third=1)
        self.assertIn("third hides users' jobs from each other (PrivateData=jobs)", self.refused())
        self.part._settings = Settings(allow_anonymous=True)
        self.assertIn("added: third", self.reload())

    def test_a_queue_that_does_not_answer(self) -> None:
        """Is watched all the same, whether it fails or says nothing."""
        self.file.prepare = lambda queue: setattr(queue, "failure", QueueError("down"))
        self.file.says(memory=1, second=1, third=1)
        self.assertEqual(self.reload(), "added: third")

        self.silent("fourth", "fifth", "sixth")
        done = Deferred.fromCoroutine(self.part.reload())
        self.lab.clock.run(CHECK_S + 0.1)
        self.assertEqual(self.successResultOf(done), "added: fourth, fifth, sixth")

    def silent(self, *clusters: str) -> None:
        """The file has these queues as well, which do not answer."""

        class Silent(MemoryQueue):
            def check(self) -> Deferred[QueueFacts]:
                return Deferred()

        made = {name: MadeQueue(Silent(self.lab.clock, cluster=name), PollingOptions(), ("memory", "", {})) for name in clusters}
        self.patch(reloading, "make_queues", lambda reactor, settings: MadeQueues({**self.part._made, **made}))

    def test_an_end_meanwhile(self) -> None:
        """A service that ends waits for no queue's answer, and takes none."""
        self.part.give_up()
        self.silent("fourth", "fifth")
        done = Deferred.fromCoroutine(self.part.reload())
        self.assertNoResult(done)
        self.part.give_up()
        self.assertEqual(str(self.failureResultOf(done, CannotReload).value), "the service ends")
        self.assertNotIn("fourth", self.lab.service.monitors)
        self.part.give_up()

    def test_at_the_end(self) -> None:
        """A service that ends takes no new queues."""
        self.file.says(memory=1, second=1, third=1)
        self.lab.service.announce_end()
        self.assertIsNone(self.reload())
        self.assertNotIn("third", self.lab.service.monitors)

    def test_other_settings(self) -> None:
        """What only a restart puts into force is said by name."""
        self.file.settings = Settings(queues=self.file.settings.queues, port="1234", keep_days=3.0, interval=9.0, config="x")
        self.assertEqual(self.reload(), "changed, and in force after a restart only: port, keep_days")
