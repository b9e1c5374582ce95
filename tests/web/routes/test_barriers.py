"""``/v1/wait``: one request for many jobs."""

from __future__ import annotations

from typing import Any

from jobpush.adapter.interfaces import QueueError
from tests.support import Lab, LabCase, quoted


class BarrierCase(LabCase):
    """Jobs ``1`` to ``4``, running."""

    def setUp(self) -> None:
        super().setUp()
        for number in "1234":
            self.lab.queue.set(number, "RUNNING")
        self.lab.tick()

    def wait(self, *jobs: str, **fields: Any) -> Any:
        """Begin to wait for these."""
        return self.lab.post("/v1/wait", {"jobs": [f"memory/{job}" for job in jobs], **fields})

    def end(self, *jobs: str, state: str = "COMPLETED") -> None:
        """Let these end, in one look."""
        for job in jobs:
            self.lab.queue.set(job, state, exit_code=0 if state == "COMPLETED" else 3)
        self.lab.tick()


def names(answer: Any) -> list[str]:
    return [entry.get("job") or entry["workflow"] for entry in answer["met"]]


class ModeTests(BarrierCase):
    """Any, all, or so many."""

    def test_all(self) -> None:
        """One answer, when the last has ended; it says how each has."""
        held = self.wait("1", "2", "3")
        self.end("1")
        self.end("3", state="FAILED")
        self.assertTrue(held.held)
        self.end("2")
        answer = held.json()
        self.assertEqual((answer["done"], answer["timed_out"], answer["open"], answer["unknown"]), (True, False, [], []))
        self.assertEqual({m["job"]: (m["state"], m["exit_code"]) for m in answer["met"]},
                         {"memory/1": ("COMPLETED", 0), "memory/2": ("COMPLETED", 0), "memory/3": ("FAILED", 3)})
        self.assertEqual(answer["cursor"], self.lab.cursor)
        self.assertEqual(held.header("jobpush-cursor"), answer["cursor"])

    def test_any(self) -> None:
        """The first; all that are met in the same look are told."""
        held = self.wait("1", "2", "3", mode="any")
        self.end("2", "3")
        answer = held.json()
        self.assertEqual((answer["done"], names(answer), answer["open"]), (True, ["memory/2", "memory/3"], ["memory/1"]))

    def test_so_many(self) -> None:
        """Two of four; as a number and as a text."""
        held = [self.wait("1", "2", "3", "4", mode=mode) for mode in (2, "2")]
        self.end("4")
        self.assertEqual([h.held for h in held], [True, True])
        self.end("1")
        self.assertEqual([sorted(names(h.json())) for h in held], [["memory/1", "memory/4"]] * 2)

    def test_get(self) -> None:
        """The same as a query; a bare id is enough where there is one cluster."""
        held = self.lab.get(f"/v1/wait?job={quoted('memory/1')}&job=2&mode=any&until=terminal&wait=60")
        self.end("2")
        self.assertEqual(names(held.json()), ["memory/2"])

    def test_level_triggered(self) -> None:
        """What is so already counts at once, whatever ``wait`` is."""
        self.end("1", "2")
        answer = self.wait("1", "2", wait=0).json()
        self.assertEqual((answer["done"], answer["timed_out"], len(answer["met"])), (True, False, 2))

    def test_started(self) -> None:
        """``until=started``: running, or ended since; one that is requeued counts no more."""
        self.lab.set("5", "QUEUED")
        self.lab.set("6", "QUEUED")
        held = self.wait("1", "5", "6", until="started")
        self.lab.set("5", "RUNNING")
        self.lab.set("5", "QUEUED", attempt=1)
        self.lab.set("6", "RUNNING")
        self.assertTrue(held.held, "5 was requeued")
        self.end("5")
        self.assertTrue(held.json()["done"])

    def test_time_out(self) -> None:
        """Who is done, and who is not; the cursor is the head up to which nothing else matched."""
        held = self.wait("1", "2", wait=60)
        self.end("1")
        self.lab.clock.run(61, step=1)
        answer = held.json()
        self.assertEqual((answer["done"], answer["timed_out"], names(answer), answer["open"]), (False, True, ["memory/1"], ["memory/2"]))
        self.assertEqual(self.lab.registry.held, 0)

    def test_since(self) -> None:
        """With a cursor, any and so many count what was met after it: what ends next, again and again."""
        cursor, told = self.lab.cursor, []
        for job in ("3", "1", "4"):
            self.end(job)
            answer = self.wait("1", "2", "3", "4", mode="any", since=cursor).json()
            cursor = answer["cursor"]
            told.extend(names(answer))
        self.assertEqual(told, ["memory/3", "memory/1", "memory/4"])
        held = self.wait("1", "2", "3", "4", since=cursor)
        self.end("2")
        self.assertEqual((held.json()["done"], names(held.json())), (True, ["memory/2"]), "all are done; one was news")

    def test_disconnect(self) -> None:
        """Nothing is left of it."""
        held = self.wait("1", "99")
        self.assertEqual((self.lab.registry.held, self.lab.service.tracker.waiting), (1, 1))
        timers = len(self.lab.clock.getDelayedCalls())
        held.cancel()
        self.assertEqual((self.lab.registry.held, self.lab.service.tracker.waiting, self.lab.service.tracker.idle), (0, 0, True))
        self.assertLess(len(self.lab.clock.getDelayedCalls()), timers)

    def test_the_end_of_the_service(self) -> None:
        """Everybody gets an answer, and a time to come back."""
        held = self.wait("1", "2")
        self.end("1")
        self.lab.service.announce_end()
        self.assertEqual((held.json()["timed_out"], names(held.json())), (True, ["memory/1"]))
        self.assertTrue(held.header("retry-after"))

    def test_ten_thousand(self) -> None:
        """In one request; one answer."""
        ids = [str(number) for number in range(1000, 11000)]
        for job in ids:
            self.lab.queue.set(job, "RUNNING")
        self.lab.tick(60)
        held = self.wait(*ids, wait=600)
        self.lab.tick(2)
        for job in ids:
            self.lab.queue.set(job, "COMPLETED", exit_code=0)
        self.lab.tick(60)
        answer = held.json()
        self.assertEqual((answer["done"], len(answer["met"])), (True, 10000))


class UnknownTests(BarrierCase):
    """Ids that nobody knows, yet."""

    def test_unknown(self) -> None:
        """Called unknown only when a query that began later has not found it; meanwhile the others are waited for."""
        held = self.wait("1", "99", wait=60)
        self.lab.tick(3)
        self.assertTrue(held.held, "1 still runs")
        self.end("1")
        answer = held.json()
        self.assertEqual((answer["done"], names(answer), answer["open"], answer["unknown"]), (False, ["memory/1"], [], ["memory/99"]))
        self.assertFalse(answer["timed_out"])

    def test_nothing_but_unknown(self) -> None:
        """Answered as soon as that is proven."""
        held = self.wait("98", "99", mode="any", wait=60)
        self.assertTrue(held.held)
        self.lab.tick(2)
        self.assertEqual((held.json()["done"], held.json()["unknown"]), (False, ["memory/98", "memory/99"]))

    def test_submitted_just_now(self) -> None:
        """Not in the last snapshot, but in the next."""
        self.lab.queue.set("99", "QUEUED")
        held = self.wait("99", wait=60)
        self.lab.tick(2)
        self.assertTrue(held.held)
        self.end("99")
        self.assertEqual(names(held.json()), ["memory/99"])

    def test_one_that_appears_later(self) -> None:
        """Joins, as long as others are waited for."""
        held = self.wait("1", "99", wait=60)
        self.lab.tick(3)
        self.lab.set("99", "RUNNING")
        self.end("1")
        self.assertTrue(held.held)
        self.end("99")
        self.assertEqual((held.json()["done"], len(held.json()["met"])), (True, 2))

    def test_not_proven(self) -> None:
        """Without an answer of the scheduler nothing is called unknown."""
        self.lab.queue.failure = QueueError("down")
        answer = self.wait("99", wait=5)
        self.lab.clock.run(6, step=0.5)
        self.assertEqual((answer.json()["open"], answer.json()["unknown"], answer.json()["timed_out"]), (["memory/99"], [], True))

    def test_forgotten_by_the_table(self) -> None:
        """The journal remembers how it ended."""
        self.end("1")
        self.lab.service.table.cluster("memory").forget("1")
        answer = self.wait("1", wait=0).json()
        self.assertEqual((answer["done"], answer["met"][0]["state"]), (True, "COMPLETED"))


class ArrayTests(LabCase):
    """Arrays as one thing, and their tasks."""

    def test_array(self) -> None:
        """Met when its last task has ended; ``counts`` say how."""
        for index in (1, 2):
            self.lab.queue.set(f"9_{index}", "RUNNING", parent="9", task_index=index)
        self.lab.tick()
        held = self.lab.post("/v1/wait", {"jobs": ["memory/9"]})
        task = self.lab.post("/v1/wait", {"jobs": ["memory/9_2"]})
        self.lab.queue.set("9_2", "FAILED", parent="9", task_index=2, exit_code=1)
        self.lab.tick()
        self.assertEqual((held.held, task.json()["met"][0]["exit_code"]), (True, 1))
        self.lab.queue.set("9_1", "COMPLETED", parent="9", task_index=1, exit_code=0)
        self.lab.tick()
        met = held.json()["met"]
        self.assertEqual([(m["job"], m["state"], m["counts"]) for m in met], [("memory/9", "FAILED", {"COMPLETED": 1, "FAILED": 1})])


class ClusterTests(LabCase):
    """Across clusters."""

    def make_lab(self) -> Lab:
        return Lab(queues=2)

    def test_two_clusters(self) -> None:
        """One barrier over both."""
        memory, second = self.lab.queues
        memory.set("1", "RUNNING")
        second.set("1", "RUNNING")
        self.lab.tick()
        held = self.lab.post("/v1/wait", {"jobs": ["memory/1", "second/1"]})
        memory.set("1", "COMPLETED")
        self.lab.tick()
        self.assertTrue(held.held)
        second.set("1", "COMPLETED")
        self.lab.tick()
        self.assertEqual(sorted(names(held.json())), ["memory/1", "second/1"])


class BadInputTests(BarrierCase):
    """Errors name what is wrong."""

    def test_errors(self) -> None:
        for body, parameter in [
            ({}, "job"), ({"jobs": []}, "job"), ({"jobs": ["memory/1"], "mode": "most"}, "mode"), ({"jobs": ["memory/1"], "mode": 2}, "mode"),
            ({"jobs": ["memory/1"], "mode": 0}, "mode"), ({"jobs": ["memory/1"], "mode": True}, "mode"), ({"jobs": ["memory/1"], "mode": 1.5}, "mode"),
            ({"jobs": ["memory/1"], "until": "change"}, "until"), ({"jobs": ["memory/1"], "until": "later"}, "until"),
            ({"jobs": ["nowhere/1"]}, "job"), ({"jobs": ["memory/--x"]}, "job"), ({"workflows": ["a/b/c"]}, "workflow"), ({"workflows": ["a/.b"]}, "workflow"),
            ({"workflows": [5]}, "workflow"), ({"jobs": ["memory/1"], "user": "kim"}, "user"), ({"jobs": ["memory/1"], "wait": -1}, "wait"),
        ]:  # fmt: skip
            answer = self.lab.post("/v1/wait", body)
            self.assertEqual((answer.status, answer.json()["parameter"]), (400, parameter), body)
        self.assertEqual(self.lab.post("/v1/wait", {"jobs": ["memory/1"] * 20001}).status, 413)
        self.assertEqual(self.wait("1", since="abcdef-1").status, 410)

    def test_the_cap(self) -> None:
        """A barrier is a held request."""
        self.lab.registry.limit = 0
        self.assertEqual(self.wait("1").status, 503)


class AliasTests(BarrierCase):
    """Jobs with more than one id."""

    def test_known(self) -> None:
        """It is told by its own id, with what was asked for."""
        self.lab.set("7", "COMPLETED", aliases=("het8",))
        (met,) = self.lab.get("/v1/wait?job=het8").json()["met"]
        self.assertEqual((met["job"], met["asked"]), ("memory/7", "het8"))
        for asked in ("7", "memory/7"):
            self.assertNotIn("asked", self.lab.get(f"/v1/wait?job={asked}").json()["met"][0])

    def test_known_later(self) -> None:
        """What is no id of a job when the barrier begins may be one after a look; it is waited for then."""
        self.lab.queue.set("7", "RUNNING", aliases=("het8",))
        answer = self.lab.get("/v1/wait?job=memory/het8&wait=60")
        self.lab.tick(2)
        self.assertTrue(answer.held)
        self.lab.set("7", "COMPLETED", aliases=("het8",))
        (met,) = answer.json()["met"]
        self.assertEqual((met["job"], met["asked"], answer.json()["unknown"]), ("memory/7", "memory/het8", []))
